"""The factorisation machine as a ranker: what it learns from context and ids, and how it explains that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nbarec.arrays import Floats64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import Example
from nbarec.contracts import check_terms
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import pool_of, request_for
from nbarec.work import Work, working
from nbarec_plugins.fm import Fm, FmState, nbarec_rankers

USERS, ITEMS = 40, 12
HOURS = ("day", "night")
SMALL = Fm(features=("user", "item", "context.hour"), factors=4, batch_size=256, learning_rate=0.05, l2=1, epochs=12)
FORMS = (SMALL, replace(SMALL, form="field_aware", factors=2), replace(SMALL, factors=0))


def world() -> Dataset:
    """40 users, 12 items; what happened before says nothing."""
    users = [f"u{n:02}" for n in range(USERS)]
    return Dataset.from_arrays([users[n % USERS] for n in range(240)], [f"s{n % ITEMS:02}" for n in range(240)])


DATA = world()


def chances(user: Any, item: Any, night: Any) -> Floats64:
    """The even half of the items is liked at night, the odd one by day, and each user has a soft spot: the items with
    his own remainder by four. No user, no item and no hour tells anything alone."""
    suits = (np.asarray(item) % 2 == 0) == np.asarray(night)
    spot = np.asarray(item) % 4 == np.asarray(user) % 4
    return np.where(suits, 0.6, 0.1) + 0.3 * spot


def example(requests: int, seed: int, users: Any = None) -> tuple[Example, Floats64]:
    """Requests of random users at random hours, all items in each pool; and the true chances."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, USERS, requests) if users is None else np.asarray(users)
    night = rng.random(len(user)) < 0.5
    hour = np.array(HOURS, object)[night.astype(int)].tolist()
    request = request_for(DATA, user.tolist(), context={"hour": hour})
    pool = pool_of(request, {"all": [dict.fromkeys(range(ITEMS), 1.0)] * len(user)})
    true = chances(user[pool.row], pool.item, night[pool.row])
    label = (rng.random(len(pool)) < true).astype(np.float32)
    return Example(request, pool, frozen(label)), true


LESSON, _ = example(1500, 0)
STATES = [component.learn([LESSON], DATA, np.random.default_rng(0)) for component in FORMS]


def test_it_finds_what_context_and_ids_mean_together() -> None:
    unseen, true = example(300, 1)
    errors = []
    for component, state in zip(FORMS, STATES, strict=True):
        found = component.rank(state, unseen.request, unseen.pool)
        errors.append(float(np.abs(found - true).mean()))
    assert errors[0] < 0.08
    assert errors[1] < 0.08
    assert errors[2] > 0.2  # without pairs there is nothing to see


def test_it_tells_figures_of_others_and_the_losses() -> None:
    found: Mapping[str, Any] = SMALL.findings(STATES[0])
    assert found["auc"] > 0.8
    assert found["learnt from"]["requests"] == 1500  # refit: nothing is left out at the end
    assert 1 <= found["best epoch"] <= len(found["loss by epoch"]["held out"]) <= 12
    assert found["loss by epoch"]["held out"][-1] < found["loss by epoch"]["held out"][0]
    assert set(found["strongest"]) == {"user", "item", "context.hour"}
    alone = replace(SMALL, refit=False, validation=0.0, epochs=2).learn([LESSON], DATA, np.random.default_rng(0))
    told: Mapping[str, Any] = SMALL.findings(alone)
    assert 1100 < told["learnt from"]["requests"] < 1300
    assert "held out" not in told["loss by epoch"]
    assert "best epoch" not in SMALL.findings(SMALL.fit(DATA, np.random.default_rng(0)))


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("at", range(len(FORMS)))
def test_terms_add_up_and_name_what_moved_an_item(at: int, pairs: bool) -> None:
    component, state = replace(FORMS[at], pairs=pairs), STATES[at]
    unseen, _ = example(30, 2)
    ranked = component.rank(state, unseen.request, unseen.pool)
    terms = component.terms(state, unseen.request, unseen.pool)
    assert terms is not None
    check_terms("fm", terms, ranked)
    named = {"base", "user", "item", "context.hour"}
    crossed = {"user x item", "user x context.hour", "item x context.hour"}
    assert set(terms) == (named | crossed if pairs else named)
    if pairs and component.factors:
        strength = {name: float(np.std(part)) for name, part in terms.items()}
        assert max(strength, key=lambda name: strength[name]) == "item x context.hour"


