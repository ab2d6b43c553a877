"""How each kind of value in a state is taken apart for the store, and put together again.

A codec stands for one annotation. What a tree says never decides which class is built: it can only pick one of
those that the annotation lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbarec.arrays import AnyArray
from nbarec.errors import ContractError, StoreError
from nbarec.statescalars import Codec, Tree, as_plain, constructed, only_entry, pack, place_of, tree_described, unpack

_WIDE = ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8")
ARRAY_DTYPES = frozenset({"|b1", "|i1", "|u1"} | {order + code for order in "<>" for code in _WIDE})
"""The dtypes, as `dtype.str`, that a state's arrays may have."""


@dataclass(frozen=True)
class ArrayCodec(Codec):
    """An array of any shape and of a dtype of the allow-list, whatever dtype its annotation says."""

    def accepts(self, value: object) -> bool:
        return type(value) in (np.ndarray, np.memmap)  # masked arrays and their like would lose what they add

    def pack(self, value: Any, path: str, arrays: dict[str, AnyArray]) -> Tree:
        if value.dtype.str not in ARRAY_DTYPES:
            raise ContractError(
                f"state field {path!r} is an array of {value.dtype}; only bool, integers and floats of up to 64 bits "
                "can be saved (texts go through nbarec.ids.Ids)"
            )
        arrays[path] = np.asarray(value)
        return {"array": path}

    def reads(self, tree: Tree) -> bool:
        return only_entry(tree, "array", str) is not None

    def unpack(self, tree: Tree, path: str, arrays: Mapping[str, AnyArray]) -> object:
        if tree["array"] not in arrays:
            raise StoreError(f"saved state{place_of(path)}: there is no array {tree['array']!r}; fit again")
        array = np.asarray(arrays[tree["array"]]).view()
        array.setflags(write=False)
        return array

    def __str__(self) -> str:
        return "an array"


@dataclass(frozen=True)
class TupleCodec(Codec):
    """A tuple: one codec a place, or a single one for any number of places."""

    places: tuple[Codec, ...]
    repeats: bool

    def accepts(self, value: object) -> bool:
        return type(value) is tuple and self._fits(len(value))

    def _fits(self, length: int) -> bool:
        return self.repeats or length == len(self.places)

    def _steps(self, values: Any, path: str) -> Any:
        places = self.places * len(values) if self.repeats else self.places
        steps = [f"{path}.{at}" for at in range(len(values))]
        return zip(places, values, steps, strict=True)

    def pack(self, value: Any, path: str, arrays: dict[str, AnyArray]) -> Tree:
        return {"tuple": [pack(codec, inner, step, arrays) for codec, inner, step in self._steps(value, path)]}

    def reads(self, tree: Tree) -> bool:
        inner = only_entry(tree, "tuple", list)
        return inner is not None and self._fits(len(inner))

    def unpack(self, tree: Tree, path: str, arrays: Mapping[str, AnyArray]) -> object:
        steps = self._steps(tree["tuple"], path)
        return tuple(unpack(codec, inner, step, arrays) for codec, inner, step in steps)

    def __str__(self) -> str:
        return f"a tuple of {', '.join(map(str, self.places)) or 'nothing'}{', ...' if self.repeats else ''}"


@dataclass(frozen=True)
class MappingCodec(Codec):
    """A mapping from any text to values of one annotation. It comes back as a dict in the same order."""

    values: Codec

    def accepts(self, value: object) -> bool:
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)

    def pack(self, value: Any, path: str, arrays: dict[str, AnyArray]) -> Tree:
        packed = {str(as_plain(key)): pack(self.values, v, _keyed(path, key), arrays) for key, v in value.items()}
        return {"mapping": packed}

    def reads(self, tree: Tree) -> bool:
        return only_entry(tree, "mapping", dict) is not None

    def unpack(self, tree: Tree, path: str, arrays: Mapping[str, AnyArray]) -> object:
        return {key: unpack(self.values, v, _keyed(path, key), arrays) for key, v in tree["mapping"].items()}

    def __str__(self) -> str:
        return f"a mapping from text to {self.values}"


@dataclass(frozen=True)
class ClassCodec(Codec):
    """A dataclass, known in the tree by its short name. Fields that its constructor does not take are left out."""

    cls: type
    fields_of: Callable[[type], Mapping[str, Codec]]

    def accepts(self, value: object) -> bool:
        return type(value) is self.cls

    def pack(self, value: Any, path: str, arrays: dict[str, AnyArray]) -> Tree:
        fields = {
            name: pack(codec, getattr(value, name), _joined(path, name), arrays)
            for name, codec in self.fields_of(self.cls).items()
        }
        return {"class": self.cls.__name__, "fields": fields}

    def reads(self, tree: Tree) -> bool:
        return isinstance(tree, dict) and tree.keys() == {"class", "fields"} and tree["class"] == self.cls.__name__

    def unpack(self, tree: Tree, path: str, arrays: Mapping[str, AnyArray]) -> object:
        fields, codecs = tree["fields"], self.fields_of(self.cls)
        if not isinstance(fields, dict) or fields.keys() != codecs.keys():
            saved = ", ".join(map(str, fields)) if isinstance(fields, dict) else tree_described(fields)
            raise StoreError(f"saved state{place_of(path)}: {self} has {', '.join(codecs)}, not {saved}; fit again")
        values = {n: unpack(codec, fields[n], _joined(path, n), arrays) for n, codec in codecs.items()}
        return constructed(self.cls, path, **values)

    def __str__(self) -> str:
        return self.cls.__name__


@dataclass(frozen=True)
class UnionCodec(Codec):
    """The first of several annotations that takes the value."""

    options: tuple[Codec, ...]

    def accepts(self, value: object) -> bool:
        return any(option.accepts(value) for option in self.options)

    def pack(self, value: Any, path: str, arrays: dict[str, AnyArray]) -> Tree:
        return next(option for option in self.options if option.accepts(value)).pack(value, path, arrays)

    def reads(self, tree: Tree) -> bool:
        return any(option.reads(tree) for option in self.options)

    def unpack(self, tree: Tree, path: str, arrays: Mapping[str, AnyArray]) -> object:
        return next(option for option in self.options if option.reads(tree)).unpack(tree, path, arrays)

    def __str__(self) -> str:
        return " or ".join(map(str, self.options))


def _joined(path: str, step: str) -> str:
    return f"{path}.{step}" if path else step


def _keyed(path: str, key: str) -> str:
    return _joined(path, key.replace("%", "%25").replace(".", "%2E"))
