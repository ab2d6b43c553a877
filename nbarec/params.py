"""Parameters: declared once with `param`, built from marked YAML, checked alike when made in Python.

>>> @dataclass(frozen=True)
... class Als:
...     factors: int = param(64, ge=1, doc="Length of each latent vector.")
...     def __post_init__(self) -> None:
...         check_params(self)
>>> Als(factors=0)
Traceback (most recent call last):
ValueError: factors must be at least 1, not 0
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import math
import operator
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar, Union, get_args, get_origin, get_type_hints, runtime_checkable

from nbarec.errors import ConfigError, Mark, Problem
from nbarec.marked import ListNode, MapNode, Node, Scalar, dump, from_python

T = TypeVar("T")

_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])")
_METADATA = "nbarec"
_NOWHERE = Mark("", 1, 1)
_FAILED: Any = object()  # stands for a value that was refused; never leaves this module
_BOUNDS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    (">=", "at least", operator.ge),
    (">", "more than", operator.gt),
    ("<=", "at most", operator.le),
    ("<", "less than", operator.lt),
)


@runtime_checkable
class FromNode(Protocol):
    """A parameter type that reads itself; raises ConfigError or ValueError where the node is not one."""

    @classmethod
    def from_node(cls, node: Node) -> Self: ...


class Duration(float):
    """A length of time in seconds, written 30s, 15m, 12h, 30d or 2w.

    >>> float(Duration("15m")), str(Duration(86400))
    (900.0, '1d')
    """

    def __new__(cls, value: str | float) -> Self:
        seconds = _seconds(value) if isinstance(value, str) else value
        if not 0 <= seconds < math.inf:
            raise ValueError(f"{value!r} is not a length of time; write a finite one, not below 0s")
        return super().__new__(cls, seconds)

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """The duration that a text says; a plain number has no unit and is refused."""
        text = node.value if isinstance(node, Scalar) else None
        if not isinstance(text, str):
            raise ValueError(f"{_shown(node)} has no unit; write a duration such as 30s, 15m, 12h, 30d or 2w")
        return cls(text)

    def __str__(self) -> str:
        if not self:
            return "0s"
        for unit, seconds in _SECONDS.items():
            if self % seconds == 0:
                return f"{int(self // seconds)}{unit}"
        return f"{Decimal(repr(float(self))):f}s"

    def __repr__(self) -> str:
        return f"Duration({str(self)!r})"


def _seconds(text: str) -> float:
    if match := _DURATION.fullmatch(text):
        return float(match[1]) * _SECONDS[match[2]]
    raise ValueError(f"{text!r} is not a duration; write one such as 30s, 15m, 12h, 30d or 2w")


class StageRef(str):
    """The id of another stage; `mark` says where it was written, and does not take part in equality."""

    mark: Mark | None

    def __new__(cls, value: str, mark: Mark | None = None) -> Self:
        self = super().__new__(cls, value)
        self.mark = mark
        return self

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """The id that a text names."""
        text = node.value if isinstance(node, Scalar) else None
        if not isinstance(text, str) or not re.fullmatch("[a-z][a-z0-9_]*", text):
            raise ValueError(f"{_shown(node)} is not a stage id; write the id of another stage, such as latent")
        return cls(text, node.mark)


@dataclass(frozen=True)
class Parameter:
    """What people read about one parameter: its YAML key, type and default as text, and its doc."""

    name: str
    type: str
    default: str
    doc: str


@dataclass(frozen=True)
class _Rule:
    """What `param` says beyond the type. Bounds and choices hold for every number or text inside a value."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[Any, ...] = ()
    doc: str = ""
    key: str | None = None

    def bounds(self) -> Iterator[tuple[str, str, Callable[[Any, Any], bool], float]]:
        """(sign, words, comparison, limit) of every bound that is set."""
        for (sign, words, holds), limit in zip(_BOUNDS, (self.ge, self.gt, self.le, self.lt), strict=True):
            if limit is not None:
                yield sign, words, holds, limit


