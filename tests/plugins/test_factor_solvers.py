"""The two solvers of ridge regressions against normal equations that are written out, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import Floats64, row_pointers
from nbarec_plugins import factor_solvers
from nbarec_plugins.factor_solvers import Curvature, HalfSweep, exact_rows, gram
from nbarec_plugins.ridge_rows import RidgeRows


def problem_of(rng: np.random.Generator, lengths: list[int], columns: int, *, same_ridge: bool = False) -> RidgeRows:
    """Random terms: so many in each row, some of strength 0."""
    terms = sum(lengths)
    strength = rng.choice([0.0, 0.5, 1.0, 4.0], terms)
    ridge = rng.uniform(0.5, 5.0, len(lengths))
    column = rng.integers(columns, size=terms).astype(np.int32)
    if same_ridge:
        ridge[:] = 0.7
    return RidgeRows(row_pointers(np.array(lengths)), column, strength, rng.normal(size=terms), ridge)


def design_of(rng: np.random.Generator, columns: int, width: int) -> np.ndarray:
    return rng.normal(size=(columns, width)).astype(np.float32)


def solved_slowly(
    problem: RidgeRows, design: np.ndarray, shared: Floats64, offset: np.ndarray | None = None
) -> Floats64:
    """The normal equations of each row, from its terms one by one."""
    vectors, found = design.astype(np.float64), np.zeros((problem.rows, design.shape[1]))
    for row in range(problem.rows):
        normal, right = shared + problem.ridge[row] * np.eye(design.shape[1]), np.zeros(design.shape[1])
        terms = range(problem.indptr[row], problem.indptr[row + 1])
        for term in terms:
            z = vectors[problem.column[term]]
            held = 0.0 if offset is None else float(offset[problem.column[term]])
            normal += problem.strength[term] * np.outer(z, z)
            right += (problem.target[term] - problem.strength[term] * held) * z
        found[row] = np.linalg.solve(normal, right) if len(terms) else 0.0
    return found


@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12), width=st.integers(1, 6), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_exact_rows_equal_the_reference(lengths: list[int], width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem, design = problem_of(rng, lengths, 9), design_of(rng, 9, width)
    shared = gram(design)
    np.testing.assert_allclose(shared, design.astype(np.float64).T @ design.astype(np.float64), rtol=1e-12)
    found = exact_rows(problem, design, shared)
    np.testing.assert_allclose(found, solved_slowly(problem, design, shared), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("width", [3, 32])
def test_a_row_has_the_same_bits_in_any_batch(width: int) -> None:
    rng = np.random.default_rng(4)
    lengths = [*rng.integers(0, 90, 297).tolist(), 1024, 1025, 5000]
    problem, design = problem_of(rng, lengths, 400), design_of(rng, 400, width)
    shared = gram(design)
    together = exact_rows(problem, design, shared)
    shuffled = rng.permutation(problem.rows)
    assert exact_rows(problem.take(shuffled), design, shared).tobytes() == together[shuffled].tobytes()
    for size in (1, 7):
        for start in range(0, problem.rows, size):
            rows = np.arange(start, min(start + size, problem.rows))
            assert exact_rows(problem.take(rows), design, shared).tobytes() == together[rows].tobytes()


def test_a_long_row_is_solved_in_parts_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    problem, design = problem_of(rng, [300, 7, 64], 50), design_of(rng, 50, 4)
    whole = solved_slowly(problem, design, np.zeros((4, 4)))
    for part in (1, 64, 299):
        monkeypatch.setattr(factor_solvers, "PART", part)
        np.testing.assert_allclose(exact_rows(problem, design, np.zeros((4, 4))), whole, rtol=1e-9)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("same_ridge", [True, False])
@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("longest", [1 << 25, 200])
def test_enough_steps_of_conjugate_gradients_equal_the_reference(
    counted: bool, same_ridge: bool, shifted: bool, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factor_solvers, "LONGEST_BYTES", longest)  # 200: rows beyond 12 terms are solved exactly
    rng = np.random.default_rng(6)
    problem = problem_of(rng, [0, 1, 3, 17, 40, 5, 0, 12], 9, same_ridge=same_ridge)
    design, offset = design_of(rng, 9, 4), rng.normal(size=9).astype(np.float32) if shifted else None
    form = gram(design)
    found = rng.normal(size=(problem.rows, 4)).astype(np.float32)
    found[problem.counts == 0] = 0
    HalfSweep.of(problem, 4).improve(found, design, Curvature(form, counted), 12, offset)
    expected = solved_slowly(problem, design, form if counted else np.zeros((4, 4)), offset)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


def test_every_step_comes_closer_and_the_curvature_makes_two_steps_do() -> None:
    """Short rows beside a strong common form, as in implicit feedback: almost all is in the form."""
    rng = np.random.default_rng(7)
    problem, design = problem_of(rng, [4] * 50, 3000, same_ridge=True), design_of(rng, 3000, 16)
    design *= np.geomspace(0.1, 3.0, 16, dtype=np.float32)
    expected = solved_slowly(problem, design, gram(design))
    distance = []
    for steps in (1, 2, 3, 4):
        found = np.zeros((50, 16), np.float32)
        HalfSweep.of(problem, 16).improve(found, design, Curvature(gram(design), counted=True), steps)
        distance.append(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    assert distance == sorted(distance, reverse=True)
    assert distance[1] < 1e-3
