"""Contracts: what the engine checks of every stage's answer, once a batch.

`who` is the stage's label in words, such as `candidates.similar (item_cf of nbarec:item_cf 0.1.0)`; every message
begins with it. Rows in messages count from 0 within the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from nbarec.arrays import AnyArray, Ints64
from nbarec.batch import Candidates, Pool, Request
from nbarec.errors import ContractError, Mark, NbarecError
from nbarec.evidence import Evidence
from nbarec.failures import failure_of, put_in_front


def check_candidates(who: str, candidates: object, request: Request, limit: int) -> None:
    """Refuse proposals that `CandidateGenerator.generate` does not allow; raises ContractError."""
    found = check_candidate_arrays(who, candidates, len(request))
    check_limit(who, found, limit)
    check_in_catalogue(who, found, request.n_items)
    pairs = _sorted_pairs(found, request.n_items)  # once for two checks: sorting is most of their work
    _refuse_twins(who, pairs, request.n_items)
    _refuse_excluded(who, found, pairs, request)
    check_finite(who, found)
    check_best_first(who, found)


def check_candidate_arrays(who: str, candidates: object, rows: int) -> Candidates:
    """The candidates, if their arrays have the dtypes and shapes that belong to so many rows; else ContractError."""
    if not isinstance(candidates, Candidates):
        raise ContractError(f"{who}: generate returned {_type(candidates)}; it must return Candidates")
    indptr, item, score = candidates.indptr, candidates.item, candidates.score
    _check_vector(who, "indptr", indptr, np.int64, rows + 1, "one more than the request has rows")
    _check_vector(who, "item", item, np.int32)
    _check_vector(who, "score", score, np.float32, len(item), "one an item")
    _check_pointers(who, indptr, len(item))
    return candidates


def check_limit(who: str, candidates: Candidates, limit: int) -> None:
    """Refuse a row with more than `limit` candidates; raises ContractError."""
    counts = candidates.indptr[1:] - candidates.indptr[:-1]
    if counts.max(initial=0) > limit:
        row = np.flatnonzero(counts > limit)[0]
        raise ContractError(f"{who}: row {row} has {counts[row]} candidates; at most {limit} were asked for")


def check_in_catalogue(who: str, candidates: Candidates, items: int) -> None:
    """Refuse positions outside a catalogue of so many items; raises ContractError."""
    item = candidates.item
    if len(item) and (item.min() < 0 or item.max() >= items):
        at = np.flatnonzero((item < 0) | (item >= items))[0]
        size = f"the catalogue has {items} items, at positions from 0"
        raise ContractError(f"{who}: item has {item[at]} in row {candidates.row[at]}; {size}")


def check_once_a_row(who: str, candidates: Candidates, items: int) -> None:
    """Refuse an item that stands twice in a row; raises ContractError."""
    _refuse_twins(who, _sorted_pairs(candidates, items), items)


def check_not_excluded(who: str, candidates: Candidates, request: Request) -> None:
    """Refuse items that the request excludes; raises ContractError."""
    _refuse_excluded(who, candidates, _sorted_pairs(candidates, request.n_items), request)


def _sorted_pairs(candidates: Candidates, items: int) -> Ints64:
    """row * items + item of every candidate, ascending: int64 [N]."""
    pairs = candidates.row * items
    pairs += candidates.item
    pairs.sort()
    return pairs


def _refuse_twins(who: str, pairs: Ints64, items: int) -> None:
    same = pairs[1:] == pairs[:-1]
    if same.any():
        row, item = divmod(int(pairs[same.argmax()]), items)
        raise ContractError(f"{who}: item has {item} twice in row {row}; once is allowed")


def _refuse_excluded(who: str, candidates: Candidates, pairs: Ints64, request: Request) -> None:
    """`pairs` int64 [N] as `_sorted_pairs` gives them: an item outside the catalogue looks like one of a later row."""
    if not _meet(pairs, request.excluded_pairs):
        return
    row, item = candidates.row, candidates.item
    excluded = request.excluded.contains(row, item)
    if excluded.any():
        at = excluded.argmax()
        raise ContractError(f"{who}: item has {item[at]} in row {row[at]}, which request.excluded forbids there")


def _meet(first: Ints64, second: Ints64) -> bool:
    """Whether two ascending arrays share a number: each of the shorter is looked up in the longer."""
    few, many = (first, second) if len(first) < len(second) else (second, first)
    return bool(len(few)) and bool((many.take(np.searchsorted(many, few), mode="clip") == few).any())


def check_finite(who: str, candidates: Candidates) -> None:
    """Refuse scores that are not finite; raises ContractError."""
    _refuse_infinite(who, candidates.score, candidates)


def check_best_first(who: str, candidates: Candidates) -> None:
    """Refuse a score that rises within a row; raises ContractError."""
    score, indptr = candidates.score, candidates.indptr
    rising = score[1:] > score[:-1]
    starts = indptr[1:-1]
    rising[starts[(starts > 0) & (starts < len(score))] - 1] = False  # from one row to the next it may rise
    if rising.any():
        at = rising.argmax()
        step = f"from {score[at]:g} to {score[at + 1]:g}"
        rises = f"score rises {step} in row {candidates.row[at]}"
        raise ContractError(f"{who}: {rises}; candidates must stand best first in each row")


def check_scores(who: str, score: object, pool: Pool) -> None:
    """Refuse scores that `Ranker.rank` does not allow; raises ContractError."""
    scores = _check_vector(who, "score", score, np.float32, len(pool), "one an entry of the pool")
    _refuse_infinite(who, scores, pool)


def _refuse_infinite(who: str, score: AnyArray, entries: Candidates | Pool) -> None:
    finite = np.isfinite(score)
    if not finite.all():
        at = finite.argmin()
        where = f"row {entries.row[at]}, item {entries.item[at]}"
        raise ContractError(f"{who}: score is {score[at]} at {where}; every score must be finite")


def check_selection(who: str, selected: object, pool: Pool) -> None:
    """Refuse positions that `PostFilter.select` does not allow; raises ContractError."""
    at = _check_vector(who, "the selection", selected, np.int64)
    if len(at) and (at.min() < 0 or at.max() >= len(pool)):
        outside = at[np.flatnonzero((at < 0) | (at >= len(pool)))[0]]
        size = f"the pool has {len(pool)} entries, at positions from 0"
        raise ContractError(f"{who}: the selection has position {outside}; {size}")
    if (at[1:] > at[:-1]).all():
        return  # what only drops entries: none twice, and no row before an earlier one
    chosen = np.zeros(len(pool), bool)
    chosen[at] = True
    if np.count_nonzero(chosen) < len(at):
        twice = np.flatnonzero(np.bincount(at, minlength=len(pool)) > 1)[0]
        where = f"row {pool.row[twice]}, item {pool.item[twice]}"
        raise ContractError(f"{who}: the selection has position {twice} ({where}) twice; once is allowed")
    row = pool.row.take(at)
    backwards = row[1:] < row[:-1]
    if backwards.any():
        late = backwards.argmax() + 1
        order = f"an entry of row {row[late]} after one of row {row[late - 1]}"
        raise ContractError(f"{who}: the selection has {order}; it must be grouped by row, in the order of rows")


def check_columns(who: str, columns: object, pool: Pool) -> None:
    """Refuse columns that `FeatureProvider.columns_for` does not allow; raises ContractError."""
    if not isinstance(columns, Mapping):
        raise ContractError(f"{who}: columns_for returned {_type(columns)}; it must return a mapping of name to array")
    for name, values in columns.items():
        if not isinstance(name, str) or not name:
            raise ContractError(f"{who}: a column has the name {name!r}; names are texts that are not empty")
        _check_column(who, f"column {name!r}", values, pool)


def check_vectors(who: str, vectors: object, items: int) -> None:
    """Refuse vectors that `ItemVectors.item_vectors` does not allow, for `items` known items; raises ContractError."""
    name = "item_vectors"
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        given = f"dtype {vectors.dtype}" if isinstance(vectors, np.ndarray) else _type(vectors)
        raise ContractError(f"{who}: {name} is {given}; it must be a NumPy array of float32")
    if vectors.ndim != 2 or len(vectors) != items:
        raise ContractError(f"{who}: {name} has shape {vectors.shape}; it must have a row for each of {items} items")
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise ContractError(f"{who}: {name} of item {wrong[0]} has a value that is not finite")


def check_evidence(who: str, evidence: Evidence, pairs: int, limit: int) -> None:
    """Refuse evidence that `CandidateGenerator.evidence` does not allow for so many pairs; raises ContractError."""
    if not isinstance(evidence, Evidence):
        raise ContractError(f"{who}: evidence returned {_type(evidence)}; it must return Evidence or None")
    indptr = _check_vector(who, "evidence.indptr", evidence.indptr, np.int64, pairs + 1, "one more than the pairs")
    parts = len(evidence.amount)
    _check_pointers(who, indptr, parts)
    _check_vector(who, "evidence.item", evidence.item, np.int32, parts, "one a part")
    _check_vector(who, "evidence.amount", evidence.amount, np.float64, parts, "one a part")
    _check_vector(who, "evidence.rest", evidence.rest, np.float64, pairs, "one a pair")
    if len(evidence.label) != parts:
        raise ContractError(f"{who}: evidence.label has length {len(evidence.label)}; it must be {parts}, one a part")
    if (np.diff(indptr) > limit).any():
        most = int(np.diff(indptr).max())
        raise ContractError(f"{who}: evidence tells {most} parts of a pair; at most {limit} were asked for")
    if not (np.isfinite(evidence.amount).all() and np.isfinite(evidence.rest).all()):
        raise ContractError(f"{who}: evidence has an amount or a rest that is not finite")


def check_terms(who: str, terms: object, score: AnyArray) -> None:
    """Refuse terms that do not add up to a ranker's `score` float32 [N], within 1e-6 of its largest; ContractError."""
    if not isinstance(terms, Mapping) or not terms:
        raise ContractError(f"{who}: terms returned {_type(terms)}; it must return a mapping of name to array, or None")
    for name, values in terms.items():
        _check_vector(who, f"term {name!r}", values, np.float64, len(score), "one an entry of the pool")
    away = np.abs(sum(terms.values()) - score)
    if (away > 1e-6 * max(float(np.abs(score).max(initial=0.0)), 1.0)).any():
        at = int(away.argmax())
        raise ContractError(f"{who}: the terms of entry {at} are {away[at]:.2g} away from its score {score[at]:.6g}")


