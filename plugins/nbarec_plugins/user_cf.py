"""User-based collaborative filtering: what people with a like history took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64, frozen, row_pointers
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec.sparse import Csr
from nbarec_plugins.best_overlaps import best_overlaps
from nbarec_plugins.contenders import Strength, Wanted, strongest_met
from nbarec_plugins.meetings import Meetings, chosen, in_blocks
from nbarec_plugins.neighbours import Measure
from nbarec_plugins.overlaps import Overlaps, ratios
from nbarec_plugins.row_products import Product, Term, multiplied
from nbarec_plugins.sparse_rows import SparseRows, sums_at

Score = Literal["sum", "mean"]

_TERMS: Mapping[Score, tuple[Term, ...]] = {
    "sum": (np.multiply,),
    "mean": (np.multiply, lambda similarity, _weight: similarity),
}

_BECAUSE = {
    "cosine": "people who chose {} chose it too",
    "pearson": "people who rated {} as you did rated it well",
}

_ONLY_WITH = {
    "alpha": ("similarity", "cosine"),
    "item_discount": ("similarity", "cosine"),
    "popularity_discount": ("score", "sum"),
}
"""Parameters that say something only where another parameter has this value."""


@dataclass(frozen=True)
class UserCfState:
    """What it takes to find the neighbours of any history, and what they say.

    `compared` (items x users) holds the values that users are compared by, `scale` float64 [users] what sums of their
    products with each user are multiplied by, `weights` (users x items) what scores add up. float64 [items] each:
    `rarity` multiplies the weights of a history before they are compared, `lift` multiplies the scores.
    """

    compared: SparseRows
    scale: Floats64
    weights: SparseRows
    rarity: Floats64
    lift: Floats64


@dataclass(frozen=True)
class UserCf(CandidateGenerator[UserCfState]):
    """Scores item i by what the users most like user u did with it (Resnick, Iacovou, Suchak, Bergstrom, Riedl 1994;
    Herlocker, Konstan, Borchers, Riedl 1999).

    The neighbours of u are the `neighbors` training users v of the largest similarity s(u, v) above 0, whatever items
    they have; ties go by user position. Where u is a training user himself, he is none of them. Any other history is
    compared alike, so a new user is served by what he did so far. With x and y the weights of u and v (a pair's events
    combined into one first), n the number of items in common and n_i the training users of item i:

    * `similarity: cosine`: s = sum(x y r) / (sum(x^2 r)^alpha sum(y^2 r)^(1 - alpha)), absent weights 0. With `alpha`
      0.5 that is the cosine; above it, neighbours with long histories gain (the asymmetric form of Aiolli 2013).
      r = n_i^-item_discount: what few people took says more (the idea of the inverse user frequency of Breese,
      Heckerman, Kadie 1998). Pairs of weight 0 say nothing.
    * `similarity: pearson`: the correlation of x and y over the items in common, means over these too. A pair of
      weight 0 is a rating like any other. Where weights do not vary there is no correlation: use it for ratings.

    Either is multiplied by n / (n + shrink), which draws what few items say towards 0. A negative similarity makes no
    neighbour: it is less reliable than a positive one (Desrosiers, Karypis 2011). With sums over the neighbours v that
    have i, and w the weight that v gave it:

    * `score: sum`: sum(s w) n_i^-popularity_discount, for ranking: many who have the item speak louder than few.
    * `score: mean`: sum(s w) / sum(s), an estimate of u's own weight; with pearson the classic prediction of a rating,
      the mean of u's weights + sum(s (w - the mean of v's weights)) / sum(s). One neighbour's word is enough for the
      top of this list, unless `min_neighbors` asks for more.

    An item is proposed where its score is above 0, so negative weights count against it. A history that is empty, or
    shares no item with anybody, yields nothing.

    >>> data = Dataset.from_arrays(["ann", "ann", "bob", "bob", "cem"], ["tea", "milk", "tea", "rusk", "jam"])
    >>> UserCf(item_discount=0, alpha=0.5).fit(data, np.random.default_rng(0)).scale.round(3).tolist()
    [0.707, 0.707, 1.0]
    """

    name: ClassVar[str] = "user_cf"
    state_version: ClassVar[int] = 2
    similarity: Literal["cosine", "pearson"] = param("cosine", doc="How alike two users are; pearson is for ratings.")
    neighbors: int = param(100, ge=1, doc="How many of the most similar users have a say.")
    shrink: float = param(20.0, ge=0, doc="Similarities of n common items are multiplied by n / (n + shrink).")
    alpha: float = param(0.7, ge=0, le=1, doc="cosine only: 0.5 is symmetric; more favours neighbours who took much.")
    item_discount: float = param(0.5, ge=0, doc="cosine only: how much less a popular item says about likeness.")
    score: Score = param("sum", doc="sum ranks by how much neighbours took an item; mean estimates a weight.")
    popularity_discount: float = param(0.2, ge=0, doc="sum only: how much of an item's popularity scores lose.")
    min_neighbors: int = param(1, ge=1, doc="An item is proposed only where so many neighbours have it.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (other, needed) in _ONLY_WITH.items():
            if getattr(self, other) != needed and getattr(self, name) != getattr(type(self), name):
                raise ValueError(
                    f"{name} has no part in {other}: {getattr(self, other)}; leave it out, or use {other}: {needed}"
                )
        if self.min_neighbors > self.neighbors:
            raise ValueError(
                f"min_neighbors must be at most neighbors, which is {self.neighbors}, not {self.min_neighbors}"
            )

    def fit(self, data: Dataset, rng: np.random.Generator) -> UserCfState:
        """Lay out what the training users did; deterministic. Neighbours are found for each request."""
        return self._laid_out(data.events)

    def update(self, state: UserCfState, data: Dataset, new: Dataset) -> UserCfState:
        """Equal to a refit, to the bit: laying out anew is cheap."""
        return self._laid_out(data.events)

    def generate(self, state: UserCfState, request: Request, limit: int) -> Candidates:
        """Items that neighbours of the history have, best first."""
        read = self._read(request.history)
        near = self._nearest(state, read, request.user)
        product = Product(near, state.weights.strips, _TERMS[self.score])
        return best_overlaps(product, self._score(state, read), request.excluded, limit)

    def evidence(self, state: UserCfState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """What each item j of the history adds to the score of item i, through the neighbours that have i.

        s(u, v) is itself a sum over the items in common, x y r of cosine and (x - its mean)(y - its mean) of pearson,
        times what is the same for all of them. So each has its share in s, and the part of j is the sum of its shares
        in s(u, v) w over the neighbours v, with what the score multiplies or divides these by. Where the score starts
        at the mean of u's weights, that mean is in the rest; so is, with cosine, what speaks for i only because u
        turned j down.

        Exact also for items that are not proposed (`min_neighbors` is not looked at); an item that no neighbour has is
        told without parts, as 0.
        """
        rows, at = np.unique(row, return_inverse=True)
        read = self._read(request.history).take_rows(rows.astype(np.int64))
        near = self._nearest(state, read, request.user[rows])

        def told(pairs: slice) -> Evidence:
            return self._told(state, read, near, at[pairs], item[pairs], limit)

        return in_blocks((near.counts * read.counts)[at], told)

    def _laid_out(self, events: Events) -> UserCfState:
        seen = self._read(events)
        users_of = np.maximum(seen.column_sums(np.ones(len(seen.column))), 1)
        rarity = users_of ** (-self.item_discount / 2 if self.similarity == "cosine" else 0.0)
        lift = users_of ** (-self.popularity_discount if self.score == "sum" else 0.0)
        compared = seen.scaled(rarity)
        weights = SparseRows(
            seen.indptr, seen.column, frozen(seen.value - self._means(seen)[seen.row_of]), seen.columns
        )
        scale = _power(_squares(compared), self.alpha - 1)
        return UserCfState(compared.transpose(), frozen(scale), weights, frozen(rarity), frozen(lift))

    def _read(self, events: Events) -> SparseRows:
        """The pairs that count, in rows of users."""
        matrix, weight = events.matrix(), events.pair_weights()
        return SparseRows.from_csr(matrix, (weight != 0) | (self.similarity == "pearson"), weight)

    def _means(self, read: SparseRows) -> Floats64:
        """What each user's weights are seen relative to: float64 [rows]."""
        if self.similarity == "cosine" or self.score == "sum":
            return np.zeros(read.rows)
        return sums_at(read.row_of, read.value, read.rows) / np.maximum(read.counts, 1)

    def _nearest(self, state: UserCfState, read: SparseRows, user: Ints32) -> SparseRows:
        """The neighbours of each history and how similar they are: (B x training users).

        `read` holds the histories, `user` int32 [B] the training users whose they are, -1 where nobody's.
        """
        compared, measure = read.scaled(state.rarity), Measure(self.similarity, self.shrink)
        own = _power(_squares(compared), -self.alpha)

        def strength(met: Overlaps) -> Floats64:
            return measure.strength(met, own, state.scale)

        product = Product(compared, state.compared.strips, measure.terms)
        wanted = Wanted(self.neighbors, _themselves(user, len(state.scale)), measure.least)
        return strongest_met(product, strength, wanted)

    def _score(self, state: UserCfState, read: SparseRows) -> Strength:
        """What scores the entries of a block; `read` holds the histories."""
        mean = self._means(read)

        def score(met: Overlaps) -> Floats64:
            if self.score == "sum":
                found = met.sums[0] * met.of_columns(state.lift)
            else:
                found = met.of_rows(mean) + ratios(met.sums[0], met.sums[1])
                found[met.sums[1] == 0] = 0
            if self.min_neighbors > 1:
                found[met.common < self.min_neighbors] = 0
            return found

        return score

    def _told(
        self, state: UserCfState, read: SparseRows, near: SparseRows, row: Ints64, item: Ints32, limit: int
    ) -> Evidence:
        """The evidence of pairs of a row of `read`, int64 [M], and an item, int32 [M]; `near` as `_nearest` gives."""
        met, pairs = Meetings.of(near, state.weights, row, item), len(item)
        alike = near.value[met.left]
        start, factor = np.zeros(pairs), state.lift[item]
        if self.score == "mean":
            start, factor = _of_means(self._means(read)[row], sums_at(met.pair, alike, pairs))
        said = met.value * factor[met.pair]
        entry, which = np.unique(met.left, return_inverse=True)
        indptr = row_pointers(np.bincount(met.pair, minlength=pairs))
        words = SparseRows(indptr, which.astype(np.int32), said, len(entry))
        told = multiplied(words, self._shares(state, read, near, entry))
        pair, part, amount = told.row_of, told.column, told.value
        score = start + sums_at(met.pair, alike * said, pairs)
        at = chosen(read.value[part], amount) if self.similarity == "cosine" else np.arange(len(part))
        because = _BECAUSE[self.similarity]
        return Evidence.strongest(pair[at], read.column[part[at]], amount[at], score, limit, because)

    def _shares(self, state: UserCfState, read: SparseRows, near: SparseRows, entry: Ints64) -> SparseRows:
        """What each entry of the history adds to some of the similarities in `near`: (entries x entries of `read`).

        `entry` int64 [entries] says which. Where it is above 0 a similarity is its numerator times the same for all.
        """
        mine = read.scaled(state.rarity)
        met = Meetings.of(mine, state.compared, near.row_of[entry], near.column[entry])
        pair, x, y = met.pair, mine.value[met.left], met.value
        counts = np.bincount(pair, minlength=len(entry))
        product = x * y
        numerator = sums_at(pair, product, len(entry))
        if self.similarity == "pearson":
            sum_x, sum_y = sums_at(pair, x, len(entry)), sums_at(pair, y, len(entry))
            numerator = numerator - sum_x * sum_y / counts
            product = (x - (sum_x / counts)[pair]) * (y - (sum_y / counts)[pair])
        share = product * (near.value[entry] / numerator)[pair]
        return SparseRows(row_pointers(counts), met.left.astype(np.int32), share, len(read.column))


