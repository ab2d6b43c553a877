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
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from nbarec.errors import ConfigError, Mark, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 50_000
MAX_PROBLEMS = 20


@dataclass(frozen=True)
class Node:
    """A value and the place where it was written."""

    mark: Mark


@dataclass(frozen=True)
class Scalar(Node):
    """Text, a number, true, false or null."""

    value: str | int | float | bool | None


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
        raise ConfigError("this is not UTF-8 text; save the file as UTF-8", _end_of(before, source)) from None
    return read_text(text, source)


def read_text(text: str, source: str) -> MapNode:
    """Read one YAML document whose top level is a mapping. Raises ConfigError with every place at fault."""
    root = _compose(text, source)
    if isinstance(root, MapNode):
        return root
    start = root.mark if root else Mark(source, 1, 1)
    found = "a list" if isinstance(root, ListNode) else "empty" if _is_null(root) else "a single value"
    raise ConfigError(f"the document is {found}; its top level must be a mapping such as 'nbarec: 1'", start)


def apply_overrides(root: MapNode, overrides: Mapping[str, object]) -> MapNode:
    """A copy of `root` with other values at dotted paths, as `--set candidates.latent.with.factors=128`.

    In a list, a component of the path is the `entry_id` of a mapping there. Missing mappings on the way are
    made. Text is read as YAML; other Python values are taken as they are. Raises ConfigError.
    """
    problems: list[Problem] = []
    for path, value in overrides.items():
        try:
            root = _override(root, path, value)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return root


def entry_id(node: Node) -> str | None:
    """The id by which a list entry is addressed: its `id`, else its `use`, else None."""
    if isinstance(node, MapNode):
        named = node.entries.get("id", node.entries.get("use"))
        if isinstance(named, Scalar) and isinstance(named.value, str):
            return named.value
    return None


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
            raise ConfigError(f"the key {_shown(bad[0])} is not text; write it as text", mark)
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
        return _with_point(repr(node.value))
    return _quoted(str(node.value).replace("${", "$${"))


def _quoted(text: str) -> str:
    return json.dumps(text).replace("\x7f", "\\u007f")  # JSON allows DEL in a string, YAML does not


def _compose(text: str, source: str) -> Node | None:
    """The document's root, or None where there is no document."""
    _refuse_large(len(text.encode("utf-8", "surrogatepass")), Mark(source, 1, 1))
    composer = _Composer(source)
    try:
        root = composer.document(yaml.parse(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets ValueError and OverflowError through for escapes and versions that are out of range.
        composer.problems.append(_syntax_problem(error, text, composer.mark))
    if composer.problems:
        raise ConfigError(composer.problems)
    return root


class _Composer:
    """Events -> nodes, within the limits; collects the problems of single scalars and keys."""

    def __init__(self, source: str) -> None:
        self.problems: list[Problem] = []
        self.mark = Mark(source, 1, 1)
        self._anchors: dict[str, Node] = {}
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
            self._fail(f"this is nested deeper than {MAX_DEPTH} levels; make it flatter")

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), depth)
        if event.tag is not None:
            self._fail(f"the tag {_shown(event.tag)} is not allowed; write the plain value")
        self._charge(depth - isinstance(event, yaml.ScalarEvent))
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = ListNode(self.mark, tuple(self._items(depth)))
        else:
            node = self._mapping(depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
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
                self._report(f"the key {_shown(key)} is already on line {first}; keep one of the two", mark)
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
            value = _plain_value(event.value) if event.style is None else event.value
            if isinstance(value, str):
                value = _well_formed(_expanded(value) if expand else value)
        except ValueError as error:
            self._report(str(error), self.mark)
            value = event.value  # keeps keys apart, so that one wrong key is not reported as a repeated one
        return Scalar(self.mark, value)

    def _alias(self, anchor: str, depth: int) -> Node:
        if anchor not in self._anchors:
            self._fail(f"the alias {_shown(anchor)} has no finished anchor before it; define it first")
        self._charge_again(self._anchors[anchor], depth)
        return self._anchors[anchor]

    def _charge_again(self, node: Node, depth: int) -> None:
        self._charge(depth - isinstance(node, Scalar))
        for child in _children(node):
            self._charge_again(child, depth + 1)


def _children(node: Node) -> Sequence[Node]:
    if isinstance(node, MapNode):
        return tuple(node.entries.values())
    return node.items if isinstance(node, ListNode) else ()


_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
_EXPONENT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")
_TRAPS = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (r"y|n|yes|no|on|off", "write true or false, or quote it for text"),
        (r"[-+]?0[0-9]+", "drop the leading zeros for a number, or quote it for text"),
        (
            r"[-+]?[0-9]+(:[0-9]+)+(\.[0-9]*)?",
            "write one number, or a duration such as 90s, or quote it for text",
        ),
        (r"[-+]?\.(inf|nan)", "write a finite number, or null, or quote it for text"),
        (r"[-+]?0[xob][0-9a-f_]+", "write a decimal number, or quote it for text"),
        (r"[-+]?[0-9]+(\.[0-9]*)?_[0-9_.]*", "write the number without underscores, or quote it for text"),
    )
)
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


