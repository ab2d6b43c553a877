"""The types that a parameter may have beyond Python's own, and how each scalar type is read."""

from __future__ import annotations

import math
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from nbarec.errors import Mark
from nbarec.marked import ListNode, Node, Scalar, dump, from_python
from nbarec.scalars import shown

FAILED: Any = object()
"""Stands for a value that was refused, while the other faults are collected."""

_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_NOWHERE = Mark("", 1, 1)


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

    WRITTEN: ClassVar[re.Pattern[str]] = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])")

    def __new__(cls, value: str | float) -> Self:
        seconds = _seconds(value) if isinstance(value, str) else value
        if not 0 <= seconds < math.inf:
            raise ValueError(f"{shown(value)} is not a length of time; write a finite one, not below 0s")
        return super().__new__(cls, seconds)

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """The duration that a text says; a plain number has no unit and is refused."""
        text = node.value if isinstance(node, Scalar) else None
        if not isinstance(text, str):
            raise ValueError(f"{shown_node(node)} has no unit; write a duration such as 30s, 15m, 12h, 30d or 2w")
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
    if match := Duration.WRITTEN.fullmatch(text):
        return float(match[1]) * _SECONDS[match[2]]
    raise ValueError(f"{shown(text)} is not a duration; write one such as 30s, 15m, 12h, 30d or 2w")


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
            raise ValueError(f"{shown_node(node)} is not a stage id; write the id of another stage, such as latent")
        return cls(text, node.mark)


@dataclass(frozen=True)
class Kind:
    """How a scalar type is read (`FAILED` where it is another), and its name in tables and in errors."""

    read: Callable[[Any], Any]
    short: str
    long: str


def _read_int(value: Any) -> Any:
    fits = _is_number(value) and value == value // 1
    return int(value) if fits else FAILED


def _read_float(value: Any) -> Any:
    return float(value) if _is_number(value) else FAILED


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # no infinity, no NaN, and float() of a long integer can't fail


def _read_path(value: Any) -> Any:
    return Path(value) if value and isinstance(value, str | Path) else FAILED


def _read_exactly(wanted: type) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, wanted) else FAILED


KINDS = {
    int: Kind(_read_int, "int", "a whole number"),
    float: Kind(_read_float, "float", "a number"),
    bool: Kind(_read_exactly(bool), "true or false", "true or false"),
    str: Kind(_read_exactly(str), "text", "text"),
    types.NoneType: Kind(_read_exactly(types.NoneType), "null", "null"),
    Path: Kind(_read_path, "path", "a path"),
}


def reads_itself(annotation: Any) -> bool:
    """Whether the type is a `FromNode`."""
    return isinstance(annotation, FromNode)


def is_a(kind: Any, parent: type) -> bool:
    """Whether an annotation is a class below `parent`."""
    return isinstance(kind, type) and issubclass(kind, parent)


def scalar_value(node: Node) -> Any:
    """What a single value holds; `FAILED` for a list or a mapping."""
    return node.value if isinstance(node, Scalar) else FAILED


def shown_node(node: Node) -> str:
    """A value as the person wrote it, short."""
    if not isinstance(node, Scalar):
        return "a list" if isinstance(node, ListNode) else "a mapping"
    text = repr(node.value) if isinstance(node.value, str) else text_of(node.value)
    return text if len(text) <= 60 else text[:57] + "..."


def text_of(value: Any) -> str:
    """A scalar, or a default, as YAML writes it."""
    return value if isinstance(value, str) else dump(from_python(value, _NOWHERE)).strip('"')
