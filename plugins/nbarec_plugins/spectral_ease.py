"""EASE without its inverse: a linear autoencoder of all items, by the strongest patterns and a straight line below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints32, frozen
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec_plugins.degree_scaling import degree_power, item_degrees, spectrum, weighted_pairs, with_factors
from nbarec_plugins.item_filters import ItemFilter
from nbarec_plugins.truncated_svd import Triplets

NODES = 64
"""Points at which the inverse is compared with the line that stands for it."""

LEAST = 0.02
"""The least diagonal entry of the inverse, in units of 1 / lambda, that a score may be divided by."""


@dataclass(frozen=True)
class SpectralEaseState:
    """`filter`: the strongest patterns in its vectors, the straight line through the users, and what takes out of an
    item's score what the item itself would say."""

    filter: ItemFilter


@dataclass(frozen=True)
class SpectralEase(CandidateGenerator[SpectralEaseState]):
    """Scores an item by the weights with which all others predict it best: EASE (Steck 2019) on the matrix of users and
    items scaled by their numbers of pairs, for catalogues too large for an inverse of items by items.

    Let x_ui be a pair's weight to the power of `power`, keeping its sign, and 0 where there is no pair; n_u and n_i how
    many pairs of nonzero weight a user and an item have; R the matrix of r_ui = x_ui / (n_u^user_scaling
    n_i^item_scaling), sigma its singular values, and lambda = `regularization` sigma_1^2. With P = (R'R + lambda I)^-1,

        score_ui = - n_i^lift sum over j, other than i, of x_uj n_j^-item_scaling P_ji / P_ii.

    P is not formed. Over what the first `factors` singular vectors V leave unseen of the spectrum, the squares s in
    [0, sigma_f^2], -1 / (s + lambda) is nearly the straight line c0 + c1 s (least squares at 64 Chebyshev nodes), so

        -P = c0 I + c1 R'R + V diag(-1 / (sigma^2 + lambda) - c0 - c1 sigma^2) V'.

    With as many factors as R has rank this is exact, and with both exponents and the lift 0 it is `ease` of the same
    lambda. P_ii is taken for at least 0.02 / lambda, or for 1 / (sigma_1^2 + lambda), below which it never is, where
    that is less. The middle term goes through the users whom items share, exactly.

    There is no training but one truncated decomposition, and a user's scores come from the history that was sent. Only
    items of positive score are proposed: none to a user without a history, and none that nobody has.

    >>> drinks = {"ann": "tea milk", "bob": "tea milk", "cat": "rum cola", "dan": "rum cola", "eve": "tea"}
    >>> pairs = [(user, item) for user, listed in drinks.items() for item in listed.split()]
    >>> data = Dataset.from_arrays(*zip(*pairs))
    >>> model = SpectralEase(factors=2)
    >>> state = model.fit(data, np.random.default_rng(0))
    >>> from nbarec.testing.worlds import request_for
    >>> data.items.take(model.generate(state, request_for(data, [4]), limit=1).item)
    ['milk']
    """

    name: ClassVar[str] = "spectral_ease"
    factors: int = param(512, ge=1, doc="How many singular vectors are kept; the line stands for all others.")
    regularization: float = param(0.1, gt=0, doc="lambda, as a share of the largest squared singular value.")
    user_scaling: float = param(0.3, ge=0, le=1, doc="A pair counts n^-user_scaling for a user of n pairs.")
    item_scaling: float = param(0.2, ge=0, le=1, doc="A pair counts n^-item_scaling for an item of n pairs.")
    lift: float = param(
        0.1, ge=-1, le=1, doc="Scores of an item of n pairs are multiplied by n^lift: more favours hits."
    )
    power: float = param(0.0, ge=0, le=1, doc="Weights are raised to it: 1 as they are, 0 all the same but for signs.")
    tolerance: float = param(
        0.005, gt=0, lt=1, doc="Share of the patterns' strength that may be missing; less is more exact, and slower."
    )

    def fit(self, data: Dataset, rng: np.random.Generator) -> SpectralEaseState:
        """The patterns and the line of these events; `rng` serves the decomposition's first directions alone.

        Raises ConfigError where the decomposition does not fit the memory budget.
        """
        pairs = weighted_pairs(data.events, self.power)
        items = item_degrees(pairs)
        of_user, of_item = degree_power(pairs.counts, -self.user_scaling), degree_power(items, -self.item_scaling)
        scaled = with_factors(pairs, of_user, of_item)
        found = spectrum(scaled, self.factors, rng, self.tolerance, self.name)
        users = with_factors(pairs, of_user, np.ones(pairs.columns)).transpose()
        truncated = len(found.value) == self.factors < min(scaled.rows, scaled.columns)
        inverse = _Inverse.of(found, self.regularization, truncated)
        bent = inverse.bent(scaled.column_sums(np.square(scaled.value)))
        divisor = np.maximum(-inverse.offset - bent, inverse.least)
        out = degree_power(items, self.lift) / divisor
        return SpectralEaseState(
            ItemFilter(
                vectors=frozen((inverse.vectors * out[:, None]).astype(np.float32)),
                gain=frozen(inverse.gain),
                inside=frozen(of_item * degree_power(items, -self.lift) * divisor),
                users=users,
                via=frozen(of_item**2),  # x is scaled, and so is R
                back=frozen(inverse.slope * of_item * out),
                own=frozen(-out * of_item * bent),
            )
        )

    def update(self, state: SpectralEaseState, data: Dataset, new: Dataset) -> SpectralEaseState:
        """The patterns of all events, as a refit has them: there is no shorter way that is as exact.

        Nothing new changes nothing.
        """
        if not len(new.events) and state.filter.users.rows == data.events.n_items:
            return state
        return self.fit(data, np.random.default_rng(0))

    def generate(self, state: SpectralEaseState, request: Request, limit: int) -> Candidates:
        """Items of positive score, best first."""
        return state.filter.best(weighted_pairs(request.history, self.power), limit, request.excluded)

    def evidence(
        self, state: SpectralEaseState, request: Request, row: Ints32, item: Ints32, limit: int = 3
    ) -> Evidence:
        """What each item j of the history adds to the score of i, -x_uj n_j^-item_scaling n_i^lift P_ji / P_ii: exact,
        and together all of it. What disliked items say for an item, by being unlike it, is in the rest."""
        return state.filter.evidence(weighted_pairs(request.history, self.power), row, item, limit)

    def item_vectors(self, state: SpectralEaseState) -> Floats32:
        """Each item's share in the strongest patterns, v_i n_i^lift / P_ii: float32 [items, f]; zeros for an item that
        nobody has."""
        return state.filter.vectors


