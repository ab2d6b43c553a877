"""The door: ids, history and context from outside become one Request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nbarec.arrays import AnyArray, frozen, hash_texts, row_pointers
from nbarec.batch import Request
from nbarec.data import NO_KIND, Dataset
from nbarec.errors import DataError
from nbarec.events import Events
from nbarec.ids import TextOrNumber, encode_texts
from nbarec.joining import join_events
from nbarec.sparse import Csr
from nbarec.tables import Table

ContextValue = str | float | int | bool
Context = ContextValue | Sequence[ContextValue] | AnyArray
"""One value for all users, or one a user."""


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

    def request(
        self,
        users: Sequence[TextOrNumber],
        k: int,
        *,
        history: Sequence[TextOrNumber] = (),
        context: Mapping[str, Context] | None = None,
        now: int | None = None,
    ) -> Request:
        """A request for these users. `history` is added to what is known of each of them.

        Raises DataError where an item of `history` is not in the catalogue.
        """
        position = self.data.users.index(users)
        clock = self.data.as_of if now is None else now
        known = self.data.events.take_rows(position)
        past = join_events(known, self._told(history, len(users), clock)) if len(history) else known
        return Request(
            user=frozen(position.astype(np.int32)),
            key=frozen(hash_texts(*encode_texts([str(user) for user in users]))),
            history=past,
            excluded=Csr.empty(len(users), len(self.data.items)),
            context={name: spread(name, value, len(users)) for name, value in (context or {}).items()},
            catalog=self.catalog,
            audience=self.audience.take(position),
            now=frozen(np.full(len(users), clock, np.int64)),
            k=k,
        )

    def _told(self, history: Sequence[TextOrNumber], rows: int, now: int) -> Events:
        """The request's own history as events of each row."""
        item = self.data.items.index(history)
        if (item < 0).any():
            stranger = history[int(np.flatnonzero(item < 0)[0])]
            raise DataError(f"history: item {stranger!r} is not in the catalogue of {len(self.data.items):,} items")
        count = rows * len(history)
        unknown = np.full(count, -1)
        return replace(
            self.data.events,
            indptr=row_pointers(np.full(rows, len(history))),
            item=frozen(np.tile(item, rows).astype(np.int32)),
            weight=frozen(np.full(count, self.typical_weight, np.float32)),
            value=frozen(np.full(count, self.typical_value, np.float32)),
            time=frozen(np.full(count, now, np.int64)),
            kind=frozen(np.full(count, NO_KIND, np.int16)),
            columns={name: column.take(unknown) for name, column in self.data.events.columns.items()},
        )


def spread(name: str, value: Context, rows: int) -> AnyArray:
    """A context value as an array [rows]: float64 or texts. Raises DataError where it is neither."""
    values = [value] * rows if np.ndim(value) == 0 else list(value)  # type: ignore[arg-type]
    if len(values) != rows:
        raise DataError(f"context {name!r} has {len(values)} values for {rows} users; give one for all, or one a user")
    if all(isinstance(one, str) for one in values):
        return frozen(np.array(values, dtype=object))
    try:
        return frozen(np.array(values, np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(f"context {name!r} must be numbers or texts, not {value!r}") from error
