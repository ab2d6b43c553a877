"""The base classes that every plugin builds on.

A component is a frozen dataclass: its fields are its YAML parameters, declared with `param`. `fit` returns a frozen
dataclass of arrays, the state, which the engine keeps, saves and hands back; a component itself never changes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Floats64, Ints32, Ints64
from nbarec.batch import Candidates, Pool, Request, Slate
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.evidence import Evidence
from nbarec.expressions import Expression
from nbarec.params import check_params, param
from nbarec.sparse import Csr

__all__ = [
    "CandidateGenerator",
    "Component",
    "DataSource",
    "Evidence",
    "Example",
    "ExposureMetric",
    "FeatureProvider",
    "Findings",
    "HeldOut",
    "ItemVectors",
    "LearningRanker",
    "Metric",
    "NoState",
    "PostFilter",
    "Ranker",
    "Updatable",
    "UserVectors",
    "param",
]

S = TypeVar("S")
Read = TypeVar("Read", contravariant=True)


@dataclass(frozen=True)
class NoState:
    """The state of a component that learns nothing."""


@dataclass(frozen=True)
class Component(ABC):
    """Anything that YAML can `use`. Wrong parameter values raise ValueError at construction."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        check_params(self)


@dataclass(frozen=True)
class Stage(Component, Generic[S]):
    """A component with a state. `state_version` goes up when an old state can no longer be read."""

    state_version: ClassVar[int] = 1

    def generators_named(self) -> Iterable[str]:
        """Ids of generators that the parameters speak of: one that is not in the config is refused before any data
        are read."""
        return ()

    def vectors_named(self) -> Iterable[str]:
        """Ids of generators whose item vectors this stage reads in `pool.vectors`: one that is not in the config, or
        has no `ItemVectors`, is refused before any data are read."""
        return ()

    def learns_as(self, other: Component) -> bool:
        """Whether another component learns the same state from the same data, so that this one can serve with it: one
        with the same parameters, unless some of them are read in serving alone."""
        return self == other

    @abstractmethod
    def fit(self, data: Dataset, rng: np.random.Generator) -> S:
        """Learn from `data`. The annotated return type tells the store how to load the state again."""


