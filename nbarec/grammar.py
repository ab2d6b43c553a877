"""The grammar of expressions: text -> frozen nodes, with a caret under every fault.

    rule        = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | comparison
    comparison  = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=") sum | ["not"] "in" (list | sum) ]
    sum         = product { ("+" | "-") product }
    product     = value { ("*" | "/") value }
    value       = "-" value | number | duration | text | "true" | "false" | name | "(" rule ")"
    list        = "[" element { "," element } "]"
    element     = word | text | ["-"] (number | duration)

Operator-precedence parsing by one table of binding powers (Pratt 1973). A chain of one precedence becomes one node, so
the depth of the tree grows with brackets, not with length. Comparisons can't be chained (`1 < x < 3` is refused). In
quoted text the quote itself is written twice (`'it''s'`); a backslash is an ordinary character.
"""

from __future__ import annotations

import math
import re
from typing import Literal

from nbarec.errors import ConfigError
from nbarec.params import Duration
from nbarec.syntax import (
    Chain,
    Comparison,
    Element,
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
    Step,
    Text,
    Token,
    tokens,
)

MAX_LENGTH = 2_000
MAX_DEPTH = 50
_NUMBER = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_KEYWORDS = ("and", "or", "not", "in", "true", "false")
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "in", "not")
_OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN = range(1, 8)
_POWERS = {"or": _OR, "and": _AND, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT} | dict.fromkeys(
    _COMPARISONS, _COMPARE
)


def parse(source: Source) -> tuple[Node, tuple[str, ...]]:
    """The tree of an expression, and the names in it in the order of their first use. Raises ConfigError."""
    if len(source.text) > MAX_LENGTH:
        length = f"{len(source.text):,} characters long and may have {MAX_LENGTH:,}"
        raise ConfigError(f"the expression is {length}; split it, or compute a column in the data", source.mark)
    if not source.text.strip():
        raise ConfigError("the expression is empty; write a rule such as seconds >= 30", source.mark)
    parser = _Parser(source)
    return parser.whole(), tuple(parser.names)