def _of_means(mean: Floats64, divisor: Floats64) -> tuple[Floats64, Floats64]:
    """What predictions start from and what they multiply sum(s w) by, 0 where nobody has the item: float64 [M] both.

    `mean` float64 [M] is that of the user's own weights, `divisor` float64 [M] the sum of s, 0 without a neighbour.
    """
    there = divisor > 0
    return np.where(there, mean, 0.0), np.divide(1.0, divisor, out=np.zeros(len(divisor)), where=there)


def _themselves(user: Ints32, users: int) -> Csr:
    """Each user as the one entry of his row, where he was there at the fit: (B x users)."""
    known = (user >= 0) & (user < users)
    indptr = row_pointers(known)
    return Csr(indptr, user[known], np.ones(int(indptr[-1]), np.float32), (len(user), users))


def _power(size: Floats64, exponent: float) -> Floats64:
    """size^exponent, 0 where size is 0: float64."""
    return np.power(size, exponent, out=np.zeros(len(size)), where=size > 0)


def _squares(rows: SparseRows) -> Floats64:
    """The sum of each row's squared values, added up in order: float64 [rows]."""
    return sums_at(rows.row_of, rows.value**2, rows.rows)


@hookimpl
def nbarec_candidate_generators() -> list[type[UserCf]]:
    """The generators of this module."""
    return [UserCf]
