"""Bayesian personalised ranking: vectors of items, learnt so that a history is nearer to its items than to others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints32, Ints64, frozen
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec.products import ItemIndex
from nbarec.progress import track
from nbarec.scored_pairs import pair_products
from nbarec_plugins.bpr_batches import Draws, batches_of, history_pairs
from nbarec_plugins.bpr_steps import Drawn, Slope, UnitSteps, to_unit
from nbarec_plugins.degree_scaling import check_memory, degree_power, item_degrees, spectrum, with_factors
from nbarec_plugins.history_terms import strongest_terms
from nbarec_plugins.sparse_products import PaddedRows
from nbarec_plugins.sparse_rows import SparseRows

SHARED = 1024
"""Items drawn for a batch at least, if there are so many: all its users share them, in groups of `negatives`."""

WARM_SCALING, WARM_TOLERANCE = 0.4, 0.02
"""The decomposition to start from: how pairs are scaled, and how exact it is. Training takes it from there."""

NOISE = 0.1
"""The share of random numbers in what training starts from: no item and no coordinate starts at zero."""

STEPS = 16
"""Steps of an epoch at least: with few pairs, batches are smaller than they may be."""

PAIR_BYTES = 80
"""What a pair takes while it is learnt from: its place in both layouts, and its part of a batch."""


@dataclass(frozen=True)
class BprState:
    """`index` holds e_i, of length 1, and b_i behind it, ready to be searched: float32 [items, f + 1], zeros for an
    item that nobody chose; `share` float64 [items] n_i^-balance, 0 for such an item; `loss` float64 [epochs]: the mean
    over all pairs."""

    index: ItemIndex
    share: Floats64
    loss: Floats64

    @property
    def vectors(self) -> Floats32:
        """e float32 [items, f]."""
        return self.index.items[:, :-1]


@dataclass(frozen=True)
class Bpr(CandidateGenerator[BprState]):
    """Ranks the items of each user above those that he never chose (BPR: Rendle, Freudenthaler, Gantner,
    Schmidt-Thieme 2009), over vectors of items alone.

    Let x_uj be a pair's weight to the power of `power`, where it is positive, and n_j how many such pairs an item has.
    Item i has a vector e_i of length 1, and a user the direction of what he chose:

        h_u = sum_j x_uj n_j^-balance e_j,    score_ui = cos(h_u, e_i) + b_i,    b_i = temperature popularity ln n_i

    so that nobody has a vector of his own: a new user, or one with new events, is served by the same formula that was
    learnt (as in FISM: Kabbur, Ning, Karypis 2013). Learning draws i closer to the history that it is part of, without
    it, and the items N that were drawn for the pair, none of them u's own, away: it minimises

        - sum over pairs u, i of ln sigmoid((s_ui - S) / temperature),    s_ui = cos(h_u - x_ui n_i^-balance e_i, e_i)
        S = temperature ln sum over j in N of exp(cos(h_u, e_j) / temperature)

    With `negatives: 1` this is the criterion of 2009, a pair of items at a time. With more, S is near the largest
    cosine among them, and what is hard to tell apart teaches most, as in dynamic negative sampling (Zhang, Chen, Wang,
    Yu 2013); it is the sampled softmax then (Wu et al. 2022).

    Items are drawn for N about in proportion to n_j^popularity, each once. So popular ones, which stand high in the
    lists, are learnt about more, and are pushed away more. The bias b_i gives that back (the correction of a sampled
    softmax: Bengio, Senecal 2008; Yi et al. 2019). It is added to scores alone, whole even where N is most of a small
    catalogue and so drawn nearly alike: vectors of one length tell too little of how popular an item is.

    Lengths are fixed, which does what L2 regularisation does elsewhere; a higher `temperature` fits the pairs less
    closely. Batches of users share the drawn items. Steps are Adam's (Kingma, Ba 2015), their size falls to zero on
    half a cosine (Loshchilov, Hutter 2017). With `warm_start` they begin at the singular vectors of items of
    `pure_svd`, times the singular values.

    Pairs without a positive weight count as none. Only items of positive score are proposed: none to a user without a
    history, and none that nobody chose.

    >>> drinks = {"ann": "tea milk", "bob": "tea milk", "cat": "rum cola", "dan": "rum cola", "eve": "tea"}
    >>> pairs = [(user, item) for user, listed in drinks.items() for item in listed.split()]
    >>> data = Dataset.from_arrays(*zip(*pairs))
    >>> model = Bpr(factors=2)
    >>> state = model.fit(data, np.random.default_rng(0))
    >>> from nbarec.testing.worlds import request_for
    >>> data.items.take(model.generate(state, request_for(data, [4]), limit=3).item)
    ['milk']
    """

    name: ClassVar[str] = "bpr"
    factors: int = param(64, ge=1, doc="Length of each vector.")
    epochs: int = param(20, ge=1, doc="How often all pairs are learnt from.")
    learning_rate: float = param(0.02, gt=0, le=1, doc="Size of the first steps, in each coordinate of a vector.")
    negatives: int = param(1024, ge=1, doc="Items that each pair's item is ranked above, together; 1 is the plain BPR.")
    popularity: float = param(
        0.75,
        ge=0,
        le=1,
        doc="They are drawn about in proportion to n_j to this power, and scores have its logarithm; 0: all alike.",
    )
    temperature: float = param(0.1, ge=0.03, le=10, doc="Difference of cosines that counts as clear.")
    balance: float = param(0.2, ge=0, le=1, doc="An item that n users chose weighs n^-balance in a history.")
    power: float = param(0.0, ge=0, le=1, doc="Weights are raised to it: 1 as they are, 0 all the same.")
    batch_size: int = param(16384, ge=1, doc="Pairs to a step, about; fewer where an epoch would have under 16 steps.")
    warm_start: bool = param(True, doc="Begin at the singular vectors of the pairs, not at random.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> BprState:
        """The items' vectors; the same bits for the same `rng`. Raises ConfigError where they don't fit the memory."""
        pairs = self._pairs(data.events)
        degrees = item_degrees(pairs)
        chosen = np.flatnonzero(degrees)
        needed = 24 * len(chosen) * self.factors + PAIR_BYTES * len(pairs.column)
        what = f"{len(chosen):,} vectors of {self.factors:,} factors and {len(pairs.column):,} pairs"
        check_memory(self.name, what, needed, "fewer factors")
        place = np.full(len(degrees), -1)
        place[chosen] = np.arange(len(chosen))
        pairs = history_pairs(pairs, place, len(chosen))
        learnt, loss = self._learnt(pairs, degrees[chosen], rng)
        vectors = np.zeros((len(degrees), self.factors + 1), np.float32)
        vectors[chosen, :-1] = learnt
        vectors[chosen, -1] = self.temperature * self.popularity * np.log(degrees[chosen])
        return BprState(ItemIndex.of(vectors), frozen(degree_power(degrees, -self.balance)), frozen(loss))

    def _learnt(self, pairs: SparseRows, degrees: Ints64, rng: np.random.Generator) -> tuple[Floats32, Floats64]:
        """e float32 [items, f] of items that have pairs, and the mean loss of each epoch; `pairs` x, `degrees` n."""
        steps = UnitSteps(self._start(pairs, degrees, rng))
        weighed = pairs.scaled(degree_power(degrees, -self.balance))
        size = max(min(self.batch_size, len(weighed.column) // STEPS), 1)
        batches = list(batches_of(weighed, size, rng))
        taught = max(sum(len(batch.item) for batch in batches), 1)
        draws = Draws(degree_power(degrees, self.popularity))
        group = min(self.negatives, len(degrees))
        drawn = group * max(1, min(SHARED, len(degrees)) // max(group, 1))
        loss, total = np.zeros(self.epochs), max(self.epochs * len(batches), 1)
        with track("bpr epochs", self.epochs) as advance:
            # One step a batch: each starts from the one before.
            for epoch in range(self.epochs):
                for at in rng.permutation(len(batches)).tolist():
                    rate = self.learning_rate * (1 + math.cos(math.pi * steps.taken / total)) / 2
                    batch = batches[at]
                    others = Drawn.of(draws(drawn, rng), group, len(batch.item), rng)
                    ascent, lost = Slope(batch, steps.vectors, others, self.temperature).ascent()
                    steps.move(ascent, rate)
                    loss[epoch] += lost / taught
                advance(1)
        return steps.vectors, loss

    def _start(self, pairs: SparseRows, degrees: Ints64, rng: np.random.Generator) -> Floats32:
        """Vectors of length 1 to start from: float32 [items, f]."""
        start = rng.standard_normal((pairs.columns, self.factors), dtype=np.float32)
        to_unit(start)
        if self.warm_start and pairs.columns:
            of_user, of_item = degree_power(pairs.counts, -WARM_SCALING), degree_power(degrees, -WARM_SCALING)
            found = spectrum(with_factors(pairs, of_user, of_item), self.factors, rng, WARM_TOLERANCE, self.name)
            warm = found.right * found.value.astype(np.float32)
            to_unit(warm)
            start *= np.float32(NOISE)
            start[:, : warm.shape[1]] += warm
            to_unit(start)
        return start

    def generate(self, state: BprState, request: Request, limit: int) -> Candidates:
        """Items of positive score, best first."""
        users, _ = self._directions(state, self._weighed(state, request.history))
        return state.index.best(users, limit, request.excluded, above=0.0)

    def evidence(self, state: BprState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """What each item j of the history adds to the score of i: x_uj n_j^-balance e_j . e_i / |h_u|, exact. It may be
        negative, where i is unlike j. All of it together leaves b_i in the rest."""
        weighed = self._weighed(state, request.history)
        users, size = self._directions(state, weighed)
        part = weighed.value / size.take(weighed.row_of)

        def added(term: Ints64, of_item: Ints64) -> Floats64:
            own, where = np.unique(term, return_inverse=True)
            vectors = state.index.items.take(weighed.column[own], axis=0) * part[own, None]
            vectors[:, -1] = 0.0
            return pair_products(vectors, state.index.items, where, of_item)

        pair, term, amount, score = strongest_terms(weighed, row.astype(np.int64), item.astype(np.int64), limit, added)
        score += users[row, -1] * state.index.items[item, -1]
        return Evidence.strongest(pair, weighed.column[term], amount, score, limit, "you chose {}")

    def item_vectors(self, state: BprState) -> Floats32:
        """e, without biases: float32 [items, f]; zeros for an item that nobody chose."""
        return frozen(state.vectors.copy())

    def user_vectors(self, state: BprState, request: Request) -> Floats32:
        """The directions of the histories: float32 [B, f], whose products with the item vectors are the cosines."""
        directions, _ = self._directions(state, self._weighed(state, request.history))
        return frozen(directions[:, :-1].astype(np.float32))

    def _pairs(self, events: Events) -> SparseRows:
        """x: the pairs of positive weight, raised to `power`."""
        weight = events.pair_weights()
        return SparseRows.from_csr(events.matrix(), weight > 0, np.maximum(weight, 0.0) ** self.power)

    def _weighed(self, state: BprState, history: Events) -> SparseRows:
        """x_uj n_j^-balance."""
        pairs = self._pairs(history)
        return pairs.scaled(state.share)

    def _directions(self, state: BprState, weighed: SparseRows) -> tuple[Floats64, Floats64]:
        """h_u / |h_u| of each row and behind it 1, for the bias: float64 [B, f + 1], zeros without a history; and
        |h_u|, float64 [B], 1 where it is 0."""
        history: Floats64 = PaddedRows.of(weighed, np.float64).times(state.index.items)
        history[:, -1] = 0.0
        size = np.sqrt(np.einsum("bf,bf->b", history, history))
        history[:, -1] = size
        size[size == 0] = 1.0
        return history / size[:, None], size


@hookimpl
def nbarec_candidate_generators() -> list[type[Bpr]]:
    """The generators of this module."""
    return [Bpr]
