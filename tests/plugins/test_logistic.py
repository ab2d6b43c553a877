"""Logistic regression against Newton's method on plain columns of 0 and 1, and in worlds whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from nbarec.arrays import Floats64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import Example
from nbarec.contracts import check_terms
from nbarec.data import Dataset
from nbarec.states import flatten, unflatten
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.questions import pool_rows
from nbarec.testing.worlds import pool_of, request_for, tiny_world
from nbarec.work import Work, working
from nbarec_plugins.logistic import Logistic, LogisticState, nbarec_rankers

GENRES, DEVICES = np.array(["rock", "pop", "jazz"]), np.array(["phone", "tv"])
LIFT = {"rock": (1.5, -1.5), "pop": (-1.0, 1.0), "jazz": (0.0, 0.0)}
"""Of each genre, the log-odds on a phone and before a television."""

FEATURES = ("x", "y", "item.genre", "context.device")
SMALL = tiny_world()


def world(users: int, items: int = 30, seed: int = 0) -> Example:
    """Entries with the log-odds x - 0.5 y (2 where y is unknown) + LIFT - 1; an unknown genre has no lift."""
    rng = np.random.default_rng(seed)
    genre = np.array([GENRES[n % 3] if n % 10 else "" for n in range(items)])
    catalog = {"id": [f"s{n:02}" for n in range(items)], "genre": [name or None for name in genre.tolist()]}
    data = Dataset.from_arrays([f"u{n}" for n in range(users)], ["s00"] * users, catalog=catalog)
    device = np.arange(users) % 2
    request = request_for(data, context={"device": DEVICES[device], "hour": np.arange(users) % 5 * 1.0})
    pool = pool_of(request, {"all": [dict.fromkeys(range(items), 1.0)] * users})
    x, y = rng.normal(size=len(pool)) * 2 + 5, rng.normal(size=len(pool))
    y[rng.random(len(pool)) < 0.2] = np.nan
    lift = np.array([LIFT.get(name, (0.0, 0.0)) for name in genre.tolist()])[pool.item, device[pool.row]]
    height = (x - 5) - np.where(np.isnan(y), -2.0, 0.5 * y) + lift - 1
    label = rng.random(len(pool)) < 1 / (1 + np.exp(-height))
    pool = replace(pool, features={"x": frozen(x), "y": frozen(y), "truth": frozen(height)})
    return Example(request, pool, frozen(label.astype(np.float32)))


@pytest.fixture(autouse=True)
def _work() -> Iterator[None]:
    """One thread for matrix products too, as in an engine."""
    with working(Work()):
        yield


def learnt(ranker: Logistic, *examples: Example) -> LogisticState:
    state = ranker.learn(examples, SMALL, np.random.default_rng(0))
    assert isinstance(state, LogisticState)
    return state


def dense(example: Example, crossed: bool) -> Floats64:
    """The columns of `FEATURES` written out: numbers by their deviations, a 1 where one is unknown, a 1 a level."""
    pool, request = example.pool, example.request
    x, y = (np.asarray(pool.features[name], np.float32).astype(np.float64) for name in ("x", "y"))
    known = ~np.isnan(y)
    genre = request.catalog.columns["genre"]
    codes = np.asarray(genre.codes)[pool.item]  # type: ignore[union-attr]
    device = np.unique(request.context["device"], return_inverse=True)[1][pool.row]
    scaled = np.where(known, (y - y[known].mean()) / y[known].std(), 0.0)
    columns = [(x - x.mean()) / x.std(), scaled, ~known]
    columns += [codes == level for level in range(-1, 3)]
    columns += [device == level for level in range(2)]
    if crossed:
        columns += [(codes == level) & (device == other) for level, other in product(range(-1, 3), range(2))]
    return np.column_stack([np.asarray(column, np.float64) for column in columns])


def newton(columns: Floats64, label: Any, ridge: float, hit_weight: float) -> Floats64:
    """The log-odds of every entry after plain Newton steps with a dense second derivative."""
    design = np.column_stack([np.ones(len(columns)), columns])
    held = np.full(design.shape[1], ridge)
    held[0] = 0.0
    weight = np.where(label > 0.5, hit_weight, 1.0)
    point = np.zeros(design.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-design @ point))
        first = design.T @ (weight * (chance - label)) + held * point
        second = (design * (weight * chance * (1 - chance))[:, None]).T @ design + np.diag(held)
        point -= np.linalg.lstsq(second, first)[0]
    return np.asarray(design @ point)


@pytest.mark.parametrize("crosses", [(), (("item.genre", "context.device"),)])
@pytest.mark.parametrize(("class_weight", "ridge"), [("none", 1.0), ("balanced", 10.0), (3.0, 0.1)])
def test_probabilities_are_those_of_newtons_method_on_written_out_columns(
    crosses: Any, class_weight: Any, ridge: float
) -> None:
    example = world(60)
    ranker = Logistic(features=FEATURES, crosses=crosses, class_weight=class_weight, ridge=ridge)
    hits = float(example.label.sum())
    weighs = {"none": 1.0, "balanced": (len(example.label) - hits) / hits, 3.0: 3.0}[class_weight]
    height = newton(dense(example, bool(crosses)), example.label, ridge, weighs) - np.log(weighs)
    ranked = ranker.rank(learnt(ranker, example), example.request, example.pool)
    np.testing.assert_allclose(ranked, 1 / (1 + np.exp(-height)), atol=3e-4)


BIG = world(900)


@pytest.mark.parametrize("negatives", [1.0, 0.3])
@pytest.mark.parametrize("class_weight", ["none", "balanced"])
def test_known_coefficients_and_probabilities_are_found(negatives: float, class_weight: Any) -> None:
    ranker = Logistic(
        features=FEATURES,
        crosses=(("item.genre", "context.device"),),
        negatives=negatives,
        class_weight=class_weight,
        calibration="none",
    )
    state = learnt(ranker, BIG)
    assert state.model is not None
    slope = dict(zip(state.layout.numbers, state.model.slope.tolist(), strict=True))
    assert slope["x"] == pytest.approx(1.0, abs=0.06)
    assert slope["y"] == pytest.approx(-0.5, abs=0.06)
    gap = state.model.unknown - state.model.known
    assert gap[state.layout.numbers.index("y")] == pytest.approx(2.0, abs=0.2)
    other = world(300, seed=7)
    ranked = ranker.rank(state, other.request, other.pool)
    truth = 1 / (1 + np.exp(-np.asarray(other.pool.features["truth"])))
    assert np.abs(ranked - truth).mean() < 0.015
    assert state.report is not None
    assert state.report.after.ece < 0.03


def test_crosses_let_the_context_act_on_items() -> None:
    plain, crossed = (
        Logistic(features=FEATURES),
        Logistic(features=FEATURES, crosses=(("item.genre", "context.device"),)),
    )
    losses = []
    for ranker in (plain, crossed):
        report = learnt(ranker, BIG).report
        assert report is not None
        losses.append(report.after.log_loss)
    assert losses[1] < 0.95 * losses[0]
    found: Any = crossed.findings(learnt(crossed, BIG))["strongest"]
    assert next(iter(found)) == "x"
    lifts = {name: found[name] for name in found if name.startswith("item.genre=rock x")}
    assert lifts["item.genre=rock x context.device=phone"] > 0.5
    assert lifts["item.genre=rock x context.device=tv"] < -0.5


def test_numbers_are_crossed_by_value_or_by_tenths() -> None:
    by_hour = Logistic(features=("x",), crosses=(("item.genre", "context.hour"),))
    state = learnt(by_hour, BIG)
    assert state.model is not None
    cross = state.model.slots[-1]
    told = list(cross.told(state.layout))
    assert (cross.width, told[1], told[-1]) == (24, "item.genre=? x context.hour=0", "item.genre=rock x context.hour=4")
    by_tenth = learnt(Logistic(features=("item.genre",), crosses=(("item.genre", "x"),)), BIG).model
    assert by_tenth is not None
    assert by_tenth.slots[-1].width == 4 * 11
    shares = by_tenth.share[-1].reshape(4, 11).sum(axis=0)
    np.testing.assert_allclose(shares, [0.0, *[0.1] * 10], atol=0.01)


def test_what_has_too_many_levels_is_hashed() -> None:
    exact = Logistic(features=FEATURES, crosses=(("item.genre", "context.device"),))
    hashed = replace(exact, levels=3, hash=4096)
    other = world(100, seed=3)
    ranked = [one.rank(learnt(one, BIG), other.request, other.pool) for one in (exact, hashed)]
    np.testing.assert_allclose(ranked[0], ranked[1], atol=0.02)
    state = learnt(replace(exact, levels=3, hash=2), BIG)
    assert state.model is not None
    assert [len(own) for own in state.model.levels] == [2, 3, 2]


@pytest.mark.parametrize("crosses", [(), (("item.genre", "context.device"), ("x", "context.hour"))])
def test_one_user_gets_the_bits_that_he_gets_among_many(crosses: Any) -> None:
    ranker = Logistic(features=("*", "item.genre", "context.device"), crosses=crosses)
    state = learnt(ranker, world(150))
    other = world(40, seed=9)
    together = ranker.rank(state, other.request, other.pool)
    terms = ranker.terms(state, other.request, other.pool)
    assert terms is not None
    check_terms("logistic", terms, together)
    assert len(terms) == 1 + len(state.layout.numbers) + 2 + len(crosses)
    for row in range(0, 40, 7):
        request, pool = alone(other, row)
        np.testing.assert_array_equal(ranker.rank(state, request, pool), together[other.pool.row == row])


def alone(example: Example, row: int) -> tuple[Request, Pool]:
    rows = np.array([row])
    return example.request.take(rows), pool_rows(example.pool, rows)


def test_workers_and_memory_change_nothing() -> None:
    ranker, states = Logistic(features=FEATURES, crosses=(("item.genre", "context.device"),)), []
    for work in (Work(workers=1), Work(workers=2, memory=64 << 20)):
        with working(work):
            states.append(flatten(learnt(ranker, BIG)))
    (first, tree), (second, other) = states
    assert tree == other
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


def test_a_state_is_saved_and_read_again() -> None:
    ranker = Logistic(features=FEATURES, crosses=(("item.genre", "context.hour"),))
    state = learnt(ranker, BIG)
    again = unflatten(LogisticState, *flatten(state))
    before, after = (ranker.rank(one, BIG.request, BIG.pool) for one in (state, again))
    np.testing.assert_array_equal(before, after)
    assert ranker.findings(state) == ranker.findings(again)


def test_categories_alone_and_numbers_alone() -> None:
    crossed = Logistic(features=("item.genre",), crosses=(("item.genre", "context.device"),))
    for ranker, width in ((crossed, 0), (Logistic(features=("x",)), 1)):
        state = learnt(ranker, BIG)
        assert len(state.layout.numbers) == width
        assert state.report is not None
        assert state.report.after.auc > 0.6


def test_a_feature_that_never_varies_and_one_without_values_tell_nothing() -> None:
    flat = np.full(len(BIG.pool), 3.0)
    example = replace(BIG, pool=replace(BIG.pool, features={**BIG.pool.features, "flat": flat, "gone": flat * np.nan}))
    ranker = Logistic(features=("x", "flat", "gone"), crosses=(("item.genre", "gone"), ("gone", "context.device")))
    state = learnt(ranker, example)
    assert state.model is not None
    assert state.model.slope[1:].tolist() == [0.0, 0.0]
    known = replace(example.pool, features={**example.pool.features, "gone": flat})
    before, after = (ranker.rank(state, BIG.request, pool) for pool in (example.pool, known))
    np.testing.assert_array_equal(before, after)
    ranker = replace(ranker, crosses=())
    both = [
        one.rank(learnt(one, example), example.request, example.pool) for one in (ranker, Logistic(features=("x",)))
    ]
    np.testing.assert_allclose(both[0], both[1], atol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"ridge": 0.0}, "ridge must be more than 0"),
        ({"class_weight": "even"}, "class_weight"),
        ({"class_weight": 0}, "class_weight must be more than 0"),
        ({"crosses": (("item.genre",),)}, "must name two different columns or more"),
        ({"crosses": (("item.genre", "item.genre"),)}, "must name two different columns or more"),
        ({"crosses": (("item.genre", "item.country"), ("item.country", "item.genre"))}, "two of them are of the same"),
        ({"calibration": "plat"}, "did you mean 'platt'"),
        ({"negatives": 0}, "negatives must be more than 0"),
    ],
)
def test_wrong_parameters(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Logistic(**parameters)


def test_numbers_that_float32_rounds_are_served_as_they_were_learnt() -> None:
    step = 8.0 * (np.asarray(BIG.pool.features["x"]) > 5)
    ranked = []
    for values in (step, step + 1e8, step * 1e-45):  # their mean is no float32, and neither is the last's deviation
        example = replace(BIG, pool=replace(BIG.pool, features={"far": values}))
        ranker = Logistic(features=("far",), calibration="none")
        ranked.append(ranker.rank(learnt(ranker, example), example.request, example.pool))
    np.testing.assert_allclose(ranked[1], ranked[0], atol=1e-3)
    assert np.isfinite(ranked[2]).all()


RANKERS = (
    Logistic(least_count=1),
    Logistic(
        features=("*", "item", "item.moods", "item.released", "user.country", "user.age", "context.hour"),
        crosses=(("item", "context.device"), ("user.country", "context.hour", "affinity")),
        negatives=0.7,
        least_count=1,
        levels=10,
        hash=7,
        class_weight="balanced",
    ),
)


@pytest.mark.parametrize("check", [one for ranker in RANKERS for one in checks(ranker)], ids=lambda one: one.name)
def test_keeps_the_promises_of_a_ranker(check: Check) -> None:
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))


def test_hook_names_the_ranker() -> None:
    assert list(nbarec_rankers()) == [Logistic]
