"""Declaring parameters: what `param` keeps beside a dataclass field, and where to find it again."""

from __future__ import annotations

import copy
import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from types import MappingProxyType
from typing import Any, get_type_hints

_METADATA = "nbarec"
_BOUNDS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    (">=", "at least", operator.ge),
    (">", "more than", operator.gt),
    ("<=", "at most", operator.le),
    ("<", "less than", operator.lt),
)


@dataclass(frozen=True)
class Rule:
    """What `param` says beyond the type. Bounds and choices hold for every number or text inside a value."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[Any, ...] = ()
    doc: str = ""
    key: str | None = None

    def bounds(self) -> Iterator[tuple[str, str, Callable[[Any, Any], bool], float]]:
        """(sign, words, comparison, limit) of every bound that is set."""
        for (sign, words, holds), limit in zip(_BOUNDS, (self.ge, self.gt, self.le, self.lt), strict=True):
            if limit is not None:
                yield sign, words, holds, limit


def param(
    default: Any = MISSING,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Iterable[Any] | None = None,
    doc: str = "",
    key: str | None = None,
) -> Any:
    """Declare one parameter: a dataclass field with its bounds, choices, doc and YAML key.

    Bounds of a Duration are in seconds. `key` is for names that Python reserves: `with_: ... = param(key="with")`.
    A mapping or list as default is copied for each instance. Without a default the parameter is required.
    """
    metadata = {_METADATA: Rule(ge, gt, le, lt, tuple(choices or ()), doc, key)}
    if type(default).__hash__ is None:
        return dataclasses.field(default_factory=functools.partial(copy.deepcopy, default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Declared:
    """One parameter as its class declares it: the field `name` behind the YAML key, its type and its rule."""

    name: str
    annotation: Any
    rule: Rule
    field: dataclasses.Field[Any]

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.field.default is MISSING and self.field.default_factory is MISSING


def declared(cls: type) -> Mapping[str, Declared]:
    """Every parameter of a dataclass by its YAML key; found once for each class, because reading type hints is slow."""
    return _declared(cls)


@functools.cache
def _declared(cls: type) -> Mapping[str, Declared]:
    hints = get_type_hints(cls)
    found = {}
    for field in dataclasses.fields(cls):
        if field.init:
            rule = field.metadata.get(_METADATA, Rule())
            found[rule.key or field.name] = Declared(field.name, hints[field.name], rule, field)
    return MappingProxyType(found)
