"""Linear item scores in two parts, one of low rank and one through the users of the items: never items x items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints32, Ints64, row_blocks, row_pointers
from nbarec.batch import Candidates
from nbarec.evidence import Evidence
from nbarec.scored_pairs import pair_products, stacked
from nbarec.sparse import Csr
from nbarec.work import current, in_shards, on_shards
from nbarec_plugins.history_terms import strongest_terms
from nbarec_plugins.meetings import Meetings, chosen
from nbarec_plugins.rough_best import best_of_rough, error_share
from nbarec_plugins.row_products import Product, multiplied
from nbarec_plugins.sparse_products import PaddedRows
from nbarec_plugins.sparse_rows import SparseRows, sums_at

BLOCK_BYTES = 1 << 26
"""Rough scores of all items, and what leads to them, of the rows that are searched together."""

ENTRIES = 1 << 17
"""Entries of sparse rows that are gathered at a time: 1 MB an array."""


@dataclass(frozen=True)
class ItemFilter:
    """score_ui = sum over j of x_uj times

        inside_j sum_f q_jf gain_f q_if + via_j back_i sum_v s_vj s_vi,  and own_i more where j is i:

    what a low rank says, and what the users v say whom i and j have in common. `vectors` q float32 [items, f], `gain`
    float64 [f]; `users` s, a row an item (items x users); `inside`, `via`, `back` and `own` float64 [items].
    """

    vectors: Floats32
    gain: Floats64
    inside: Floats64
    users: SparseRows
    via: Floats64
    back: Floats64
    own: Floats64

    @cached_property
    def items_of_users(self) -> SparseRows:
        """s with a row a user; made once."""
        return self.users.transpose()

    @cached_property
    def longest(self) -> tuple[float, float, float]:
        """The largest length of q_i, of the row of back_i s_vi, and of own_i."""
        of_vectors = np.einsum("if,if->i", self.vectors, self.vectors, dtype=np.float64)
        squares = sums_at(self.users.row_of, np.square(self.users.value), self.users.rows) * np.square(self.back)
        largest = [float(part.max(initial=0.0)) for part in (of_vectors, squares, np.abs(self.own))]
        return largest[0] ** 0.5, largest[1] ** 0.5, largest[2]

    def projected(self, pairs: SparseRows) -> Floats64:
        """sum over j of x_uj inside_j q_j: float64 [B, f], of histories x (B x items); zeros without one."""
        projected: Floats64 = PaddedRows.of(pairs.scaled(self.inside), np.float64).times(self.vectors)
        return projected

    def through_users(self, reached: SparseRows) -> Floats64:
        """back_i sum_v s_vi y_uv of y (B x users): float64 [B, items], each added up in the order of y's row.

        A history reaches few of many users, whose items are far fewer pairs than all of a matrix.
        """
        through = np.zeros((reached.rows, self.users.rows))
        product = Product(reached, self.items_of_users.strips, (np.multiply,))

        def fill(shard: Sequence[Ints64]) -> None:
            for met in product.overlaps(shard):
                through[met.rows] = met.table(met.sums[0] * met.of_columns(self.back))

        on_shards(fill, product.shards())
        return through

    def best(self, pairs: SparseRows, limit: int, excluded: Csr) -> Candidates:
        """The `limit` items of largest positive score for each row of `pairs` x (B x items), none of `excluded`."""
        if limit <= 0 or not pairs.rows:
            return Candidates.empty(pairs.rows)
        a_row = 12 * pairs.columns + 16 * self.vectors.shape[1]
        most = max(1, current().block_bytes(BLOCK_BYTES) // max(a_row, 1))

        def search(rows: Ints64, _: object) -> Candidates:
            return _Block.of(self, pairs.take_rows(rows)).best(limit, excluded.take_rows(rows))

        # A step a block of rows, all about as large: what bounds the memory.
        blocks = np.array_split(np.arange(pairs.rows), -(-pairs.rows // most))
        return stacked(in_shards(search, blocks))

    def evidence(self, pairs: SparseRows, row: Ints32, item: Ints32, limit: int) -> Evidence:
        """What each item of the histories `pairs` x (B x items) adds to the scores of M pairs, exactly: together they
        are the score. What disliked items say for an item, by being unlike it, is in the rest."""

        def amount(term: Ints64, of_item: Ints64) -> Floats64:
            part = self._between(pairs.column[term], of_item)
            return np.asarray(pairs.value[term] * part, np.float64)

        pair, term, added, score = strongest_terms(pairs, row.astype(np.int64), item.astype(np.int64), limit, amount)
        at = chosen(pairs.value[term], added)
        return Evidence.strongest(pair[at], pairs.column[term[at]], added[at], score, limit, "you chose {}")

    def _between(self, first: Ints32, second: Ints64) -> Floats64:
        """What item j adds to the score of item i, where x_uj is 1: float64 [N], of `first` and `second` int [N]."""
        own, where = np.unique(first, return_inverse=True)
        turned = self.vectors.take(own, axis=0) * self.gain
        part = self.inside[first] * pair_products(turned, self.vectors, where, second)
        shared = np.zeros(len(first))
        counts = self.users.counts[first]
        for start, stop in row_blocks(row_pointers(counts), ENTRIES):  # a step a block of pairs: bounds the memory
            met = Meetings.of(self.users, self.items_of_users, first[start:stop], second[start:stop])
            shared[start:stop] = sums_at(met.pair, self.users.value[met.left] * met.value, stop - start)
        return part + self.via[first] * self.back[second] * shared + np.where(first == second, self.own[second], 0.0)


@dataclass(frozen=True)
class _Block:
    """Rows that are searched together: `pairs` x (B x items), `latent` z float64 [B, f] and `shared` y float64
    [B, items], so that score_ui = (z_u . q_i + y_ui) / scale_u + own_i x_ui.

    `scale` float64 [B] are powers of two, which round nothing, such that no score times its own is larger than 1: the
    units of single precision. `off` float64 [B]: how far off a score may be in these.
    """

    filter: ItemFilter
    pairs: SparseRows
    latent: Floats64
    shared: Floats64
    scale: Floats64
    off: Floats64

    @classmethod
    def of(cls, of: ItemFilter, pairs: SparseRows) -> _Block:
        """What these histories lead to. A row's bits depend on that row alone."""
        latent, reached = of.projected(pairs) * of.gain, multiplied(pairs.scaled(of.via), of.users)
        largest = np.zeros(pairs.rows)
        np.maximum.at(largest, pairs.row_of, np.abs(pairs.value))
        vector, column, own = of.longest
        by_vectors = np.sqrt(np.vecdot(latent, latent)) * vector
        by_users = np.sqrt(sums_at(reached.row_of, np.square(reached.value), reached.rows)) * column
        bound = by_vectors + by_users + largest * own
        scale = np.ldexp(1.0, -np.frexp(bound)[1])
        off = (error_share(latent.shape[1]) * by_vectors + error_share(0) * bound) * scale
        scaled = replace(reached, value=reached.value * scale[reached.row_of])
        return cls(of, pairs, latent * scale[:, None], of.through_users(scaled), scale, off)

    def best(self, limit: int, excluded: Csr) -> Candidates:
        """The best items of each row."""
        return best_of_rough(self._rough(), self.off, self._exact, excluded, limit)

    def _rough(self) -> Floats32:
        """All scores in single precision, in the units of `scale`: float32 [B, items]."""
        rough = self.latent.astype(np.float32) @ self.filter.vectors.T
        np.add(rough, self.shared, out=rough, casting="same_kind")
        pairs = self.pairs
        own = self.filter.own[pairs.column] * pairs.value * self.scale[pairs.row_of]
        rough[pairs.row_of, pairs.column] += own.astype(np.float32)
        return rough

    def _exact(self, row: Ints64, item: Ints64) -> Floats64:
        """The scores of pairs that stand row by row, in double precision and an order that depends on each alone."""
        score = pair_products(self.latent, self.filter.vectors, row, item)
        score += self.shared[row, item]
        score /= self.scale[row]
        bits = self.pairs.columns.bit_length()
        key, own = (row << bits) | item, (self.pairs.row_of << bits) | self.pairs.column
        at = np.searchsorted(key, own)
        here = np.flatnonzero(key.take(at, mode="clip") == own) if len(key) else at[:0]
        score[at[here]] += self.filter.own[self.pairs.column[here]] * self.pairs.value[here]
        return score
