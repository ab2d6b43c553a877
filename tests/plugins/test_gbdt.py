"""The ranker: what it learns from pools, what it tells of it, and what it keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nbarec.arrays import frozen
from nbarec.batch import Pool, Request
from nbarec.components import Example, HeldOut
from nbarec.contracts import check_terms
from nbarec.expressions import Expression
from nbarec.states import flatten, unflatten
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import pool_of, request_for, tiny_world
from nbarec.work import Work, working
from nbarec_plugins import gbdt
from nbarec_plugins.boosting import kept_apart
from nbarec_plugins.feature_frames import Frame, Layout, Lesson
from nbarec_plugins.gbdt import Gbdt, GbdtState, nbarec_rankers

DATA = tiny_world()
RANKERS = (Gbdt(trees=5, min_leaf=1), Gbdt(loss="lambdarank", trees=5, min_leaf=1, depth=2))


def taught(count: int = 6000, seed: int = 0) -> Lesson:
    """Entries whose label depends on a number, on a category, and on whether another number is known."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(count, 3)).astype(np.float32)
    numbers[rng.random(count) < 0.4, 1] = np.nan
    codes = rng.integers(0, 5, (count, 1)).astype(np.int32)
    odds = numbers[:, 0] + np.array([0, 1.5, -1.5, 1.5, -1.5])[codes[:, 0]] + np.isnan(numbers[:, 1]) - 1
    label = (rng.random(count) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    layout = Layout(("a", "b", "noise"), ("context.device",), (("w", "x", "y", "z"),))
    frame = Frame(np.asfortranarray(numbers), np.asfortranarray(codes))
    return Lesson(layout, frame, label, {}, np.arange(count) // 20, key=np.arange(count // 20, dtype=np.uint64))


def learnt(ranker: Gbdt, lesson: Lesson) -> GbdtState:
    state = ranker.taught(GbdtState(), lesson, np.random.default_rng(0))
    assert isinstance(state, GbdtState)
    return state


def batch(seed: int, size: int = 5) -> tuple[Request, Pool]:
    """Rows with candidates of two generators, with scores that are now and then the same."""
    rng = np.random.default_rng(seed)
    request = request_for(DATA, rng.integers(-1, 5, size))

    def lists() -> list[dict[int, float]]:
        return [{int(i): float(rng.integers(0, 5)) for i in rng.permutation(8)[:5]} for _ in range(size)]

    return request, pool_of(request, {"one": lists(), "two": lists()})


def example(seed: int, size: int = 40) -> Example:
    """Entries that are chosen where the first generator gives more than 2."""
    request, pool = batch(seed, size)
    return Example(request, pool, frozen((np.nan_to_num(pool.scores[:, 0]) > 2).astype(np.float32)))


@pytest.mark.parametrize("loss", ["log_loss", "lambdarank"])
def test_learns_numbers_categories_and_what_is_unknown(loss: Any) -> None:
    ranker, lesson, fresh = Gbdt(loss=loss, trees=40, depth=4), taught(), taught(seed=1)
    state = learnt(ranker, lesson)
    assert state.model is not None
    assert np.isnan(state.model.order.place[0])
    margin = ranker.margins(state.model, state.layout, fresh.frame)
    ones, zeros = margin[fresh.label > 0.5], margin[fresh.label < 0.5]
    assert (ones[:2000, None] > zeros[None, :2000]).mean() > 0.77
    parts = ranker.parts(state.model, state.layout, fresh.frame)
    np.testing.assert_array_equal(sum(parts.values()), margin)
    device = parts["context.device"]
    code = fresh.frame.codes[:, 0]
    assert device[(code == 1) | (code == 3)].mean() > device[(code == 2) | (code == 4)].mean() + 0.5
    strongest = ranker.strongest(state.model, state.layout)
    assert next(iter(strongest)) in ("a", "context.device")
    assert min(strongest["a"], strongest["context.device"]) > 3 * strongest["noise"]


def test_probabilities_hold_for_others() -> None:
    ranker = Gbdt(depth=3, trees=40)
    state = learnt(ranker, taught(120_000))
    report = state.report
    assert report is not None
    assert report.after.ece < 0.02
    assert report.after.log_loss < report.base_log_loss - 0.1
    assert "strongest" in ranker.findings(state)


def test_learns_from_pools_and_its_terms_add_up() -> None:
    ranker = Gbdt(min_leaf=2)
    state = ranker.learn([example(0), example(1)], DATA, np.random.default_rng(0))
    request, pool = batch(7)
    score = ranker.rank(state, request, pool)
    chosen = np.nan_to_num(pool.scores[:, 0]) > 2
    assert score[chosen].min() > 0.5 > score[~chosen].max()
    terms = ranker.terms(state, request, pool)
    assert terms is not None
    check_terms("gbdt", terms, score)
    assert "one.score" in terms


def test_a_row_has_the_same_scores_in_any_batch_and_with_any_workers() -> None:
    ranker = Gbdt(min_leaf=2, subsample=0.7)
    examples = [example(0), example(1)]
    state = ranker.learn(examples, DATA, np.random.default_rng(0))
    with working(Work(workers=2)):
        again = ranker.learn(examples, DATA, np.random.default_rng(0))
    request, pool = batch(7)
    whole = ranker.rank(state, request, pool)
    np.testing.assert_array_equal(ranker.rank(again, request, pool), whole)
    alone = [ranker.rank(state, request, pool.take(np.array([at]))) for at in range(len(pool))]
    np.testing.assert_array_equal(np.concatenate(alone), whole)


def test_no_examples_and_labels_that_are_all_alike_teach_nothing() -> None:
    request, pool = batch(3)
    silent = Example(request, pool, frozen(np.zeros(len(pool), np.float32)))
    for examples in ([], [silent]):
        state = Gbdt().learn(examples, DATA, np.random.default_rng(0))
        assert state.model is None


def test_trees_that_make_nothing_better_leave_the_earlier_score() -> None:
    lesson = taught(2000)
    noise = frozen(np.random.default_rng(4).integers(0, 2, 2000).astype(np.float32))
    single = replace(lesson, group=np.arange(2000), key=np.arange(2000, dtype=np.uint64))
    cases = [
        (Gbdt(patience=1, learning_rate=1.0), replace(lesson, label=noise)),
        (Gbdt(min_gain=1e9), lesson),
        (Gbdt(loss="lambdarank"), single),
    ]
    request, pool = batch(3)
    for ranker, told in cases:
        state = learnt(ranker, told)
        assert state == GbdtState()
        np.testing.assert_array_equal(ranker.rank(state, request, pool), pool.score)


def test_lambdarank_learns_where_few_requests_have_something_to_find() -> None:
    """Whoever is kept apart may have nothing to find: then nobody is."""
    lesson = taught(2000)
    few = replace(lesson, label=frozen(np.where(lesson.group < 3, lesson.label, 0)))
    for seed in range(10):
        ranker = Gbdt(loss="lambdarank", min_leaf=1, trees=3, calibration="none")
        assert ranker.taught(GbdtState(), few, np.random.default_rng(seed)).model is not None


def test_the_order_of_levels_does_not_know_labels_kept_apart() -> None:
    lesson, ranker, chosen = taught(2000), Gbdt(trees=3), []

    def noted(*given: Any) -> Any:
        chosen.append(kept_apart(*given))
        return chosen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gbdt, "kept_apart", noted)
        model = ranker.train(lesson, np.random.default_rng(0))
        flipped = replace(lesson, label=frozen(np.where(chosen[0] & (lesson.frame.codes[:, 0] == 2), 1, lesson.label)))
        other = ranker.train(flipped, np.random.default_rng(0))
    assert chosen[0].sum() == 200
    np.testing.assert_array_equal(chosen[0], chosen[1])
    assert model is not None
    assert other is not None
    np.testing.assert_array_equal(other.order.place, model.order.place)


def test_all_requests_of_a_user_are_kept_apart_together() -> None:
    lesson, chosen = taught(2000), []
    twice = replace(lesson, key=np.arange(100, dtype=np.uint64) // np.uint64(4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gbdt, "kept_apart", lambda *given: chosen.append(kept_apart(*given)) or chosen[-1])
        Gbdt(trees=3).train(twice, np.random.default_rng(0))
    by_user = chosen[0].reshape(25, 80)
    assert (by_user.all(axis=1) == by_user.any(axis=1)).all()
    assert 0 < by_user.all(axis=1).sum() < 5


def test_early_end_is_asked_of_users_kept_apart() -> None:
    lesson = taught(2000)
    short = learnt(Gbdt(trees=400, learning_rate=0.5, patience=2), lesson)
    long = learnt(Gbdt(trees=60, learning_rate=0.5, patience=0), lesson)
    assert short.model is not None
    assert long.model is not None
    assert len(short.model.trees.column) < 40 < len(long.model.trees.column) == 60


def test_the_state_is_made_of_arrays_and_plain_values() -> None:
    ranker = Gbdt(min_leaf=2)
    state = ranker.learn([example(0)], DATA, np.random.default_rng(0))
    again = unflatten(GbdtState, *flatten(state))
    request, pool = batch(7)
    np.testing.assert_array_equal(ranker.rank(again, request, pool), ranker.rank(state, request, pool))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"loss": "hinge"}, "loss must be one of"),
        ({"bins": 256}, "bins must be at most 255"),
        ({"depth": 9}, "depth must be at most 8"),
        ({"learning_rate": 0}, "learning_rate must be more than 0"),
        ({"subsample": 1.5}, "subsample must be at most 1"),
        (
            {"loss": "lambdarank", "held_out": HeldOut(by="event", shown=Expression("seconds > 0"))},
            "lambdarank learns the order within a request",
        ),
    ],
)
def test_wrong_parameters(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Gbdt(**parameters)


@pytest.mark.parametrize("check", [one for ranker in RANKERS for one in checks(ranker)], ids=lambda one: one.name)
def test_keeps_the_promises_of_a_ranker(check: Check) -> None:
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))


def test_hook_names_the_ranker() -> None:
    assert list(nbarec_rankers()) == [Gbdt]
