"""What some items have in common that others have not: a label in words, guessed from the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from nbarec.arrays import AnyArray, Bools, Floats64, Ints64, frozen
from nbarec.ids import Ids
from nbarec.sparse import Csr
from nbarec.tables import MISSING_DATE, CategoryColumn, DateColumn, NumberColumn, Table, TagsColumn

NO_TRAITS = ("id", "events", "name", "title")
"""Columns that say which item it is, not what it is like."""

PRIOR_ITEMS = 5.0
"""How many items drawn from the whole catalogue are added to those described: a rare level must come more than once."""

CHANCE = 0.01
"""How likely any trait at all is to be found among items drawn at random."""

LEAST_SHARE = 1 / 3
"""A level that fewer of the items have does not describe them."""

LEAST_SHIFT = 0.5
"""A mean that is off by less, in standard deviations of all items, does not describe them."""

LEAST_ITEMS = 3.0
"""Fewer items have nothing in common; items of unequal weight count as fewer."""

MIXED = "mixed"
"""The label of items that share nothing that others have not."""

MOST_TRAITS = 3
NUMBER_WORDS, DATE_WORDS = ("high", "low"), ("late", "early")


@dataclass(frozen=True)
class Trait:
    """One thing that the described items share. `what`: a level of the column, or high, low, late, early; empty for a
    flag. `among` and `overall`: the share of items that have it, or the mean, of these items and of all.
    `evidence`: by how many standard errors it stands out.
    """

    column: str
    what: str
    is_share: bool
    among: float
    overall: float
    evidence: float

    @property
    def words(self) -> str:
        """What a label calls it."""
        return (self.what or self.column) if self.is_share else f"{self.column} {self.what}"

    def figures(self, what: str = "", of_all: str = "") -> str:
        """Both figures in words: `genre rock 85%, 12%`, or with more to read after each."""
        named = " ".join(filter(None, (self.column, self.what if self.is_share else "mean")))
        return f"{named} {self._figure(self.among)}{what}, {self._figure(self.overall)}{of_all}"

    def _figure(self, value: float) -> str:
        if self.is_share:
            return f"{value:.0%}" if value >= 0.01 or value == 0 else f"{value:.1%}"
        if self.what in DATE_WORDS:
            return str(np.datetime64(int(value), "s").astype("datetime64[D]"))
        return f"{value:.3g}"


def label_of(traits: Sequence[Trait]) -> str:
    """The traits as one label: `rock, calm`, or `mixed` where there is none."""
    return ", ".join(trait.words for trait in traits) or MIXED


def reasons_of(traits: Sequence[Trait]) -> str:
    """Why it is the label: `genre rock 85% of the strongest, 12% of all; moods calm 60%, 20%`."""
    first = [trait.figures(" of the strongest", " of all") for trait in traits[:1]]
    return "; ".join([*first, *(trait.figures() for trait in traits[1:])])


@dataclass(frozen=True)
class _Levels:
    """The levels of one column: `matrix` (items x levels) of ones, `filled` bool [items]: where an item's are known,
    and `overall` float64 [levels], each one's share of these. A flag has one level and no `ids`."""

    column: str
    ids: Ids | None
    matrix: Csr
    filled: Bools
    overall: Floats64

    @classmethod
    def of(cls, column: str, ids: Ids | None, matrix: Csr, filled: Bools) -> _Levels:
        """With the share of each level."""
        count = np.bincount(matrix.indices, minlength=matrix.shape[1])
        return cls(column, ids, matrix, frozen(filled), frozen(count / max(int(filled.sum()), 1)))

    def shared_by(self, items: Ints64, weight: Floats64) -> list[Trait]:
        """Levels that are more frequent among the items than in the catalogue."""
        known = self.filled[items]
        items, weight = items[known], weight[known]
        size = effective_number(weight)
        if size < LEAST_ITEMS:
            return []
        had = self.matrix.take_rows(items)
        among = np.bincount(had.indices, weights=weight[had.row_of], minlength=len(self.overall)) / weight.sum()
        among = np.minimum(among, 1.0)  # a level that all of them have may come out a rounding error above
        often = np.flatnonzero((among > self.overall) & (among >= LEAST_SHARE))
        held = np.bincount(had.indices, minlength=len(self.overall))[often]
        total = int(self.filled.sum())
        evidence = _log_odds_apart(
            size * among[often], size, total * self.overall[often] - held, total - len(items), self.overall[often]
        )
        names = [""] * len(often) if self.ids is None else self.ids.texts(often)
        figures = zip(names, among[often].tolist(), self.overall[often].tolist(), evidence.tolist(), strict=True)
        return [Trait(self.column, name, True, *found) for name, *found in figures]


