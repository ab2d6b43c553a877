"""Why popularity, recent, listed and random give their scores: one part in words, worth the whole score."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Request
from nbarec.components import CandidateGenerator
from nbarec.contracts import check_evidence
from nbarec.data import Dataset
from nbarec.evidence import Evidence
from nbarec.explain import TELLING, listed
from nbarec.expressions import Expression
from nbarec.params import Duration
from nbarec.pipeline import Pipeline
from nbarec.sparse import Csr
from nbarec.tables import CategoryColumn
from nbarec.testing.worlds import DAY, request_for, tiny_world
from nbarec_plugins.listed import Listed
from nbarec_plugins.popularity import Popularity
from nbarec_plugins.random_items import RandomItems
from nbarec_plugins.recent import Recent
from nbarec_plugins.spans import ago, in_words

Model = CandidateGenerator[Any]
WHOLE: list[Model] = [
    Popularity(),
    Popularity(window=Duration("30d"), count="users"),
    Popularity(by="user.country", min_events=2, prior=0.5),
    Popularity(by="context.device", half_life=Duration("7d")),
    Popularity(by="item.moods"),
    Popularity(by="item.artist", window=Duration("7d")),
    Popularity(by="item.tempo"),
    Recent(),
    Recent(within=Duration("20d"), half_life=Duration("10d"), where=Expression("item.explicit == 0")),
    Listed(items=("s6", "s2", "s0")),
    Listed(where=Expression("item.tempo > 90"), by="tempo"),
    RandomItems(),
]


def world() -> Dataset:
    data = tiny_world()
    device = CategoryColumn.of(["tv", "phone"] * 4 + ["tv"])
    return replace(data, events=replace(data.events, columns={**data.events.columns, "device": device}))


def asked(data: Dataset, users: list[int], now: int | list[int] | None = None) -> Request:
    nothing = Csr.empty(len(users), len(data.items))
    return request_for(
        data, users, now=now, excluded=nothing, context={"device": np.array(["tv"] * len(users), object)}
    )


def fitted(model: Model, data: Dataset) -> Any:
    return model.fit(data, np.random.default_rng(0))


def explained(model: Model, data: Dataset, request: Request, row: Any, item: Any, limit: int = 3) -> Evidence:
    row, item = np.asarray(row, np.int32), np.asarray(item, np.int32)
    told = model.evidence(fitted(model, data), request, row, item, limit)
    assert told is not None
    check_evidence(model.name, told, len(row), limit)
    return told


def said(model: Model, data: Dataset, request: Request, row: int, item: int) -> str:
    """The end of the sentence; empty where there is no part."""
    told = explained(model, data, request, [row], [item])
    return told.because.format(*told.label) if told.label else ""


@pytest.mark.parametrize("model", WHOLE, ids=repr)
def test_one_part_is_the_whole_score_of_generate(model: Model) -> None:
    data = world()
    request = asked(data, [0, 1, 2, 3, 4, -1], now=[data.as_of + day * DAY for day in (0, 0, 0, 15, -30, 0)])
    row, item = np.repeat(np.arange(6), 8), np.tile(np.arange(8), 6)
    told = explained(model, data, request, row, item)
    assert (np.diff(told.indptr) <= 1).all()
    np.testing.assert_allclose(told.rest, 0, atol=1e-15)
    found = model.generate(fitted(model, data), request, 8)
    expected = np.zeros((6, 8))
    expected[np.repeat(np.arange(6), np.diff(found.indptr)), found.item] = found.score
    np.testing.assert_allclose(told.score.reshape(6, 8), expected, rtol=1e-6, atol=1e-12)


@given(model=st.sampled_from(WHOLE), pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), max_size=6))
@settings(max_examples=60, deadline=None)
def test_pairs_are_explained_alike_in_any_batch(model: Model, pairs: list[tuple[int, int]]) -> None:
    data = world()
    request = asked(data, [0, 1, 2, 3, 4, -1])
    together = explained(model, data, request, [row for row, _ in pairs], [item for _, item in pairs], 100)
    assert len(together) == len(pairs)
    for pair, (row, item) in enumerate(pairs):
        alone = explained(model, data, request.take(np.array([row])), [0], [item], 1)
        assert alone.label == together.label[together.indptr[pair] : together.indptr[pair + 1]]
        assert alone.score[0] == together.score[pair]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Popularity(), "it is popular overall"),
        (Popularity(window=Duration("30d")), "it is popular in the last 30 days"),
        (Popularity(half_life=Duration("7d")), "it is popular lately"),
        (Popularity(by="user.country", min_events=1), "it is popular where country is DE"),
        (Popularity(by="user.country", min_events=50), "it is popular overall"),
        (
            Popularity(by="user.age", min_events=1, window=Duration("7d")),
            "it is popular where age is 34 in the last week",
        ),
        (Popularity(by="context.device", min_events=1), "it is popular where device is tv"),
        (Popularity(by="item.moods"), "it is popular in moods calm and warm"),
        (Popularity(by="item.artist"), "it is popular in artist ada"),
        (Popularity(by="item.tempo", half_life=Duration("1d")), "it is popular in tempo 90 lately"),
        (Recent(), "it came out 10 days ago"),
        (Listed(items=("s6", "s0")), "an editor lists it"),
        (RandomItems(), "it was drawn at random"),
    ],
    ids=repr,
)
def test_the_words_for_anna_and_song_0(model: Model, expected: str) -> None:
    data = world()
    assert said(model, data, asked(data, [0]), 0, 0) == expected


def test_what_is_missing_has_words_too() -> None:
    data = world()
    request = asked(data, [3, -1])
    by_country, by_artist = Popularity(by="user.country", min_events=1), Popularity(by="item.artist")
    assert [said(by_country, data, request, row, 0) for row in (0, 1)] == ["it is popular overall"] * 2
    assert said(by_artist, data, request, 0, 6) == "it is popular in artist unknown"


def test_items_without_a_date_or_a_place_or_before_their_time_have_no_part() -> None:
    data = world()
    request = asked(data, [0, 0], now=[data.as_of, data.as_of - 20 * DAY])
    assert [said(Recent(), data, request, row, item) for row, item in ((0, 6), (1, 0), (1, 2))] == [
        "",
        "",
        "it came out just now",
    ]
    assert said(Recent(within=Duration("9d")), data, request, 0, 0) == ""
    assert said(Listed(items=("s6",)), data, request, 0, 0) == ""


def test_the_place_in_an_editors_list_is_told() -> None:
    data = world()
    told = explained(Listed(items=("s6", "s2")), data, asked(data, [0]), [0, 0], [2, 6])
    assert (told.label, told.amount.tolist()) == (("place 2", "place 1"), [0.5, 1.0])


def test_spans_of_time_in_words() -> None:
    durations = ("1s", "90s", "1m", "36h", "1d", "14d", "365d")
    assert [in_words(Duration(text)) for text in durations] == [
        "second",
        "90 seconds",
        "minute",
        "36 hours",
        "day",
        "2 weeks",
        "365 days",
    ]
    ages = np.array([0, 119, 7199, 7200, 47 * 3600, 48 * 3600, 700 * DAY, 10**11])
    assert ago(ages) == [
        "just now",
        "just now",
        "119 minutes ago",
        "2 hours ago",
        "47 hours ago",
        "2 days ago",
        "700 days ago",
        "3,168 years ago",
    ]


STAGES = """
  - {id: people, use: user_cf, k: 20}
  - {id: next, use: session, k: 20, with: {mode: markov, steps: 2, gap: 1h}}
  - {id: fresh, use: recent, k: 10}
  - {id: chance, use: random, k: 10}
