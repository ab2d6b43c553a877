"""Random: a fresh handful of the catalogue for each user and day. For exploring, and to compare others with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64, Uints64, frozen, hash_texts, mix64
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec.ids import encode_texts
from nbarec.kernels import exclude, top_of_dense
from nbarec.params import Duration
from nbarec.scored_pairs import stacked

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""The step of splitmix64: 2^64 over the golden ratio, made odd."""

CELLS = 1 << 17
"""How many (user, item) pairs are drawn for at a time: 1 MB an array, which stays in the cache."""


@dataclass(frozen=True)
class RandomState:
    """The seed of all draws, from 0 to 2^63 - 1, and a hash of each item's id, uint64 [items]."""

    seed: int
    item: Uints64


@dataclass(frozen=True)
class RandomItems(CandidateGenerator[RandomState]):
    """Proposes items at random, each as likely as any other, none twice, whatever the history.

    Each item gets a number that is uniform on [0, 1), and the items with the largest ones are proposed, best first;
    that number is the score. It is a hash of the stage's seed, the user's key, the period of the request's `now` and
    the item's id (by the finaliser of splitmix64: Steele, Lea, Flood 2014). So a user gets the same list all day, from
    midnight to midnight UTC, and another one tomorrow, whoever else is served with him; what he excludes makes room
    for the next. Longer lists begin like shorter ones, and items that join the catalogue find their places in between,
    wherever they stand in it. Anonymous requests share one user id, hence one list.

    >>> from nbarec.testing.worlds import request_for, tiny_world
    >>> data = tiny_world()
    >>> random = RandomItems()
    >>> state = random.fit(data, np.random.default_rng(0))
    >>> today, tomorrow = (request_for(data, [4], now=data.as_of + day * 86_400) for day in (0, 1))
    >>> random.generate(state, today, 3).item.tolist(), random.generate(state, tomorrow, 3).item.tolist()
    ([3, 7, 2], [2, 5, 7])
    """

    name: ClassVar[str] = "random"

    period: Duration = param(
        Duration("1d"), ge=1, doc="How long a user keeps a list; periods are counted from 1970-01-01 00:00 UTC."
    )

    def fit(self, data: Dataset, rng: np.random.Generator) -> RandomState:
        """Take a seed from `rng`, which the config's seed and the stage's id decide."""
        return RandomState(int(rng.integers(2**63)), _hashed(data))

    def update(self, state: RandomState, data: Dataset, new: Dataset) -> RandomState:
        """Equal to a refit: the seed stays, and new items take part."""
        return RandomState(state.seed, _hashed(data))

    def generate(self, state: RandomState, request: Request, limit: int) -> Candidates:
        """A uniform draw without replacement from what each row does not exclude."""
        starts = self._starts(state, request)
        size = max(CELLS // max(request.n_items, 1), 1)
        drawn: list[Candidates] = []
        for first in range(0, len(request), size):  # a step a block of rows: what bounds the memory
            rows = np.arange(first, min(first + size, len(request)))
            scores = _uniform(starts[rows, None], state.item[: request.n_items])
            drawn.append(top_of_dense(exclude(scores, request.excluded.take_rows(rows)), limit))
        return stacked(drawn)

    def evidence(self, state: RandomState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """The whole score, the number that was drawn, as one part."""
        score = _uniform(self._starts(state, request)[row], state.item[item])
        return Evidence.whole(["drawn at random"] * len(item), score, "it was {}")

    def _starts(self, state: RandomState, request: Request) -> Uints64:
        """Where the stream of each row starts: uint64 [B]."""
        period = (request.now // float(self.period)).astype(np.int64)
        return mix64(mix64(request.key ^ mix64(_steps(np.array([state.seed])))) ^ mix64(_steps(period)))


def _steps(number: Ints64) -> Uints64:
    """So many steps and one more from 0, modulo 2^64; a step is `GOLDEN`."""
    return (number.astype(np.uint64) + np.uint64(1)) * GOLDEN


def _hashed(data: Dataset) -> Uints64:
    """A hash of every item's id: uint64 [items]."""
    return frozen(hash_texts(*encode_texts(data.items.texts(np.arange(len(data.items))))))


def _uniform(starts: Uints64, item: Uints64) -> Floats64:
    """The numbers of items with the hashes `item` for rows that start at `starts`, both uint64 and broadcast against
    each other: float64, in [0, 1)."""
    bits = mix64(starts ^ item)
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53, np.float64)


@hookimpl
def nbarec_candidate_generators() -> list[type[RandomItems]]:
    """The generators of this module."""
    return [RandomItems]
