"""Slates as users get them: roads, short slates and why, backfill, and lists of single stages."""

from __future__ import annotations

import re

import numpy as np
import pytest

from nbarec.model import Model
from nbarec.pipeline import Pipeline

TINY = """
nbarec: 1
data: {use: music_world, users: 40, songs: 50, days: 20, events_per_user: 10}
candidates:
  - {id: similar, use: item_cf, k: 10}
  - {id: alike, use: content, k: 10, with: {fields: {genre: 1, tempo: 1}}}
  - {id: popular, use: popularity, k: 5}
rank: [{id: mixed, use: blend, keep: 4}]
"""


def model_of(rest: str) -> Model:
    return Pipeline.from_text(TINY + rest).fit()


@pytest.fixture(scope="module")
def plain() -> Model:
    return model_of("slate: {k: 4}")


def test_each_user_is_served_by_a_road_that_the_trace_tells(plain: Model) -> None:
    data = plain.data
    counts = data.events.counts
    once, often = int(np.argmin(np.where(counts == 0, 99, counts))), int(np.argmax(counts))
    slate = plain.recommend([*data.users.take([once, often]), "stranger"])
    assert slate.trace.road(0).startswith(f"known user, {counts[once]} event")
    assert slate.trace.road(1) == f"known user, {counts[often]} events; candidates: similar 10, alike 10, popular 5"
    assert slate.trace.road(2) == "unknown user, no history; candidates: popular 5"
    assert slate.trace.known.tolist() == [True, True, False]
    assert slate.decision == ("", "", "")
    assert slate.items[2] == plain.recommend(["stranger"], stage="popular", k=4).items[0]


def test_a_user_with_one_event_is_served_from_it(plain: Model) -> None:
    song = plain.data.items.take([int(plain.data.events.item[0])])
    slate = plain.recommend(history=song)
    assert slate.users == ("-",)
    assert slate.trace.road(0).startswith("unknown user, 1 event; candidates: ")
    assert "alike 10" in slate.trace.road(0)
    assert len(slate.items[0]) == 4
    assert song[0] not in slate.items[0]


def test_an_item_without_events_is_found_by_what_is_known_of_it() -> None:
    data = Pipeline.from_text(TINY).load()
    gone = int(np.argmax(data.item_counts))
    data = data.with_events(data.events.where(data.events.item != gone))
    model = Pipeline.from_text(TINY).fit(data)
    slate = model.recommend(data.users.all(), k=50, stage="alike")
    assert (slate.item == gone).any()
    assert not (model.recommend(data.users.all(), k=50, stage="similar").item == gone).any()


def test_the_trace_counts_what_went_in_and_out_of_each_stage(plain: Model) -> None:
    slate = plain.recommend(plain.data.users.all())
    steps = [(trace.stage, trace.step) for trace in slate.trace.stages]
    assert steps == [("similar", "generate"), ("alike", "generate"), ("popular", "generate"), ("mixed", "rank")]
    proposed = {trace.stage: trace.entries_out for trace in slate.trace.stages}
    for at, source in enumerate(slate.trace.sources):
        assert proposed[source] == slate.trace.proposed[:, at].sum()
    assert all(trace.seconds >= 0 for trace in slate.trace.stages)


def test_more_places_than_the_catalogue_has_songs_stay_empty_at_the_end(plain: Model) -> None:
    slate = plain.recommend(plain.data.users.take([0]), k=1000)
    filled = len(slate.items[0])
    assert slate.item.shape == (1, 1000)
    assert 4 < filled < 1000  # the four that the ranker keeps, and behind them those that it had cut
    assert (slate.item[0, filled:] == -1).all()
    assert np.isnan(slate.score[0, filled:]).all()
    assert slate.decision[0].startswith("short: ")


def test_rows_are_users_with_ranks_from_one(plain: Model) -> None:
    slate = plain.recommend(plain.data.users.take([3, 1]), k=2)
    rows = list(slate.rows())
    assert [(user, rank) for user, rank, _, _ in rows] == [(user, rank) for user in slate.users for rank in (1, 2)]
    assert [item for _, _, item, _ in rows] == [item for items in slate.items for item in items]
    assert [score for *_, score in rows] == slate.score.ravel().tolist()


