"""Slots: categories and crosses of columns as one coefficient a level, without ever writing the ones and zeros down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nbarec.arrays import Floats32, Ints64, frozen, mix64
from nbarec.errors import ConfigError
from nbarec_plugins.feature_frames import Frame, Layout
from nbarec_plugins.random_items import GOLDEN

MOST_VALUES = 32
"""A number with at most so many values has a level for each in a cross, such as the hour of the day."""

BINS = 10
"""Any other number has so many, with about as many entries each."""

CROSS = " x "


@dataclass(frozen=True)
class Axis:
    """One column of a slot: column `at` of the codes, or of the numbers, whose levels begin at `starts`, float32.

    Level 0 is unknown, and what lies below the first start is of level 1 as well. A level is a single value, or a
    `span` of several. It has `size` levels; where no value was known, level 0 alone."""

    name: str
    at: int
    size: int
    kind: Literal["category", "value", "span"]
    starts: Floats32

    def codes(self, frame: Frame) -> Ints64:
        """The level of each entry: int64 [N]."""
        if self.kind == "category":
            return frame.codes[:, self.at].astype(np.int64)
        values = frame.numbers[:, self.at]
        level = np.searchsorted(self.starts, values, side="right").clip(min(1, len(self.starts)))
        return np.where(np.isnan(values), 0, level)


@dataclass(frozen=True)
class Slot:
    """A category, or a cross of several columns, of which every entry has one of `width` levels: by the levels of its
    axes where there are so few, else by a hash of them (Weinberger et al. 2009). Level 0: all axes are unknown."""

    axes: tuple[Axis, ...]
    width: int
    hashed: bool

    @property
    def name(self) -> str:
        """`item.genre`, or `item.genre x context.hour`."""
        return CROSS.join(axis.name for axis in self.axes)

    def level(self, frame: Frame) -> Ints64:
        """Which level each entry has: int64 [N], from 0 to `width` - 1."""
        key = self.axes[0].codes(frame)
        for axis in self.axes[1:]:  # a step a column
            key = key * axis.size + axis.codes(frame)  # of a hashed slot this may go round, as a hash may
        if not self.hashed:
            return key
        bucket = (mix64(key.astype(np.uint64) * GOLDEN) % np.uint64(self.width - 1)).astype(np.int64)
        return np.where(key == 0, 0, bucket + 1)

    def told(self, layout: Layout) -> Iterator[str]:
        """What each level is called, in order: `item.genre=rock x context.hour=8`; of a hashed slot, its number."""
        if self.hashed:
            yield from (f"{self.name}#{bucket}" for bucket in range(self.width))
            return
        axes = [_told(axis, layout) for axis in self.axes]
        names = axes[0]
        for axis in axes[1:]:
            names = [f"{first}{CROSS}{second}" for first in names for second in axis]
        yield from names


def slots_of(
    layout: Layout, frame: Frame, crosses: Sequence[Sequence[str]], most_levels: int, buckets: int
) -> tuple[Slot, ...]:
    """A slot a category and a cross. One whose levels are more than `most_levels` is hashed to `buckets`.

    A cross of a column that no example had a value of is left out. Raises ConfigError at one of several texts a row.
    """
    found = [[_category(layout, at)] for at in range(len(layout.categories))]
    for names in crosses:
        axes = [_axis(layout, frame, name) for name in names]
        found += [[axis for axis in axes if axis is not None]] if None not in axes else []
    return tuple(_slot(tuple(axes), most_levels, buckets) for axes in found)


def _slot(axes: tuple[Axis, ...], most_levels: int, buckets: int) -> Slot:
    levels = 1
    for axis in axes:
        levels *= axis.size  # a whole number of Python, which has no end
    return Slot(axes, buckets if levels > most_levels else levels, levels > most_levels)


def _category(layout: Layout, at: int) -> Axis:
    return Axis(layout.categories[at], at, layout.sizes[at], "category", frozen(np.empty(0, np.float32)))


def _axis(layout: Layout, frame: Frame, name: str) -> Axis | None:
    if name in layout.tags:
        raise ConfigError(f"crosses: {name} has several texts a row; a cross is of categories and numbers")
    if name in layout.categories:
        return _category(layout, layout.categories.index(name))
    if name not in layout.numbers:
        return None
    at = layout.numbers.index(name)
    known = np.sort(frame.numbers[:, at])
    known = known[: np.count_nonzero(~np.isnan(known))]  # NaN stands last
    starts = known[np.append(True, known[1:] != known[:-1])[: len(known)]]
    whole = len(starts) <= MOST_VALUES
    if not whole:
        starts = np.unique(known[np.arange(BINS) * len(known) // BINS])
    return Axis(name, at, len(starts) + 1, "value" if whole else "span", frozen(starts))


def _told(axis: Axis, layout: Layout) -> list[str]:
    levels = (
        layout.levels[axis.at]
        if axis.kind == "category"
        else [np.format_float_positional(start, trim="-") for start in axis.starts]
    )
    sign = ">=" if axis.kind == "span" else "="
    return [f"{axis.name}=?", *(f"{axis.name}{sign}{level}" for level in levels)]
