"""Random expressions over random tables against a slow reference that goes row by row."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.expressions import Expression, MissingColumn
from nbarec.tables import MISSING_DATE, CategoryColumn, Column, DateColumn, NumberColumn, TagsColumn

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Columns:
    """A scope over given columns."""

    size: int
    columns: Mapping[str, Column | MissingColumn]

    def column(self, name: str) -> Column | MissingColumn:
        return self.columns[name]

    def names(self) -> list[str]:
        return list(self.columns)


@dataclass(frozen=True)
class Piece:
    """A part of an expression: its text, how tightly its outermost operator binds, and its value in one row."""

    text: str
    power: int
    value: Callable[[Row], Any]

    def within(self, power: int) -> str:
        return self.text if self.power >= power else f"({self.text})"


OR, AND, NOT, COMPARE, SUM, PRODUCT, SIGN, ATOM = range(1, 9)
NUMBERS = ("tempo", "item.energy")
TEXTS = ("genre", "user.taste")
TAGS = ("tags", "user.likes")
LEVELS = ("rock", "pop", "two words", "7")


def column(name: str) -> Piece:
    return Piece(name, ATOM, lambda row: row[name])


def binary(sign: str, power: int, function: Callable[[Any, Any], Any], left: Piece, right: Piece) -> Piece:
    text = f"{left.within(power)} {sign} {right.within(power + 1)}"
    return Piece(text, power, lambda row: function(left.value(row), right.value(row)))


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def arithmetic(sign: str) -> Callable[[Any, Any], Any]:
    operation = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[sign]

    def calculate(left: float | None, right: float | None) -> float | None:
        if left is None or right is None or (sign == "/" and right == 0):
            return None
        return finite(operation(left, right))

    return calculate


def strict(function: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool | None]:
    return lambda left, right: None if left is None or right is None else function(left, right)


def kleene_and(left: bool | None, right: bool | None) -> bool | None:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def kleene_or(left: bool | None, right: bool | None) -> bool | None:
    return kleene_not(kleene_and(kleene_not(left), kleene_not(right)))


def kleene_not(value: bool | None) -> bool | None:
    return None if value is None else not value


ORDER = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def numeric_pieces() -> st.SearchStrategy[Piece]:
    literal = st.sampled_from(["0", "1", "2.5", ".5", "1e2", "30s", "2m"]).map(
        lambda text: Piece(text, ATOM, lambda row: {"30s": 30.0, "2m": 120.0}.get(text) or float(text.rstrip("sm")))
    )
    leaves = literal | st.sampled_from([*NUMBERS, "missing", "released"]).map(column)

    def grow(inner: st.SearchStrategy[Piece]) -> st.SearchStrategy[Piece]:
        negative = inner.map(
            lambda p: Piece(f"-{p.within(SIGN)}", SIGN, lambda row: None if p.value(row) is None else -p.value(row))
        )
        sums = st.tuples(st.sampled_from("+-"), inner, inner).map(lambda t: binary(t[0], SUM, arithmetic(t[0]), *t[1:]))
        products = st.tuples(st.sampled_from("*/"), inner, inner).map(
            lambda t: binary(t[0], PRODUCT, arithmetic(t[0]), *t[1:])
        )
        return negative | sums | products

    return st.recursive(leaves, grow, max_leaves=5)


def text_pieces() -> st.SearchStrategy[Piece]:
    literal = st.tuples(st.sampled_from(LEVELS), st.sampled_from("'\"")).map(
        lambda t: Piece(f"{t[1]}{t[0]}{t[1]}", ATOM, lambda row: t[0])
    )
    return literal | st.sampled_from(TEXTS).map(column)


def listed(levels: list[str], values: list[Any], left: Piece, test: Callable[[Any, list[Any]], bool]) -> Piece:
    text = f"{left.within(SUM)} in [{', '.join(levels)}]"
    return Piece(text, COMPARE, lambda row: strict(test)(left.value(row), values))


def comparisons() -> st.SearchStrategy[Piece]:
    numbers, texts, tags = numeric_pieces(), text_pieces(), st.sampled_from(TAGS).map(column)
    order = st.tuples(st.sampled_from(sorted(ORDER)), numbers, numbers)
    same = st.tuples(st.sampled_from(["==", "!="]), texts, texts)
    levels = st.lists(st.sampled_from(LEVELS), min_size=1, max_size=3)
    few = st.lists(st.sampled_from([-1, 0, 0.5, 3]), min_size=1, max_size=3)
    written = levels.map(lambda values: [f"'{value}'" if " " in value else value for value in values])
    among = written.flatmap(
        lambda words: st.one_of(
            texts.map(lambda p: listed(words, [word.strip("'") for word in words], p, lambda x, v: x in v)),
            tags.map(lambda p: listed(words, [word.strip("'") for word in words], p, lambda x, v: bool(x & set(v)))),
        )
    )
    return st.one_of(
        order.map(lambda t: binary(t[0], COMPARE, strict(ORDER[t[0]]), *t[1:])),
        same.map(lambda t: binary(t[0], COMPARE, strict(ORDER[t[0]]), *t[1:])),
        among,
        st.tuples(few, numbers).map(lambda t: listed([str(x) for x in t[0]], t[0], t[1], lambda x, v: x in v)),
        st.tuples(texts, tags).map(lambda t: binary("in", COMPARE, strict(lambda x, y: x in y), *t)),
        st.tuples(tags, tags).map(lambda t: binary("in", COMPARE, strict(lambda x, y: bool(x & y)), *t)),
        st.tuples(texts, tags).map(lambda t: binary("not in", COMPARE, strict(lambda x, y: x not in y), *t)),
        numbers.map(lambda p: Piece(p.text, p.power, lambda row: strict(operator.ne)(p.value(row), 0))),
        st.sampled_from(["true", "false"]).map(lambda word: Piece(word, ATOM, lambda row: word == "true")),
    )


def rules() -> st.SearchStrategy[Piece]:
    def grow(inner: st.SearchStrategy[Piece]) -> st.SearchStrategy[Piece]:
        pairs = st.tuples(inner, inner)
        return st.one_of(
            inner.map(lambda p: Piece(f"not {p.within(NOT)}", NOT, lambda row: kleene_not(p.value(row)))),
            pairs.map(lambda t: binary("and", AND, kleene_and, *t)),
            pairs.map(lambda t: binary("or", OR, kleene_or, *t)),
        )

    return st.recursive(comparisons(), grow, max_leaves=6)


def rows() -> st.SearchStrategy[list[Row]]:
    number = st.sampled_from([None, -1.0, 0.0, 0.5, 1.0, 2.5, 3.0, 1e308])
    text = st.sampled_from([None, *LEVELS])
    tags = st.frozensets(st.sampled_from(LEVELS), max_size=3).map(lambda found: found or None)
    fields = dict.fromkeys(NUMBERS, number) | dict.fromkeys(TEXTS, text) | dict.fromkeys(TAGS, tags)
    dates = {"released": st.sampled_from([None, 0.0, 30.0, 120.0]), "missing": st.none()}
    return st.lists(st.fixed_dictionaries({**fields, **dates}), max_size=6)


def scope_of(table: list[Row]) -> Columns:
    columns: dict[str, Column | MissingColumn] = {"missing": MissingColumn(len(table))}
    for name in NUMBERS:
        columns[name] = NumberColumn(np.array([np.nan if row[name] is None else row[name] for row in table], float))
    for name in TEXTS:
        columns[name] = CategoryColumn.of([row[name] for row in table])
    for name in TAGS:
        pairs = [(at, tag) for at, row in enumerate(table) for tag in row[name] or ()]
        at = np.array([pair[0] for pair in pairs], np.int64)
        columns[name] = TagsColumn.of(at, [pair[1] for pair in pairs], len(table))
    moments = [MISSING_DATE if row["released"] is None else int(row["released"]) for row in table]
    columns["released"] = DateColumn(np.array(moments, np.int64))
    return Columns(len(table), columns)


@settings(max_examples=400, deadline=None)
@given(rules(), rows())
def test_truth_is_that_of_a_slow_reference(rule: Piece, table: list[Row]) -> None:
    truth = Expression(rule.text).truth(scope_of(table))
    expected = [rule.value(row) for row in table]
    assert truth.values.dtype == truth.known.dtype == np.bool_
    assert truth.known.tolist() == [value is not None for value in expected]
    assert truth.values.tolist() == [value is True for value in expected]
    assert truth.holds.tolist() == [value is True for value in expected]
    assert truth.fails.tolist() == [value is False for value in expected]


@settings(max_examples=200, deadline=None)
@given(numeric_pieces(), rows())
def test_numbers_are_those_of_a_slow_reference(piece: Piece, table: list[Row]) -> None:
    values = Expression(piece.text).numbers(scope_of(table))
    expected = [np.nan if (value := piece.value(row)) is None else value for row in table]
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, np.array(expected, np.float64))


@settings(max_examples=60, deadline=None)
@given(rules(), rows(), st.randoms(use_true_random=False))
def test_rows_are_independent_of_each_other(rule: Piece, table: list[Row], random: Any) -> None:
    order = random.sample(range(len(table)), len(table))
    expression = Expression(rule.text)
    whole, moved = expression.truth(scope_of(table)), expression.truth(scope_of([table[at] for at in order]))
    assert whole.values[order].tolist() == moved.values.tolist()
    assert whole.known[order].tolist() == moved.known.tolist()
