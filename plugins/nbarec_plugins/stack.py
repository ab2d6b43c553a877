"""Stack: a blend whose weights are learnt from what users did next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import Example, LearningRanker, Ranker, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.hookspecs import hookimpl
from nbarec.work import current
from nbarec_plugins.list_values import reciprocal_ranks, standardised_scores
from nbarec_plugins.scaling import as_scores
from nbarec_plugins.stacking import Entries, least_squares, logistic

Told = Literal["scores", "ranks", "agreement"]

MEMORY_SHARE = 4
"""The features of all examples may take this part of `engine.memory`: solving needs as much again, and serving some."""


@dataclass(frozen=True)
class StackState:
    """`weights`: what each feature weighs, by name, empty where nothing was learnt; `base` is added to every score.
    They were learnt from the pools of so many `users` with so many `entries`, `chosen` of which were chosen."""

    weights: Mapping[str, float]
    base: float = 0.0
    users: int = 0
    entries: int = 0
    chosen: int = 0


@dataclass(frozen=True)
class Stack(LearningRanker[StackState]):
    """A blend with weights that are learnt (stacked generalisation: Wolpert 1992; linear: Sill et al. 2009).

        score(u, i) = base + sum over features f of w_f x_f(u, i)

    The features of an entry are, for each generator g:

    * `g.score`: (s - mean) / deviation over g's list for u, the list's lowest value where g does not propose the item;
    * `g.rank`: (k + 1) / (k + rank), so that the first has 1; 0 where g does not propose the item;

    and `agreement`: the share of the generators that propose it. `features` says which of the three it has; the scores
    alone make weights that can be read as those of `blend` with `method: standardised`.

    The weights are learnt from pools as they were when the `held_out` events of the training part were not known: an
    entry's label is 1 where u went on to choose i. By `method`:

    * `nnls`: least squares with no weight below 0 (Lawson and Hanson 1974; with a constant for each user, so that only
      what tells a user's entries from each other counts; solved exactly). `base` is 0.
    * `logistic`: the log-odds of being chosen (logistic regression, Newton's method), weights below 0 only with
      `negative: true`. The score is itself the log-odds, for the users with a held-out event that counts.

    Where nothing is learnt, because there are no examples, nobody chose anything of a pool, or no feature tells chosen
    entries from others, every generator's `g.score` weighs 1.

    >>> from nbarec.testing.worlds import pool_of, request_for, tiny_world
    >>> data = tiny_world()
    >>> request = request_for(data, [0, 1, 2])
    >>> right, noise = [{3: 2.0, 5: 1.0}] * 3, [{3: 2.0, 5: 1.0}, {3: 1.0, 5: 2.0}, {3: 1.0, 5: 2.0}]
    >>> pool = pool_of(request, {"right": right, "noise": noise})
    >>> example = Example(request, pool, np.array([1, 0, 1, 0, 1, 0], np.float32))
    >>> state = Stack().learn([example], data, np.random.default_rng(0))
    >>> {name: round(weight, 2) for name, weight in state.weights.items()}
    {'right.score': 0.43, 'noise.score': 0.0}
    """

    name: ClassVar[str] = "stack"

    method: Literal["nnls", "logistic"] = param("nnls", doc="How the weights are learnt.")
    features: tuple[Told, ...] = param(("scores",), doc="What the weights are of.")
    k: float = param(60.0, ge=0, le=1_000_000, doc="Of the ranks: the larger, the less the first places stand out.")
    ridge: float = param(1.0, gt=0, doc="Pull of the weights towards 0, that of so many entries.")
    negative: bool = param(False, doc="logistic only: whether a weight may be below 0.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.features:
            raise ValueError("features must name at least one of scores, ranks and agreement")
        if self.negative and self.method == "nnls":
            raise ValueError("negative: true is for method: logistic; nnls has no weights below 0")

    def fit(self, data: Dataset, rng: np.random.Generator) -> StackState:
        """What it serves with before there are examples."""
        return StackState({})

    def learn(self, examples: Iterable[Example], data: Dataset, rng: np.random.Generator) -> StackState:
        """The weights that tell what was chosen from what was not. Raises ConfigError where the features of all
        examples need more memory than there is."""
        names, gathered = self._gathered(examples)
        chosen = int(gathered.label.sum(dtype=np.float64)) if len(gathered.label) else 0
        if not 0 < chosen < len(gathered.label):
            return StackState({})
        if self.method == "nnls":
            weights, base = least_squares(gathered, self.ridge), 0.0
        else:
            weights, base = logistic(gathered, self.ridge, negative=self.negative)
        if not weights.any():
            return StackState({})
        users = int(gathered.user[-1]) + 1
        learnt = dict(zip(names, weights.tolist(), strict=True))
        return StackState(learnt, base, users, len(gathered.label), chosen)

    def update(self, state: StackState, data: Dataset, new: Dataset) -> StackState:
        """The same weights: they are of generators, not of items, and a refit alone makes new examples."""
        return state

    def rank(self, state: StackState, request: Request, pool: Pool) -> Floats32:
        """The weighted sum: float32 [N]."""
        total = np.full(len(pool), state.base)
        # One pass a feature, in their order: an entry's sum never depends on the shape of the batch.
        for _, share in self._shares(state, pool):
            total += share
        return as_scores(total)

    def terms(self, state: StackState, request: Request, pool: Pool) -> Mapping[str, Floats64] | None:
        """w_f x_f of each feature f, under its name, and `base`; None where there is no generator."""
        if not pool.sources:
            return None
        terms = {name: frozen(share) for name, share in self._shares(state, pool)}
        return {**terms, "base": frozen(np.full(len(pool), state.base))} if state.base else terms

    def _shares(self, state: StackState, pool: Pool) -> Iterator[tuple[str, Floats64]]:
        """Each feature's name, and what it adds to every entry's score: float64 [N]."""
        weights = state.weights or {f"{source}.score": 1.0 for source in pool.sources}
        features: tuple[Told, ...] = self.features if state.weights else ("scores",)
        for name, values in _features(pool, features, self.k):
            yield name, weights.get(name, 0.0) * values

    def _gathered(self, examples: Iterable[Example]) -> tuple[list[str], Entries]:
        """The features' names, and of all entries their values, the labels, and the how-manieth user each is of."""
        names: list[str] = []
        values, labels, users, before = [np.empty((0, 0), np.float32)], [np.empty(0, np.float32)], [_NOBODY], 0
        for example in examples:  # a step a batch of users
            found = dict(_features(example.pool, self.features, self.k))
            names = list(found)
            values.append(np.column_stack([column.astype(np.float32) for column in found.values()]))
            labels.append(example.label)
            users.append(example.pool.row + np.int64(before))
            before += len(example.request)
            _check_memory(sum(block.nbytes for block in values), before)
        return names, Entries(np.concatenate(values[1:] or values), np.concatenate(labels), np.concatenate(users))


_NOBODY: Ints64 = np.empty(0, np.int64)


def _features(pool: Pool, told: tuple[Told, ...], k: float) -> Iterator[tuple[str, Floats64]]:
    """Each feature's name and its values: float64 [N]."""
    # A step a generator and a feature, of which there are few.
    for source, name in enumerate(pool.sources):
        if "scores" in told:
            yield f"{name}.score", standardised_scores(pool, source)
        if "ranks" in told:
            yield f"{name}.rank", reciprocal_ranks(pool.ranks[:, source], k, np.array(k + 1.0))
    if "agreement" in told and pool.sources:
        yield "agreement", (pool.ranks > 0).mean(axis=1)


def _check_memory(size: int, users: int) -> None:
    memory = current().memory
    if size > memory // MEMORY_SHARE:
        raise ConfigError(
            f"the examples of {users:,} users take {size:,} bytes already, more than 1/{MEMORY_SHARE} of engine.memory "
            f"({memory:,} bytes); set held_out.users to fewer users, or engine.memory to more"
        )


@hookimpl
def nbarec_rankers() -> Iterable[type[Ranker[StackState]]]:
    """The rankers of this module."""
    return [Stack]
