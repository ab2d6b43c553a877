"""Contracts: what the engine checks of every stage's answer, once a batch.

`who` is the stage's label in words, such as `candidates.similar (item_cf of nbarec:item_cf 0.1.0)`; every message
begins with it. Rows in messages count from 0 within the batch.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from nbarec.arrays import AnyArray, Ints64, rows_of
from nbarec.batch import Candidates, Pool, Request
from nbarec.errors import ConfigError, ContractError, Mark, NbarecError
from nbarec.evidence import Evidence

_ENGINE = Path(__file__).parent


def check_candidates(who: str, candidates: object, request: Request, limit: int) -> None:
    """Refuse proposals that `CandidateGenerator.generate` does not allow; raises ContractError."""
    found = check_candidate_arrays(who, candidates, len(request))
    check_limit(who, found, limit)
    check_in_catalogue(who, found, request.n_items)
    check_once_a_row(who, found, request.n_items)
    check_not_excluded(who, found, request)
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
    counts = np.diff(candidates.indptr)
    long = np.flatnonzero(counts > limit)
    if len(long):
        row = long[0]
        raise ContractError(f"{who}: row {row} has {counts[row]} candidates; at most {limit} were asked for")


def check_in_catalogue(who: str, candidates: Candidates, items: int) -> None:
    """Refuse positions outside a catalogue of so many items; raises ContractError."""
    item = candidates.item
    outside = np.flatnonzero((item < 0) | (item >= items))
    if len(outside):
        at, row = outside[0], rows_of(candidates.indptr)
        size = f"the catalogue has {items} items, at positions from 0"
        raise ContractError(f"{who}: item has {item[at]} in row {row[at]}; {size}")


def check_once_a_row(who: str, candidates: Candidates, items: int) -> None:
    """Refuse an item that stands twice in a row; raises ContractError."""
    pairs = np.sort(rows_of(candidates.indptr) * items + candidates.item)
    twice = np.flatnonzero(pairs[1:] == pairs[:-1])
    if len(twice):
        row, item = divmod(int(pairs[twice[0]]), items)
        raise ContractError(f"{who}: item has {item} twice in row {row}; once is allowed")


def check_not_excluded(who: str, candidates: Candidates, request: Request) -> None:
    """Refuse items that the request excludes; raises ContractError."""
    row, item = rows_of(candidates.indptr), candidates.item
    excluded = np.flatnonzero(request.excluded.contains(row, item))
    if len(excluded):
        at = excluded[0]
        raise ContractError(f"{who}: item has {item[at]} in row {row[at]}, which request.excluded forbids there")


def check_finite(who: str, candidates: Candidates) -> None:
    """Refuse scores that are not finite; raises ContractError."""
    wrong = np.flatnonzero(~np.isfinite(candidates.score))
    if len(wrong):
        at, row = wrong[0], rows_of(candidates.indptr)
        where = f"row {row[at]}, item {candidates.item[at]}"
        raise ContractError(f"{who}: score is {candidates.score[at]} at {where}; every score must be finite")


def check_best_first(who: str, candidates: Candidates) -> None:
    """Refuse a score that rises within a row; raises ContractError."""
    score, row = candidates.score, rows_of(candidates.indptr)
    rising = np.flatnonzero((score[1:] > score[:-1]) & (row[1:] == row[:-1]))
    if len(rising):
        at = rising[0]
        step = f"from {score[at]:g} to {score[at + 1]:g}"
        raise ContractError(f"{who}: score rises {step} in row {row[at]}; candidates must stand best first in each row")


def check_scores(who: str, score: object, pool: Pool) -> None:
    """Refuse scores that `Ranker.rank` does not allow; raises ContractError."""
    scores = _check_vector(who, "score", score, np.float32, len(pool), "one an entry of the pool")
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        at = wrong[0]
        where = f"row {pool.row[at]}, item {pool.item[at]}"
        raise ContractError(f"{who}: score is {scores[at]} at {where}; every score must be finite")


def check_selection(who: str, selected: object, pool: Pool) -> None:
    """Refuse positions that `PostFilter.select` does not allow; raises ContractError."""
    at = _check_vector(who, "the selection", selected, np.int64)
    outside = np.flatnonzero((at < 0) | (at >= len(pool)))
    if len(outside):
        size = f"the pool has {len(pool)} entries, at positions from 0"
        raise ContractError(f"{who}: the selection has position {at[outside[0]]}; {size}")
    twice = np.flatnonzero(np.bincount(at, minlength=len(pool)) > 1)
    if len(twice):
        where = f"row {pool.row[twice[0]]}, item {pool.item[twice[0]]}"
        raise ContractError(f"{who}: the selection has position {twice[0]} ({where}) twice; once is allowed")
    row = pool.row[at]
    backwards = np.flatnonzero(row[1:] < row[:-1])
    if len(backwards):
        late = backwards[0] + 1
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
        _put_in_front(who, error, mark)
        raise
    except Exception as error:
        raise ContractError(f"{who} {_failure(error)}") from error


def _check_vector(
    who: str, name: str, values: object, dtype: type[np.generic] | None, length: int | None = None, why: str = ""
) -> AnyArray:
    """The values, if they are a one-dimensional array of this dtype (None: any) and length (None: any)."""
    wanted = f" of {np.dtype(dtype)}" if dtype else ""
    if not isinstance(values, np.ndarray):
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
    falling = np.flatnonzero(indptr[1:] < indptr[:-1])
    if len(falling):
        row = falling[0]
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


def _put_in_front(who: str, error: NbarecError, mark: Mark | None) -> None:
    """The label before the error's message, or before each of a config's problems, unless it stands there."""
    if isinstance(error, ConfigError):
        error.problems = tuple(
            replace(p, message=_labelled(who, p.message), mark=p.mark or mark) for p in error.problems
        )
        error.args = ("\n".join(map(str, error.problems)),)
    else:
        error.args = (_labelled(who, str(error)),)


def _labelled(who: str, message: str) -> str:
    return message if message.startswith(who) else f"{who}: {message}"


def _failure(error: Exception) -> str:
    told = f"{type(error).__name__}: {error}".removesuffix(": ")
    failure = f"failed: {told} (in {_place(error)})"
    if isinstance(error, ValueError) and "read-only" in str(error):
        return (
            f"{failure}: it wrote into a read-only array of the request, its pool or its state; change a copy instead"
        )
    return failure


def _place(error: Exception) -> str:
    """File and line of the deepest call in the plugin: not in the engine, nor in a library that the plugin uses."""
    frames = traceback.extract_tb(error.__traceback__)
    plugin = [frame for frame in frames if not Path(frame.filename).is_relative_to(_ENGINE)] or list(frames)
    folder = Path(plugin[0].filename).parent
    deepest = [frame for frame in plugin if Path(frame.filename).parent == folder][-1]
    return f"{Path(deepest.filename).name}:{deepest.lineno}"


def _type(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
