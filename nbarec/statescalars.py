"""What every codec of a state's values is, and those of the plain values: None, truth values, numbers and texts."""

from __future__ import annotations

import math
import types
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbarec.arrays import AnyArray
from nbarec.errors import ContractError, StoreError

Tree = Any
"""What JSON can say: an array stands as {"array": name}, a dataclass as {"class": name, "fields": {...}}, a tuple
as {"tuple": [...]}, a mapping as {"mapping": {...}}, a number that is not finite as {"float": "inf"}."""

SCALARS = (bool, int, float, str, types.NoneType)

MAY_HOLD = (
    "a state holds NumPy arrays, numbers, texts, booleans, None, tuples, mappings with text keys "
    "and dataclasses of these, annotated as such"
)


class Codec(ABC):
    """How the values of one annotation are taken apart and put together again."""

    @abstractmethod
    def accepts(self, value: object) -> bool:
        """Whether a value of a state is of this kind; what it contains is looked at later."""

    @abstractmethod
    def pack(self, value: Any, path: str, arrays: dict[str, AnyArray]) -> Tree:
        """The tree of an accepted value; its arrays are added to `arrays`."""

    @abstractmethod
    def reads(self, tree: Tree) -> bool:
        """Whether a tree stands for a value of this kind; what it contains is looked at later."""

    @abstractmethod
    def unpack(self, tree: Tree, path: str, arrays: Mapping[str, AnyArray]) -> object:
        """The value of a tree that this kind reads."""

    @abstractmethod
    def __str__(self) -> str: ...


def pack(codec: Codec, value: object, path: str, arrays: dict[str, AnyArray]) -> Tree:
    """The tree of any value by its annotation's codec. Raises ContractError where it is not of that kind."""
    if not codec.accepts(value):
        raise ContractError(f"state field {path!r} is {described(value)} where {codec} is expected; {MAY_HOLD}")
    return codec.pack(value, path, arrays)


def unpack(codec: Codec, tree: Tree, path: str, arrays: Mapping[str, AnyArray]) -> object:
    """The value of any tree by its annotation's codec. Raises StoreError where it is not of that kind."""
    if not codec.reads(tree):
        raise StoreError(f"saved state{place_of(path)}: {tree_described(tree)} where {codec} is expected; fit again")
    return codec.unpack(tree, path, arrays)


@dataclass(frozen=True)
class ScalarCodec(Codec):
    """None, a truth value, a number or a text, or a class that is one of these and is built from one."""

    kind: type

    def accepts(self, value: object) -> bool:
        if self.kind not in SCALARS:
            return isinstance(value, self.kind)
        return self._is(as_plain(value))

    def _is(self, plain: object) -> bool:
        # An int stands for a float, as in Python's own typing; a bool stands for neither.
        return type(plain) is self.kind or (self.kind is float and type(plain) is int)

    def pack(self, value: Any, path: str, arrays: dict[str, AnyArray]) -> Tree:
        plain = as_plain(value)
        finite = not isinstance(plain, float) or math.isfinite(plain)
        return plain if finite else {"float": repr(plain)}

    def reads(self, tree: Tree) -> bool:
        plain = as_number(tree)
        return self._is(plain) if self.kind in SCALARS else type(plain) in SCALARS and isinstance(plain, self._base)

    @property
    def _base(self) -> type:
        return next(base for base in SCALARS if issubclass(self.kind, base))

    def unpack(self, tree: Tree, path: str, arrays: Mapping[str, AnyArray]) -> object:
        plain = as_number(tree)
        return plain if self.kind in SCALARS else constructed(self.kind, path, plain)

    def __str__(self) -> str:
        return "None" if self.kind is types.NoneType else self.kind.__name__


@dataclass(frozen=True)
class ChoiceCodec(Codec):
    """One of the values that a Literal lists."""

    choices: tuple[Any, ...]

    def accepts(self, value: object) -> bool:
        return self.reads(as_plain(value))

    def pack(self, value: Any, path: str, arrays: dict[str, AnyArray]) -> Tree:
        return as_plain(value)

    def reads(self, tree: Tree) -> bool:
        return any(type(tree) is type(choice) and tree == choice for choice in self.choices)

    def unpack(self, tree: Tree, path: str, arrays: Mapping[str, AnyArray]) -> object:
        return tree

    def __str__(self) -> str:
        return f"one of {', '.join(map(repr, self.choices))}"


def described(value: object) -> str:
    """A value's type, in the words of an error."""
    return "None" if value is None else f"a value of type {type(value).__name__}"


def tree_described(tree: Tree) -> str:
    """What a tree stands for, in the words of an error."""
    if not isinstance(tree, dict):
        return described(tree) if isinstance(tree, SCALARS) else "something else"
    return str(tree["class"]) if isinstance(tree.get("class"), str) else f"an entry with {', '.join(tree) or 'nothing'}"


def as_plain(value: object) -> object:
    """A scalar of NumPy, or of a class derived from a plain one, as the plain one; anything else as it is."""
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return value.item()
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, float) else value


def as_number(tree: Tree) -> Tree:
    """The number that a tree spells out because JSON has none for it; any other tree as it is."""
    text = only_entry(tree, "float", str)
    return float(text) if text in ("nan", "inf", "-inf") else tree


def only_entry(tree: Tree, key: str, kind: type) -> Any:
    """What stands under `key` where that is all there is and it is of this kind, else None."""
    inner = tree[key] if isinstance(tree, dict) and tree.keys() == {key} else None
    return inner if isinstance(inner, kind) else None


def constructed(cls: type, path: str, /, *values: object, **fields: object) -> object:
    """An instance of `cls`. Raises StoreError where its constructor refuses what was saved."""
    try:
        return cls(*values, **fields)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise StoreError(
            f"saved state{place_of(path)}: {cls.__name__} refuses what was saved: {error}; fit again"
        ) from error


def place_of(path: str) -> str:
    """Where in a state, in the words of an error."""
    return f", field {path!r}" if path else ""
