"""The checks that tests of feature providers share can tell a good provider from a bad one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest

from nbarec.arrays import AnyArray
from nbarec.batch import Pool, Request
from nbarec.components import FeatureProvider, NoState
from nbarec.data import Dataset
from nbarec.testing.check_worlds import main_worlds
from nbarec.testing.worlds import pool_in_order, request_for

BUSY: Dataset = main_worlds()[1].data


@dataclass(frozen=True)
class Honest(FeatureProvider[NoState]):
    """One column of a number a user, of his events until now."""

    name: ClassVar[str] = "tells"

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def columns_for(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, AnyArray]:
        return {"told": self.told(request)[pool.row]}

    def told(self, request: Request) -> AnyArray:
        events = request.history
        known = events.time <= request.now[events.row]
        return np.bincount(events.row[known], events.item[known] + events.weight[known], len(request))


class Early(Honest):
    """Of all his events."""

    def told(self, request: Request) -> AnyArray:
        return np.bincount(request.history.row, request.history.weight, len(request))


class Compared(Honest):
    """Beside the others of the batch."""

    def told(self, request: Request) -> AnyArray:
        return super().told(request) - super().told(request).mean()


def asked(data: Dataset, now: int) -> tuple[Request, Pool]:
    request = request_for(data, now=now)
    return request, pool_in_order(request, [[0, 3]] * len(request))


@pytest.mark.parametrize(("provider", "caught"), [(Honest(), set()), (Compared(), {"told"})])
def test_who_looks_at_the_others_of_a_batch_is_caught(
    feature_checks: ModuleType, provider: Honest, caught: set[str]
) -> None:
    assert feature_checks.differing_alone(provider, NoState(), *asked(BUSY, BUSY.as_of)) == caught


@pytest.mark.parametrize(("provider", "caught"), [(Honest(), set()), (Early(), {"told"})])
def test_who_looks_at_what_comes_later_is_caught(
    feature_checks: ModuleType, provider: Honest, caught: set[str]
) -> None:
    now = int(np.median(BUSY.events.time))
    worlds = (BUSY, feature_checks.scrambled_after(BUSY, now, seed=0))
    before, after = (provider.columns_for(NoState(), *asked(data, now)) for data in worlds)
    assert feature_checks.differing(before, after) == caught


def test_a_column_that_is_missing_differs(feature_checks: ModuleType) -> None:
    one, other = np.array([1.0]), np.array([2.0])
    assert feature_checks.differing({"a": one, "b": one}, {"b": other, "c": one}) == {"a", "b", "c"}


def test_halves_are_all_events(feature_checks: ModuleType) -> None:
    known, everything, new = feature_checks.halves(BUSY)
    assert abs(len(known.events) - len(new.events)) <= 1
    assert len(known.events) + len(new.events) == len(everything.events) == len(BUSY.events)
