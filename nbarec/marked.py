"""YAML text -> plain values that remember where they were written.

Built from PyYAML's event stream, so that every key has a line and a column, size is bounded before anything
is expanded, and no text can name a Python object. Scalars on which YAML 1.1 and 1.2 disagree are errors that
say what to write instead.

>>> root = read_text("seed: 42", "music.yaml")
>>> to_plain(root), str(root.entries["seed"].mark)
({'seed': 42}, 'music.yaml:1:7')
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from nbarec.errors import ConfigError, Mark, Problem
from nbarec.scalars import ScalarValue, resolved, shown, with_point
from nbarec.yaml_errors import TooDeep, end_of, syntax_problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 50_000
MAX_PROBLEMS = 20
_TOO_DEEP = f"this is nested deeper than {MAX_DEPTH} levels; make it flatter"


@dataclass(frozen=True)
class Node:
    """A value and the place where it was written."""

    mark: Mark


@dataclass(frozen=True)
class Scalar(Node):
    """Text, a number, true, false or null."""

    value: ScalarValue


@dataclass(frozen=True)
class ListNode(Node):
    """Values in order."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class MapNode(Node):
    """Values by name, in the order of the text; `key_marks` says where each name stands."""

    entries: dict[str, Node]
    key_marks: dict[str, Mark]


def read_file(path: str | os.PathLike[str]) -> MapNode:
    """Read one YAML file; marks name `path` as it was given. Raises ConfigError."""
    source = os.fspath(path)
    start = Mark(source, 1, 1)
    if Path(source).is_dir():
        raise ConfigError(f"{source} is a folder; name the YAML file inside it")
    try:
        with open(source, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {source} in {Path.cwd()}; check the path") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source} can't be read: {error}; check the path and its permissions") from error
    _refuse_large(len(content), start)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        raise ConfigError("this is not UTF-8 text; save the file as UTF-8", end_of(before, source)) from None
    return read_text(text, source)


def read_text(text: str, source: str) -> MapNode:
    """Read one YAML document whose top level is a mapping. Raises ConfigError with every place at fault."""
    root = compose(text, source)
    if isinstance(root, MapNode):
        return root
    start = root.mark if root else Mark(source, 1, 1)
    found = "a list" if isinstance(root, ListNode) else "empty" if is_null(root) else "a single value"
    raise ConfigError(f"the document is {found}; its top level must be a mapping such as 'nbarec: 1'", start)


def from_python(value: Any, mark: Mark, *, depth: int = 1) -> Node:
    """Nodes of mappings, sequences, arrays and scalars, all at `mark`.

    An object of another type becomes the value of a Scalar, for the typed check to take or to refuse.
    """
    if depth > MAX_DEPTH + 1:
        raise ConfigError(f"the value is nested deeper than {MAX_DEPTH} levels; make it flatter", mark)
    if isinstance(value, Node):
        return value
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, without importing NumPy to read a file
        value = value.tolist()
    if isinstance(value, Mapping):
        if bad := [key for key in value if not isinstance(key, str)]:
            raise ConfigError(f"the key {shown(bad[0])} is not text; write it as text", mark)
        entries = {key: from_python(item, mark, depth=depth + 1) for key, item in value.items()}
        return MapNode(mark, entries, dict.fromkeys(entries, mark))
    if isinstance(value, list | tuple):
        return ListNode(mark, tuple(from_python(item, mark, depth=depth + 1) for item in value))
    return Scalar(mark, value)


