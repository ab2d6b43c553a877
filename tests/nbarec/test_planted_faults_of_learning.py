"""Faults planted in rankers that learn: each is caught by the check meant for it alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats32
from nbarec.batch import Pool, Request
from nbarec.components import Component, Example, LearningRanker
from nbarec.data import Dataset
from nbarec.testing.checks import checks
from nbarec.testing.checks_of_learning import LEARNING_CHECKS


@dataclass(frozen=True)
class Share:
    """How many of the entries were chosen."""

    chosen: float
    entries: float


@dataclass(frozen=True)
class Hopes(LearningRanker[Share]):
    """The score so far times the share of entries that were chosen."""

    name: ClassVar[str] = "hopes"

    def fit(self, data: Dataset, rng: np.random.Generator) -> Share:
        return Share(1.0, 2.0)

    def learn(self, examples: Iterable[Example], data: Dataset, rng: np.random.Generator) -> Share:
        told = [(float(one.label.sum()), len(one.label)) for one in examples]
        return Share(sum(chosen for chosen, _ in told), sum(entries for _, entries in told))

    def rank(self, state: Share, request: Request, pool: Pool) -> Floats32:
        return pool.score * np.float32(state.chosen / max(state.entries, 1))


@dataclass(frozen=True)
class HearsTheFirst(Hopes):
    """It learns from the first users alone, however many they are."""

    def learn(self, examples: Iterable[Example], data: Dataset, rng: np.random.Generator) -> Share:
        return super().learn(list(examples)[:1], data, rng)


@dataclass(frozen=True)
class NeedsExamples(Hopes):
    """Before it has learnt it hopes without bounds."""

    def fit(self, data: Dataset, rng: np.random.Generator) -> Share:
        return Share(np.inf, 1.0)


FAULTS: list[tuple[str, Component]] = [
    ("learns_the_same_from_any_batches", HearsTheFirst()),
    ("serves_without_examples", NeedsExamples()),
]


def verdicts(component: Component) -> dict[str, str]:
    return {check.name: check.outcome.verdict for check in checks(component)}


def test_what_is_good_passes_every_check() -> None:
    found = verdicts(Hopes())
    assert "failed" not in found.values()
    assert {found[work.__name__] for work in LEARNING_CHECKS} == {"ok"}


@pytest.mark.parametrize(("meant", "component"), FAULTS, ids=[type(component).__name__ for _, component in FAULTS])
def test_a_fault_is_caught_by_the_check_that_is_meant_for_it(meant: str, component: Component) -> None:
    assert [name for name, verdict in verdicts(component).items() if verdict == "failed"] == [meant]


def test_every_check_of_learning_can_fail() -> None:
    assert {work.__name__ for work in LEARNING_CHECKS} == {meant for meant, _ in FAULTS}
