"""Factorisation machine: the probability of engagement from features and from what they mean together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np

from nbarec.arrays import Bools, Floats64, Uints64, frozen, mix64
from nbarec.components import param
from nbarec.data import Dataset
from nbarec.hookspecs import hookimpl
from nbarec_plugins.degree_scaling import check_memory
from nbarec_plugins.factorisation_machines import Active, Machine, frozen_machine
from nbarec_plugins.feature_frames import Frame, Layout, Lesson
from nbarec_plugins.learned import Learned, LearnedState
from nbarec_plugins.machine_fields import Fields, Numbers
from nbarec_plugins.machine_training import Training, learnt

START = 0.05
"""Deviation of the random numbers that vectors start from."""

LEVEL_BYTES = 24
"""What a number of a vector takes while it is learnt: itself, the best so far, two means of slopes, and a batch's."""

FEWEST = 20
"""Requests: with fewer none is held out to say when it is enough."""

TOLD = 1 << 14
"""Entries at most that say how strong a feature is."""


@dataclass(frozen=True)
class FmModel:
    """The `machine` of entries by their `fields`. It is that of the `best` epoch, from 1; `trained` and `held_out`
    float64 [epochs] are mean losses. `strength`: of each feature the deviation of its part among what was learnt from.
    """

    fields: Fields
    machine: Machine
    best: int
    trained: Floats64
    held_out: Floats64
    strength: Mapping[str, float]


@dataclass(frozen=True)
class FmState(LearnedState[FmModel]):
    """What a factorisation machine has learnt; `model` is None where that is nothing."""

    model: FmModel | None = None


