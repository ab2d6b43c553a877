"""Checks of what works on a pool: rankers, post-filters and feature providers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nbarec.components import Ranker
from nbarec.contracts import check_columns, check_scores, check_selection, check_terms, guarded
from nbarec.testing.copies import read_only
from nbarec.testing.forms import told
from nbarec.testing.questions import shuffled_in_rows, without_entries
from nbarec.testing.subject import CheckFailed, NotApplicable, Subject


def empty_pool(subject: Subject) -> None:
    """Rows for which nothing was proposed are no trouble."""
    for fit in subject.fits():
        subject.rows(fit.state, without_entries(fit.question))


def finite_scores(subject: Subject) -> None:
    """Every score is finite, in every world, for strangers, and where all entries of a row are alike."""
    for _, question, answer in subject.answers:
        check_scores(subject.name, answer, question.pool)
    for fit in subject.fits():
        question, flat = fit.question, np.zeros(len(fit.question.pool), np.float32)
        alike = replace(question, pool=question.pool.with_score("mixed", flat))
        check_scores(subject.name, subject.answer(fit.state, alike), alike.pool)


def permutation_equivariant(subject: Subject) -> None:
    """The order of a row's entries makes no difference to any of them."""
    for fit in subject.fits():
        shuffled, order = shuffled_in_rows(fit.question)
        before, after = (
            _by_entry(subject.form.rows(answer, question))
            for answer, question in (
                (fit.answer, fit.question),
                (subject.answer(fit.state, shuffled), shuffled),
            )
        )
        for at, old in enumerate(order.tolist()):
            if after[at] != before[old]:
                item, row = fit.question.pool.item[old], fit.question.pool.row[old]
                raise CheckFailed(
                    f"in the world {fit.world.name!r} item {item} in row {row} gets {before[old]}, and {after[at]} "
                    "when the entries of its row stand in another order; go by what an entry is, not by its place"
                )


def _by_entry(rows: list[str]) -> list[str]:
    return [entry for row in rows if row for entry in row.split(", ")]


def terms_add_up(subject: Subject) -> None:
    """The named terms of each entry's score add up to it."""
    if type(subject.component).terms is Ranker.terms:  # type: ignore[attr-defined]
        raise NotApplicable("it tells no terms")
    component: Any = subject.component
    for world, question, answer in subject.answers:
        with guarded(subject.name):
            terms = component.terms(
                read_only(subject.fit(world).state), read_only(question.request), read_only(question.pool)
            )
        if terms is None:
            raise NotApplicable("it tells no terms with these parameters")
        check_terms(f"{subject.name}, in the world {world.name!r}", terms, answer)


def never_invents(subject: Subject) -> None:
    """Only positions of the pool are kept, none of them twice."""
    for _, question, answer in subject.answers:
        check_selection(subject.name, np.sort(answer), question.pool)


def rows_in_order(subject: Subject) -> None:
    """What is kept stands row by row, in the order of the rows."""
    for _, question, answer in subject.answers:
        inside = answer[(answer >= 0) & (answer < len(question.pool))]
        check_selection(subject.name, inside[np.sort(np.unique(inside, return_index=True)[1])], question.pool)


def finite_or_missing(subject: Subject) -> None:
    """Every value is finite, or NaN where it is missing."""
    for _, question, answer in subject.answers:
        check_columns(subject.name, answer, question.pool)


def same_columns_always(subject: Subject) -> None:
    """The names of the columns do not depend on who is asked for."""
    for fit in subject.fits():
        nobody = subject.answer(fit.state, fit.question.take(np.empty(0, np.int64)))
        if list(nobody) != list(fit.answer):
            raise CheckFailed(
                f"in the world {fit.world.name!r} it has the columns {told(fit.answer)}, and for an empty batch "
                f"{told(nobody)}; rules and rankers rely on the names, so they must always be there"
            )


def columns_documented(subject: Subject) -> None:
    """Every column that it adds has a line in `columns()`, and every line there is one of a column."""
    component: Any = subject.component
    with guarded(subject.name):
        lines = component.columns()
    for fit in subject.fits():
        if list(lines) != list(fit.answer) or not all(lines.values()):
            raise CheckFailed(
                f"in the world {fit.world.name!r} it adds the columns {told(fit.answer)}, and columns() tells of "
                f"{', '.join(lines) or 'none'}; give a line on each, in the same order: nbarec inspect shows them"
            )


RANKER_CHECKS = (empty_pool, finite_scores, permutation_equivariant, terms_add_up)
FILTER_CHECKS = (empty_pool, never_invents, rows_in_order)
FEATURE_CHECKS = (empty_pool, finite_or_missing, same_columns_always, columns_documented)
