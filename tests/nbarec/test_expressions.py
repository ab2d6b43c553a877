"""Expressions: three-valued logic, precedence, ids and texts, and the object itself."""

from __future__ import annotations

import copy
import dataclasses
import doctest
import pickle
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from nbarec import expressions
from nbarec.errors import Mark, Problem
from nbarec.expressions import Expression, MissingColumn, Truth
from nbarec.marked import read_text
from nbarec.params import build, check_params, describe, param
from nbarec.tables import CategoryColumn, Column, NumberColumn, TagsColumn


@dataclass(frozen=True)
class Columns:
    """A scope over given columns."""

    size: int
    columns: Mapping[str, Column | MissingColumn]

    def column(self, name: str) -> Column | MissingColumn:
        return self.columns[name]

    def names(self) -> list[str]:
        return list(self.columns)


THREE = {"T": True, "F": False, "U": None}
AND_TABLE = "TT=T TF=F TU=U FT=F FF=F FU=F UT=U UF=F UU=U"
OR_TABLE = "TT=T TF=T TU=T FT=T FF=F FU=U UT=T UF=U UU=U"


@pytest.mark.parametrize(("word", "table"), [("and", AND_TABLE), ("or", OR_TABLE)])
def test_kleene_tables(word: str, table: str) -> None:
    cases = [(THREE[case[0]], THREE[case[1]], THREE[case[3]]) for case in table.split()]
    flags = [np.array([np.nan if case[side] is None else float(case[side] or 0) for case in cases]) for side in (0, 1)]
    scope = Columns(len(cases), {"a": NumberColumn(flags[0]), "b": NumberColumn(flags[1])})
    truth = Expression(f"a {word} b").truth(scope)
    assert [None if not k else bool(v) for v, k in zip(truth.values, truth.known, strict=True)] == [c[2] for c in cases]
    denied = Expression(f"not (a {word} b)").truth(scope)
    np.testing.assert_array_equal(denied.holds, truth.fails)
    np.testing.assert_array_equal(denied.fails, truth.holds)


def one_row(**columns: Column | MissingColumn) -> Columns:
    dotted = {name.replace("__", "."): column for name, column in columns.items()}
    return Columns(1, dotted)


def number(value: float) -> NumberColumn:
    return NumberColumn(np.array([value], np.float64))


def ask(text: str, scope: Columns) -> bool | None:
    truth = Expression(text).truth(scope)
    assert truth.values.shape == truth.known.shape == (scope.size,)
    return bool(truth.values[0]) if truth.known[0] else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3 == 7", True),
        ("(1 + 2) * 3 == 9", True),
        ("10 - 3 - 2 == 5", True),
        ("10 - (3 - 2) == 9", True),
        ("24 / 4 / 2 == 3", True),
        ("24 / (4 / 2) == 12", True),
        ("-2 * -3 == 6", True),
        ("1 - -1 == 2", True),
        ("true or false and false", True),
        ("(true or false) and false", False),
        ("not true or true", True),
        ("not (true or true)", False),
        ("not 1 == 2", True),
        ("2w == 14 * 1d and 1d == 24h and 1h == 60m and 1m == 60s and 1.5h == 90m", True),
        ("1e3 == 1000 and .5 == 5e-1", True),
        ("'it''s' == \"it's\"", True),
        (r"'\n' != 'n'", True),
        ("(1 < 2) == true", True),
        ("(1 < 2) != (2 < 1)", True),
        ("3 == true", True),
        ("1 / 0 == 1", None),
        ("1e308 * 10 > 1", None),
        ("-1 in [-1, 2]", True),
        ("86400 in [1d]", True),
        ("'x' not in [y, z]", True),
        ("'and' in [and, or]", True),
        ("'true' in [true]", True),
    ],
)
def test_what_a_rule_without_columns_says(text: str, expected: bool | None) -> None:
    assert ask(text, Columns(1, {})) is expected


def test_a_constant_rule_has_a_value_in_every_row() -> None:
    truth = Expression("true").truth(Columns(3, {}))
    assert truth.values.tolist() == [True] * 3
    assert Expression("1 + 1").numbers(Columns(3, {})).tolist() == [2.0] * 3
    assert Expression("true").truth(Columns(0, {})).values.shape == (0,)


def test_a_flag_is_a_truth() -> None:
    for explicit, age, expected in [(1, 12, True), (1, 40, False), (0, np.nan, False), (np.nan, 12, None)]:
        scope = one_row(item__explicit=number(explicit), user__age=number(age))
        assert ask("item.explicit and user.age < 18", scope) is expected


