"""Logistic: the probability of engagement by logistic regression on numbers, categories and their crosses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import Floats32, Floats64, frozen
from nbarec.components import Ranker, param
from nbarec.data import Dataset
from nbarec.hookspecs import hookimpl
from nbarec_plugins.feature_frames import Frame, Layout, Lesson
from nbarec_plugins.learned import Learned, LearnedState
from nbarec_plugins.logistic_slots import Slot, slots_of
from nbarec_plugins.logistic_training import Scales, trained

BLOCK = 1 << 12
"""Entries whose parts are worked out at a time."""

STRONGEST = 30
"""Features that findings tell."""


@dataclass(frozen=True)
class LogisticModel:
    """`base`, and of each number, float64 [P], what an entry gets: `slope` times its distance from `mean`, plus
    `known`; `unknown` where it is not known. Of each slot, what each level gets, `levels`, and its `share` of the
    entries, float64 [width]. All but the base are 0 on average over the entries that it was trained on. `deviation`
    float64 [P] is that of the numbers, `missing` the share in which each is unknown."""

    base: float
    slope: Floats64
    mean: Floats64
    known: Floats64
    unknown: Floats64
    deviation: Floats64
    missing: Floats64
    slots: tuple[Slot, ...]
    levels: tuple[Floats64, ...]
    share: tuple[Floats64, ...]


@dataclass(frozen=True)
class LogisticState(LearnedState[LogisticModel]):
    """What `logistic` knows."""

    model: LogisticModel | None = None


@dataclass(frozen=True)
class Logistic(Learned[LogisticModel]):
    """The probability that the user engages with an item, by logistic regression (Cox 1958) with an L2 penalty.

        log-odds(entry) = b + sum over numbers f of w_f z_f + sum over categories and crosses g of w_g[level of g]

    z is a number's distance from its mean in deviations. Where it is unknown it counts as the mean, and a coefficient
    of its own says what that tells. All levels of a category that were not learnt from are one, unknown. A cross has a
    coefficient for every combination of levels, so that the context acts on items: `crosses: [[item.genre,
    context.hour]]`; numbers with at most 32 values have a level for each there, others ten of equal size. Coefficients
    minimise the log loss plus `ridge` / 2 times the sum of their squares, by L-BFGS (Nocedal 1980). `class_weight`
    changes what the model attends to; it is taken out of the constant again, and probabilities hold.

    Which events count as engagement is said by `held_out`, in a rule over events:

        - id: engaged
          use: logistic
          with:
            features: ["*", item.genre, user.country, context.device]
            held_out: {relevant: "seconds >= 30 or kind in [like, playlist_add]"}

    How requests are divided for training, calibration and report, and what it does without examples, stands in
    `Learned`: with fewer than 100 requests, all are trained on and nothing is calibrated.

    >>> from nbarec.components import Example
    >>> from nbarec.testing.worlds import pool_of, request_for, tiny_world
    >>> data = tiny_world()
    >>> request = request_for(data, [0, 1, 2])
    >>> pool = pool_of(request, {"near": [{3: 2.0, 5: 1.0}, {3: 1.0, 5: 3.0}, {3: 2.0, 5: 0.0}]})
    >>> example = Example(request, pool, np.array([1, 0, 0, 1, 1, 0], np.float32))
    >>> logistic = Logistic(features=("near.score",))
    >>> state = logistic.learn([example], data, np.random.default_rng(0))
    >>> [round(chance, 2) for chance in logistic.rank(state, request, pool).tolist()]
    [0.65, 0.35, 0.35, 0.86, 0.65, 0.14]
    """

    name: ClassVar[str] = "logistic"

    ridge: float = param(1.0, gt=0, doc="Pull of the coefficients towards 0, that of about so many entries.")
    class_weight: Literal["none", "balanced"] | float = param(
        "none", gt=0, doc="What an engagement weighs in training: 1; as much as balances both kinds; or this number."
    )
    crosses: tuple[tuple[str, ...], ...] = param(
        (), doc="Columns whose combinations count, two or more each; they need not be among the features."
    )
    levels: int = param(20_000, ge=2, doc="A category or cross with more levels is hashed.")
    hash: int = param(16_384, ge=2, doc="Levels of what is hashed.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for names in self.crosses:
            if len(set(names)) < max(2, len(names)):
                raise ValueError(f"crosses: [{', '.join(names)}] must name two different columns or more")
        if len({frozenset(names) for names in self.crosses}) < len(self.crosses):
            raise ValueError("crosses: two of them are of the same columns; leave one of them out")

    def fit(self, data: Dataset, rng: np.random.Generator) -> LogisticState:
        """What it serves with before there are examples."""
        return LogisticState()

    def needed(self) -> tuple[str, ...]:
        """The features, and those that crosses are of."""
        return tuple(dict.fromkeys([*self.features, *(name for names in self.crosses for name in names)]))

    def train(self, lesson: Lesson, rng: np.random.Generator) -> LogisticModel:
        """Coefficients that tell entries with label 1 from the others. Raises ConfigError at a cross of tags."""
        frame = lesson.frame
        slots = slots_of(lesson.layout, frame, self.crosses, self.levels, self.hash)
        level = [slot.level(frame).astype(np.int32) for slot in slots]
        scales = Scales.of(frame.numbers)
        hits = int(np.count_nonzero(lesson.label > 0.5))
        hit_weight = {"none": 1.0, "balanced": (len(lesson) - hits) / hits}.get(str(self.class_weight))
        weighs = float(self.class_weight) if hit_weight is None else hit_weight
        widths = [slot.width for slot in slots]
        found = trained(frame.numbers, scales, level, widths, lesson.label, weighs, self.ridge)
        share = [np.bincount(at, minlength=width) / len(lesson) for at, width in zip(level, widths, strict=True)]
        middle = [float(own @ of) for own, of in zip(found.slots, share, strict=True)]
        absent = found.unknown * scales.missing
        return LogisticModel(
            base=found.base - float(np.log(weighs)) + sum(middle) + float(absent.sum()),
            slope=frozen(found.number / scales.deviation),
            mean=frozen(scales.mean),
            known=frozen(-absent),
            unknown=frozen(found.unknown - absent),
            deviation=frozen(scales.deviation),
            missing=frozen(scales.missing),
            slots=slots,
            levels=tuple(frozen(own - less) for own, less in zip(found.slots, middle, strict=True)),
            share=tuple(frozen(of) for of in share),
        )

    def margins(self, model: LogisticModel, layout: Layout, frame: Frame) -> Floats64:
        """The log-odds of each entry: float64 [N], added up feature by feature."""
        total = np.full(len(frame), model.base)
        for start in range(0, len(frame), BLOCK):  # a step a block: what bounds the memory
            block = slice(start, start + BLOCK)
            # One pass a feature, in their order: an entry's sum never depends on the shape of the batch.
            for part in _number_parts(model, frame.numbers[block]):
                total[block] += part
        for slot, levels in zip(model.slots, model.levels, strict=True):
            total += levels.take(slot.level(frame))
        return total

    def parts(self, model: LogisticModel, layout: Layout, frame: Frame) -> Mapping[str, Floats64]:
        """What each number, category and cross adds, and `base`."""
        return {"base": np.full(len(frame), model.base), **dict(_parts(model, layout, frame))}

    def strongest(self, model: LogisticModel, layout: Layout) -> Mapping[str, float]:
        """Coefficients by how much they move log-odds: of a number per deviation, of a level against the average."""
        per_deviation = model.slope * model.deviation
        weight = dict(zip(layout.numbers, per_deviation.tolist(), strict=True))
        force = {name: abs(own) for name, own in weight.items()}
        gaps = zip(layout.numbers, (model.unknown - model.known).tolist(), model.missing.tolist(), strict=True)
        levels = [(f"{name}=?", own, of) for name, own, of in gaps if of]
        for slot, coefficients, shares in zip(model.slots, model.levels, model.share, strict=True):
            levels += zip(slot.told(layout), coefficients.tolist(), shares.tolist(), strict=True)
        for name, own, of in levels:
            weight[name], force[name] = own, abs(own) * (of * (1 - of)) ** 0.5
        first = sorted(weight, key=lambda name: (-force[name], name))[:STRONGEST]
        return {name: weight[name] for name in first if force[name] > 0}


def _parts(model: LogisticModel, layout: Layout, frame: Frame) -> Iterator[tuple[str, Floats64]]:
    """Each feature's name, and what it adds to every entry's log-odds: float64 [N]."""
    yield from zip(layout.numbers, _number_parts(model, frame.numbers), strict=True)
    for slot, levels in zip(model.slots, model.levels, strict=True):
        yield slot.name, levels.take(slot.level(frame))


def _number_parts(model: LogisticModel, values: Floats32) -> Floats64:
    """What each number adds to the log-odds of each entry: float64 [P, N], of `values` float32 [N, P]."""
    part = values.T.astype(np.float64)
    part -= model.mean[:, None]
    part *= model.slope[:, None]
    part += model.known[:, None]
    np.copyto(part, model.unknown[:, None], where=np.isnan(part))
    return part


@hookimpl
def nbarec_rankers() -> Iterable[type[Ranker[LogisticState]]]:
    """The rankers of this module."""
    return [Logistic]  # type: ignore[list-item]
