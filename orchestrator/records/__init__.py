"""What the controller keeps on its own disk: who holds a pair, and how each pair stood last.

Nothing here knows mail; every file lies in the pair's `mm_state_dir`.
"""
