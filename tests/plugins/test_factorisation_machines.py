"""Machines against the double sum over pairs, and their slopes against differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import Floats64
from nbarec_plugins import factorisation_machines
from nbarec_plugins.factorisation_machines import Active, Machine

SIZES = (3, 4, 1, 5)
STARTS = np.array([0, 3, 7, 8])
LEVELS, FIELDS = sum(SIZES), len(SIZES)

forms = st.booleans()
seeds = st.integers(0, 10**6)
factors = st.sampled_from([0, 1, 3, 16])


def random_machine(rng: np.random.Generator, factors: int, *, field_aware: bool, dtype: Any = np.float32) -> Machine:
    shape = (LEVELS, FIELDS, factors) if field_aware else (LEVELS, factors)
    return Machine(float(rng.normal()), rng.normal(size=LEVELS).astype(dtype), rng.normal(size=shape).astype(dtype))


def random_active(rng: np.random.Generator, entries: int) -> Active:
    """Some values are 1, as those of categories are, others any number."""
    level = STARTS[:, None] + rng.integers(0, np.array(SIZES)[:, None], (FIELDS, entries))
    value = np.where(rng.random((FIELDS, entries)) < 0.5, 1.0, rng.normal(size=(FIELDS, entries)))
    return Active(level.astype(np.int32), value.astype(np.float32))


def slow_margin(machine: Machine, active: Active, entry: int) -> float:
    """The double sum, one number at a time."""
    level, value = active.level[:, entry].tolist(), active.value[:, entry].astype(np.float64).tolist()
    total = machine.base + sum(float(machine.linear[at]) * x for at, x in zip(level, value, strict=True))
    for first in range(FIELDS):
        for second in range(first + 1, FIELDS):
            left, right = machine.vectors[level[first]], machine.vectors[level[second]]
            if machine.field_aware:
                left, right = left[second], right[first]
            product = sum(float(a) * float(b) for a, b in zip(left, right, strict=True))
            total += product * value[first] * value[second]
    return total


@given(seeds, factors, forms)
@settings(max_examples=30, deadline=None)
def test_margins_are_the_double_sum(seed: int, factors: int, field_aware: bool) -> None:
    rng = np.random.default_rng(seed)
    machine, active = random_machine(rng, factors, field_aware=field_aware), random_active(rng, 6)
    expected = [slow_margin(machine, active, entry) for entry in range(6)]
    np.testing.assert_allclose(machine.margins(active), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(machine.quick_margins(active), expected, rtol=1e-3, atol=1e-3)


@given(seeds, factors, forms)
@settings(max_examples=30, deadline=None)
def test_parts_add_up_and_each_pair_is_shared_by_halves(seed: int, factors: int, field_aware: bool) -> None:
    rng = np.random.default_rng(seed)
    machine, active = random_machine(rng, factors, field_aware=field_aware), random_active(rng, 6)
    margins, parts, effects = machine.margins(active), machine.parts(active), machine.main_effects(active)
    np.testing.assert_allclose(machine.base + parts.sum(axis=0), margins, rtol=1e-9, atol=1e-9)
    pairs = {(f, g): machine.pair(active, f, g) for f in range(FIELDS) for g in range(FIELDS) if f != g}
    for field in range(FIELDS):
        own = sum(pair for at, pair in pairs.items() if at[0] == field)
        np.testing.assert_allclose(parts[field], effects[field] + 0.5 * own, rtol=1e-9, atol=1e-9)
    together = sum(pair for at, pair in pairs.items() if at[0] < at[1])
    np.testing.assert_allclose(machine.base + effects.sum(axis=0) + together, margins, rtol=1e-9, atol=1e-9)


@given(seeds, st.sampled_from([0, 1, 3, 7, 16, 33]), forms, st.integers(1, 70))
@settings(max_examples=40, deadline=None)
def test_an_entry_has_the_same_bits_among_any_others(seed: int, factors: int, field_aware: bool, entries: int) -> None:
    rng = np.random.default_rng(seed)
    machine, active = random_machine(rng, factors, field_aware=field_aware), random_active(rng, entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factorisation_machines, "BLOCK", 16)
        margins, parts = machine.margins(active), machine.parts(active)
    order = rng.permutation(entries)
    np.testing.assert_array_equal(machine.margins(active.take(order)), margins[order])
    np.testing.assert_array_equal(machine.parts(active.take(order)), parts[:, order])
    for entry in range(min(entries, 5)):
        np.testing.assert_array_equal(machine.margins(active.take(np.array([entry]))), margins[[entry]])
        np.testing.assert_array_equal(machine.parts(active.take(np.array([entry]))), parts[:, [entry]])


@given(seeds, st.sampled_from([0, 1, 3]), forms)
@settings(max_examples=15, deadline=None)
def test_slopes_are_those_of_differences(seed: int, factors: int, field_aware: bool) -> None:
    rng = np.random.default_rng(seed)
    machine = random_machine(rng, factors, field_aware=field_aware, dtype=np.float64)
    active, slope = random_active(rng, 9), rng.normal(size=9).astype(np.float32)

    def total(linear: Floats64, vectors: Floats64) -> float:
        moved: Any = Machine(machine.base, linear, vectors)  # type: ignore[arg-type]
        return float(moved.margins(active) @ slope)

    def differences(values: Any, of: Any) -> Floats64:
        found = np.zeros(values.shape)
        for at in np.ndindex(*values.shape):
            sides = []
            for move in (1e-4, -1e-4):
                moved = values.astype(np.float64)
                moved[at] += move
                sides.append(of(moved))
            found[at] = (sides[0] - sides[1]) / 2e-4
        return found

    found = machine.slopes(active, slope)
    assert len(set(found.level.tolist())) == len(found.level)
    np.testing.assert_array_equal(np.unique(found.level), np.unique(active.level))
    np.testing.assert_array_equal(found.entries, np.bincount(active.level.ravel())[found.level])
    linear, vectors = np.zeros(LEVELS), np.zeros(machine.vectors.shape)
    linear[found.level], vectors[found.level] = found.linear, found.vectors
    np.testing.assert_allclose(linear, differences(machine.linear, lambda w: total(w, machine.vectors)), atol=1e-4)
    np.testing.assert_allclose(
        vectors, differences(machine.vectors, lambda v: total(machine.linear, v)), atol=1e-3, rtol=1e-4
    )


@pytest.mark.parametrize("field_aware", [False, True])
def test_no_entries(field_aware: bool) -> None:
    rng = np.random.default_rng(0)
    machine, none = random_machine(rng, 2, field_aware=field_aware), random_active(rng, 0)
    assert machine.margins(none).shape == (0,)
    assert machine.parts(none).shape == (FIELDS, 0)