class _Parser:
    """One pass over the tokens. `_expression` and `_operand` call each other and are kept to a frame each."""

    def __init__(self, source: Source) -> None:
        self.names: dict[str, None] = {}
        self._source = source
        self._tokens = list(tokens(source))
        self._position = 0
        self._depth = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._position]

    def _advance(self) -> Token:
        token = self._token
        self._position += token.kind != "end"
        return token

    def _at_sign(self, *texts: str) -> bool:
        return self._token.kind == "sign" and self._token.text in texts

    def _fault(self, message: str, token: Token) -> ConfigError:
        return self._source.fault(message, token.at)

    def whole(self) -> Node:
        node = self._expression(_OR)
        if self._token.kind != "end":
            raise self._fault(self._after_value(), self._token)
        return node

    def _expression(self, minimum: int) -> Node:
        """An operand and all operators behind it that bind at least as tightly as `minimum`."""
        left = self._operand(minimum)
        compared = False
        while (power := self._power()) >= minimum:
            sign = self._advance()
            if power == _COMPARE:
                if compared:
                    raise self._fault("comparisons can't be chained; write 1 < x and x < 3 for 1 < x < 3", sign)
                compared = True
                left = self._compared(left, sign)
            else:
                left = _joined(left, sign, self._expression(power + 1))
        return left

    def _power(self) -> int:
        token = self._token
        return _POWERS.get(token.text, 0) if token.kind in ("sign", "word") else 0

    def _compared(self, left: Node, sign: Token) -> Node:
        if sign.text not in ("in", "not"):
            return Comparison(sign.text, left, self._expression(_SUM), sign.at)
        if sign.text == "not" and (word := self._advance()).text != "in":
            raise self._fault(f"expected 'in' after 'not', found {word.shown}", word)
        right = self._elements() if self._at_sign("[") else self._expression(_SUM)
        inside = Membership(left, right, sign.at)
        return Not(inside, sign.at) if sign.text == "not" else inside

    def _operand(self, minimum: int) -> Node:
        before, token = self._position, self._advance()
        match token.kind, token.text:
            case "number", _:
                return Number(self._number(token), token.text, token.at)
            case "text", quoted:
                return Text(_unquoted(quoted), token.at)
            case ("sign", "(" | "-") | ("word", "not"):
                return self._nested(token, minimum)
            case "word", ("true" | "false") as word:
                return Flag(word == "true", token.at)
            case "word", word if word not in _KEYWORDS:
                self._refuse_capitals(token)
                self.names.setdefault(word)
                return Name(word, token.at)
            case "sign", "[":
                raise self._fault("a list can only stand after 'in'", token)
        behind = f" after {self._tokens[before - 1].shown}" if before else ""
        raise self._fault(f"expected a value{behind}, found {token.shown}", token)

    def _nested(self, token: Token, minimum: int) -> Node:
        """What follows a bracket, a minus or a `not`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._fault(f"this is nested deeper than {MAX_DEPTH} levels; use fewer brackets", token)
        node: Node
        if token.text == "(":
            node = self._expression(_OR)
            self._close(")", token)
        elif token.text == "-":
            node = Negative(self._expression(_SIGN), token.at)
        elif minimum > _NOT:
            raise self._fault("'not' binds less tightly than the operator before it; put (not ...) in brackets", token)
        else:
            node = Not(self._expression(_NOT), token.at)
        self._depth -= 1
        return node

    def _close(self, sign: str, opening: Token) -> None:
        if not self._at_sign(sign):
            if self._token.kind == "end":
                raise self._fault(f"the {opening.shown} that starts here is not closed; add '{sign}'", opening)
            self._refuse_capitals(self._token)
            raise self._fault(f"expected an operator or '{sign}' before {self._token.shown}", self._token)
        self._advance()

    def _after_value(self) -> str:
        token = self._token
        self._refuse_capitals(token)
        if self._at_sign(")", "]"):
            return f"{token.shown} closes nothing that is open here"
        return f"expected an operator such as and, or, ==, in, + before {token.shown}"

    def _refuse_capitals(self, token: Token) -> None:
        if token.kind == "word" and token.text.lower() in _KEYWORDS and token.text not in _KEYWORDS:
            raise self._fault(f"write {token.text.lower()} in small letters", token)

    def _number(self, token: Token) -> float:
        try:
            value = float(token.text) if _NUMBER.fullmatch(token.text) else float(Duration(token.text))
        except ValueError:
            advice = "durations are written 30s, 15m, 12h, 30d or 2w, and text in quotes"
            raise self._fault(f"{token.shown} is not a number; {advice}", token) from None
        if not math.isfinite(value):
            raise self._fault(f"{token.shown} is too large for a number", token)
        return value

    def _elements(self) -> Elements:
        opening = self._advance()
        elements = [self._element()]
        while self._at_sign(","):
            self._advance()
            elements.append(self._element())
        if not self._at_sign("]") and self._token.kind != "end":
            found = f"expected ',' or ']' after {self._tokens[self._position - 1].shown}, found {self._token.shown}"
            raise self._fault(f"{found}; text other than one plain word goes in quotes", self._token)
        self._close("]", opening)
        return Elements(tuple(elements), opening.at)

    def _element(self) -> Element:
        token = self._advance()
        minus = token.kind == "sign" and token.text == "-" and self._token.kind == "number"
        number = self._advance() if minus else token
        if number.kind == "number":
            value = self._number(number)
            return Element("-" * minus + number.text, -value if minus else value, token.at)
        if token.kind == "text":
            return Element(_unquoted(token.text), None, token.at)
        if token.kind != "word":
            raise self._fault(f"expected a word, a number or quoted text in the list, found {token.shown}", token)
        if "." in token.text:
            raise self._fault(f"a list holds no names; for text write '{token.text}' in quotes", token)
        return Element(token.text, None, token.at)


def _joined(left: Node, sign: Token, right: Node) -> Node:
    """`left sign right`; a chain of one precedence goes on in one node."""
    if sign.text == "and" or sign.text == "or":
        word: Literal["and", "or"] = "and" if sign.text == "and" else "or"
        if isinstance(left, Logic) and left.word == word:
            return Logic(word, (*left.operands, right), left.at)
        return Logic(word, (left, right), sign.at)
    step = Step(sign.text, right, sign.at)
    if isinstance(left, Chain) and _POWERS[left.steps[0].sign] == _POWERS[sign.text]:
        return Chain(left.first, (*left.steps, step), left.at)
    return Chain(left, (step,), sign.at)


def _unquoted(quoted: str) -> str:
    return quoted[1:-1].replace(quoted[0] * 2, quoted[0])
