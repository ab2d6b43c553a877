"""Checks of candidate generators: what may be proposed, in which order, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from nbarec.arrays import frozen, rows_of
from nbarec.batch import Candidates
from nbarec.components import CandidateGenerator
from nbarec.contracts import (
    check_best_first,
    check_evidence,
    check_finite,
    check_in_catalogue,
    check_limit,
    check_not_excluded,
    check_once_a_row,
    guarded,
)
from nbarec.evidence import Evidence
from nbarec.sparse import Csr
from nbarec.testing.check_worlds import twin_world
from nbarec.testing.copies import differing, leaves, read_only
from nbarec.testing.questions import Asked
from nbarec.testing.subject import SEED, CheckFailed, Fit, NotApplicable, Subject


def never_more_than_asked(subject: Subject) -> None:
    """No row gets more items than the limit that was asked for."""
    for fit in subject.fits():
        for limit in (1, 2, fit.question.limit):
            question = replace(fit.question, limit=limit)
            check_limit(subject.name, subject.answer(fit.state, question), limit)


def limit_above_the_catalogue(subject: Subject) -> None:
    """Asked for more items than there are, it gives all it has."""
    for fit in subject.fits():
        items = fit.question.request.n_items
        every = subject.rows(fit.state, replace(fit.question, limit=items))
        if subject.rows(fit.state, replace(fit.question, limit=3 * items + 1)) != every:
            raise CheckFailed(
                f"in the world {fit.world.name!r} it gives other items when asked for {3 * items + 1} than when asked "
                f"for {items}, which is all there are; cut the limit to what there is"
            )


def excluded_items_never_returned(subject: Subject) -> None:
    """What a request excludes is not proposed, not even if it is the best, or all there is."""
    for fit in subject.fits():
        request = fit.question.request
        check_not_excluded(subject.name, fit.answer, request)
        free = _excluding(fit.question, Csr.empty(len(request), request.n_items))
        best = subject.answer(fit.state, free)
        known = np.flatnonzero((best.item >= 0) & (best.item < request.n_items))[::2]
        first = Csr.from_pairs(rows_of(best.indptr)[known], best.item[known], None, request.excluded.shape)
        cells = np.indices(first.shape).reshape(2, -1)
        everything = Csr.from_pairs(cells[0], cells[1], None, first.shape)
        for excluded in (first, everything):
            question = _excluding(fit.question, excluded)
            check_not_excluded(subject.name, subject.answer(fit.state, question), question.request)


def no_duplicates(subject: Subject) -> None:
    """No item stands twice in a row."""
    for _, question, answer in subject.answers:
        check_once_a_row(subject.name, answer, question.request.n_items)


def items_of_the_catalogue(subject: Subject) -> None:
    """Every item is a position in the catalogue."""
    for _, question, answer in subject.answers:
        check_in_catalogue(subject.name, answer, question.request.n_items)


def finite_scores(subject: Subject) -> None:
    """Every score is finite, in every world and for strangers too."""
    for _, _, answer in subject.answers:
        check_finite(subject.name, answer)


def best_first(subject: Subject) -> None:
    """Scores never rise within a row."""
    for _, _, answer in subject.answers:
        check_best_first(subject.name, answer)


def ties_by_item_position(subject: Subject) -> None:
    """Of two items that are the same but for their ids, with equal scores, the one of lower position comes first."""
    fits = subject.fits((twin_world(),))
    if not fits:
        raise NotApplicable("it does not take part in the world of twins")
    fit = fits[0]
    if differing(leaves(fit.state), leaves(subject.learn(fit.world.data, seed=SEED + 1))):
        raise NotApplicable(
            "it learns something else with another seed, so that nothing is exactly as good as its twin"
        )
    request = fit.question.request
    free = _excluding(fit.question, Csr.empty(len(request), request.n_items))
    every = subject.answer(fit.state, replace(free, limit=request.n_items))
    tied = _tied_twins(every)
    if not tied:
        raise NotApplicable("no two items that are the same get the same score")
    # A step a limit: where a list is cut, the lower of two equal items must be the one that stays.
    for limit in range(1, request.n_items + 1):
        _check_twins(subject.answer(fit.state, replace(free, limit=limit)), tied)


def _tied_twins(every: Candidates) -> set[tuple[int, int]]:
    """(row, lower item) of all pairs of twins with one score."""
    row, item, score = rows_of(every.indptr).tolist(), every.item.tolist(), every.score.tolist()
    found = {(r, i): s for r, i, s in zip(row, item, score, strict=True)}
    return {(r, i) for (r, i), s in found.items() if i % 2 == 0 and found.get((r, i + 1)) == s}


def _check_twins(answer: Candidates, tied: set[tuple[int, int]]) -> None:
    places = {key: at for at, key in enumerate(zip(rows_of(answer.indptr).tolist(), answer.item.tolist(), strict=True))}
    for row, item in tied:
        lower, upper = places.get((row, item)), places.get((row, item + 1))
        if upper is not None and (lower is None or lower > upper):
            where = "is cut off" if lower is None else "comes after it"
            raise CheckFailed(
                f"items {item} and {item + 1} have the same score in row {row}, and item {item} {where}; equal scores "
                "go by item position: nbarec.kernels.best_first and top_of_dense see to that"
            )


def evidence_adds_up(subject: Subject) -> None:
    """What it tells of each item it proposes adds up to the item's score, however few parts are asked for."""
    if type(subject.component).evidence is CandidateGenerator.evidence:  # type: ignore[attr-defined]
        raise NotApplicable("it tells no evidence")
    told = [_check_evidence(subject, fit, limit) for fit in subject.fits() for limit in (1, 3, 1000)]
    if not any(told):
        raise NotApplicable("it tells no evidence with these parameters")


