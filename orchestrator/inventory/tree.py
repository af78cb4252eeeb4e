"""YAML text to a tree of nodes that know their places; what is wrong with a part stays with that part.

Invariant: bounded in depth, in size and in what aliases expand to, whatever the text (a hostile one too); no
tag makes an object. Faults of a mapping or scalar stand in its node, so that other groups of an Ansible
inventory may hold what they like: only what is read is judged. Read by events rather than composed: the
composer stops at the first undefined alias, and its recursion isn't bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import yaml

from orchestrator.inventory.problems import Place, Problem
from orchestrator.inventory.scalars import Scalar, Trap, plain

MAX_DEPTH = 24
MAX_NODES = 100_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML may have been built without libyaml
_STANDARD_TAGS = {"tag:yaml.org,2002:" + name for name in ("str", "map", "seq")}


class Fault(NamedTuple):
    """Something wrong inside a node, at its own place."""

    place: Place
    what: str
    hint: str


@dataclass
class Node:
    """One value of the file. Exactly one of `entries`, `items` is used, or neither for a scalar."""

    place: Place
    kind: str  # scalar, list, map
    scalar: Scalar = None
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    size: int = 1  # nodes in it, aliases expanded
    broken: bool = False  # what stands here was reported, and says nothing about what was meant

    @property
    def empty(self) -> bool:
        """True where a key stands without a value."""
        return self.kind == "scalar" and self.scalar is None and not self.broken and not self.faults

    def get(self, key: str) -> Node | None:
        """The value under a key of a mapping; None where there is no such key."""
        entry = self.entries.get(key)
        return entry.value if entry else None


class Entry(NamedTuple):
    """A key and its value."""

    key: Place
    value: Node


class Unreadable(Exception):
    """The text is no YAML that we can read; the problems say why."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("not readable")
        self.problems = problems


def decoded(content: bytes) -> str:
    """The file as text. Raises Unreadable where it isn't UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", errors="replace")
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        problem = Problem(place, "", f"byte 0x{content[error.start]:02x} is not UTF-8", "save the file as UTF-8")
        raise Unreadable([problem]) from error


def read_tree(
    text: str, what: str = "inventory", sample: str = "start from the commented sample"
) -> tuple[Node, list[Problem]]:
    """The top node, and the problems that concern the whole text. `what` is what messages call the file, `sample` what
    they propose for an empty one. Raises Unreadable where there is no tree.
    """
    odd = _unseen_characters(text)
    if odd:
        raise Unreadable(odd)
    reader = _Reader(text, what, sample)
    try:
        return reader.document(), reader.problems
    except yaml.MarkedYAMLError as error:
        raise Unreadable(reader.problems + _syntax(error, text)) from error
    except yaml.YAMLError as error:
        raise Unreadable([Problem(Place(), "", f"this isn't YAML: {error}".splitlines()[0])]) from error


def _unseen_characters(text: str) -> list[Problem]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        seen = line.removesuffix("\r").replace("\t", " ")
        if not seen.isprintable():
            column = next(at for at, char in enumerate(seen) if not char.isprintable())
            what = f"a character that can't be seen (U+{ord(seen[column]):04X})"
            found.append(Problem(Place(number, column + 1), "", what, "delete it, or type a plain space"))
    return found


def _syntax(error: yaml.MarkedYAMLError, text: str) -> list[Problem]:
    """What the parser says, in place; all tabs in indentations at once, since each would be the next error."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        if "\t" in indent and line.strip() and not line.strip().startswith("#"):
            place = Place(number, indent.index("\t") + 1)
            found.append(Problem(place, "", "a tab in the indentation", "indent with spaces: YAML allows no tab here"))
    mark = error.problem_mark or error.context_mark
    place = Place(mark.line + 1, mark.column + 1) if mark else Place()
    if any(problem.place.line == place.line for problem in found):
        return found
    what = error.problem or "this isn't YAML"
    if error.context and error.context_mark and error.context_mark.line != place.line - 1:
        what += f", {error.context} that began in line {error.context_mark.line + 1}"
    hint = _SYNTAX_HINTS.get(error.problem or "", "")
    return [*found, Problem(place, "", what, hint)]


_SYNTAX_HINTS = {
    "mapping values are not allowed in this context": "put a value that holds `: ` in quotes, or check the indentation",
    "did not find expected key": "check the indentation, and that brackets and quotes are closed",
    "found unexpected end of stream": "close the quote",
    "did not find expected ',' or ']'": "close the bracket",
    "did not find expected ',' or '}'": "close the brace",
    "found character that cannot start any token": "put the value in quotes",
    "could not find expected ':'": "write `key: value`, with a space after the colon",
}


_KINDS = {"map": "mapping", "list": "list"}