@dataclass(frozen=True)
class Fm(Learned[FmModel]):
    """The probability of engagement by a factorisation machine (Rendle 2010), which learns what any two features mean
    together, also of pairs of levels that were never seen together: for sparse context.

    An entry has one active level in each field f, with a value x_f. A level has a weight w and a vector v:

        log-odds = base + sum_f w_f x_f + sum over pairs f < g of <v_f, v_g> x_f x_g

    In the field-aware form (Juan, Zhuang, Chin, Lin 2016) a level has a vector for each other field, and the product
    of a pair is <v_f,g, v_g,f>: it needs fewer `factors`, and time that grows with the square of the number of
    fields. With `factors: 0` there are no pairs: it is a logistic regression on levels.

    Fields are the categories among `features`, and the numbers: each cut into `bins` of about as many entries, with a
    vector a bin, or as standardised `values` (at most 5 deviations from the mean) with one vector, or both. A value
    that is unknown is a level of its own. The names `user` and `item` are the ids. What no example had, such as a new
    user or a level of fewer than `least_count` entries where none was seen, has zeros, and adds nothing.

    It minimises the logistic loss of the examples plus linear_l2 w^2 / 2 of each weight and l2 |v|^2 / 2 of each
    level's vectors, by batches and Adam's steps (Kingma, Ba 2015), of the levels in a batch alone; their size falls
    to zero on half a cosine (Loshchilov, Hutter 2017). A share of the requests, `validation`, is held out and says
    which epoch was best. Unlike other learned rankers it holds requests apart and not users, for figures and
    calibration, as a user's own vector is learnt from his requests; with `refit` it is then learnt once more from all
    of them, for as many epochs as were best, and keeps the calibration of before.

    What a feature adds to an explanation is w_f x_f and half of each pair that it is in, or with `pairs` each pair
    under a name of its own, such as `item x context.hour`. For all else see `logistic`.

    >>> from nbarec.components import Example
    >>> from nbarec.testing.worlds import pool_of, request_for, tiny_world
    >>> data = tiny_world()
    >>> request = request_for(data, [0, 1, 2] * 40, context={"hour": ["day", "night"] * 60})
    >>> pool = pool_of(request, {"all": [{3: 1.0, 5: 1.0}] * 120})
    >>> night = np.arange(120) % 2 == 1
    >>> label = (night[pool.row] == (pool.item == 5)).astype(np.float32)
    >>> fm = Fm(features=("item", "context.hour"), factors=2, batch_size=16, l2=1.0)
    >>> state = fm.learn([Example(request, pool, label)], data, np.random.default_rng(0))
    >>> fm.rank(state, request, pool)[:4].round(1).tolist()
    [1.0, 0.0, 0.0, 1.0]
    """

    name: ClassVar[str] = "fm"

    form: Literal["fm", "field_aware"] = param("fm", doc="Whether a level has one vector, or one for each other field.")
    factors: int = param(16, ge=0, doc="Length of each vector; 0 for no pairs of features.")
    numbers: Numbers = param("bins", doc="What numbers are: bins, standardised values, or both.")
    bins: int = param(32, ge=2, le=255, doc="Bins of a number, that of unknown values not counted.")
    epochs: int = param(20, ge=1, doc="How often all examples are learnt from, at most.")
    batch_size: int = param(4096, ge=1, doc="Entries to a step.")
    learning_rate: float = param(0.01, gt=0, le=1, doc="Size of the first steps, in each coordinate.")
    l2: float = param(10.0, ge=0, doc="Pull of vectors towards 0, against the sum of all losses.")
    linear_l2: float = param(1.0, ge=0, doc="Pull of weights towards 0, against the sum of all losses.")
    validation: float = param(
        0.1, ge=0, lt=1, doc="Share of the requests that says which epoch is best; 0: the last one is."
    )
    patience: int = param(3, ge=1, doc="Epochs in a row that are no better, after which it stops.")
    refit: bool = param(True, doc="Learn once more from everything at the end, what was held out included.")
    pairs: bool = param(False, doc="Whether explanations name pairs of features, or give each half of a pair.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> FmState:
        """What it serves with before there are examples."""
        return FmState()

    def taught(self, state: LearnedState[FmModel], told: Lesson, rng: np.random.Generator) -> LearnedState[FmModel]:
        """The state after one lesson, from all of it with `refit`."""
        found = super().taught(state, replace(told, key=_by_request(told.key)), rng)
        if not self.refit or found.model is None:
            return found
        again = self._model(told, np.zeros(len(told), np.bool_), found.model.best, rng)
        model = replace(again, trained=found.model.trained, held_out=found.model.held_out)
        return replace(
            found,
            model=model,
            requests=len(np.unique(told.group)),
            entries=len(told),
            positives=int(np.count_nonzero(told.label > 0.5)),
        )

    def train(self, lesson: Lesson, rng: np.random.Generator) -> FmModel:
        """The machine of these entries. Raises ConfigError where it does not fit the memory."""
        return self._model(lesson, self._held_out(lesson, rng), 0, rng)

    def margins(self, model: FmModel, layout: Layout, frame: Frame) -> Floats64:
        """The log-odds of each entry: float64 [N]."""
        return model.machine.margins(_active(model.fields, frame))

    def parts(self, model: FmModel, layout: Layout, frame: Frame) -> Mapping[str, Floats64]:
        """`base`, and what each feature adds, with half of its pairs or beside them: float64 [N] each."""
        active = _active(model.fields, frame)
        found = {"base": np.full(len(frame), model.machine.base)}
        for name, part in self._shares(model, active):  # a step a field, or a pair of fields
            found[name] = found[name] + part if name in found else part
        return {name: frozen(part) for name, part in found.items()}

    def strongest(self, model: FmModel, layout: Layout) -> Mapping[str, float]:
        """The deviation of each feature's part of the log-odds, among what was learnt from."""
        return dict(sorted(model.strength.items(), key=lambda told: (-told[1], told[0])))

    def findings(self, state: LearnedState[FmModel]) -> Mapping[str, object]:
        """What every learned ranker tells, and the loss of each epoch."""
        found = super().findings(state)
        if state.model is None:
            return found
        losses = {"trained": state.model.trained.tolist(), "held out": state.model.held_out.tolist()}
        if np.isnan(state.model.held_out).any():
            del losses["held out"]
        return {**found, "best epoch": state.model.best, "loss by epoch": losses}

    def _model(self, lesson: Lesson, held_out: Bools, stop: int, rng: np.random.Generator) -> FmModel:
        layout, frame = lesson.layout, lesson.frame
        columns = layout.categories, layout.sizes, layout.numbers
        fields = Fields.of(*columns, frame.numbers, self.numbers, self.bins, rng)
        active = _active(fields, frame)
        found = learnt(self._zeros(fields), active, lesson.label, held_out, self._training(stop), rng)
        machine = frozen_machine(found.machine)
        return FmModel(fields, machine, found.best, found.trained, found.held_out, _strength(fields, machine, active))

    def _zeros(self, fields: Fields) -> Machine:
        field_aware = self.form == "field_aware"
        width = self.factors * (len(fields) if field_aware else 1)
        what = f"{fields.levels:,} levels with {width:,} numbers each"
        check_memory(self.name, what, LEVEL_BYTES * fields.levels * (width + 1), "fewer factors or features")
        return Machine.zeros(fields.levels, len(fields), self.factors, field_aware=field_aware)

    def _training(self, stop: int) -> Training:
        return Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            rate=self.learning_rate,
            l2=self.l2,
            linear_l2=self.linear_l2,
            start=START,
            patience=self.patience,
            stop=stop,
        )

    def _held_out(self, lesson: Lesson, rng: np.random.Generator) -> Bools:
        """The entries of a share of the requests, drawn by `rng`: bool [N]; none where there are few."""
        requests, at = np.unique(lesson.group, return_inverse=True)
        chosen = np.zeros(len(requests), np.bool_)
        if len(requests) >= FEWEST:
            chosen[rng.permutation(len(requests))[: int(self.validation * len(requests))]] = True
        return chosen.take(at)

    def _shares(self, model: FmModel, active: Active) -> Iterator[tuple[str, Floats64]]:
        """Parts by name; a name may come more than once. A pair of two fields of one feature is that feature's own."""
        names, machine = model.fields.names, model.machine
        if not self.pairs:
            yield from zip(names, machine.parts(active), strict=True)
            return
        yield from zip(names, machine.main_effects(active), strict=True)
        for first, second in combinations(range(len(names)), 2):
            one, other = names[first], names[second]
            yield (one if one == other else f"{one} x {other}"), machine.pair(active, first, second)


def _active(fields: Fields, frame: Frame) -> Active:
    return fields.active(frame.numbers, frame.codes)


def _strength(fields: Fields, machine: Machine, active: Active) -> Mapping[str, float]:
    """The deviation of each feature's part, among at most so many entries that stand evenly apart."""
    step = -(-len(active) // TOLD) or 1
    parts = machine.parts(active.take(np.arange(0, len(active), step)))
    summed: dict[str, Any] = {}
    for name, part in zip(fields.names, parts, strict=True):  # a step a field
        summed[name] = summed.get(name, 0.0) + part
    return {name: float(part.std()) for name, part in summed.items()}


def _by_request(key: Uints64) -> Uints64:
    """A key for each request of its own, also where a user has several."""
    return mix64(key ^ mix64(np.arange(len(key), dtype=np.uint64)))


@hookimpl
def nbarec_rankers() -> list[type[Fm]]:
    """The rankers of this module."""
    return [Fm]
