"""One playbook for each kind of problem; the messages that they get stand in `messages.txt`."""

from __future__ import annotations

from pathlib import Path

from orchestrator.failover.playbook import PlaybookError, load, read_bytes

NOWHERE = Path("/nonexistent")
SEED = """journey: seed
what: a copy anew
from: [EXPOSED]
rto: none
may_lose: nothing
never: harm
steps:
  - do: reseed
    how: anew
    why: it is due
    within: 2d
  - do: prove_equal
    why: to know
    within: 1h
"""
SWITCH = load("switchover", NOWHERE).text
FAIL = load("failover", NOWHERE).text


def _step(text: str, verb: str) -> str:
    """The lines of a step."""
    start = text.index(f"  - do: {verb}\n")
    return text[start : (text.find("\n\n", start) + 1) or len(text)]


def _run(*more: str) -> str:
    lines = ["  - run: [sync-users, now]", "    at: active", "    why: it must", "    within: 5s"]
    return SEED + "".join(f"{line}\n" for line in (*lines, *more))


CASES: dict[str, tuple[str, str | bytes]] = {
    "empty": ("seed", "# nothing\n"),
    "a list": ("seed", "- do: reseed\n"),
    "not UTF-8": ("seed", SEED.encode().replace(b"harm", b"caf\xe9")),
    "a tab": ("seed", SEED.replace("    how", "\thow")),
    "two documents": ("seed", SEED + "---\n" + SEED),
    "a journey that isn't known": ("fallback", SEED.replace("seed", "fallback", 1)),
    "another file's name": ("rejoin", SEED),
    "keys unknown and missing": ("seed", SEED.replace("may_lose", "may_loose")),
    "duplicate keys": ("seed", SEED.replace("rto: none", "rto: none\nrto: 6s")),
    "states and times": ("seed", SEED.replace("EXPOSED", "EXPOSD").replace("2d", "2").replace("1h", "1:30:00")),
    "a template": ("seed", SEED.replace("a copy anew", '"{{ what }}"')),
    "no steps": ("seed", SEED.partition("  - do")[0].replace("steps:", "steps: []")),
    "unknown verbs": ("seed", SEED.replace("do: reseed", "do: reseeed")),
    "a verb of another journey": ("seed", SEED.replace("prove_equal", "tombstone")),
    "parameters": (
        "seed", SEED.replace("how: anew", "how: newly").replace("    why: to know", "    lag: 3s\n    why: [a]")),
    "a parameter is missing": ("seed", SEED.replace("    how: anew\n", "")),
    "neither do nor run": ("seed", SEED.replace("- do: reseed", "- why: x").replace("    why: it is due\n", "")),
    "a step twice and one missing": (
        "seed", SEED.replace("prove_equal", "reseed").replace("    why: to know", "    how: anew\n    why: y")),
    "an undo that can't be": ("seed", SEED + "    undo: true\n"),
    "a point where there is none": ("seed", SEED + "    point_of_no_return: true\n"),
    "a command with a wrong undo": ("seed", _run("    undo: true", "    check: status")),
    "on is a trap": ("seed", _run().replace("    at:", "    on:")),
    "the tombstone before the proof": ("switchover", SWITCH.replace(_step(SWITCH, "tombstone"), "").replace(
        "  - do: prove_equal", _step(SWITCH, "tombstone") + "\n  - do: prove_equal")),
    "no fence": ("failover", FAIL.replace(_step(FAIL, "fence"), "")),
    "the point is missing": ("switchover", SWITCH.replace("    point_of_no_return: true\n", "")),
    "the point stands elsewhere": ("switchover", SWITCH.replace("    point_of_no_return: true\n", "").replace(
        "  - do: advance\n", "  - do: advance\n    point_of_no_return: true\n")),
    "an undo after the point": ("switchover", SWITCH.replace("  - do: serve\n", "  - do: serve\n    undo: false\n")),
    "a guard that is too quick": ("switchover", SWITCH.replace("ends_after: 40s", "ends_after: 20s")),
    "other parts": ("drill", load("drill", NOWHERE).text.replace("[switchover, failback]", "[failover, failback]")),
}  # fmt: skip


def messages() -> dict[str, str]:
    """What each case is told."""
    told = {}
    for name, (stem, text) in CASES.items():
        try:
            read_bytes(text if isinstance(text, bytes) else text.encode(), Path(f"{stem}.yaml"))
            told[name] = "it was accepted"
        except PlaybookError as error:
            told[name] = str(error)
    return told


if __name__ == "__main__":
    expected = "\n".join(f"## {name}\n{text}\n" for name, text in messages().items())
    Path(__file__).with_name("messages.txt").write_text(expected, encoding="utf-8")
