"""What a learned ranker may know of the entries of a pool, by name, and its values as numbers, levels and tags.

| name | what it is |
|---|---|
| `*` | every column of feature providers and earlier rankers; `id.score` and `id.rank` of each generator; `agreement` |
| `id.score` | a generator's score, NaN where it does not propose the item |
| `id.rank` | (60 + 1) / (60 + its rank), so that the first has 1; 0 where it does not propose the item |
| `agreement` | the share of the generators that propose the item |
| `user`, `item` | who it is for and which item it is, a level each: `user.id`, missing for nobody we know, `item.id` |
| `item.X`, `user.X`, `user.events`, `context.X`, `now`, `score`, ... | as in a rule over the pool |

A column of providers goes before all others of its name. A date is its age in days at the moment of the request.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nbarec.arrays import AnyArray, Floats64, Ints32, frozen
from nbarec.batch import Pool, Request
from nbarec.data import FLOAT32_LIMIT
from nbarec.errors import ConfigError
from nbarec.expressions import MissingColumn
from nbarec.scopes import PoolScope, RequestScope
from nbarec.tables import MISSING_DATE, CategoryColumn, Column, DateColumn, NumberColumn, TagsColumn, texts_of
from nbarec_plugins.list_values import reciprocal_ranks

RANK_SHIFT = 60.0
"""Of reciprocal ranks (Cormack, Clarke and Buettcher 2009)."""

NAMES_SHOWN = 30
DAY = 86_400.0

Kind = Literal["number", "category", "tags", "missing"]


@dataclass(frozen=True)
class Named:
    """One column: its values, and which of its rows each entry has (int32 [N]); None: one row an entry."""

    column: Column | MissingColumn
    at: Ints32 | None

    @property
    def kind(self) -> Kind:
        """What its values are; a date counts as a number."""
        match self.column:
            case NumberColumn() | DateColumn():
                return "number"
            case CategoryColumn():
                return "category"
            case TagsColumn():
                return "tags"
        return "missing"

    def spread(self, values: AnyArray) -> AnyArray:
        """One value a row of the column as one value an entry."""
        return values if self.at is None else values.take(self.at)


def expanded(features: Sequence[str], request: Request, pool: Pool) -> tuple[str, ...]:
    """The names that `features` stands for, each once: `*` is replaced by what it means here.

    Raises ConfigError at a name that neither the pool nor the request has.
    """
    names: dict[str, None] = {}
    for name in features:
        names.update(dict.fromkeys(_of_pool(pool) if name == "*" else [name]))
    for name in names:
        if named(name, request, pool) is None:
            raise ConfigError(_unknown(name, request, pool))
    return tuple(names)


def named(name: str, request: Request, pool: Pool) -> Named | None:
    """The column of that name; None where there is none."""
    if name in pool.features:
        return Named(_column(pool.features[name]), None)
    source, _, told = name.rpartition(".")
    if source in pool.sources and told in ("score", "rank"):
        return Named(_numbers(_told(pool, pool.sources.index(source), told)), None)
    if name == "agreement" and pool.sources:
        return Named(_numbers((pool.ranks > 0).mean(axis=1)), None)
    if name in ("user", "item"):
        return named(f"{name}.id", request, pool)
    prefix, _, rest = name.partition(".")
    if prefix == "item" and rest:
        column = request.catalog.columns.get(rest)
        return None if column is None else Named(column, pool.item)
    try:
        if name == "score" or name in pool.sources:
            return Named(PoolScope(request, pool).column(name), None)
        return Named(RequestScope(request).column(name), pool.row)
    except KeyError:
        return None


def numbers_of(found: Named, request: Request, pool: Pool) -> Floats64:
    """One number an entry: float64 [N], NaN where it is missing, and where a text is none."""
    match found.column:
        case NumberColumn(values):
            return found.spread(values).clip(-FLOAT32_LIMIT, FLOAT32_LIMIT)
        case DateColumn(seconds):
            moment = found.spread(seconds)
            age = (request.now.take(pool.row) - np.where(moment == MISSING_DATE, 0, moment)) / DAY
            return np.where(moment == MISSING_DATE, np.nan, age)
        case CategoryColumn(codes, levels):
            read = np.array([*map(_number_in, levels.texts(np.arange(len(levels)))), np.nan])
            return np.asarray(read.take(found.spread(codes)))
    return np.full(len(pool), np.nan)


def levels_of(found: Named) -> CategoryColumn:
    """The column with one level a row of its own: numbers count as the texts that a person would write."""
    match found.column:
        case CategoryColumn():
            return found.column
        case NumberColumn(values):
            distinct, at = np.unique(values, return_inverse=True)
            column = CategoryColumn.of(["" if np.isnan(value) else f"{value:.15g}" for value in distinct.tolist()])
            return CategoryColumn(frozen(column.codes.take(at)), column.levels)
        case DateColumn(seconds):
            return CategoryColumn.of([None] * len(seconds))
        case TagsColumn(matrix):
            return CategoryColumn.of([None] * matrix.shape[0])
    return CategoryColumn.of([None] * found.column.size)


def _of_pool(pool: Pool) -> Iterator[str]:
    """What `*` stands for."""
    yield from pool.features
    for source in pool.sources:
        yield from (f"{source}.score", f"{source}.rank")
    if pool.sources:
        yield "agreement"


def _told(pool: Pool, source: int, told: str) -> Floats64:
    if told == "score":
        return pool.scores[:, source].astype(np.float64)
    return reciprocal_ranks(pool.ranks[:, source], RANK_SHIFT, np.array(RANK_SHIFT + 1.0))


def _column(values: AnyArray) -> Column:
    if values.dtype.kind in "iufb":
        return _numbers(values)
    return CategoryColumn.of(texts_of(values))


def _numbers(values: AnyArray) -> NumberColumn:
    return NumberColumn(values.astype(np.float64, copy=False))


def _number_in(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return np.nan
    return value if np.isfinite(value) else np.nan


def _unknown(name: str, request: Request, pool: Pool) -> str:
    names = list(dict.fromkeys([*_of_pool(pool), "user", "item", *PoolScope(request, pool).names()]))
    same_end = [known for known in names if known.rpartition(".")[2] == name]
    near = same_end or difflib.get_close_matches(name, names, n=1)
    advice = f" (did you mean {near[0]}?)" if near else ""
    more = ", ..." if len(names) > NAMES_SHOWN else ""
    return f"features: there is no name '{name}' here{advice}; the names are {', '.join(names[:NAMES_SHOWN])}{more}"
