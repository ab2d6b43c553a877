"""Merging candidates and MMR, which no peer has as one call: ours against plain code for one user after the other."""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

import numpy as np

from bench import ours
from bench.jobs import Figures, Job, Task
from nbarec.arrays import Floats32, Ints64, frozen
from nbarec.batch import Candidates, Pool, Request
from nbarec.kernels import best_first
from nbarec.merging import merge
from nbarec.testing.worlds import request_for, sorted_by_score
from nbarec_plugins.mmr import Mmr

USERS, PROPOSED, PLACES = 1000, 200, 20
SOURCES = "abcde"
"""So many users (in a tiny world fewer) get so many candidates from each of five generators, and so many places."""

FACTORS = 64
RELEVANCE, AMONG = 0.8, 100
"""Of `mmr`: its defaults."""


def _users(task: Task) -> int:
    return min(USERS, task.world.users // 10)


def _candidates(task: Task) -> dict[str, Candidates]:
    """Random candidates of each generator for each user, best first."""
    rng, users, items = ours.rng(), _users(task), task.world.items
    most = min(PROPOSED, items)
    found = {}
    for source in SOURCES:
        item = np.argsort(rng.random((users, items)), axis=1)[:, :most].ravel()
        row = np.repeat(np.arange(users), most)
        found[source] = best_first(row, item, rng.random(len(item)), users, most)
    return found


def _checksum(item: Ints64) -> Figures:
    return {"checksum": crc32(item.astype(np.int32).tobytes())}


def merged(task: Task) -> Job[Pool]:
    """The union of five generators' candidates."""
    found = _candidates(task)
    return Job(lambda: merge(found, _users(task), task.world.items), lambda pool: _checksum(pool.item.astype(np.int64)))


def merged_plainly(task: Task) -> Job[list[list[int]]]:
    """The same by a dictionary a user: item -> the scores and ranks of its generators."""
    found = _candidates(task)

    def run() -> list[list[int]]:
        union = []
        for user in range(_users(task)):
            entries: dict[int, dict[str, tuple[float, int]]] = {}
            for source, proposed in found.items():
                row = slice(proposed.indptr[user], proposed.indptr[user + 1])
                pairs = zip(proposed.item[row].tolist(), proposed.score[row].tolist(), strict=True)
                for rank, (item, score) in enumerate(pairs, start=1):
                    entries.setdefault(item, {})[source] = score, rank
            union.append(sorted(entries))
        return union

    return Job(run, lambda union: _checksum(np.array([item for row in union for item in row])))


def _pool(task: Task) -> tuple[Pool, Request, Floats32]:
    """Candidates with scores, the request that they are for, and vectors of all items."""
    data, rng = task.world.dataset(), ours.rng()
    pool = merge(_candidates(task), _users(task), task.world.items)
    score = frozen(rng.random(len(pool), dtype=np.float32))
    vectors = frozen(rng.standard_normal((task.world.items, FACTORS), dtype=np.float32))
    pool = sorted_by_score(replace(pool, score=score, vectors={"als": vectors}))
    return pool, request_for(data, np.zeros(_users(task), np.int64), k=PLACES), vectors


def diversified(task: Task) -> Job[Ints64]:
    """MMR over the best 100 of each user."""
    pool, request, _ = _pool(task)
    model = Mmr(relevance=RELEVANCE, vectors="als", among=AMONG)  # type: ignore[arg-type]
    state = model.fit(task.world.dataset(), ours.rng())
    places = pool.indptr[:-1, None] + np.arange(PLACES)
    run = ours.with_all_workers(task, lambda: model.select(state, request, pool))
    return Job(run, lambda order: _checksum(pool.item[order][places]))


def diversified_plainly(task: Task) -> Job[Ints64]:
    """The same user by user and pick by pick: relevance less the largest cosine with what is picked."""
    pool, _, vectors = _pool(task)
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1)[:, None]

    def run() -> Ints64:
        starts = pool.indptr[:-1].tolist()
        return np.array([_picked(pool.item[at : at + AMONG], pool.score[at : at + AMONG], unit) for at in starts])

    return Job(run, _checksum)


def _picked(items: np.ndarray, score: np.ndarray, unit: np.ndarray) -> list[int]:
    """The items of the first 40 picks; the first 20 are told, as many as there are places."""
    relevant = score.astype(np.float64) - score.min()
    relevant *= RELEVANCE / relevant.max()
    closest, picked = np.full(len(items), -np.inf), [int(relevant.argmax())]
    while len(picked) < min(2 * PLACES, len(items)):
        closest = np.maximum(closest, unit[items] @ unit[items[picked[-1]]])
        gain = relevant - (1 - RELEVANCE) * closest
        gain[picked] = -np.inf
        picked.append(int(gain.argmax()))
    return [int(items[place]) for place in picked[:PLACES]]
