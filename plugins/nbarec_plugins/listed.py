"""Listed: what an editor wants shown, by id or by a rule over the catalogue. It serves anybody."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64, frozen, row_pointers
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.evidence import Evidence
from nbarec.expressions import Expression
from nbarec.hookspecs import hookimpl
from nbarec.ids import TextOrNumber
from nbarec.kernels import from_lists
from nbarec.scopes import ItemScope
from nbarec.tables import DateColumn, NumberColumn, Table
from nbarec_plugins.attributes import numbers_of

NAMED = 5
"""How many unknown ids an error names."""


@dataclass(frozen=True)
class ListedState:
    """The listed items in their order: `item` int32 [n]."""

    item: Ints32


@dataclass(frozen=True)
class Listed(CandidateGenerator[ListedState]):
    """Proposes the same list to everybody, whatever the history: score = 1 / place, the first place being 1.

    The list is either `items`, by id and in the order they are written, or all items for which `where` holds, the
    largest `by` first. Equal values of `by` go by position in the catalogue, as everything does without `by`; items
    without a value come last. What a request excludes is left out, and the others keep their scores.

    The post-filter `pin` and the ranker `boost` move only what some generator has proposed; this one sees to it that an
    editor's choice is there to be moved. The stage needs a `k` as large as the list. For items that users should see
    again after they have played them, give it an `exclude` of its own, such as `weight < 0`: only what they disliked.

    >>> from nbarec.testing.worlds import request_for, tiny_world
    >>> data = tiny_world()
    >>> listed = Listed(items=("s6", "s2"))
    >>> state = listed.fit(data, np.random.default_rng(0))
    >>> found = listed.generate(state, request_for(data, [4]), 10)
    >>> data.items.take(found.item), found.score.tolist()
    (['s6', 's2'], [1.0, 0.5])
    >>> cleo = Listed(where=Expression("item.artist == 'cleo'"), by="released")
    >>> cleo.fit(data, np.random.default_rng(0)).item.tolist()
    [5, 7]
    """

    name: ClassVar[str] = "listed"

    items: tuple[str | int, ...] | None = param(None, doc="Ids of items, best first. Either this or `where`.")
    where: Expression | None = param(
        None, doc="Which items, over `item.X`, where this is known to hold when the stage is fitted."
    )
    by: str | None = param(
        None, doc="`where` only: a number or date column, the largest first; catalogue order if left out."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.items is None) == (self.where is None):
            given = "neither" if self.items is None else "both"
            raise ValueError(f"listed takes exactly one of items and where, and has {given}; give one of them")
        if self.items is not None:
            self._check_items(self.items)

    def _check_items(self, items: tuple[TextOrNumber, ...]) -> None:
        if self.by is not None:
            raise ValueError("by orders what `where` finds, and items have their own order; leave by out")
        if not items:
            raise ValueError("items is empty; list the id of an item, or leave the stage out")
        twice = [item for item, times in Counter(map(str, items)).items() if times > 1]
        if twice:
            raise ValueError(f"items has {', '.join(twice)} more than once; an item has one place")

    def fit(self, data: Dataset, rng: np.random.Generator) -> ListedState:
        """Find the items; deterministic. Raises ConfigError for an id that is not in the catalogue, where `where` does
        not fit the items, and where they have no such column `by`. In `where`, `now` is the data's clock."""
        return self._found(data)

    def update(self, state: ListedState, data: Dataset, new: Dataset) -> ListedState:
        """Equal to a refit: a rule may hold for new items."""
        return self._found(data)

    def generate(self, state: ListedState, request: Request, limit: int) -> Candidates:
        """The list, without what each row excludes."""
        score = _scores(state).astype(np.float32)
        whole = Candidates(row_pointers(np.array([len(state.item)])), state.item, score)
        return from_lists(whole, np.zeros(len(request), np.int64), request.excluded, limit)

    def evidence(self, state: ListedState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """The whole score as one part, the item's place in the list; none, and a score of 0, where it has no place."""
        place = np.full(request.n_items, -1)
        place[state.item] = np.arange(len(state.item))
        at = place[item]
        pair, score = np.flatnonzero(at >= 0), np.zeros(len(item))
        score[pair] = _scores(state)[at[pair]]
        labels = [f"place {one + 1}" for one in at[pair].tolist()]
        return Evidence.strongest(pair, labels, score[pair], score, limit, "an editor lists it")

    def _found(self, data: Dataset) -> ListedState:
        item = _holding(self.where, self.by, data) if self.where is not None else self._positions(data)
        return ListedState(frozen(item.astype(np.int32)))

    def _positions(self, data: Dataset) -> Ints64:
        items = self.items or ()
        position = data.items.index(items)
        unknown = [str(item) for item, at in zip(items, position, strict=True) if at < 0]
        if unknown:
            names = ", ".join(unknown[:NAMED]) + (f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else "")
            raise ConfigError(
                f"listed has items that are not in the catalogue of {len(data.items):,} items: {names}; "
                "correct the ids, or take them out"
            )
        return position


def _scores(state: ListedState) -> Floats64:
    """1 / place of each listed item: float64 [n]."""
    return np.asarray(1.0 / np.arange(1, len(state.item) + 1))


def _holding(where: Expression, by: str | None, data: Dataset) -> Ints64:
    """The items for which `where` holds, the largest `by` first, missing ones last: int64."""
    catalog = data.full_catalog()
    item = np.flatnonzero(where.truth(ItemScope(catalog, data.as_of)).holds)
    return item if by is None else item[np.argsort(-_values(catalog, by)[item], kind="stable")]


def _values(catalog: Table, by: str) -> Floats64:
    """What items are ordered by: float64 [items], NaN where missing. Raises ConfigError where it can't be ordered."""
    name = by.removeprefix("item.")
    column = catalog.columns.get(name)
    if isinstance(column, NumberColumn | DateColumn):
        return numbers_of(column)
    able = [known for known, other in catalog.columns.items() if isinstance(other, NumberColumn | DateColumn)]
    fault = f"{name!r} holds neither numbers nor dates" if name in catalog.columns else f"there is no column {name!r}"
    raise ConfigError(f"listed has `by: {by}`, but {fault}; those that do are: {', '.join(able)}")


@hookimpl
def nbarec_candidate_generators() -> list[type[Listed]]:
    """The generators of this module."""
    return [Listed]
