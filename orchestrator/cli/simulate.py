"""`mailmirror simulate`: journeys in virtual time, each by its seed, with whatever can go wrong.

Exit 1 where one of them breaks a guarantee.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import click

from orchestrator.cli import words
from orchestrator.cli.front import Front, style_option
from orchestrator.simulate.run import able, run


@click.command("simulate")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="So many, from a new one on; 1 with --seed.")
@click.option("--seed", type=click.IntRange(min=0), metavar="K", help="From this one on; alone, its story is told.")
@click.option("--journey", type=click.Choice(able()), default=None, help="This one alone, not one that is drawn.")
@style_option
@click.pass_obj
def command(front: Front, seeds: int | None, seed: int | None, journey: str | None) -> int:
    """Drive the real guards, conductor and steps on hosts and a network that break; a seed replays exactly."""
    first = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    outcomes: Counter[str] = Counter()
    broken: list[dict[str, Any]] = []
    story: tuple[str, ...] = ()
    for each in range(first, first + (seeds or (1 if seed is not None else 100))):
        outcome = run(each, journey or "")
        outcomes[f"{outcome.journey} {outcome.ended}"] += 1
        if outcome.broken:
            broken.append({"seed": each, "journey": outcome.journey, "broken": outcome.broken})
        story = story or (outcome.story if outcome.broken or seeds is None else ())
    told = {"first": first, "seeds": sum(outcomes.values()), "ended": dict(sorted(outcomes.items())), "broken": broken}
    if front.style == "json":
        words.show("simulate", {**told, "story": list(story)}, front.style)
    else:
        click.echo("\n".join([*story, *_sentences(told)]))
    return 1 if broken else 0


def _sentences(told: dict[str, Any]) -> list[str]:
    ends = ", ".join(f"{number} {end}" for end, number in told["ended"].items())
    lines = [f"{told['seeds']} seeds from {told['first']} on: {ends}."]
    for each in told["broken"]:
        lines.append(f"broken: seed {each['seed']}, {each['journey']}: {each['broken']}")
        lines.append(f"  its story: mailmirror simulate --seed {each['seed']}")
    return lines
