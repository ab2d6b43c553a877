"""Faults that any component can have, planted in a ranker: each is caught by the check that is meant for it alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats32, Floats64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import Ranker, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.testing.checks import checks
from nbarec.testing.checks_of_answers import ANSWER_CHECKS
from nbarec.testing.checks_of_parameters import PARAMETER_CHECKS
from nbarec.testing.checks_of_stages import STAGE_CHECKS


@dataclass(frozen=True)
class Counted:
    """`events` float64 [items]: how many events each has; `further` is whatever a fault wants to keep."""

    events: Floats64
    further: float = 0.0


def events_of(data: Dataset) -> Floats64:
    return frozen(data.item_counts.astype(np.float64))


@dataclass(frozen=True)
class Known(Ranker[Counted]):
    """Adds to a score how often its item was met, and how much its user has done."""

    name: ClassVar[str] = "known"
    weight: float = param(1.0, ge=0, lt=9, doc="How much a meeting counts.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> Counted:
        return Counted(events_of(data))

    def update(self, state: Counted, data: Dataset, new: Dataset) -> Counted:
        return self.fit(data, np.random.default_rng(0))

    def done(self, request: Request) -> Floats64:
        return request.history.counts.astype(np.float64)

    def rank(self, state: Counted, request: Request, pool: Pool) -> Floats32:
        met = self.weight * state.events[pool.item]
        return (pool.score + met + self.done(request)[pool.row]).astype(np.float32)


class Undecorated(Known):
    """Its class lacks the decorator."""


@dataclass(frozen=True)
class Undocumented(Known):
    def more(self) -> None: ...


@dataclass(frozen=True)
class Unexplained(Known):
    """Nobody says what its parameter is for."""

    weight: float = param(1.0, ge=0, lt=9)


@dataclass(frozen=True)
class DefaultOutOfBounds(Known):
    """Its default breaks its own bound."""

    weight: float = param(-1.0, ge=0, doc="How much a meeting counts.")


@dataclass(frozen=True)
class TakesAnything(Known):
    """Its __post_init__ forgets to check."""

    def __post_init__(self) -> None:
        pass


@dataclass(frozen=True)
class SaysLittle(Known):
    """It refuses a wrong parameter and does not say which."""

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except ValueError:
            raise ValueError("something is wrong") from None


@dataclass(frozen=True)
class RefusesAll(Known):
    """It is never content with the data."""

    def fit(self, data: Dataset, rng: np.random.Generator) -> Counted:
        raise ConfigError("known needs a column 'height'")


@dataclass(frozen=True)
class WideScores(Known):
    """Scores of the wrong dtype."""

    def rank(self, state: Counted, request: Request, pool: Pool) -> Any:
        return super().rank(state, request, pool).astype(np.float64)


@dataclass(frozen=True)
class BatchScale(Known):
    """What a user has done is relative to the busiest of the batch."""

    def done(self, request: Request) -> Floats64:
        return np.asarray(super().done(request) / request.history.counts.max(initial=1))


@dataclass(frozen=True)
class UsersInOrder(Known):
    """It takes for granted that users come in ascending order."""

    def done(self, request: Request) -> Floats64:
        return np.take(super().done(request), np.argsort(request.user, kind="stable"))


@dataclass(frozen=True)
class NeedsSomebody(Known):
    """It asks who has done most."""

    def done(self, request: Request) -> Floats64:
        return np.asarray(np.minimum(super().done(request), request.history.counts.max()))


@dataclass(frozen=True)
class NeedsKnownUsers(Known):
    """It counts users by their positions."""

    def done(self, request: Request) -> Floats64:
        np.bincount(request.user)
        return super().done(request)


@dataclass(frozen=True)
class NeedsTwoItems(Known):
    """It asks for the item that was met second most."""

    def fit(self, data: Dataset, rng: np.random.Generator) -> Counted:
        return Counted(events_of(data), float(np.partition(data.item_counts, -2)[-2]))


@dataclass(frozen=True)
class NeedsEvents(Known):
    """It asks when the latest event was."""

    def fit(self, data: Dataset, rng: np.random.Generator) -> Counted:
        return Counted(events_of(data), float(data.events.time.max()))


@dataclass(frozen=True)
class NeedsArtists(Known):
    """It looks up a column and does not say what is missing."""

    def fit(self, data: Dataset, rng: np.random.Generator) -> Counted:
        return Counted(events_of(data), float(data.catalog.columns["artist"] is not None))


@dataclass(frozen=True)
class NeedsLikes(Known):
    """It asks for the least weight of what was liked."""

    def fit(self, data: Dataset, rng: np.random.Generator) -> Counted:
        weight = data.events.weight
        return Counted(events_of(data), float(weight[weight > 0].min()) if len(weight) else 0.0)


@dataclass(frozen=True)
class Scribbles(Known):
    """It writes into an array of the request."""

    def done(self, request: Request) -> Floats64:
        request.history.value[:] = 1
        return super().done(request)


@dataclass(frozen=True)
class Unlocks(Known):
    """It makes an array of the request writable for a while."""

    def done(self, request: Request) -> Floats64:
        value = request.history.value
        before = value.flags.writeable
        value.setflags(write=True)
        value.setflags(write=before)
        return super().done(request)


@dataclass(frozen=True)
class LeavesATrace(Known):
    """It writes into a mapping of the request."""

    def done(self, request: Request) -> Floats64:
        request.context["done"] = super().done(request)  # type: ignore[index]
        return super().done(request)


@dataclass(frozen=True)
class OwnRandomness(Known):
    """It draws random numbers of its own."""

    def fit(self, data: Dataset, rng: np.random.Generator) -> Counted:
        return Counted(events_of(data), float(np.random.default_rng().random()))


@dataclass(frozen=True)
class Remembers(Known):
    """It keeps what it has seen in itself."""

    def fit(self, data: Dataset, rng: np.random.Generator) -> Counted:
        seen = vars(self).get("_seen", 0)
        vars(self)["_seen"] = seen + len(data.items)
        return Counted(events_of(data), float(seen))


@dataclass(frozen=True)
class KeepsAList(Known):
    """Its state holds a list, which the store can't save."""

    def fit(self, data: Dataset, rng: np.random.Generator) -> Counted:
        return Counted(events_of(data), [1.0])  # type: ignore[arg-type]