class _Reader:
    """One pass over the parser's events."""

    def __init__(self, text: str, what: str, sample: str) -> None:
        self.problems: list[Problem] = []
        self._what, self._sample = what, sample
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_LOADER))
        self._anchors: dict[str, Node | None] = {}  # None: still open
        self._made = 0

    def document(self) -> Node:
        next(self._events)  # the stream's start
        if not isinstance(next(self._events), yaml.DocumentStartEvent):
            raise Unreadable([Problem(Place(), "", f"the {self._what} is empty", self._sample)])
        top = self._node(next(self._events), 0)
        next(self._events)  # the document's end
        after = next(self._events)
        if isinstance(after, yaml.DocumentStartEvent):
            what = f"a second document begins here; one {self._what} is one document"
            self.problems.append(Problem(_place(after), "", what, "remove the line `---`"))
        return top

    def _node(self, event: yaml.Event, depth: int) -> Node:
        self._made += 1
        if depth > MAX_DEPTH:
            raise Unreadable([*self.problems, Problem(_place(event), "", f"nested deeper than {MAX_DEPTH} levels")])
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = _scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(event, depth)
        else:
            node = self._map(event, depth)
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _STANDARD_TAGS and tag != "!":
            node.faults.append(Fault(_place(event), *_about_tag(tag)))
        if anchor is not None:
            self._anchors[anchor] = node
        if max(node.size, self._made) > MAX_NODES:
            what = f"more than {MAX_NODES:,} values, aliases expanded: this can't be a file of ours"
            raise Unreadable([*self.problems, Problem(node.place, "", what)])
        return node

    def _alias(self, event: yaml.AliasEvent) -> Node:
        place = _place(event)
        name = event.anchor or ""
        if name not in self._anchors:
            hint = _anchors_above(self._anchors)
            self.problems.append(Problem(place, "", f"*{name} names an anchor that isn't defined above", hint))
        elif (found := self._anchors[name]) is None:
            self.problems.append(Problem(place, "", f"*{name} stands inside what it names"))
        else:
            return found
        return Node(place, "scalar", broken=True)

    def _list(self, event: yaml.Event, depth: int) -> Node:
        node = Node(_place(event), "list")
        while not isinstance(following := next(self._events), yaml.SequenceEndEvent):
            item = self._node(following, depth + 1)
            node.items.append(item)
            node.size += item.size
        return node

    def _map(self, event: yaml.Event, depth: int) -> Node:
        node = Node(_place(event), "map")
        merged: list[Node] = []
        while not isinstance(following := next(self._events), yaml.MappingEndEvent):
            key = self._node(following, depth + 1)
            value = self._node(next(self._events), depth + 1)
            node.size += key.size + value.size
            if isinstance(following, yaml.ScalarEvent) and following.value == "<<" and following.implicit[0]:
                merged += value.items if value.kind == "list" else [value]
            else:
                _add(node, key, value, following)
        for source in merged:
            if source.kind != "map":
                node.faults.append(Fault(source.place, "<< takes a mapping or a list of mappings", "write <<: *NAME"))
            for name, entry in source.entries.items():
                node.entries.setdefault(name, entry)
        return node


def _add(node: Node, key: Node, value: Node, event: yaml.Event) -> None:
    if key.kind != "scalar":
        template = "templates ({{ }}) are not evaluated here: write the value itself"
        node.faults.append(Fault(key.place, f"a {_KINDS[key.kind]} can't be a key", template))
        node.broken = True
        return
    name = event.value if isinstance(event, yaml.ScalarEvent) else str(key.scalar)
    node.faults += key.faults
    if not key.faults and not isinstance(key.scalar, str):
        node.faults.append(Fault(key.place, f"the key {name or '(nothing)'} is not a text", "put it in quotes"))
    first = node.entries.get(name)
    if first is not None:
        what = f"duplicate key {name} (first in line {first.key.line})"
        node.faults.append(Fault(key.place, what, "keep one of them: YAML would silently drop the first"))
        return
    node.entries[name] = Entry(key.place, value)


def _scalar(event: yaml.ScalarEvent) -> Node:
    node = Node(_place(event), "scalar", event.value)
    if event.implicit[0]:
        value = plain(event.value)
        if isinstance(value, Trap):
            node.faults.append(Fault(node.place, value.what, value.hint))
        else:
            node.scalar = value
    if "{{" in event.value or "{%" in event.value:
        node.faults.append(Fault(node.place, "templates are not evaluated here", "write the value itself"))
    elif not event.value.isprintable():
        node.faults.append(Fault(node.place, "holds a line break or another control character", "write it in one line"))
    return node


def _about_tag(tag: str) -> tuple[str, str]:
    if tag == "!vault":
        hint = "name a secret by {file: PATH} or {credential: NAME}"
        return "a value encrypted by Ansible Vault can't be read here", hint
    short = tag.replace("tag:yaml.org,2002:", "!!")
    return f"the tag {short} is not used here", "remove the tag, put a text in quotes"


def _anchors_above(known: dict[str, Node | None]) -> str:
    return f"defined above: {', '.join('&' + other for other in known)}" if known else "no anchor is defined above"


def _place(event: yaml.Event) -> Place:
    start, end = event.start_mark, event.end_mark
    if start is None or end is None:
        return Place()
    width = end.column - start.column if end.line == start.line else 1
    return Place(start.line + 1, start.column + 1, max(1, width))
