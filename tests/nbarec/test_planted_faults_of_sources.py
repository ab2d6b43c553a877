"""Faults planted in metrics and data sources: each is caught by the check that is meant for it, and by no other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats64
from nbarec.batch import Slate
from nbarec.components import Component, DataSource, Metric
from nbarec.data import Dataset
from nbarec.errors import DataError
from nbarec.sparse import Csr
from nbarec.testing.checks import checks
from nbarec.testing.checks_of_metrics import METRIC_CHECKS
from nbarec.testing.checks_of_sources import SOURCE_CHECKS
from nbarec.testing.worlds import tiny_world


@dataclass(frozen=True)
class Filled(Metric):
    """The share of places that are filled."""

    name: ClassVar[str] = "filled"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        return np.asarray((slate.item >= 0).mean(axis=1))


@dataclass(frozen=True)
class Counted(Filled):
    """It counts places, and its bounds speak of a share."""

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        return np.asarray((slate.item >= 0).sum(axis=1), np.float64)


@dataclass(frozen=True)
class Whole(Filled):
    """Values of the wrong dtype."""

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Any:
        return (slate.item >= 0).any(axis=1)


@dataclass(frozen=True)
class NeedsAUser(Filled):
    """It gives the largest value of all."""

    def aggregate(self, values: Floats64, slate: Slate, data: Dataset) -> float:
        return float(values.max())


@dataclass(frozen=True)
class FirstUser(Filled):
    """It speaks of the first user alone."""

    def aggregate(self, values: Floats64, slate: Slate, data: Dataset) -> float:
        return float(values[0]) if len(values) else float("nan")


@dataclass(frozen=True)
class Tiny(DataSource):
    """The tiny world."""

    name: ClassVar[str] = "tiny"

    def load(self) -> Dataset:
        return tiny_world()


@dataclass(frozen=True)
class ShortTable(Tiny):
    """An item lacks its row."""

    def load(self) -> Dataset:
        return replace(tiny_world(), catalog=tiny_world().catalog.take(np.arange(7)))


@dataclass(frozen=True)
class LatestFirst(Tiny):
    """Events stand in the wrong order."""

    def load(self) -> Dataset:
        data = tiny_world()
        return data.with_events(replace(data.events, time=data.as_of - data.events.time))


@dataclass(frozen=True)
class Different(Tiny):
    """The clock is another each time."""

    def load(self) -> Dataset:
        data = tiny_world()
        return replace(data, as_of=data.as_of + int(np.random.default_rng().integers(2**40)))


@dataclass(frozen=True)
class KindsInAList(Tiny):
    """A part is of a type that can't be saved."""

    def load(self) -> Dataset:
        data = tiny_world()
        return data.with_events(replace(data.events, kinds=list(data.events.kinds)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class FindsNothing(Tiny):
    """It takes a file that is not there for an empty one."""

    def events_from(self, path: str | Path) -> Dataset:
        return Dataset.from_arrays([], [])


@dataclass(frozen=True)
class NamesNoFile(Tiny):
    """It does not say which file is missing."""

    def events_from(self, path: str | Path) -> Dataset:
        raise DataError("there is no file")


FAULTS: list[tuple[str, Component]] = [
    ("within_bounds", Counted()),
    ("dtypes_and_shapes", Whole()),
    ("empty_slates", NeedsAUser()),
    ("one_figure", FirstUser()),
    ("loads_a_dataset", ShortTable()),
    ("events_in_order", LatestFirst()),
    ("second_load_equals_first", Different()),
    ("data_round_trip", KindsInAList()),
    ("missing_events_file", FindsNothing()),
    ("missing_events_file", NamesNoFile()),
]


def verdicts(component: Component) -> dict[str, str]:
    return {check.name: check.outcome.verdict for check in checks(component)}


@pytest.mark.parametrize("component", [Filled(), Tiny()])
def test_what_is_good_passes_every_check(component: Component) -> None:
    assert "failed" not in verdicts(component).values()


@pytest.mark.parametrize(("meant", "component"), FAULTS, ids=[type(component).__name__ for _, component in FAULTS])
def test_a_fault_is_caught_by_the_check_that_is_meant_for_it(meant: str, component: Component) -> None:
    assert [name for name, verdict in verdicts(component).items() if verdict == "failed"] == [meant]


def test_every_check_of_these_kinds_can_fail() -> None:
    special = (*METRIC_CHECKS, *SOURCE_CHECKS)
    assert {work.__name__ for work in special} <= {meant for meant, _ in FAULTS}
