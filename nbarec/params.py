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

import dataclasses
import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from nbarec.errors import ConfigError, Mark, Problem
from nbarec.marked import ListNode, MapNode, Node, Scalar, from_python
from nbarec.param_rules import Rule, declared, param
from nbarec.param_texts import Parameter, describe, like, listed, type_text, words
from nbarec.param_types import (
    FAILED,
    KINDS,
    Duration,
    FromNode,
    StageRef,
    is_a,
    reads_itself,
    scalar_value,
    shown_node,
    text_of,
)
from nbarec.scalars import shown

__all__ = ["Duration", "FromNode", "Parameter", "StageRef", "build", "check_params", "describe", "param"]

T = TypeVar("T")


def build(cls: type[T], node: MapNode, *, where: str, problems: list[Problem]) -> T | None:
    """An instance of the frozen dataclass `cls` from its YAML mapping, or None where something is wrong.

    Every problem is appended to `problems` with its mark; `where` says whose parameters they are.
    """
    parameters = declared(cls)
    found = [_unknown(where, key, node, parameters) for key in node.entries if key not in parameters]
    values: dict[str, Any] = {}
    for key, parameter in parameters.items():
        if key in node.entries:
            place = _Place(where, key, parameter.rule)
            values[parameter.name] = _convert(parameter.annotation, node.entries[key], place, found)
        elif parameter.required:
            kind = type_text(parameter.annotation, parameter.rule)
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
    for key, parameter in declared(type(instance)).items():
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


def _unknown(where: str, key: str, node: MapNode, known: Iterable[str]) -> Problem:
    near = difflib.get_close_matches(key, known, n=1)
    names = ", ".join(known)
    advice = f"did you mean {near[0]!r}?" if near else f"it has {names}" if names else "it takes none"
    return Problem(f"{where} has no parameter {shown(key)}; {advice}", node.key_marks[key])


@dataclass(frozen=True)
class _Place:
    """Whose parameter a value belongs to, the path to it, and the rule that holds there."""

    where: str
    path: str
    rule: Rule

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
    if is_a(origin, Mapping) and get_args(annotation):
        return _convert_mapping(annotation, node, place, problems)
    if annotation in KINDS:
        return _convert_scalar(annotation, node, place, problems)
    if is_a(annotation, Node):
        return node if isinstance(node, annotation) else _refuse(annotation, node, place, problems)
    if not reads_itself(annotation) and not dataclasses.is_dataclass(annotation):
        raise TypeError(f"{place.whole}: {annotation} can't be the type of a parameter")
    if isinstance(made := scalar_value(node), annotation):
        return _ruled(made, node, place, problems)
    if reads_itself(annotation):
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
    return FAILED


def _same_shape(annotation: Any, node: Node) -> bool:
    origin = get_origin(annotation) or annotation
    if isinstance(node, MapNode):
        is_group = dataclasses.is_dataclass(origin) and not reads_itself(origin)
        return is_a(origin, Mapping) or is_group
    if isinstance(node, ListNode):
        return origin is tuple
    if reads_itself(origin) or origin is Literal:
        return True
    return origin in ((str, Path) if isinstance(scalar_value(node), str) else (int, float, bool, str))


def _convert_tuple(annotation: Any, node: Node, place: _Place, problems: list[Problem]) -> Any:
    element = get_args(annotation)[0]
    if not isinstance(node, ListNode):
        value = scalar_value(node)
        return _refuse(annotation, node, place, problems, f"; write [{value}]" if value is not FAILED else "")
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
    return FAILED


def _convert_scalar(annotation: Any, node: Node, place: _Place, problems: list[Problem]) -> Any:
    given = scalar_value(node)
    value = KINDS[annotation].read(given)
    if value is FAILED:
        unquoted = annotation is str and isinstance(given, bool | int | float)
        hint = f"; quote it: {shown_node(node)!r}" if unquoted else ""
        return _refuse(annotation, node, place, problems, hint)
    return _ruled(value, node, place, problems)


def _ruled(value: Any, node: Node, place: _Place, problems: list[Problem]) -> Any:
    """The value itself, after noting each bound and choice that it breaks."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        for _, words, holds, limit in place.rule.bounds():
            if not holds(value, limit):
                said = f"{place.path} must be {words} {like(value, limit)}, not {shown_node(node)}"
                problems.append(place.problem(said, node, _RuleProblem))
    if place.rule.choices and value is not None:
        found: list[Problem] = []
        _one_of(place.rule.choices, Scalar(node.mark, value), place, found)
        problems.extend(_RuleProblem(problem.message, problem.mark) for problem in found)
    return value


def _one_of(choices: tuple[Any, ...], node: Node, place: _Place, problems: list[Problem]) -> Any:
    value = scalar_value(node)
    for choice in choices:
        # True == 1, but they are different words to the person who writes them.
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return choice
    near = difflib.get_close_matches(str(value), map(text_of, choices), n=1)
    said = f"{place.path} must be one of {listed(choices)}, not {shown_node(node)}"
    problems.append(place.problem(said + (f"; did you mean {near[0]!r}?" if near else ""), node))
    return FAILED


def _refuse(annotation: Any, node: Node, place: _Place, problems: list[Problem], hint: str = "") -> Any:
    said = f"{place.path} must be {words(annotation, long=True)}, not {shown_node(node)}{hint}"
    problems.append(place.problem(said, node))
    return FAILED
