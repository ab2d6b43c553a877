"""The `evaluate:` section of a config: what is held out, and what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from nbarec.expressions import Expression
from nbarec.marked import MapNode
from nbarec.params import check_params, param


@dataclass(frozen=True)
class ColdStart:
    """Quality by how many events are known: of new users, and of new items."""

    users: tuple[int, ...] = param((0, 1, 2, 5, 10), ge=0, doc="Numbers of events of new users; none: not measured.")
    items: tuple[int, ...] = param((0, 1, 5), ge=0, doc="Numbers of events of new items; none: not measured.")
    fraction: float = param(0.2, gt=0, lt=1, doc="Share of users, and of items, that are taken as new.")
    metric: str = param("ndcg@10", doc="What is measured.")

    def __post_init__(self) -> None:
        check_params(self)


@dataclass(frozen=True)
class SegmentsBy:
    """Figures of some users, or of some of the items to be found, apart."""

    by: str = param(doc="history, popularity (of the held-out items), or a column of users, such as user.country.")
    at: tuple[float, ...] = param((), doc="Where history or a number is cut, such as [5, 50]; its terciles if empty.")
    head: float = param(0.8, gt=0, lt=1, doc="Of popularity: the head has the items that make this share of events.")
    largest: int = param(10, ge=1, doc="Of a column of texts: so many levels have a line, the rest are others.")

    def __post_init__(self) -> None:
        check_params(self)
        kind, _, column = self.by.partition(".")
        if self.by not in ("history", "popularity") and not (kind == "user" and column):
            raise ValueError(f"by is {self.by!r}; write history, popularity or a column of users, such as user.country")
        if any(one >= other for one, other in pairwise(self.at)):
            raise ValueError(f"at must rise, not {list(self.at)}")


@dataclass(frozen=True)
class Sampled:
    """Lists among sampled items alone: each user's relevant items and as many others as `negatives` says."""

    negatives: int = param(100, ge=1, doc="Items that are drawn for each user, of those the user has no event with.")
    seed: int = param(0, ge=0, doc="Another seed draws other items.")

    def __post_init__(self) -> None:
        check_params(self)


@dataclass(frozen=True)
class EvaluateConfig:
    """What is held out, and what is measured."""

    split: MapNode = param(doc="{use: last_fraction, fraction: 0.2}, or another split.")
    metrics: tuple[str, ...] = param(doc="Names with places, such as ndcg@10.")
    relevant: Expression | None = param(None, doc="Which held-out events count; those of weight above 0 if left out.")
    each: Literal["user", "event"] = param(
        "user",
        doc="user: one list a user, with what was known before the cut, against all that he did; event: one list a "
        "held-out event that counts, against its item alone, at its moment, with the history known then, and as "
        "context its kind and columns (also those that tell what came of it: no stage may read these).",
    )
    repeats: bool = param(False, doc="Whether items count that the user already has in the history.")
    variants: Mapping[str, MapNode] = param(
        {}, doc="Name: other values at dotted paths (as --set writes them), measured beside the config as it stands."
    )
    cold_start: ColdStart | None = param(None, doc="Measure users and items by how many events are known of them.")
    segments: tuple[SegmentsBy, ...] = param((), doc="Measure some users, or some of the items to be found, apart.")
    stage_losses: bool = param(True, doc="Tell at which stage held-out items were left.")
    sampled: Sampled | None = param(None, doc="Only where a published table does so: lists of sampled items.")