@dataclass(frozen=True)
class Forgets(Known):
    """An update knows what is new alone."""

    def update(self, state: Counted, data: Dataset, new: Dataset) -> Counted:
        return self.fit(new, np.random.default_rng(0))


@dataclass(frozen=True)
class NeverGrows(Known):
    """An update leaves new items out."""

    def update(self, state: Counted, data: Dataset, new: Dataset) -> Counted:
        return state


FAULTS: list[tuple[str, Known]] = [
    ("declared_as_a_plugin", Undecorated()),
    ("documented", Undocumented()),
    ("documented", Unexplained()),
    ("defaults_construct", DefaultOutOfBounds(weight=1.0)),
    ("bad_parameters_refused", TakesAnything()),
    ("bad_parameters_refused", SaysLittle()),
    ("accepts_a_world", RefusesAll()),
    ("dtypes_and_shapes", WideScores()),
    ("batch_equals_single", BatchScale()),
    ("order_of_the_batch", UsersInOrder()),
    ("empty_batch", NeedsSomebody()),
    ("unknown_users", NeedsKnownUsers()),
    ("one_user_one_item", NeedsTwoItems()),
    ("no_events", NeedsEvents()),
    ("no_attributes", NeedsArtists()),
    ("only_dislikes", NeedsLikes()),
    ("read_only_inputs", Scribbles()),
    ("memory_mapped_inputs", Unlocks()),
    ("inputs_not_mutated", LeavesATrace()),
    ("same_seed_same_bytes", OwnRandomness()),
    ("second_fit_equals_first", Remembers()),
    ("state_round_trip", KeepsAList()),
    ("update_with_nothing_new", Forgets()),
    ("update_with_new_users_and_items", NeverGrows()),
]


def verdicts(component: Known) -> dict[str, str]:
    return {check.name: check.outcome.verdict for check in checks(component)}


def test_a_good_ranker_passes_every_check() -> None:
    assert {name for name, verdict in verdicts(Known()).items() if verdict != "ok"} == {"terms_add_up"}


@pytest.mark.parametrize(("meant", "component"), FAULTS, ids=[type(component).__name__ for _, component in FAULTS])
def test_a_fault_is_caught_by_the_check_that_is_meant_for_it(meant: str, component: Known) -> None:
    assert [name for name, verdict in verdicts(component).items() if verdict == "failed"] == [meant]


def test_every_check_of_any_component_can_fail() -> None:
    common = (*PARAMETER_CHECKS, *ANSWER_CHECKS, *STAGE_CHECKS)
    assert {work.__name__ for work in common} <= {meant for meant, _ in FAULTS}
