"""Varimax: a known simple structure comes back from any rotation of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import AnyArray, Floats64
from nbarec.varimax import varimax


def simple(seed: int, width: int) -> Floats64:
    """40 rows a factor, each large on one factor and nearly nothing on the others."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(np.eye(width), np.ones((40, 1)))
    strength = rng.uniform(0.5, 1.5, (len(blocks), 1)) * (2.0 - np.arange(width) / width)
    return blocks * strength + rng.normal(0, 0.02, blocks.shape)


def rotation(seed: int, width: int) -> Floats64:
    return np.asarray(np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width))).Q)


def criterion(vectors: AnyArray) -> float:
    """Kaiser's: the variance of squared entries within columns, rows scaled to length 1."""
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return float(np.square(rows).var(axis=0).sum())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8))
def test_a_rotated_simple_structure_is_found_again(seed: int, width: int) -> None:
    wanted = simple(seed, width)
    turned = wanted @ rotation(seed + 1, width)
    found = turned @ varimax(turned)
    overlap = np.abs(wanted.T @ found) / np.outer(np.linalg.norm(wanted, axis=0), np.linalg.norm(found, axis=0))
    match = overlap.argmax(axis=1)
    assert sorted(match.tolist()) == list(range(width))
    assert overlap.max(axis=1).min() > 0.995
    assert (np.diff(np.square(found).sum(axis=0)) <= 1e-9).all()
    assert ((found**3).sum(axis=0) >= 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 30))
def test_it_is_a_rotation_and_no_other_that_was_tried_is_simpler(seed: int, width: int, rows: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(rows, width)) ** 3
    found = varimax(vectors.astype(np.float32))
    np.testing.assert_allclose(found.T @ found, np.eye(width), atol=1e-10)
    np.testing.assert_allclose(vectors @ found @ found.T @ vectors.T, vectors @ vectors.T, rtol=1e-9, atol=1e-9)
    assert criterion(vectors @ found) >= criterion(vectors) - 1e-6
    for plane in range(width - 1):  # it stands at a maximum: a small turn in any plane makes nothing simpler
        for angle in (-0.01, 0.01):
            turn = np.eye(width)
            turn[plane : plane + 2, plane : plane + 2] = [
                [np.cos(angle), -np.sin(angle)],
                [np.sin(angle), np.cos(angle)],
            ]
            assert criterion(vectors @ found @ turn) <= criterion(vectors @ found) + 1e-6


def test_rows_of_zeros_say_nothing() -> None:
    turned = simple(1, 3) @ rotation(2, 3)
    with_zeros = np.vstack([np.zeros((5, 3)), turned, np.zeros((2, 3))])
    np.testing.assert_allclose(varimax(with_zeros), varimax(turned), atol=1e-9)
    np.testing.assert_array_equal(varimax(np.zeros((4, 3))), np.eye(3))
    np.testing.assert_array_equal(varimax(np.zeros((0, 2))), np.eye(2))
