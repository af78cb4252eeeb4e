"""A playbook: the list of steps of a journey, as the person on call reads it, checked whole before it is used.

They ship with the package (`orchestrator/playbooks`, which is the repository's `playbooks/`). A file of the same name
in `SITE` takes the place of one: it may add the site's own commands and change times (`verbs` says what must stay).

Invariant: what is returned obeys every law of `verbs`; otherwise all problems are told at once, each with its place,
as an inventory's are. There are no variables, conditions, loops, includes or templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orchestrator
from orchestrator.errors import ConfigError
from orchestrator.failover.verbs import JOURNEYS, RUN, STATES, VERBS, Kind, Line, Value, order_broken
from orchestrator.inventory import find
from orchestrator.inventory.problems import WrongFile, closest
from orchestrator.inventory.quantities import Wrong, duration, shown
from orchestrator.inventory.said import Said
from orchestrator.inventory.scopes import Findings, is_mapping, plain_value
from orchestrator.inventory.tree import Node, Unreadable, decoded, read_tree

SHIPPED = Path(orchestrator.__file__).parent / "playbooks"
SITE = Path("/etc/mailmirror/playbooks")
_HEADER = ("journey", "what", "from", "rto", "may_lose", "never")
_STEP = ("do", "run", "why", "within", "undo", "point_of_no_return")
_WAYS = ("anew", "adopt")


class PlaybookError(WrongFile):
    """A playbook can't be used."""

    default_remedy = "Correct the playbook, or move it away: then the one that comes with mailmirror is used."


@dataclass(frozen=True)
class Playbook:
    """`states` are those from which it may begin; `rto` is seconds, or None where nobody waits for it. `parts` are the
    journeys that it consists of instead of steps of its own (a drill). `text` is the whole file.
    """

    journey: str
    what: str
    states: tuple[str, ...]
    rto: float | None
    may_lose: str
    never: str
    lines: tuple[Line, ...]
    parts: tuple[str, ...]
    text: str

    @property
    def point(self) -> int:
        """The number of the step that carries the point of no return; 0 for none."""
        return next((line.number for line in self.lines if line.point), 0)

    def verbs(self) -> frozenset[str]:
        return frozenset(line.verb for line in self.lines)


def path_of(journey: str, site: Path = SITE) -> Path:
    """The file that counts for a journey: the site's own, else the one that ships."""
    own = site / f"{journey}.yaml"
    return own if own.exists() else SHIPPED / own.name


def load(journey: str, site: Path = SITE) -> Playbook:
    """The playbook that counts. Raises ConfigError where it can't be read, PlaybookError where it is wrong."""
    path = path_of(journey, site)
    try:
        content = find.read(path)
    except ConfigError as error:
        raise ConfigError(str(error), remedy=PlaybookError.default_remedy) from error
    return read_bytes(content, path)


def load_all(site: Path = SITE) -> dict[str, Playbook]:
    """Every journey's. Raises as `load` does, also for a file in `site` that is no journey's."""
    strange = [path for path in sorted(site.glob("*.y*ml")) if path.name not in {f"{name}.yaml" for name in JOURNEYS}]
    if strange:
        raise ConfigError(
            f"{strange[0]} is no journey's playbook: there are {', '.join(JOURNEYS)}, each as NAME.yaml.",
            remedy="Rename it, or move it away.",
        )
    return {journey: load(journey, site) for journey in JOURNEYS}


def verbs_used(playbooks: Iterable[Playbook]) -> frozenset[str]:
    """Every verb that a step of these uses."""
    return frozenset().union(*(playbook.verbs() for playbook in playbooks))


def read_bytes(content: bytes, path: Path) -> Playbook:
    """The playbook that these bytes are; `path` is what errors call it, and its stem the journey. Raises
    PlaybookError.
    """
    shown_lines = content.decode("utf-8-sig", errors="replace").split("\n")
    findings = Findings()
    try:
        text = decoded(content)
        top, problems = read_tree(text, "playbook", "start from the one that comes with mailmirror")
    except Unreadable as error:
        raise PlaybookError(path, error.problems, shown_lines) from error
    found = _Reader(findings, path.stem).playbook(top, text)
    if found is None or problems or findings.problems:
        raise PlaybookError(path, [*problems, *findings.problems], shown_lines)
    return found


