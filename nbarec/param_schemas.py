"""Parameters as JSON Schema (draft 2020-12), from the same declarations that read them.

A schema says what a value's own text can tell: keys, types, bounds, choices, how a duration is written. Wherever it
refuses a value `nbarec.params.build` refuses it too; names of other stages, columns and the grammar of expressions are
left to that.

>>> groups = Groups()
>>> groups.value(float | None, Rule(ge=0, lt=1))
{'type': ['number', 'null'], 'minimum': 0, 'exclusiveMaximum': 1}
>>> groups.value(Literal["sum", "mean"], Rule())["anyOf"][0]
{'enum': ['sum', 'mean']}
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

from nbarec.config import STAGE_ID, Clock, Memory
from nbarec.errors import Mark
from nbarec.expressions import Expression
from nbarec.marked import ListNode, MapNode, dump, from_python
from nbarec.param_rules import Declared, Rule, declared
from nbarec.param_types import Duration, StageRef, is_a, reads_itself

Schema: TypeAlias = dict[str, Any]

VARIABLE = r"\$\{"
"""In the text as it stands in a file: `${NAME}` may become anything, so no pattern and no choice can refuse it."""

NULL: Schema = {"type": "null"}
_BOUNDS = {">=": "minimum", ">": "exclusiveMinimum", "<=": "maximum", "<": "exclusiveMaximum"}
_SIMPLE: Mapping[Any, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    str: {"type": "string"},
    types.NoneType: NULL,
    Path: {"type": "string", "minLength": 1},
    MapNode: {"type": "object"},
    ListNode: {"type": "array"},
    Clock: {"type": ["string", "integer"]},
}


def pattern(regex: str) -> Schema:
    """Text that matches a regular expression as a whole, or holds a variable."""
    return {"type": "string", "pattern": f"^{regex}$|{VARIABLE}"}


def one_of(choices: Iterable[Any]) -> Schema:
    """One of these values; where texts are among them also a text with a variable."""
    listed = list(choices)
    either = {"anyOf": [{"enum": listed}, {"type": "string", "pattern": VARIABLE}]}
    return either if any(isinstance(choice, str) for choice in listed) else {"enum": listed}


def prose(documented: object) -> str:
    """What a docstring says before its examples."""
    return (inspect.getdoc(documented) or "").partition(">>> ")[0].strip()


class Groups:
    """Schemas of dataclasses and of their parameters; `found` collects those of the groups inside, for `$defs`."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}
        self._names: dict[type, str] = {}

    def parameters(self, cls: type) -> Schema:
        """The mapping from which `build` makes a `cls`."""
        known = declared(cls)
        properties = {key: self._parameter(item) for key, item in known.items()}
        required = [key for key, item in known.items() if item.required]
        schema: Schema = {"type": "object", "description": prose(cls), "properties": properties}
        if required:
            schema["required"] = required
        return {**schema, "additionalProperties": False}

    def group(self, cls: type) -> Schema:
        """A reference to `parameters(cls)`, which then stands in `found`."""
        if cls not in self._names:
            name = re.sub(r"\W", "_", cls.__qualname__)
            taken = sum(re.sub(r"\W", "_", other.__qualname__) == name for other in self._names)
            self._names[cls] = f"{name}_{taken + 1}" if taken else name
            self.found[self._names[cls]] = {}  # keeps its place while a group that holds itself is looked into
            self.found[self._names[cls]].update(self.parameters(cls))
        return {"$ref": f"#/$defs/{self._names[cls]}"}

    def value(self, annotation: Any, rule: Rule) -> Schema:
        """What a value of the annotated type may be."""
        options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
        schemas = [self._alternative(option, rule) for option in options]
        if len(schemas) == 2 and NULL in schemas:
            (other,) = (schema for schema in schemas if schema != NULL)
            if isinstance(other.get("type"), str) and "enum" not in other:
                return {**other, "type": [other["type"], "null"]}
        flat = [part for schema in schemas for part in (schema["anyOf"] if list(schema) == ["anyOf"] else [schema])]
        return flat[0] if len(flat) == 1 else {"anyOf": flat}

    def _parameter(self, item: Declared) -> Schema:
        schema = dict(self.value(item.annotation, item.rule))
        if item.rule.doc:
            schema["description"] = item.rule.doc
        return schema if (default := _default(item)) is MISSING else {**schema, "default": default}

    def _alternative(self, annotation: Any, rule: Rule) -> Schema:
        origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
        if origin is Literal:
            return one_of(arguments)
        if origin is tuple and arguments[1:] == (...,):
            return {"type": "array", "items": self.value(arguments[0], rule)}
        if is_a(origin, Mapping) and arguments:
            return {"type": "object", "additionalProperties": self.value(arguments[1], rule)}
        if annotation is Duration:
            return _duration(rule)
        if rule.choices and annotation in (int, float, str, StageRef):
            return one_of(rule.choices)
        if annotation in _SIMPLE:
            return {**_SIMPLE[annotation], **(_bounds(rule) if annotation in (int, float) else {})}
        if annotation in _TEXTS:
            return _TEXTS[annotation]
        if dataclasses.is_dataclass(annotation) and isinstance(annotation, type) and not reads_itself(annotation):
            return self.group(annotation)
        return {}  # a type that reads itself in a way of its own


_TEXTS: Mapping[Any, Schema] = {
    StageRef: pattern(STAGE_ID.pattern),
    Memory: pattern(Memory.WRITTEN.pattern),
    Expression: {"type": "string", "pattern": r"\S"},
}


def _bounds(rule: Rule) -> Schema:
    return {_BOUNDS[sign]: limit for sign, _, _, limit in rule.bounds()}


def _duration(rule: Rule) -> Schema:
    """A pattern can tell 0 from other durations; to bounds other than that it is blind."""
    return pattern(("(?!0+(\\.0+)?[a-z])" if rule.gt == 0 else "") + Duration.WRITTEN.pattern)


def _default(item: Declared) -> Any:
    """The default as JSON has it; MISSING for a required parameter, and for a group that has its own."""
    if item.required:
        return MISSING
    factory = item.field.default_factory
    value = item.field.default if factory is MISSING else factory()
    return json.loads(dump(from_python(value, Mark("", 1, 1)))) if _is_plain(value) else MISSING


def _is_plain(value: Any) -> bool:
    """Whether no group of parameters stands in a value."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return reads_itself(type(value)) or not dataclasses.is_dataclass(value)
