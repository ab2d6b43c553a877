"""What one YAML scalar means: numbers, words and text, with `${NAME}` expanded.

Scalars on which YAML 1.1 and 1.2 disagree are errors that say what to write instead.

>>> resolved("12", quoted=False), resolved("12", quoted=True), resolved("plays.csv", quoted=False)
(12, '12', 'plays.csv')
>>> resolved("yes", quoted=False)
Traceback (most recent call last):
ValueError: 'yes' is read differently by different YAML readers; write true or false, or quote it for text
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any, TypeAlias

ScalarValue: TypeAlias = str | int | float | bool | None

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
_EXPONENT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")
_TRAPS = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (r"y|n|yes|no|on|off", "write true or false, or quote it for text"),
        (r"[-+]?0[0-9]+", "drop the leading zeros for a number, or quote it for text"),
        (
            r"[-+]?[0-9]+(:[0-9]+)+(\.[0-9]*)?",
            "write one number, or a duration such as 90s, or quote it for text",
        ),
        (r"[-+]?\.(inf|nan)", "write a finite number, or null, or quote it for text"),
        (r"[-+]?0[xob][0-9a-f_]+", "write a decimal number, or quote it for text"),
        (r"[-+]?[0-9]+(\.[0-9]*)?_[0-9_.]*", "write the number without underscores, or quote it for text"),
    )
)
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


def resolved(text: str, *, quoted: bool, expand: bool = True) -> ScalarValue:
    """The value of a scalar that stands in the file as `text`; only an unquoted one can be other than text.

    Raises ValueError where YAML versions disagree about it, a number is too large, or a variable is not set.
    """
    value = text if quoted else _plain_value(text)
    return _well_formed(_expanded(value) if expand else value) if isinstance(value, str) else value


def with_point(number: str) -> str:
    """1e3 -> 1.0e+3: the form that every YAML and JSON reader takes for a number."""
    mantissa, has_exponent, exponent = number.lower().partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    if not has_exponent:
        return mantissa
    return f"{mantissa}e{exponent}" if exponent[0] in "+-" else f"{mantissa}e+{exponent}"


def shown(value: object, form: Callable[[Any], str] = repr) -> str:
    """A value in an error message, short."""
    text: str = form(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain_value(text: str) -> ScalarValue:
    """What an unquoted scalar means; ValueError where YAML versions disagree about it."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
            raise ValueError(f"{shown(text)} does not fit 64 bits; write a smaller number, or quote it for text")
        return int(text)
    if _DECIMAL.fullmatch(text):
        if not math.isfinite(float(text)):
            raise ValueError(f"{shown(text)} is too large for a number; write a smaller one, or quote it for text")
        return float(text)
    if _EXPONENT.fullmatch(text):
        number = shown(with_point(text), str)
        raise ValueError(f"{shown(text)} is text to some YAML readers; write {number}, or quote it for text")
    for pattern, advice in _TRAPS:
        if pattern.fullmatch(text):
            raise ValueError(f"{shown(text)} is read differently by different YAML readers; {advice}")
    return text


def _expanded(text: str) -> str:
    """`${NAME}` and `${NAME:-default}` replaced from the environment, once; `$${` is a literal `${`."""
    return _VARIABLE.sub(_variable, text)


def _variable(match: re.Match[str]) -> str:
    name, default = match.groups()
    if match[0] == "$${":
        return "${"
    if name is None:
        raise ValueError("'${' starts a variable: write ${NAME} or ${NAME:-default}, or $${ for a literal ${")
    value = os.environ.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise ValueError(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
    return value


def _well_formed(text: str) -> str:
    """`text` with the surrogate pairs of JSON escapes joined; half a pair is not text."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError(f"{shown(text)} holds half of a surrogate pair; write the character itself") from None
