"""States come back bit for bit, and what could not is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, NewType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nbarec.arrays import AnyArray, Floats32, Ints64
from nbarec.data import Dataset, FileReport
from nbarec.errors import ContractError, StoreError
from nbarec.events import Combine
from nbarec.params import Duration
from nbarec.sparse import Csr
from nbarec.states import flatten, unflatten
from nbarec.tables import CategoryColumn, Column, DateColumn, NumberColumn, Table, TagsColumn

DTYPES = ["?", *(f"{order}{code}" for order in "<>" for code in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8"))]
Weight = NewType("Weight", float)


@dataclass(frozen=True)
class Arrays:
    by_name: Mapping[str, AnyArray]


@dataclass(frozen=True)
class Numbers:
    many: tuple[float | int | str | bool | None, ...]
    named: Mapping[str, float]
    pair: tuple[int, str] = (1, "a")
    nothing: tuple[()] = ()


@dataclass(frozen=True)
class Inner:
    values: Floats32
    note: str | None = None


@dataclass(frozen=True)
class Outer:
    inner: Inner
    either: tuple[Inner | Csr | None, ...]
    nested: Mapping[str, Mapping[str, Inner]]
    mode: Literal["a", 2, None]
    length: Duration
    weight: Weight
    double: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "double", 2 * len(self.either))


@dataclass(frozen=True)
class Chain:
    value: int
    rest: Chain | None = None


class Level(StrEnum):
    LOW = "low"


@dataclass(frozen=True)
class Levels:
    level: Level


@dataclass(frozen=True)
class Anything:
    value: Any


@dataclass(frozen=True)
class Lists:
    value: list[int]


@dataclass(frozen=True)
class Bare:
    value: tuple  # type: ignore[type-arg]


@dataclass(frozen=True)
class IntKeys:
    value: Mapping[int, int]


@dataclass(frozen=True)
class Unreadable:
    value: Missing  # type: ignore[name-defined]  # noqa: F821


@dataclass(frozen=True)
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("value must not be negative")


def same(left: Any, right: Any) -> bool:
    """Equal in class, and in every bit, dtype and shape of every array; a slow walk over everything."""
    if isinstance(left, np.ndarray):
        return (
            isinstance(right, np.ndarray)
            and (left.dtype.str, left.shape) == (right.dtype.str, right.shape)
            and left.tobytes() == right.tobytes()
        )
    if is_dataclass(left):
        names = [f.name for f in fields(left)]
        return type(left) is type(right) and all(same(getattr(left, n), getattr(right, n)) for n in names)
    if isinstance(left, Mapping):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and math.isnan(left):
        return isinstance(right, float) and math.isnan(right)
    return type(left) is type(right) and bool(left == right) and str(left) == str(right)


def again(state: Any) -> Any:
    """The state after a way through JSON."""
    arrays, tree = flatten(state)
    return unflatten(type(state), arrays, json.loads(json.dumps(tree, allow_nan=False)))


def everything() -> Dataset:
    """A small dataset with a column of each sort, an awkward column name and every optional part."""
    data = Dataset.from_arrays(
        ["ü", "b", "ü", "c"], [7, 7, 9, 8], [1.0, 2.0, -1.5, 0.0], time=[4, 3, 2, 1], kind=["x", "y", "x", ""],
        combine=Combine("mean", 3.0),
    )  # fmt: skip
    columns: dict[str, Column] = {
        "tempo": NumberColumn(np.array([1.0, np.nan, -0.0])),
        "a.b/../c\\d: %2E\x00é": CategoryColumn.of(["rock", None, "pop"]),
        "": TagsColumn.of(np.array([0, 0, 2]), ["t", "u", "t"], 3),
        "released": DateColumn(np.array([1, 2, 3], np.int64)),
    }
    events = replace(data.events, columns={"seconds": NumberColumn(np.arange(4.0))})
    report = FileReport("plays.csv", "event", 4, 1, ("one is bad",))
    return replace(data, events=events, catalog=Table(3, columns), files=(report,))


def test_a_whole_dataset_comes_back() -> None:
    data = everything()
    data.events.matrix()  # what is cached is no part of the state
    assert same(again(data), data)
    arrays, _ = flatten(data)
    assert {"events.indptr", "catalog.columns.tempo.values", "catalog.columns..matrix.indptr"} <= set(arrays)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=6) | st.sampled_from(["a.b", "a", "a%2Eb", "..", "CON"]),
        hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
        max_size=5,
    )
)
def test_arrays_of_any_name_dtype_and_shape_come_back(arrays: dict[str, AnyArray]) -> None:
    state = Arrays(arrays)
    back = again(state)
    assert same(back, state)
    assert len(flatten(state)[0]) == len(arrays)
    assert not any(array.flags.writeable for array in back.by_name.values())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats() | st.integers() | st.text() | st.booleans() | st.none()),
    st.dictionaries(st.text(), st.floats()),
)
def test_numbers_and_texts_come_back(many: list[Any], named: dict[str, float]) -> None:
    state = Numbers(tuple(many), named)
    assert same(again(state), state)


def test_names_of_arrays_never_meet() -> None:
    one, two = np.zeros(1), np.ones(1)

    @dataclass(frozen=True)
    class Nested:
        m: dict[str, dict[str, np.ndarray[Any, Any]]]

    Nested.__annotations__["m"] = dict[str, dict[str, AnyArray]]
    state = Nested({"a": {"b.c": one}, "a.b": {"c": two}, "a%2Eb": {"c": one}})
    assert len(flatten(state)[0]) == 3
    assert same(again(state), state)


def test_nested_classes_unions_and_derived_scalars() -> None:
    inner = Inner(np.arange(3, dtype=np.float32), "n")
    state = Outer(
        inner, (inner, Csr.empty(2, 3), None), {"x": {"y.z": inner}}, 2, Duration("15m"), Weight(math.inf)
    )  # fmt: skip
    assert same(again(state), state)
    assert isinstance(again(state).length, Duration)
    assert again(Levels(Level.LOW)).level is Level.LOW
    chain = Chain(1, Chain(2))
    assert again(chain) == chain
    assert unflatten(Inner | Csr, *flatten(Csr.empty(1, 1))).shape == (1, 1)  # type: ignore[arg-type,attr-defined]


def test_what_is_given_is_not_changed() -> None:
    state = Inner(np.arange(3, dtype=np.float32))
    arrays, tree = flatten(state)
    back = unflatten(Inner, arrays, tree)
    assert state.values.flags.writeable
    assert arrays["values"].flags.writeable
    assert not back.values.flags.writeable
    assert np.shares_memory(back.values, state.values)


def test_arrays_that_are_not_contiguous_and_scalars_of_numpy() -> None:
    grid = np.arange(12.0).reshape(3, 4)
    arrays: list[AnyArray] = [grid.T, grid[::2, ::-1], grid[1], np.array(3.0)]
    for array in arrays:
        assert np.array_equal(again(Arrays({"a": array})).by_name["a"], array)
    state = Numbers((np.int64(3), np.float32(0.1), np.bool_(True)), MappingProxyType({"x": np.float64(2)}))  # type: ignore[arg-type]
    back = again(state)
    assert [type(value) for value in back.many] == [int, float, bool]
    assert back == Numbers((3, float(np.float32(0.1)), True), {"x": 2.0})


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"a": 1}, "a state must be a dataclass, not a value of type dict"),
        (Numbers, "a state must be a dataclass, not a value of type type"),
        (Numbers(([],), {}), r"field 'many\.0' is a value of type list where float or int or str or bool or None"),  # type: ignore[arg-type]
        (Numbers((), {"x.y": "z"}), r"field 'named\.x%2Ey' is a value of type str where float"),  # type: ignore[dict-item]
        (Numbers((), {1: 2.0}), "field 'named' is a value of type dict where a mapping from text"),  # type: ignore[dict-item]
        (Numbers((), {}, (1, "a", 2)), "field 'pair' is a value of type tuple where a tuple of int, str is"),  # type: ignore[arg-type]
        (Numbers((1j,), {}), r"field 'many\.0' is a value of type complex"),  # type: ignore[arg-type]
        (Numbers((np.longdouble(1),), {}), r"field 'many\.0' is a value of type longdouble"),  # type: ignore[arg-type]
        (Inner(None), "field 'values' is None where an array is expected"),  # type: ignore[arg-type]
        (Inner(np.array(["a"])), "field 'values' is an array of <U1; .*texts go through nbarec.ids.Ids"),
        (Inner(np.array([None])), "field 'values' is an array of object"),
        (Inner(np.zeros(1, "c16")), "field 'values' is an array of complex128"),
        (Inner(np.zeros(1, "M8[s]")), "field 'values' is an array of datetime64"),
        (Inner(np.zeros(1, [("a", "i4")])), "field 'values' is an array of"),
        (Inner(np.ma.zeros(2)), "field 'values' is a value of type MaskedArray"),  # type: ignore[arg-type]
        (Anything(1), "Anything.value is annotated typing.Any, which can't be saved"),
        (Lists([1]), r"Lists.value is annotated list\[int\]"),
        (Bare(()), "Bare.value is annotated <class 'tuple'>"),
        (IntKeys({}), "IntKeys.value is annotated .*Mapping"),
        (Unreadable(1), "annotations of Unreadable can't be read"),
    ],
)
def test_what_can_not_come_back_is_refused(state: object, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        flatten(state)


def test_derived_classes_and_twins_in_a_union_are_refused() -> None:
    class Derived(Inner):
        pass

    inner = Derived(np.zeros(1, np.float32))
    with pytest.raises(ContractError, match=r"field 'either\.0' is a value of type Derived where Inner or Csr or None"):
        flatten(Outer(Inner(inner.values), (inner,), {}, "a", Duration(1), Weight(1)))
    twin: Any = dataclass(frozen=True)(type("Inner", (), {}))
    union: Any = Inner | twin
    with pytest.raises(ContractError, match="two classes of one name"):
        unflatten(union, {}, {})


@pytest.mark.parametrize(
    ("cls", "tree", "said"),
    [
        (Chain, {"class": "Other", "fields": {}}, "saved state: Other where Chain is expected; fit again"),
        (Chain, [1], "something else where Chain"),
        (Chain, {}, "an entry with nothing where Chain"),
        (Chain, {"class": "Chain", "fields": 3}, "Chain has value, rest, not a value of type int"),
        (Chain, {"class": "Chain", "fields": {"value": 1}}, "Chain has value, rest, not value"),
        (Chain, {"class": "Chain", "fields": {"value": True, "rest": None}}, "field 'value': a value of type bool"),
        (Chain, {"class": "Chain", "fields": {"value": 1, "rest": {"class": "os.system"}}}, "rest.: os.system where"),
        (Inner, {"class": "Inner", "fields": {"values": {"array": "x"}, "note": None}}, "there is no array 'x'"),
        (Inner, {"class": "Inner", "fields": {"values": {"array": 1}, "note": None}}, "where an array is expected"),
        (Numbers, {"class": "Numbers", "fields": {"many": {"tuple": [{"float": "1e999"}]}, "named": {"mapping": {}},
         "pair": {"tuple": [1, "a"]}, "nothing": {"tuple": []}}}, r"field 'many\.0': an entry with float"),
        (Positive, {"class": "Positive", "fields": {"value": -1}}, "Positive refuses what was saved: value must"),
        (Levels, {"class": "Levels", "fields": {"level": "high"}}, "field 'level': Level refuses what was saved"),
        (Levels, {"class": "Levels", "fields": {"level": 1}}, "field 'level': a value of type int where Level"),
    ],
)  # fmt: skip
def test_a_tree_that_does_not_fit_is_refused(cls: type, tree: object, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        unflatten(cls, {}, tree)


def test_literals_keep_their_types() -> None:
    @dataclass(frozen=True)
    class Mode:
        mode: Literal[1, "x"]

    Mode.__annotations__["mode"] = Literal[1, "x"]
    assert again(Mode(1)) == Mode(1)
    with pytest.raises(ContractError, match="where one of 1, 'x' is expected"):
        flatten(Mode(True))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="where one of 1, 'x' is expected"):
        unflatten(Mode, {}, {"class": "Mode", "fields": {"mode": 1.0}})


def test_annotations_of_integers_hold_any_integer_array() -> None:
    @dataclass(frozen=True)
    class Plain:
        a: np.ndarray[Any, Any]
        b: Ints64

    Plain.__annotations__.update(a=np.ndarray, b=Ints64)
    state = Plain(np.zeros((0, 3), np.int8), np.array(5))
    assert same(again(state), state)


def test_a_named_alias_of_python_3_12_is_looked_through() -> None:
    alias = type("Alias", (), {"__value__": int})()

    @dataclass(frozen=True)
    class Aliased:
        value: int

    Aliased.__annotations__["value"] = alias
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nbarec.states.get_type_hints", lambda cls: cls.__annotations__)
        assert again(Aliased(3)) == Aliased(3)
