"""Ids: what goes in comes out, in its place, and nothing is taken for something else."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec import ids as module
from nbarec.arrays import Bytes, Ints64, Uints64
from nbarec.errors import DataError
from nbarec.ids import Ids, TextOrNumber, encode_texts

any_text = st.text(max_size=8) | st.sampled_from(
    ["", "0", "007", "7", "-0", "+5", "1_000", " 7", "7.0", "1e3", "ü", "\0", "a\0", "٣", "nan", str(2**63), "9" * 40]
)
texts = st.lists(any_text, unique=True, max_size=12)
numbers = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=12)


@settings(max_examples=150)
@pytest.mark.parametrize("few", [0, module.FEW])
@given(values=texts, other=any_text)
def test_any_texts_come_out_as_they_came_in(few: int, values: list[str], other: str) -> None:
    ids = Ids.of(values)
    assert len(ids) == len(values)
    assert ids.all() == values
    assert all(isinstance(value, str) for value in ids.all())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FEW", few)
        assert ids.index(values).tolist() == list(range(len(values)))
        assert ids.index([other]).tolist() == [values.index(other) if other in values else -1]
    backwards = list(range(len(values)))[::-1]
    assert ids.take(backwards) == ids.texts(backwards) == values[::-1]


@given(numbers, st.integers())
def test_whole_numbers_come_out_as_whole_numbers(values: list[int], other: int) -> None:
    ids = Ids.of(values)
    assert ids.all() == values
    assert all(type(value) is int for value in ids.all())
    assert ids.texts(range(len(values))) == [str(value) for value in values]
    assert ids.index([*values, other]).tolist()[-1] == (values.index(other) if other in values else -1)


@given(numbers.filter(bool))
def test_a_number_and_the_text_that_says_it_are_the_same_id(values: list[int]) -> None:
    as_text = [str(value) for value in values]
    places = list(range(len(values)))
    assert Ids.of(values).index(as_text).tolist() == places
    assert Ids.of(as_text).index(values).tolist() == places
    assert Ids.of([*as_text, "x"]).index(values).tolist() == places


def test_what_only_looks_like_the_same_number_is_another_id() -> None:
    ids = Ids.of(["7", "007", "7.0", " 7", "+7"])
    assert ids.index(["007", 7, "7.0", "07", "+7"]).tolist() == [1, 0, 2, -1, 4]
    whole: list[TextOrNumber] = [7, 0]
    assert Ids.of(whole).index(["007", "7.0", "", "-0", "٧", 2**70, str(2**70)]).tolist() == [-1] * 7
    assert Ids.of(whole).index([7.5, float("nan"), float("inf")]).tolist() == [-1] * 3  # type: ignore[list-item]


def test_how_ids_are_held() -> None:
    assert Ids.of(["1", "2"]).are_numbers
    assert not Ids.of(["1", "02"]).are_numbers
    assert not Ids.of([2**63]).are_numbers
    ids = Ids.of(["b", "ä"])
    assert bytes(ids.blob).decode() == "bä"
    assert ids.offsets.tolist() == [0, 1, 3]
    for array in (ids.numbers, ids.blob, ids.offsets, ids.sorted_hashes, ids.order, Ids.of([3, 1]).numbers):
        assert not len(array) or not array.flags.writeable


@pytest.mark.parametrize("twins", [["a", "b", "a"], [3, 1, 3], ["3", 1, 3], ["x", 3, "3"], ["", ""]])
def test_an_id_that_stands_twice_is_refused_by_name(twins: list[TextOrNumber]) -> None:
    with pytest.raises(DataError, match=r"id ('a'|3|'3'|'') stands twice where ids must be unique"):
        Ids.of(twins)


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(DataError, match="half of a surrogate pair"):
        Ids.of(["a\ud800"])
    with pytest.raises(DataError, match="half of a surrogate pair"):
        Ids.of(["a"]).index(["\udc80"])


def test_without_ids_nothing_is_known() -> None:
    ids = Ids.of([])
    assert (len(ids), ids.all(), ids.take([]), ids.texts(np.empty(0, np.int64))) == (0, [], [], [])
    assert ids.index([1, "a", ""]).tolist() == [-1, -1, -1]
    assert ids.index([]).shape == Ids.of([1]).index([]).shape == (0,)
    assert Ids.sorted_of([]).all() == []


def same_hash(_blob: Bytes, offsets: Ints64) -> Uints64:
    return np.full(len(offsets) - 1, 7, np.uint64)


@settings(max_examples=40)
@given(texts, texts)
def test_texts_of_one_hash_are_told_apart(values: list[str], others: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "hash_texts", same_hash)
        patch.setattr(module, "FEW", 0)
        ids = Ids.of([*values, "no number"] if "no number" not in values else values)
        listed = ids.all()
        wanted = [*others, *listed]
        assert ids.index(wanted).tolist() == [listed.index(text) if text in listed else -1 for text in wanted]


@given(st.lists(any_text | st.integers(-20, 20), max_size=12))
def test_sorted_ids_are_distinct_and_in_natural_order(values: list[TextOrNumber]) -> None:
    ids = Ids.sorted_of(values)
    said = {str(value) for value in values}
    whole = all(re.fullmatch("0|-?[1-9][0-9]*", text) and -(2**63) <= int(text) < 2**63 for text in said)
    expected = sorted(said, key=int) if whole else sorted(said)
    assert ids.texts(range(len(ids))) == expected
    assert ids.index(values).tolist() == [expected.index(str(value)) for value in values]


def test_numbers_sort_by_size_and_texts_by_code_point() -> None:
    assert Ids.sorted_of([10, 9, -1, 10]).all() == [-1, 9, 10]
    assert Ids.sorted_of(["10", "9", "-1"]).all() == ["-1", "9", "10"]
    assert Ids.sorted_of(["10", "9", "x"]).all() == ["10", "9", "x"]
    assert Ids.sorted_of(["ä", "z", "Z"]).all() == ["Z", "z", "ä"]
    assert Ids.sorted_of([1, "1", 2]).all() == ["1", "2"]


@settings(max_examples=100)
@given(texts | numbers, st.lists(any_text | st.integers(-5, 5), max_size=8))
def test_extending_keeps_every_position_and_adds_the_unknown_in_order(
    values: list[TextOrNumber], new: list[TextOrNumber]
) -> None:
    ids = Ids.of(values)
    longer = ids.extended(new)
    before = ids.texts(range(len(ids)))
    unknown = {str(value) for value in new} - set(before)
    after = longer.texts(range(len(longer)))
    assert after[: len(before)] == before
    assert after[len(before) :] == Ids.sorted_of(unknown).texts(range(len(unknown)))
    assert (longer.index(values) == np.arange(len(values))).all()
    assert (longer.index(new) >= 0).all()
    assert unknown or longer is ids


def test_extending_by_hand() -> None:
    assert Ids.of([5, 3]).extended([4, 1, 4, 5]).all() == [5, 3, 1, 4]
    assert Ids.of(["b"]).extended(["c", "a", "b"]).all() == ["b", "a", "c"]
    assert Ids.of([]).extended([2, 1]).all() == [1, 2]
    assert Ids.of([5]).extended(["x"]).all() == ["5", "x"]
    assert Ids.of([5]).extended(["5"]).all() == [5]


@given(st.lists(any_text, max_size=8))
def test_encoded_texts_are_cut_out_again(values: list[str]) -> None:
    blob, offsets = encode_texts(values)
    assert (str(blob.dtype), str(offsets.dtype), len(offsets)) == ("uint8", "int64", len(values) + 1)
    pieces = [bytes(blob[offsets[i] : offsets[i + 1]]).decode() for i in range(len(values))]
    assert pieces == values


@settings(max_examples=100)
@given(
    st.lists(st.integers(-5, 30) | st.integers(-(2**63), 2**63 - 1), max_size=20),
    st.sampled_from([0, 10**9]),
)
def test_whole_numbers_are_told_apart_as_one_by_one(values: list[int], far: int) -> None:
    values = [min(value + far, 2**63 - 1) for value in values]
    ids, at = Ids.of_whole_numbers(np.array(values, np.int64))
    known = sorted(set(values))
    assert ids.all() == known
    assert at.tolist() == [known.index(value) for value in values]
    same = Ids.sorted_of(values)
    assert (ids.as_text, ids.index(values).tolist()) == (same.as_text, same.index(values).tolist())


def test_unsigned_numbers_beyond_int64_are_refused() -> None:
    assert Ids.of_whole_numbers(np.array([7, 3], np.uint64))[0].all() == [3, 7]
    with pytest.raises(DataError, match="18446744073709551615 is beyond"):
        Ids.of_whole_numbers(np.array([1, 2**64 - 1], np.uint64))


def test_ids_can_be_listed() -> None:
    assert list(Ids.of(["b", "a"])) == ["b", "a"]
