"""Neighbourhood models give the same bits whatever the number of workers, the blocks and the way to add up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from nbarec.batch import Request
from nbarec.data import Dataset, EventColumns
from nbarec.events import Combine
from nbarec.ids import Ids
from nbarec.tables import Table
from nbarec.testing.worlds import request_for
from nbarec.work import Work, working
from nbarec_plugins import row_products
from nbarec_plugins.item_cf import ItemCf
from nbarec_plugins.session import Session
from nbarec_plugins.user_cf import UserCf

RNG = np.random.default_rng(0)
MODELS: list[Any] = [
    *(ItemCf(similarity=name) for name in ("cosine", "adjusted_cosine", "pearson", "jaccard", "conditional")),
    ItemCf(score="mean", shrink=2.0, neighbors=20),
    UserCf(),
    UserCf(alpha=0.5, item_discount=0.0, neighbors=20, min_neighbors=2),
    UserCf(similarity="pearson", score="mean", neighbors=20),
    Session(),
]
WEIGHTS = {"ones": [1.0], "ratings": [1.0, 2.0, 3.5, 5.0], "signed": [-1.0, 0.0, 0.5, 2.0]}


def world(kind: str) -> Dataset:
    """120 users and 90 items: a few of either have much."""
    rng = np.random.default_rng(7)
    user, item = (rng.integers(0, 120, 3000) * rng.random(3000)).astype(np.int64), rng.zipf(1.4, 3000) % 90
    weight = rng.choice(WEIGHTS[kind], 3000)
    columns = EventColumns(user, item.astype(np.int64), weight, weight, np.zeros(3000))
    events = columns.sorted_events(120, 90, Combine("last"))
    return Dataset.of(Ids.of(range(120)), Ids.of(range(90)), events, Table(90), Table(120))


@contextmanager
def way(block: int, crowded: float, workers: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, working(Work(workers=workers)):
        patch.setattr(row_products, "BLOCK", block)
        for share in ("COUNTED", "COUNTED_SHORT", "SUMMED"):
            patch.setattr(row_products, share, crowded)
        yield


def bits_of(state: Any) -> list[bytes]:
    """The bytes of all arrays of a state."""
    if isinstance(state, np.ndarray):
        return [state.tobytes()]
    return [one for part in getattr(state, "__dataclass_fields__", ()) for one in bits_of(getattr(state, part))]


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_workers_blocks_and_counters_change_no_bit(model: Any, kind: str) -> None:
    data = world(kind)
    request: Request = request_for(data, list(range(120)))
    state = model.fit(data, RNG)
    served = model.generate(state, request, 15)
    assert len(served) or kind == "ones"  # without a spread there is no correlation
    for block, crowded, workers in ((8 << 9, 0.2, 2), (8 << 9, 0.2, 3), (8 << 18, 0.0, 1), (8 << 10, 1e9, 2)):
        with way(block, crowded, workers):
            again = model.fit(data, RNG)
            assert bits_of(again) == bits_of(state)
            assert bits_of(model.generate(again, request, 15)) == bits_of(served)