@contextmanager
def guarded(who: str, mark: Mark | None = None) -> Iterator[None]:
    """Calls of a plugin: what they raise names the stage, and where `mark` says it stands in the config.

    Errors with a message for people keep their class and marks and get `who` in front; anything else becomes a
    ContractError that tells the plugin's file and line. KeyboardInterrupt and SystemExit pass.
    """
    try:
        yield
    except NbarecError as error:
        put_in_front(who, error, mark)
        raise
    except Exception as error:
        raise ContractError(f"{who} {failure_of(error)}") from error


def _check_vector(
    who: str, name: str, values: object, dtype: type[np.generic] | None, length: int | None = None, why: str = ""
) -> AnyArray:
    """The values, if they are a one-dimensional array of this dtype (None: any) and length (None: any)."""
    if not isinstance(values, np.ndarray):
        wanted = f" of {np.dtype(dtype)}" if dtype else ""
        raise ContractError(f"{who}: {name} is {_type(values)}; it must be a NumPy array{wanted}")
    if dtype and values.dtype != dtype:
        raise ContractError(f"{who}: {name} has dtype {values.dtype}; it must be {np.dtype(dtype)}")
    if values.ndim != 1:
        raise ContractError(f"{who}: {name} has shape {values.shape}; it must have one dimension")
    if length is not None and len(values) != length:
        raise ContractError(f"{who}: {name} has length {len(values)}; it must be {length}, {why}")
    return values


def _check_pointers(who: str, indptr: Ints64, entries: int) -> None:
    if indptr[0] != 0:
        raise ContractError(f"{who}: indptr starts at {indptr[0]}; it must start at 0")
    falling = indptr[1:] < indptr[:-1]
    if falling.any():
        row = falling.argmax()
        raise ContractError(
            f"{who}: indptr falls from {indptr[row]} to {indptr[row + 1]} at row {row}; it must not fall"
        )
    if indptr[-1] != entries:
        raise ContractError(f"{who}: indptr ends at {indptr[-1]}; it must end at {entries}, the length of item")


def _check_column(who: str, name: str, values: object, pool: Pool) -> None:
    column = _check_vector(who, name, values, None, len(pool), "one an entry of the pool")
    if column.dtype.kind not in "biufUO":
        raise ContractError(f"{who}: {name} has dtype {column.dtype}; it must hold numbers, flags or texts")
    if column.dtype.kind != "f":
        return
    infinite = np.flatnonzero(np.isinf(column))
    if len(infinite):
        at = infinite[0]
        where = f"row {pool.row[at]}, item {pool.item[at]}"
        raise ContractError(f"{who}: {name} is {column[at]} at {where}; every value must be finite, or NaN for missing")


def _type(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
