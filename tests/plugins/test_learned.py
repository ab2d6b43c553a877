"""What all learned rankers share, shown by one whose log-odds are known: twice its feature `x`, less 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import Example, Findings, param
from nbarec.contracts import check_terms
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.states import flatten, unflatten
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import pool_of, request_for, tiny_world
from nbarec_plugins.feature_frames import Frame, Layout, Lesson
from nbarec_plugins.learned import FEWEST, Learned, LearnedState, divided
from nbarec_plugins.probability_calibration import UNCHANGED, probability_of

DATA = tiny_world()
SLOPE, BASE = 2.0, -3.0


@dataclass(frozen=True)
class Slanted:
    """What was trained on, to be looked at, and the log-odds of all entries less those of the ones kept."""

    entries: int
    shift: float


@dataclass(frozen=True)
class KnownState(LearnedState[Slanted]):
    model: Slanted | None = None


@dataclass(frozen=True)
class Known(Learned[Slanted]):
    """Log-odds that are known, `tilt` times too steep."""

    name: ClassVar[str] = "known"
    tilt: float = param(1.0, doc="How much too steep its log-odds are.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> KnownState:
        return KnownState()

    def train(self, lesson: Lesson, rng: np.random.Generator) -> Slanted:
        return Slanted(len(lesson), float(-np.log(lesson.rate)))

    def margins(self, model: Slanted, layout: Layout, frame: Frame) -> Floats64:
        return np.asarray(sum(self.parts(model, layout, frame).values()))

    def parts(self, model: Slanted, layout: Layout, frame: Frame) -> Mapping[str, Floats64]:
        x = np.nan_to_num(frame.numbers[:, layout.numbers.index("x")].astype(np.float64))
        return {"base": np.full(len(frame), self.tilt * BASE + model.shift), "x": self.tilt * SLOPE * x}

    def strongest(self, model: Slanted, layout: Layout) -> Mapping[str, float]:
        return {"x": SLOPE}


def world(users: int, items: int = 100, seed: int = 0) -> Example:
    rng = np.random.default_rng(seed)
    data = Dataset.from_arrays([f"u{n}" for n in range(users)], [f"s{n % items}" for n in range(users)])
    request = request_for(data)
    pool = pool_of(request, {"all": [dict.fromkeys(range(items), 1.0)] * users})
    x = rng.normal(size=len(pool))
    label = rng.random(len(pool)) < probability_of(SLOPE * x + BASE)
    return Example(request, replace(pool, features={"x": frozen(x)}), frozen(label.astype(np.float32)))


def learnt(ranker: Known, example: Example) -> LearnedState[Slanted]:
    return ranker.learn([example], DATA, np.random.default_rng(0))


EXAMPLE = world(400)


def truth(example: Example) -> Floats64:
    return probability_of(SLOPE * np.asarray(example.pool.features["x"]) + BASE)


@pytest.mark.parametrize("method", ["isotonic", "platt", "auto"])
@pytest.mark.parametrize("negatives", [1.0, 0.2])
def test_log_odds_that_are_too_steep_become_the_true_probabilities(method: Any, negatives: float) -> None:
    ranker = Known(calibration=method, negatives=negatives, tilt=2.5)
    state = learnt(ranker, EXAMPLE)
    other = world(200, seed=5)
    found = ranker.rank(state, other.request, other.pool)
    assert np.abs(found - truth(other)).mean() < 0.02
    assert state.report is not None
    assert state.report.after.ece < 0.025 < state.report.before.ece / 2  # of 3,300 entries: 0.01 is chance
    assert state.report.after.log_loss < min(state.report.before.log_loss, state.report.base_log_loss)


def test_negatives_left_out_are_counted_back_in() -> None:
    whole, few = (learnt(Known(calibration="none", negatives=share), EXAMPLE) for share in (1.0, 0.2))
    assert few.model is not None
    assert few.entries < 0.5 * whole.entries
    for state, share in ((whole, 1.0), (few, 0.2)):
        ranked = Known(calibration="none", negatives=share).rank(state, EXAMPLE.request, EXAMPLE.pool)
        np.testing.assert_allclose(ranked, truth(EXAMPLE), rtol=1e-5)
    assert whole.report is not None
    assert few.report is not None
    assert few.report.after.log_loss == pytest.approx(whole.report.after.log_loss, rel=0.05)
    assert few.report.after.entries.sum() == pytest.approx(whole.report.after.entries.sum(), rel=0.05)


@pytest.mark.parametrize("calibration", ["isotonic", "platt", "none"])
def test_terms_are_the_parts_on_the_scale_of_probabilities(calibration: Any) -> None:
    ranker = Known(calibration=calibration)
    example = replace(
        EXAMPLE, pool=replace(EXAMPLE.pool, features={"x": frozen(np.round(EXAMPLE.pool.features["x"], 0))})
    )
    state = learnt(ranker, example)
    terms = ranker.terms(state, example.request, example.pool)
    ranked = ranker.rank(state, example.request, example.pool)
    assert terms is not None
    check_terms("known", terms, ranked)
    assert list(terms) == ["base", "x"]
    x = np.asarray(example.pool.features["x"])
    assert (terms["x"][x == 0] == 0).all()
    assert (np.sign(terms["x"]) == np.sign(x)).all()
    middle = state.calibration.apply(np.array([BASE]))[0]
    np.testing.assert_allclose(terms["base"], middle)


def test_requests_are_divided_by_user() -> None:
    key = frozen(np.repeat(np.arange(500, dtype=np.uint64) * np.uint64(7919), 2))
    label = frozen(np.tile([0, 1], 1000).astype(np.float32))
    frame = Frame(np.zeros((2000, 0), np.float32), np.zeros((2000, 0), np.int32))
    told = Lesson(Layout(), frame, label, {}, np.repeat(np.arange(1000), 2), 1.0, key)
    trained, calibrating, reported = divided(told, calibrated=True)
    assert calibrating is not None
    assert reported is not None
    users = [set(key[part.group].tolist()) for part in (trained, calibrating, reported)]
    assert sum(map(len, users)) == 500 == len(set().union(*users))
    np.testing.assert_allclose(
        [len(part) / 2000 for part in (trained, calibrating, reported)], [0.8, 0.1, 0.1], atol=0.04
    )
    most, none, same = divided(told, calibrated=False)
    assert none is None
    assert same is not None
    assert len(most) == len(trained) + len(calibrating)
    np.testing.assert_array_equal(same.group, reported.group)


def test_where_the_part_to_train_on_would_lack_a_class_all_is_trained_on() -> None:
    users = np.arange(FEWEST)
    key = frozen(np.arange(FEWEST, dtype=np.uint64))
    frame = Frame(np.zeros((FEWEST, 0), np.float32), np.zeros((FEWEST, 0), np.int32))
    everybody = Lesson(Layout(), frame, np.zeros(FEWEST, np.float32), {}, users, 1.0, key)
    trained, *_ = divided(replace(everybody, label=frozen((users % 2).astype(np.float32))), calibrated=True)
    outside = np.setdiff1d(users, trained.group)
    one = replace(everybody, label=frozen(np.isin(users, outside[:1]).astype(np.float32)))
    assert divided(one, calibrated=True) == (one, None, None)


def test_few_requests_are_all_trained_on() -> None:
    state = learnt(Known(), world(FEWEST - 1))
    assert (state.entries, state.requests, state.calibration, state.report) == ((FEWEST - 1) * 100, 99, UNCHANGED, None)
    assert "fewer than 100 requests" in str(Known().findings(state)["quality"])


@pytest.mark.parametrize("label", [None, 0.0, 1.0])
def test_what_teaches_nothing_keeps_the_earlier_order(label: float | None) -> None:
    same = [] if label is None else [replace(EXAMPLE, label=np.full(len(EXAMPLE.pool), label, np.float32))]
    ranker = Known()
    state = ranker.learn(same, DATA, np.random.default_rng(0))
    assert state == KnownState()
    score = np.random.default_rng(1).normal(size=len(EXAMPLE.pool)).astype(np.float32) * 50_000
    pool = replace(EXAMPLE.pool, score=score)
    ranked = ranker.rank(state, EXAMPLE.request, pool)
    np.testing.assert_array_equal(ranked, score)
    terms = ranker.terms(state, EXAMPLE.request, pool)
    assert terms is not None
    check_terms("known", terms, ranked)
    assert "nothing" in str(ranker.findings(state))


def test_without_any_feature_the_earlier_score_stays() -> None:
    bare = replace(EXAMPLE, pool=replace(EXAMPLE.pool, features={}))
    ranker = Known(features=("context.device",))
    state = ranker.learn([bare], DATA, np.random.default_rng(0))
    assert state == KnownState()
    np.testing.assert_array_equal(ranker.rank(state, bare.request, bare.pool), bare.pool.score)


def test_a_column_called_as_the_start_of_all_is_refused() -> None:
    x = EXAMPLE.pool.features["x"]
    example = replace(EXAMPLE, pool=replace(EXAMPLE.pool, features={"x": x, "base": x}))
    with pytest.raises(ConfigError, match="base is what explanations call the start of all"):
        learnt(Known(), example)


@pytest.mark.parametrize("calibration", ["isotonic", "platt"])
def test_calibration_changes_no_order(calibration: Any) -> None:
    ranker = Known(calibration=calibration, tilt=0.4)
    ranked = ranker.rank(learnt(ranker, EXAMPLE), EXAMPLE.request, EXAMPLE.pool)
    ascending = ranked[np.argsort(np.asarray(EXAMPLE.pool.features["x"], np.float32), kind="stable")]
    assert (np.diff(ascending) >= 0).all()
    assert (np.diff(ascending) == 0).mean() < 1e-3


def nobody() -> tuple[Request, Pool]:
    request = request_for(DATA, [])
    return request, pool_of(request, {"near": []})


def test_unknown_names_are_found_when_nobody_is_served() -> None:
    request, pool = nobody()
    for features, names in ((("neer.score",), r"near\.score"), (("item.artst",), r"item\.artist")):
        ranker = Known(features=features)
        with pytest.raises(ConfigError, match=names):
            ranker.rank(KnownState(), request, pool)
        with pytest.raises(ConfigError, match=names):
            ranker.learn([Example(request, pool, np.empty(0, np.float32))], DATA, np.random.default_rng(0))
    assert len(Known().rank(KnownState(), request, pool)) == 0


def test_findings_are_plain_values() -> None:
    ranker = Known()
    state = learnt(ranker, EXAMPLE)
    assert isinstance(ranker, Findings)
    found: Any = ranker.findings(state)
    assert found["strongest"] == {"x": SLOPE}
    assert found["learnt from"]["entries"] == state.entries
    assert found["expected calibration error"]["calibrated"] < 0.025
    assert 0.8 < found["auc"] < 1
    assert found["log loss"]["calibrated"] < found["log loss"]["of the base rate"]
    for curve in (found["reliability"], found["reliability before calibration"]):
        assert len(curve) == 10
        assert max(abs(one["predicted"] - one["observed"]) for one in curve) < 0.1
    assert plain(found)


def plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and plain(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return type(value) in (int, float, str)


def test_a_state_is_saved_and_read_again() -> None:
    state = learnt(Known(), EXAMPLE)
    again = unflatten(KnownState, *flatten(state))
    before, after = (Known().rank(one, EXAMPLE.request, EXAMPLE.pool) for one in (state, again))
    np.testing.assert_array_equal(before, after)
    assert Known().findings(again) == Known().findings(state)
    assert Known().update(state, DATA, DATA) is state


@dataclass(frozen=True)
class OfAffinity(Known):
    """The same of a feature that the worlds of the checks have."""

    name: ClassVar[str] = "of_affinity"

    def parts(self, model: Slanted, layout: Layout, frame: Frame) -> Mapping[str, Floats64]:
        renamed = tuple("x" if name == "affinity" else name for name in layout.numbers)
        return super().parts(model, replace(layout, numbers=renamed), frame)


@pytest.mark.parametrize("check", checks(OfAffinity(negatives=0.6, least_count=1)), ids=lambda one: one.name)
def test_keeps_the_promises_of_a_ranker(check: Check) -> None:
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))
