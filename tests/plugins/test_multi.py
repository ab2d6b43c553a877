"""Several labels in one score: against a learner for each of them alone, and in a world where the truth is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import Floats64, frozen
from nbarec.components import Example, HeldOut, param
from nbarec.contracts import check_terms
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.expressions import Expression
from nbarec.states import flatten, unflatten
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import pool_of, request_for, tiny_world
from nbarec_plugins.feature_frames import Frame, Layout, Lesson
from nbarec_plugins.learned import Learned, LearnedState
from nbarec_plugins.multi import LEAST, Multi, MultiState, PackedState, learner_named, nbarec_rankers


@dataclass(frozen=True)
class Slopes:
    """One weight a number column, and the constant."""

    weights: Floats64


@dataclass(frozen=True)
class TiltState(LearnedState[Slopes]):
    """What Tilt knows."""

    model: Slopes | None = None


@dataclass(frozen=True)
class Tilt(Learned[Slopes]):
    """A learner of somebody else's: logistic regression on the numbers, unknown ones being 0."""

    name: ClassVar[str] = "tilt"
    ridge: float = param(1.0, gt=0, doc="Pull of the weights towards 0.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> TiltState:
        return TiltState()

    def train(self, lesson: Lesson, rng: np.random.Generator) -> Slopes:
        values, weights = _columns(lesson.frame), np.zeros(lesson.frame.numbers.shape[1] + 1)
        for _ in range(8):  # Newton steps
            chance = 1 / (1 + np.exp(-(values @ weights)))
            slope = values.T @ (chance - lesson.label) + self.ridge * weights
            curve = (values * (chance * (1 - chance))[:, None]).T @ values + self.ridge * np.eye(len(weights))
            weights = weights - np.linalg.solve(curve, slope)
        return Slopes(frozen(weights))

    def margins(self, model: Slopes, layout: Layout, frame: Frame) -> Floats64:
        total = np.zeros(len(frame))
        for part in self.parts(model, layout, frame).values():
            total += part
        return total

    def parts(self, model: Slopes, layout: Layout, frame: Frame) -> Mapping[str, Floats64]:
        columns = _columns(frame)
        named = {name: columns[:, at] * model.weights[at] for at, name in enumerate(layout.numbers)}
        return {**named, "base": np.full(len(frame), model.weights[-1])}


@dataclass(frozen=True)
class Steeper(Tilt):
    """A variant that has no name of its own, and is none that YAML could mean."""


def _columns(frame: Frame) -> Floats64:
    return np.column_stack([np.nan_to_num(frame.numbers.astype(np.float64)), np.ones(len(frame))])


LABELS: Any = {
    "listen": {"relevant": "seconds >= 30"},
    "like": {"relevant": "kind == 'like'", "weight": 3},
    "skip": {"relevant": "seconds < 10", "weight": -1.5},
}
DATA = tiny_world()
SUM = Multi(model="tilt", labels_=LABELS)
PRODUCT = replace(SUM, combine="product")


def written(**parameters: object) -> Any:
    """Parameters as Python gives them: a plain mapping."""
    return parameters


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def world(users: int = 400, seed: int = 0) -> tuple[Example, dict[str, Floats64]]:
    """Requests with 8 songs each, and the chances of what the user does: they listen to what `near` says, like what
    `fine` says and skip what is neither."""
    draw = np.random.default_rng(seed)
    request = replace(request_for(DATA, [-1] * users), key=frozen(draw.integers(0, 2**63, users).astype(np.uint64)))
    pool = pool_of(request, {"any": [dict.fromkeys(range(8), 1.0)] * users})
    near, fine = draw.normal(size=(2, len(pool))).astype(np.float32)
    pool = replace(pool, features={"near": frozen(near), "fine": frozen(fine)})
    heights = {"listen": 2.0 * near - 0.5, "like": 2.0 * fine - 1.5, "skip": -near - fine - 1.0}
    chances = {name: 1 / (1 + np.exp(-height.astype(np.float64))) for name, height in heights.items()}
    labels = {name: frozen((draw.random(len(pool)) < p).astype(np.float32)) for name, p in chances.items()}
    return Example(request, pool, labels["listen"], labels), chances


def cut(example: Example, size: int) -> Iterator[Example]:
    """The same, so many requests at a time."""
    pointers = example.pool.indptr
    for start in range(0, len(example.request), size):
        rows = np.arange(start, min(start + size, len(example.request)))
        at = np.arange(pointers[rows[0]], pointers[rows[-1] + 1])
        taken = example.pool.take(at)
        pool = replace(
            taken,
            indptr=frozen(pointers[rows[0] : rows[-1] + 2] - pointers[rows[0]]),
            row=frozen(taken.row - np.int32(start)),
        )
        labels = {name: label[at] for name, label in example.labels.items()}
        yield Example(example.request.take(rows), pool, example.label[at], labels)


@pytest.mark.parametrize("negatives", [1.0, 0.5])
@pytest.mark.parametrize("multi", [SUM, PRODUCT], ids=["sum", "product"])
def test_each_label_is_learnt_as_if_it_were_alone(multi: Multi, negatives: float) -> None:
    example, _ = world()
    multi = replace(multi, with_=written(negatives=negatives, ridge=2.0))
    state = multi.learn([example], DATA, rng())
    total = np.zeros(len(example.pool))
    alone = Tilt(negatives=negatives, ridge=2.0)
    for name, label in multi.labels_.items():
        known = alone.learn([Example(example.request, example.pool, example.labels[name])], DATA, rng())
        chance = alone.rank(known, example.request, example.pool).astype(np.float64)
        total += label.weight * (chance if multi.combine == "sum" else np.log(np.maximum(chance, LEAST)))
    np.testing.assert_array_equal(multi.rank(state, example.request, example.pool), total.astype(np.float32))


def test_the_probabilities_are_those_of_the_world_and_their_sum_finds_the_worthiest() -> None:
    taught, _ = world(3000)
    asked, chances = world(500, seed=1)
    state = SUM.learn([taught], DATA, rng())
    terms = SUM.terms(state, asked.request, asked.pool)
    assert terms
    for name, label in SUM.labels_.items():
        assert np.abs(terms[name] / label.weight - chances[name]).mean() < 0.03
    worth = sum(SUM.labels_[name].weight * chance for name, chance in chances.items())
    best = SUM.rank(state, asked.request, asked.pool).reshape(-1, 8).argmax(axis=1)
    found = np.take_along_axis(np.reshape(worth, (-1, 8)), best[:, None], axis=1).mean()
    most = np.reshape(worth, (-1, 8)).max(axis=1).mean()
    by_one = {
        name: np.take_along_axis(np.reshape(worth, (-1, 8)), chance.reshape(-1, 8).argmax(axis=1)[:, None], 1).mean()
        for name, chance in chances.items()
    }
    assert found > 0.99 * most
    assert found > max(by_one.values()) + 0.02 * most


@settings(max_examples=10)
@given(st.integers(1, 60), st.floats(-5, 5), st.floats(-5, 5))
def test_terms_add_up_and_no_batch_changes_a_bit(size: int, one: float, other: float) -> None:
    example, _ = world(60)
    labels: Any = {"listen": {"relevant": "1 == 1", "weight": one}, "like": {"relevant": "1 == 1", "weight": other}}
    multi = Multi(model="tilt", labels_=labels, combine="product")
    state = multi.learn(cut(example, size), DATA, rng())
    score = multi.rank(state, example.request, example.pool)
    check_terms("multi", multi.terms(state, example.request, example.pool), score)
    single = [multi.rank(state, part.request, part.pool) for part in cut(example, 1)]
    np.testing.assert_array_equal(np.concatenate(single), score)


def test_a_label_that_tells_nothing_is_left_out() -> None:
    example, _ = world()
    never = replace(example, labels={**example.labels, "skip": frozen(np.zeros(len(example.pool), np.float32))})
    state = SUM.learn([never], DATA, rng())
    terms = SUM.terms(state, example.request, example.pool)
    assert terms
    assert list(terms) == ["listen", "like"]
    found: Any = SUM.findings(state)
    assert "nothing" in found["skip"]["learnt"]
    assert found["like"]["weight"] == 3
    assert found["like"]["learnt from"]["engagements"] > 0


@pytest.mark.parametrize("examples", [0, 1])
def test_where_nothing_is_learnt_the_earlier_order_is_kept(examples: int) -> None:
    example, _ = world(20)
    score = np.linspace(-3, 3, len(example.pool)).astype(np.float32)[::-1]
    pool = replace(example.pool, score=frozen(score.copy()))
    flat = {name: frozen(np.ones(len(pool), np.float32)) for name in LABELS}
    told = [Example(example.request, pool, flat["like"], flat)][:examples]
    for state in (SUM.fit(DATA, rng()), SUM.learn(told, DATA, rng())):
        got = SUM.rank(state, example.request, pool)
        np.testing.assert_array_equal(got, score)
        assert SUM.terms(state, example.request, pool) is None


def test_a_state_is_stored_and_one_of_another_version_refused() -> None:
    example, _ = world(150)
    state = SUM.learn([example], DATA, rng())
    arrays, tree = flatten(state)
    again = unflatten(MultiState, arrays, tree)
    score = SUM.rank(state, example.request, example.pool)
    np.testing.assert_array_equal(SUM.rank(again, example.request, example.pool), score)
    old = MultiState({name: replace(packed, version=0) for name, packed in state.labels.items()})
    with pytest.raises(ConfigError, match="tilt reads states of version 1, and this one is of version 0"):
        SUM.rank(old, example.request, example.pool)
    packed = PackedState.of(SUM.learner, TiltState())
    assert packed.state(SUM.learner) is packed.state(SUM.learner)


def test_what_is_learnt_from_is_any_of_the_labels_unless_it_is_said() -> None:
    assert SUM.held_out.relevant == Expression("(seconds >= 30) or (kind == 'like') or (seconds < 10)")
    said = Multi(model="tilt", labels_=LABELS, held_out=HeldOut(by="event", relevant=Expression("seconds > 0")))
    assert said.held_out.relevant == Expression("seconds > 0")
    assert {name: one.text for name, one in SUM.labels().items()} == {
        name: label["relevant"] for name, label in LABELS.items()
    }
    assert Multi(model="tilt", labels_=LABELS) == SUM
    assert Multi(model="tilt", with_=written(ridge=2), labels_=LABELS) != SUM


def test_a_learner_is_found_by_its_own_name_alone() -> None:
    assert learner_named("tilt") is Tilt
    with pytest.raises(ValueError, match="model is 'tild', which is no learned ranker; did you mean 'tilt'"):
        learner_named("tild")
    with pytest.raises(ValueError, match="labels is empty"):
        Multi(model="tilt")
    assert nbarec_rankers() == [Multi]


@pytest.mark.parametrize("check", [one for multi in (SUM, PRODUCT) for one in checks(multi)], ids=lambda one: one.name)
def test_it_passes_every_check(check: Check) -> None:
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))