def _plain_value(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means; ValueError where YAML versions disagree about it."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
            raise ValueError(f"{_shown(text)} does not fit 64 bits; write a smaller number, or quote it for text")
        return int(text)
    if _DECIMAL.fullmatch(text):
        if not math.isfinite(float(text)):
            raise ValueError(f"{_shown(text)} is too large for a number; write a smaller one, or quote it for text")
        return float(text)
    if _EXPONENT.fullmatch(text):
        number = _shown(_with_point(text), str)
        raise ValueError(f"{_shown(text)} is text to some YAML readers; write {number}, or quote it for text")
    for pattern, advice in _TRAPS:
        if pattern.fullmatch(text):
            raise ValueError(f"{_shown(text)} is read differently by different YAML readers; {advice}")
    return text


def _with_point(number: str) -> str:
    """1e3 -> 1.0e+3: the form that every YAML and JSON reader takes for a number."""
    mantissa, has_exponent, exponent = number.lower().partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    if not has_exponent:
        return mantissa
    return f"{mantissa}e{exponent}" if exponent[0] in "+-" else f"{mantissa}e+{exponent}"


def _expanded(text: str) -> str:
    """`${NAME}` and `${NAME:-default}` replaced from the environment, once; `$${` is a literal `${`."""
    return _VARIABLE.sub(_variable, text)


def _variable(match: re.Match[str]) -> str:
    name, default = match.groups()
    if match[0] == "$${":
        return "${"
    if name is None:
        raise ValueError("'${' starts a variable: write ${NAME} or ${NAME:-default}, or $${ for a literal ${")
    value = os.environ.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise ValueError(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
    return value


def _well_formed(text: str) -> str:
    """`text` with the surrogate pairs of JSON escapes joined; half a pair is not text."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError(f"{_shown(text)} holds half of a surrogate pair; write the character itself") from None


def _override(root: MapNode, path: str, value: object) -> MapNode:
    mark = Mark(f"--set {path}", 1, 1)
    parts = path.split(".")
    if not all(parts) or len(parts) > MAX_DEPTH:
        raise ConfigError("this is not a path; write one such as seed or candidates.latent.with.factors", mark)
    if isinstance(value, str):
        return _in_mapping(root, parts, _compose(value, mark.source) or Scalar(mark, None), mark)
    return _in_mapping(root, parts, from_python(value, mark), mark)


def _with_value(node: Node | None, parts: Sequence[str], value: Node, mark: Mark) -> Node:
    if not parts:
        return value
    if isinstance(node, ListNode):
        return _in_list(node, parts, value, mark)
    if node is None or _is_null(node):
        node = MapNode(mark, {}, {})
    if not isinstance(node, MapNode):
        raise ConfigError(f"{parts[0]!r} can't be set inside {_shown(to_plain(node))}, a single value", mark)
    return _in_mapping(node, parts, value, mark)


def _in_mapping(node: MapNode, parts: Sequence[str], value: Node, mark: Mark) -> MapNode:
    key = parts[0]
    entry = _with_value(node.entries.get(key), parts[1:], value, mark)
    return MapNode(node.mark, {**node.entries, key: entry}, {key: mark, **node.key_marks})


def _in_list(node: ListNode, parts: Sequence[str], value: Node, mark: Mark) -> ListNode:
    ids = [entry_id(item) for item in node.items]
    if not any(ids):
        raise ConfigError(f"there are no ids in this list to find {parts[0]!r} by; set the whole list", mark)
    if (times := ids.count(parts[0])) != 1:
        known = ", ".join(sorted({name for name in ids if name}))
        found = f"{times} entries have" if times else "no entry has"
        raise ConfigError(f"{found} the id {parts[0]!r}; the ids here are {known}", mark)
    at = ids.index(parts[0])
    entry = _with_value(node.items[at], parts[1:], value, mark)
    return ListNode(node.mark, (*node.items[:at], entry, *node.items[at + 1 :]))


def _is_null(node: Node | None) -> bool:
    return node is None or (isinstance(node, Scalar) and node.value is None)


def _refuse_large(size: int, mark: Mark) -> None:
    if size > MAX_BYTES:
        raise ConfigError(f"the text is larger than {MAX_BYTES:,} bytes; keep data out of the config", mark)


def _end_of(text: str, source: str) -> Mark:
    return Mark(source, text.count("\n") + 1, len(text) - text.rfind("\n"))


def _shown(value: object, form: Any = repr) -> str:
    text: str = form(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _syntax_problem(error: Exception, text: str, last: Mark) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        place = _end_of(text[: error.position], last.source)
        return Problem(f"the character U+{ord(text[error.position]):04X} is not allowed; remove it", place)
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(f"this is not valid YAML after here: {error}; correct the next value", last)
    start = error.problem_mark or error.context_mark
    place = Mark(last.source, start.line + 1, start.column + 1) if start else last
    line = (text.splitlines() or [""])[min(place.line, len(text.splitlines())) - 1]
    said = ", ".join(part for part in (error.context, error.problem) if part)
    if "${" in line:
        said += '; inside [ ] and { } quote it: "${NAME}"'
    elif "\\t" in said:
        said += "; indent with spaces, not tabs"
    return Problem(f"this is not valid YAML: {said}", place)
