"""The current session of a request: where it begins, what is sent with the request, and what it leads to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from nbarec.batch import Candidates, Request
from nbarec.data import Dataset, EventColumns
from nbarec.door import Door
from nbarec.errors import ConfigError
from nbarec.events import Combine, Events
from nbarec.ids import Ids
from nbarec.params import Duration
from nbarec.pipeline import Pipeline
from nbarec.sparse import Csr
from nbarec.tables import CategoryColumn, Table
from nbarec.testing.worlds import request_for, tags_of
from nbarec_plugins.session import Session, nbarec_candidate_generators

RNG = np.random.default_rng(0)
NOON = 1_700_000_000
MINUTE = 60


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
        columns={
            "playlist": CategoryColumn.of([play.playlist for play in plays]),
            "moods": tags_of([["calm"] for _ in plays]),
        },
    )
    events = columns.sorted_events(users, items, Combine())
    return Dataset.of(Ids.of(range(users)), Ids.of(range(items)), events, Table(items), Table(users))


def lists(found: Candidates) -> list[dict[int, float]]:
    pairs = list(zip(found.item.tolist(), found.score.tolist(), strict=True))
    return [dict(pairs[a:b]) for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True)]


def everything_allowed(data: Dataset, **wanted: Any) -> Request:
    request = request_for(data, **wanted)
    return replace(request, excluded=Csr.empty(len(request), request.n_items))


def morning_and_evening() -> Dataset:
    """User 0 plays 0, 1 at noon and 2, 3 four hours later. Users 1 to 4 show what goes together: 0 4, 1 5, 2 6, 3 7."""
    shown = [Play(user, item) for user in range(1, 5) for item in (user - 1, user + 3)]
    own = [Play(0, 0, 0), Play(0, 1, 10), Play(0, 2, 240), Play(0, 3, 269)]
    return dataset(own + shown, 5, 8)


def proposals(model: Session, data: Dataset, request: Request) -> dict[int, float]:
    return lists(model.generate(model.fit(data, RNG), request, 99))[0]


def test_only_the_last_run_of_events_is_the_current_session() -> None:
    data = morning_and_evening()
    found = proposals(Session(shrink=0, recency=0.5), data, request_for(data, [0]))
    assert list(found) == [7, 6]
    assert found[6] == pytest.approx(found[7] / 2)
    # Half an hour and no more: the gap of 29 minutes joins events 2 and 3, one of 28 minutes does not.
    assert list(proposals(Session(shrink=0, gap=Duration("28m")), data, request_for(data, [0]))) == [7]
    assert sorted(proposals(Session(shrink=0, gap=Duration("4h")), data, request_for(data, [0]))) == [4, 5, 6, 7]


@pytest.mark.parametrize("later", [0, 1, 1000])
def test_history_that_is_sent_is_the_end_of_the_session_in_its_order(later: int) -> None:
    data, model = morning_and_evening(), Session(shrink=0, recency=0.5)
    door, state = Door.of(data), model.fit(data, RNG)
    asked = door.asked(1, 10, history=[1, 0], now=data.as_of + later * MINUTE)
    request = door.request([0], asked)
    found = lists(model.generate(state, replace(request, excluded=Csr.empty(1, 8)), 99))[0]
    assert [j for j in found if j > 3][:2] == [4, 5]
    # Within the gap the known events belong to it as well; a thousand minutes later they do not.
    assert (7 in found) == (later < 30)
    anonymous = door.request(["-"], door.asked(1, 10, history=[2]))
    assert list(lists(model.generate(state, anonymous, 99))[0]) == [6, 3]


def test_history_that_is_sent_has_no_playlist_and_is_a_session_of_its_own() -> None:
    plays = [Play(0, 0, 0, playlist="run"), Play(0, 1, 1, playlist="run"), Play(1, 2, 0), Play(1, 3, 1)]
    data, model = dataset(plays, 2, 4), Session(by="playlist", shrink=0)
    door, state = Door.of(data), model.fit(data, RNG)
    request = door.request([0], door.asked(1, 10, history=[2]))
    assert list(lists(model.generate(state, request, 99))[0]) == [3]


def test_a_playlist_is_one_session_however_its_events_are_mixed_with_others() -> None:
    plays = [
        Play(0, item, minute, playlist=name)
        for minute, (item, name) in enumerate(zip([0, 1, 2, 3], ["run", "calm", "run", "calm"], strict=True))
    ]
    data = dataset(plays, 1, 4)
    near = Session(mode="markov", by="playlist", shrink=0).fit(data, RNG).neighbours
    assert list(zip(near.row_of.tolist(), near.column.tolist(), strict=True)) == [(0, 2), (1, 3)]


def test_a_stale_session_is_used_or_left_alone() -> None:
    data = morning_and_evening()
    state = Session(shrink=0).fit(data, RNG)
    for minutes, expected in ((30, [7, 6]), (31, [])):
        request = request_for(data, [0], now=data.as_of + minutes * MINUTE)
        assert list(lists(Session(stale="nothing").generate(state, request, 9))[0]) == expected
        assert list(lists(Session().generate(state, request, 9))[0]) == [7, 6]


def test_items_of_the_session_come_back_unless_they_are_excluded() -> None:
    data = dataset([Play(user, item, item) for user in range(2) for item in range(3)], 2, 3)
    assert set(proposals(Session(), data, everything_allowed(data, users=[0]))) == {0, 1, 2}
    assert proposals(Session(), data, request_for(data, [0])) == {}


def test_data_without_times_make_each_user_one_session() -> None:
    data = Dataset.from_arrays([0, 0, 1, 1], [0, 1, 1, 2])
    near = Session(shrink=0).fit(data, RNG).neighbours
    assert list(zip(near.row_of.tolist(), near.column.tolist(), strict=True)) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    with pytest.raises(ConfigError, match="stale: nothing needs the time of each event"):
        Session(stale="nothing").fit(data, RNG)


def test_strangers_and_empty_worlds_get_nothing() -> None:
    data = morning_and_evening()
    for world, parameters in ((data, {}), (dataset([], 1, 3), {"steps": 4}), (dataset([], 1, 1), {"mode": "markov"})):
        model = Session(**parameters)
        state = model.fit(world, RNG)
        nobody = request_for(world, [-1, -1], history=Events.empty(2, len(world.items)))
        assert lists(model.generate(state, nobody, 5)) == [{}, {}]
        assert len(model.generate(state, request_for(world, []), 5).indptr) == 1


def test_wrong_columns_and_parameters_are_told() -> None:
    data = morning_and_evening()
    with pytest.raises(ConfigError, match="no column 'visit'; they have: playlist, moods"):
        Session(by="visit").fit(data, RNG)
    with pytest.raises(ConfigError, match="'moods' has several values an event"):
        Session(by="moods").fit(data, RNG)
    for wrong in ({"steps": 0}, {"recency": 0.0}, {"gap": "0s"}, {"mode": "markow"}):
        with pytest.raises(ValueError, match="must be"):
            Session(**wrong)
    assert nbarec_candidate_generators() == [Session]


def test_a_pipeline_serves_it_to_a_playlist_that_is_sent(music_text: str) -> None:
    stage = "  - {id: next, use: session, k: 20, with: {mode: markov, steps: 2, gap: 1h}}\n"
    model = Pipeline.from_text(music_text.replace("candidates:\n", "candidates:\n" + stage)).fit()
    played = model.data.items.take(model.data.events.item[:3])
    alone = model.recommend(history=played, stage="next", k=5).items[0]
    assert len(alone) == 5
    assert not set(alone) & set(played)
    users = model.data.users.all()
    together = model.recommend(users, stage="next", k=5)
    assert [model.recommend([user], stage="next", k=5).items[0] for user in users[:5]] == together.items[:5]