def param(
    default: Any = MISSING,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Iterable[Any] | None = None,
    doc: str = "",
    key: str | None = None,
) -> Any:
    """Declare one parameter: a dataclass field with its bounds, choices, doc and YAML key.

    Bounds of a Duration are in seconds. `key` is for names that Python reserves: `with_: ... = param(key="with")`.
    A mapping or list as default is copied for each instance. Without a default the parameter is required.
    """
    metadata = {_METADATA: _Rule(ge, gt, le, lt, tuple(choices or ()), doc, key)}
    if type(default).__hash__ is None:
        return dataclasses.field(default_factory=functools.partial(copy.deepcopy, default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def build(cls: type[T], node: MapNode, *, where: str, problems: list[Problem]) -> T | None:
    """An instance of the frozen dataclass `cls` from its YAML mapping, or None where something is wrong.

    Every problem is appended to `problems` with its mark; `where` says whose parameters they are.
    """
    declared = _declared(cls)
    found = [_unknown(where, key, node, declared) for key in node.entries if key not in declared]
    values: dict[str, Any] = {}
    for key, parameter in declared.items():
        if key in node.entries:
            place = _Place(where, key, parameter.rule)
            values[parameter.name] = _convert(parameter.annotation, node.entries[key], place, found)
        elif parameter.required:
            kind = _type_text(parameter.annotation, parameter.rule)
            found.append(Problem(f"{where} needs the parameter {key!r} ({kind}); add it", node.mark))
    if not found:
        try:
            return cls(**values)
        except ValueError as error:
            found.append(Problem(f"{where}: {error}", node.mark))
        except ConfigError as error:
            found.extend(error.problems)
    problems.extend(found)
    return None


def check_params(instance: object) -> None:
    """Check the fields of a frozen dataclass that was made in Python; raise ValueError with every fault.

    Fields end up with exactly their declared types: NumPy scalars become Python numbers, lists become tuples,
    and text becomes a Duration, a Path or whatever else the annotation reads from text.
    """
    mark = Mark(type(instance).__name__, 1, 1)
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for key, parameter in _declared(type(instance)).items():
        try:
            node = from_python(getattr(instance, parameter.name), mark)
        except ConfigError as error:
            problems.extend(Problem(f"{key}: {problem.message}") for problem in error.problems)
            continue
        place = _Place("", key, parameter.rule)
        values[parameter.name] = _convert(parameter.annotation, node, place, problems)
    if problems:
        raise ValueError("; ".join(problem.message for problem in problems))
    for name, value in values.items():
        object.__setattr__(instance, name, value)


def describe(cls: type) -> tuple[Parameter, ...]:
    """The parameters of a frozen dataclass, in order, as text for people."""
    return tuple(
        Parameter(key, _type_text(item.annotation, item.rule), _default_text(item), item.rule.doc)
        for key, item in _declared(cls).items()
    )


@dataclass(frozen=True)
class _Declared:
    name: str
    annotation: Any
    rule: _Rule
    field: dataclasses.Field[Any]

    @property
    def required(self) -> bool:
        return self.field.default is MISSING and self.field.default_factory is MISSING


def _declared(cls: type) -> Mapping[str, _Declared]:
    """Every parameter of a dataclass by its YAML key."""
    hints = get_type_hints(cls)
    declared = {}
    for field in dataclasses.fields(cls):
        if field.init:
            rule = field.metadata.get(_METADATA, _Rule())
            declared[rule.key or field.name] = _Declared(field.name, hints[field.name], rule, field)
    return declared


def _unknown(where: str, key: str, node: MapNode, known: Iterable[str]) -> Problem:
    near = difflib.get_close_matches(key, known, n=1)
    names = ", ".join(known)
    advice = f"did you mean {near[0]!r}?" if near else f"it has {names}" if names else "it takes none"
    return Problem(f"{where} has no parameter {key!r}; {advice}", node.key_marks[key])


@dataclass(frozen=True)
class _Place:
    """Whose parameter a value belongs to, the path to it, and the rule that holds there."""

    where: str
    path: str
    rule: _Rule

    @property
    def whole(self) -> str:
        return f"{self.where}.{self.path}" if self.where else self.path

    def inside(self, step: str) -> _Place:
        return _Place(self.where, self.path + step, self.rule)

    def problem(self, message: str, node: Node, kind: type[Problem] = Problem) -> Problem:
        return kind(f"{self.where}: {message}" if self.where else message, node.mark)


@dataclass(frozen=True)
class _RuleProblem(Problem):
    """The type is right and the value is not: a union looks no further."""


def _convert(annotation: Any, node: Node, place: _Place, problems: list[Problem]) -> Any:
    """The node as a value of the annotated type; what is wrong is appended to `problems`."""
    origin = get_origin(annotation) or annotation
    if origin in (Union, types.UnionType):
        return _convert_union(annotation, node, place, problems)
    if origin is Literal:
        return _one_of(get_args(annotation), node, place, problems)
    if origin is tuple and get_args(annotation)[1:] == (...,):
        return _convert_tuple(annotation, node, place, problems)
    if _is_a(origin, Mapping) and get_args(annotation):
        return _convert_mapping(annotation, node, place, problems)
    if annotation in _KINDS:
        return _convert_scalar(annotation, node, place, problems)
    if _is_a(annotation, Node):
        return node if isinstance(node, annotation) else _refuse(annotation, node, place, problems)
    if not _reads_itself(annotation) and not dataclasses.is_dataclass(annotation):
        raise TypeError(f"{place.whole}: {annotation} can't be the type of a parameter")
    if isinstance(made := _scalar_value(node), annotation):
        return _ruled(made, node, place, problems)
    if _reads_itself(annotation):
        return _convert_from_node(annotation, node, place, problems)
    if isinstance(node, MapNode):
        return build(annotation, node, where=place.whole, problems=problems)
    return _refuse(annotation, node, place, problems)


def _convert_union(annotation: Any, node: Node, place: _Place, problems: list[Problem]) -> Any:
    """The first alternative whose type fits; where none does, the fault of the only one of that shape."""
    options = get_args(annotation)
    faults: list[list[Problem]] = []
    for option in options:
        found: list[Problem] = []
        value = _convert(option, node, place, found)
        if all(isinstance(problem, _RuleProblem) for problem in found):
            problems.extend(found)
            return value
        faults.append(found)
    near = [found for option, found in zip(options, faults, strict=True) if _same_shape(option, node)]
    if len(near) != 1:
        return _refuse(annotation, node, place, problems)
    problems.extend(near[0])
    return _FAILED


def _same_shape(annotation: Any, node: Node) -> bool:
    origin = get_origin(annotation) or annotation
    if isinstance(node, MapNode):
        is_group = dataclasses.is_dataclass(origin) and not _reads_itself(origin)
        return _is_a(origin, Mapping) or is_group
    if isinstance(node, ListNode):
        return origin is tuple
    if _reads_itself(origin) or origin is Literal:
        return True
    return origin in ((str, Path) if isinstance(_scalar_value(node), str) else (int, float, bool, str))


def _convert_tuple(annotation: Any, node: Node, place: _Place, problems: list[Problem]) -> Any:
    element = get_args(annotation)[0]
    if not isinstance(node, ListNode):
        value = _scalar_value(node)
        return _refuse(annotation, node, place, problems, f"; write [{value}]" if value is not _FAILED else "")
    steps = ((f"[{at}]", item) for at, item in enumerate(node.items))
    return tuple(_convert(element, item, place.inside(step), problems) for step, item in steps)


def _convert_mapping(annotation: Any, node: Node, place: _Place, problems: list[Problem]) -> Any:
    if not isinstance(node, MapNode):
        return _refuse(annotation, node, place, problems)
    element = get_args(annotation)[1]
    items = node.entries.items()
    return {key: _convert(element, value, place.inside(f".{key}"), problems) for key, value in items}


def _convert_from_node(cls: type[FromNode], node: Node, place: _Place, problems: list[Problem]) -> Any:
    try:
        return _ruled(cls.from_node(node), node, place, problems)
    except ConfigError as error:
        found = error.problems
    except ValueError as error:
        found = (Problem(str(error)),)
    marked = ((problem.message, Node(problem.mark or node.mark)) for problem in found)
    problems.extend(place.problem(f"{place.path}: {message}", at) for message, at in marked)
    return _FAILED


def _convert_scalar(annotation: Any, node: Node, place: _Place, problems: list[Problem]) -> Any:
    given = _scalar_value(node)
    value = _KINDS[annotation].read(given)
    if value is _FAILED:
        unquoted = annotation is str and isinstance(given, bool | int | float)
        hint = f"; quote it: {_shown(node)!r}" if unquoted else ""
        return _refuse(annotation, node, place, problems, hint)
    return _ruled(value, node, place, problems)


def _ruled(value: Any, node: Node, place: _Place, problems: list[Problem]) -> Any:
    """The value itself, after noting each bound and choice that it breaks."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        for _, words, holds, limit in place.rule.bounds():
            if not holds(value, limit):
                said = f"{place.path} must be {words} {_like(value, limit)}, not {_shown(node)}"
                problems.append(place.problem(said, node, _RuleProblem))
    if place.rule.choices and value is not None:
        found: list[Problem] = []
        _one_of(place.rule.choices, Scalar(node.mark, value), place, found)
        problems.extend(_RuleProblem(problem.message, problem.mark) for problem in found)
    return value


def _one_of(choices: tuple[Any, ...], node: Node, place: _Place, problems: list[Problem]) -> Any:
    value = _scalar_value(node)
    for choice in choices:
        # True == 1, but they are different words to the person who writes them.
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return choice
    near = difflib.get_close_matches(str(value), map(_text_of, choices), n=1)
    said = f"{place.path} must be one of {_listed(choices)}, not {_shown(node)}"
    problems.append(place.problem(said + (f"; did you mean {near[0]!r}?" if near else ""), node))
    return _FAILED


def _refuse(annotation: Any, node: Node, place: _Place, problems: list[Problem], hint: str = "") -> Any:
    said = f"{place.path} must be {_words(annotation, long=True)}, not {_shown(node)}{hint}"
    problems.append(place.problem(said, node))
    return _FAILED


@dataclass(frozen=True)
class _Kind:
    """How a scalar type is read (`_FAILED` where it is another), and its name in tables and in errors."""

    read: Callable[[Any], Any]
    short: str
    long: str


def _read_int(value: Any) -> Any:
    fits = _is_number(value) and value == value // 1
    return int(value) if fits else _FAILED


def _read_float(value: Any) -> Any:
    return float(value) if _is_number(value) else _FAILED


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # no infinity, no NaN, and float() of a long integer can't fail


def _read_path(value: Any) -> Any:
    return Path(value) if value and isinstance(value, str | Path) else _FAILED


def _read_exactly(wanted: type) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, wanted) else _FAILED


_KINDS = {
    int: _Kind(_read_int, "int", "a whole number"),
    float: _Kind(_read_float, "float", "a number"),
    bool: _Kind(_read_exactly(bool), "true or false", "true or false"),
    str: _Kind(_read_exactly(str), "text", "text"),
    types.NoneType: _Kind(_read_exactly(types.NoneType), "null", "null"),
    Path: _Kind(_read_path, "path", "a path"),
}


def _reads_itself(annotation: Any) -> bool:
    return isinstance(annotation, FromNode)


def _is_a(kind: Any, parent: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, parent)


def _scalar_value(node: Node) -> Any:
    return node.value if isinstance(node, Scalar) else _FAILED


def _shown(node: Node) -> str:
    """A value as the person wrote it, short."""
    if not isinstance(node, Scalar):
        return "a list" if isinstance(node, ListNode) else "a mapping"
    text = repr(node.value) if isinstance(node.value, str) else _text_of(node.value)
    return text if len(text) <= 60 else text[:57] + "..."


def _text_of(value: Any) -> str:
    """A scalar, or a default, as YAML writes it."""
    return value if isinstance(value, str) else dump(from_python(value, _NOWHERE)).strip('"')


def _listed(choices: Iterable[Any]) -> str:
    return ", ".join(map(_text_of, choices))


def _like(value: float, limit: float) -> str:
    return str(Duration(limit)) if isinstance(value, Duration) else str(limit)


def _words(annotation: Any, *, long: bool) -> str:
    """The type for a table ('int or null') or, long, for an error ('a whole number or null')."""
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(option, long=long) for option in arguments)
    if origin is Literal:
        return f"one of {_listed(arguments)}"
    if annotation in _KINDS:
        return _KINDS[annotation].long if long else _KINDS[annotation].short
    if origin is tuple:
        return "a list" if long else f"list of {_words(arguments[0], long=False)}"
    if _is_a(origin, Mapping):
        return "a mapping" if long else f"mapping of text to {_words(arguments[1], long=False)}"
    if _is_a(annotation, Node) or _reads_itself(annotation):
        name = _CLASS_WORDS.get(annotation) or annotation.__name__.lower()
        return name if not long else f"an {name}" if name[0] in "aeiou" else f"a {name}"
    return "a mapping" if long else f"mapping of {', '.join(_declared(annotation))}"


_CLASS_WORDS = {StageRef: "stage id", MapNode: "mapping", ListNode: "list", Scalar: "single value", Node: "value"}


def _type_text(annotation: Any, rule: _Rule) -> str:
    """The type as documentation says it: 'int >= 1', 'one of cosine, pearson', 'duration'."""
    if rule.choices:
        return f"one of {_listed(rule.choices)}"
    bounds = ", ".join(f"{sign} {limit}" for sign, _, _, limit in rule.bounds())
    return f"{_words(annotation, long=False)} {bounds}".rstrip()


def _default_text(item: _Declared) -> str:
    if item.required:
        return "required"
    factory = item.field.default_factory
    value = item.field.default if factory is MISSING else factory()
    return "its own defaults" if dataclasses.is_dataclass(value) else _text_of(value)
