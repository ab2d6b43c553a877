"""What expressions are made of: their text, its tokens, and the nodes of the tree that the grammar builds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from nbarec.errors import ConfigError, Mark

_SHOWN_WIDTH = 100


@dataclass(frozen=True)
class Source:
    """The text of an expression and where it was written."""

    text: str
    mark: Mark | None = None

    def fault(self, message: str, at: int) -> ConfigError:
        """The error `message` above the line that holds position `at`, with a caret under it."""
        start = self.text.rfind("\n", 0, at) + 1
        line = self.text[start:].split("\n", 1)[0]
        cut = max(0, at - start - _SHOWN_WIDTH // 2)
        shown = "".join(letter if letter.isprintable() else " " for letter in line[cut : cut + _SHOWN_WIDTH])
        before, after = "..." if cut else "", "..." if cut + _SHOWN_WIDTH < len(line) else ""
        caret = " " * (len(before) + at - start - cut) + "^"
        return ConfigError(f"{message}\n    {before}{shown}{after}\n    {caret}", self.mark)


@dataclass(frozen=True)
class Number:
    """A number, or a duration in seconds; `text` is how it was written."""

    value: float
    text: str
    at: int


@dataclass(frozen=True)
class Text:
    """Quoted text."""

    value: str
    at: int


@dataclass(frozen=True)
class Flag:
    """true or false."""

    value: bool
    at: int


@dataclass(frozen=True)
class Name:
    """A column, such as `seconds` or `item.genre`."""

    name: str
    at: int


@dataclass(frozen=True)
class Negative:
    """Unary minus."""

    operand: Node
    at: int


@dataclass(frozen=True)
class Not:
    """Logical not."""

    operand: Node
    at: int


@dataclass(frozen=True)
class Logic:
    """Two or more operands joined by `and`, or by `or`."""

    word: Literal["and", "or"]
    operands: tuple[Node, ...]
    at: int


@dataclass(frozen=True)
class Step:
    """One further operand of a Chain, and its operator."""

    sign: str
    operand: Node
    at: int


@dataclass(frozen=True)
class Chain:
    """Arithmetic of one precedence, from left to right."""

    first: Node
    steps: tuple[Step, ...]
    at: int


@dataclass(frozen=True)
class Comparison:
    """`==`, `!=`, `<`, `<=`, `>` or `>=` between two values."""

    sign: str
    left: Node
    right: Node
    at: int


@dataclass(frozen=True)
class Element:
    """One entry of a list: its text as written, and its number if it is one."""

    text: str
    number: float | None
    at: int


@dataclass(frozen=True)
class Elements:
    """A list: the right side of `in`."""

    elements: tuple[Element, ...]
    at: int


@dataclass(frozen=True)
class Membership:
    """`left in right`; `not in` is this inside a Not."""

    left: Node
    right: Node | Elements
    at: int


Node: TypeAlias = Number | Text | Flag | Name | Negative | Not | Logic | Chain | Comparison | Membership


@dataclass(frozen=True)
class Token:
    """A piece of the text: its kind, the letters as written, and the position of the first."""

    kind: str
    text: str
    at: int

    @property
    def shown(self) -> str:
        """The token as an error quotes it."""
        return "the end" if self.kind == "end" else self.text if self.kind == "text" else f"'{self.text}'"


_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<number>\.?[0-9](?:[eE][+-](?=[0-9])|[\w.])*)
    | (?P<word>[^\W\d]\w*(?:\.[^\W\d]\w*)*)
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<sign>==|!=|<=|>=|[-+*/<>()\[\],])""",
    re.VERBOSE,
)
_ADVICE = {"=": "write == to compare", "&": "write and", "|": "write or", "!": "write not"} | dict.fromkeys(
    "“”‘’", "write straight quotes, ' or \""
)


def tokens(source: Source) -> Iterator[Token]:
    """The pieces of the text, then one of kind `end`. Raises ConfigError at a letter that has no meaning."""
    at = 0
    while at < len(source.text):
        if not (match := _TOKEN.match(source.text, at)):
            raise source.fault(_meaningless(source.text[at]), at)
        if match.lastgroup and match.lastgroup != "space":
            yield Token(match.lastgroup, match[0], at)
        at = match.end()
    yield Token("end", "", len(source.text.rstrip()))


def _meaningless(letter: str) -> str:
    if letter in "'\"":
        return f"the text that starts here has no end; close it with {letter}"
    advice = f"; {_ADVICE[letter]}" if letter in _ADVICE else ""
    return f"the character {letter} has no meaning here{advice}"