@dataclass(frozen=True)
class _Inverse:
    """-P = `offset` I + `slope` R'R + V diag(`gain`) V', `vectors` V float32 [items, f], `gain` float64 [f]; `least` is
    what an entry of P's diagonal is taken for, if it is smaller."""

    vectors: Floats32
    gain: Floats64
    offset: float
    slope: float
    least: float

    @classmethod
    def of(cls, found: Triplets, regularization: float, truncated: bool) -> _Inverse:
        """Of the largest triplets of R; `truncated`: there may be others."""
        square = np.square(found.value)
        if not len(square):  # nobody has anything
            return cls(np.zeros((len(found.right), 1), np.float32), np.zeros(1), -1.0, 0.0, 1.0)
        ridge = regularization * float(square[0])
        offset, slope = _line(float(square[-1]), ridge) if truncated else (-1 / ridge, 0.0)
        gain = -1 / (square + ridge) - offset - slope * square
        return cls(found.right, gain, offset, slope, min(LEAST / ridge, 1 / (float(square[0]) + ridge)))

    def bent(self, square_sums: Floats64) -> Floats64:
        """The diagonal of -P - `offset` I: float64 [items]. `square_sums` float64 [items], the diagonal of R'R."""
        patterns = np.einsum("if,f->i", np.square(self.vectors, dtype=np.float64), self.gain)
        return np.asarray(self.slope * square_sums + patterns, np.float64)


def _line(highest: float, ridge: float) -> tuple[float, float]:
    """c0 and c1 of the line nearest to -1 / (s + ridge) for s in [0, highest]: least squares at Chebyshev nodes."""
    node = highest * (1 - np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)) / 2
    wanted = -1 / (node + ridge)
    away = node - node.mean()
    slope = float(away @ wanted / (away @ away))
    return float(wanted.mean() - slope * node.mean()), slope


@hookimpl
def nbarec_candidate_generators() -> list[type[SpectralEase]]:
    """The generators of this module."""
    return [SpectralEase]
