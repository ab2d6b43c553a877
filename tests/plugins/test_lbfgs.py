"""L-BFGS against least points that are known."""

from __future__ import annotations

import numpy as np
import pytest

from nbarec.arrays import Floats64
from nbarec_plugins.lbfgs import least_point


@pytest.mark.parametrize("width", [1, 5, 60])
def test_the_least_point_of_a_quadratic_form_is_found(width: int) -> None:
    rng = np.random.default_rng(width)
    root = rng.normal(size=(width, width))
    second, right, steps = root.T @ root + np.eye(width), rng.normal(size=width), []

    def function(point: Floats64) -> tuple[float, Floats64]:
        slope = second @ point - right
        return float(point @ (slope - right)) / 2, slope

    found = least_point(function, np.zeros(width), enough=1e-16, most_steps=500, told=lambda: steps.append(1))
    np.testing.assert_allclose(found, np.linalg.solve(second, right), atol=1e-6)
    assert 0 < len(steps) < 400


def test_it_ends_where_the_slope_is_small_enough_or_after_the_last_step() -> None:
    seen: list[float] = []

    def function(point: Floats64) -> tuple[float, Floats64]:
        seen.append(float(point[0]))
        return float(np.cosh(point[0])), np.sinh(point)

    coarse = least_point(function, np.array([3.0]), enough=0.01, most_steps=50, told=lambda: None)
    assert abs(np.sinh(coarse[0])) <= 0.1
    once = least_point(function, np.array([3.0]), enough=0.0, most_steps=1, told=lambda: None)
    assert np.cosh(once[0]) < np.cosh(3.0)
    start = np.array([0.5])
    assert least_point(function, start, enough=1.0, most_steps=50, told=lambda: None) is start


def test_a_step_too_far_is_halved() -> None:
    """The slope of sqrt(1 + 400 x^2) - x / 2 is steep, so that the first step goes far beyond its least point."""

    def function(point: Floats64) -> tuple[float, Floats64]:
        root = np.sqrt(1 + 400 * point**2)
        return float((root - point / 2).sum()), 400 * point / root - 0.5

    found = least_point(function, np.array([1.0]), enough=1e-16, most_steps=100, told=lambda: None)
    assert found[0] == pytest.approx(0.5 / 20 / np.sqrt(400 - 0.25), abs=1e-7)
