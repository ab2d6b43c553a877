"""States as named arrays and a tree of everything else: what the store writes to disk and reads again.

A state is a dataclass of arrays, numbers, texts, booleans, None, tuples, mappings with text keys, and further
dataclasses of these. Its annotations are the schema: they say what each field may hold, both when a state is taken
apart and when it is put together.

>>> from nbarec.sparse import Csr
>>> arrays, tree = flatten(Csr.empty(2, 3))
>>> sorted(arrays), tree["fields"]["shape"]
(['data', 'indices', 'indptr'], {'tuple': [2, 3]})
>>> unflatten(Csr, arrays, tree).shape
(2, 3)
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any, Literal, NewType, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from nbarec.arrays import AnyArray
from nbarec.errors import ContractError
from nbarec.statecodecs import ArrayCodec, ClassCodec, MappingCodec, TupleCodec, UnionCodec
from nbarec.statescalars import MAY_HOLD, SCALARS, ChoiceCodec, Codec, ScalarCodec, Tree, described, pack, unpack

S = TypeVar("S")


def flatten(state: object) -> tuple[dict[str, AnyArray], dict[str, Tree]]:
    """The arrays of a state by name (`sim.indptr`), and the JSON-able tree of everything else.

    Keys of mappings and positions in tuples are steps of a name too; `%` and `.` in a key are written `%25` and
    `%2E`, so no two arrays share a name. Raises ContractError, naming the field, where a state holds anything that
    `unflatten` could not bring back.
    """
    if not dataclasses.is_dataclass(state) or isinstance(state, type):
        raise ContractError(f"a state must be a dataclass, not {described(state)}; {MAY_HOLD}")
    arrays: dict[str, AnyArray] = {}
    tree = pack(_codec(type(state), type(state).__name__), state, "", arrays)
    return arrays, tree


def unflatten(cls: type[S], arrays: Mapping[str, AnyArray], tree: Tree) -> S:
    """The state that `flatten` took apart, by the annotations of `cls` (a dataclass, or a union of several).

    Arrays come back read-only, with the same dtype and shape; nothing is copied. Mappings come back as dicts, NumPy
    scalars as Python's. Raises StoreError where the tree or the arrays do not fit the class.
    """
    return cast(S, unpack(_codec(cls, getattr(cls, "__name__", str(cls))), tree, "", arrays))


def _codec(annotation: Any, where: str) -> Codec:
    """The codec of an annotation; `where` is what carries it. Raises ContractError where the store has none."""
    if isinstance(annotation, NewType):
        return _codec(annotation.__supertype__, where)
    if hasattr(annotation, "__value__"):  # a `type X = ...` statement of Python 3.12
        return _codec(annotation.__value__, where)
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if origin in (Union, types.UnionType):
        return _union(tuple(_codec(option, where) for option in arguments), where)
    if origin is Literal:
        return ChoiceCodec(arguments)
    if origin is tuple and annotation is not tuple:
        repeats = len(arguments) == 2 and arguments[1] is Ellipsis
        places = arguments[:1] if repeats else arguments
        return TupleCodec(tuple(_codec(place, where) for place in places), repeats)
    if isinstance(origin, type) and issubclass(origin, Mapping) and arguments[:1] == (str,):
        return MappingCodec(_codec(arguments[1], where))
    return _codec_of_class(annotation, origin, where)


def _codec_of_class(annotation: Any, origin: Any, where: str) -> Codec:
    if origin is np.ndarray:
        return ArrayCodec()
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return ClassCodec(annotation, _fields_of)
    if isinstance(annotation, type) and issubclass(annotation, SCALARS):
        return ScalarCodec(annotation)
    raise ContractError(f"{where} is annotated {annotation}, which can't be saved; {MAY_HOLD}")


def _union(options: tuple[Codec, ...], where: str) -> Codec:
    names = [str(option) for option in options if isinstance(option, ClassCodec)]
    if len(set(names)) < len(names):
        raise ContractError(f"{where} is annotated with two classes of one name ({', '.join(names)}); rename one")
    return UnionCodec(options)


@functools.cache
def _fields_of(cls: type) -> Mapping[str, Codec]:
    """The codec of every field that the constructor of a dataclass takes."""
    try:
        hints = get_type_hints(cls)
    except (NameError, AttributeError, TypeError) as error:
        raise ContractError(
            f"the annotations of {cls.__name__} can't be read ({error}); what they name must be imported in its module"
        ) from error
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    return {name: _codec(hints[name], f"{cls.__name__}.{name}") for name in fields}
