"""HTML and SVG as text, escaped by construction: what is not `Markup` is a text, and is escaped where it is put in.

>>> element("p", "a < b ", element("b", "bold"), class_="note")
'<p class="note">a &lt; b <b>bold</b></p>'
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

VOID = frozenset({"br", "hr", "meta", "wbr"})
"""Elements of HTML without an end."""

UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that neither HTML nor SVG can hold, however they are written."""

NOTHING = ""


class Markup(str):
    """A text that is HTML or SVG already."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """The text as it may stand between tags and within quotes; characters that no page can hold become U+FFFD."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(UNWRITABLE.sub("\ufffd", text), quote=True))


def joined(parts: Iterable[str]) -> Markup:
    """Texts and markup, one after the other."""
    return Markup("".join(map(escaped, parts)))


def element(tag: str, *children: str, **attributes: str | float | bool | None) -> Markup:
    """One element. Attributes are written as in Python: `class_` for class, `stroke_width` for stroke-width; None and
    False leave one out, True writes its name alone, and numbers are rounded to what a screen shows."""
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{joined(children)}</{tag}>")


def _attribute(name: str, value: str | float | bool | None) -> str:
    name = name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {name}="{escaped(text)}"'
