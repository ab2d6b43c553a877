"""Checks of rankers that learn from examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nbarec.components import Example, LearningRanker
from nbarec.contracts import check_scores, guarded
from nbarec.testing.copies import differing, leaves, writable
from nbarec.testing.questions import examples_of
from nbarec.testing.subject import SEED, CheckFailed, Fit, NotApplicable, Subject


def learns_the_same_from_any_batches(subject: Subject) -> None:
    """How many users an example has makes no difference to what is learnt."""
    component = _learning(subject)
    for fit in subject.fits():
        everybody = max(len(fit.world.data.users), 1)
        first, second = (
            leaves(_learnt(subject, fit, examples_of(component, fit.world.data, users))) for users in (1, everybody)
        )
        if changed := differing(first, second):
            raise CheckFailed(
                f"in the world {fit.world.name!r} examples of one user and of all of them teach it something else: the "
                f"state's {', '.join(changed[:3])}; add up in an order that depends on users and entries alone"
            )


def serves_without_examples(subject: Subject) -> None:
    """What it serves with before there are examples, or where there are none, scores every entry."""
    component = _learning(subject)
    for fit in subject.fits():
        with guarded(subject.name):
            fitted = component.fit(writable(fit.world.data), np.random.default_rng(SEED))
        for state in (fitted, _learnt(subject, fit, [])):
            check_scores(f"{subject.name}, without examples,", subject.answer(state, fit.question), fit.question.pool)


def _learning(subject: Subject) -> LearningRanker[Any]:
    """The component, which `checks` asks of nothing else."""
    if not isinstance(subject.component, LearningRanker):
        raise NotApplicable("it learns from no examples")
    return subject.component


def _learnt(subject: Subject, fit: Fit, examples: Sequence[Example]) -> Any:
    with guarded(subject.name):
        return _learning(subject).learn(writable(list(examples)), writable(fit.world.data), np.random.default_rng(SEED))


LEARNING_CHECKS = (learns_the_same_from_any_batches, serves_without_examples)