def _check_evidence(subject: Subject, fit: Fit, limit: int) -> bool:
    """Whether it tells any, after checking it for all pairs that were proposed, and for none."""
    found: Candidates = fit.answer
    row = rows_of(found.indptr)
    evidence = _evidence(subject, fit, frozen(row.astype(np.int32)), found.item, limit)
    _evidence(subject, fit, np.empty(0, np.int32), np.empty(0, np.int32), limit)
    if evidence is None:
        return False
    largest = np.zeros(len(fit.question))
    np.maximum.at(largest, row, np.abs(found.score))
    away = np.abs(evidence.score - found.score)
    if (away > 1e-5 * largest[row]).any():
        at = int((away - 1e-5 * largest[row]).argmax())
        raise CheckFailed(
            f"in the world {fit.world.name!r} the evidence for item {found.item[at]} in row {row[at]} adds up to "
            f"{evidence.score[at]:.8g} with limit {limit}, and the score is {found.score[at]:.8g}; what is not told "
            "belongs into the rest, as Evidence.strongest does"
        )
    _check_parts(fit, evidence, row)
    return True


def _evidence(subject: Subject, fit: Fit, row: Any, item: Any, limit: int) -> Evidence | None:
    component: Any = subject.component
    with guarded(subject.name):
        found: Evidence | None = component.evidence(
            read_only(fit.state), read_only(fit.question.request), read_only(row), read_only(item), limit
        )
    if found is not None:
        check_evidence(subject.name, found, len(row), limit)
    return found


def _check_parts(fit: Fit, evidence: Evidence, row: Any) -> None:
    """Each part is an item of that row's history, or has a label; sizes fall."""
    history = fit.question.request.history
    part_row = row[rows_of(evidence.indptr)]
    had = Csr.from_pairs(history.row, history.item, None, (history.rows, history.n_items))
    strange = (evidence.item >= 0) & ~had.contains(part_row, evidence.item)
    if strange.any():
        at = int(strange.argmax())
        raise CheckFailed(
            f"in the world {fit.world.name!r} the evidence of row {part_row[at]} speaks of item {evidence.item[at]}, "
            "which is not in that row's history; give a part that is no such item the position -1 and a label"
        )
    if any(item < 0 and not label for item, label in zip(evidence.item.tolist(), evidence.label, strict=True)):
        raise CheckFailed("a part of the evidence is no item and has no label; say what it is")
    for start, stop in pairwise(evidence.indptr.tolist()):
        if (np.diff(np.abs(evidence.amount[start:stop])) > 0).any():
            raise CheckFailed("the parts of the evidence do not stand largest first")


def _excluding(question: Asked, excluded: Csr) -> Asked:
    return replace(question, request=replace(question.request, excluded=excluded))


GENERATOR_CHECKS: tuple[Callable[[Subject], None], ...] = (
    never_more_than_asked,
    limit_above_the_catalogue,
    excluded_items_never_returned,
    items_of_the_catalogue,
    no_duplicates,
    finite_scores,
    best_first,
    ties_by_item_position,
    evidence_adds_up,
)
