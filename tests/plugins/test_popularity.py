"""Popularity against a slow reference: what counts, in which segment, and how it backs off."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Candidates, Request
from nbarec.data import Dataset, EventColumns
from nbarec.errors import ConfigError
from nbarec.events import Combine, Events
from nbarec.ids import Ids
from nbarec.params import Duration
from nbarec.sparse import Csr
from nbarec.tables import CategoryColumn, Column, DateColumn, NumberColumn, Table, TagsColumn
from nbarec_plugins.popularity import Popularity, nbarec_candidate_generators

RNG = np.random.default_rng(0)
DAY = 86_400


@dataclasses.dataclass(frozen=True)
class Play:
    """One event, as a person would write it down."""

    user: int
    item: int
    weight: float = 1.0
    time: int = 100 * DAY
    device: str | None = None
    hour: float = float("nan")


@dataclasses.dataclass(frozen=True)
class World:
    """Plays, and what is known of users and items, as plain lists."""

    plays: list[Play]
    country: list[str | None]
    genres: list[list[str]]

    @property
    def data(self) -> Dataset:
        users, items = len(self.country), len(self.genres)
        catalog = Table(
            items, {"genre": tags(self.genres), "main": CategoryColumn.of([g[0] if g else None for g in self.genres])}
        )
        audience = Table(users, {"country": CategoryColumn.of(self.country)})
        return Dataset.of(
            Ids.of(range(users)),
            Ids.of(range(items)),
            events_of(self.plays, users, items),
            catalog,
            audience,
            100 * DAY,
        )


def tags(rows: list[list[str]]) -> TagsColumn:
    pairs = [(row, tag) for row, listed in enumerate(rows) for tag in listed]
    return TagsColumn.of(np.array([row for row, _ in pairs], np.int64), [tag for _, tag in pairs], len(rows))


def events_of(plays: list[Play], users: int, items: int) -> Events:
    columns: dict[str, Column] = {
        "device": CategoryColumn.of([play.device for play in plays]),
        "hour": NumberColumn(np.array([play.hour for play in plays])),
    }
    weight = np.array([play.weight for play in plays])
    return EventColumns(
        user=np.array([play.user for play in plays], np.int64),
        item=np.array([play.item for play in plays], np.int64),
        weight=weight,
        value=weight,
        time=np.array([play.time for play in plays], np.int64),
        columns=columns,
    ).sorted_events(users, items, Combine())


def request_for(data: Dataset, excluded: Csr | None = None, context: dict[str, Any] | None = None) -> Request:
    rows, items = data.events.rows, data.events.n_items
    return Request(
        user=np.arange(rows, dtype=np.int32),
        key=np.zeros(rows, np.uint64),
        history=data.events,
        excluded=Csr.empty(rows, items) if excluded is None else excluded,
        context=context or {},
        catalog=data.catalog,
        audience=data.audience,
        now=np.full(rows, data.as_of),
        k=10,
    )


def lists(candidates: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(candidates.item.tolist(), candidates.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)]


def served(model: Popularity, data: Dataset, limit: int = 50, **request: Any) -> list[list[tuple[int, float]]]:
    return lists(model.generate(model.fit(data, RNG), request_for(data, **request), limit))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    users, items, plays = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(0, 25))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))

    def play() -> Play:
        return Play(
            user=int(rng.integers(users)),
            item=int(rng.integers(items)),
            weight=float(rng.choice([-1.0, 0.0, 0.5, 1.0, 2.0])),
            time=int(rng.integers(90, 102)) * DAY,
            device=["phone", "car", None][rng.integers(3)],
            hour=float(rng.choice([7.0, 7.5, 21.0, np.nan])),
        )

    return World(
        plays=[play() for _ in range(plays)],
        country=[["at", "de", None][n] for n in rng.integers(3, size=users)],
        genres=[[genre for genre in ("folk", "jazz", "rock") if rng.random() < 0.4] for _ in range(items)],
    )


def counts(plays: Iterable[Play], model: Popularity, items: int) -> tuple[list[float], int]:
    """What counts for each item, and how many events do."""
    kept = [play for play in plays if play.weight > 0]
    if model.window is not None:
        kept = [play for play in kept if 0 <= 100 * DAY - play.time <= model.window]
    if model.count == "users":
        latest: dict[tuple[int, int], Play] = {}
        for play in sorted(kept, key=lambda play: play.time):
            latest[play.user, play.item] = play
        kept = list(latest.values())
    found = [0.0] * items
    for play in kept:
        age = max(100 * DAY - play.time, 0)
        decay = 0.5 ** (age / model.half_life) if model.half_life else 1.0
        found[play.item] += decay * (play.weight if model.count == "weight" else 1.0)
    return found, len(kept)


def shares(found: list[float]) -> list[float]:
    return [one / sum(found) if sum(found) else 0.0 for one in found]


def check(proposed: list[tuple[int, float]], scores: list[float], overall: list[float], limit: int) -> None:
    possible = [item for item, share in enumerate(overall) if share > 0]
    order = sorted(possible, key=lambda item: (-round(scores[item] / max(scores), 8), item))[:limit]
    assert [item for item, _ in proposed] == order
    np.testing.assert_allclose([score for _, score in proposed], [scores[item] for item in order], rtol=1e-6)


MODELS = [
    {},
    {"count": "users"},
    {"window": "5d"},
    {"half_life": "2d"},
    {"window": "5d", "half_life": "3d", "count": "users"},
]


@pytest.mark.parametrize("parameters", MODELS)
@given(world=worlds(), limit=st.sampled_from([2, 50]))
@settings(max_examples=50, deadline=None)
def test_overall_lists_equal_the_reference(parameters: dict[str, Any], world: World, limit: int) -> None:
    model = Popularity(**parameters)
    overall = shares(counts(world.plays, model, len(world.genres))[0])
    for proposed in served(model, world.data, limit):
        check(proposed, overall, overall, limit)


@pytest.mark.parametrize("parameters", MODELS)
@pytest.mark.parametrize("by", ["user.country", "context.device", "context.hour"])
@given(world=worlds(), min_events=st.sampled_from([0, 2]), prior=st.sampled_from([0.5, 20.0]))
@settings(max_examples=30, deadline=None)
def test_segments_equal_the_reference(
    by: str, parameters: dict[str, Any], world: World, min_events: int, prior: float
) -> None:
    model = Popularity(by=by, min_events=min_events, prior=prior, **parameters)
    rows, items = len(world.country), len(world.genres)
    requests: dict[str, list[Any]] = {
        "user.country": list(world.country),
        "context.device": ["phone", "boat", None, "car", "phone"][:rows],
        "context.hour": [21.0, 7.0, 7.9, float("nan"), 3.0][:rows],
    }
    asked = requests[by]
    context = {} if by == "user.country" else {by.split(".")[1]: np.array(asked)}
    overall = shares(counts(world.plays, model, items)[0])

    def level(value: Any) -> Any:
        return None if value is None or value != value else int(value) if isinstance(value, float) else value

    def own(play: Play) -> Any:
        return level({"user.country": world.country[play.user], "context.device": play.device}.get(by, play.hour))

    for proposed, value in zip(served(model, world.data, context=context), asked, strict=True):
        inside, events = counts([p for p in world.plays if own(p) == level(value)], model, items)
        if level(value) is None or not events or events < min_events:
            check(proposed, overall, overall, 50)
        else:
            total = sum(inside) + prior
            check(proposed, [(c + prior * p) / total for c, p in zip(inside, overall, strict=True)], overall, 50)


@pytest.mark.parametrize("by", ["item.genre", "item.main"])
@given(world=worlds(), prior=st.sampled_from([0.5, 20.0]))
@settings(max_examples=80, deadline=None)
def test_item_segments_equal_the_reference(by: str, world: World, prior: float) -> None:
    model = Popularity(by=by, prior=prior)
    levels = [(g if by == "item.genre" else g[:1]) or ["none"] for g in world.genres]
    found, _ = counts(world.plays, model, len(levels))
    overall, names = shares(found), ["folk", "jazz", "rock", "none"]
    size = {name: sum(c / len(own) for c, own in zip(found, levels, strict=True) if name in own) for name in names}
    for user, proposed in enumerate(served(model, world.data)):
        liked = [(p.weight, levels[p.item]) for p in world.plays if p.user == user and p.weight > 0]
        weight = sum(w for w, _ in liked)
        share = {
            name: (sum(w / len(own) for w, own in liked if name in own) + prior * size[name] / max(sum(found), 1e-9))
            / (weight + prior)
            for name in names
        }
        scores = [
            sum(share[name] * c / len(own) / size[name] for name in own if size[name])
            for c, own in zip(found, levels, strict=True)
        ]
        check(proposed, scores, overall, 50)


@pytest.mark.parametrize("by", [None, "user.country", "context.device", "item.genre"])
@given(world=worlds(), limit=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_excluded_items_make_room_and_a_batch_changes_no_bit(by: str | None, world: World, limit: int) -> None:
    model, data = Popularity(by=by, min_events=1), world.data
    state, matrix = model.fit(data, RNG), data.events.matrix()
    context = {"device": np.array(["phone", "car", None, "phone", "car"][: data.events.rows], object)}
    everything = lists(model.generate(state, request_for(data, context=context), 50))
    request = request_for(data, matrix, context)
    together = lists(model.generate(state, request, limit))
    for user, proposed in enumerate(together):
        seen = set(matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]].tolist())
        assert proposed == [pair for pair in everything[user] if pair[0] not in seen][:limit]
        assert lists(model.generate(state, request.take(np.array([user])), limit)) == [proposed]
        assert [s for _, s in proposed] == sorted((s for _, s in proposed), reverse=True)


def test_a_segment_list_goes_on_with_the_overall_one() -> None:
    plays = [Play(0, 0)] * 3 + [Play(1, 1)] * 6 + [Play(1, 2)] * 5 + [Play(1, 3)] * 4
    data = World(plays, ["at", "de"], [["rock"]] * 5).data
    found = served(Popularity(by="user.country", min_events=1, prior=0.1), data)
    assert [item for item, _ in found[0]] == [0, 1, 2, 3]
    assert [item for item, _ in found[1]] == [1, 2, 3, 0]
    backed_off = served(Popularity(by="user.country", min_events=4, prior=0.1), data)
    assert [item for item, _ in backed_off[0]] == [1, 2, 3, 0]


def test_a_request_without_the_context_or_with_new_texts_for_it_gets_the_overall_list() -> None:
    data = World([Play(0, 0, device="car")] * 3 + [Play(0, 1, device="phone")] * 4, [None], [[], []]).data
    model = Popularity(by="context.device", min_events=1, prior=0.1)
    assert [item for item, _ in served(model, data)[0]] == [1, 0]
    assert [item for item, _ in served(model, data, context={"device": np.array(["car"])})[0]] == [0, 1]
    assert [item for item, _ in served(model, data, context={"device": np.array(["boat"])})[0]] == [1, 0]


def test_an_update_is_a_refit_with_the_clock_moved_on() -> None:
    old = World([Play(0, 0, time=90 * DAY)], ["at"], [[], []]).data
    plays = [Play(0, 0, time=90 * DAY), Play(1, 1, time=100 * DAY)]
    data = World(plays, ["at", "de"], [[], [], []]).data
    model = Popularity(half_life=Duration("5d"), by="user.country", min_events=1)
    updated = model.update(model.fit(old, RNG), data, data)
    np.testing.assert_allclose(updated.overall, [0.2, 0.8, 0.0])
    assert lists(model.generate(updated, request_for(data), 9)) == served(model, data)


def test_small_worlds_empty_requests_and_read_only_states(tmp_path: Path) -> None:
    for by in (None, "user.country", "item.genre"):
        model = Popularity(by=by)
        assert served(model, World([], ["at"], [["rock"]]).data) == [[]]
        one = World([Play(0, 0)], ["at"], [["rock"]]).data
        assert served(model, one) == [[(0, 1.0)]]
        state = model.fit(one, RNG)
        nobody = request_for(one).take(np.empty(0, np.int64))
        assert len(model.generate(state, nobody, 5).indptr) == 1
        assert not state.overall.flags.writeable
        np.save(tmp_path / "overall.npy", state.overall)
        mapped = dataclasses.replace(state, overall=np.load(tmp_path / "overall.npy", mmap_mode="r"))
        stranger = dataclasses.replace(request_for(one), user=np.array([-1], np.int32), history=Events.empty(1, 1))
        assert lists(model.generate(mapped, stranger, 5)) == [[(0, 1.0)]]


def test_what_is_missing_is_named() -> None:
    data = World([Play(0, 0)], ["at"], [["rock"]]).data
    for by, known in (
        ("user.age", "user.country"),
        ("context.x", "context.device, context.hour"),
        ("item.y", "item.genre"),
    ):
        with pytest.raises(ConfigError, match=f"no column {by} to count by; there are: {known}"):
            Popularity(by=by).fit(data, RNG)
    when = Table(1, {"born": DateColumn(np.zeros(1, np.int64))})
    with pytest.raises(ConfigError, match="use a category or a number"):
        Popularity(by="user.born").fit(dataclasses.replace(data, audience=when), RNG)
    timeless = World([Play(0, 0, time=0)], ["at"], [["rock"]]).data
    with pytest.raises(ConfigError, match="need the time of each event"):
        Popularity(window=Duration("7d")).fit(timeless, RNG)
    with pytest.raises(ValueError, match="by must name a segment"):
        Popularity(by="country")
    assert nbarec_candidate_generators() == [Popularity]
