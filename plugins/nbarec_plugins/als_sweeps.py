"""The sweeps of alternating least squares over all users and items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Bools, Floats32, frozen, row_pointers
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.progress import track
from nbarec_plugins.als_objectives import Objective
from nbarec_plugins.factor_solvers import HalfSweep
from nbarec_plugins.row_shards import at_places
from nbarec_plugins.sparse_rows import SparseRows
from nbarec_plugins.turned import Turned


def only_columns(pairs: SparseRows, keep: Bools) -> SparseRows:
    """The same rows with the entries in those columns alone where `keep` bool [columns] holds."""
    kept = at_places(keep, pairs.column)
    if kept.all():
        return pairs
    indptr = row_pointers(np.bincount(pairs.row_of[kept], minlength=pairs.rows))
    return SparseRows(frozen(indptr), frozen(pairs.column[kept]), frozen(pairs.value[kept]), pairs.columns)


@dataclass(frozen=True)
class Sides:
    """All that sweeps need of the events, laid out: the weights themselves are let go of.

    `users` and `items` are the two halves of a sweep; `rows` how many users there are; `taught` bool [items] which
    items have enough pairs for a vector; `largest` the size of the largest weight.
    """

    objective: Objective
    users: HalfSweep
    items: HalfSweep
    rows: int
    taught: Bools
    largest: float

    @classmethod
    def of(cls, objective: Objective, events: Events) -> Sides:
        """Of all pairs whose item has enough of them."""
        pairs = objective.pairs_of(events)
        taught = objective.speaks_of(pairs)
        pairs = only_columns(pairs, taught)
        users, items = int(objective.speaks(pairs).sum()), int(taught.sum())
        return cls(
            objective=objective,
            users=HalfSweep.of_rows(pairs, lambda part: objective.problem(part, items), objective.width),
            items=HalfSweep.of_columns(pairs, lambda part: objective.problem(part, users), objective.width),
            rows=pairs.rows,
            taught=taught,
            largest=float(max(pairs.value.max(initial=0.0), -pairs.value.min(initial=0.0))),
        )

    def sweep(self, items: Turned, sweeps: int, steps: int) -> None:
        """Better vectors of the items that have enough pairs, in place; zeros of the others.

        Raises ConfigError where they grow beyond what float32 holds.
        """
        items.own[:-1][~self.taught] = 0.0
        users = Turned.zeros(self.rows, self.objective.width)
        with track("als sweeps", sweeps) as advance:
            # One step a sweep: each starts from the one before.
            for sweep in range(sweeps):
                taken = _steps_of(sweep, sweeps, steps)
                self.objective.improve(self.users, users, items, taken)
                self._check(users.own)
                self.objective.improve(self.items, items, users, taken)
                self._check(items.own)
                advance(1)

    def _check(self, vectors: Floats32) -> None:
        if not np.isfinite([vectors.max(), vectors.min()]).all():  # without an array of bools for all of them
            raise ConfigError(
                f"als: the vectors grew beyond what float32 holds; the weights reach {self.largest:g} in size: "
                "cap them with data.feedback.combine.max, or use data.feedback.transform: log1p"
            )


def _steps_of(sweep: int, sweeps: int, steps: int) -> int:
    """How many steps a sweep takes: one less in the first half of the sweeps, where the other side moves on before they
    would count, and one more in the last fifth, whose vectors stay."""
    if sweep < sweeps // 2:
        return max(1, steps - 1)
    return steps + 1 if sweep >= sweeps - sweeps // 5 else steps
