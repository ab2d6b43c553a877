"""Links between items of sessions, and the lists made of them, against loops over sessions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Candidates, Request
from nbarec.contracts import check_candidates
from nbarec.data import Dataset, EventColumns
from nbarec.events import Combine
from nbarec.ids import Ids
from nbarec.joining import join_datasets
from nbarec.params import Duration
from nbarec.sparse import Csr
from nbarec.states import flatten, unflatten
from nbarec.tables import CategoryColumn, Table
from nbarec.testing.worlds import request_for
from nbarec_plugins import session_links
from nbarec_plugins.session import Session, SessionState

RNG = np.random.default_rng(0)
NOON = 1_700_000_000
MINUTE = 60
Strengths = dict[tuple[int, int], float]


@dataclass(frozen=True)
class Play:
    """One event: minutes after noon, and the playlist it came from."""

    user: int
    item: int
    minute: int = 0
    weight: float = 1.0
    playlist: str | None = None


def dataset(plays: list[Play], users: int, items: int) -> Dataset:
    weight = np.array([play.weight for play in plays])
    columns = EventColumns(
        user=np.array([play.user for play in plays], np.int64),
        item=np.array([play.item for play in plays], np.int64),
        weight=weight,
        value=weight,
        time=np.array([NOON + MINUTE * play.minute for play in plays], np.int64),
        columns={"playlist": CategoryColumn.of([play.playlist for play in plays])},
    )
    events = columns.sorted_events(users, items, Combine())
    return Dataset.of(Ids.of(range(users)), Ids.of(range(items)), events, Table(items), Table(users))


def lists(found: Candidates) -> list[dict[int, float]]:
    pairs = list(zip(found.item.tolist(), found.score.tolist(), strict=True))
    return [dict(pairs[a:b]) for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True)]


def everything_allowed(data: Dataset, **wanted: Any) -> Request:
    request = request_for(data, **wanted)
    return replace(request, excluded=Csr.empty(len(request), request.n_items))


# --- the references: loops over users, sessions and events ---------------------------------------------------------


def sessions_of(plays: list[Play], user: int, model: Session) -> list[list[Play]]:
    """The sessions of a user, oldest first by their first event; that of the newest event last."""
    liked = sorted((p for p in plays if p.user == user and p.weight > 0), key=lambda play: play.minute)
    found: list[list[Play]] = []
    for play in liked:
        if model.by is not None:
            home = next((one for one in found if one[0].playlist == play.playlist), None)
        else:
            home = found[-1] if found and MINUTE * (play.minute - found[-1][-1].minute) <= model.gap else None
        if home is None:
            found.append(home := [])
        home.append(play)
    return [one for one in found if one[-1] is not liked[-1]] + [one for one in found if one[-1] is liked[-1]]


def strengths(sessions: list[list[int]], items: int, model: Session) -> Strengths:
    found = together(sessions, items, model) if model.mode == "cooccurrence" else followed(sessions, items, model)
    kept: Strengths = {}
    for i in range(items):
        row = {j: found[i, j] for j in range(items) if found.get((i, j), 0) > 0}
        best = sorted(row, key=lambda j: (-round(row[j] / max(row.values()), 8), j))[: model.neighbors]
        kept |= {(i, j): row[j] for j in best}
    return kept


def together(sessions: list[list[int]], items: int, model: Session) -> Strengths:
    size = [sum(i in session for session in sessions) for i in range(items)]
    found: Strengths = {}
    for i in range(items):
        for j in set(range(items)) - {i}:
            shares = [closeness(session, i, j, model.steps) for session in sessions]
            common = sum(share > 0 for share in shares)
            if common:
                found[i, j] = sum(shares) / math.sqrt(size[i] * size[j]) * common / (common + model.shrink)
    return found


def closeness(session: list[int], i: int, j: int, steps: int | None) -> float:
    apart = [abs(a - b) for a, one in enumerate(session) for b, two in enumerate(session) if one == i and two == j]
    if not apart or (steps is not None and min(apart) > steps):
        return 0.0
    return 1.0 if steps is None else 1 / min(apart)


def followed(sessions: list[list[int]], items: int, model: Session) -> Strengths:
    counts: Strengths = {}
    for session in sessions:
        for a, i in enumerate(session):
            for b in range(a + 1, min(a + (model.steps or 1), len(session) - 1) + 1):
                if session[b] != i:
                    counts[i, session[b]] = counts.get((i, session[b]), 0) + 1 / (b - a)
    total = [sum(count for (i, _), count in counts.items() if i == item) for item in range(items)]
    return {(i, j): count / (total[i] + model.shrink) for (i, j), count in counts.items()}


def scored(session: list[int], found: Strengths, items: int, model: Session) -> dict[int, float]:
    newest_first = list(dict.fromkeys(reversed(session)))[: model.last]
    scores = {
        j: math.fsum(model.recency**p * found.get((i, j), 0) for p, i in enumerate(newest_first)) for j in range(items)
    }
    return {j: score for j, score in scores.items() if score > 0}


# --- against the references ----------------------------------------------------------------------------------------

MODELS: list[dict[str, Any]] = [
    {},
    {"steps": 2, "shrink": 0.0},
    {"mode": "markov", "shrink": 0.0, "last": 1},
    {"mode": "markov", "steps": 3, "recency": 1.0},
    {"by": "playlist", "shrink": 1.0, "last": 2},
    {"by": "context.playlist", "mode": "markov", "neighbors": 2},
    {"steps": 3, "neighbors": 2, "gap": Duration("2m")},
]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Play], int, int]:
    users, items, plays = draw(st.integers(1, 4)), draw(st.integers(1, 6)), draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    return (
        [
            Play(
                user=int(rng.integers(users)),
                item=int(rng.integers(items)),
                minute=int(rng.choice([0, 1, 2, 5, 32, 33, 35, 90, 120])),
                weight=float(rng.choice([1.0, 2.0, 0.5, 0.0, -1.0], p=[0.5, 0.2, 0.1, 0.1, 0.1])),
                playlist=["morning", "run", None][rng.integers(3)],
            )
            for _ in range(plays)
        ],
        users,
        items,
    )


@pytest.mark.parametrize("parameters", MODELS)
@given(world=worlds(), limit=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_neighbours_and_lists_equal_the_reference(
    parameters: dict[str, Any], world: tuple[list[Play], int, int], limit: int
) -> None:
    plays, users, items = world
    model, data = Session(**parameters), dataset(*world)
    state = model.fit(data, RNG)
    own = [sessions_of(plays, user, model) for user in range(users)]
    played = [[play.item for play in session] for sessions in own for session in sessions]
    expected = strengths(played, items, model)
    near = state.neighbours
    assert list(zip(near.row_of.tolist(), near.column.tolist(), strict=True)) == sorted(expected)
    np.testing.assert_allclose(near.value, [expected[pair] for pair in sorted(expected)], rtol=1e-9)
    assert state.sessions.tolist() == [sum(i in session for session in played) for i in range(items)]
    request = everything_allowed(data)
    found = model.generate(state, request, limit)
    check_candidates("session", found, request, limit)
    for sessions, proposed in zip(own, lists(found), strict=True):
        scores = scored([play.item for play in sessions[-1]] if sessions else [], expected, items, model)
        order = sorted(scores, key=lambda j: (-round(scores[j] / max(scores.values()), 8), j))[:limit]
        assert list(proposed) == order
        np.testing.assert_allclose(list(proposed.values()), [scores[j] for j in order], rtol=1e-6)


@pytest.mark.parametrize("parameters", MODELS)
@given(world=worlds(), limit=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_excluded_items_make_room_and_a_batch_changes_no_bit(
    parameters: dict[str, Any], world: tuple[list[Play], int, int], limit: int
) -> None:
    model, data = Session(**parameters), dataset(*world)
    state, request = model.fit(data, RNG), request_for(data)
    whole = lists(model.generate(state, everything_allowed(data), 99))
    together = lists(model.generate(state, request, limit))
    for user, proposed in enumerate(together):
        row = np.array([user])
        seen = set(request.excluded.take_rows(row).indices.tolist())
        kept = [pair for pair in whole[user].items() if pair[0] not in seen]
        assert list(proposed.items()) == kept[:limit]
        assert lists(model.generate(state, request.take(row), limit)) == [proposed]


@pytest.mark.parametrize("parameters", MODELS)
@given(world=worlds(), cut=st.floats(0, 1))
@settings(max_examples=15, deadline=None)
def test_an_update_is_a_refit_and_a_saved_state_is_the_state(
    parameters: dict[str, Any], world: tuple[list[Play], int, int], cut: float
) -> None:
    plays, users, items = world
    ordered = sorted(plays, key=lambda play: play.minute)
    first, second = ordered[: int(cut * len(plays))], ordered[int(cut * len(plays)) :]
    model = Session(**parameters)
    data, new = join_datasets(dataset(first, users, items), dataset(second, users, items))
    updated = model.update(model.fit(dataset(first, users, items), RNG), data, new)
    arrays, tree = flatten(updated)
    refitted, _ = flatten(model.fit(data, RNG))
    assert all(np.array_equal(arrays[name], refitted[name]) for name in (*arrays, *refitted))
    loaded = unflatten(SessionState, arrays, tree)
    assert loaded.neighbours.columns == items
    assert not any(array.flags.writeable for array in arrays.values())


@pytest.mark.parametrize("mode", ["cooccurrence", "markov"])
@given(world=worlds(), pairs=st.sampled_from([1, 7, 40]))
@settings(max_examples=25, deadline=None)
def test_blocks_of_sessions_change_no_bit(mode: Any, world: tuple[list[Play], int, int], pairs: int) -> None:
    model, data = Session(mode=mode, steps=3), dataset(*world)
    whole, _ = flatten(model.fit(data, RNG))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_links, "PAIRS_IN_BLOCK", pairs)
        blocks, _ = flatten(model.fit(data, RNG))
    assert all(np.array_equal(blocks[name], whole[name]) for name in whole)
