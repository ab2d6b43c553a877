"""The door: ids, history and context from outside become one Request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nbarec.arrays import AnyArray, Ints32, Ints64, frozen, hash_texts, row_pointers
from nbarec.batch import Request
from nbarec.data import NO_KIND, Dataset
from nbarec.errors import DataError
from nbarec.events import Events
from nbarec.ids import TextOrNumber, encode_texts
from nbarec.joining import join_events
from nbarec.sparse import Csr
from nbarec.tables import Table
from nbarec.timelines import Moments

ContextValue = str | float | int | bool
Context = ContextValue | Sequence[ContextValue] | AnyArray
"""One value for all users, or one a user."""


@dataclass(frozen=True)
class Asked:
    """What a call asks for besides its users: `k` places, `history` int64 (positions of items sent along), `context`
    with a value a user, the moment `now`, and `left_out` int32 (positions of the items that must not be shown);
    `anonymous` users are nobody we know, whatever they are called."""

    k: int
    history: Ints64
    context: Mapping[str, AnyArray]
    now: int
    left_out: Ints32
    anonymous: bool = False

    def rows(self, span: slice) -> Asked:
        """The same for some of the users."""
        return replace(self, context={name: values[span] for name, values in self.context.items()})


@dataclass(frozen=True)
class Door:
    """What every request needs of a dataset: `catalog` and `audience` are its full tables, `typical_weight` and
    `typical_value` what an item of a request's own history counts: the median of the data's positive events."""

    data: Dataset
    catalog: Table
    audience: Table
    typical_weight: float
    typical_value: float

    @classmethod
    def of(cls, data: Dataset) -> Door:
        """The door of this dataset."""
        liked = data.events.weight > 0
        weight, value = data.events.weight[liked], data.events.value[liked]
        return cls(
            data=data,
            catalog=data.full_catalog(),
            audience=data.full_audience(),
            typical_weight=float(np.median(weight)) if len(weight) else 1.0,
            typical_value=float(np.median(value)) if len(value) else 1.0,
        )

    def asked(
        self,
        users: int,
        k: int,
        history: Sequence[TextOrNumber] = (),
        context: Mapping[str, Context] | None = None,
        now: int | None = None,
        among: Sequence[TextOrNumber] | None = None,
        *,
        anonymous: bool = False,
    ) -> Asked:
        """What is asked for this many users, in positions. Raises DataError for an item that the catalogue lacks, and
        for a context that does not fit the users."""
        left_out = np.empty(0, np.int32)
        if among is not None:
            left_out = np.delete(np.arange(len(self.data.items), dtype=np.int32), self._items_at(among, "among"))
        return Asked(
            k=k,
            history=self._items_at(history, "history"),
            context={name: spread(name, value, users) for name, value in (context or {}).items()},
            now=self.data.as_of if now is None else now,
            left_out=left_out,
            anonymous=anonymous,
        )

    def request(self, users: Sequence[TextOrNumber], asked: Asked) -> Request:
        """A request for these users; the history that was sent is added to what is known of each of them."""
        position = np.full(len(users), -1) if asked.anonymous else self.data.users.index(users)
        known = self.data.events.take_rows(position)
        past = join_events(known, self._told(asked, len(users))) if len(asked.history) else known
        now = np.full(len(users), asked.now, np.int64)
        return self._request(position, users, past, asked.context, now, asked)

    def request_at(self, moments: Moments, asked: Asked) -> Request:
        """A request at each of these moments, by users of this dataset, with the history and context of then; of what
        is `asked` the places and the items left out count."""
        users = self.data.users.take(moments.user)
        return self._request(moments.user, users, moments.histories(), moments.values(), moments.now, asked)

    def _request(
        self,
        position: Ints64,
        users: Sequence[TextOrNumber],
        history: Events,
        context: Mapping[str, AnyArray],
        now: Ints64,
        asked: Asked,
    ) -> Request:
        return Request(
            user=frozen(position.astype(np.int32)),
            key=frozen(hash_texts(*encode_texts([str(user) for user in users]))),
            history=history,
            excluded=_same_in_each_row(asked.left_out, len(users), len(self.data.items)),
            context=context,
            catalog=self.catalog,
            audience=self.audience.take(position),
            now=frozen(now),
            k=asked.k,
        )

    def _items_at(self, items: Sequence[TextOrNumber], what: str) -> Ints64:
        position = self.data.items.index(items)
        if (position < 0).any():
            stranger = items[int(np.flatnonzero(position < 0)[0])]
            raise DataError(f"{what}: item {stranger!r} is not in the catalogue of {len(self.data.items):,} items")
        return position

    def _told(self, asked: Asked, rows: int) -> Events:
        """The request's own history as events of each row."""
        item = asked.history
        count = rows * len(item)
        unknown = np.full(count, -1)
        return replace(
            self.data.events,
            indptr=row_pointers(np.full(rows, len(item))),
            item=frozen(np.tile(item, rows).astype(np.int32)),
            weight=frozen(np.full(count, self.typical_weight, np.float32)),
            value=frozen(np.full(count, self.typical_value, np.float32)),
            time=frozen(np.full(count, asked.now, np.int64)),
            kind=frozen(np.full(count, NO_KIND, np.int16)),
            columns={name: column.take(unknown) for name, column in self.data.events.columns.items()},
        )


def _same_in_each_row(items: Ints32, rows: int, n_items: int) -> Csr:
    """These items, ascending, in every row: (rows x items)."""
    indptr = np.arange(rows + 1) * len(items)
    return Csr(frozen(indptr), frozen(np.tile(items, rows)), frozen(np.ones(indptr[-1], np.float32)), (rows, n_items))


def spread(name: str, value: Context, rows: int) -> AnyArray:
    """A context value as an array [rows]: float64 or texts. Raises DataError where it is neither."""
    if np.ndim(value) == 0:
        one = value if isinstance(value, str) else _number(name, value)
        return frozen(np.full(rows, one, object if isinstance(one, str) else np.float64))
    values = list(value)  # type: ignore[arg-type]
    if len(values) != rows:
        raise DataError(f"context {name!r} has {len(values)} values for {rows} users; give one for all, or one a user")
    if values and all(isinstance(one, str) for one in values):
        return frozen(np.array(values, dtype=object))
    return frozen(np.asarray(_number(name, values), np.float64))


def _number(name: str, value: object) -> AnyArray:
    """A number or numbers as float64. Raises DataError where it is neither."""
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"context {name!r} must be numbers or texts, not {value!r}") from error
