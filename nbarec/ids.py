"""Ids: what the user calls users, items and levels, against int32 positions inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nbarec.arrays import AnyArray, Bytes, Ints64, Uints64, frozen, hash_texts
from nbarec.errors import DataError

TextOrNumber = str | int

MOST_MARKS = 16
"""Whole numbers whose range is at most so many times their count are told apart by marks instead of a sort."""

FEW = 1 << 10
"""Texts up to which a dictionary finds one: what hashing a text as an array takes pays off with many."""


@dataclass(frozen=True)
class Ids:
    """Unique ids in a fixed order; a position never changes, new ids are added at the end.

    Whole numbers are held as `numbers` int64 [n]; anything else as UTF-8 in `blob` uint8 with `offsets`
    int64 [n + 1]. `order` sorts the numbers, or the texts' hashes `sorted_hashes` uint64 [n], for look-up.
    Texts come out as they came in; numbers come out as int only where they came in as int (`as_text`).
    """

    numbers: Ints64
    blob: Bytes
    offsets: Ints64
    sorted_hashes: Uints64
    order: Ints64
    as_text: bool

    @classmethod
    def of(cls, values: Iterable[TextOrNumber]) -> Ids:
        """Unique ids in the given order. Raises DataError where one stands twice."""
        listed = list(values)
        as_text = not listed or any(isinstance(value, str) for value in listed)
        numbers = _as_numbers(listed)
        ids = cls._of_texts([str(value) for value in listed]) if numbers is None else cls._of_numbers(numbers, as_text)
        ids._refuse_twins()
        return ids

    @classmethod
    def sorted_of(cls, values: Iterable[TextOrNumber]) -> Ids:
        """The distinct ids in their natural order: numbers by size, texts by code point."""
        listed = list(set(values))
        numbers = _as_numbers(listed)
        if numbers is None:
            return cls.of(sorted(set(map(str, listed))))
        return cls._of_numbers(np.unique(numbers), any(isinstance(value, str) for value in listed))

    @classmethod
    def of_whole_numbers(cls, values: AnyArray) -> tuple[Ids, Ints64]:
        """The distinct ids of an array of whole numbers, by size, and where each value stands there: int64 [values].

        Raises DataError where a number is beyond int64.
        """
        if values.dtype.kind == "u" and len(values) and int(values.max()) >= 2**63:
            raise DataError(f"id {values.max()} is beyond what 64 bits with a sign hold; give such ids as text")
        numbers = values.astype(np.int64, copy=False)
        least, most = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
        if most - least >= MOST_MARKS * max(len(numbers), 1):
            distinct, at = np.unique(numbers, return_inverse=True)
            return cls._of_numbers(distinct, as_text=not len(distinct)), at
        # Numbers that lie close are marked in a line of places, which takes no sort.
        there = np.zeros(most - least + 1, bool)
        there[numbers - least] = True
        distinct = np.flatnonzero(there) + least
        place = np.cumsum(there) - 1
        return cls._of_numbers(distinct, as_text=not len(distinct)), place.take(numbers - least)

    @classmethod
    def _of_numbers(cls, numbers: Ints64, as_text: bool) -> Ids:
        order = np.argsort(numbers, kind="stable")
        nothing = np.empty(0, np.uint64)
        return cls(frozen(numbers), np.empty(0, np.uint8), np.zeros(1, np.int64), nothing, frozen(order), as_text)

    @classmethod
    def _of_texts(cls, texts: Sequence[str]) -> Ids:
        blob, offsets = encode_texts(texts)
        hashes = hash_texts(blob, offsets)
        order = np.argsort(hashes, kind="stable")
        return cls(np.empty(0, np.int64), blob, offsets, frozen(hashes[order]), frozen(order), True)

    def _refuse_twins(self) -> None:
        listed = self.all()
        if len(set(listed)) < len(listed):
            twin = next(value for value, times in Counter(listed).items() if times > 1)
            raise DataError(f"id {twin!r} stands twice where ids must be unique; keep one of them")

    def __len__(self) -> int:
        return len(self.order)

    @property
    def are_numbers(self) -> bool:
        """Whether every id is a whole number, held as int64."""
        return len(self.offsets) == 1

    def index(self, values: Iterable[TextOrNumber]) -> Ints64:
        """Positions of the given ids: int64, -1 where unknown. `196` and `"196"` are the same id."""
        listed = list(values)
        if not listed or not len(self):
            return np.full(len(listed), -1, np.int64)
        return self._index_numbers(listed) if self.are_numbers else self._index_texts([str(v) for v in listed])

    def _index_numbers(self, values: Sequence[TextOrNumber]) -> Ints64:
        parsed = [_whole_number(value) for value in values]
        wanted = np.array([0 if number is None else number for number in parsed], np.int64)
        at = np.minimum(np.searchsorted(self.numbers, wanted, sorter=self.order), len(self) - 1)
        position = self.order[at]
        known = (self.numbers[position] == wanted) & np.array([number is not None for number in parsed])
        return np.where(known, position, -1)

    def _index_texts(self, texts: Sequence[str]) -> Ints64:
        if len(self) <= FEW:
            return np.array([self._positions.get(_encoded(text), -1) for text in texts], np.int64)
        blob, offsets = encode_texts(texts)
        hashes = hash_texts(blob, offsets)
        first = np.searchsorted(self.sorted_hashes, hashes, side="left")
        last = np.searchsorted(self.sorted_hashes, hashes, side="right")
        found = np.full(len(texts), -1, np.int64)
        # Two texts may share a hash: a step a place among the equal ones, so nearly always a single step.
        for step in range(int((last - first).max(initial=0))):
            open_ = np.flatnonzero((found < 0) & (first + step < last))
            position = self.order[first[open_] + step]
            same = [self._text(p) == texts[i] for p, i in zip(position.tolist(), open_.tolist(), strict=True)]
            found[open_] = np.where(same, position, -1)
        return found

    @cached_property
    def _positions(self) -> dict[bytes, int]:
        """Where each text stands."""
        return {_encoded(self._text(position)): position for position in range(len(self))}

    def take(self, positions: Sequence[int] | AnyArray) -> list[TextOrNumber]:
        """The ids at these positions."""
        if self.are_numbers:
            numbers: list[int] = self.numbers[np.asarray(positions, np.int64)].tolist()
            return [str(number) for number in numbers] if self.as_text else list(numbers)
        return [self._text(position) for position in positions]

    def texts(self, positions: Sequence[int] | AnyArray) -> list[str]:
        """The ids at these positions, as text."""
        return [str(value) for value in self.take(positions)]

    def __getitem__(self, span: slice) -> list[TextOrNumber]:
        """The ids of a span of positions: Ids can be given wherever a sequence of users is served in batches."""
        return self.take(np.arange(len(self))[span])

    def __iter__(self) -> Iterator[TextOrNumber]:
        return iter(self.all())

    def all(self) -> list[TextOrNumber]:
        """Every id, in order."""
        return self.take(np.arange(len(self)))

    def extended(self, new: Iterable[TextOrNumber]) -> Ids:
        """These ids with the unknown ones of `new` added at the end, in their natural order."""
        listed = list(new)
        unknown = [value for value, at in zip(listed, self.index(listed), strict=True) if at < 0]
        return Ids.of([*self.all(), *Ids.sorted_of(unknown).all()]) if unknown else self

    def _text(self, position: int) -> str:
        return bytes(self.blob[self.offsets[position] : self.offsets[position + 1]]).decode()


def encode_texts(texts: Sequence[str]) -> tuple[Bytes, Ints64]:
    """One UTF-8 blob of all texts, uint8, and where each begins, int64 [n + 1].

    Raises DataError where a text holds half of a surrogate pair, which UTF-8 can't hold.
    """
    encoded = [_encoded(text) for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return frozen(np.frombuffer(b"".join(encoded), np.uint8)), frozen(offsets)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{text!r} holds half of a surrogate pair; write the character itself") from None


def _as_numbers(values: Sequence[TextOrNumber]) -> Ints64 | None:
    """All values as int64 if each is a whole number written in the ordinary way (`7`, not `007`), else None."""
    numbers = [_whole_number(value) for value in values]
    return np.array(numbers, np.int64) if numbers and None not in numbers else None


def _whole_number(value: TextOrNumber) -> int | None:
    try:
        number = int(value)
    except (ValueError, OverflowError):  # not a number; NaN; infinity
        return None
    same = str(number) == value if isinstance(value, str) else number == value
    return number if same and -(2**63) <= number < 2**63 else None
