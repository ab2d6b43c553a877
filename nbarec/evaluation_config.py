"""The `evaluate:` section of a config: what is held out, and what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
class EvaluateConfig:
    """What is held out, and what is measured."""

    split: MapNode = param(doc="{use: last_fraction, fraction: 0.2}, or another split.")
    metrics: tuple[str, ...] = param(doc="Names with places, such as ndcg@10.")
    relevant: Expression | None = param(None, doc="Which held-out events count; those of weight above 0 if left out.")
    repeats: bool = param(False, doc="Whether items count that the user already has in the training part.")
    variants: Mapping[str, MapNode] = param(
        {}, doc="Name: other values at dotted paths (as --set writes them), measured beside the config as it stands."
    )
    cold_start: ColdStart | None = param(None, doc="Measure users and items by how many events are known of them.")