@dataclass(frozen=True)
class _Numbers:
    """One column of numbers: `values` float64 [items], NaN and infinity are missing; the mean and standard deviation
    of the rest."""

    column: str
    words: tuple[str, str]
    values: Floats64
    mean: float
    deviation: float

    @classmethod
    def of(cls, column: str, words: tuple[str, str], values: Floats64) -> _Numbers:
        """With the mean and the standard deviation of the population."""
        known = values[np.isfinite(values)]
        mean, deviation = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
        return cls(column, words, values, mean, deviation)

    def shared_by(self, items: Ints64, weight: Floats64) -> list[Trait]:
        """The mean, where the items' is far from it."""
        known = np.isfinite(self.values[items])
        items, weight = items[known], weight[known]
        size = effective_number(weight)
        if size < LEAST_ITEMS or self.deviation <= 1e-12 * abs(self.mean):
            return []
        mean = float(weight @ self.values[items] / weight.sum())
        shift = (mean - self.mean) / self.deviation
        if abs(shift) < LEAST_SHIFT:
            return []
        return [Trait(self.column, self.words[shift < 0], False, mean, self.mean, abs(shift) * float(np.sqrt(size)))]


@dataclass(frozen=True)
class Traits:
    """The columns of a catalogue, ready to describe some of its items.

    >>> songs = Table.of({"genre": ["rock"] * 10 + ["pop"] * 90, "tempo": np.arange(100) % 7})
    >>> shared = Traits.of(songs).shared_by(np.arange(10), np.ones(10))
    >>> label_of(shared), reasons_of(shared)
    ('rock', 'genre rock 100% of the strongest, 10% of all')
    """

    levels: tuple[_Levels, ...]
    numbers: tuple[_Numbers, ...]

    @classmethod
    def of(cls, catalog: Table) -> Traits:
        """Categories, tags and flags (numbers that are only 0 and 1) have levels; other numbers and dates a mean."""
        levels, numbers = [], []
        for name, column in catalog.columns.items():
            if name in NO_TRAITS:
                continue
            match column:
                case TagsColumn(matrix, ids):
                    levels.append(_Levels.of(name, ids, matrix, matrix.counts > 0))
                case CategoryColumn(codes, ids):
                    levels.append(_Levels.of(name, ids, _indicators(codes, len(ids)), codes >= 0))
                case DateColumn(seconds):
                    values = np.where(seconds == MISSING_DATE, np.nan, seconds.astype(np.float64))
                    numbers.append(_Numbers.of(name, DATE_WORDS, values))
                case NumberColumn(values) if _are_flags(values):
                    flagged = _indicators(np.where(values == 1, 0, -1), 1)
                    levels.append(_Levels.of(name, None, flagged, ~np.isnan(values)))
                case NumberColumn(values):
                    numbers.append(_Numbers.of(name, NUMBER_WORDS, values))
        return cls(tuple(levels), tuple(numbers))

    def shared_by(self, items: Ints64, weight: Floats64) -> tuple[Trait, ...]:
        """What stands out among these items, strongest evidence first, at most three traits; often none.

        `items` int64 [n] positions, `weight` float64 [n], positive: how much each counts. A level's evidence is its
        log-odds among the items less that among the others, both with an informative Dirichlet prior (the level's share
        of the catalogue), in standard errors (Monroe, Colaresi, Quinn 2008); a number's is the distance of its weighted
        mean from the mean of all. It must be more than `CHANCE` lets any of as many traits have; a number counts as
        two, since its mean may be high or low.
        """
        tried = sum(len(levels.overall) for levels in self.levels) + 2 * len(self.numbers)
        needed = NormalDist().inv_cdf(1 - CHANCE / max(tried, 1))
        found = [trait for levels in self.levels for trait in levels.shared_by(items, weight)]
        found += [trait for numbers in self.numbers for trait in numbers.shared_by(items, weight)]
        standing = [trait for trait in found if trait.evidence >= needed]
        standing.sort(key=lambda trait: (-trait.evidence, trait.column, trait.what))
        return tuple(standing[:MOST_TRAITS])


def effective_number(weight: Floats64) -> float:
    """How many items of equal weight say as much: (sum w)^2 / sum w^2 (Kish 1965); 0 for none."""
    return float(weight.sum() ** 2 / np.square(weight).sum()) if len(weight) else 0.0


def _log_odds_apart(here: Floats64, n_here: float, there: Floats64, n_there: int, overall: Floats64) -> Floats64:
    """How far apart the log-odds of `here` out of `n_here` and `there` out of `n_there` are, in standard errors."""
    prior, against = PRIOR_ITEMS * overall, PRIOR_ITEMS * (1 - overall)
    cells = [here + prior, n_here - here + against, there + prior, n_there - there + against]
    apart = np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3])
    return np.asarray(apart / np.sqrt(sum(1 / cell for cell in cells)))


def _are_flags(values: Floats64) -> bool:
    return bool(np.isin(values[~np.isnan(values)], (0.0, 1.0)).all())


def _indicators(code: AnyArray, levels: int) -> Csr:
    """1 in each row at its code; nothing where it is -1."""
    row = np.flatnonzero(code >= 0)
    return Csr.from_pairs(row, code[row], None, (len(code), levels))