@dataclass(frozen=True)
class CandidateGenerator(Stage[S]):
    """Proposes items for each user, from the request's history alone: a new user is nothing special."""

    @abstractmethod
    def generate(self, state: S, request: Request, limit: int) -> Candidates:
        """At most `limit` items a row, best first, none of `request.excluded`, ties by item position."""

    def evidence(self, state: S, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence | None:
        """Why this generator gave its scores to M pairs of a row of the request and an item, both int32 [M].

        With what is told of each pair, at most `limit` parts, and the rest it adds up to the score that `generate`
        gives (within 1e-5 of it, relative to the largest of the row). None where the algorithm has no parts to tell.
        """
        return None


@dataclass(frozen=True)
class FeatureProvider(Stage[S]):
    """Adds named columns to the pool for rankers and rules to use."""

    def columns(self) -> Mapping[str, str]:
        """The columns that it adds, in their order: name -> one line on what it is, for `nbarec inspect --columns`."""
        return {}

    @abstractmethod
    def columns_for(self, state: S, request: Request, pool: Pool) -> Mapping[str, AnyArray]:
        """Each column [N], finite or NaN."""


@dataclass(frozen=True)
class Ranker(Stage[S]):
    """Scores the pool; never drops or reorders entries."""

    @abstractmethod
    def rank(self, state: S, request: Request, pool: Pool) -> Floats32:
        """One score an entry: float32 [N], finite; higher is better."""

    def terms(self, state: S, request: Request, pool: Pool) -> Mapping[str, Floats64] | None:
        """Named parts, each float64 [N], that add up to what `rank` gives (within 1e-6); None for the score as one."""
        return None


@dataclass(frozen=True)
class HeldOut:
    """Which events of the training part a ranker learns from: every stage before it is fitted on the others first, so
    that it sees pools as they are for users whose next events are unknown. Then all of them are fitted on all events.
    """

    split: Literal["auto", "global_time", "last_fraction", "random"] = param(
        "auto",
        doc="The split of that name, as in evaluate.split; auto is global_time where the data have times, else random.",
    )
    fraction: float = param(0.1, gt=0, lt=1, doc="Share of the events that is held out, or of each user's.")
    by: Literal["user", "event"] = param(
        "user",
        doc="user: one request a user, with what was known before the cut, and all his held-out events at once; event: "
        "one request a held-out event that counts, at its moment, with the history known then, and as context its kind "
        "and columns (also those that tell what came of it: no stage may read these).",
    )
    users: int = param(
        5000,
        ge=1,
        doc="Requests to learn from at most, drawn from all there are: users, or with by: event held-out events.",
    )
    relevant: Expression | None = param(None, doc="Which held-out events count; those of weight above 0 if left out.")
    shown: Expression | None = param(
        None,
        doc="With by: event, which held-out events are items that were shown: each is learnt from by itself, with "
        "label 1 where it is relevant. Left out: what was shown is not known, all that was proposed is learnt from.",
    )

    def __post_init__(self) -> None:
        check_params(self)
        if self.shown is not None and self.by != "event":
            raise ValueError("shown is about single events; write by: event beside it, or leave it out")


@dataclass(frozen=True)
class Example:
    """Some requests and their `pool` as it was when the held-out events were not known, and of each entry the `label`
    float32 [N]: 1 where the user has a held-out event with the item that counts, else 0.

    With `by: event` a request stands for one held-out event: `request.now` is its moment, `request.context` has its
    columns, and only its own item can have label 1. With `shown` the pool is that item alone, whoever proposed it.
    `labels` float32 [N] each are those that `LearningRanker.labels` asks for: 1 where a held-out event of the user with
    the item (by: event, of the request itself) fulfils the expression.
    """

    request: Request
    pool: Pool
    label: Floats32
    labels: Mapping[str, Floats32] = field(default_factory=dict)


@dataclass(frozen=True)
class LearningRanker(Ranker[S]):
    """A ranker that learns from what users did with the pools that they would have had.

    `fit` gives what it serves with where there are no examples; its annotated type is that of what `learn` returns.
    """

    held_out: HeldOut = param(HeldOut(), doc="Which events of the training part it learns from.")

    def labels(self) -> Mapping[str, Expression]:
        """Further labels of the examples, by name: expressions over the held-out events, beside `held_out.relevant`."""
        return {}

    @abstractmethod
    def learn(self, examples: Iterable[Example], data: Dataset, rng: np.random.Generator) -> S:
        """Learn from examples, each of which has several requests; they come once, one after the other, and there may
        be none. How many requests one has depends on the memory there is: what is learnt must not."""


@dataclass(frozen=True)
class PostFilter(Stage[S]):
    """Keeps, drops or re-orders entries of the pool, which arrives best first in each row."""

    @abstractmethod
    def select(self, state: S, request: Request, pool: Pool) -> Ints64:
        """Positions kept: int64 [M], unique, in the new order, grouped by row in the order of rows."""


@dataclass(frozen=True)
class DataSource(Component):
    """Loads a dataset: the `data:` section of the config."""

    @abstractmethod
    def load(self) -> Dataset:
        """Everything there is. Raises DataError naming file and line where the data are wrong."""

    def events_from(self, path: str | Path) -> Dataset:
        """The events of another file of the same shape: new ones for an update, or those of a given test file.

        Raises ConfigError where the source has no files.
        """
        raise ConfigError(f"the data source {self.name!r} reads no events file, so {path} can't be used with it")


@dataclass(frozen=True)
class Metric(Component):
    """A measure of slates against held-out events. Its name in configs and reports is `name@k`; `bounds` are the least
    and the largest value that it can have; `by_weight` says that it goes by the weights of held-out events, and not
    only by which count."""

    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    by_weight: ClassVar[bool] = False

    @abstractmethod
    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """One value a row of the slate: float64 [B]; NaN where it is undefined. `truth` (B x items) holds the
        held-out relevant items, `data` is what the pipeline was fitted on."""

    def aggregate(self, values: Floats64, slate: Slate, data: Dataset) -> float:
        """One figure for all users: by default the mean over those for whom it is defined."""
        defined = values[~np.isnan(values)]
        return float(defined.mean()) if len(defined) else float("nan")


@runtime_checkable
class ExposureMetric(Protocol):
    """A metric whose figure for all users depends on nothing but how often each item is shown: intervals, which ask for
    it hundreds of times, are then many times as fast."""

    def of_exposure(self, shown: Ints64, data: Dataset) -> float:
        """What `aggregate` gives for slates that show each item so often: `shown` int64 [items]."""


@runtime_checkable
class Updatable(Protocol[S]):
    """A stage that takes new events without a refit."""

    def update(self, state: S, data: Dataset, new: Dataset) -> S:
        """The state after `new`: `data` is everything, new events included, `new` those alone. Both have the same
        users and items; those the state does not know yet stand at the end."""


@runtime_checkable
class ItemVectors(Protocol[Read]):
    """A stage with a vector for each item, which other stages may compare items by."""

    def item_vectors(self, state: Read) -> Floats32:
        """Finite float32 [items, d], a row for each item that the state knows."""


@runtime_checkable
class UserVectors(ItemVectors[Read], Protocol[Read]):
    """A stage that places users in the same space as its items."""

    def user_vectors(self, state: Read, request: Request) -> Floats32:
        """Finite float32 [B, d], from the request's history; zeros for a row without one."""


@runtime_checkable
class Findings(Protocol[Read]):
    """A stage that can tell what it learnt: `nbarec inspect MODEL --findings` shows it, and evaluation.json has it."""

    def findings(self, state: Read) -> Mapping[str, object]:
        """By name, plain values: numbers, texts, None, lists and mappings of these."""
