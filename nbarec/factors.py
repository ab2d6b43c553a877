"""What the latent factors of a fitted generator stand for: the items at their ends, what these share, and users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbarec.arrays import AnyArray, Floats64, Ints64, frozen
from nbarec.components import ItemVectors, UserVectors
from nbarec.contracts import guarded
from nbarec.errors import ConfigError, ContractError, DataError
from nbarec.ids import TextOrNumber
from nbarec.model import Model
from nbarec.serving import item_vectors, known_part, stage_request
from nbarec.stages import GeneratorStage
from nbarec.traits import Trait, Traits, label_of
from nbarec.varimax import varimax

STRONGEST = 20
"""A pole is described by at most so many items."""

STRONG = 0.1
"""An item with less than this share of the pole's largest loading does not describe it."""

POLE = 0.5
"""A factor's weaker side is a pole of its own where its largest loading is at least this share of the other's."""


@dataclass(frozen=True)
class Pole:
    """One end of a factor: the items that it holds most of, strongest first, and what they share.

    `factor` counts from 1, `sign` is 1 or -1; `items` int64 [n], `loading` float64 [n], their size, positive.
    """

    factor: int
    sign: int
    items: Ints64
    loading: Floats64
    traits: tuple[Trait, ...]

    @property
    def label(self) -> str:
        """The traits in words; `mixed` without any."""
        return label_of(self.traits)


@dataclass(frozen=True)
class Factors:
    """A generator's item vectors, read factor by factor.

    `loadings` float64 [items, d]: the vectors, turned to simple structure where any value is negative; `rotation`
    float64 [d, d] is how, or None; `poles` in the order of factors: one each, or two where both ends are strong, or
    none where a factor is all zeros.
    """

    stage: GeneratorStage
    loadings: Floats64
    rotation: Floats64 | None
    poles: tuple[Pole, ...]

    @classmethod
    def of(cls, model: Model, stage_id: str | None = None) -> Factors:
        """Those of the stage of that id; of the only one with item vectors, if it is left out.

        Raises ConfigError where there is no such stage, or more than one, or where it could not be fitted.
        """
        stage = _stage_with_vectors(model, stage_id)
        fitted = model.fitted[stage.id]
        if fitted.failed:
            raise ConfigError(f"{stage.who} has no latent factors: it {fitted.failed}")
        vectors = item_vectors(stage, fitted)
        # Factors that can't be negative are parts as they are; others are only fixed up to a rotation.
        rotation = varimax(vectors) if (vectors < 0).any() else None
        loadings = _turned(vectors, rotation)
        catalog = model.data.catalog.take(np.arange(fitted.n_items))
        return cls(stage, frozen(loadings), rotation, tuple(poles_of(loadings, Traits.of(catalog))))

    def user_loadings(self, model: Model, users: Sequence[TextOrNumber]) -> Floats64:
        """The users in the same rotation: float64 [users, d]; zeros for one without a history that the stage reads.

        Raises DataError for a user that the model does not know, ConfigError where the stage places no users.
        """
        component: Any = self.stage.component
        if not isinstance(component, UserVectors):
            raise ConfigError(f"{self.stage.who} has vectors of items and none of users; leave the users out")
        unknown = [user for user, at in zip(users, model.data.users.index(users), strict=True) if at < 0]
        if unknown:
            known = f"the model's {len(model.data.users):,} users"
            raise DataError(f"{', '.join(map(repr, unknown))} is not among {known}: there is no history to read")
        fitted = model.fitted[self.stage.id]
        request = stage_request(model.door.request(users, model.door.asked(len(users), 1)), self.stage)
        with guarded(self.stage.who):
            vectors = component.user_vectors(fitted.state, known_part(request, fitted.n_items))
        wanted = (len(users), self.loadings.shape[1])
        if np.shape(vectors) != wanted or not np.isfinite(vectors).all():
            raise ContractError(f"{self.stage.who}: user_vectors must be finite and of shape {wanted}, as item_vectors")
        return _turned(vectors, self.rotation)

    def pole(self, factor: int, sign: int) -> Pole | None:
        """The pole at that end of a factor (from 1), or None where it has no strong items."""
        return next((pole for pole in self.poles if (pole.factor, pole.sign) == (factor, sign)), None)


def _turned(vectors: AnyArray, rotation: Floats64 | None) -> Floats64:
    full = np.asarray(vectors, np.float64)
    return full if rotation is None else np.asarray(full @ rotation)


def poles_of(loadings: AnyArray, traits: Traits) -> Iterator[Pole]:
    """The ends of each factor, described: `loadings` float [items, d], and the traits of the same items."""
    # A step an end of a factor: they are few, and each is described by itself.
    for factor, column in enumerate(loadings.T, start=1):
        largest = np.abs(column).max(initial=0.0)
        for sign in (1, -1):
            size = sign * column
            top = size.max(initial=0.0)
            if top <= 0 or top < POLE * largest:
                continue
            items = np.argsort(-size, kind="stable")[:STRONGEST]
            items = items[size[items] >= STRONG * top]
            yield Pole(factor, sign, frozen(items), frozen(size[items]), traits.shared_by(items, size[items]))


def _stage_with_vectors(model: Model, stage_id: str | None) -> GeneratorStage:
    generators = model.pipeline.stages.generators
    able = [stage.id for stage in generators if isinstance(stage.component, ItemVectors)]
    if stage_id is not None:
        stage = model.generator(stage_id)
        if stage_id in able:
            return stage
        others = f"those that have are {', '.join(able)}" if able else "no generator of this config has any"
        raise ConfigError(f"the generator {stage_id!r} has no latent factors (no item vectors); {others}")
    if not able:
        listed = ", ".join(stage.id for stage in generators)
        raise ConfigError(
            f"no generator of the model has latent factors (they are {listed}); "
            "fit a pipeline with als, nmf or pure_svd among its candidates"
        )
    if len(able) > 1:
        raise ConfigError(f"several generators have latent factors; choose one by --stage: {', '.join(able)}")
    return model.generator(able[0])
