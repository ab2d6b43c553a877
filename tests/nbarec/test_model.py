"""A model's slates do not depend on how they are computed, and do depend on what the request says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec import model as model_module
from nbarec.batch import Slate
from nbarec.errors import DataError, NbarecError
from nbarec.model import Model
from nbarec.pipeline import Pipeline


def same(found: Slate, expected: Slate) -> None:
    """Equal to the bit: items, scores, reasons, users and the trace of each user."""
    assert found.item.tobytes() == expected.item.tobytes()
    assert found.score.tobytes() == expected.score.tobytes()
    assert found.decision == expected.decision
    assert found.users == expected.users
    assert found.removed == expected.removed
    roads = [[slate.trace.road(row) for row in range(len(slate))] for slate in (found, expected)]
    assert roads[0] == roads[1]
    counts = [[(t.stage, t.step, t.entries_in, t.entries_out) for t in s.trace.stages] for s in (found, expected)]
    assert sorted(counts[0]) == sorted(counts[1])  # a step that few users need is listed when it is first needed


def with_workers(model: Model, workers: int) -> Model:
    config = model.pipeline.config
    engine = replace(config.engine, workers=workers)
    return replace(model, pipeline=replace(model.pipeline, config=replace(config, engine=engine)))


@pytest.fixture(scope="module")
def users(music_model: Model) -> list[str]:
    return [*map(str, music_model.data.users.all()), "stranger", "U0001x"]


@pytest.mark.parametrize("most", [1, 2, 7, 61])
@pytest.mark.parametrize("stage", [None, "similar", "alike", "mixed"])
def test_the_size_of_a_batch_changes_no_bit(
    music_model: Model, users: list[str], monkeypatch: pytest.MonkeyPatch, most: int, stage: str | None
) -> None:
    whole = music_model.recommend(users, stage=stage, context={"device": "mobile"})
    monkeypatch.setattr(model_module, "MOST_USERS", most)
    assert music_model.batch_size() == most
    same(music_model.recommend(users, stage=stage, context={"device": "mobile"}), whole)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_number_of_workers_changes_no_bit(
    music_model: Model, users: list[str], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    whole = music_model.recommend(users)
    monkeypatch.setattr(model_module, "MOST_USERS", 5)
    same(with_workers(music_model, workers).recommend(users), whole)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_order_of_users_and_who_else_is_asked_for_change_no_bit(
    music_model: Model, users: list[str], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(users), min_size=1, max_size=12))
    whole, some = music_model.recommend(users), music_model.recommend(chosen)
    rows = [users.index(user) for user in chosen]
    assert some.item.tobytes() == whole.item[rows].tobytes()
    assert some.score.tobytes() == whole.score[rows].tobytes()
    assert [some.decision[at] for at in range(len(rows))] == [whole.decision[row] for row in rows]


def test_a_second_fit_gives_the_same_slates(music_model: Model, music_text: str, users: list[str]) -> None:
    same(Pipeline.from_text(music_text).fit().recommend(users), music_model.recommend(users))


def test_less_memory_means_smaller_batches_and_the_same_slates(music_text: str, users: list[str]) -> None:
    small = Pipeline.from_text(music_text + "engine: {memory: 1MiB, workers: 2}\n").fit()
    large = Pipeline.from_text(music_text + "engine: {memory: 1GiB}\n").fit()
    assert 1 < small.batch_size() < 50 < large.batch_size()
    same(small.recommend(users), large.recommend(users))


def test_the_stream_gives_a_batch_at_a_time_in_order(
    music_model: Model, users: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = music_model.recommend(users)
    monkeypatch.setattr(model_module, "MOST_USERS", 10)
    parts = list(music_model.stream(users))
    assert [len(part) for part in parts] == [10] * 6 + [2]
    assert [user for part in parts for user in part.users] == users
    assert np.concatenate([part.item for part in parts]).tobytes() == whole.item.tobytes()


def test_the_context_reaches_segments(music_model: Model) -> None:
    by_device = {
        device: music_model.recommend(["stranger"], context={"device": device}, stage="trending").items[0]
        for device in ("mobile", "desktop", "fridge")
    }
    overall = music_model.recommend(["stranger"], stage="trending").items[0]
    assert by_device["fridge"] == overall
    assert by_device["mobile"] != by_device["desktop"]


def test_the_context_reaches_rules(music_text: str) -> None:
    rule = (
        "  - {id: calm, use: reject, with: {where: context.hour >= 22 and item.energy > 0.5, missing: allow}}\nslate:"
    )
    model = Pipeline.from_text(music_text.replace("slate:", rule)).fit()
    users = model.data.users.all()
    energy = model.data.catalog.columns["energy"].values  # type: ignore[union-attr]
    night, day = (model.recommend(users, context={"hour": hour}) for hour in (23, 12))
    assert energy[night.item[night.item >= 0]].max() <= 0.5
    assert energy[day.item[day.item >= 0]].max() > 0.5
    same(day, model.recommend(users))


def test_a_history_with_the_request_counts_like_the_users_own(music_model: Model) -> None:
    songs = music_model.data.items.take([3, 5])
    alone = music_model.recommend(history=songs, stage="similar")
    stranger = music_model.recommend(["stranger"], history=songs, stage="similar")
    assert alone.items == stranger.items
    assert not set(songs) & set(alone.items[0])
    assert alone.trace.road(0).startswith("unknown user, 2 events; candidates: similar ")
    user = music_model.data.users.take([0])
    before, after = music_model.recommend(user), music_model.recommend(user, history=before_first(music_model, user))
    assert after.items[0] != before.items[0]
    assert before.items[0][0] not in after.items[0]


def before_first(model: Model, user: list[str | int]) -> list[str | int]:
    """The first item of the user's slate, as a history."""
    return model.recommend(user).items[0][:1]


