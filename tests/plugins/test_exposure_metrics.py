"""Gini, popularity and popularity lift against slow references, and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Slate
from nbarec.components import ExposureMetric
from nbarec.data import Dataset
from nbarec.sparse import Csr
from nbarec.testing.worlds import slate_of
from nbarec_plugins.exposure_metrics import AveragePopularity, Gini, PopularityLift, nbarec_metrics
from nbarec_plugins.metrics import Coverage

ITEMS, USERS = 7, 4
STRANGER = 99
NOTHING = Csr.empty(USERS + 1, ITEMS)

Happened = list[tuple[int, int, float]]
events = st.lists(
    st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.sampled_from([-1.0, 0.5, 2.0])), max_size=20
)
shown = st.lists(
    st.lists(st.integers(0, ITEMS - 1), unique=True, max_size=4), min_size=USERS + 1, max_size=USERS + 1
)  # for each user and a stranger


def world(happened: Happened) -> Dataset:
    user, item, weight = (np.array(column) for column in zip(*happened, strict=True)) if happened else ([], [], [])
    ids = {"catalog": {"id": np.arange(ITEMS)}, "audience": {"id": np.arange(USERS)}}
    return Dataset.from_arrays(np.asarray(user, int), np.asarray(item, int), weight, **ids)


def slates(data: Dataset, items: list[list[int]], places: int = 4) -> Slate:
    return replace(slate_of(data, items, places), users=(*range(USERS), STRANGER)[: len(items)])


def having(happened: Happened, item: int) -> int:
    return len({user for user, what, _ in happened if what == item})


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def reference_gini(counts: list[int]) -> float:
    """Half the mean difference of all pairs, over the mean (Gini 1912)."""
    differences = mean([abs(a - b) for a in counts for b in counts])
    return differences / (2 * mean([float(count) for count in counts])) if sum(counts) else math.nan


def reference_lift(happened: Happened, user: int, items: list[int]) -> float:
    total: dict[int, float] = {}
    for who, item, weight in happened:
        if who == user:
            total[item] = total.get(item, 0.0) + weight
    own = mean([having(happened, item) for item, weight in total.items() if weight > 0])
    return mean([having(happened, item) for item in items]) / own


@settings(max_examples=100, deadline=None)
@given(events, shown)
def test_every_value_is_that_of_the_reference(happened: Happened, items: list[list[int]]) -> None:
    data = world(happened)
    slate = slates(data, items)
    found = {metric.name: metric().per_user(slate, NOTHING, data) for metric in nbarec_metrics()}
    assert all(values.dtype == np.float64 for values in found.values())
    gini = [reference_gini([row.count(item) for item in range(ITEMS)]) for row in items]
    assert found["gini"] == pytest.approx(gini, nan_ok=True)
    popularity = [mean([having(happened, item) for item in row]) for row in items]
    assert found["average_popularity"] == pytest.approx(popularity, nan_ok=True)
    lift = [reference_lift(happened, user, row) for user, row in enumerate(items)]
    assert found["popularity_lift"] == pytest.approx(lift, nan_ok=True)
    together = [sum(row.count(item) for row in items) for item in range(ITEMS)]
    figure = Gini().aggregate(found["gini"], slate, data)
    assert figure == pytest.approx(reference_gini(together), nan_ok=True, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(events, shown, st.permutations(range(USERS + 1)))
def test_users_do_not_depend_on_each_other(happened: Happened, items: list[list[int]], order: list[int]) -> None:
    data, at = world(happened), np.array(order)
    slate = slates(data, items)
    turned = replace(slate, item=slate.item[at], users=tuple(slate.users[row] for row in order))
    for metric in nbarec_metrics():
        values = metric().per_user(slate, NOTHING, data)
        assert np.array_equal(metric().per_user(turned, NOTHING, data), values[at], equal_nan=True)
        alone = replace(slate, item=slate.item[:1], users=slate.users[:1])
        assert np.array_equal(metric().per_user(alone, NOTHING.take_rows(at[:1]), data), values[:1], equal_nan=True)


def test_gini_by_hand() -> None:
    data = world([])

    def gini(items: list[list[int]], places: int) -> float:
        return Gini().aggregate(np.zeros(len(items)), slates(data, items, places), data)

    assert gini([[0, 1, 2, 3, 4, 5, 6]], 7) == 0.0
    assert gini([[2], [2], [2]], 1) == pytest.approx(1 - 1 / ITEMS)
    assert gini([[0, 1, 2], [3, 4, 5], [6]], 3) == 0.0  # empty places count nothing
    assert gini([[5, 6], [6]], 2) == pytest.approx((4 * 1 + 6 * 2) / (ITEMS * 3))
    assert math.isnan(gini([[]], 2))


@settings(max_examples=40, deadline=None)
@given(shown)
def test_figures_of_all_slates_go_by_exposure_alone(items: list[list[int]]) -> None:
    data = world([])
    slate, counts = slates(data, items), np.array([sum(row.count(item) for row in items) for item in range(ITEMS)])
    for metric in (Gini(), Coverage()):
        assert isinstance(metric, ExposureMetric)
        figure = metric.aggregate(np.zeros(len(items)), slate, data)
        assert figure == pytest.approx(metric.of_exposure(counts, data), nan_ok=True)


def test_a_large_catalogue_overflows_nothing() -> None:
    """All of 400,000 places hold the last of 200,000 items: int32 would end at a tenth of the sum."""
    items = 200_000
    data = Dataset.from_arrays([0], [0], catalog={"id": np.arange(items)})
    slate = slate_of(data, [[]], 400_000)
    full = replace(slate, item=np.full_like(slate.item, items - 1))
    assert Gini().aggregate(np.zeros(1), full, data) == pytest.approx(1 - 1 / items)


def test_popularity_by_hand() -> None:
    """Three users have item 0, one of them by a dislike, one has items 1 and 2; nobody has item 6."""
    data = world([(0, 0, 1.0), (1, 0, 1.0), (1, 0, 1.0), (2, 0, -1.0), (2, 1, 1.0), (2, 2, 1.0)])
    slate = slates(data, [[0, 1], [6], [0], [], [0]])
    popularity = AveragePopularity().per_user(slate, NOTHING, data)
    assert popularity == pytest.approx([2.0, 0.0, 3.0, math.nan, 3.0], nan_ok=True)
    lift = PopularityLift().per_user(slate, NOTHING, data)
    assert lift == pytest.approx([2 / 3, 0.0, 3.0, math.nan, math.nan], nan_ok=True)


def test_nothing_to_go_by() -> None:
    """Without events nothing is popular, without items nothing is shown, and nothing fails."""
    data = world([])
    slate = slates(data, [[1, 2]])
    assert AveragePopularity().per_user(slate, NOTHING, data) == [0.0]
    assert np.isnan(PopularityLift().per_user(slate, NOTHING, data)).all()
    empty = Dataset.from_arrays(np.array([], int), np.array([], int))
    places = slate_of(empty, [[]], 2)
    for metric in nbarec_metrics():
        values = metric().per_user(places, Csr.empty(1, 0), empty)
        assert np.isnan(values).all()
        assert math.isnan(metric().aggregate(values, places, empty))


def test_the_hook_gives_every_metric_by_its_name() -> None:
    assert [metric.name for metric in nbarec_metrics()] == ["gini", "average_popularity", "popularity_lift"]