def test_numbers_are_fields_too() -> None:
    """A number whose middle counts: bins see it, one standardised value does not; in both it has one name."""
    rng = np.random.default_rng(5)
    request = request_for(DATA, rng.integers(0, USERS, 400).tolist())
    pool = pool_of(request, {"all": [dict.fromkeys(range(ITEMS), 1.0)] * 400})
    number = np.where(rng.random(len(pool)) < 0.2, np.nan, rng.normal(size=len(pool)))
    pool = replace(pool, features={"tempo": frozen(number.astype(np.float32))})
    true = np.where(np.isnan(number), 0.5, np.where(np.abs(number) < 0.7, 0.9, 0.1))
    label = frozen((rng.random(len(pool)) < true).astype(np.float32))
    errors = {}
    for numbers in ("bins", "values", "both"):
        component = replace(SMALL, features=("tempo", "item"), numbers=numbers, bins=16)
        state = component.learn([Example(request, pool, label)], DATA, np.random.default_rng(0))
        errors[numbers] = float(np.abs(component.rank(state, request, pool) - true).mean())
        terms = replace(component, pairs=True).terms(state, request, pool)
        assert terms is not None
        check_terms("fm", terms, component.rank(state, request, pool))
        assert set(terms) == {"base", "tempo", "item", "item x tempo"}
    assert max(errors["bins"], errors["both"]) < 0.1
    assert errors["values"] > 0.25


def test_nobody_we_know_gets_what_holds_for_all() -> None:
    """Without a user's own vector: items by hour, the mean over all users."""
    state, nobody = STATES[0], request_for(DATA, [-1, -1], context={"hour": ["day", "night"]})
    pool = pool_of(nobody, {"all": [dict.fromkeys(range(ITEMS), 1.0)] * 2})
    ranked = SMALL.rank(state, nobody, pool).reshape(2, ITEMS)
    assert ranked[0, 1::2].min() > ranked[0, ::2].max()
    assert ranked[1, ::2].min() > ranked[1, 1::2].max()
    terms = SMALL.terms(state, nobody, pool)
    assert terms is not None
    np.testing.assert_array_equal(terms["user"], 0.0)


@pytest.mark.parametrize("at", range(len(FORMS)))
def test_one_request_gets_the_bits_that_it_gets_among_many(at: int) -> None:
    component, state = FORMS[at], STATES[at]
    many, _ = example(200, 3)
    ranked = component.rank(state, many.request, many.pool)
    for row in (0, 17, 199):
        one, pool = alone(many, row)
        np.testing.assert_array_equal(component.rank(state, one, pool), ranked[many.pool.row == row])


def alone(many: Example, row: int) -> tuple[Request, Pool]:
    request = many.request.take(np.array([row]))
    return request, pool_of(request, {"all": [dict.fromkeys(range(ITEMS), 1.0)]})


def test_a_seed_gives_one_result_for_any_workers() -> None:
    component, found = replace(SMALL, epochs=2, refit=False), []
    for workers in (1, 2):
        with working(Work(workers=workers)):
            found.append(component.learn([LESSON], DATA, np.random.default_rng(9)))
    first, second = (state.model for state in found)
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.machine.vectors, second.machine.vectors)
    np.testing.assert_array_equal(first.machine.linear, second.machine.linear)


def test_what_does_not_fit_the_memory_is_refused() -> None:
    few, _ = example(40, 4)
    with working(Work(memory=1 << 20)), pytest.raises(ConfigError, match=r"fm needs .* bytes .* fewer factors"):
        replace(SMALL, factors=10_000).learn([few], DATA, np.random.default_rng(0))


def test_the_state_is_its_own() -> None:
    assert nbarec_rankers() == [Fm]
    assert isinstance(STATES[0], FmState)


CHECKED = [
    pytest.param(check, id=f"{check.name} {name}")
    for name, component in {
        "defaults": Fm(),
        "ids": Fm(features=("*", "user", "item"), factors=3, numbers="both", pairs=True),
        "field_aware": Fm(features=("*", "user"), form="field_aware", factors=2, numbers="values"),
    }.items()
    for check in checks(component)
]


@pytest.mark.parametrize("check", CHECKED)
def test_passes_the_conformance_checks(check: Check) -> None:
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))
