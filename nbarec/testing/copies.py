"""Copies of anything that a component gets or keeps: writable, read-only, memory-mapped; and what differs in two.

>>> from nbarec.sparse import Csr
>>> matrix = Csr.empty(1, 2)
>>> changed = writable(matrix)
>>> changed.indptr[0] = 5
>>> differing(leaves(matrix), leaves(changed))
['indptr']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nbarec.arrays import AnyArray, frozen

T = TypeVar("T")

ALIGNED = 64
"""Where an array in a file may begin: a multiple of it, as in an .npy file."""


def writable(value: T) -> T:
    """The same with arrays and mappings of its own, which may be written into."""
    copied: T = _rebuilt(value, np.copy)
    return copied


def read_only(value: T) -> T:
    """The same with arrays of its own that refuse to be written into, as in a pipeline."""
    copied: T = _rebuilt(value, lambda array: frozen(array.copy()))
    return copied


def memory_mapped(value: T, folder: Path) -> T:
    """The same with arrays that are read from a new file in `folder`, as those of a model that was loaded."""
    path = folder / "arrays"
    with path.open("wb", buffering=0) as file:

        def mapped(array: AnyArray) -> AnyArray:
            if not array.size or array.dtype.hasobject:  # nothing to map; no plain bytes
                return frozen(array.copy())
            start = -(-file.tell() // ALIGNED) * ALIGNED
            file.seek(start)
            file.write(array.tobytes())
            return np.asarray(np.memmap(path, array.dtype, "r", start, array.shape))

        copied: T = _rebuilt(value, mapped)
    return copied


def leaves(value: object) -> dict[str, object]:
    """Everything that the value holds, by the path to it, in a form that compares to the bit."""
    found: dict[str, object] = {}
    _collect(value, "", found)
    return found


def differing(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The paths at which two collections of leaves differ."""
    missing = object()
    return [path for path in {**before, **after} if before.get(path, missing) != after.get(path, missing)]


def _rebuilt(value: Any, change: Callable[[AnyArray], AnyArray]) -> Any:
    """The same value with every array changed; what a dataclass has cached beside its fields is left behind."""
    if isinstance(value, np.ndarray):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        made = object.__new__(type(value))
        for field in fields(value):
            object.__setattr__(made, field.name, _rebuilt(getattr(value, field.name), change))
        return made
    if isinstance(value, Mapping):
        return {key: _rebuilt(inner, change) for key, inner in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_rebuilt(inner, change) for inner in value)
    return value


def _collect(value: Any, path: str, found: dict[str, object]) -> None:
    if isinstance(value, np.ndarray):
        bits = value.tolist() if value.dtype.hasobject else value.tobytes()
        found[path] = (value.dtype.str, value.shape, bits)
        return
    inside = _inside(value)
    found[path] = (type(value).__name__, "" if inside else _written(value))
    for step, inner in inside:
        _collect(inner, f"{path}.{step}" if path else step, found)


def _inside(value: Any) -> list[tuple[str, object]]:
    """What the value is made of, by name or place; nothing for a single value."""
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, Mapping):
        return [(str(key), inner) for key, inner in value.items()]
    if isinstance(value, tuple | list):
        return [(str(at), inner) for at, inner in enumerate(value)]
    own = {} if isinstance(value, type) or callable(value) else getattr(value, "__dict__", {})
    return list(own.items())


def _written(value: object) -> str:
    """A single value as text: sets in order, and objects that show nothing but their address by their type alone."""
    if isinstance(value, set | frozenset):
        return repr(sorted(map(repr, value)))
    return "" if type(value).__repr__ is object.__repr__ or callable(value) else repr(value)
