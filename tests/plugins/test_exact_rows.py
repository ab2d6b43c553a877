"""Exact ridge regressions against normal equations that are written out, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import Floats64, row_pointers
from nbarec_plugins import exact_rows as module
from nbarec_plugins.exact_rows import Form, exact_rows
from nbarec_plugins.ridge_rows import RidgeRows


def problem_of(rng: np.random.Generator, lengths: list[int], columns: int) -> RidgeRows:
    """Random terms: so many in each row, some of strength 0."""
    terms = sum(lengths)
    strength = rng.choice([0.0, 0.5, 1.0, 4.0], terms)
    ridge = rng.uniform(0.5, 5.0, len(lengths))
    column = rng.integers(columns, size=terms).astype(np.int32)
    return RidgeRows(row_pointers(np.array(lengths)), column, strength, rng.normal(size=terms), ridge)


def design_of(rng: np.random.Generator, columns: int, width: int) -> np.ndarray:
    return rng.normal(size=(columns, width)).astype(np.float32)


def form_of(design: np.ndarray) -> Form:
    """What vectors of a design have in common, as implicit feedback has it."""
    vectors = design.astype(np.float64)
    return Form.of(vectors.T @ vectors)


def solved_slowly(problem: RidgeRows, design: np.ndarray, shared: Floats64) -> Floats64:
    """The normal equations of each row, from its terms one by one."""
    vectors, found = design.astype(np.float64), np.zeros((problem.rows, design.shape[1]))
    for row in range(problem.rows):
        normal, right = shared + problem.ridge[row] * np.eye(design.shape[1]), np.zeros(design.shape[1])
        terms = range(problem.indptr[row], problem.indptr[row + 1])
        for term in terms:
            z = vectors[problem.column[term]]
            normal += problem.strength[term] * np.outer(z, z)
            right += problem.target[term] * z
        found[row] = np.linalg.solve(normal, right) if len(terms) else 0.0
    return found


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    width=st.sampled_from([1, 2, 3, 6, 20, 60]),
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_exact_rows_equal_the_reference(lengths: list[int], width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem, design = problem_of(rng, lengths, 9), design_of(rng, 9, width)
    for shared in (form_of(design), Form.of(np.zeros((width, width)))):
        found = exact_rows(problem, design, shared)
        np.testing.assert_allclose(found, solved_slowly(problem, design, shared.matrix), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("width", [3, 32])
def test_a_row_has_the_same_bits_in_any_batch(width: int) -> None:
    rng = np.random.default_rng(4)
    lengths = [*rng.integers(0, 90, 297).tolist(), 1024, 1025, 5000]
    problem, design = problem_of(rng, lengths, 400), design_of(rng, 400, width)
    shared = form_of(design)
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
    nothing = Form.of(np.zeros((4, 4)))
    whole = solved_slowly(problem, design, nothing.matrix)
    for part in (1, 64, 299):
        monkeypatch.setattr(module, "PART", part)
        np.testing.assert_allclose(exact_rows(problem, design, nothing), whole, rtol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.75, 100.0])
def test_both_ways_to_solve_agree(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """One equation a term, or one a factor: for no row, for some, for all."""
    rng = np.random.default_rng(6)
    problem, design = problem_of(rng, [0, 1, 2, 5, 16, 17, 40], 50), design_of(rng, 50, 12)
    design *= np.geomspace(1e-3, 3.0, 12, dtype=np.float32)
    monkeypatch.setattr(module, "FEW", share)
    found = exact_rows(problem, design, form_of(design))
    np.testing.assert_allclose(found, solved_slowly(problem, design, form_of(design).matrix), rtol=1e-9)
