"""Errors of expressions as a person sees them, with the caret, and the limits of the language."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.errors import ConfigError, Mark
from nbarec.expressions import Expression, MissingColumn
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


def number(value: float) -> NumberColumn:
    return NumberColumn(np.array([value], np.float64))


def ask(text: str, scope: Columns) -> bool | None:
    truth = Expression(text).truth(scope)
    assert truth.values.shape == truth.known.shape == (scope.size,)
    return bool(truth.values[0]) if truth.known[0] else None


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab1. '\"()[],-+*/<>=!andortif\n", max_size=25))
def test_any_text_parses_or_says_why_not(text: str) -> None:
    try:
        expression = Expression(text)
    except ConfigError as error:
        message = str(error)
        assert message.startswith("the expression is empty") or message.splitlines()[-1].strip() == "^"
    else:
        assert str(expression) == text


SYNTAX = {
    "seconds >= 30 and": (17, "expected a value after 'and', found the end"),
    "and a": (0, "expected a value, found 'and'"),
    "a and\n  or b\n": (2, "expected a value after 'and', found 'or'"),
    "1 < x < 3": (6, "comparisons can't be chained; write 1 < x and x < 3 for 1 < x < 3"),
    "a == b in [c]": (7, "comparisons can't be chained; write 1 < x and x < 3 for 1 < x < 3"),
    "a = b": (2, "the character = has no meaning here; write == to compare"),
    "a && b": (2, "the character & has no meaning here; write and"),
    "a || b": (2, "the character | has no meaning here; write or"),
    "!a": (0, "the character ! has no meaning here; write not"),
    "a % 2": (2, "the character % has no meaning here"),
    "a == “b”": (5, "the character “ has no meaning here; write straight quotes, ' or \""),
    "a == 'b": (5, "the text that starts here has no end; close it with '"),
    "a == not b": (5, "'not' binds less tightly than the operator before it; put (not ...) in brackets"),
    "a AND b": (2, "write and in small letters"),
    "True": (0, "write true in small letters"),
    "(a and b": (0, "the '(' that starts here is not closed; add ')'"),
    "(a and b c)": (9, "expected an operator or ')' before 'c'"),
    "a)": (1, "')' closes nothing that is open here"),
    "a b": (2, "expected an operator such as and, or, ==, in, + before 'b'"),
    "a 'b'": (2, "expected an operator such as and, or, ==, in, + before 'b'"),
    "a not b": (6, "expected 'in' after 'not', found 'b'"),
    "a == [b]": (5, "a list can only stand after 'in'"),
    "a in []": (6, "expected a word, a number or quoted text in the list, found ']'"),
    "a in [b,": (8, "expected a word, a number or quoted text in the list, found the end"),
    "a in [b": (5, "the '[' that starts here is not closed; add ']'"),
    "a in [b c]": (8, "expected ',' or ']' after 'b', found 'c'; text other than one plain word goes in quotes"),
    "a in [hip-hop]": (9, "expected ',' or ']' after 'hip', found '-'; text other than one plain word goes in quotes"),
    "a in [item.b]": (6, "a list holds no names; for text write 'item.b' in quotes"),
    "a < 30days": (4, "'30days' is not a number; durations are written 30s, 15m, 12h, 30d or 2w, and text in quotes"),
    "a < 1.2.3": (4, "'1.2.3' is not a number; durations are written 30s, 15m, 12h, 30d or 2w, and text in quotes"),
    "a < 1e999": (4, "'1e999' is too large for a number"),
}


def said(error: ConfigError) -> tuple[str, str, int]:
    """Message, the line that is shown, and the column of the caret."""
    message, line, caret = str(error).split("\n")
    assert line.startswith("    ")
    return message, line[4:], caret.index("^") - 4


@pytest.mark.parametrize("text", SYNTAX)
def test_a_fault_of_syntax_is_shown_under_a_caret(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Expression(text)
    message, line, caret = said(caught.value)
    assert (caret, message) == SYNTAX[text]
    assert line in text.split("\n")


def test_an_empty_and_a_long_text() -> None:
    with pytest.raises(ConfigError, match=r"^a.yaml:3:9: the expression is empty; write a rule such as seconds >= 30$"):
        Expression("  ", Mark("a.yaml", 3, 9))
    with pytest.raises(ConfigError, match="is 2,001 characters long and may have 2,000"):
        Expression("a".ljust(2_001))
    assert Expression("a".ljust(2_000)).names == ("a",)


def test_a_long_line_is_shown_in_part() -> None:
    text = "a == 'x' and " * 30 + "or b" + " and a" * 100
    with pytest.raises(ConfigError) as caught:
        Expression(text)
    _, line, caret = said(caught.value)
    assert line.startswith("...")
    assert line.endswith("...")
    assert len(line) <= 106
    assert line[caret : caret + 4] == "or b"


@pytest.mark.parametrize("opening", ["(", "not ", "-"])
def test_nesting_has_a_limit(opening: str) -> None:
    closing = ")" if opening == "(" else ""
    scope = Columns(1, {"a": number(1)})
    assert ask(opening * 50 + "a" + closing * 50, scope) is True
    with pytest.raises(ConfigError, match="nested deeper than 50 levels; use fewer brackets"):
        Expression(opening * 51 + "a" + closing * 51)


@pytest.mark.parametrize("shape", ["1 or 1 and 1 == 1 + 1 * ({})", "({}) * 1 + 0 == 1 and 1 or 0"])
def test_the_deepest_rules_stay_far_from_pythons_stack(shape: str) -> None:
    deep = "a"
    for _ in range(50):
        deep = shape.format(deep)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(700)
    try:
        expression = Expression(deep)
        with pytest.raises(ConfigError, match="is true or false where a number is needed"):
            expression.truth(Columns(1, {"a": number(1)}))
    finally:
        sys.setrecursionlimit(before)


def test_long_chains_are_not_deep() -> None:
    scope = Columns(1, {"a": number(1)})
    assert ask(" and ".join(["(not -a > 0)"] * 100), scope) is True
    assert Expression("a" + "+a" * 900 + "-a*a/1").numbers(scope).tolist() == [900.0]
    assert ask("a" + " or a" * 300 + " and a" * 80, scope) is True


TYPES = {
    "item.genre == 3": (
        11,
        "text can't be compared with a number: item.genre is text, 3 is a number; write '3' in quotes",
    ),
    "tempo == '120'": (
        6,
        "a number can't be compared with text: tempo is a number, '120' is text; write 120 without quotes",
    ),
    "tempo == item.genre": (
        6,
        "a number can't be compared with text: tempo is a number, item.genre is text",
    ),
    "item.genre == true": (
        11,
        "text can't be compared with true or false: item.genre is text, true is true or false; write 'true' in quotes",
    ),
    "item.genre < 'b'": (11, "item.genre is text, which < can't order; use == or !="),
    "(tempo > 3) > 1": (12, "(...) is true or false, which > can't order; use == or !="),
    "item.tags == 'live'": (10, "item.tags is a set of texts; write 'live' in item.tags"),
    "'live' != item.tags": (7, "item.tags is a set of texts; write 'live' not in item.tags"),
    "'rock' in item.genre": (7, "item.genre is one text, not a set of texts; write 'rock' == item.genre"),
    "'rock' in tempo": (7, "tempo is a number; 'in' needs a list such as [a, b], or a column of several texts"),
    "3 in item.tags": (2, "3 is a number, and item.tags holds texts; write '3' in quotes"),
    "tempo in [a]": (10, "a number can't be text: tempo is a number, 'a' is text"),
    "tempo in [1, '2']": (13, "a number can't be text: tempo is a number, '2' is text; write 2 without quotes"),
    "true in [true]": (5, "true is true or false, which can't be in a list; use it alone"),
    "item.genre + 1 > 2": (0, "item.genre is text where a number is needed"),
    "1 + '2' > 2": (4, "'2' is text where a number is needed; write 2 without quotes"),
    "-(tempo > 1) > 2": (8, "(...) is true or false where a number is needed"),
    "not item.genre": (4, "item.genre is text where true or false is needed; compare it, as in item.genre == '...'"),
    "tempo > 1 and item.tags": (
        14,
        "item.tags is a set of texts where true or false is needed; compare it, as in '...' in item.tags",
    ),
    "item.gnre == 'rock'": (
        0,
        "there is no name 'item.gnre' here (did you mean item.genre?); "
        "the names are item.genre, item.tags, tempo, kind",
    ),
    "genre == 'rock'": (
        0,
        "there is no name 'genre' here (did you mean item.genre?); for text write 'genre' in quotes; "
        "the names are item.genre, item.tags, tempo, kind",
    ),
    "kind == like": (
        8,
        "there is no name 'like' here; for text write 'like' in quotes; "
        "the names are item.genre, item.tags, tempo, kind",
    ),
}


@pytest.mark.parametrize("text", TYPES)
def test_a_wrong_name_or_type_is_shown_under_a_caret_even_without_rows(text: str) -> None:
    scope = Columns(
        1,
        {
            "item.genre": CategoryColumn.of(["rock"]),
            "item.tags": TagsColumn.of(np.array([0]), ["live"], 1),
            "tempo": number(120),
            "kind": CategoryColumn.of(["like"]),
        },
    )
    expression = Expression(text)
    for act in (expression.truth, expression.check):
        with pytest.raises(ConfigError) as caught:
            act(scope)
        message, line, caret = said(caught.value)
        assert (caret, message) == TYPES[text]
        assert line == text


def test_the_error_of_a_name_carries_the_mark() -> None:
    with pytest.raises(ConfigError) as caught:
        Expression("a", Mark("music.yaml", 7, 12)).truth(Columns(0, {"b": number(1)}))
    assert str(caught.value) == (
        "music.yaml:7:12: there is no name 'a' here; for text write 'a' in quotes; the names are b\n    a\n    ^"
    )


def test_many_names_are_not_all_listed() -> None:
    names = {f"column_{at}": number(1) for at in range(40)}
    with pytest.raises(ConfigError, match=r"column_29, \.\.\.\n"):
        Expression("zzz").truth(Columns(1, names))


def test_numbers_of_a_rule_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"\(\.\.\.\) is true or false where a number is needed"):
        Expression("1 < 2").numbers(Columns(1, {}))


def test_check_passes_a_good_rule_without_reading_rows() -> None:
    Expression("a > 1 and missing == 'x'").check(
        Columns(5, {"a": NumberColumn(np.ones(5)), "missing": MissingColumn(5)})
    )
