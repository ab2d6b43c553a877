"""Faults planted in a generator: each is caught by the check that is meant for it, and by no other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats32, Floats64, frozen
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, Component, Evidence, param
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.kernels import NOT_PROPOSED, exclude, top_of_dense
from nbarec.testing.checks import checks
from nbarec.testing.checks_of_generators import GENERATOR_CHECKS


@dataclass(frozen=True)
class Together:
    """`users` float64 [items, items]: how many users like both."""

    users: Floats64


def liked(events: Events) -> Floats64:
    return (events.matrix().to_dense() > 0).astype(np.float64)


@dataclass(frozen=True)
class Plain(CandidateGenerator[Together]):
    """Scores an item by how many users like it together with each of the items that the user likes."""

    name: ClassVar[str] = "plain"
    least: float = param(0.0, ge=0, le=9, doc="Scores must be above it.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> Together:
        found = liked(data.events)
        return Together(frozen(found.T @ found))

    def scores(self, state: Together, request: Request) -> Floats64:
        scores = liked(request.history) @ state.users
        scores[scores <= self.least] = NOT_PROPOSED
        return scores

    def generate(self, state: Together, request: Request, limit: int) -> Candidates:
        return top_of_dense(exclude(self.scores(state, request), request.excluded), limit)


@dataclass(frozen=True)
class Rich(Plain):
    """The same with all that a generator may have besides."""

    def update(self, state: Together, data: Dataset, new: Dataset) -> Together:
        return self.fit(data, np.random.default_rng(0))

    def item_vectors(self, state: Together) -> Floats32:
        return frozen(state.users.astype(np.float32))

    def user_vectors(self, state: Together, request: Request) -> Floats32:
        return frozen(liked(request.history).astype(np.float32))

    def evidence(self, state: Together, request: Request, row: Any, item: Any, limit: int = 3) -> Evidence:
        pair, part = np.nonzero(liked(request.history)[row] * state.users[:, item].T)
        amount = state.users[part, item[pair]]
        score = np.bincount(pair, weights=amount, minlength=len(row)).astype(np.float64)
        return Evidence.strongest(pair, part.astype(np.int32), amount, score, limit, "you played {}")


@dataclass(frozen=True)
class WideScores(Plain):
    """Scores of the wrong dtype."""

    def generate(self, state: Together, request: Request, limit: int) -> Any:
        found = super().generate(state, request, limit)
        return replace(found, score=found.score.astype(np.float64))


@dataclass(frozen=True)
class NoLimit(Plain):
    """It gives all it has."""

    def generate(self, state: Together, request: Request, limit: int) -> Candidates:
        return super().generate(state, request, request.n_items)


@dataclass(frozen=True)
class LimitTooLarge(Plain):
    """It takes a limit above the catalogue for a mistake."""

    def generate(self, state: Together, request: Request, limit: int) -> Candidates:
        return super().generate(state, request, limit if limit <= max(request.n_items, 5) else 1)


@dataclass(frozen=True)
class IgnoresExcluded(Plain):
    """It proposes what it must not."""

    def generate(self, state: Together, request: Request, limit: int) -> Candidates:
        return top_of_dense(self.scores(state, request), limit)


@dataclass(frozen=True)
class Twice(Plain):
    """The last item of a row is the first once more."""

    def generate(self, state: Together, request: Request, limit: int) -> Candidates:
        found = super().generate(state, request, limit)
        item, filled = found.item.copy(), np.flatnonzero(np.diff(found.indptr) > 1)
        item[found.indptr[1:][filled] - 1] = item[found.indptr[:-1][filled]]
        return replace(found, item=item)


@dataclass(frozen=True)
class OneBeyond(Plain):
    """The last item of a row is one that there is not."""

    def generate(self, state: Together, request: Request, limit: int) -> Candidates:
        found = super().generate(state, request, limit)
        item, filled = found.item.copy(), np.flatnonzero(np.diff(found.indptr))
        item[found.indptr[1:][filled] - 1] = request.n_items
        return replace(found, item=item)


@dataclass(frozen=True)
class Infinite(Plain):
    """The best score is infinite."""

    def generate(self, state: Together, request: Request, limit: int) -> Candidates:
        found = super().generate(state, request, limit)
        score = found.score.copy()
        score[found.indptr[:-1][np.diff(found.indptr) > 0]] = np.inf
        return replace(found, score=score)


@dataclass(frozen=True)
class ByPosition(Plain):
    """The best are there, and stand by item position."""

    def generate(self, state: Together, request: Request, limit: int) -> Candidates:
        found = super().generate(state, request, limit)
        order = np.lexsort((found.item, np.repeat(np.arange(len(request)), np.diff(found.indptr))))
        return Candidates(found.indptr, found.item[order], found.score[order])


@dataclass(frozen=True)
class LastOfEqual(Plain):
    """Of equal scores the last item comes first."""

    def generate(self, state: Together, request: Request, limit: int) -> Candidates:
        backwards = top_of_dense(exclude(self.scores(state, request), request.excluded)[:, ::-1], limit)
        return replace(backwards, item=(request.n_items - 1 - backwards.item).astype(np.int32))


@dataclass(frozen=True)
class TooMuchEvidence(Rich):
    """It tells twice what an item of the history adds."""

    def evidence(self, state: Together, request: Request, row: Any, item: Any, limit: int = 3) -> Evidence:
        found = super().evidence(state, request, row, item, limit)
        return replace(found, amount=2 * found.amount)


@dataclass(frozen=True)
class WideVectors(Rich):
    """Item vectors of the wrong dtype."""

    def item_vectors(self, state: Together) -> Any:
        return state.users


@dataclass(frozen=True)
class EverybodyIsSomewhere(Rich):
    """Users without a history have a place, too."""

    def user_vectors(self, state: Together, request: Request) -> Floats32:
        return super().user_vectors(state, request) + np.float32(0.5)


@dataclass(frozen=True)
class NeverGrows(Rich):
    """An update leaves new items out."""

    def update(self, state: Together, data: Dataset, new: Dataset) -> Together:
        return state


@dataclass(frozen=True)
class StrangeEvidence(Rich):
    """It speaks of items that the user never met."""

    def evidence(self, state: Together, request: Request, row: Any, item: Any, limit: int = 3) -> Evidence:
        found = super().evidence(state, request, row, item, limit)
        return replace(found, item=np.full_like(found.item, request.n_items - 1))


FAULTS: list[tuple[str, Plain]] = [
    ("dtypes_and_shapes", WideScores()),
    ("never_more_than_asked", NoLimit()),
    ("limit_above_the_catalogue", LimitTooLarge()),
    ("excluded_items_never_returned", IgnoresExcluded()),
    ("no_duplicates", Twice()),
    ("items_of_the_catalogue", OneBeyond()),
    ("finite_scores", Infinite()),
    ("best_first", ByPosition()),
    ("ties_by_item_position", LastOfEqual()),
    ("evidence_adds_up", TooMuchEvidence()),
    ("evidence_adds_up", StrangeEvidence()),
    ("item_vectors", WideVectors()),
    ("user_vectors", EverybodyIsSomewhere()),
    ("update_with_new_users_and_items", NeverGrows()),
]


def verdicts(component: Component) -> dict[str, str]:
    return {check.name: check.outcome.verdict for check in checks(component)}


def test_a_good_generator_passes_every_check() -> None:
    assert set(verdicts(Rich()).values()) == {"ok"}
    skipped = {name for name, verdict in verdicts(Plain()).items() if verdict != "ok"}
    updates = {"update_with_nothing_new", "update_with_new_users_and_items"}
    assert skipped == {"evidence_adds_up", "item_vectors", "user_vectors", *updates}


@pytest.mark.parametrize(("meant", "component"), FAULTS, ids=[type(component).__name__ for _, component in FAULTS])
def test_a_fault_is_caught_by_the_check_that_is_meant_for_it(meant: str, component: Plain) -> None:
    assert [name for name, verdict in verdicts(component).items() if verdict == "failed"] == [meant]


def test_every_check_of_generators_can_fail() -> None:
    assert {work.__name__ for work in GENERATOR_CHECKS} <= {meant for meant, _ in FAULTS}
