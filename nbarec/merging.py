"""Merging: the lists of several generators become one pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from nbarec.arrays import (
    SORTED_AT_ONCE,
    Floats32,
    Ints32,
    Ints64,
    frozen,
    row_blocks,
    row_starts,
    stable_order,
)
from nbarec.batch import Candidates, Pool
from nbarec.columns import Columns


def merge(candidates: Mapping[str, Candidates], rows: int, n_items: int) -> Pool:
    """The union of several generators' proposals: one entry a (row, item), every score and rank kept.

    Row and item are one whole number, all of which are sorted together, a block of rows at a time. Until a ranker has
    spoken, an entry's score is the sum of its reciprocal ranks.
    """
    lists = list(candidates.values())
    proposed = sum((one.indptr for one in lists), np.zeros(rows + 1, np.int64))
    bits = max(n_items, 1).bit_length()
    pairs, most = [np.empty(0, np.int64)], int(proposed[-1])
    scores, ranks = np.empty((len(lists), most), np.float32), np.empty((len(lists), most), np.int32)
    score, entries = np.empty(most, np.float32), 0
    for block in row_blocks(proposed, SORTED_AT_ONCE):  # a step a block of rows, whose arrays stay in the cache
        pair, entry = _distinct(_pairs(lists, block, bits), bits + rows.bit_length())
        here = slice(entries, entries + len(pair))
        score[here] = _told(lists, block, entry, scores[:, here], ranks[:, here])
        pairs.append(pair)
        entries += len(pair)
    pair = np.concatenate(pairs)
    row = (pair >> bits).astype(np.int32)
    return Pool(
        indptr=frozen(row_starts(row, rows)),
        row=frozen(row),
        item=frozen((pair & ((1 << bits) - 1)).astype(np.int32)),
        sources=tuple(candidates),
        proposals=Columns({"scores": frozen(scores[:, :entries]), "ranks": frozen(ranks[:, :entries])}),
        features={},
        score=frozen(score[:entries]),
    )


def of_items(pool: Pool, item: Ints32) -> Pool:
    """The pool of one given item a row, `item` int32 [B], with what the generators said of it; where none proposed the
    item its scores are NaN and its ranks 0. For pools that have neither features nor a ranker's score yet."""
    rows = np.arange(len(item), dtype=np.int32)
    at = pool.find(rows, item)
    missing = at < 0
    safe = np.where(missing, len(pool), at)
    scores = np.pad(pool.proposals["scores"], ((0, 0), (0, 1)), constant_values=np.nan)
    ranks = np.pad(pool.proposals["ranks"], ((0, 0), (0, 1)))
    return replace(
        pool,
        indptr=frozen(np.arange(len(item) + 1)),
        row=frozen(rows),
        item=frozen(item.astype(np.int32)),
        proposals=Columns({"scores": frozen(scores[:, safe]), "ranks": frozen(ranks[:, safe])}),
        score=frozen(np.append(pool.score, np.float32(0))[safe]),
    )


def _pairs(lists: Sequence[Candidates], block: tuple[int, int], bits: int) -> Ints64:
    """(row << bits) | item of every proposal for a block of rows, list after list: int64."""
    spans = [slice(*one.indptr.take(block)) for one in lists]
    return np.concatenate([(one.row[span] << bits) | one.item[span] for one, span in zip(lists, spans, strict=True)])


def _distinct(key: Ints64, bits: int) -> tuple[Ints64, Ints64]:
    """The distinct keys, ascending, and where each key stands among them, int64 both; 0 <= key < 2^bits."""
    order = stable_order(key, bits)
    key = key.take(order)
    first = np.ones(len(key), bool)
    np.not_equal(key[1:], key[:-1], out=first[1:])
    at = np.empty(len(key), np.int64)
    at[order] = np.cumsum(first) - 1
    return key.compress(first), at


def _told(
    lists: Sequence[Candidates], block: tuple[int, int], entry: Ints64, scores: Floats32, ranks: Ints32
) -> Floats32:
    """Fill in what each of S lists says of each of N entries, `scores` float32 and `ranks` int32 [S, N], and return the
    sum of the reciprocal ranks, float32 [N]. `entry` int64 says which entry each proposal is, list after list."""
    scores.fill(np.nan)
    ranks.fill(0)
    total, start = np.zeros(scores.shape[1]), 0
    for source, proposed in enumerate(lists):
        span = slice(*proposed.indptr.take(block))
        here = entry[start : start + span.stop - span.start]
        rank = np.arange(span.start + 1, span.stop + 1) - proposed.indptr.take(proposed.row[span])
        scores[source, here] = proposed.score[span]
        ranks[source, here] = rank
        total[here] += 1.0 / rank
        start += len(here)
    return total.astype(np.float32)