def test_a_history_with_an_unknown_item_is_refused(music_model: Model) -> None:
    with pytest.raises(DataError, match="history: item 'S9999999' is not in the catalogue of 80 items"):
        music_model.recommend(history=["S9999999"])


def test_wrong_requests_are_told(music_model: Model) -> None:
    with pytest.raises(NbarecError, match=r"users must be a list of ids; write \['U1'\]"):
        music_model.recommend("U1")
    with pytest.raises(NbarecError, match="no generator or ranker has the id 'licensed'; there are similar, alike"):
        music_model.recommend(["U1"], stage="licensed")
    with pytest.raises(NbarecError, match="k must be a whole number from 1 to 10,000, not 0"):
        music_model.recommend(["U1"], k=0)


def test_nobody_gets_no_slate(music_model: Model) -> None:
    slate = music_model.recommend([])
    assert slate.item.shape == (0, 6)
    assert slate.items == []
    assert slate.decision == ()


def test_now_moves_the_clock_of_a_request(music_text: str) -> None:
    rested = "  - {id: rested, use: exclude_consumed, with: {within: 2d}}\nslate:"
    text = music_text.replace("slate:", rested).replace("k: 40", "k: 40, exclude: weight > 99")
    model = Pipeline.from_text(text).fit()
    users = model.data.users.all()
    at_once = model.recommend(users)
    later = model.recommend(users, now=model.data.as_of + 5 * 86_400)
    assert at_once.removed["rested"] > 0
    assert later.removed["rested"] == 0


def test_context_may_differ_from_user_to_user(music_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    users = music_model.data.users.all()[:5]
    hours = [1.0, 8.0, 13.0, 18.0, 23.0]
    alone = [
        music_model.recommend([user], context={"hour": hour}).items[0] for user, hour in zip(users, hours, strict=True)
    ]
    monkeypatch.setattr("nbarec.model.MOST_USERS", 2)
    assert music_model.recommend(users, context={"hour": hours}).items == alone
    with pytest.raises(DataError, match="context 'hour' has 2 values for 5 users"):
        music_model.recommend(users, context={"hour": [1, 2]})
    with pytest.raises(DataError, match="context 'hour' must be numbers or texts"):
        music_model.recommend(users[:1], context={"hour": [{}]})


def test_a_slate_prints_short(music_model: Model) -> None:
    assert repr(music_model.recommend(music_model.data.users.all()[:2], k=3)) == "<Slate: 2 users x 3 places>"
