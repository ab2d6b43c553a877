"""What holds of every feature provider, whatever it tells of an entry.

Tests import no other test, so `tests/conftest.py` loads this module and hands it out as the fixture `feature_checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nbarec.arrays import AnyArray, frozen
from nbarec.batch import Pool, Request
from nbarec.components import FeatureProvider
from nbarec.data import Dataset
from nbarec.joining import join_datasets
from nbarec.testing.worlds import pool_in_order


def differing(first: Mapping[str, AnyArray], second: Mapping[str, AnyArray]) -> set[str]:
    """The columns that are not the same to the bit, or in one of both alone."""
    both = first.keys() & second.keys()
    return (first.keys() ^ second.keys()) | {name for name in both if first[name].tobytes() != second[name].tobytes()}


def differing_alone(provider: FeatureProvider[Any], state: Any, request: Request, pool: Pool) -> set[str]:
    """The columns in which a user gets something else in a batch than he gets alone."""
    together, found = provider.columns_for(state, request, pool), set[str]()
    for row in range(len(request)):
        alone, span = request.take(np.array([row])), slice(*pool.indptr[row : row + 2])
        entries = replace(pool_in_order(alone, [pool.item[span].tolist()]), vectors=pool.vectors)
        mine = {name: values[span] for name, values in together.items()}
        found |= differing(provider.columns_for(state, alone, entries), mine)
    return found


def scrambled_after(data: Dataset, now: int, seed: int) -> Dataset:
    """The same with other items, weights and values for the events after a moment."""
    rng, events = np.random.default_rng(seed), data.events
    later, count = events.time > now, len(events)
    return data.with_events(
        replace(
            events,
            item=frozen(np.where(later, rng.integers(events.n_items, size=count), events.item).astype(np.int32)),
            weight=frozen(np.where(later, rng.normal(size=count), events.weight).astype(np.float32)),
            value=frozen(np.where(later, rng.normal(size=count), events.value).astype(np.float32)),
        )
    )


def halves(data: Dataset) -> tuple[Dataset, Dataset, Dataset]:
    """Every other event, all of them, and the new ones as an update is given them."""
    half = np.arange(len(data.events)) % 2 == 0
    known = data.with_events(data.events.where(half))
    everything, new = join_datasets(known, data.with_events(data.events.where(~half)))
    return known, everything, new