class _Reader:
    """One file; whatever is wrong goes to `findings`, and reading goes on."""

    def __init__(self, findings: Findings, stem: str) -> None:
        self._findings, self._stem = findings, stem

    def _wrong(self, node: Node, path: tuple[str | int, ...], what: str, hint: str = "") -> None:
        self._findings.add(node.place, path, Said(what, hint))

    def playbook(self, top: Node, text: str) -> Playbook | None:
        if not is_mapping(self._findings, top, ()):
            if top.empty:
                self._wrong(top, (), "the playbook is empty", "start from the one that comes with mailmirror")
            return None
        journey = self._text(top, "journey")
        if journey not in JOURNEYS:
            if journey:
                hint = closest(journey, JOURNEYS) or f"known: {', '.join(JOURNEYS)}"
                self._wrong(top.entries["journey"].value, ("journey",), f"there is no journey {shown(journey)}", hint)
            return None
        known = JOURNEYS[journey]
        last = "parts" if known.parts else "steps"
        self._known_keys(top, (), (*_HEADER, last))
        if journey != self._stem:
            where = top.entries["journey"].value
            self._wrong(where, ("journey",), f"the file is {self._stem}.yaml", f"name it {journey}.yaml")
        steps = top.get("steps")
        lines = self._lines(journey, steps) if steps is not None and not known.parts else ()
        parts = self._words(top, "parts") if known.parts else ()
        if known.parts and parts and parts != known.parts:
            hint = f"write [{', '.join(known.parts)}]"
            self._wrong(top.entries["parts"].value, ("parts",), f"a {journey} has other parts", hint)
        return Playbook(
            journey=journey,
            what=self._text(top, "what"),
            states=self._states(top),
            rto=self._rto(top),
            may_lose=self._text(top, "may_lose"),
            never=self._text(top, "never"),
            lines=lines,
            parts=parts,
            text=text,
        )

    def _known_keys(self, node: Node, path: tuple[str | int, ...], known: Sequence[str]) -> None:
        for name, entry in node.entries.items():
            if name not in known:
                hint = closest(name, known) or f"known here: {', '.join(known)}"
                self._findings.add(entry.key, path, Said(f"unknown key {name}", hint))
        for name in known if not path else ():
            if name not in node.entries:
                self._wrong(node, path, f"{name} is missing", f"add {name}: here")

    def _value(self, node: Node, key: str, path: tuple[str | int, ...] = ()) -> tuple[Node, object] | None:
        """The node and the plain value of a key; None where there is none, or it was wrong already."""
        found = node.get(key)
        if found is None:
            return None
        bad: list[tuple[str | int, ...]] = []
        value = plain_value(self._findings, found, (*path, key), bad)
        return None if bad else (found, value)

    def _text(self, node: Node, key: str, path: tuple[str | int, ...] = ()) -> str:
        found = self._value(node, key, path)
        if found is None:
            return ""
        if not isinstance(found[1], str) or not found[1].strip():
            self._wrong(found[0], (*path, key), f"must be a text, is {shown(found[1])}", "put it in quotes")
            return ""
        return found[1]

    def _words(self, node: Node, key: str, path: tuple[str | int, ...] = ()) -> tuple[str, ...]:
        found = self._value(node, key, path)
        if found is None:
            return ()
        if not isinstance(found[1], tuple) or not found[1] or not all(isinstance(word, str) for word in found[1]):
            self._wrong(found[0], (*path, key), f"must be a list of words, is {shown(found[1])}", "write [word, word]")
            return ()
        return tuple(str(word) for word in found[1])

    def _duration(self, node: Node, key: str, path: tuple[str | int, ...] = ()) -> float:
        found = self._value(node, key, path)
        if found is None:
            return 0.0
        try:
            seconds = duration(found[1])
        except Wrong as error:
            self._wrong(found[0], (*path, key), error.what, error.hint)
            return 0.0
        if not seconds:
            self._wrong(found[0], (*path, key), "must be more than 0", "give it some seconds")
        return seconds

    def _flag(self, node: Node, key: str, path: tuple[str | int, ...]) -> bool | None:
        found = self._value(node, key, path)
        if found is None:
            return None
        if not isinstance(found[1], bool):
            self._wrong(found[0], (*path, key), f"must be true or false, is {shown(found[1])}", "write true or false")
            return None
        return found[1]

    def _rto(self, top: Node) -> float | None:
        written = top.get("rto")
        if written is not None and written.scalar == "none":
            return None
        return self._duration(top, "rto")

    def _states(self, top: Node) -> tuple[str, ...]:
        found = self._words(top, "from")
        for at, word in enumerate(found):
            if word not in STATES:
                node = top.entries["from"].value.items[at]
                hint = closest(word, STATES) or f"known: {', '.join(STATES)}"
                self._wrong(node, ("from", at), f"there is no state {shown(word)}", hint)
        return found

    # ---- steps -------------------------------------------------------------------------------------------------------

    def _lines(self, journey: str, steps: Node) -> tuple[Line, ...]:
        if steps.kind != "list" or not steps.items:
            self._wrong(steps, ("steps",), "must be a list of steps", "begin each with `- do: VERB`")
            return ()
        lines = [self._line(at, node) for at, node in enumerate(steps.items)]
        read = [line for line in lines if line is not None]
        if len(read) == len(lines):
            for index, what in order_broken(journey, [line.verb for line in read]):
                node = steps if index is None else steps.items[index]
                path = ("steps",) if index is None else ("steps", index)
                self._wrong(node, path, what, f"see {SHIPPED.name}/{journey}.yaml: this order keeps it safe")
            self._point(journey, steps, read)
            self._timer(steps, read)
        return tuple(read)

    def _point(self, journey: str, steps: Node, lines: Sequence[Line]) -> None:
        """The point of no return stands where the journey has it, and nothing claims to be undone after it."""
        wanted = JOURNEYS[journey].point
        for at, line in enumerate(lines):
            if line.point and line.verb != wanted:
                hint = f"it belongs to {wanted}" if wanted else f"a {journey} has none"
                self._wrong(steps.items[at], ("steps", at), "the point of no return can't stand here", hint)
            if line.verb == wanted and not line.point:
                self._wrong(steps.items[at], ("steps", at), "the point of no return is missing", _POINT_HINT)
        after = next((line.number for line in lines if line.verb == wanted), len(lines) + 1)
        for at, line in enumerate(lines):
            if line.number > after and steps.items[at].get("undo") is not None:
                hint = "remove undo: from there on a journey only goes forward"
                self._wrong(steps.items[at], ("steps", at), "nothing is undone after the point of no return", hint)

    def _timer(self, steps: Node, lines: Sequence[Line]) -> None:
        """The active's guard starts nothing again while the steps up to the point may still take their time."""
        begin = next((at for at, line in enumerate(lines) if line.verb == "quiesce"), None)
        end = next((at for at, line in enumerate(lines) if line.point), None)
        if begin is None or end is None:
            return
        longest, timer = sum(line.within for line in lines[begin : end + 1]), lines[begin].parameters.get("ends_after")
        if isinstance(timer, float) and timer < longest:
            what = f"the guard waits for {timer:g}s, and the steps up to the point of no return may take {longest:g}s"
            hint = f"write ends_after: {longest:g}s or more, or give the steps less"
            self._wrong(steps.items[begin], ("steps", begin), what, hint)

    def _line(self, at: int, node: Node) -> Line | None:
        path = ("steps", at)
        if not is_mapping(self._findings, node, path):
            return None
        verb = RUN if "run" in node.entries else self._text(node, "do", path)
        if ("run" in node.entries) == ("do" in node.entries):
            self._wrong(node, path, "a step has either do: or run:", "write `- do: VERB`, or `- run: [command, word]`")
            return None
        if verb not in VERBS or (verb == RUN and "do" in node.entries):
            hint = closest(verb, VERBS) or f"known: {', '.join(VERBS)}"
            if verb:
                self._wrong(node.entries["do"].value, (*path, "do"), f"there is no verb {shown(verb)}", hint)
            return None
        shape = VERBS[verb]
        takes = {name: kind for name, kind in shape.takes.items() if name != "command"}
        own = ("run", *takes) if verb == RUN else ("do", *takes)
        self._known_keys(node, path, (*own, *(key for key in _STEP[2:] if key not in own)))
        for name in ("why", "within", *(name for name in shape.needs if name in takes)):
            if name not in node.entries:
                self._wrong(node, path, f"{name} is missing", f"add {name}: here")
        parameters = {name: self._parameter(node, name, kind, path) for name, kind in takes.items() if node.get(name)}
        if verb == RUN:
            parameters["command"] = self._words(node, "run", path)
            undo: bool | None = "undo" in parameters
        else:
            undo = self._flag(node, "undo", path)
            if undo and not shape.undoes:
                self._wrong(node.entries["undo"].value, (*path, "undo"), f"{verb} can't be undone", "remove undo")
        return Line(
            number=at + 1,
            verb=verb,
            why=self._text(node, "why", path),
            within=self._duration(node, "within", path),
            parameters=parameters,
            undo=shape.undoes if undo is None else undo,
            repeatable=bool(parameters.get("repeatable", shape.repeatable)),
            point=self._flag(node, "point_of_no_return", path) or False,
        )

    def _parameter(self, node: Node, name: str, kind: Kind, path: tuple[str | int, ...]) -> Value:
        if kind is Kind.DURATION:
            return self._duration(node, name, path)
        if kind is Kind.WORDS:
            return self._words(node, name, path)
        if kind is Kind.FLAG:
            return self._flag(node, name, path) or False
        word = self._text(node, name, path)
        options = _OPTIONS.get(kind)
        if word and options and word not in options:
            hint = closest(word, options) or f"write {kind.value}"
            self._wrong(node.entries[name].value, (*path, name), f"{shown(word)} is not {kind.value}", hint)
        return word


_POINT_HINT = "add point_of_no_return: true"
_OPTIONS: Mapping[Kind, tuple[str, ...]] = {Kind.PLACE: ("active", "passive"), Kind.WAY: _WAYS}
