"""What the programs that die at a chosen act share: Python's own text, to be put before their code.

It needs a function `act(what, call, half)`, which counts, and dies where it is told to.
"""

from __future__ import annotations

WRAP = """
def wrap(module, name, counts=lambda *a, **k: True, half=None):
    real = getattr(module, name)
    def wrapped(*a, **k):
        if not counts(*a, **k):
            return real(*a, **k)
        return act(name, lambda: real(*a, **k), None if half is None else lambda: half(real, *a, **k))
    setattr(module, name, wrapped)
"""
