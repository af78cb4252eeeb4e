"""What befalls a journey: drawn from a seed, struck at its time, and mended.

Each fault has a time after the journey's beginning and, where it lasts, how long.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.simulate.guards import PLACES

if TYPE_CHECKING:
    from orchestrator.simulate.run import Run

SITES = (*PLACES, "desk")


class Fault(NamedTuple):
    """`at` and `lasts` in seconds; `where`: a place, two of them with a space between, or a share."""

    at: float
    kind: str
    where: str
    lasts: float


KINDS = (
    "crash", "crash", "crash", "kill", "part", "part", "one-way", "frozen", "power", "guard", "loss", "late", "gone",
    "jump", "rollback", "resume-guard", "resume-guard", "rival", "unmounted",
)  # fmt: skip

FIRST = ("switchover", "failover")
"""The others have no rival: without a journal of the earlier journeys it would order a failover of its own."""


def drawn(dice: Random, journey: str, mostly: tuple[int, ...] = (0, 1, 1, 2, 2, 3, 4)) -> list[Fault]:
    """Some faults, as many as one of `mostly`; a failover begins with what makes it needed, or with nothing at all."""
    found = []
    kinds = [kind for kind in KINDS if journey in FIRST or kind != "rival"]
    if journey == "rejoin":
        kinds += ["abort", "abort", *["crash"] * 6]
    if journey == "failover":
        first = dice.choice(["power", "isolated", "nothing"])
        found.append(Fault(dice.uniform(0.0, 0.5), first, "primary", dice.uniform(15.0, 90.0)))
    for _ in range(dice.choice(mostly)):
        kind = dice.choice(kinds)
        where = dice.choice(PLACES)
        if kind in ("part", "one-way"):
            where = " ".join(dice.sample(SITES, 2))
        elif kind == "crash":
            where = str(dice.randint(1, 160))
        elif kind == "resume-guard":
            where = "primary"
        elif kind == "unmounted":
            where = dice.choice(PLACES[:2])
        # Half of them strike in the first seconds, where a journey's dangerous steps are.
        found.append(Fault(dice.uniform(0.0, dice.choice([5.0, 30.0])), kind, where, dice.uniform(0.2, 40.0)))
    return found


def strike(run: Run, fault: Fault) -> None:
    """It happens now; what lasts is undone later."""
    if fault.where == "witness" and not run.site.witness:
        return
    run.say(f"fault: {fault.kind} {fault.where} for {fault.lasts:.1f} s")
    _STRIKES[fault.kind](run, fault)


def _later(run: Run, fault: Fault, action: Callable[[], None]) -> None:
    run.clock.after(fault.lasts, action)


def _crash(run: Run, fault: Fault) -> None:
    """At an instant of the controller that runs."""
    for life in run.lives:
        if life.alive:
            life.dies_at = life.instants + int(fault.where)
    _later(run, fault, run.begins)


def _kill(run: Run, fault: Fault) -> None:
    run.dies()
    _later(run, fault, run.begins)


def _part(run: Run, fault: Fault) -> None:
    one, other = fault.where.split()
    run.site.network.part(one, other, one_way=fault.kind == "one-way")
    _later(run, fault, lambda: run.site.network.cut.difference_update({(one, other), (other, one)}))


def _isolated(run: Run, fault: Fault) -> None:
    """From everybody."""
    cut = run.site.network.cut
    for other in SITES:
        if other != fault.where:
            run.site.network.part(fault.where, other, one_way=False)
    _later(run, fault, lambda: cut.difference_update({link for link in cut if fault.where in link}))


def _frozen(run: Run, fault: Fault) -> None:
    """Nothing runs but the kernel."""
    run.site.hosts[fault.where].frozen = True
    _later(run, fault, lambda: _thaw(run, fault.where))


def _thaw(run: Run, place: str) -> None:
    run.site.hosts[place].frozen = False


def _power(run: Run, fault: Fault) -> None:
    if run.at == fault.where:
        run.dies()
    run.site.power_cut(fault.where)
    _later(run, fault, lambda: _on(run, fault.where))


def _on(run: Run, place: str) -> None:
    back = not run.site.hosts[place].up
    run.site.boots(place)
    if back and run.at == place:
        run.begins()


def _guard(run: Run, fault: Fault) -> None:
    run.site.guard_starts(fault.where)


def _lines(run: Run, fault: Fault) -> None:
    """Every line is bad in one way."""
    net = run.site.network
    net.loss, net.double = (0.3, 0.2) if fault.kind == "loss" else (net.loss, net.double)
    net.late = 0.2 if fault.kind == "late" else net.late
    net.gone = 0.15 if fault.kind == "gone" else net.gone
    _later(run, fault, net.heal_losses)


def _jump(run: Run, fault: Fault) -> None:
    run.site.wall_jump += 3600.0 if fault.lasts > 20 else -3600.0


def _resume(run: Run, fault: Fault) -> None:
    """By hand, on the host: `mailmirror-guard resume`."""
    guard = run.site.guards[fault.where]
    if guard.alive and not guard.host.frozen:
        epoch = guard.mind.register.epoch
        guard.told({"verb": "resume", "epoch": epoch, "operation": f"by hand {run.clock.now:.3f}"})


def _rival(run: Run, _: Fault) -> None:
    run.rivals()


def _unmounted(run: Run, fault: Fault) -> None:
    """The store's file system is away, and an empty directory stands there."""
    store = run.site.hosts[fault.where].store
    store.mounted = False
    _later(run, fault, lambda: setattr(store, "mounted", True))


def _mend(run: Run, _: Fault) -> None:
    run.site.network.heal()
    for place in run.site.hosts:
        run.site.hosts[place].store.mounted = True
        _thaw(run, place)
        _on(run, place)


_STRIKES: dict[str, Callable[[Run, Fault], None]] = {
    "crash": _crash,
    "kill": _kill,
    "part": _part,
    "one-way": _part,
    "isolated": _isolated,
    "frozen": _frozen,
    "power": _power,
    "guard": _guard,
    "loss": _lines,
    "late": _lines,
    "gone": _lines,
    "jump": _jump,
    "abort": lambda run, _: run.ordered("abort"),
    "rollback": lambda run, _: run.ordered("rollback"),
    "resume-guard": _resume,
    "rival": _rival,
    "unmounted": _unmounted,
    "nothing": lambda run, _: None,
    "mend": _mend,
}
