"""Text -> seconds since 1970 UTC: epoch seconds or ISO 8601, whole columns at a time where they have one shape."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from nbarec.arrays import Bools, Ints64

ADVICE = "write epoch seconds or ISO 8601 such as 2025-06-30T21:05:00Z"

_FIRST, _LAST = -62_135_596_800, 253_402_300_799  # the years 1 to 9999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY, _HOUR, _SIXTY = "[0-9]{4}-[0-9]{2}-[0-9]{2}", "(?:[01][0-9]|2[0-3])", "[0-5][0-9]"
_FRACTION = "(?:(?<=:..:..)[.,][0-9]+)?"  # of a second, so only where there are seconds
_ISO = re.compile(f"({_DAY})(?:([T ]{_HOUR}:{_SIXTY}(?::{_SIXTY})?){_FRACTION}(Z|[+-]{_HOUR}(?::?{_SIXTY})?)?)?")
_ONE_SHAPE = re.compile(r"[0-9-]{10}(?:[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?)?")


def moment(text: str) -> int:
    """The second in which a moment lies (floor). Without a zone it is UTC.

    Raises ValueError where `text` is neither a number nor ISO 8601, or outside the years 1 to 9999.
    """
    seconds = _epoch_seconds(text)
    if seconds is None:
        seconds = _iso_seconds(text)
    if not _FIRST <= seconds <= _LAST:
        raise ValueError("lies outside the years 1 to 9999; epoch times are in seconds, not milliseconds")
    return seconds


def moments(texts: Sequence[str]) -> Ints64:
    """`moment` of every text: int64 [texts]. Raises ValueError where any is not a moment."""
    seconds = _all_epoch_seconds(texts)
    if seconds is None:
        seconds = _all_iso_seconds(texts)
    if seconds is None or not _in_range(seconds):
        return np.fromiter(map(moment, texts), np.int64, len(texts))
    return seconds


def _epoch_seconds(text: str) -> int | None:
    if "_" in text:  # Python's own notation for thousands: in data it is a fault
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return math.floor(float(text))
    except (ValueError, OverflowError):  # not a number; NaN; infinity
        return None


def _iso_seconds(text: str) -> int:
    if not (match := _ISO.fullmatch(text)):
        raise ValueError(f"is not a time; {ADVICE}")
    day, time, zone = match.groups(default="")
    try:
        parsed = datetime.fromisoformat(day + time + zone)
    except ValueError as error:
        raise ValueError(f"is not a time ({error}); {ADVICE}") from None
    return ((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)) - _EPOCH) // timedelta(seconds=1)


def _in_range(seconds: Ints64) -> bool:
    return bool(len(seconds) == 0 or (seconds.min() >= _FIRST and seconds.max() <= _LAST))


def _all_epoch_seconds(texts: Sequence[str]) -> Ints64 | None:
    """None where any text is not a number of the ordinary kind."""
    if "_" in "".join(texts):
        return None
    try:
        return np.fromiter(map(int, texts), np.int64, len(texts))
    except (ValueError, OverflowError):
        pass
    try:
        numbers = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return None
    whole = np.floor(numbers)
    return whole.astype(np.int64) if (np.abs(whole) <= _LAST).all() else None


def _all_iso_seconds(texts: Sequence[str]) -> Ints64 | None:
    """None where the texts differ in shape or any date or time does not exist."""
    text, width = "".join(texts), len(texts[0])
    shape = _ONE_SHAPE.fullmatch(texts[0])
    if shape is None or not text.isascii() or set(map(len, texts)) != {width}:
        return None
    letters = np.frombuffer(text.encode(), np.uint8).reshape(-1, width)
    digits = letters - np.uint8(ord("0"))
    is_digit = digits[0] <= 9
    if not ((digits[:, is_digit] <= 9).all() and (letters[:, ~is_digit] == letters[0, ~is_digit]).all()):
        return None
    seconds, valid = _seconds_of_digits(digits)
    zone = shape[1] or "Z"
    if zone != "Z":
        hours, minutes = _number(digits, width - 5, 2), _number(digits, width - 2, 2)
        valid &= (hours < 24) & (minutes < 60)
        seconds -= (hours * 3600 + minutes * 60) * (-1 if zone[0] == "-" else 1)
    return seconds if valid.all() else None


def _seconds_of_digits(digits: np.ndarray) -> tuple[Ints64, Bools]:
    """Seconds of rows `2025-06-30[T21:05:00...]` without their zone, and whether each such moment exists."""
    year, month, day = _number(digits, 0, 4), _number(digits, 5, 2), _number(digits, 8, 2)
    month_start = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first_day = month_start.astype("datetime64[D]").astype(np.int64)
    days_in_month = (month_start + 1).astype("datetime64[D]").astype(np.int64) - first_day
    valid = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= days_in_month)
    seconds = (first_day + day - 1) * 86_400
    if digits.shape[1] > 10:
        hour, minute, second = _number(digits, 11, 2), _number(digits, 14, 2), _number(digits, 17, 2)
        valid &= (hour < 24) & (minute < 60) & (second < 60)
        seconds += hour * 3600 + minute * 60 + second
    return seconds, valid


def _number(digits: np.ndarray, start: int, length: int) -> Ints64:
    return np.asarray(digits[:, start : start + length].astype(np.int64) @ 10 ** np.arange(length)[::-1])