"""
SENTENCES = {
    "similar": r"you chose (.+)",
    "people": r"people who chose (.+) chose it too",
    "next": r"it often follows (.+)",
    "trending": r"it is popular (overall|where device is phone)",
    "fresh": r"it came out \d+ (days|hours|years) ago",
    "chance": r"it was drawn at random",
}


def test_a_pipeline_tells_reasons_that_are_true_of_the_history(music_text: str) -> None:
    model = Pipeline.from_text(music_text.replace("candidates:", "candidates:" + STAGES.rstrip())).fit()
    users = model.data.users.all()[:20]
    slate = model.recommend(users, explain=True, context={"device": "phone"})
    seen = set()
    for row, user in enumerate(users):
        at = model.data.events.take_rows(model.data.users.index([user])).item
        past = set(model.data.catalog.labels("name", at))
        for told in slate.explanations[row]:
            for one in (one for one in told.proposals if one.stage in SENTENCES):
                assert one.rest is not None
                assert sum(part.amount for part in one.parts) + one.rest == pytest.approx(one.score, rel=1e-5)
                match = re.fullmatch(SENTENCES[one.stage], one.because)
                assert match, one.because
                seen.add(one.stage)
                if one.stage in ("similar", "people", "next"):
                    assert {part.name for part in one.parts} <= past
                    telling = TELLING * max(part.amount for part in one.parts)
                    assert match[1] == listed([part.name for part in one.parts if part.amount >= max(telling, 1e-300)])
    assert seen == SENTENCES.keys()
