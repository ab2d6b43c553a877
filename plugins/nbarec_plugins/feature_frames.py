"""Frames: what a learned ranker knows of entries of pools, as one matrix of numbers and one of category codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from nbarec.arrays import AnyArray, Bools, Floats32, Ints32, Ints64, Uints64, frozen
from nbarec.batch import Pool, Request
from nbarec.data import FLOAT32_LIMIT
from nbarec.ids import Ids
from nbarec.tables import TagsColumn
from nbarec_plugins.named_columns import Named, levels_of, named, numbers_of


@dataclass(frozen=True)
class Frame:
    """`numbers` float32 [N, P], NaN where a value is unknown; `codes` int32 [N, C]: 0 where a level is unknown or not
    in the vocabulary, else 1 + its position there. Both are stored column after column (Fortran order)."""

    numbers: Floats32
    codes: Ints32

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, at: AnyArray) -> Frame:
        """The entries at these positions, int64, or where this holds, bool [N]."""
        if at.dtype == np.bool_:
            at = np.flatnonzero(at)
        return Frame(frozen(self.numbers.T.take(at, axis=1).T), frozen(self.codes.T.take(at, axis=1).T))


class _Known(NamedTuple):
    """The code of each level of some column: int32 [levels + 1], the last one, 0, being that of a missing value."""

    levels: Ids
    code: Ints32


@dataclass(frozen=True)
class Layout:
    """What the columns of a frame are: part of a ranker's state.

    `numbers`: names of the number columns, the last of which are the levels of columns of `tags`, each a column of 0
    and 1 of its own (`item.genres=rock`; NaN where an item has no tags). `categories`: names of the category columns;
    `levels`: the vocabulary of each, most frequent first, then by text; `tag_levels`: those of each column of tags.
    """

    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    tags: tuple[str, ...] = ()
    tag_levels: tuple[tuple[str, ...], ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many codes each category has, that of the unknown included."""
        return tuple(1 + len(levels) for levels in self.levels)

    @property
    def plain(self) -> tuple[str, ...]:
        """The names of the number columns that are no tags."""
        return self.numbers[: len(self.numbers) - sum(map(len, self.tag_levels))]

    def frame(self, request: Request, pool: Pool) -> Frame:
        """The entries of a pool, each read by itself. A column that is not there, as when its provider was skipped, is
        unknown throughout."""
        numbers = np.empty((len(self.numbers), len(pool)), np.float32)
        codes = np.zeros((len(self.categories), len(pool)), np.int32)
        # A step a column: each is read in one go for all entries.
        for row, name in enumerate(self.plain):
            given = pool.features.get(name)
            if given is not None and given.dtype == np.float32:  # as most providers have it
                numbers[row] = given
                continue
            found = named(name, request, pool)
            numbers[row] = np.nan if found is None else numbers_of(found, request, pool)
        first = len(self.plain)
        np.clip(numbers[:first], -FLOAT32_LIMIT, FLOAT32_LIMIT, out=numbers[:first])
        for name, levels in zip(self.tags, self.tag_levels, strict=True):
            self._read_tags(name, named(name, request, pool), pool, numbers[first : first + len(levels)])
            first += len(levels)
        for row, name in enumerate(self.categories):
            codes[row] = self._codes(name, request, pool)
        return Frame(frozen(numbers.T), frozen(codes.T))

    def _codes(self, name: str, request: Request, pool: Pool) -> Ints32 | int:
        prefix, _, rest = name.partition(".")
        given = request.context.get(rest) if prefix == "context" and name not in pool.features else None
        if given is not None and given.dtype.kind not in "iufb":  # a text a row: looked up as it is
            code = self._vocabulary[name]
            return np.array([code.get(str(text), 0) for text in given.tolist()], np.int32).take(pool.row)
        found = named(name, request, pool)
        if found is None or found.kind in ("missing", "tags"):
            return 0
        column = levels_of(found)
        return np.asarray(self._known(name, column.levels).code.take(found.spread(column.codes)))

    def _read_tags(self, name: str, found: Named | None, pool: Pool, out: Floats32) -> None:
        """Fill in 1 where an entry has a tag, 0 where it has others alone, NaN where it has none: float32 [tags, N]."""
        out[:] = np.nan
        if found is None or not isinstance(found.column, TagsColumn) or not len(pool):
            return
        code = self._known(name, found.column.levels).code
        own = np.arange(len(pool)) if found.at is None else found.at
        matrix = found.column.matrix.take_rows(own)
        out[:, matrix.counts > 0] = 0.0
        tag = code.take(matrix.indices)
        kept = np.flatnonzero(tag)
        out[tag[kept] - 1, matrix.row_of[kept]] = 1.0

    def _known(self, name: str, levels: Ids) -> _Known:
        """The codes of a column's levels, worked out once as long as the column has the same ones."""
        known = self._maps.get(name)
        if known is None or known.levels is not levels:
            code = np.zeros(len(levels) + 1, np.int32)
            vocabulary = self._vocabulary[name]
            if len(levels) <= len(vocabulary):
                code[:-1] = [vocabulary.get(text, 0) for text in levels.texts(np.arange(len(levels)))]
            else:
                at = levels.index(vocabulary)
                code[at[at >= 0]] = np.flatnonzero(at >= 0) + 1
            known = self._maps[name] = _Known(levels, code)
        return known

    @cached_property
    def _maps(self) -> dict[str, _Known]:
        """What `_known` has worked out, one for each column."""
        return {}

    @cached_property
    def _vocabulary(self) -> Mapping[str, Mapping[str, int]]:
        """The code of each level of each category and column of tags."""
        names, listed = (*self.categories, *self.tags), (*self.levels, *self.tag_levels)
        return {
            name: {level: 1 + at for at, level in enumerate(levels)} for name, levels in zip(names, listed, strict=True)
        }


