"""Lessons: the examples of a learned ranker, joined and laid out, with the vocabulary that they show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nbarec.arrays import AnyArray, Bools, Floats32, Ints32, Ints64, frozen, mix64, rows_of
from nbarec.batch import Pool, Request
from nbarec.columns import Columns
from nbarec.components import Example
from nbarec.errors import ConfigError
from nbarec.ids import Ids
from nbarec.tables import TagsColumn
from nbarec_plugins.feature_frames import Frame, Layout, Lesson
from nbarec_plugins.named_columns import Kind, Named, expanded, levels_of, named, numbers_of
from nbarec_plugins.random_items import GOLDEN

MEMORY_SHARE = 6
"""The features of all examples may take this part of the memory: learning needs three times as much again."""

UNSEEN = -1


def lesson(
    features: Sequence[str],
    examples: Iterable[Example],
    *,
    negatives: float,
    memory: int,
    least: int = 1,
    tags: int = 50,
) -> Lesson:
    """All examples joined: a frame of the columns that `features` names, and labels.

    Every entry with a label is kept, and of the others a share of `negatives`, in (0, 1], by a hash of the request's
    key, its moment and the item: which ones does not depend on how examples are cut. The vocabulary of a category is
    its levels with at least `least` entries, that of tags the `tags` most frequent of those. A column without a value
    in any example is left out. Raises ConfigError at an unknown name, and where this takes more than a sixth of
    `memory` bytes.
    """
    gathering = _Gathering(tuple(features), negatives, memory)
    for example in examples:  # a step a batch of requests
        gathering.add(example)
    return gathering.lesson(least, tags)


@dataclass
class _Gathering:
    """The entries so far, by column."""

    features: tuple[str, ...]
    negatives: float
    memory: int
    columns: dict[str, _Gathered] | None = None
    label: list[Floats32] = field(default_factory=lambda: [np.empty(0, np.float32)])
    labels: dict[str, list[Floats32]] = field(default_factory=dict)
    group: list[Ints64] = field(default_factory=lambda: [np.empty(0, np.int64)])
    drawn: list[Bools] = field(default_factory=lambda: [np.empty(0, np.bool_)])
    key: list[AnyArray] = field(default_factory=lambda: [np.empty(0, np.uint64)])
    requests: int = 0

    def add(self, example: Example) -> None:
        """One more example. Raises ConfigError at an unknown name, and where there is not enough memory."""
        request, pool = example.request, example.pool
        if self.columns is None:
            self.columns = {name: _Gathered() for name in expanded(self.features, request, pool)}
        drawn = _drawn(request, pool, self.negatives)
        kept = drawn | (example.label > 0.5)
        for label in example.labels.values():
            kept |= label > 0.5
        at = np.flatnonzero(kept)
        few = pool if len(at) == len(pool) else replace(pool, proposals=Columns(pool.proposals)).take(at)
        for name, column in self.columns.items():
            column.add(named(name, request, few), request, few)
        self.label.append(example.label.take(at))
        for name, label in example.labels.items():
            self.labels.setdefault(name, []).append(label.take(at))
        self.drawn.append(drawn.take(at))
        self.group.append(few.row + np.int64(self.requests))
        self.key.append(request.key)
        self.requests += len(request)
        self._check_memory()

    def lesson(self, least: int, tags: int) -> Lesson:
        """Everything joined. The blocks of a column are let go as soon as it is laid out."""
        columns = self.columns or {}
        of: dict[Kind, list[str]] = {kind: [] for kind in ("number", "category", "tags", "missing")}
        for name, column in columns.items():
            of[column.kind].append(name)
        levels = tuple(columns[name].vocabulary(least) for name in of["category"])
        tag_levels = tuple(columns[name].vocabulary(least)[:tags] for name in of["tags"])
        told = [f"{name}={level}" for name, own in zip(of["tags"], tag_levels, strict=True) for level in own]
        layout = Layout((*of["number"], *told), tuple(of["category"]), levels, tuple(of["tags"]), tag_levels)
        entries = sum(map(len, self.label))
        numbers = np.empty((len(layout.numbers), entries), np.float32)
        codes = np.zeros((len(levels), entries), np.int32)
        # A step a column, of which there are few.
        for row, name in enumerate(of["number"]):
            columns.pop(name).numbers_into(numbers[row])
        first = len(of["number"])
        for name, own in zip(of["tags"], tag_levels, strict=True):
            columns.pop(name).tags_into(numbers[first : first + len(own)], own)
            first += len(own)
        for row, (name, own) in enumerate(zip(of["category"], levels, strict=True)):
            columns.pop(name).codes_into(codes[row], own)
        return self._lesson(layout, Frame(frozen(numbers.T), frozen(codes.T)))

    def _lesson(self, layout: Layout, frame: Frame) -> Lesson:
        return Lesson(
            layout=layout,
            frame=frame,
            label=frozen(np.concatenate(self.label)),
            labels={name: frozen(np.concatenate(blocks)) for name, blocks in self.labels.items()},
            group=frozen(np.concatenate(self.group)),
            rate=self.negatives,
            key=frozen(np.concatenate(self.key)),
            drawn=frozen(np.concatenate(self.drawn)) if self.negatives < 1 else np.empty(0, np.bool_),
        )

    def _check_memory(self) -> None:
        size = sum(column.nbytes for column in (self.columns or {}).values())
        if size > self.memory // MEMORY_SHARE:
            raise ConfigError(
                f"the examples of {self.requests:,} requests take {size:,} bytes already, more than 1/{MEMORY_SHARE} "
                f"of engine.memory ({self.memory:,} bytes); set negatives to a smaller share, held_out.users to fewer "
                "users, features to fewer columns, or engine.memory to more"
            )


@dataclass
class _Gathered:
    """One column so far: `blocks`, one an example, of numbers, or of codes into `texts` (UNSEEN where missing); of tags
    the codes of all entries, one after the other, with how many each has in `counts`. A block of a kind that was not
    known yet is its length."""

    kind: Kind = "missing"
    blocks: list[AnyArray | int] = field(default_factory=list)
    counts: list[AnyArray | int] = field(default_factory=list)
    texts: dict[str, int] = field(default_factory=dict)
    nbytes: int = 0
    seen: Ids | None = None
    code: Ints32 = field(default_factory=lambda: np.empty(0, np.int32))

    def add(self, found: Named | None, request: Request, pool: Pool) -> None:
        """The column's values of one more example."""
        if self.kind == "missing" and found is not None:
            self.kind = found.kind
        if self.kind == "number":
            self._append(np.full(len(pool), np.nan) if found is None else numbers_of(found, request, pool), np.float32)
        elif self.kind == "missing" or found is None or found.kind == "missing":
            self.blocks.append(len(pool))
            self.counts.append(len(pool))
        elif self.kind == "tags":
            self._add_tags(found, pool)
        else:
            column = levels_of(found)
            self._append(self._codes(column.levels, found.spread(column.codes)), np.int32)

    def _append(self, values: AnyArray, dtype: type[np.float32 | np.int32]) -> None:
        self.blocks.append(values.astype(dtype))
        self.nbytes += 4 * len(values)

    def _add_tags(self, found: Named, pool: Pool) -> None:
        if not isinstance(found.column, TagsColumn):
            self.blocks.append(len(pool))
            self.counts.append(len(pool))
            return
        matrix = found.column.matrix.take_rows(np.arange(len(pool)) if found.at is None else found.at)
        self._append(self._codes(found.column.levels, matrix.indices), np.int32)
        self.counts.append(matrix.counts.astype(np.int32))
        self.nbytes += 4 * len(pool)

    def _codes(self, levels: Ids, at: Ints32) -> Ints32:
        """Codes of levels for good, in the order in which they were seen: int32, UNSEEN where a level is missing."""
        if self.seen is not levels:
            self.seen, self.code = levels, np.full(len(levels) + 1, UNSEEN - 1, np.int32)
            self.code[-1] = UNSEEN
        codes = self.code.take(at)
        new = np.unique(at[codes < UNSEEN])
        if len(new):
            self.code[new] = [self.texts.setdefault(text, len(self.texts)) for text in levels.texts(new)]
            codes = self.code.take(at)
        return codes

    def vocabulary(self, least: int) -> tuple[str, ...]:
        """The levels that at least so many entries have, most frequent first, then by text."""
        counts = np.zeros(len(self.texts), np.int64)
        for block in self.blocks:  # a step an example
            if isinstance(block, np.ndarray):
                counts += np.bincount(block[block >= 0], minlength=len(counts))
        frequent = [(-count, text) for text, count in zip(self.texts, counts.tolist(), strict=True) if count >= least]
        return tuple(text for _, text in sorted(frequent))

    def numbers_into(self, out: Floats32) -> None:
        """All values, one after the other: float32 [N]."""
        _fill(out, self.blocks, np.nan)

    def codes_into(self, out: Ints32, levels: tuple[str, ...]) -> None:
        """The codes of all values in the vocabulary `levels`: int32 [N]."""
        _fill(out, self.blocks, UNSEEN)
        out[:] = self._final(levels).take(out)

    def tags_into(self, out: Floats32, levels: tuple[str, ...]) -> None:
        """1 where an entry has the tag, 0 where it has others alone, NaN where it has none: float32 [tags, N]."""
        counts = np.zeros(out.shape[1], np.int32)
        _fill(counts, self.counts, 0)
        codes = [block for block in self.blocks if isinstance(block, np.ndarray)]
        tag = self._final(levels).take(np.concatenate([np.empty(0, np.int32), *codes]))
        entry = rows_of(np.append(0, np.cumsum(counts, dtype=np.int64)))
        out[:] = np.where(counts > 0, 0.0, np.nan)
        kept = np.flatnonzero(tag)
        out[tag[kept] - 1, entry[kept]] = 1.0

    def _final(self, levels: tuple[str, ...]) -> Ints32:
        final = np.zeros(len(self.texts) + 1, np.int32)
        final[[self.texts[level] for level in levels]] = np.arange(1, len(levels) + 1)
        return final


def _fill(out: AnyArray, blocks: Sequence[AnyArray | int], missing: float) -> None:
    """All blocks one after the other; one that is but a length is missing."""
    start = 0
    for block in blocks:  # a step an example
        length = block if isinstance(block, int) else len(block)
        out[start : start + length] = missing if isinstance(block, int) else block
        start += length


def _drawn(request: Request, pool: Pool, share: float) -> Bools:
    """Which entries are drawn, each with the chance `share`, by what they are: bool [N]."""
    if share >= 1:
        return np.ones(len(pool), np.bool_)
    start = mix64(request.key ^ mix64(request.now.astype(np.uint64) * GOLDEN))
    bits = mix64(start.take(pool.row) ^ mix64((pool.item.astype(np.uint64) + np.uint64(1)) * GOLDEN))
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53 < share)