def test_a_filter_that_empties_a_slate_is_named_in_the_decision() -> None:
    model = model_of("filters: [{id: none, use: reject, with: {where: item.tempo > 0}}]\nslate: {k: 4}")
    slate = model.recommend([*model.data.users.take([0]), "stranger"])
    assert slate.items == [[], []]
    assert slate.decision[0].startswith("empty: ")
    assert re.fullmatch(r"empty: (\d+) candidates; none removed \1", slate.decision[0])
    assert slate.decision[1] == "empty: 5 candidates; none removed 5"
    assert slate.removed == {"none": 8}


def test_places_that_a_filter_empties_are_filled_by_the_fallback_with_all_it_has() -> None:
    rule = "filters: [{id: genres, use: max_per, with: {by: genre, max: 1}}]\nslate: {k: 4FALLBACK}"
    short = model_of(rule.replace("FALLBACK", ""))
    filled = model_of(rule.replace("FALLBACK", ", fallback: popular"))
    users = [*short.data.users.all(), "stranger"]
    before, after = short.recommend(users), filled.recommend(users)
    genres = np.array([*filled.data.catalog.labels("genre", range(50)), ""])
    was_short = before.item[:, -1] < 0
    assert was_short.any()
    assert not was_short.all()
    assert all(text.startswith("short: ") for text in np.array(before.decision)[was_short])
    np.testing.assert_array_equal(after.item[~was_short], before.item[~was_short])
    assert (after.item >= 0).all()
    assert after.decision == ("",) * len(users)
    assert all(len(set(row)) == 4 for row in genres[after.item])  # the rule holds for what was filled in, too
    for row in np.flatnonzero(was_short):  # what there was keeps its places
        assert after.items[row][: len(before.items[row])] == before.items[row]
    backfill = after.trace.stages[-1]
    assert (backfill.stage, backfill.step, backfill.entries_in) == ("popular", "backfill", was_short.sum())
    assert backfill.entries_out == (before.item < 0).sum()


def test_places_are_filled_from_what_a_ranker_cut_before_the_fallback_is_asked() -> None:
    rule = "filters: [{id: low, use: reject, with: {where: item.energy > 0.7}}]\nslate: {k: 4FALLBACK}"
    model = model_of(rule.replace("FALLBACK", ", fallback: popular"))
    users = model.data.users.all()
    slate = model.recommend(users)
    uncut = model_of(rule.replace("FALLBACK", "")).recommend(users)
    backfills = [trace for trace in slate.trace.stages if trace.step == "backfill"]
    assert backfills[0].stage == "next candidates"
    assert backfills[0].entries_out > 0
    for row, items in enumerate(uncut.items):
        assert slate.items[row][: len(items)] == items
    energy = model.data.catalog.columns["energy"].values  # type: ignore[union-attr]
    assert (energy[slate.item[slate.item >= 0]] <= 0.7).all()


def test_what_even_the_fallback_cannot_fill_is_explained() -> None:
    model = model_of(
        "filters: [{id: none, use: reject, with: {where: item.tempo > 0}}]\nslate: {k: 4, fallback: popular}"
    )
    slate = model.recommend(["stranger"])
    songs = int((model.data.item_counts > 0).sum())
    assert slate.items == [[]]
    assert slate.decision == (f"empty: {songs} candidates; none removed {songs}",)


def test_where_no_stage_proposes_anything_the_decision_says_to_whom() -> None:
    model = Pipeline.from_text(TINY.split("  - {id: popular")[0]).fit()
    slate = model.recommend(["stranger"])
    assert slate.items == [[]]
    assert slate.decision == ("empty: no stage proposes anything to a user who has no history",)
    nothing = model.recommend(["stranger"], stage="similar")
    assert nothing.decision[0].startswith("empty: ")


def test_a_stages_own_list_is_what_it_gives_before_any_filter() -> None:
    model = model_of("filters: [{id: none, use: reject, with: {where: item.tempo > 0}}]\nslate: {k: 3}")
    users = model.data.users.all()
    assert model.recommend(users, stage="similar").item.shape == (40, 10)  # as long as the generator's list
    assert model.recommend(users, stage="mixed").item.shape == (40, 3)  # as long as the slate
    assert (model.recommend(users, stage="mixed").item[:, 0] >= 0).all()
    scores = model.recommend(users, stage="alike").score
    assert not (np.diff(scores, axis=1) > 0).any()