def test_a_missing_column_is_unknown_beside_any_type() -> None:
    scope = one_row(x=MissingColumn(1), genre=CategoryColumn.of(["rock"]), tempo=number(3))
    tags = TagsColumn.of(np.array([0]), ["rock"], 1)
    scope = Columns(1, {**scope.columns, "tags": tags})
    for text in [
        "x == 'a'",
        "x == 3",
        "x < tempo",
        "x == genre",
        "x in tags",
        "x in [a, 3]",
        "genre in x",
        "x + 1 > 0",
    ]:
        assert ask(text, scope) is None, text
    assert ask("x", scope) is None
    assert ask("x == x", scope) is None
    assert ask("x == 3 and false", scope) is False


def test_ids_are_compared_as_ids() -> None:
    numbers, texts = CategoryColumn.of([196, 242, 7]), CategoryColumn.of(["196", "x", "007"])
    scope = Columns(3, {"item.id": numbers, "user.last": texts})
    assert Expression("item.id == '196'").truth(scope).values.tolist() == [True, False, False]
    assert Expression("item.id in [196, '7']").truth(scope).values.tolist() == [True, False, True]
    assert Expression("item.id == user.last").truth(scope).values.tolist() == [True, False, False]
    assert Expression("user.last == item.id").truth(scope).values.tolist() == [True, False, False]


def test_text_is_compared_across_level_sets_of_any_size() -> None:
    left = [f"level {at}" for at in range(50)]
    scope = Columns(50, {"a": CategoryColumn.of(left), "b": CategoryColumn.of(["level 3", None] * 25)})
    for text in ("a == b", "b == a"):
        truth = Expression(text).truth(scope)
        assert truth.known.tolist() == [True, False] * 25
        assert np.flatnonzero(truth.holds).tolist() == []
    shifted = Columns(50, {"a": CategoryColumn.of(left), "b": CategoryColumn.of(left[::-1])})
    assert np.flatnonzero(Expression("a != b").truth(shifted).fails).tolist() == []
    equal = Columns(50, {"a": CategoryColumn.of(left), "b": CategoryColumn.of(left[:25] + ["new"] * 25)})
    assert Expression("a == b").truth(equal).holds.sum() == 25


def test_equality_text_and_names() -> None:
    first, second = (
        Expression("item.a > b and item.a < 3", Mark("x.yaml", 1, 2)),
        Expression("item.a > b and item.a < 3"),
    )
    assert first == second
    assert hash(first) == hash(second)
    assert first != Expression("item.a > b")
    assert str(first) == "item.a > b and item.a < 3"
    assert first.names == ("item.a", "b")
    assert Expression("kind in [like, play]").names == ("kind",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.text = "x"  # type: ignore[misc]


def test_copies_keep_text_and_mark() -> None:
    expression = Expression("a > 1", Mark("x.yaml", 1, 2))
    for copied in (pickle.loads(pickle.dumps(expression)), copy.deepcopy(expression)):
        assert copied == expression
        assert copied.mark == expression.mark
        assert copied.names == ("a",)


def test_results_cannot_be_written_to() -> None:
    scope = Columns(2, {"a": NumberColumn(np.array([1.0, 2.0]))})
    with pytest.raises(ValueError, match="read-only"):
        Expression("a").numbers(scope)[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        Expression("a").truth(scope).values[0] = False
    assert isinstance(Expression("a").truth(scope), Truth)


@dataclass(frozen=True)
class Require:
    where: Expression = param(doc="Which items to keep.")
    unless: Expression | None = param(None, doc="Exception.")

    def __post_init__(self) -> None:
        check_params(self)


def test_a_parameter_reads_itself_from_yaml_and_from_python() -> None:
    problems: list[Problem] = []
    made = build(
        Require, read_text("where: item.tempo > 100\nunless: null", "a.yaml"), where="require", problems=problems
    )
    assert problems == []
    assert made is not None
    assert made == Require(where="item.tempo > 100")  # type: ignore[arg-type]
    assert made.where.mark == Mark("a.yaml", 1, 8)
    assert describe(Require)[0].type == "expression"


@pytest.mark.parametrize("yaml", ["where: true", "where: [a]", "where: {a: 1}", "where: 3"])
def test_a_parameter_that_is_no_text_is_refused(yaml: str) -> None:
    problems: list[Problem] = []
    assert build(Require, read_text(yaml, "a.yaml"), where="require", problems=problems) is None
    assert "is not an expression; write a text such as seconds >= 30" in str(problems[0])
    assert str(problems[0]).startswith("a.yaml:1:8: require")


def test_a_fault_in_yaml_shows_place_and_caret() -> None:
    problems: list[Problem] = []
    build(Require, read_text("where: true == true\nunless: item.a = 3", "a.yaml"), where="require", problems=problems)
    assert [str(problem) for problem in problems] == [
        "a.yaml:2:9: require: unless: the character = has no meaning here; write == to compare\n"
        "    item.a = 3\n"
        "           ^"
    ]


def test_the_examples_in_the_documentation() -> None:
    results = doctest.testmod(expressions)
    assert results.attempted > 0
    assert results.failed == 0
