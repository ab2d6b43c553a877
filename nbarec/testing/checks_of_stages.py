"""Checks of what learns: fits that repeat, states that can be saved, updates that keep what was known."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from nbarec.arrays import AnyArray
from nbarec.components import ItemVectors, Updatable, UserVectors
from nbarec.contracts import check_vectors, guarded
from nbarec.data import Dataset
from nbarec.joining import join_datasets
from nbarec.store import open_model, save
from nbarec.testing.check_worlds import grown
from nbarec.testing.copies import differing, leaves, read_only, writable
from nbarec.testing.forms import told
from nbarec.testing.questions import Who
from nbarec.testing.subject import REFUSALS, CheckFailed, Fit, NotApplicable, Subject


def same_seed_same_bytes(subject: Subject) -> None:
    """Two components with the same parameters, fitted with the same seed, learn the same to the bit."""
    for fit in subject.fits():
        first, second = (subject.learn(fit.world.data, replace(subject.component)) for _ in range(2))
        if changed := differing(leaves(first), leaves(second)):
            raise CheckFailed(
                f"in the world {fit.world.name!r} two fits with the same seed differ in the state's "
                f"{', '.join(changed[:3])}; draw random numbers from the rng that fit gets, and from nothing else"
            )


def second_fit_equals_first(subject: Subject) -> None:
    """A component that has fitted before, this and other data, learns the same again."""
    for fit in subject.fits():
        component = replace(subject.component)
        first = subject.learn(fit.world.data, component)
        with contextlib.suppress(*REFUSALS):
            subject.learn(grown(fit.world)[0], component)
        if changed := differing(leaves(first), leaves(subject.learn(fit.world.data, component))):
            raise CheckFailed(
                f"in the world {fit.world.name!r} a later fit differs from the first in the state's "
                f"{', '.join(changed[:3])}; what is learnt belongs into the state, a component keeps nothing"
            )


def state_round_trip(subject: Subject) -> None:
    """A state that was saved and loaded, memory-mapped, serves the same to the bit."""
    hint = get_type_hints(type(subject.component).fit).get("return")  # type: ignore[attr-defined]
    if hint is None:
        raise CheckFailed("fit has no return type; annotate it with the state's class, by which a model is loaded")
    for fit in subject.fits()[:1]:
        expected = subject.form.rows(fit.answer, fit.question)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            save(Path(folder), {"state": fit.state}, {})
            loaded = open_model(Path(folder)).part("state", hint)
            with guarded(f"{subject.name}, with a state that was loaded,"):
                answer = subject.form.answer(subject.component, loaded, writable(fit.question))
            found = subject.form.rows(answer, fit.question)
            del loaded
        if found != expected:
            raise CheckFailed(
                f"a state that was saved and loaded answers {told(found)}, the one that was learnt {told(expected)}; "
                "all that serving needs must be a field of the state that its constructor takes"
            )


def update_with_nothing_new(subject: Subject) -> None:
    """An update without new events, users and items serves the same to the bit."""
    for fit in _updatable(subject):
        data = fit.world.data
        nothing = data.with_events(data.events.where(np.zeros(len(data.events), bool)))
        everything, new = join_datasets(data, nothing)
        state = _updated(subject, fit.state, everything, new)
        expected, found = subject.form.rows(fit.answer, fit.question), subject.rows(state, fit.question)
        if found != expected:
            raise CheckFailed(
                f"in the world {fit.world.name!r} it answers {told(found)} after an update with nothing new, and "
                f"{told(expected)} before it; an update must keep what was known"
            )


def update_with_new_users_and_items(subject: Subject) -> None:
    """An update with new users and items serves them, and its item vectors have a row for each item."""
    for fit in _updatable(subject):
        everything, new = grown(fit.world)
        state = _updated(subject, fit.state, everything, new)
        question = subject.form.ask(subject.component, everything, Who.everybody(everything))
        subject.rows(state, question)
        if isinstance(subject.component, ItemVectors):
            vectors = subject.component.item_vectors(read_only(state))
            check_vectors(f"{subject.name}, after an update with 2 new items,", vectors, len(everything.items))


def _updatable(subject: Subject) -> list[Fit]:
    if not isinstance(subject.component, Updatable):
        raise NotApplicable("it has no update")
    return subject.fits()


def _updated(subject: Subject, state: Any, data: Dataset, new: Dataset) -> Any:
    component: Any = subject.component
    with guarded(f"{subject.name}.update"):
        return component.update(read_only(state), read_only(data), read_only(new))


def item_vectors(subject: Subject) -> None:
    """Its item vectors are finite float32 with a row for each item."""
    if not isinstance(subject.component, ItemVectors):
        raise NotApplicable("it has no item_vectors")
    for fit in subject.fits():
        with guarded(subject.name):
            vectors = subject.component.item_vectors(read_only(fit.state))
        check_vectors(subject.name, vectors, len(fit.world.data.items))


def user_vectors(subject: Subject) -> None:
    """Its user vectors are as long as its item vectors, zeros without a history, and the same in any batch."""
    component = subject.component
    if not isinstance(component, UserVectors):
        raise NotApplicable("it has no user_vectors")
    for fit in subject.fits():
        state = read_only(fit.state)

        def vectors_of(request: Any, state: Any = state) -> Any:
            with guarded(subject.name):
                return component.user_vectors(state, read_only(request))

        width = component.item_vectors(state).shape[1]
        _check_user_vectors(subject, fit, vectors_of, width)


def _check_user_vectors(subject: Subject, fit: Fit, vectors_of: Callable[[Any], Any], width: int) -> None:
    everybody = subject.form.ask(subject.component, fit.world.data, Who.everybody(fit.world.data)).request
    together = _vectors(vectors_of(everybody), len(everybody), width)
    alone = [_vectors(vectors_of(everybody.take(np.array([row]))), 1, width) for row in range(len(everybody))]
    if together.tobytes() != np.concatenate(alone).tobytes():
        raise CheckFailed("user_vectors of a user alone differ from the same in a batch; compute each row by itself")
    if together[everybody.history.counts == 0].any():
        raise CheckFailed("user_vectors of a user without a history are not zeros; nothing is known of such a user")


def _vectors(found: Any, rows: int, width: int) -> AnyArray:
    if not isinstance(found, np.ndarray) or found.dtype != np.float32 or found.shape != (rows, width):
        given = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise CheckFailed(f"user_vectors returned {given}; it must be float32 ({rows}, {width}), as item_vectors is")
    if not np.isfinite(found).all():
        raise CheckFailed("user_vectors has a value that is not finite")
    return found


STAGE_CHECKS = (
    same_seed_same_bytes,
    second_fit_equals_first,
    state_round_trip,
    update_with_nothing_new,
    update_with_new_users_and_items,
)
