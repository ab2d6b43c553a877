"""Sparse linear methods: what of a history makes each item, learned for all items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats64, Ints32
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec_plugins.best_overlaps import best_overlaps
from nbarec_plugins.degree_scaling import check_memory, degree_power, item_degrees, weighted_pairs, with_factors
from nbarec_plugins.elastic_nets import nonnegative_nets, system_bytes
from nbarec_plugins.meetings import evidence_of_product
from nbarec_plugins.neighbours import Measure, Signal
from nbarec_plugins.row_products import Product
from nbarec_plugins.sparse_rows import SparseRows

BYTES_A_WEIGHT = 48
"""Of a neighbour, until the fit is done: named, solved for, turned round."""


@dataclass(frozen=True)
class SlimState:
    """`weights` holds what each item of a history adds to the scores of others (items x items)."""

    weights: SparseRows


@dataclass(frozen=True)
class Slim(CandidateGenerator[SlimState]):
    """Scores item j by a weighted sum of the history, the weights being those that best tell who has j from what else
    they have (SLIM: Ning, Karypis 2011; over the nearest neighbours of j alone, as their fsSLIM).

    With x_ui a pair's weight to the power of `power`, keeping its sign, and 0 where there is no pair; n_u and n_i how
    many pairs of nonzero weight a user and an item have; r_ui = x_ui n_u^-user_scaling n_i^-item_scaling; N(j) the
    `neighbors` items most alike to j by the cosine of their columns of r: each column of weights w is

        w_j = argmin |r_j - sum_i w_ij r_i|^2 / 2 + l2 |w|^2 / 2 + l1 |w|_1,    w >= 0, and w_ij = 0 unless i is in N(j)
        score_uj = n_j^(item_scaling + lift) sum_i x_ui n_i^-item_scaling w_ij

    exact, by block principal pivoting for many items at once. The paper's model has no scaling and no lift: long
    histories and hits then say as much a pair as others, and ranking is as a rule worse for it.
    `l1` makes weights sparse, `l2` spreads them over items that stand for the same. What they mean depends on the scale
    of r: without scaling and with weights of 1 both are numbers of users, some 1 and some 20 to 100 of them; with the
    scaling that is the default a pair counts less, and so do they.

    There is no randomness, and a user's scores come from the history that was sent; disliked items count against what
    they stand for. Only items of positive score are proposed: none to a user without a history, and none that no item
    of it leads to.

    >>> drinks = {"ann": "tea milk", "bob": "tea milk", "cat": "rum cola", "dan": "rum cola", "eve": "tea"}
    >>> pairs = [(user, item) for user, listed in drinks.items() for item in listed.split()]
    >>> data = Dataset.from_arrays(*zip(*pairs))
    >>> model = Slim(l1=0.5, l2=1)
    >>> state = model.fit(data, np.random.default_rng(0))
    >>> from nbarec.testing.worlds import request_for
    >>> data.items.take(model.generate(state, request_for(data, [4]), limit=3).item)
    ['milk']
    """

    name: ClassVar[str] = "slim"
    neighbors: int = param(100, ge=1, doc="Of how many similar items each item may be made.")
    l1: float = param(0.03, ge=0, doc="How much each unit of weight costs: more makes more of them zeros.")
    l2: float = param(3.0, ge=0, doc="How much the square of each weight costs, halved: more spreads them.")
    user_scaling: float = param(0.3, ge=0, le=1, doc="A pair counts n^-user_scaling for a user of n pairs.")
    item_scaling: float = param(0.2, ge=0, le=1, doc="A pair counts n^-item_scaling for an item of n pairs.")
    lift: float = param(
        0.0, ge=-1, le=1, doc="Scores of an item of n pairs are multiplied by n^lift: more favours hits."
    )
    power: float = param(0.0, ge=0, le=1, doc="Weights are raised to it: 1 as they are, 0 all the same but for signs.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> SlimState:
        """The weights of these events; deterministic. Raises ConfigError where they don't fit the memory budget."""
        pairs = weighted_pairs(data.events, self.power)
        items = item_degrees(pairs)
        of_item = degree_power(items, -self.item_scaling)
        scaled = with_factors(pairs, degree_power(pairs.counts, -self.user_scaling), of_item)
        near = _most_alike(scaled, self.neighbors)
        longest = int(near.counts.max(initial=0))
        needed = BYTES_A_WEIGHT * len(near.column) + system_bytes(longest)
        check_memory(self.name, f"items made of up to {longest:,} others", needed, "fewer neighbors")
        weights = nonnegative_nets(scaled, near, self.l1, self.l2)
        out = degree_power(items, self.item_scaling + self.lift)
        return SlimState(with_factors(weights, out, of_item).transpose())

    def update(self, state: SlimState, data: Dataset, new: Dataset) -> SlimState:
        """The weights of all events, as a refit has them. Nothing new changes nothing."""
        if not len(new.events) and state.weights.rows == data.events.n_items:
            return state
        return self.fit(data, np.random.default_rng(0))

    def generate(self, state: SlimState, request: Request, limit: int) -> Candidates:
        """Items of positive score, best first."""
        product = Product(weighted_pairs(request.history, self.power), state.weights.strips, (np.multiply,))
        return best_overlaps(product, lambda met: met.sums[0], request.excluded, limit)

    def evidence(self, state: SlimState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """What each item i of the history adds to the score of j: x_ui w_ij with its scales, exact and together all of
        it."""
        history = weighted_pairs(request.history, self.power)
        return evidence_of_product(history, state.weights, row, item, limit, "you chose {}")


def _most_alike(scaled: SparseRows, neighbors: int) -> SparseRows:
    """The nearest of each column by their cosine, above 0 or below: (columns x columns)."""
    square: Floats64 = scaled.column_sums(np.square(scaled.value))
    signal = Signal(scaled, scaled.transpose(), square)
    return Measure("cosine").nearest(signal, np.arange(scaled.columns), neighbors)


@hookimpl
def nbarec_candidate_generators() -> list[type[Slim]]:
    """The generators of this module."""
    return [Slim]
