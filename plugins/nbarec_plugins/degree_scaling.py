"""Pairs of users and items, scaled by how many pairs either has: the matrices that spectral models decompose."""

from __future__ import annotations

import numpy as np

from nbarec.arrays import Floats64, Ints64
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.work import current
from nbarec_plugins.sparse_products import SparseProducts
from nbarec_plugins.sparse_rows import SparseRows
from nbarec_plugins.truncated_svd import Triplets, truncated_svd

BASIS = 2
"""Basis vectors of a decomposition for each triplet that is asked for, as a rule."""


def weighted_pairs(events: Events, power: float) -> SparseRows:
    """x: the pairs of nonzero weight, each weight raised to `power` with its sign kept: (rows x items)."""
    weight = events.pair_weights()
    return SparseRows.from_csr(events.matrix(), weight != 0, np.sign(weight) * np.abs(weight) ** power)


def item_degrees(pairs: SparseRows) -> Ints64:
    """How many pairs each item has: int64 [items]."""
    return np.bincount(pairs.column, minlength=pairs.columns)


def degree_power(count: Ints64, exponent: float) -> Floats64:
    """count^exponent, 0 where the count is: float64, shaped as `count` int64."""
    return np.where(count > 0, np.maximum(count, 1).astype(np.float64) ** exponent, 0.0)


def with_factors(pairs: SparseRows, of_row: Floats64, of_column: Floats64) -> SparseRows:
    """Each value times the factors of its row, float64 [rows], and of its column, float64 [columns]."""
    value = pairs.value * of_row[pairs.row_of] * of_column[pairs.column]
    return SparseRows(pairs.indptr, pairs.column, value, pairs.columns)


def spectrum(scaled: SparseRows, factors: int, rng: np.random.Generator, tolerance: float, component: str) -> Triplets:
    """The largest singular triplets of a matrix, `truncated_svd`, if they fit the memory budget.

    Raises ConfigError naming `component`, the bytes needed and `engine.memory` where they don't.
    """
    shorter, longer = sorted((scaled.rows, scaled.columns))
    count = min(factors, shorter)
    needed = 4 * count * (BASIS * shorter + longer) + 8 * (BASIS * count) ** 2
    instead = f"fewer factors than {factors:,}"
    check_memory(component, f"{count:,} singular triplets of {scaled.rows:,} x {scaled.columns:,}", needed, instead)
    return truncated_svd(SparseProducts.of(scaled), factors, rng, tolerance)


def check_memory(component: str, what: str, needed: int, instead: str) -> None:
    """Refuse what takes more bytes than the budget holds; raises ConfigError."""
    budget = current().memory
    if needed > budget:
        raise ConfigError(
            f"{component} needs {needed:,} bytes for {what}, and engine.memory is {budget:,}; raise engine.memory, or "
            f"use {instead}"
        )
