"""Which column a name means, and its values as numbers and as levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nbarec.arrays import frozen
from nbarec.batch import Pool, Request
from nbarec.errors import ConfigError
from nbarec.testing.worlds import NOON, pool_of, request_for, tiny_world
from nbarec_plugins.named_columns import Named, expanded, levels_of, named, numbers_of

DATA = tiny_world()


def asked(**columns: Any) -> tuple[Request, Pool]:
    """Songs 0 and 6 for anna and for a stranger, with these feature columns."""
    request = request_for(DATA, [0, -1], context={"device": ["tv", ""], "hour": [7, 23]})
    pool = pool_of(request, {"near": [{0: 2.5, 6: 1.0}, {6: 3.0}], "far": [{0: 1.0}, {0: 4.0}]})
    return request, replace(pool, features={name: frozen(np.asarray(values)) for name, values in columns.items()})


def found(name: str, **columns: Any) -> Named:
    column = named(name, *asked(**columns))
    assert column is not None
    return column


def numbers(name: str, **columns: Any) -> list[float | None]:
    request, pool = asked(**columns)
    values = numbers_of(found(name, **columns), request, pool)
    return [None if np.isnan(value) else round(float(value), 4) for value in values]


def levels(name: str, **columns: Any) -> list[str | None]:
    column = found(name, **columns)
    own = levels_of(column)
    return [None if code < 0 else own.levels.texts([code])[0] for code in column.spread(own.codes).tolist()]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("near.score", [2.5, 1.0, None, 3.0]),
        ("near.rank", [1.0, round(61 / 62, 4), 0.0, 1.0]),
        ("near", [2.5, 1.0, None, 3.0]),
        ("agreement", [1.0, 0.5, 0.5, 0.5]),
        ("score", [2.0, 0.5, 1.0, 1.0]),
        ("item.tempo", [90.0, 120.0, 90.0, 120.0]),
        ("item.released", [10.0, None, 10.0, None]),
        ("user.age", [34.0, 34.0, None, None]),
        ("user.events", [3.0, 3.0, 0.0, 0.0]),
        ("context.hour", [7.0, 7.0, 23.0, 23.0]),
        ("now", [NOON] * 4),
        ("context.place", [None] * 4),
        ("item.artist", [None] * 4),
        ("item.moods", [None] * 4),
    ],
)
def test_numbers(name: str, values: list[float | None]) -> None:
    assert numbers(name) == values


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("item.artist", ["ada", None, "ada", None]),
        ("item", ["s0", "s6", "s0", "s6"]),
        ("user", ["anna", "anna", None, None]),
        ("user.country", ["DE", "DE", None, None]),
        ("context.device", ["tv", "tv", None, None]),
        ("context.hour", ["7", "7", "23", "23"]),
        ("user.age", ["34", "34", None, None]),
        ("item.tempo", ["90", "120", "90", "120"]),
        ("item.released", [None] * 4),
        ("item.moods", [None] * 4),
        ("context.place", [None] * 4),
    ],
)
def test_levels(name: str, texts: list[str | None]) -> None:
    assert levels(name) == texts


def test_columns_of_providers_go_first_whatever_they_hold() -> None:
    assert numbers("item.tempo", **{"item.tempo": [1.0, 2.0, np.nan, 4.0]}) == [1.0, 2.0, None, 4.0]
    assert numbers("near.score", **{"near.score": [True, False, True, True]}) == [1.0, 0.0, 1.0, 1.0]
    assert numbers("big", big=[1e300, -1e300, 0.0, 0.0])[:2] == [
        float(np.finfo(np.float32).max),
        float(np.finfo(np.float32).min),
    ]
    assert levels("mood", mood=np.array(["calm", "", None, "loud"], object)) == ["calm", None, None, "loud"]
    assert numbers("mood", mood=np.array(["3", "x", "inf", "-0.5"], object)) == [3.0, None, None, -0.5]


def test_a_star_is_every_column_of_the_pool_and_names_count_once() -> None:
    request, pool = asked(warm=[0.0] * 4)
    listed = ("warm", "near.score", "near.rank", "far.score", "far.rank", "agreement")
    assert expanded(["*"], request, pool) == listed
    assert expanded(["far.rank", "*", "item.tempo", "warm"], request, pool) == (
        "far.rank",
        *(name for name in listed if name != "far.rank"),
        "item.tempo",
    )
    assert expanded(["*"], request, pool_of(request, {})) == ()


@pytest.mark.parametrize(
    "name", ["nearer", "near.places", "item.", "item.color", "user.color", "events", "device.hour"]
)
def test_a_name_that_means_nothing(name: str) -> None:
    request, pool = asked()
    assert named(name, request, pool) is None
    with pytest.raises(ConfigError, match=rf"there is no name '{name}' here.*the names are near\.score, near\.rank"):
        expanded([name], request, pool)
