"""Slates as people and programs read them: table, CSV, JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import Any, Literal, TextIO

import numpy as np

from nbarec.batch import Slate
from nbarec.data import Dataset
from nbarec.reports import aligned

Format = Literal["table", "csv", "jsonl"]
CSV_COLUMNS = ("user_id", "rank", "item_id", "score")
HISTORY_SHOWN = 5


def write_slates(slates: Iterable[Slate], file: TextIO, form: Format, data: Dataset) -> int:
    """Write every slate as it comes; returns how many users were written."""
    if form == "csv":
        csv.writer(file, lineterminator="\n").writerow(CSV_COLUMNS)
    users = 0
    for slate in slates:
        match form:
            case "csv":
                rows = ((user, rank, item, score_text(score)) for user, rank, item, score in slate.rows())
                csv.writer(file, lineterminator="\n").writerows(rows)
            case "jsonl":
                file.writelines(json.dumps(_object(slate, row), ensure_ascii=False) + "\n" for row in range(len(slate)))
            case "table":
                file.writelines(slate_text(slate, row, data) + "\n" for row in range(len(slate)))
        users += len(slate)
    return users


def score_text(score: float) -> str:
    """The shortest decimal that reads back as the same float32."""
    return str(np.float32(score))


def _object(slate: Slate, row: int) -> dict[str, Any]:
    items = slate.ids.take(slate.item[row][slate.item[row] >= 0])
    places = enumerate(zip(items, slate.score[row], strict=False), start=1)
    return {
        "user_id": slate.users[row],
        "items": [{"rank": rank, "item_id": item, "score": float(score_text(score))} for rank, (item, score) in places],
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
    if cells:
        lines += [f"  {line}" for line in aligned(cells).splitlines()]
    if slate.decision[row]:
        lines.append(f"  ({slate.decision[row]})")
    return "\n".join(lines)


def history_text(data: Dataset, user: int) -> str:
    """The latest liked items of a user, newest first, each once."""
    events = data.events.take_rows(np.array([user]))
    liked = events.item[events.weight > 0][::-1]
    _, first = np.unique(liked, return_index=True)
    latest = liked[np.sort(first)][:HISTORY_SHOWN]
    if not len(latest):
        return "nothing liked so far"
    pairs = zip(data.items.texts(latest), item_names(data, latest), strict=True)
    return ", ".join(f"{item} {name}".strip() for item, name in pairs)


def item_names(data: Dataset, items: np.ndarray) -> list[str]:
    """What people call these items; empty texts where the catalogue has no column `name`."""
    return data.catalog.labels("name", items) if "name" in data.catalog.columns else [""] * len(items)
