"""Feedback: what users did -> one weight an event, by kind, success and age."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from nbarec.arrays import Floats32, Floats64, frozen
from nbarec.data import NO_KIND, Dataset
from nbarec.errors import ConfigError, DataError
from nbarec.events import Combine, Events
from nbarec.expressions import Expression
from nbarec.params import Duration, check_params, param
from nbarec.scopes import EventScope

OTHER = "other"

_TRANSFORMS: Mapping[str, Callable[[Floats64], Floats64]] = {
    "none": lambda value: value,
    "log1p": lambda value: np.sign(value) * np.log1p(np.abs(value)),
    "sqrt": lambda value: np.sign(value) * np.sqrt(np.abs(value)),
}


@dataclass(frozen=True)
class Decay:
    """How fast an event loses weight with age."""

    half_life: Duration = param(gt=0, doc="Age at which an event counts half, such as 30d.")

    def __post_init__(self) -> None:
        check_params(self)


@dataclass(frozen=True)
class Feedback:
    """The weight of an event, and how a pair's repeated events become one. In this order:

    1. weight = weights[kind] x f(value); the value is the user's own number, 1 where no value column is mapped, and
       f is the `transform`: sign(v) ln(1 + |v|) or sign(v) sqrt(|v|), which keep heavy tails such as play counts from
       drowning the rest (Hu, Koren, Volinsky 2008, section 6, for the logarithm), or v itself.
    2. A positive weight becomes 0 where `success` definitely fails. Where it is unknown, as for a like that has no
       listened seconds, the weight stays; negative weights stay. In the rule, `weight` is the weight after step 1.
    3. weight = weight x 2 ** (-max(as_of - time, 0) / half_life): exponential decay.
    4. `Events.combine` is set, by which `Events.matrix` makes one weight of a pair's events.

    Negative weights are real negatives: dislikes, not the lack of an event. Each kind in the data needs a weight, or
    the entry `other` stands for those that are not listed.
    """

    weights: Mapping[str, float] | None = param(None, doc="Weight of each kind of event; `other` for the rest.")
    transform: Literal["none", "log1p", "sqrt"] = param("none", doc="What becomes of a value before it is weighed.")
    success: Expression | None = param(None, doc="Rule that an event must not fail to count as positive.")
    decay: Decay | None = param(None, doc="How fast events lose weight with age.")
    combine: Combine = param(Combine(), doc="How repeated events of a user and an item become one weight.")

    def __post_init__(self) -> None:
        check_params(self)

    def apply(self, data: Dataset, as_of: int | None = None) -> Dataset:
        """The same events under the weights of this feedback, the clock at `as_of` (seconds since 1970 UTC).

        Without `as_of` the dataset's own clock counts, never the wall clock. Old weights are not read, so applying
        twice is applying once. Raises ConfigError for a kind without weight, for decay without times and for a wrong
        success rule, DataError where a weight is too large.
        """
        clock = data.as_of if as_of is None else as_of
        value = _TRANSFORMS[self.transform](data.events.value.astype(np.float64))
        weight = self._kind_weights(data.events) * value
        weight = self._after_success(weight, data, clock) * self._decay_factors(data.events, clock)
        events = replace(data.events, weight=_finite(weight, data), combine=self.combine)
        return replace(data, events=events, as_of=clock)

    def _kind_weights(self, events: Events) -> Floats64:
        """What each event's kind weighs: float64 [events]."""
        if self.weights is None:
            return np.ones(len(events))
        other = self.weights.get(OTHER, np.nan)
        by_kind = np.array([*(self.weights.get(kind, other) for kind in events.kinds), other])
        counts = np.bincount(events.kind.astype(np.int64) % len(by_kind), minlength=len(by_kind))
        if (lacking := np.isnan(by_kind) & (counts > 0)).any():
            raise ConfigError(self._without_weight(events, np.where(lacking, counts, 0)))
        return by_kind[events.kind]  # no kind is -1, the last entry

    def _without_weight(self, events: Events, counts: np.ndarray) -> str:
        names = [*(f"kind {kind!r}" for kind in events.kinds), "no kind"]
        lacking = [f"{_events(count)} of {name}" for name, count in zip(names, counts, strict=True) if count]
        listed = ", ".join(self.weights or ()) or "none"
        advice = f"add the kinds, or `{OTHER}` with a weight for all that are not listed"
        if not events.kinds:
            advice = "map a column to `kind`, or remove feedback.weights"
        return f"feedback.weights says nothing of {', '.join(lacking)}; it lists {listed}; {advice}"

    def _after_success(self, weight: Floats64, data: Dataset, clock: int) -> Floats64:
        """The weights, those of definite failures 0 unless they are negative: float64 [events]."""
        if self.success is None:
            return weight
        events = replace(data.events, weight=_finite(weight, data))
        scope = EventScope(events, data.full_catalog(), data.full_audience(), clock)
        return np.where(self.success.truth(scope).fails & (weight > 0), 0.0, weight)

    def _decay_factors(self, events: Events, clock: int) -> Floats64:
        """How much of each event's weight its age leaves: float64 [events]."""
        if self.decay is None or not len(events):
            return np.ones(len(events))
        if not events.time.any():
            raise ConfigError("feedback.decay needs times and the events have none; map a time column or remove decay")
        return np.exp2(-np.maximum(clock - events.time, 0) / self.decay.half_life)


def _finite(weight: Floats64, data: Dataset) -> Floats32:
    """The weights as float32; raises DataError where one does not fit."""
    with np.errstate(over="ignore"):
        narrow = weight.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(narrow))
    if len(bad):
        events, first = data.events, bad[0]
        user, item = data.users.texts([int(events.row[first])])[0], data.items.texts([int(events.item[first])])[0]
        kind = f", kind {events.kinds[events.kind[first]]!r}" if events.kind[first] != NO_KIND else ""
        where = f"the first is of user {user!r}, item {item!r}{kind}, value {events.value[first]:g}"
        advice = "correct the value or lower feedback.weights"
        raise DataError(f"the weight of {_events(len(bad))} is not a finite number; {where}; {advice}")
    return frozen(narrow)


def _events(count: int) -> str:
    return f"{count:,} event{'' if count == 1 else 's'}"
