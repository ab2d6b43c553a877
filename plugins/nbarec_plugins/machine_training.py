"""Learning a factorisation machine: logistic loss in batches, until entries held out say that it is enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Bools, Floats32, Floats64, Ints64, frozen
from nbarec.progress import track
from nbarec_plugins.factorisation_machines import Active, Machine, Slopes

FIRST, SECOND = 0.9, 0.999
"""How much of the mean slope, and of its mean square, each step keeps."""


@dataclass(frozen=True)
class Training:
    """How a machine is learnt. `rate`: size of the first steps, which falls to 0 over so many `epochs`; `linear_l2` and
    `l2`: pull of weights and vectors towards 0; `start`: deviation of the random numbers that vectors start from;
    `patience`: epochs without a better loss on what is held out, after which learning stops; `stop`: epochs after which
    it stops anyway, 0 for none."""

    epochs: int
    batch_size: int
    rate: float
    l2: float
    linear_l2: float
    start: float
    patience: int
    stop: int = 0


@dataclass(frozen=True)
class Learnt:
    """The `machine` of the best epoch, and the mean loss in each epoch, float64 [epochs]: of what it was `trained` on,
    before each step, and of what was `held_out`, NaN where nothing was."""

    machine: Machine
    trained: Floats64
    held_out: Floats64

    @property
    def best(self) -> int:
        """The epoch whose machine it is, from 1."""
        known = ~np.isnan(self.held_out).any()
        return 1 + int(np.argmin(self.held_out)) if known else len(self.held_out)


def learnt(
    machine: Machine, active: Active, label: Floats32, held_out: Bools, how: Training, rng: np.random.Generator
) -> Learnt:
    """The machine that minimises

        sum_n ln(1 + exp(-(2 y_n - 1) margin_n)) + sum_l (linear_l2 w_l^2 + l2 |v_l|^2) / 2

    over the entries that are not `held_out` bool [N]; `label` y float32 [N], 0 or 1. `machine`: zeros to start from. A
    level that none of these entries has stays at 0: what is not known of it adds nothing.
    """
    told, untold = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    kept, kept_label = active.take(untold), label[untold]
    seen = np.bincount(active.level.take(told, axis=1).ravel(), minlength=len(machine.linear))
    steps = Steps.of(_started(machine, label[told], seen, how, rng), seen, how)
    best, best_loss, since = steps.machine, np.inf, 0
    trained, apart = [], []
    with track("fm epochs", how.epochs) as advance:
        # One step an epoch: each starts from the one before.
        for epoch in range(how.epochs):
            trained.append(steps.epoch(active, label, rng.permutation(told), falling(epoch, how.epochs)))
            apart.append(_mean_loss(steps.machine, kept, kept_label))
            advance(1)
            if not apart[-1] >= best_loss:  # also where it is NaN: nothing is held out, and the last epoch counts
                best, best_loss, since = steps.snapshot(), apart[-1], 0
            else:
                since += 1
            if since >= how.patience or epoch + 1 == how.stop:
                break
    return Learnt(best, frozen(np.array(trained)), frozen(np.array(apart)))


def falling(epoch: int, epochs: int) -> float:
    """The share of the first steps' size that an epoch has: half a cosine (Loshchilov, Hutter 2017)."""
    return float(0.5 * (1 + np.cos(np.pi * epoch / epochs)))


def losses(margin: Floats32 | Floats64, label: Floats32) -> Floats64:
    """ln(1 + exp(-(2 y - 1) margin)) of each entry: float64 [N]."""
    return np.asarray(np.logaddexp(0.0, np.where(label > 0.5, -margin, margin).astype(np.float64)))


def _mean_loss(machine: Machine, active: Active, label: Floats32) -> float:
    if not len(label):
        return float("nan")
    # A step a block: what bounds the memory.
    total = sum(float(losses(machine.quick_margins(part), label[at]).sum()) for at, part in active.blocks())
    return total / len(label)


