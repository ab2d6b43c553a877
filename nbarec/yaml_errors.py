"""What PyYAML has against a text, in words and with a place."""

from __future__ import annotations

import yaml

from nbarec.errors import Mark, Problem


class TooDeep(yaml.MarkedYAMLError):
    """More brackets are open than may be; `problem` is the whole message."""


def end_of(text: str, source: str) -> Mark:
    """The place just after `text`, which begins the source."""
    return Mark(source, text.count("\n") + 1, len(text) - text.rfind("\n"))


def syntax_problem(error: Exception, text: str, last: Mark) -> Problem:
    """The problem that stopped PyYAML in `text`; `last` is where its last event began."""
    if isinstance(error, yaml.reader.ReaderError):
        place = end_of(text[: error.position], last.source)
        return Problem(f"the character U+{ord(text[error.position]):04X} is not allowed; remove it", place)
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(f"this is not valid YAML after here: {error}; correct the next value", last)
    start = error.problem_mark or error.context_mark
    place = Mark(last.source, start.line + 1, start.column + 1) if start else last
    if isinstance(error, TooDeep):
        return Problem(str(error.problem), place)
    line = (text.splitlines() or [""])[min(place.line, len(text.splitlines())) - 1]
    said = ", ".join(part for part in (error.context, error.problem) if part)
    if "${" in line:
        said += '; inside [ ] and { } quote it: "${NAME}"'
    elif "\\t" in said:
        said += "; indent with spaces, not tabs"
    return Problem(f"this is not valid YAML: {said}", place)
