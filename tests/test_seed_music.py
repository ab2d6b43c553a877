"""The small music example: its lists equal the reference answers, and a slow reference on other data of that shape."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cmp_to_key
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbarec.model import Model
from nbarec.pipeline import Pipeline

CONFIG = Path(__file__).parents[1] / "configs" / "seed_music.yaml"
NUMBERS = ("tempo", "energy", "danceability", "popularity")
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def seed_music(data_folder: Path) -> tuple[Model, Mapping[str, Any]]:
    expected = json.loads((data_folder / "seed-music" / "expected.json").read_text())
    return Pipeline.from_yaml(CONFIG).fit(), expected


@pytest.mark.parametrize(("stage", "name"), [("item_cf", "item_cf"), ("content", "content"), (None, "hybrid")])
def test_the_lists_of_all_users_equal_the_reference(
    seed_music: tuple[Model, Mapping[str, Any]], stage: str | None, name: str
) -> None:
    model, expected = seed_music
    users = sorted(expected[name])
    assert len(users) == 100
    slate = model.recommend(users, k=20 if stage else 10, stage=stage)
    assert dict(zip(users, slate.items, strict=True)) == expected[name]


def test_the_slow_reference_of_this_file_gives_the_reference_answers(data_folder: Path) -> None:
    folder = data_folder / "seed-music"
    events, songs = (
        list(csv.DictReader((folder / name).read_text().splitlines())) for name in ("interactions.csv", "songs.csv")
    )
    expected = json.loads((data_folder / "seed-music" / "expected.json").read_text())
    lists = reference(events, songs)
    assert lists == {user: tuple(expected[name][user] for name in ("item_cf", "content", "hybrid")) for user in lists}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_data_of_that_shape_give_the_same_lists_as_the_slow_reference(tmp_path: Path, seed: int) -> None:
    events, songs = random_world(np.random.default_rng(seed))
    paths = {"data.events.path": tmp_path / "events.csv", "data.items.path": tmp_path / "items.csv"}
    for path, rows in zip(paths.values(), (events, songs), strict=True):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    model = Pipeline.from_yaml(CONFIG, {key: str(path) for key, path in paths.items()}).fit()
    lists = reference(events, songs)
    users = list(lists)
    found = zip(
        model.recommend(users, k=20, stage="item_cf").items,
        model.recommend(users, k=20, stage="content").items,
        model.recommend(users, k=10).items,
        strict=True,
    )
    for user, (item_cf, content, hybrid) in zip(users, found, strict=True):
        assert (item_cf, content) == lists[user][:2], user
        assert hybrid == lists[user][2], user


def random_world(rng: np.random.Generator) -> tuple[Rows, Rows]:
    """About 40 users and 30 songs, their ids shuffled in both files; some users have an event or two."""
    songs = [
        {
            "song_id": f"S{song:03d}",
            "artist": f"Artist_{'ABCDE'[rng.integers(5)]}",
            "genre": ["Jazz", "Rock", "Pop"][rng.integers(3)],
            "tempo": str(rng.integers(60, 180)),
            "energy": repr(float(rng.random())),
            "danceability": repr(float(rng.random())),
            "popularity": str(rng.integers(0, 100)),
        }
        for song in rng.permutation(30)
    ]
    counts = [1, 1, 2, 2, *rng.integers(5, 20, 36)]
    events = [
        {"user_id": f"U{user:03d}", "song_id": f"S{rng.integers(30):03d}", "rating": str(rng.choice([1.0, 0.5, 0.0]))}
        for user, count in enumerate(counts)
        for _ in range(count)
    ]
    return [events[at] for at in rng.permutation(len(events))], songs


def reference(events: Rows, songs: Rows) -> dict[str, tuple[list[str], list[str], list[str]]]:
    """The item-CF list, the content list and the hybrid of every user, by their definitions and with loops."""
    ratings: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        ratings[event["user_id"], event["song_id"]].append(float(event["rating"]))
    users = sorted({user for user, _ in ratings})
    names = sorted(song["song_id"] for song in songs)
    mean = np.array([[np.mean(ratings.get((user, song), [0.0])) for song in names] for user in users])
    norms = np.sqrt((mean**2).sum(axis=0))
    products = np.outer(norms, norms)
    similarity = np.divide(mean.T @ mean, products, out=np.zeros_like(products), where=products > 0)
    features = song_features(songs, names)
    lists = {}
    for at, user in enumerate(users):
        by_neighbours = item_cf_scores(mean[at], similarity, names)
        by_attributes = content_scores([event for event in events if event["user_id"] == user], features, names)
        item_cf, content = best(by_neighbours)[:20], best(by_attributes)[:20]
        mixed: dict[str, float] = defaultdict(float)
        for weight, ranked in ((0.6, item_cf), (0.4, content)):
            for rank, song in enumerate(ranked, start=1):
                mixed[song] += weight / rank
        lists[user] = (item_cf, content, best(mixed)[:10])
    return lists


def item_cf_scores(rated: np.ndarray, similarity: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    liked = rated > 0
    scores = {}
    for song in np.flatnonzero(~liked).tolist():
        total = similarity[song, liked].sum()
        if total > 0:
            scores[names[song]] = float(similarity[song, liked] @ rated[liked] / total)
    return scores


def song_features(songs: Rows, names: Sequence[str]) -> np.ndarray:
    by_name = {song["song_id"]: song for song in songs}
    numbers = np.array([[float(by_name[name][field]) for field in NUMBERS] for name in names])
    columns = [(numbers - numbers.mean(axis=0)) / numbers.std(axis=0)]
    for field in ("genre", "artist"):
        levels = sorted({song[field] for song in songs})
        columns.append(np.array([[float(by_name[name][field] == level) for level in levels] for name in names]))
    return np.concatenate(columns, axis=1)


def content_scores(own: Rows, features: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    liked = [names.index(event["song_id"]) for event in own if float(event["rating"]) > 0.5]
    if not liked:
        return {}
    profile = features[liked].mean(axis=0)
    cosine = features @ profile / (np.linalg.norm(features, axis=1) * np.linalg.norm(profile))
    return {name: float(cosine[at]) for at, name in enumerate(names) if at not in liked}


def best(scores: Mapping[str, float]) -> list[str]:
    """Best first; scores within 1e-9 are ties, which go by id."""

    def order(one: str, other: str) -> int:
        if abs(scores[one] - scores[other]) < 1e-9:
            return 1 if one > other else -1
        return 1 if scores[one] < scores[other] else -1

    return sorted(scores, key=cmp_to_key(order))
