"""Every metric against a slow, obvious reference, and against small worlds worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Slate, Trace
from nbarec.components import Metric
from nbarec.data import Dataset
from nbarec.sparse import Csr
from nbarec.tables import CategoryColumn, NumberColumn, TagsColumn
from nbarec_plugins import metrics
from nbarec_plugins.metrics import (
    AveragePrecision,
    Coverage,
    Diversity,
    HitRate,
    Ndcg,
    Novelty,
    Precision,
    Recall,
    ReciprocalRank,
    nbarec_metrics,
)

ITEMS = 8
ACCURACY: tuple[Metric, ...] = (Precision(), Recall(), Ndcg(), AveragePrecision(), ReciprocalRank(), HitRate())
ALL: tuple[Metric, ...] = (*ACCURACY, Coverage(), Novelty(), Diversity())


def slate_of(item: list[list[int]]) -> Slate:
    """Slates of these items, -1 for an empty place."""
    items = np.array(item, np.int32)
    users = len(items)
    trace = Trace((), (), np.empty((users, 0), np.int32), np.ones(users, bool), np.zeros(users, np.int64))
    return Slate(
        item=items,
        score=np.where(items >= 0, 1.0, np.nan).astype(np.float32),
        decision=("",) * users,
        users=tuple(range(users)),
        ids=Dataset.from_arrays([0], [0]).items,
        trace=trace,
    )


def truth_of(relevant: list[set[int]], items: int = ITEMS) -> Csr:
    pairs = [(row, item) for row, found in enumerate(relevant) for item in found]
    row, item = np.array(pairs, np.int64).reshape(-1, 2).T
    return Csr.from_pairs(row, item, None, (len(relevant), items))


def world() -> Dataset:
    """Eight items, three columns of which two count; item 5 is in no column, item 7 has no event."""
    user = [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 0]
    item = [0, 1, 2, 0, 3, 0, 4, 5, 6, 0, 7]
    weight = [1, 1, 1, 1, -1, 1, 1, 1, 1, 1, 1]
    data = Dataset.from_arrays(user, item, weight)
    data = data.with_events(data.events.where(data.events.item != 7))
    tags = {0: "ab", 1: "a", 2: "abc", 4: "c", 6: "b", 7: "bc"}
    row = np.array([item for item, names in tags.items() for _ in names])
    catalog = data.catalog.with_column("tempo", NumberColumn(np.arange(8.0)))
    catalog = catalog.with_column("genre", CategoryColumn.of(["x", "y", "x", None, "y", None, "x", "y"]))
    catalog = catalog.with_column("tags", TagsColumn.of(row, "".join(tags.values()), ITEMS))
    return replace(data, catalog=catalog)


WORLD = world()


def reference_accuracy(name: str, items: list[int], relevant: set[int]) -> float:
    if not relevant:
        return math.nan
    k = len(items)
    found = [item in relevant for item in items]
    ideal = min(k, len(relevant))
    if name == "precision":
        return sum(found) / k
    if name == "recall":
        return len(relevant & set(items)) / len(relevant)
    if name == "ndcg":
        gain = sum(1 / math.log2(place + 1) for place, hit in enumerate(found, start=1) if hit)
        return gain / sum(1 / math.log2(place + 1) for place in range(1, ideal + 1))
    if name == "map":
        return sum(sum(found[: place + 1]) / (place + 1) for place in range(k) if found[place]) / ideal
    if name == "mrr":
        return next((1 / place for place, hit in enumerate(found, start=1) if hit), 0.0)
    assert name == "hit_rate"
    return float(any(found))


def attributes(data: Dataset, item: int) -> set[str]:
    found = set()
    genre, tags = data.catalog.columns.get("genre"), data.catalog.columns.get("tags")
    if isinstance(genre, CategoryColumn) and genre.codes[item] >= 0:
        found.add(f"genre {genre.codes[item]}")
    if isinstance(tags, TagsColumn):
        found |= {f"tag {level}" for level in np.flatnonzero(tags.matrix.to_dense()[item])}
    if genre is None and tags is None:
        found = {f"user {user}" for user in data.events.row[data.events.item == item]}
    return found


def reference_diversity(data: Dataset, items: list[int]) -> float:
    vectors = [attributes(data, item) for item in items if item >= 0]
    pairs = [(a, b) for a, b in combinations(vectors, 2) if a and b]
    cosines = [len(a & b) / math.sqrt(len(a) * len(b)) for a, b in pairs]
    return 1 - sum(cosines) / len(cosines) if cosines else math.nan


def reference_novelty(data: Dataset, items: list[int]) -> float:
    users = len(set(data.events.row))
    bits = []
    for item in items:
        if item >= 0:
            having = len(set(data.events.row[data.events.item == item]))
            bits.append(-math.log2(max(having, 1) / users))
    return sum(bits) / len(bits) if bits else math.nan


@st.composite
def slates_and_truths(draw: st.DrawFn) -> tuple[list[list[int]], list[set[int]]]:
    users, k = draw(st.integers(1, 5)), draw(st.integers(1, ITEMS + 1))
    slates, truths = [], []
    for _ in range(users):
        order = draw(st.permutations(range(ITEMS)))
        filled = draw(st.integers(0, min(k, ITEMS)))
        slates.append([*order[:filled], *[-1] * (k - filled)])
        truths.append(draw(st.sets(st.integers(0, ITEMS - 1))))
    return slates, truths


@settings(max_examples=150, deadline=None)
@given(slates_and_truths())
def test_accuracy_metrics_match_the_reference(drawn: tuple[list[list[int]], list[set[int]]]) -> None:
    slates, truths = drawn
    for metric in ACCURACY:
        found = metric.per_user(slate_of(slates), truth_of(truths), WORLD)
        wanted = [reference_accuracy(metric.name, *pair) for pair in zip(slates, truths, strict=True)]
        assert found.dtype == np.float64
        assert found == pytest.approx(wanted, nan_ok=True), metric.name


@settings(max_examples=100, deadline=None)
@given(slates_and_truths(), st.booleans())
def test_catalogue_metrics_match_the_reference(drawn: tuple[list[list[int]], list[set[int]]], bare: bool) -> None:
    slates, truths = drawn
    data = replace(WORLD, catalog=replace(WORLD.catalog, columns={})) if bare else WORLD
    slate, truth = slate_of(slates), truth_of(truths)
    novelty, diversity = Novelty().per_user(slate, truth, data), Diversity().per_user(slate, truth, data)
    assert novelty == pytest.approx([reference_novelty(data, items) for items in slates], nan_ok=True)
    assert diversity == pytest.approx([reference_diversity(data, items) for items in slates], nan_ok=True, abs=1e-12)
    shown = Coverage().per_user(slate, truth, data)
    assert shown == pytest.approx([sum(item >= 0 for item in items) / ITEMS for items in slates])
    together = {item for items in slates for item in items} - {-1}
    assert Coverage().aggregate(shown, slate, data) == len(together) / ITEMS


@settings(max_examples=60, deadline=None)
@given(slates_and_truths(), st.randoms(use_true_random=False))
def test_users_do_not_depend_on_each_other(drawn: tuple[list[list[int]], list[set[int]]], random: object) -> None:
    slates, truths = drawn
    order = sorted(range(len(slates)), key=lambda _: random.random())  # type: ignore[attr-defined]
    for metric in ALL:
        values = metric.per_user(slate_of(slates), truth_of(truths), WORLD)
        turned = metric.per_user(slate_of([slates[i] for i in order]), truth_of([truths[i] for i in order]), WORLD)
        assert np.array_equal(turned, values[order], equal_nan=True), metric.name
        low, high = metric.bounds
        assert all(low <= value <= high for value in values[~np.isnan(values)])


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(ITEMS)), st.integers(1, ITEMS), st.integers(1, ITEMS))
def test_a_perfect_slate_has_one_and_a_blind_one_zero(order: list[int], relevant: int, k: int) -> None:
    truth = truth_of([set(order[:relevant])])
    perfect, blind = slate_of([order[:k]]), slate_of([[*order[relevant:], *[-1] * ITEMS][:k]])
    for metric in (Ndcg(), AveragePrecision(), ReciprocalRank(), HitRate()):
        assert metric.per_user(perfect, truth, WORLD) == [1.0]
    assert Precision().per_user(perfect, truth, WORLD) == [min(relevant, k) / k]
    assert Recall().per_user(perfect, truth, WORLD) == [min(relevant, k) / relevant]
    for metric in ACCURACY:
        assert metric.per_user(blind, truth, WORLD) == [0.0]


def test_accuracy_by_hand() -> None:
    """Hits at places 1 and 3 of five, four relevant items; the last place is empty."""
    slate, truth = slate_of([[4, 0, 2, 1, -1]]), truth_of([{4, 2, 6, 7}])
    found = {metric.name: float(metric.per_user(slate, truth, WORLD)[0]) for metric in ACCURACY}
    ideal = 1 + 1 / math.log2(3) + 1 / 2 + 1 / math.log2(5)
    assert found == pytest.approx(
        {
            "precision": 2 / 5,
            "recall": 2 / 4,
            "ndcg": (1 + 1 / 2) / ideal,
            "map": (1 + 2 / 3) / 4,
            "mrr": 1.0,
            "hit_rate": 1.0,
        }
    )


def test_novelty_by_hand() -> None:
    """All four users have item 0 (no news), one has item 3, though disliked, nobody has item 7: two bits each."""
    slate = slate_of([[0, -1], [3, 7], [0, 3], [-1, -1]])
    novelty = Novelty().per_user(slate, truth_of([set()] * 4), WORLD)
    assert novelty == pytest.approx([0.0, 2.0, 1.0, math.nan], nan_ok=True)


def test_diversity_by_hand() -> None:
    """Item 0 is x, a, b; item 1 is y, a; item 5 is unknown and left out; item 4 shares nothing with item 0."""
    slate = slate_of([[0, 1, -1], [0, 5, -1], [0, 4, 5], [0, -1, -1]])
    diversity = Diversity().per_user(slate, truth_of([set()] * 4), WORLD)
    assert diversity == pytest.approx([1 - 1 / math.sqrt(6), math.nan, 1.0, math.nan], nan_ok=True)


def test_diversity_of_twins_is_zero() -> None:
    twins = Dataset.from_arrays([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1])
    assert Diversity().per_user(slate_of([[0, 1]]), truth_of([set()], 2), twins) == pytest.approx([0.0])


def test_diversity_in_small_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    slate = slate_of([list(generator.permutation(ITEMS)[:5]) for _ in range(20)])
    whole = Diversity().per_user(slate, truth_of([set()] * 20), WORLD)
    monkeypatch.setattr(metrics, "CELLS_IN_BLOCK", 15)
    assert np.array_equal(Diversity().per_user(slate, truth_of([set()] * 20), WORLD), whole)


def test_nothing_to_go_by() -> None:
    """Without events nothing is new or different; without items nothing is covered; and nothing fails."""
    nothing = WORLD.with_events(WORLD.events.where(np.zeros(len(WORLD.events), bool)))
    nothing = replace(nothing, catalog=replace(nothing.catalog, columns={}))
    assert Novelty().per_user(slate_of([[1, 2]]), truth_of([set()]), nothing) == [0.0]
    assert np.isnan(Diversity().per_user(slate_of([[1, 2]]), truth_of([set()]), nothing)).all()
    empty = Dataset.from_arrays(np.array([], int), np.array([], int))
    places = slate_of([[-1, -1]])
    values = Coverage().per_user(places, truth_of([set()], 0), empty)
    assert np.isnan(values).all()
    assert math.isnan(Coverage().aggregate(values, places, empty))


def test_the_hook_gives_every_metric_by_its_name() -> None:
    names = ["precision", "recall", "ndcg", "map", "mrr", "hit_rate", "coverage", "novelty", "diversity"]
    assert [metric.name for metric in nbarec_metrics()] == names
    assert all(metric.__doc__ and metric() == metric() for metric in nbarec_metrics())
