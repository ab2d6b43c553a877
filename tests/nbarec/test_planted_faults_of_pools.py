"""Faults planted in rankers, post-filters and feature providers: each is caught by the check meant for it alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.arrays import AnyArray, Floats32, Floats64, Ints64, rank_in_row
from nbarec.batch import Pool, Request
from nbarec.components import Component, FeatureProvider, NoState, PostFilter, Ranker
from nbarec.data import Dataset
from nbarec.tables import NumberColumn
from nbarec.testing.checks import checks
from nbarec.testing.checks_of_pools import FEATURE_CHECKS, FILTER_CHECKS, RANKER_CHECKS


@dataclass(frozen=True)
class Twofold(Ranker[NoState]):
    """The score so far, and one more for an entry that `similar` proposed."""

    name: ClassVar[str] = "twofold"

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        return pool.score + (pool.ranks[:, 1] > 0).astype(np.float32)

    def terms(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, Floats64]:
        return {"before": pool.score.astype(np.float64), "similar": (pool.ranks[:, 1] > 0).astype(np.float64)}


@dataclass(frozen=True)
class NeedsEntries(Twofold):
    """It asks for the best score of the pool."""

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        pool.score.max()
        return super().rank(state, request, pool)


@dataclass(frozen=True)
class DividesByNothing(Twofold):
    """It divides a score by itself."""

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        with np.errstate(invalid="ignore"):
            return super().rank(state, request, pool) + 0 * (pool.score / pool.score)


@dataclass(frozen=True)
class ByPlace(Twofold):
    """It goes by the place of an entry in the pool."""

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        return rank_in_row(pool.indptr).astype(np.float32)

    def terms(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, Floats64]:
        return {"place": rank_in_row(pool.indptr).astype(np.float64)}


@dataclass(frozen=True)
class HalfTheTruth(Twofold):
    """It tells one of two terms."""

    def terms(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, Floats64]:
        return {"before": pool.score.astype(np.float64)}


@dataclass(frozen=True)
class FirstThree(PostFilter[NoState]):
    """Keeps three entries of each row."""

    name: ClassVar[str] = "first_three"

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        return np.flatnonzero(rank_in_row(pool.indptr) <= 3)


@dataclass(frozen=True)
class Narrow(FirstThree):
    """Positions of the wrong dtype."""

    def select(self, state: NoState, request: Request, pool: Pool) -> Any:
        return super().select(state, request, pool).astype(np.int32)


@dataclass(frozen=True)
class AsksForTheBest(FirstThree):
    """It asks for the best score of the pool."""

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        pool.score.max()
        return super().select(state, request, pool)


@dataclass(frozen=True)
class Invents(FirstThree):
    """It keeps one entry more than there are."""

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        return np.append(super().select(state, request, pool), len(pool))


@dataclass(frozen=True)
class Doubles(FirstThree):
    """It keeps the first entry of a row twice."""

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        first = pool.indptr[:-1][np.diff(pool.indptr) > 0]
        return np.sort(np.append(super().select(state, request, pool), first))


@dataclass(frozen=True)
class Backwards(FirstThree):
    """It begins with the last row."""

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        return super().select(state, request, pool)[::-1]


@dataclass(frozen=True)
class Rarity(FeatureProvider[NoState]):
    """How rare an item is: 1 / (1 + its events)."""

    name: ClassVar[str] = "rarity"

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def columns_for(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, AnyArray]:
        return {"rarity": 1.0 / (1 + self.events(request, pool)), "new": self.events(request, pool) == 0}

    def columns(self) -> Mapping[str, str]:
        return {"rarity": "1 / (1 + events of the item)", "new": "whether the item has no event"}

    def events(self, request: Request, pool: Pool) -> AnyArray:
        column = request.catalog.columns["events"]
        assert isinstance(column, NumberColumn)
        return column.values[pool.item]


@dataclass(frozen=True)
class OneOverNothing(Rarity):
    """It divides by zero."""

    def columns_for(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, AnyArray]:
        with np.errstate(divide="ignore"):
            return {**super().columns_for(state, request, pool), "rarity": 1.0 / self.events(request, pool)}


@dataclass(frozen=True)
class OnlyWithUsers(Rarity):
    """Its columns are there only if somebody is."""

    def columns_for(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, AnyArray]:
        return super().columns_for(state, request, pool) if len(request) else {}


@dataclass(frozen=True)
class BreaksWithoutEntries(Rarity):
    """It asks for the first entry of the pool."""

    def columns_for(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, AnyArray]:
        return {"first": np.full(len(pool), pool.item[0] * 0.0)}


@dataclass(frozen=True)
class KeepsOneToItself(Rarity):
    """It tells of one of its two columns."""

    def columns(self) -> Mapping[str, str]:
        return {"rarity": "1 / (1 + events of the item)"}


@dataclass(frozen=True)
class SaysNothing(Rarity):
    """It names its columns and does not say what they are."""

    def columns(self) -> Mapping[str, str]:
        return dict.fromkeys(super().columns(), "")


FAULTS: list[tuple[str, Component]] = [
    ("empty_pool", NeedsEntries()),
    ("finite_scores", DividesByNothing()),
    ("permutation_equivariant", ByPlace()),
    ("terms_add_up", HalfTheTruth()),
    ("dtypes_and_shapes", Narrow()),
    ("empty_pool", AsksForTheBest()),
    ("never_invents", Invents()),
    ("never_invents", Doubles()),
    ("rows_in_order", Backwards()),
    ("finite_or_missing", OneOverNothing()),
    ("same_columns_always", OnlyWithUsers()),
    ("empty_pool", BreaksWithoutEntries()),
    ("columns_documented", KeepsOneToItself()),
    ("columns_documented", SaysNothing()),
]


def verdicts(component: Component) -> dict[str, str]:
    return {check.name: check.outcome.verdict for check in checks(component)}


@pytest.mark.parametrize("component", [Twofold(), FirstThree(), Rarity()])
def test_what_is_good_passes_every_check(component: Component) -> None:
    assert "failed" not in verdicts(component).values()


@pytest.mark.parametrize(("meant", "component"), FAULTS, ids=[type(component).__name__ for _, component in FAULTS])
def test_a_fault_is_caught_by_the_check_that_is_meant_for_it(meant: str, component: Component) -> None:
    assert [name for name, verdict in verdicts(component).items() if verdict == "failed"] == [meant]


def test_every_check_of_these_kinds_can_fail() -> None:
    special = (*RANKER_CHECKS, *FILTER_CHECKS, *FEATURE_CHECKS)
    assert {work.__name__ for work in special} <= {meant for meant, _ in FAULTS}
