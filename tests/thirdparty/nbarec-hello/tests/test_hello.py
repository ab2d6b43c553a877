"""What nbarec asks of every component, and what this one promises; `nbarec.testing.worlds` tells of the tiny world."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from nbarec import Pipeline
from nbarec.errors import ConfigError
from nbarec.testing.checks import Check, checks
from nbarec.testing.worlds import pool_of, request_for, tiny_world

import nbarec_hello
from nbarec_hello import Hello, ThisHour


@pytest.mark.parametrize("check", checks(Hello()), ids=lambda check: check.name)
def test_contract(check: Check) -> None:
    check.run()


def scores(component: Hello, *rows: dict[int, float]) -> list[list[float]]:
    """What the ranker gives each user's items, in the order of the items; a row is item -> score of its generator."""
    data = tiny_world()
    request = request_for(data, range(len(rows)))
    pool = pool_of(request, {"some": rows})
    given = component.rank(component.fit(data, np.random.default_rng(0)), request, pool)
    return [given[pool.row == row].astype(np.float64).round(6).tolist() for row in range(len(rows))]


def test_a_larger_number_scores_more() -> None:
    assert scores(Hello(weight=0.6), {0: 0.9, 3: 0.8, 4: 0.7}) == [[1.0, 1.0, 0.933333]]


def test_an_item_without_a_number_scores_least() -> None:
    assert scores(Hello(weight=0.6), {0: 0.9, 7: 0.8, 4: 0.7}) == [[1.0, 0.933333, 0.5]]


def test_a_row_with_nothing_to_compare() -> None:
    assert scores(Hello(weight=0.6), {3: 0.9}, {}, {7: 0.9}) == [[1.0], [], [1.0]]


def test_a_column_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="by is 'artist'; it must be a number column of the items: explicit, tempo"):
        Hello(by="artist").fit(tiny_world(), np.random.default_rng(0))


def test_the_example_runs() -> None:
    model = Pipeline.from_yaml(Path(__file__).parents[1] / "example.yaml").fit()
    assert len(model.recommend(["U0001"]).items[0]) == 10


def test_the_examples_in_the_documentation_run() -> None:
    assert doctest.testmod(nbarec_hello).failed == 0


@pytest.mark.parametrize("check", checks(ThisHour()), ids=lambda check: check.name)
def test_contract_of_this_hour(check: Check) -> None:
    check.run()
