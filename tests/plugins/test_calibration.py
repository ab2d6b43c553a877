"""Miscalibration against dense shares, and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Slate, Trace
from nbarec.data import Dataset
from nbarec.pipeline import Pipeline
from nbarec.sparse import Csr
from nbarec.tables import CategoryColumn, Column, NumberColumn, Table
from nbarec.testing.worlds import tags_of
from nbarec_plugins import calibration
from nbarec_plugins.calibration import LARGEST, Miscalibration, nbarec_metrics

ITEMS, USERS, LEVELS, ALPHA = 8, 4, 4, 0.01
NOTHING = Csr.empty(USERS, ITEMS)

levels = st.frozensets(st.integers(0, LEVELS - 1), max_size=3)
weights = st.sampled_from([-2.0, 0.5, 1.0, 3.0])
events = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), weights), min_size=1, max_size=20)
slates = st.lists(st.lists(st.integers(-1, ITEMS - 1), min_size=3, max_size=3), min_size=USERS, max_size=USERS)


def slate_of(item: list[list[int]], users: tuple[int, ...] = tuple(range(USERS))) -> Slate:
    items = np.array(item, np.int32)
    rows = len(items)
    trace = Trace((), (), np.empty((rows, 0), np.int32), np.ones(rows, bool), np.zeros(rows, np.int64))
    score = np.where(items >= 0, 1.0, np.nan).astype(np.float32)
    return Slate(items, score, ("",) * rows, users, Dataset.from_arrays([0], [0]).items, trace)


def world(columns: dict[str, Column], happened: list[tuple[int, int, float]]) -> Dataset:
    user, item, weight = zip(*happened, strict=True)
    ids = {"catalog": {"id": np.arange(ITEMS)}, "audience": {"id": np.arange(USERS)}}
    return replace(Dataset.from_arrays(user, item, weight, **ids), catalog=Table(ITEMS, columns))


def moods(per_item: list[frozenset[int]]) -> Column:
    return tags_of([[str(level) for level in sorted(kinds)] for kinds in per_item])


def reference(per_item: list[frozenset[int]], liked: dict[int, float], shown: list[int]) -> float:
    def mean(weighted: list[tuple[int, float]]) -> list[float] | None:
        known = [(per_item[item], weight) for item, weight in weighted if per_item[item]]
        total = sum(weight for _, weight in known)
        if not known:
            return None
        return [sum(w / len(kinds) for kinds, w in known if level in kinds) / total for level in range(LEVELS)]

    p, q = mean(list(liked.items())), mean([(item, 1.0) for item in shown if item >= 0])
    if p is None or q is None:
        return math.nan
    return sum(x * math.log(x / ((1 - ALPHA) * y + ALPHA * x)) for x, y in zip(p, q, strict=True) if x > 0)


@given(st.lists(levels, min_size=ITEMS, max_size=ITEMS), events, slates, st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_miscalibration_of_every_slate(per_item, happened, shown, block):
    data = world({"genre": moods(per_item)}, happened)
    expected = []
    for user, items in enumerate(shown):
        total: dict[int, float] = {}
        for who, item, weight in happened:
            if who == user:
                total[item] = total.get(item, 0.0) + weight
        expected.append(reference(per_item, {item: w for item, w in total.items() if w > 0}, items))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "ROWS_IN_BLOCK", block)
        values = Miscalibration().per_user(slate_of(shown), NOTHING, data)
    assert values.dtype == np.float64
    assert values == pytest.approx(expected, nan_ok=True, abs=1e-12)
    low, high = Miscalibration.bounds
    assert ((values >= low) & (values <= high) | np.isnan(values)).all()


def test_by_hand():
    """User 0 plays two parts of a to one of b; user 1 only what has no genre, user 2 nothing, user 3 skips a."""
    genre = CategoryColumn.of(["a", "a", "b", "c", None, "b", "a", "c"])
    data = world({"genre": genre}, [(0, 0, 2.0), (0, 2, 1.0), (1, 4, 1.0), (3, 0, -1.0)])
    measure = Miscalibration()
    perfect = measure.per_user(slate_of([[1, 6, 5], [0, 1, 2], [0, 1, 2], [0, 1, 2]]), NOTHING, data)
    assert perfect == pytest.approx([0.0, math.nan, math.nan, math.nan], nan_ok=True, abs=1e-15)
    others = [[3, 7, -1], [4, -1, -1], [-1, -1, -1], [0, 4, -1]]
    values = measure.per_user(slate_of(others, users=(0, 0, 0, 0)), NOTHING, data)
    only_a = 2 / 3 * math.log(2 / 3 / (0.99 + 0.01 * 2 / 3)) + 1 / 3 * math.log(100)
    assert values == pytest.approx([math.log(100), math.nan, math.nan, only_a], nan_ok=True)
    assert values[0] <= LARGEST == pytest.approx(math.log(100))


def test_users_whom_nobody_knows_have_no_value():
    data = world({"genre": CategoryColumn.of(["a"] * ITEMS)}, [(1, 0, 1.0)])
    values = Miscalibration().per_user(slate_of([[1, 2, 3], [1, 2, 3]], users=(99, 1)), NOTHING, data)
    assert values == pytest.approx([math.nan, 0.0], nan_ok=True, abs=1e-15)
    assert Miscalibration().per_user(slate_of([]), NOTHING, data).tolist() == []


SHARED = CategoryColumn.of(["a", "b"] * 4)
APART = CategoryColumn.of([f"x{item}" for item in range(ITEMS)])
TAGS = moods([frozenset({item % 3}) for item in range(ITEMS)])
TEMPO = NumberColumn(np.arange(8.0))


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        ({"artist": SHARED, "tags": TAGS, "genre": APART}, "genre"),
        ({"artist": SHARED, "tags": TAGS, "genres": SHARED}, "genres"),
        ({"artist": SHARED, "genre": TEMPO, "tags": TAGS}, "tags"),
        ({"title": SHARED, "label": APART, "artist": SHARED}, "artist"),
        ({"title": SHARED, "label": APART, "tempo": TEMPO}, None),
        ({}, None),
    ],
)
def test_which_column(columns, chosen):
    happened = [(user, user, 1.0) for user in range(USERS)]
    slate = slate_of([[4, 5, 6]] * USERS)
    values = Miscalibration().per_user(slate, NOTHING, world(columns, happened))
    if chosen is None:
        assert np.isnan(values).all()
    else:
        only = world({"genre": columns[chosen]}, happened)
        assert values.tolist() == Miscalibration().per_user(slate, NOTHING, only).tolist()
        assert not np.isnan(values).any()


def test_hook_names_the_metric():
    assert [metric.name for metric in nbarec_metrics()] == ["miscalibration"]


FILTERS = {
    "calibrated": "- {id: shares, use: calibrate, with: {by: genre, strength: 0.9}}",
    "spaced": "- {id: apart, use: spacing, with: {by: artist}}",
    "pinned": "- {id: fast, use: pin, with: {where: item.energy > 0.5, at: 2}}",
}


def test_calibrate_spacing_and_pin_in_a_pipeline(music_text):
    """Each filter is added behind those before it, and does what it says to the slates of all users."""
    plain = Pipeline.from_text(music_text).fit()
    data, users = plain.data, plain.data.users.all()
    served = {"plain": plain.recommend(users)}
    text = music_text
    for name, line in FILTERS.items():
        text = text.replace("slate: {k: 6", f"  {line}\nslate: {{k: 6")
        served[name] = Pipeline.from_text(text).fit(data).recommend(users)
        assert (served[name].item >= 0).all()
    truth = Csr.empty(len(users), len(data.items))
    measured = {name: np.nanmean(Miscalibration().per_user(slate, truth, data)) for name, slate in served.items()}
    assert measured["calibrated"] < 0.8 * measured["plain"]
    columns = data.catalog.columns
    artist = columns["artist"].codes[served["spaced"].item]
    assert (artist[:, 1:] != artist[:, :-1]).all()
    assert (columns["energy"].values[served["pinned"].item[:, 1]] > 0.5).all()
    assert all(served["pinned"].removed[stage] == 0 for stage in ("shares", "apart", "fast"))
