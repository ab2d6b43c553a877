"""The value objects of a batch: entries that are taken, and rows that stay together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nbarec.batch import Pool, Slate, StageTrace, Trace
from nbarec.ids import Ids
from nbarec.merging import merge
from nbarec.testing.worlds import candidates_of, request_for, tiny_world

ROWS, ITEMS = 3, 6

Lists = list[dict[int, float]]
"""Of each row, item -> score."""

proposals = st.dictionaries(
    st.sampled_from(["similar", "latent", "trending"]),
    st.lists(
        st.dictionaries(st.integers(0, ITEMS - 1), st.sampled_from([0.25, 0.5, 1.0, 2.0]), max_size=5),
        min_size=ROWS,
        max_size=ROWS,
    ),
    max_size=3,
)


def merged(proposed: dict[str, Lists]) -> Pool:
    return merge({stage: candidates_of(rows) for stage, rows in proposed.items()}, ROWS, ITEMS)


def best_first(scores: dict[int, float]) -> list[int]:
    return sorted(scores, key=lambda item: (-scores[item], item))


def entry(pool: Pool, at: int) -> tuple[Any, ...]:
    """All that one entry holds, NaN as None."""
    numbers = [*pool.scores[at].tolist(), *pool.ranks[at].tolist(), pool.score[at].item()]
    features = [values[at].item() for values in pool.features.values()]
    said = (None if math.isnan(number) else number for number in numbers)
    return (int(pool.row[at]), int(pool.item[at]), *said, *features)


@given(proposals, st.data())
def test_taken_entries_keep_all_they_hold_in_the_order_asked_for(
    proposed: dict[str, Lists], data: st.DataObject
) -> None:
    pool = merged(proposed)
    pool = pool.with_score("mixed", np.arange(len(pool), dtype=np.float32))
    by_row = [range(pool.indptr[row], pool.indptr[row + 1]) for row in range(ROWS)]
    kept = [data.draw(st.permutations(list(places))) for places in by_row]
    kept = [places[: data.draw(st.integers(0, len(places)))] for places in kept]
    positions = [at for places in kept for at in places]
    taken = pool.take(np.array(positions, np.int64)).take(np.arange(len(positions)))
    assert [entry(taken, at) for at in range(len(taken))] == [entry(pool, at) for at in positions]
    assert np.diff(taken.indptr).tolist() == [len(places) for places in kept]
    assert (taken.rows, taken.sources) == (ROWS, pool.sources)


def test_taken_entries_are_read_only_and_share_what_did_not_change() -> None:
    pool = merged({"latent": [{1: 2.0, 3: 1.0}, {}, {0: 1.0}]}).with_score("mixed", np.arange(3, dtype=np.float32))
    assert pool.take(np.arange(3)) is pool
    turned = pool.take(np.array([1, 0, 2]))
    assert turned.indptr is pool.indptr
    assert turned.row is pool.row
    arrays = (turned.item, turned.score, turned.scores, turned.ranks, turned.features["mixed"])
    assert not any(array.flags.writeable for array in arrays)
    twice = pool.take(np.array([0, 0, 2]))  # no filter may, and yet the rows are right
    assert (twice.item.tolist(), twice.indptr.tolist()) == ([1, 1, 0], [0, 2, 2, 3])


def test_a_rankers_score_is_also_kept_as_a_column() -> None:
    pool = merged({"latent": [{1: 2.0}, {}, {0: 1.0}]})
    scored = pool.with_score("mixed", np.array([5, 7], np.float32)).with_score("learned", np.array([1, 2], np.float32))
    assert scored.score.tolist() == [1, 2]
    assert {name: values.tolist() for name, values in scored.features.items()} == {"mixed": [5, 7], "learned": [1, 2]}
    assert pool.features == {}


def test_the_rows_of_a_request_stay_together() -> None:
    request = request_for(tiny_world(), [0, 1, 2, -1], context={"hour": [7, 8, 9, 10]}, now=[1, 2, 3, 4])
    rows = np.array([2, 0, 3])
    taken = request.take(rows)
    assert (len(taken), taken.k, taken.n_items) == (3, request.k, 8)
    assert taken.user.tolist() == [2, 0, -1]
    assert (taken.key == request.key[rows]).all()
    assert (taken.context["hour"].tolist(), taken.now.tolist()) == ([9, 7, 10], [3, 1, 4])
    assert taken.audience.labels("id", range(3)) == ["chloe", "anna", "-"]
    assert taken.history.matrix().to_dense().tolist() == request.history.matrix().to_dense()[rows].tolist()
    assert taken.excluded.to_dense().tolist() == request.excluded.to_dense()[rows].tolist()


def trace_of(known: list[bool], stages: tuple[StageTrace, ...]) -> Trace:
    rows = len(known)
    proposed = np.tile(np.array([[3, 0]], np.int32), (rows, 1))
    return Trace(stages, ("latent", "trending"), proposed, np.array(known), np.arange(rows))


def slate_of(item: list[list[int]], users: tuple[str, ...], seconds: float, removed: int) -> Slate:
    items = np.array(item, np.int32)
    score = np.where(items >= 0, items / 2, np.nan).astype(np.float32)
    trace = trace_of([True] * len(users), (StageTrace("latent", "generate", 0, 5, seconds),))
    decision = tuple("short" if row[-1] < 0 else "" for row in item)
    return Slate(items, score, decision, users, Ids.of(["a", "b", "c"]), trace, {"region": removed})


def test_a_slate_gives_outside_ids_and_leaves_out_empty_places() -> None:
    slate = slate_of([[2, 0], [1, -1], [-1, -1]], ("x", "y", "z"), 1.0, 0)
    assert slate.items == [["c", "a"], ["b"], []]
    assert list(slate.rows()) == [("x", 1, "c", 1.0), ("x", 2, "a", 0.0), ("y", 1, "b", 0.5)]
    assert len(slate) == 3


def test_the_slates_of_two_batches_are_one_after_the_other() -> None:
    first = slate_of([[2, 0]], ("x",), 1.5, 4)
    second = slate_of([[1, -1], [0, 1]], ("y", "z"), 0.25, 3)
    both = first.plus(second)
    assert list(both.rows()) == [*first.rows(), *second.rows()]
    assert (both.users, both.decision, both.removed) == (("x", "y", "z"), ("", "short", ""), {"region": 7})
    assert both.trace.stages == (StageTrace("latent", "generate", 0, 10, 1.75),)
    assert both.trace.proposed.tolist() == [[3, 0]] * 3
    assert both.trace.known.tolist() == [True] * 3
    assert both.trace.events.tolist() == [0, 0, 1]


def test_traces_add_up_by_stage_and_step_and_keep_the_first_note() -> None:
    latent = StageTrace("latent", "generate", 0, 5, 1.0)
    failed = StageTrace("latent", "generate", 0, 0, 0.5, "failed: no factors")
    backfill = StageTrace("trending", "backfill", 2, 1, 0.25)
    both = trace_of([True], (latent,)).plus(trace_of([False], (failed, backfill)))
    assert both.stages == (StageTrace("latent", "generate", 0, 5, 1.5, "failed: no factors"), backfill)


def test_the_road_says_who_with_what_history_and_from_where() -> None:
    trace = trace_of([False, True, True], ())
    assert trace.road(0) == "unknown user, no history; candidates: latent 3"
    assert trace.road(1) == "known user, 1 event; candidates: latent 3"
    assert trace.road(2) == "known user, 2 events; candidates: latent 3"
    nothing = Trace((), ("latent",), np.zeros((1, 1), np.int32), np.array([True]), np.array([0]))
    assert nothing.road(0).endswith("candidates: none")
