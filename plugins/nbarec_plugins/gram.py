"""The inner products of the columns of tall matrices, part by part."""

from __future__ import annotations

from typing import Any

import numpy as np

from nbarec.arrays import Floats32, Floats64
from nbarec.work import in_shards

PART_ROWS = 4096
"""Vectors that one worker multiplies at a time. Fixed: how a product is cut decides its last bits."""


def gram(vectors: Floats32, dtype: type[np.floating[Any]] = np.float64) -> Floats64:
    """vectors' vectors: float64 [d, d]. Parts of the vectors are multiplied in `dtype`, and added up in float64."""

    def product(start: int, _: object) -> Floats64:
        part = vectors[start : start + PART_ROWS].astype(dtype, copy=False)
        return np.asarray(part.T @ part, np.float64)

    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    # One step a part, always in this order.
    for part in in_shards(product, range(0, len(vectors), PART_ROWS)):
        total += part
    return total
