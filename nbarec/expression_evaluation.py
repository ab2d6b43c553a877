"""The value of an expression's tree over all rows of a scope, and the errors of names and types."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nbarec.arrays import Floats64
from nbarec.errors import ConfigError
from nbarec.expression_values import (
    Numbers,
    Scope,
    Tags,
    Texts,
    Truth,
    Unknown,
    Value,
    number_among,
    same_text,
    tags_among,
    tags_in_tags,
    text_among,
    text_in_tags,
    value_of,
)
from nbarec.syntax import (
    Chain,
    Comparison,
    Elements,
    Flag,
    Logic,
    Membership,
    Name,
    Negative,
    Node,
    Not,
    Number,
    Source,
    Text,
)

_NAMES_SHOWN = 30
_ORDER: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_KINDS: Mapping[type[Value], str] = {
    Numbers: "a number",
    Texts: "text",
    Tags: "a set of texts",
    Truth: "true or false",
    Unknown: "missing",
}


@dataclass(frozen=True)
class Evaluation:
    """One expression over one scope; `columns` keeps what was read, so that a name is looked up once.

    `value` calls itself once a level of the tree, without a helper between, so that 50 nested brackets stay far from
    Python's own limit.
    """

    source: Source
    scope: Scope
    columns: dict[str, Value] = field(default_factory=dict)

    def value(self, node: Node) -> Value:
        """The value of a part. Raises ConfigError with a caret at an unknown name or a wrong type."""
        match node:
            case Number(number):
                return Numbers(np.asarray(number))
            case Text(text):
                return Texts.constant(text)
            case Flag(flag):
                return Truth(np.asarray(flag), np.asarray(True))
            case Name():
                return self._column(node)
            case Negative(operand):
                return Numbers(-self.numbers(operand, self.value(operand)))
            case Not(operand):
                return self.truth(operand, self.value(operand)).negated()
            case Logic(word, operands):
                result = self.truth(operands[0], self.value(operands[0]))
                for operand in operands[1:]:
                    other = self.truth(operand, self.value(operand))
                    result = result.both(other) if word == "and" else result.either(other)
                return result
            case Chain(first, steps):
                total = self.numbers(first, self.value(first))
                for step in steps:
                    total = _calculated(step.sign, total, self.numbers(step.operand, self.value(step.operand)))
                return Numbers(total)
            case Comparison(_, left, right):
                return self._compared(node, self.value(left), self.value(right))
            case Membership(left, right):
                if isinstance(right, Elements):
                    return self._among(node, self.value(left), right)
                return self._inside(node, self.value(left), right, self.value(right))

    def truth(self, node: Node, value: Value) -> Truth:
        """The value where a truth is needed; of numbers, any but 0 is true."""
        match value:
            case Truth():
                return value
            case Numbers():
                return value.truth()
            case Unknown():
                return Truth.unknown()
        example = f"'...' in {_said(node)}" if isinstance(value, Tags) else f"{_said(node)} == '...'"
        raise self._fault(f"{_is(node, value)} where true or false is needed; compare it, as in {example}", node.at)

    def numbers(self, node: Node, value: Value) -> Floats64:
        """The value where numbers are needed."""
        if isinstance(value, Numbers):
            return value.values
        if isinstance(value, Unknown):
            return np.asarray(np.nan)
        hint = f"; write {node.value} without quotes" if isinstance(node, Text) and _is_number(node.value) else ""
        raise self._fault(f"{_is(node, value)} where a number is needed{hint}", node.at)

    def _fault(self, message: str, at: int) -> ConfigError:
        return self.source.fault(message, at)

    def _column(self, node: Name) -> Value:
        if node.name not in self.columns:
            try:
                self.columns[node.name] = value_of(self.scope.column(node.name))
            except KeyError:
                raise self._fault(_unknown_name(node.name, self.scope.names()), node.at) from None
        return self.columns[node.name]

    def _compared(self, node: Comparison, left: Value, right: Value) -> Truth:
        compare = _ORDER[node.sign]
        equality = node.sign in ("==", "!=")
        for side, value in ((node.left, left), (node.right, right)):
            if isinstance(value, Tags):
                other = _said(node.right if side is node.left else node.left)
                word = "not in" if node.sign == "!=" else "in"
                raise self._fault(f"{_is(side, value)}; write {other} {word} {_said(side)}", node.at)
            if isinstance(value, Texts | Truth) and not equality:
                raise self._fault(f"{_is(side, value)}, which {node.sign} can't order; use == or !=", node.at)
        match left, right:
            case (Unknown(), _) | (_, Unknown()):
                return Truth.unknown()
            case Numbers(), Numbers():
                known, holds = left.known & right.known, compare(left.values, right.values)
                return Truth.of(known & holds, known & ~holds)
            case Texts(), Texts():
                same = same_text(left, right)
            case (Truth() | Numbers(), Truth() | Numbers()):
                first, second = self.truth(node.left, left), self.truth(node.right, right)
                same = first.both(second).either(first.negated().both(second.negated()))
            case _:
                raise self._fault(_mismatch(node, left, right), node.at)
        return same if node.sign == "==" else same.negated()

    def _among(self, node: Membership, left: Value, listed: Elements) -> Truth:
        match left:
            case Texts():
                return text_among(left, [element.text for element in listed.elements])
            case Tags():
                return tags_among(left, [element.text for element in listed.elements])
            case Numbers():
                return number_among(left, self._list_of_numbers(node, left, listed))
            case Unknown():
                return Truth.unknown()
        raise self._fault(f"{_is(node.left, left)}, which can't be in a list; use it alone", node.at)

    def _list_of_numbers(self, node: Membership, left: Value, listed: Elements) -> list[float]:
        for element in listed.elements:
            if element.number is None:
                hint = f"; write {element.text} without quotes" if _is_number(element.text) else ""
                said = f"a number can't be text: {_is(node.left, left)}, {element.text!r} is text"
                raise self._fault(f"{said}{hint}", element.at)
        return [element.number for element in listed.elements if element.number is not None]

    def _inside(self, node: Membership, left: Value, right_node: Node, right: Value) -> Truth:
        if isinstance(right, Texts):
            advice = f"write {_said(node.left)} == {_said(right_node)}"
            raise self._fault(f"{_said(right_node)} is one text, not a set of texts; {advice}", node.at)
        if not isinstance(right, Tags | Unknown):
            advice = "'in' needs a list such as [a, b], or a column of several texts"
            raise self._fault(f"{_is(right_node, right)}; {advice}", node.at)
        match left:
            case Numbers() | Truth():
                hint = f"; write '{node.left.text}' in quotes" if isinstance(node.left, Number) else ""
                raise self._fault(f"{_is(node.left, left)}, and {_said(right_node)} holds texts{hint}", node.at)
            case Texts() if isinstance(right, Tags):
                return text_in_tags(left, right)
            case Tags() if isinstance(right, Tags):
                return tags_in_tags(left, right)
        return Truth.unknown()


def _calculated(sign: str, left: Floats64, right: Floats64) -> Floats64:
    """One step of arithmetic; a result that is not finite, as of a division by zero, is unknown."""
    with np.errstate(all="ignore"):
        result = np.asarray(_ARITHMETIC[sign](left, right), np.float64)
    return np.where(np.isfinite(result), result, np.nan)


def _said(node: Node) -> str:
    """A short part as it was written, a longer one in words."""
    match node:
        case Name(name):
            return name
        case Number(_, text):
            return text
        case Text(text):
            return f"'{text}'"
        case Flag(flag):
            return "true" if flag else "false"
    return "(...)"


def _is(node: Node, value: Value) -> str:
    return f"{_said(node)} is {_KINDS[type(value)]}"


def _mismatch(node: Comparison, left: Value, right: Value) -> str:
    kinds = f"{_KINDS[type(left)]} can't be compared with {_KINDS[type(right)]}"
    sides = f"{_is(node.left, left)}, {_is(node.right, right)}"
    return f"{kinds}: {sides}{_quote_hint(node.left, right) or _quote_hint(node.right, left)}"


def _quote_hint(node: Node, other: Value) -> str:
    """What to write where only the quotes are wrong."""
    if isinstance(other, Texts) and isinstance(node, Number | Flag):
        return f"; write '{_said(node)}' in quotes"
    if isinstance(other, Numbers) and isinstance(node, Text) and _is_number(node.value):
        return f"; write {node.value} without quotes"
    return ""


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdecimal()


def _unknown_name(name: str, names: list[str]) -> str:
    same_end = [known for known in names if known.rpartition(".")[2] == name]
    near = same_end or difflib.get_close_matches(name, names, n=1)
    parts = [f"there is no name '{name}' here" + (f" (did you mean {near[0]}?)" if near else "")]
    if "." not in name:
        parts.append(f"for text write '{name}' in quotes")
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    parts.append(f"the names are {', '.join(names[:_NAMES_SHOWN])}{more}")
    return "; ".join(parts)
