"""A few users to look at: what they did, what they get, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Ints64
from nbarec.data import Dataset
from nbarec.errors import DataError
from nbarec.explain import Explanation, item_name
from nbarec.ids import TextOrNumber
from nbarec.model import Model
from nbarec.scalars import shown

SAMPLE_STREAM = 11
"""The random stream of the users drawn, apart from those of stages and evaluations."""

GROUPS = ("light", "regular", "heavy")
HISTORY = 8
"""Of a history so many items are told."""


@dataclass(frozen=True)
class Known:
    """One item of a user's history: its id, its name ("" without one) and the user's own number, where there is one."""

    id: str
    name: str
    value: str


@dataclass(frozen=True)
class Shown:
    """One place of a slate: the item's id, its name ("" without one), and how it came there."""

    id: str
    name: str
    why: Explanation


@dataclass(frozen=True)
class SampleUser:
    """One user: of which `group` by `events`, the latest items `known` of `items` different ones, the `slate`, and why
    it is short or empty (`decision`, "" if it is full)."""

    id: str
    group: str
    events: int
    known: tuple[Known, ...]
    slate: tuple[Shown, ...]
    decision: str


def drawn_users(data: Dataset, seed: int, count: int = 10) -> list[TextOrNumber]:
    """So many users who have events, spread over light, regular and heavy ones, the lightest first; all where there are
    not as many. The same seed and data give the same users."""
    active = np.flatnonzero(data.events.counts > 0)
    order = active[np.argsort(data.events.counts[active], kind="stable")]
    parts = np.array_split(order, min(count, max(len(order), 1)))
    rng = np.random.default_rng([seed, SAMPLE_STREAM])
    # One of each of `count` parts of about the same size, from the users of fewest events to those of most.
    return data.users.take([int(rng.choice(part)) for part in parts if len(part)])


def sample_users(model: Model, users: Sequence[TextOrNumber]) -> list[SampleUser]:
    """These users with what is known of them and what they get. Raises DataError for one that the model lacks."""
    at = model.data.users.index(users)
    missing = [user for user, position in zip(users, at.tolist(), strict=True) if position < 0]
    if missing:
        such = ", ".join(shown(one) for one in model.data.users.take(range(min(3, len(model.data.users)))))
        raise DataError(f"the model knows no user {shown(missing[0])}; its ids are such as {such}")
    if not users:
        return []
    slate = model.recommend(users, explain=True)
    bounds = group_bounds(model.data)
    told = zip(users, at.tolist(), slate.explanations, slate.decision, strict=True)
    return [_sample(model.data, str(user), place, bounds, why, said) for user, place, why, said in told]


def group_bounds(data: Dataset) -> tuple[float, float]:
    """Up to how many events a user is a light one, and a regular one: the terciles of those with any."""
    counts = data.events.counts[data.events.counts > 0]
    if not len(counts):
        return 0.0, 0.0
    light, regular = np.quantile(counts, [1 / 3, 2 / 3], method="inverted_cdf").tolist()
    return light, regular


def _sample(
    data: Dataset, user: str, at: int, bounds: tuple[float, float], why: Sequence[Explanation], decision: str
) -> SampleUser:
    events = int(data.events.counts[at])
    group = GROUPS[sum(events > bound for bound in bounds)] if events else "new"
    slate = tuple(Shown(data.items.texts([one.item])[0], _name(data, one.item), one) for one in why)
    return SampleUser(user, group, events, tuple(_history(data, at)), slate, decision)


def _history(data: Dataset, user: int) -> Iterator[Known]:
    """A user's items of positive weight, each once: the latest, or without times those of most weight."""
    events = data.events.take_rows(np.array([user]))
    rated = bool((data.events.value != 1).any())
    for at in _told_first(events.item, events.weight, timed=bool(data.events.time.any()))[:HISTORY].tolist():
        item = int(events.item[at])
        yield Known(data.items.texts([item])[0], _name(data, item), f"{events.value[at]:g}" if rated else "")


def _told_first(item: np.ndarray, weight: np.ndarray, *, timed: bool) -> Ints64:
    positive = np.flatnonzero(weight > 0)[::-1]
    if not timed:
        positive = positive[np.argsort(-weight[positive], kind="stable")]
    _, first = np.unique(item[positive], return_index=True)
    return np.asarray(positive[np.sort(first)])


def _name(data: Dataset, item: int) -> str:
    name = item_name(data, item)
    return "" if name == data.items.texts([item])[0] else name
