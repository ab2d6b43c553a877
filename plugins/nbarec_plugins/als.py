"""Alternating least squares: users and items as vectors whose products say how well they go together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import Bools, Floats32, Floats64, Ints32, Ints64, frozen, row_pointers
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec.products import ItemIndex
from nbarec.scored_pairs import pair_products
from nbarec.sparse import Csr
from nbarec_plugins.als_objectives import Explicit, Implicit, Objective
from nbarec_plugins.als_sweeps import Sides, only_columns
from nbarec_plugins.exact_rows import Form, exact_rows, strongest_terms
from nbarec_plugins.gram import PART_ROWS
from nbarec_plugins.ridge_rows import RidgeRows
from nbarec_plugins.sparse_rows import SparseRows
from nbarec_plugins.turned import Turned

Mode = Literal["implicit", "explicit"]

REGULARIZATION = {"implicit": 0.3, "explicit": 0.1}
"""What `regularization` is where the config leaves it out."""

START = 0.1
"""How long the random vectors are that fitting starts from, about."""

UPDATE_SWEEPS = 2
"""Sweeps over all data that an update takes, from the old item factors."""


@dataclass(frozen=True)
class AlsState:
    """The vectors of the items that events taught something about; K of `n_items`.

    `item` int32 [K]: their positions, ascending; `place` int32 [n_items]: where each item stands there, -1 for none.
    `index` holds their vectors float32 [K, d], ready to be searched; in explicit mode the last column is the item's
    bias, and `mean` that of all weights. `shared` float64 [d, d]: what the normal equations of every user hold.
    """

    item: Ints32
    place: Ints32
    index: ItemIndex
    shared: Floats64
    mean: float

    @property
    def factors(self) -> Floats32:
        """The vectors: float32 [K, d]."""
        return self.index.items

    @cached_property
    def form(self) -> Form:
        """`shared`, ready to solve with: found by the first request."""
        return Form.of(self.shared)


@dataclass(frozen=True)
class Als(CandidateGenerator[AlsState]):
    """Scores item i for user u by the product x_u . y_i of two learnt vectors.

    `mode: implicit` (Hu, Koren, Volinsky 2008) minimises

        sum over all u, i of c_ui (p_ui - x_u . y_i)^2 + sum over u of ridge_u |x_u|^2 + sum over i of ridge_i |y_i|^2

    where p_ui is 1 if the pair's combined weight is positive, else 0, and c_ui = unobserved + confidence |weight|. So
    a pair of negative weight is a zero that is believed by its size, and one of weight 0 is as if it had no event.
    ridge_u = regularization (n_u + unobserved n_items)^scaling with n_u the pairs of nonzero weight and n_items the
    items that have one of positive weight; ridge_i likewise over users. `scaling: 0` is the plain constant of 2008.
    In Rendle, Krichene, Zhang, Koren (2021) all pairs have the unobserved weight a with target 0, and observed ones
    have weight 1 with target 1 beside it: their (a, lambda, nu) is `unobserved: a, confidence: 1, scaling: nu` and
    `regularization: (1 + a) lambda` here, which only scales all scores by 1 + a.

    `mode: explicit` takes weights as ratings (Zhou, Wilkinson, Schreiber, Pan 2008, with biases) and minimises

        sum over rated u, i of (weight - mean - b_u - b_i - x_u . y_i)^2
            + regularization (sum over u of n_u (|x_u|^2 + b_u^2) + sum over i of n_i (|y_i|^2 + b_i^2))

    The score is mean + b_u + b_i + x_u . y_i, an estimate of the rating; pairs of weight 0 are ratings of 0.

    The defaults suit some thousand items of which most users have dozens. A wide catalogue of which each user knows
    little wants less regularization and a smaller `unobserved`, such as 0.003 and 0.03 with `scaling: 1`.

    Each sweep solves for all users, then for all items, by a few steps of conjugate gradients from the last sweep's
    vectors. No user is stored: the history of the request is solved exactly for the item vectors, so a new user is
    served like any. A history without a pair of positive weight (explicit: without any pair) of an item that has a
    vector yields nothing. Items without such a pair of any user have no vector and are not proposed; nor are, in
    implicit mode, those whose vector shrank to zero because the regularization outweighs all that their events say.

    >>> drinks = {"ann": "tea milk", "bob": "tea milk", "cat": "rum cola", "dan": "rum cola", "eve": "tea"}
    >>> pairs = [(user, item) for user, listed in drinks.items() for item in listed.split()]
    >>> data = Dataset.from_arrays(*zip(*pairs))
    >>> model = Als(factors=2)
    >>> state = model.fit(data, np.random.default_rng(0))
    >>> from nbarec.testing.worlds import request_for
    >>> data.items.take(model.generate(state, request_for(data, [4]), limit=1).item)
    ['milk']
    """

    name: ClassVar[str] = "als"
    mode: Mode = param("implicit", doc="implicit: weights say how sure a liking is. explicit: weights are ratings.")
    factors: int = param(64, ge=1, doc="Length of each vector.")
    iterations: int = param(15, ge=1, doc="Sweeps: each solves for all users, then for all items.")
    regularization: float | None = param(
        None, gt=0, doc="How strongly vectors are drawn towards zero; left out: 0.3 (implicit) or 0.1 (explicit)."
    )
    confidence: float = param(1.0, gt=0, doc="implicit only: how much an event's weight counts against no event.")
    unobserved: float = param(0.3, ge=0, doc="implicit only: how much a pair without events counts as a zero.")
    scaling: float = param(
        0.5, ge=0, le=1, doc="implicit only: 1 draws users and items by how many events they have, 0 all alike."
    )
    cg_steps: int = param(
        2,
        ge=1,
        doc="Steps of conjugate gradients in each half of a sweep; one less in early ones, one more in the last.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode == "explicit":
            for name in ("confidence", "unobserved", "scaling"):
                if getattr(self, name) != getattr(Als, name):
                    raise ValueError(f"{name} has no part in mode: explicit; leave it out, or use mode: implicit")

    def _objective(self, mean: float) -> Objective:
        strength = REGULARIZATION[self.mode] if self.regularization is None else self.regularization
        if self.mode == "explicit":
            return Explicit(self.factors + 1, strength, mean)
        return Implicit(self.factors, strength, self.confidence, self.unobserved, self.scaling)

    def fit(self, data: Dataset, rng: np.random.Generator) -> AlsState:
        """The items' vectors, from small random ones; the same for the same `rng`."""
        return self._learnt(data.events, partial(self._draw, rng), self.iterations, self.cg_steps)

    def _draw(self, rng: np.random.Generator, items: Floats32) -> None:
        """Small random vectors into `items` float32 [n_items, d], part by part: no second copy is held."""
        for first in range(0, len(items), PART_ROWS):
            part = items[first : first + PART_ROWS, : self.factors]
            part[:] = rng.standard_normal(part.shape, dtype=np.float32)
            part *= np.float32(START / np.sqrt(self.factors))

    def update(self, state: AlsState, data: Dataset, new: Dataset) -> AlsState:
        """Two sweeps over all data from the old item vectors, of twice the steps: not a refit, but close to one.

        A new item begins at its users' vectors: the first half of a sweep finds these from the old items. Where there
        are none, as after a fit without events, it is a fit: all would stay at zero. Nothing new changes nothing.
        """
        if not len(state.item):
            return self.fit(data, np.random.default_rng(0))
        if not len(new.events) and len(state.place) == data.events.n_items:
            return state

        def begin(items: Floats32) -> None:
            items[state.item] = state.factors

        return self._learnt(data.events, begin, UPDATE_SWEEPS, 2 * self.cg_steps)

    def _learnt(self, events: Events, begin: Callable[[Floats32], None], sweeps: int, steps: int) -> AlsState:
        """The state after so many sweeps from the item vectors that `begin` writes over zeros float32 [n_items, d]."""
        mean = _mean(events) if self.mode == "explicit" else 0.0
        objective = self._objective(mean)
        with np.errstate(over="ignore", invalid="ignore"):  # `sweep` tells what to do
            sides = Sides.of(objective, events)
            found = Turned.zeros(events.n_items, objective.width)
            begin(found.own[:-1])
            sides.sweep(found, sweeps, steps)
            taught, vectors = sides.taught, found.plain()
            del sides
            return _state(objective, vectors, np.flatnonzero(taught & objective.remains(vectors)), mean)

    def generate(self, state: AlsState, request: Request, limit: int) -> Candidates:
        """The items with the largest scores, best first."""
        vectors, speaks = self._folded_in(state, request)
        served = np.flatnonzero(speaks)
        if not len(served):
            return Candidates.empty(len(request))
        users, level = self._objective(state.mean).asked(vectors[served])
        found = state.index.best(users, limit, _at_places(request.excluded.take_rows(served), state))
        score = found.score + np.repeat(level, np.diff(found.indptr))
        counts = np.zeros(len(request), np.int64)
        counts[served] = np.diff(found.indptr)
        return Candidates(
            frozen(row_pointers(counts)), frozen(state.item[found.item]), frozen(score.astype(np.float32))
        )

    def _folded_in(self, state: AlsState, request: Request) -> tuple[Floats64, Bools]:
        """The vector of each row, float64 [B, d], and whether its history says anything; zeros where it does not."""
        objective = self._objective(state.mean)
        pairs, problem = self._problem(state, request.history)
        return exact_rows(problem, objective.design(state.factors), state.form), objective.speaks(pairs)

    def _problem(self, state: AlsState, history: Events) -> tuple[SparseRows, RidgeRows]:
        """Each row's pairs with items that have a vector, by their places, and what these ask of the row's vector."""
        objective = self._objective(state.mean)
        pairs = only_columns(objective.pairs_of(history), state.place >= 0)
        pairs = replace(pairs, column=state.place[pairs.column], columns=len(state.item))
        return pairs, objective.problem(pairs, len(state.item)).without(objective.offset(state.factors))

    def evidence(self, state: AlsState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """What each item of the history adds to the score (Hu, Koren, Volinsky 2008, section 5): exact.

        In implicit mode y_i' W_u y_j c_uj p_uj, with W_u the inverse of the matrix of the user's normal equations;
        together these are the score. A disliked item adds nothing by itself, p_uj = 0, though it has its part in W_u.
        In explicit mode z_i' W_u z_j (weight - mean - b_j) / n with z = (y, 1) and n the user's ratings; the mean and
        b_i stay in the rest. An item without a vector has no parts.
        """
        rows, of_row = np.unique(row, return_inverse=True)
        objective, place = self._objective(state.mean), state.place[item].astype(np.int64)
        _, problem = self._problem(state, request.history.take_rows(rows))
        design = objective.design(state.factors)
        users, level = objective.asked(exact_rows(problem, design, state.form))
        known = np.flatnonzero(place >= 0)
        of_known, places = of_row[known], place[known]
        score = level[of_row]
        score[known] += pair_products(users, state.factors, of_known, places)
        pair, term, amount = strongest_terms(problem, design, state.form, of_known, places, limit)
        chosen = state.item[problem.column[term]]
        return Evidence.strongest(known[pair], chosen, amount, score, limit, "you chose {}")

    def item_vectors(self, state: AlsState) -> Floats32:
        """The items' vectors, without biases; zeros for an item that has none."""
        vectors = np.zeros((len(state.place), self.factors), np.float32)
        vectors[state.item] = state.factors[:, : self.factors]
        return frozen(vectors)

    def user_vectors(self, state: AlsState, request: Request) -> Floats32:
        """The users' vectors, without biases, solved from the history."""
        return frozen(self._folded_in(state, request)[0][:, : self.factors].astype(np.float32))


def _mean(events: Events) -> float:
    """The mean weight of all pairs; 0 where there are none."""
    weight = events.pair_weights()
    return float(weight.mean()) if len(weight) else 0.0


def _state(objective: Objective, items: Floats32, item: Ints64, mean: float) -> AlsState:
    """The state of the items at positions `item` that have a vector."""
    place = np.full(len(items), -1, np.int32)
    place[item] = np.arange(len(item))
    factors = items if len(item) == len(items) else items[item]
    shared = objective.shared(objective.design(factors))
    return AlsState(frozen(item.astype(np.int32)), frozen(place), ItemIndex.of(factors), frozen(shared), mean)


def _at_places(excluded: Csr, state: AlsState) -> Csr:
    """Excluded items at their places among the state's: (rows x K)."""
    place = state.place[excluded.indices]
    kept = place >= 0
    indptr = row_pointers(np.bincount(excluded.row_of[kept], minlength=excluded.shape[0]))
    shape = (excluded.shape[0], len(state.item))
    return Csr(frozen(indptr), frozen(place[kept]), frozen(excluded.data[kept]), shape)


@hookimpl
def nbarec_candidate_generators() -> list[type[Als]]:
    """The generators of this module."""
    return [Als]
