"""Random walks over the graph of users and items: user, item, user, item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints32, Ints64, frozen
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec_plugins.best_overlaps import best_overlaps
from nbarec_plugins.meetings import evidence_of_product
from nbarec_plugins.neighbours import nearest_by
from nbarec_plugins.overlaps import Overlaps
from nbarec_plugins.row_products import Product, Term
from nbarec_plugins.sparse_rows import SparseRows, row_digests, sums_at

_PRODUCT: tuple[Term, ...] = (np.multiply,)


@dataclass(frozen=True)
class WalkState:
    """`steps` holds where two steps from each item lead, and how likely: its best items (items x items).

    int64 [items] and [users], `item_digest` and `user_digest` hash what each item's and each user's steps are.
    """

    steps: SparseRows
    item_digest: Ints64
    user_digest: Ints64


@dataclass(frozen=True)
class _Graph:
    """One step: `to_users` (items x users) holds P(i -> v)^alpha, `to_items` (users x items) P(v -> j)^alpha, and
    `discount` float64 [items] is n_j^-beta, where n_j users have j."""

    to_users: SparseRows
    to_items: SparseRows
    discount: Floats64

    @classmethod
    def of(cls, events: Events, power: float, alpha: float, beta: float) -> _Graph:
        edges = _edges(events, power)
        users = edges.transpose()
        discount = np.power(np.maximum(users.counts, 1).astype(np.float64), -beta)
        return cls(_chances(users, alpha), _chances(edges, alpha), discount)

    def digests(self) -> tuple[Ints64, Ints64]:
        """Of the steps from each item, and from each user, discounts included: int64 [items], [users]."""
        led = self.to_items
        return row_digests(self.to_users), row_digests(_with(led, led.value * self.discount.take(led.column)))

    def best_steps(self, items: Ints64, neighbors: int, *, normalize: bool) -> SparseRows:
        """Where two steps from each of `items` int64 [M] lead, its `neighbors` best: (M x items)."""

        def strength(met: Overlaps) -> Floats64:
            return np.asarray(met.sums[0] * met.of_columns(self.discount), np.float64)

        left = self.to_users if len(items) == self.to_users.rows else self.to_users.take_rows(items)
        best = nearest_by(Product(left, self.to_items.strips, _PRODUCT), strength, items, neighbors)
        return _chances(best, 1.0) if normalize else best


@dataclass(frozen=True)
class _Walk(CandidateGenerator[WalkState]):
    """What both walks do. Subclasses say what `_beta` is."""

    neighbors: int = param(500, ge=1, doc="How many of the items that two steps from an item lead to are kept.")
    alpha: float = param(1.0, ge=0, doc="The chance of each step is raised to it.")
    normalize: bool = param(False, doc="Whether the kept steps from each item are divided by their sum.")
    power: float = param(
        0.0, ge=0, le=1, doc="Weights are raised to it: 0 is the plain graph, 1 walks in proportion to weights."
    )

    @property
    def _beta(self) -> float:
        return 0.0

    def _graph(self, events: Events) -> _Graph:
        return _Graph.of(events, self.power, self.alpha, self._beta)

    def fit(self, data: Dataset, rng: np.random.Generator) -> WalkState:
        """Where two steps from every item lead; deterministic."""
        graph = self._graph(data.events)
        every = np.arange(data.events.n_items)
        return WalkState(graph.best_steps(every, self.neighbors, normalize=self.normalize), *graph.digests())

    def update(self, state: WalkState, data: Dataset, new: Dataset) -> WalkState:
        """Equal to a refit, to the bit; walks anew from the items whose users, or what these have, are not the same.

        What is not the same is found by comparing digests, so anything that changes an old step is seen as well.
        """
        graph = self._graph(data.events)
        item_digest, user_digest = graph.digests()
        changed_users = np.flatnonzero(_changed(state.user_digest, user_digest))
        stale = _changed(state.item_digest, item_digest)
        stale[graph.to_items.take_rows(changed_users).column] = True
        rows = np.flatnonzero(stale)
        fresh = graph.best_steps(rows, self.neighbors, normalize=self.normalize)
        return WalkState(state.steps.replaced(rows, fresh, len(stale)), item_digest, user_digest)

    def generate(self, state: WalkState, request: Request, limit: int) -> Candidates:
        """The items where walks are most likely to end, best first."""
        product = Product(self._first_step(request), state.steps.strips, _PRODUCT)
        return best_overlaps(product, lambda met: met.sums[0], request.excluded, limit)

    def evidence(self, state: WalkState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """What the walks over each item i of the history add: P(u -> i)^alpha times the chance from i to the item."""
        return evidence_of_product(self._first_step(request), state.steps, row, item, limit, "you chose {}")

    def _first_step(self, request: Request) -> SparseRows:
        return _chances(_edges(request.history, self.power), self.alpha)


@dataclass(frozen=True)
class P3Alpha(_Walk):
    """Scores item j by how likely a walk from user u is to end there after three steps: to an item of u's history, to a
    user who has it, to an item of that user (P3alpha: Cooper, Lee, Radinsky, Siantos 2014, "Random walks in recommender
    systems: exact computation and simulations").

    With w the weights of pairs, raised to `power`, where they are above 0 (other pairs are no edges; a pair's events
    are combined first), P(u -> i) = w_ui / sum_k w_uk and P(i -> v) = w_vi / sum_x w_xi:

        score_uj = sum_i P(u -> i)^alpha S_ij,    S_ij = sum_v P(i -> v)^alpha P(v -> j)^alpha

    Of each row of S the `neighbors` largest entries are kept, i itself not among them; with `normalize` they are then
    divided by their sum. So much is done in the comparison of Ferrari Dacrema, Boglio, Cremonesi, Jannach (2021), where
    few models that were trained are better. `alpha: 1` is the plain walk; less makes steps more alike.

    A walk starts from the history that was sent, so a new user is nothing special; without a history there is none,
    and an item that shares no user with it is not proposed.

    >>> data = Dataset.from_arrays(["ann", "ann", "bob", "bob", "bob"], ["tea", "milk", "tea", "rusk", "jam"])
    >>> steps = P3Alpha().fit(data, np.random.default_rng(0)).steps.take_rows(data.items.index(["tea"]))
    >>> dict(zip(data.items.take(steps.column), steps.value.round(3).tolist()))
    {'jam': 0.167, 'milk': 0.25, 'rusk': 0.167}
    """

    name: ClassVar[str] = "p3alpha"


@dataclass(frozen=True)
class Rp3Beta(_Walk):
    """`p3alpha` with less for what is popular anyway (RP3beta: Paudel, Christoffel, Newell, Bernstein 2017, "Updatable,
    accurate, diverse, and scalable recommendations for interactive applications").

    With n_j how many users have item j, everything else as in `p3alpha`, the entries

        S_ij = n_j^-beta sum_v P(i -> v)^alpha P(v -> j)^alpha

    take the place of S: the walk alone leads to hits, and `beta` draws it back. `beta: 0` is `p3alpha`; the paper has
    alpha 1 and moves beta, the comparison of Ferrari Dacrema, Boglio, Cremonesi, Jannach (2021) moves both.

    >>> drinks = {"ann": "tea milk", "bob": "tea milk", "cat": "tea rum", "dan": "milk", "eve": "milk"}
    >>> pairs = [(user, item) for user, listed in drinks.items() for item in listed.split()]
    >>> data = Dataset.from_arrays(*zip(*pairs))
    >>> tea, nobody = data.items.index(["tea"]), np.random.default_rng(0)
    >>> [data.items.take(Rp3Beta(alpha=1, beta=beta, neighbors=1).fit(data, nobody).steps.take_rows(tea).column)
    ...  for beta in (0.0, 1.0)]
    [['milk'], ['rum']]
    """

    name: ClassVar[str] = "rp3beta"
    alpha: float = param(0.6, ge=0, doc="The chance of each step is raised to it.")
    beta: float = param(0.4, ge=0, doc="How much of an item's popularity its chance is discounted by.")

    @property
    def _beta(self) -> float:
        return self.beta


def _edges(events: Events, power: float) -> SparseRows:
    """The pairs of positive weight, raised to `power`."""
    weight = events.pair_weights()
    liked = weight > 0
    return SparseRows.from_csr(events.matrix(), liked, np.power(weight, power, out=np.zeros(len(weight)), where=liked))


def _chances(rows: SparseRows, alpha: float) -> SparseRows:
    """Each value above 0, divided by the sum of its row and raised to `alpha`."""
    total = sums_at(rows.row_of, rows.value, rows.rows)
    return _with(rows, np.power(rows.value / total.take(rows.row_of), alpha))


def _with(rows: SparseRows, value: Floats64) -> SparseRows:
    """The same entries with other values."""
    return SparseRows(rows.indptr, rows.column, frozen(value), rows.columns)


def _changed(before: Ints64, now: Ints64) -> Bools:
    """Where a digest is another one; what is new was 0 before: bool [now]."""
    padded = np.zeros(len(now), np.int64)
    padded[: len(before)] = before
    return np.asarray(padded != now)


@hookimpl
def nbarec_candidate_generators() -> list[type[CandidateGenerator[WalkState]]]:
    """The generators of this module."""
    return [P3Alpha, Rp3Beta]