@dataclass(frozen=True)
class Lesson:
    """Everything that a model learns from: N entries of G requests, all examples joined.

    `frame` by `layout`; `label` float32 [N], 0 or 1, and the further `labels` by name; `group` int64 [N], ascending,
    may have gaps: which request each entry is of, whose `key` uint64 [G] is that of its user; `rate`: with which chance
    an entry with label 0 was kept. Adding ln(rate) to log-odds that were learnt from all of these gives those among all
    entries, and so does a weight of 1 / rate for each with label 0. `drawn` bool [N]: what would have been kept
    whatever its labels, empty where all were.
    """

    layout: Layout
    frame: Frame
    label: Floats32
    labels: Mapping[str, Floats32]
    group: Ints64
    rate: float = 1.0
    key: Uints64 = field(default_factory=lambda: np.empty(0, np.uint64))
    drawn: Bools = field(default_factory=lambda: np.empty(0, np.bool_))

    def __len__(self) -> int:
        return len(self.label)

    def take(self, at: AnyArray) -> Lesson:
        """The entries at these positions, int64 ascending, or where this holds, bool [N]."""
        if at.dtype == np.bool_:
            at = np.flatnonzero(at)
        return replace(
            self,
            frame=self.frame.take(at),
            label=frozen(self.label.take(at)),
            labels={name: frozen(label.take(at)) for name, label in self.labels.items()},
            group=frozen(self.group.take(at)),
            drawn=frozen(self.drawn.take(at)) if len(self.drawn) else self.drawn,
        )

    def of(self, name: str | None) -> Lesson:
        """The lesson about one of `labels`, or about `label` itself (None): its label 1 where that has it, and of the
        others those that were drawn, so that `rate` holds for it."""
        label = self.label if name is None else self.labels[name]
        told = replace(self, label=label)
        return told.take((label > 0.5) | self.drawn) if len(self.drawn) and self.labels else told

    @property
    def weight(self) -> Floats32:
        """How many entries each stands for: 1 / rate where its label is 0, float32 [N]."""
        return np.where(self.label > 0.5, 1.0, 1.0 / self.rate).astype(np.float32)
