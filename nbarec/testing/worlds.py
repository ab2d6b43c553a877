"""Small known worlds, and the requests and pools that a component's tests need.

>>> data = tiny_world()
>>> request = request_for(data, [0, -1], k=3)
>>> pool = pool_of(request, {"alike": [{4: 0.9, 2: 0.5}, {}], "trending": [{2: 7.0}, {2: 7.0, 0: 3.0}]})
>>> pool.row.tolist(), pool.item.tolist(), pool.ranks.tolist()
([0, 0, 1, 1], [2, 4, 0, 2], [[2, 1], [1, 0], [0, 2], [0, 1]])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any

import numpy as np

from nbarec.arrays import AnyArray, Ints64, frozen, hash_texts, rank_in_row, row_pointers, rows_of
from nbarec.batch import Candidates, Pool, Request, Slate, Trace
from nbarec.data import Dataset, EventColumns
from nbarec.events import Combine, Events
from nbarec.ids import Ids, encode_texts
from nbarec.kernels import best_first
from nbarec.merging import merge
from nbarec.sparse import Csr
from nbarec.tables import MISSING_DATE, CategoryColumn, DateColumn, NumberColumn, Table, TagsColumn

DAY = 86_400
NOON = 1_700_000_000
"""When the latest event of `tiny_world` happened, in seconds since 1970 UTC."""


def tiny_world() -> Dataset:
    """Five users and eight songs, small enough to know by heart; every column has a missing value somewhere.

    | song | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |
    |---|---|---|---|---|---|---|---|---|
    | artist | ada | ada | ada | bo | bo | cleo | - | cleo |
    | moods | calm, warm | calm | warm | loud | fast, loud | fast | - | calm, fast |
    | regions | DE, FR | DE | FR | DE, FR | DE | - | FR | DE, FR |
    | explicit | 0 | 1 | 0 | 0 | 1 | - | 0 | 1 |
    | tempo | 90 | 100 | 95 | 140 | 150 | 160 | 120 | - |
    | released, in days before the latest event | 10 | 400 | 20 | 30 | 5 | 60 | - | 700 |

    | user | age | country | played, in days before the latest event (negative weight: skipped) |
    |---|---|---|---|
    | 0 anna | 34 | DE | song 0: 40 and 1; song 1: 20 |
    | 1 ben | 15 | FR | song 3: 2; song 4: 1 (skipped) |
    | 2 chloe | - | DE | song 0: 3; song 5: 0; song 7: 10 |
    | 3 dan | 18 | - | song 2: 8 |
    | 4 eve | 16 | DE | none |

    Song 6 was never played.
    """
    days = np.array([40, 1, 20, 2, 1, 3, 0, 10, 8])
    kind = ["play", "like", "play", "play", "skip", "play", "play", "like", "play"]
    weight = np.array([{"play": 1.0, "like": 3.0, "skip": -0.5}[name] for name in kind])
    played = EventColumns(
        user=np.array([0, 0, 0, 1, 1, 2, 2, 2, 3]),
        item=np.array([0, 0, 1, 3, 4, 0, 5, 7, 2]),
        weight=weight,
        value=weight,
        time=NOON - DAY * days,
        kind=CategoryColumn.of(kind),
    )
    users = Ids.of(["anna", "ben", "chloe", "dan", "eve"])
    items = Ids.of([f"s{song}" for song in range(8)])
    return Dataset.of(users, items, played.sorted_events(5, 8, Combine()), _songs(), _listeners())


def _songs() -> Table:
    nan = np.nan
    released = np.array([10, 400, 20, 30, 5, 60, 0, 700])
    return Table(
        8,
        {
            "artist": CategoryColumn.of(["ada", "ada", "ada", "bo", "bo", "cleo", None, "cleo"]),
            "moods": tags_of(
                [["calm", "warm"], ["calm"], ["warm"], ["loud"], ["fast", "loud"], ["fast"], [], ["calm", "fast"]]
            ),
            "regions": tags_of([["DE", "FR"], ["DE"], ["FR"], ["DE", "FR"], ["DE"], [], ["FR"], ["DE", "FR"]]),
            "explicit": NumberColumn(frozen(np.array([0, 1, 0, 0, 1, nan, 0, 1]))),
            "tempo": NumberColumn(frozen(np.array([90, 100, 95, 140, 150, 160, 120, nan]))),
            "released": DateColumn(frozen(np.where(released == 0, MISSING_DATE, NOON - DAY * released))),
        },
    )


def _listeners() -> Table:
    ages = NumberColumn(frozen(np.array([34, 15, np.nan, 18, 16])))
    return Table(5, {"age": ages, "country": CategoryColumn.of(["DE", "FR", "DE", None, "DE"])})


def tags_of(rows: Sequence[Sequence[str]]) -> TagsColumn:
    """A column of tags from the tags of each row."""
    row = rows_of(_pointers(rows))
    return TagsColumn.of(row, [tag for tags in rows for tag in tags], len(rows))


def request_for(
    data: Dataset,
    users: Sequence[int] | AnyArray | None = None,
    *,
    k: int = 10,
    context: Mapping[str, Any] | None = None,
    now: int | Sequence[int] | AnyArray | None = None,
    history: Events | None = None,
    excluded: Csr | None = None,
) -> Request:
    """A request of these users' positions (all of them by default; -1 is nobody we know), at `data.as_of`.

    `context` holds one value for all or one a user. `history` defaults to the users' own events, and `excluded`
    to every item with a positive weight in it.
    """
    at = np.arange(len(data.users)) if users is None else np.asarray(users, np.int64)
    past = data.events.take_rows(at) if history is None else history
    return Request(
        user=frozen(at.astype(np.int32)),
        key=frozen(_keys(data, at)),
        history=past,
        excluded=_liked(past) if excluded is None else excluded,
        context={name: np.broadcast_to(values, len(at)) for name, values in (context or {}).items()},
        catalog=data.full_catalog(),
        audience=data.full_audience().take(at),
        now=frozen(np.broadcast_to(data.as_of if now is None else now, len(at)).astype(np.int64)),
        k=k,
    )


def _keys(data: Dataset, users: Ints64) -> AnyArray:
    names = data.users.texts(users[users >= 0])
    keys = np.zeros(len(users), np.uint64)
    keys[users >= 0] = hash_texts(*encode_texts(names))
    return keys


def _liked(history: Events) -> Csr:
    weights = history.matrix()
    liked = weights.data > 0
    return Csr.from_pairs(weights.row_of[liked], weights.indices[liked], None, weights.shape)


def candidates_of(rows: Sequence[Mapping[int, float]]) -> Candidates:
    """What a generator proposes: for each row the score of each item position; ties go by item position."""
    row = rows_of(_pointers(rows))
    item = np.array([item for scores in rows for item in scores], np.int64)
    score = np.array([score for scores in rows for score in scores.values()], np.float64)
    return best_first(row, item, score, len(rows), max(map(len, rows), default=0))


def pool_of(request: Request, proposed: Mapping[str, Sequence[Mapping[int, float]]]) -> Pool:
    """The pool that rankers get: of each generator, for each row of the request, item position -> score."""
    for source, rows in proposed.items():
        if len(rows) != len(request):
            raise ValueError(f"{source} proposes for {len(rows)} rows; the request has {len(request)}")
    candidates = {source: candidates_of(rows) for source, rows in proposed.items()}
    return merge(candidates, len(request), request.n_items)


def sorted_by_score(pool: Pool) -> Pool:
    """The pool that post-filters get: best first in each row, ties by item position."""
    return pool.take(np.lexsort((pool.item, -pool.score.astype(np.float64), pool.row)))


def pool_in_order(request: Request, items: Sequence[Sequence[int]]) -> Pool:
    """The pool that post-filters get, with exactly these item positions, best first, in each row of the request.

    One generator, `given`, proposed them all; the score is 1 / rank.
    """
    if len(items) != len(request):
        raise ValueError(f"there are items for {len(items)} rows; the request has {len(request)}")
    indptr = _pointers(items)
    listed = np.array([item for row in items for item in row], np.int32)
    score = (1.0 / rank_in_row(indptr)).astype(np.float32)
    given = Candidates(frozen(indptr), frozen(listed), frozen(score))
    return sorted_by_score(merge({"given": given}, len(request), request.n_items))


def slate_of(data: Dataset, items: Sequence[Sequence[int]], places: int) -> Slate:
    """Slates of so many places with these item positions, best first, and empty places behind them; the users are
    strangers. The score is 1 / rank.

    >>> slate_of(tiny_world(), [[3, 1], []], places=3).item.tolist()
    [[3, 1, -1], [-1, -1, -1]]
    """
    rows, counts = len(items), np.array([len(row) for row in items], np.int64)
    filled = np.arange(places) < counts[:, None]
    item = np.full((rows, places), -1, np.int32)
    item[filled] = [position for row in items for position in row]
    return Slate(
        item=frozen(item),
        score=frozen(np.where(filled, 1.0 / np.arange(1, places + 1), np.nan).astype(np.float32)),
        decision=tuple("" if count == places else f"short: {count} candidates" for count in counts.tolist()),
        users=tuple(f"stranger{row}" for row in range(rows)),
        ids=data.items,
        trace=Trace(
            stages=(),
            sources=(),
            proposed=frozen(np.zeros((rows, 0), np.int32)),
            known=frozen(np.zeros(rows, bool)),
            events=frozen(np.zeros(rows, np.int64)),
        ),
    )


def _pointers(rows: Sequence[Sized]) -> Ints64:
    return row_pointers(np.array([len(row) for row in rows], np.int64))