def to_plain(node: Node) -> Any:
    """The same tree as dicts, lists and scalars."""
    if isinstance(node, MapNode):
        return {key: to_plain(value) for key, value in node.entries.items()}
    if isinstance(node, ListNode):
        return [to_plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    return node.value


def dump(node: Node) -> str:
    """One line of JSON with sorted keys that `read_text` reads back as the same tree (it has `$${` for `${`)."""
    if isinstance(node, MapNode):
        inner = (f"{_quoted(key)}: {dump(value)}" for key, value in sorted(node.entries.items()))
        return "{" + ", ".join(inner) + "}"
    if isinstance(node, ListNode):
        return "[" + ", ".join(map(dump, node.items)) + "]"
    assert isinstance(node, Scalar)
    if node.value is None or type(node.value) in (bool, int):
        return json.dumps(node.value)
    if type(node.value) is float:
        return with_point(repr(node.value))
    return _quoted(str(node.value).replace("${", "$${"))


def _quoted(text: str) -> str:
    return json.dumps(text).replace("\x7f", "\\u007f")  # JSON allows DEL in a string, YAML does not


def compose(text: str, source: str) -> Node | None:
    """The root of one document, whatever it is, or None where there is no document. Raises ConfigError."""
    _refuse_large(len(text.encode("utf-8", "surrogatepass")), Mark(source, 1, 1))
    composer = _Composer(source)
    try:
        root = composer.document(yaml.parse(text, Loader=_Loader))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets ValueError and OverflowError through for escapes and versions that are out of range.
        composer.problems.append(syntax_problem(error, text, composer.mark))
    if composer.problems:
        raise ConfigError(composer.problems)
    return root


class _Loader(yaml.SafeLoader):
    """Stops at one bracket too many: PyYAML compares each open one with all others before it tells of the first."""

    def fetch_flow_collection_start(self, token_class: Any) -> None:
        if self.flow_level >= MAX_DEPTH:
            raise TooDeep(None, None, _TOO_DEEP, self.get_mark())
        super().fetch_flow_collection_start(token_class)


class _Composer:
    """Events -> nodes, within the limits; collects the problems of single scalars and keys."""

    def __init__(self, source: str) -> None:
        self.problems: list[Problem] = []
        self.mark = Mark(source, 1, 1)
        self._anchors: dict[str, tuple[Node, int]] = {}  # and how many values the node holds
        self._levels: dict[int, int] = {}
        self._count = 0

    def document(self, events: Iterator[Any]) -> Node | None:
        self._events = events
        self._next()
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        root = self._node(self._next(), depth=1)
        self._next()
        if not isinstance(self._next(), yaml.StreamEndEvent):
            self._fail("a second document starts here; keep one document in a file")
        return root

    def _next(self) -> Any:
        event = next(self._events)
        start = event.start_mark
        self.mark = Mark(self.mark.source, start.line + 1, start.column + 1)
        return event

    def _fail(self, message: str) -> NoReturn:
        raise ConfigError([*self.problems, Problem(message, self.mark)])

    def _report(self, message: str, mark: Mark) -> None:
        self.problems.append(Problem(message, mark))
        if len(self.problems) >= MAX_PROBLEMS:
            raise ConfigError(self.problems)

    def _charge(self, depth: int) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            self._fail(f"there are more than {MAX_NODES:,} values, aliases expanded; make the file smaller")
        if depth > MAX_DEPTH:
            self._fail(_TOO_DEEP)

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), depth)
        if event.tag is not None:
            self._fail(f"the tag {shown(event.tag)} is not allowed; write the plain value")
        before = self._count
        self._charge(depth - isinstance(event, yaml.ScalarEvent))
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = ListNode(self.mark, tuple(self._items(depth)))
        else:
            node = self._mapping(depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._count - before)
        return node

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _mapping(self, depth: int) -> MapNode:
        node = MapNode(self.mark, {}, {})
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            mark = self.mark
            key = self._key(event)
            if key in node.entries:
                first = node.key_marks[key].line
                self._report(f"the key {shown(key)} is already on line {first}; keep one of the two", mark)
            node.entries[key] = self._node(self._next(), depth + 1)
            node.key_marks[key] = mark
        return node

    def _key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
            self._fail("a key must be plain text; write it out as one word or in quotes")
        if event.style is None and event.value == "<<":
            self._fail("merge keys (<<) are not allowed; repeat the entries, or use an alias for a whole value")
        self._charge(0)
        key = self._scalar(event, expand=False).value
        if not isinstance(key, str):
            self._report(f"the key {event.value or 'null'} is not text; put it in quotes", self.mark)
        return str(key)

    def _scalar(self, event: Any, *, expand: bool = True) -> Scalar:
        try:
            value = resolved(event.value, quoted=event.style is not None, expand=expand)
        except ValueError as error:
            self._report(str(error), self.mark)
            value = event.value  # keeps keys apart, so that one wrong key is not reported as a repeated one
        return Scalar(self.mark, value)

    def _alias(self, anchor: str, depth: int) -> Node:
        if anchor not in self._anchors:
            self._fail(f"the alias {shown(anchor)} has no finished anchor before it; define it first")
        node, values = self._anchors[anchor]
        self._count += values - 1
        self._charge(depth + self._levels_of(node) - 1)
        return node

    def _levels_of(self, node: Node) -> int:
        """How many lists and mappings lie in each other; found once for each node, as an alias may hold aliases."""
        if isinstance(node, Scalar):
            return 0
        if id(node) not in self._levels:
            self._levels[id(node)] = 1 + max(map(self._levels_of, _children(node)), default=0)
        return self._levels[id(node)]


def _children(node: Node) -> Sequence[Node]:
    if isinstance(node, MapNode):
        return tuple(node.entries.values())
    return node.items if isinstance(node, ListNode) else ()


def is_null(node: Node | None) -> bool:
    """Whether nothing is said: no node, or a null."""
    return node is None or (isinstance(node, Scalar) and node.value is None)


def _refuse_large(size: int, mark: Mark) -> None:
    if size > MAX_BYTES:
        raise ConfigError(f"the text is larger than {MAX_BYTES:,} bytes; keep data out of the config", mark)
