"""Half sweeps of alternating least squares against normal equations that are written out, row by row."""

from __future__ import annotations

import numpy as np
import pytest

from nbarec.arrays import Floats64, row_pointers
from nbarec.work import Work, working
from nbarec_plugins import row_shards, turned
from nbarec_plugins.factor_solvers import Curvature, HalfSweep
from nbarec_plugins.gram import gram
from nbarec_plugins.ridge_rows import RidgeRows
from nbarec_plugins.sparse_rows import SparseRows
from nbarec_plugins.turned import Turned


def problem_of(rng: np.random.Generator, lengths: list[int], columns: int, *, same_ridge: bool = False) -> RidgeRows:
    """Random terms: so many in each row, some of strength 0."""
    terms = sum(lengths)
    strength = rng.choice([0.0, 0.5, 1.0, 4.0], terms)
    ridge = rng.uniform(0.5, 5.0, 99)[np.array(lengths)]  # by length, so that a part of the rows can tell
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


def half_sweep(problem: RidgeRows, columns: int, width: int, *, as_columns: bool = False) -> HalfSweep:
    """The rows of a problem, or the columns of its transpose: a matrix whose values say which term each entry is."""
    ridge = dict(zip(problem.counts.tolist(), problem.ridge.tolist(), strict=True))

    def part_of(pairs: SparseRows) -> RidgeRows:
        term = pairs.value.astype(np.int64)
        ridges = np.array([ridge[count] for count in pairs.counts.tolist()])
        return RidgeRows.of(pairs, problem.strength[term], problem.target[term], ridges)

    pairs = SparseRows(problem.indptr, problem.column, np.arange(len(problem.column), dtype=np.float64), columns)
    if as_columns:
        return HalfSweep.of_columns(pairs.transpose(), part_of, width)
    return HalfSweep.of_rows(pairs, part_of, width)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("same_ridge", [True, False])
@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("longest", [1 << 25, 200])
@pytest.mark.parametrize("as_columns", [True, False])
def test_enough_steps_of_conjugate_gradients_equal_the_reference(
    counted: bool, same_ridge: bool, shifted: bool, longest: int, as_columns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_shards, "LONGEST_BYTES", longest)  # 200: rows beyond 12 terms are solved exactly
    rng = np.random.default_rng(6)
    problem = problem_of(rng, [0, 1, 3, 17, 40, 5, 0, 12], 9, same_ridge=same_ridge)
    design, offset = design_of(rng, 9, 4), rng.normal(size=9).astype(np.float32) if shifted else None
    form = gram(design)
    found = rng.normal(size=(problem.rows, 4)).astype(np.float32)
    found[problem.counts == 0] = 0
    rows = half_sweep(problem, 9, 4, as_columns=as_columns)
    solution = Turned.of(found)
    rows.improve(solution, Turned.of(design), Curvature(form, counted), 12, offset)
    found = solution.plain()
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
        found = Turned.zeros(50, 16)
        curvature = Curvature(gram(design), counted=True)
        half_sweep(problem, 3000, 16).improve(found, Turned.of(design), curvature, steps)
        distance.append(np.linalg.norm(found.plain() - expected) / np.linalg.norm(expected))
    assert distance == sorted(distance, reverse=True)
    assert distance[1] < 1e-3


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_no_bit(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_shards, "SHARD_TERMS", 100)
    monkeypatch.setattr(row_shards, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(turned, "PART_ROWS", 7)
    monkeypatch.setattr("nbarec_plugins.gram.PART_ROWS", 7)
    rng = np.random.default_rng(8)
    problem, design = problem_of(rng, rng.integers(0, 40, 300).tolist(), 90), design_of(rng, 90, 8)
    found = []
    for number in (1, workers):
        with working(Work(workers=number)):
            vectors, curvature = Turned.zeros(problem.rows, 8), Curvature(gram(design), counted=True)
            half_sweep(problem, 90, 8).improve(vectors, Turned.of(design), curvature, 2)
            found.append(vectors.own.tobytes())
    assert found[0] == found[1]


def test_a_gram_matrix_is_added_up_in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    design = design_of(np.random.default_rng(9), 1000, 5)
    whole = gram(design)
    np.testing.assert_allclose(whole, design.astype(np.float64).T @ design.astype(np.float64), rtol=1e-12)
    monkeypatch.setattr("nbarec_plugins.gram.PART_ROWS", 33)
    np.testing.assert_allclose(gram(design), whole, rtol=1e-12)
    assert not gram(design[:0]).any()
