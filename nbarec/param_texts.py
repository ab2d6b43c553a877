"""Parameters in words: for documentation, and for errors."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, Literal, Union, get_args, get_origin

from nbarec.marked import ListNode, MapNode, Node, Scalar
from nbarec.param_rules import Declared, Rule, declared
from nbarec.param_types import KINDS, Duration, StageRef, is_a, reads_itself, text_of

_CLASS_WORDS = {StageRef: "stage id", MapNode: "mapping", ListNode: "list", Scalar: "single value", Node: "value"}


@dataclass(frozen=True)
class Parameter:
    """What people read about one parameter: its YAML key, type and default as text, and its doc."""

    name: str
    type: str
    default: str
    doc: str


def describe(cls: type) -> tuple[Parameter, ...]:
    """The parameters of a frozen dataclass, in order, as text for people."""
    return tuple(
        Parameter(key, type_text(item.annotation, item.rule), _default_text(item), item.rule.doc)
        for key, item in declared(cls).items()
    )


def listed(choices: Iterable[Any]) -> str:
    """Choices, one after the other."""
    return ", ".join(map(text_of, choices))


def like(value: float, limit: float) -> str:
    """The limit in the unit of the value that it bounds."""
    return str(Duration(limit)) if isinstance(value, Duration) else str(limit)


def type_text(annotation: Any, rule: Rule) -> str:
    """The type as documentation says it: 'int >= 1', 'one of cosine, pearson', 'duration'."""
    if rule.choices:
        return f"one of {listed(rule.choices)}"
    bounds = ", ".join(f"{sign} {limit}" for sign, _, _, limit in rule.bounds())
    return f"{words(annotation, long=False)} {bounds}".rstrip()


def words(annotation: Any, *, long: bool) -> str:
    """The type for a table ('int or null') or, long, for an error ('a whole number or null')."""
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(words(option, long=long) for option in arguments)
    if origin is Literal:
        return f"one of {listed(arguments)}"
    if annotation in KINDS:
        return KINDS[annotation].long if long else KINDS[annotation].short
    if origin is tuple:
        return "a list" if long else f"list of {words(arguments[0], long=False)}"
    if is_a(origin, Mapping):
        return "a mapping" if long else f"mapping of text to {words(arguments[1], long=False)}"
    if is_a(annotation, Node) or reads_itself(annotation):
        name = _CLASS_WORDS.get(annotation) or annotation.__name__.lower()
        return name if not long else f"an {name}" if name[0] in "aeiou" else f"a {name}"
    return "a mapping" if long else f"mapping of {', '.join(declared(annotation))}"


def _default_text(item: Declared) -> str:
    if item.required:
        return "required"
    factory = item.field.default_factory
    value = item.field.default if factory is MISSING else factory()
    return "its own defaults" if dataclasses.is_dataclass(value) else text_of(value)
