"""Checks of metrics: values within their bounds, for empty slates too, and one figure for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from nbarec.arrays import frozen
from nbarec.contracts import guarded
from nbarec.testing.questions import AskedOfMetric
from nbarec.testing.subject import CheckFailed, Subject

ROUNDING = 1e-12


def within_bounds(subject: Subject) -> None:
    """Each user's value, and the figure for all, lie within `bounds` or are NaN."""
    component: Any = subject.component
    low, high = component.bounds
    for world, question, answer in subject.answers:
        for values, whose in ((answer, "users"), (np.array([_figure(subject, world.data, question, answer)]), "all")):
            wrong = (values < low - ROUNDING) | (values > high + ROUNDING)
            if wrong.any():
                raise CheckFailed(
                    f"in the world {world.name!r} the value of {whose} is {values[wrong][0]!r}, and bounds says from "
                    f"{low} to {high}; correct one or the other (NaN stands for undefined)"
                )


def empty_slates(subject: Subject) -> None:
    """Slates without an item, and no slates at all, have a value or none, and are no trouble."""
    for fit in subject.fits():
        slate = fit.question.slate
        bare = replace(
            slate,
            item=frozen(np.full(slate.item.shape, -1, np.int32)),
            score=frozen(np.full(slate.score.shape, np.nan, np.float32)),
        )
        for question in (AskedOfMetric(bare, fit.question.truth), fit.question.take(np.empty(0, np.int64))):
            answer = subject.answer(fit.state, question)
            subject.form.check_arrays(subject.name, answer, question)
            _figure(subject, fit.world.data, question, answer)


def one_figure(subject: Subject) -> None:
    """`aggregate` gives one number, the same in any order of the users."""
    for fit in subject.fits():
        order = np.random.default_rng(0).permutation(len(fit.question))
        first, second = _figures(subject, fit.world.data, fit.question, fit.answer, order)
        if not np.isclose(first, second, rtol=1e-9, atol=0.0, equal_nan=True):
            raise CheckFailed(
                f"in the world {fit.world.name!r} the figure for all users is {first!r}, and {second!r} for the same "
                "users in another order; an evaluation may take them in any"
            )


def _figures(subject: Subject, data: Any, question: Any, answer: Any, order: Any) -> Iterator[float]:
    yield _figure(subject, data, question, answer)
    yield _figure(subject, data, question.take(order), answer[order])


def _figure(subject: Subject, data: Any, question: AskedOfMetric, answer: Any) -> float:
    component: Any = subject.component
    with guarded(subject.name):
        figure = component.aggregate(answer.copy(), question.slate, data)
    if not isinstance(figure, float):
        raise CheckFailed(f"aggregate returned a value of type {type(figure).__name__}; it must be a float, or NaN")
    return figure


METRIC_CHECKS = (within_bounds, empty_slates, one_figure)