def _started(machine: Machine, label: Floats32, seen: Ints64, how: Training, rng: np.random.Generator) -> Machine:
    share = float(np.clip(label.mean(dtype=np.float64) if len(label) else 0.5, 1e-6, 1 - 1e-6))
    vectors = rng.standard_normal(machine.vectors.shape, dtype=np.float32) * np.float32(how.start)
    vectors[seen == 0] = 0.0
    return Machine(float(np.log(share / (1 - share))), machine.linear.copy(), vectors)


@dataclass
class Steps:
    """Moves a `machine` along the slopes of batches, in place. Adam (Kingma, Ba 2015), of the levels in a batch alone:
    the means of a level's slopes are over the steps that it is part of."""

    machine: Machine
    seen: Ints64
    how: Training
    moments: tuple[_Moments, _Moments, _Moments]

    @classmethod
    def of(cls, machine: Machine, seen: Ints64, how: Training) -> Steps:
        """`seen` int64 [L]: how many entries have each level."""
        base = np.array([machine.base], np.float32)
        return cls(machine, seen, how, (_Moments.of(base), _Moments.of(machine.linear), _Moments.of(machine.vectors)))

    def snapshot(self) -> Machine:
        """The machine as it is now."""
        return Machine(self.machine.base, self.machine.linear.copy(), self.machine.vectors.copy())

    def epoch(self, active: Active, label: Floats32, entries: Ints64, share: float) -> float:
        """One pass over the entries, in this order; the mean loss before each step."""
        total, size = 0.0, self.how.batch_size
        for start in range(0, len(entries), size):  # a step a batch: each starts from the one before
            batch = entries[start : start + size]
            total += self.step(active.take(batch), label[batch], self.how.rate * share)
        return total / max(len(entries), 1)

    def step(self, active: Active, label: Floats32, rate: float) -> float:
        """One step; the sum of the losses before it."""
        machine = self.machine
        margin = machine.quick_margins(active)
        slope = 0.5 * (1 + np.tanh(0.5 * margin)) - label
        found = machine.slopes(active, slope)
        base, linear, vectors = self.moments
        every = np.zeros(1, np.int64)
        at = np.array([machine.base], np.float32)
        base.move(at, every, np.array([slope.sum()], np.float32), rate)
        share = (found.entries / self.seen.take(found.level)).astype(np.float32)
        linear.move(machine.linear, found.level, self._pulled(found, machine.linear, found.linear, share), rate)
        if machine.has_pairs:
            vectors.move(machine.vectors, found.level, self._pulled(found, machine.vectors, found.vectors, share), rate)
        self.machine = Machine(float(at[0]), machine.linear, machine.vectors)
        return float(losses(margin, label).sum())

    def _pulled(self, found: Slopes, values: Floats32, slope: Floats32, share: Floats32) -> Floats32:
        """The slope with that of the penalty, of which each entry with the level has an equal share."""
        l2 = np.float32(self.how.linear_l2 if values.ndim == 1 else self.how.l2)
        share = share.reshape(-1, *[1] * (values.ndim - 1))
        return slope + l2 * share * values.take(found.level, axis=0)


@dataclass(frozen=True)
class _Moments:
    """Means of slopes and of their squares, float32 as the values [L, ...], and the steps of each row int32 [L]."""

    first: Floats32
    second: Floats32
    steps: Ints64

    @classmethod
    def of(cls, values: Floats32) -> _Moments:
        return cls(np.zeros_like(values), np.zeros_like(values), np.zeros(len(values), np.int64))

    def move(self, values: Floats32, rows: Ints64, slope: Floats32, rate: float) -> None:
        """One step of these rows downwards, in place."""
        self.steps[rows] += 1
        taken = self.steps.take(rows).reshape(-1, *[1] * (values.ndim - 1)).astype(np.float32)
        first = np.float32(FIRST) * self.first.take(rows, axis=0) + np.float32(1 - FIRST) * slope
        second = np.float32(SECOND) * self.second.take(rows, axis=0) + np.float32(1 - SECOND) * slope**2
        self.first[rows], self.second[rows] = first, second
        reach = np.float32(rate) * np.sqrt(1 - np.float32(SECOND) ** taken) / (1 - np.float32(FIRST) ** taken)
        values[rows] -= reach * first / (np.sqrt(second) + np.float32(1e-8))
