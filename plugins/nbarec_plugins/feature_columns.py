"""What the feature providers of this package have in common: names, one line on each column, float32 with NaN."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeAlias, TypeVar

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Floats64, Ints32, frozen
from nbarec.batch import Pool, Request
from nbarec.components import FeatureProvider, param
from nbarec.data import FLOAT32_LIMIT
from nbarec.params import Duration

S = TypeVar("S")

DAY = 86_400.0
"""Seconds of a day."""

Lines: TypeAlias = list[tuple[str, str]]
"""Columns by name, each with one line on what it is."""


@dataclass(frozen=True)
class NamedFeatures(FeatureProvider[S]):
    """A feature provider whose columns are float32, NaN where nothing is known, under names with a `prefix`."""

    prefix: str = param(
        "", doc="Put before each column's name, such as week_, where two stages of the kind stand side by side."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prefix and not re.fullmatch("[a-z][a-z0-9_]*", self.prefix):
            raise ValueError(f"prefix must be small letters, digits and _, a letter first, not {self.prefix!r}")
        twice = [name for name, times in Counter(name for name, _ in self.lines()).items() if times > 1]
        if twice:
            raise ValueError(f"these parameters give two columns the name {twice[0]}; name nothing twice")

    @abstractmethod
    def lines(self) -> Lines:
        """The columns in their order, without the prefix."""

    @abstractmethod
    def values(self, state: S, request: Request, pool: Pool) -> Mapping[str, Floats64 | Floats32]:
        """Exactly the columns of `lines`, each float [N], finite or NaN."""

    def columns(self) -> Mapping[str, str]:
        """The columns: name -> one line on what it is."""
        return {self.prefix + name: line for name, line in self.lines()}

    def columns_for(self, state: S, request: Request, pool: Pool) -> Mapping[str, AnyArray]:
        """Each column float32 [N], NaN where it is unknown."""
        found = self.values(state, request, pool)
        return {self.prefix + name: frozen(found[name].astype(np.float32, copy=False)) for name in self._names}

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.lines())


def at_entries(told: Mapping[str, AnyArray], row: Ints32) -> dict[str, Floats32]:
    """Columns with a value a row of the pool, [B] each, as ones with a value an entry: float32 [N] each, `row` int32
    [N]."""
    values = np.array([*told.values()], np.float32).take(row, axis=1)
    return dict(zip(told, values, strict=True))


def held(values: Floats64) -> Floats64:
    """The same numbers, NaN where float32 can't hold one: float64, shaped as `values`."""
    return np.where(np.abs(values) <= FLOAT32_LIMIT, values, np.nan)


def ratio(part: AnyArray, whole: AnyArray) -> Floats64:
    """part / whole, NaN where the whole is 0: float64, shaped as both."""
    return np.asarray(part / np.where(whole == 0, np.nan, whole), np.float64)


def taken(values: AnyArray, at: AnyArray) -> AnyArray:
    """`values` float [n] at positions int [N] from 0, NaN at those beyond the end: [N]."""
    if not len(at) or int(at.max()) < len(values):
        return values.take(at)
    return np.append(values, values.dtype.type(np.nan)).take(np.minimum(at, len(values)))


@cache
def word(text: str) -> str:
    """A text as a part of a column's name: anything but letters, digits and _ becomes _.

    >>> word("sub genre"), word("item.genre")
    ('sub_genre', 'genre')
    """
    return re.sub(r"\W", "_", text.removeprefix("item.").removeprefix("context."))


def days_word(window: Duration) -> str:
    """A length of time as a part of a column's name, whole days in days.

    >>> days_word(Duration("1w")), days_word(Duration("12h"))
    ('7d', '12h')
    """
    return f"{int(window / DAY)}d" if window % DAY == 0 else word(str(window))
