"""Slates as people and programs read them: table, CSV, JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, TextIO

import numpy as np

from nbarec.batch import Slate
from nbarec.data import Dataset
from nbarec.explain import Explanation, Part, Proposal, Step
from nbarec.reports import aligned

Format = Literal["table", "csv", "jsonl"]
CSV_COLUMNS = ("user_id", "rank", "item_id", "score")
HISTORY_SHOWN = 5

MOST_TERMS = 10
"""Terms of one ranker that are read; a learned one may have a hundred."""

BASE = "base"
"""The term that every item of a learned ranker has."""


def write_slates(slates: Iterable[Slate], file: TextIO, form: Format, data: Dataset, *, explained: bool = False) -> int:
    """Write every slate as it comes, with the reason of every item where they are `explained`; returns how many users
    were written."""
    if form == "csv":
        csv.writer(file, lineterminator="\n").writerow((*CSV_COLUMNS, "because") if explained else CSV_COLUMNS)
    users = 0
    for slate in slates:
        match form:
            case "csv":
                csv.writer(file, lineterminator="\n").writerows(_csv_rows(slate))
            case "jsonl":
                file.writelines(json.dumps(_object(slate, row), ensure_ascii=False) + "\n" for row in range(len(slate)))
            case "table":
                file.writelines(slate_text(slate, row, data) + "\n" for row in range(len(slate)))
        users += len(slate)
    return users


def _csv_rows(slate: Slate) -> Iterator[Sequence[Any]]:
    told = iter([one.because for row in slate.explanations for one in row])
    for user, rank, item, score in slate.rows():
        cells = (user, rank, item, score_text(score))
        yield (*cells, next(told)) if slate.explanations else cells


def score_text(score: float) -> str:
    """The shortest decimal that reads back as the same float32."""
    return str(np.float32(score))


def _object(slate: Slate, row: int) -> dict[str, Any]:
    items = slate.ids.take(slate.item[row][slate.item[row] >= 0])
    places = enumerate(zip(items, slate.score[row], strict=False), start=1)
    shown = [{"rank": rank, "item_id": item, "score": float(score_text(score))} for rank, (item, score) in places]
    if slate.explanations:
        shown = [{**one, **told.to_json()} for one, told in zip(shown, slate.explanations[row], strict=True)]
    return {
        "user_id": slate.users[row],
        "items": shown,
        "road": slate.trace.road(row),
        "decision": slate.decision[row],
    }


def slate_text(slate: Slate, row: int, data: Dataset) -> str:
    """One user's slate as a person reads it, names beside ids where the catalogue has them."""
    lines = [f"{slate.users[row]}: {slate.trace.road(row)}"]
    shown = slate.item[row][slate.item[row] >= 0]
    names = item_names(data, shown)
    cells = [
        [str(rank), item, score_text(score), name]
        for rank, (item, score, name) in enumerate(
            zip(slate.ids.texts(shown), slate.score[row], names, strict=False), start=1
        )
    ]
    if slate.explanations:
        told = [f"because {one.because}" if one.because else "" for one in slate.explanations[row]]
        cells = [[*line, because] for line, because in zip(cells, told, strict=True)]
    if cells:
        lines += [f"  {line}" for line in aligned(cells).splitlines()]
    if slate.decision[row]:
        lines.append(f"  ({slate.decision[row]})")
    return "\n".join(lines)


def history_text(data: Dataset, user: int) -> str:
    """A few items of a user's history, each once: the latest, or where the data have no times those of most weight;
    with the user's own number where the data have one."""
    events, timed = data.events.take_rows(np.array([user])), bool(data.events.time.any())
    positive = np.flatnonzero(events.weight > 0)[::-1]
    if not timed:
        positive = positive[np.argsort(-events.weight[positive], kind="stable")]
    _, first = np.unique(events.item[positive], return_index=True)
    shown = positive[np.sort(first)][:HISTORY_SHOWN]
    if not len(shown):
        return "history: nothing of positive weight"
    items = events.item[shown]
    rated = (data.events.value != 1).any()
    values = [f"({value:g})" if rated else "" for value in events.value[shown]]
    cells = zip(data.items.texts(items), item_names(data, items), values, strict=True)
    latest = "history, latest first" if timed else "history, most weight first"
    return f"{latest}: " + ", ".join(" ".join(filter(None, cell)) for cell in cells)


def explanation_lines(told: Explanation) -> list[str]:
    """How one item came where it is: who proposed it, and what every ranker and filter did."""
    lines = [f"because {told.because}"] if told.because else []
    lines += ["", "Proposed by"] if told.proposals else []
    lines += _indented([_proposal_cells(one) for one in told.proposals])
    if told.steps:
        lines += ["", "On its way"]
        lines += _indented([_step_cells(one) for one in told.steps])
    return lines


def _proposal_cells(one: Proposal) -> list[str]:
    parts = [f"{part.name} {part.amount:+.4g}" for part in one.parts]
    rest = [f"rest {one.rest:+.4g}"] if one.rest is not None and one.parts else []
    return [one.stage, f"rank {one.rank}", f"score {one.score:.6g}", ", ".join([*parts, *rest])]


def _step_cells(one: Step) -> list[str]:
    if not one.rank:
        return [one.stage, "removed" if one.step == "filter" else "below its cut", "", ""]
    terms = ", ".join(_terms(one.terms))
    score = f"score {one.score:.6g}" if one.step == "rank" else "kept"
    return [one.stage, f"rank {one.rank}", score, terms]


def _terms(terms: Sequence[Part]) -> Iterator[str]:
    """All terms in their order; of more than can be read those that move the score most, and what the others add."""
    shown = terms if len(terms) <= MOST_TERMS else _largest(terms)
    for term in shown:
        yield f"{term.name} {term.amount:+.4g}"
    if len(shown) < len(terms):
        rest = sum(term.amount for term in terms) - sum(term.amount for term in shown)
        yield f"{len(terms) - len(shown)} others {rest:+.4g}"


def _largest(terms: Sequence[Part]) -> list[Part]:
    """What every item gets, `base`, and the terms of the largest size."""
    base = [term for term in terms if term.name == BASE]
    moving = sorted((term for term in terms if term.name != BASE), key=lambda term: -abs(term.amount))
    return [*base, *moving[: MOST_TERMS - len(base)]]


def _indented(cells: list[list[str]]) -> list[str]:
    return [f"  {line}" for line in aligned(cells).splitlines()] if cells else []


def item_names(data: Dataset, items: np.ndarray | Sequence[int]) -> list[str]:
    """What people call these items; empty texts where the catalogue has no column `name`."""
    return data.catalog.labels("name", items) if "name" in data.catalog.columns else [""] * len(items)
