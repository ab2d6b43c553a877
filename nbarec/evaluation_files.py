"""Evaluations as they were written: `evaluation.json`, and each user's values in `evaluation_users.csv` beside it.

`Evaluation.write` writes both. What is read here is checked: files of two runs, half a file or one of something else
raise DataError with the file, and the line or the place in it.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from nbarec.arrays import Floats64, frozen
from nbarec.errors import ConfigError, DataError
from nbarec.providers import advice_on
from nbarec.reports import WHOLE_PIPELINE
from nbarec.scalars import shown

FIGURES = "evaluation.json"
_KEYS = {"users": ("user_id",), "requests": ("user_id", "request")}
"""The columns of the users' values that tell a row from any other."""

ROUNDING = 1e-9
"""Relative: sums in another order differ by this much at most."""


@dataclass(frozen=True)
class MeasuredList:
    """One list of an evaluation: its `figures` by `name@k`, the `values` of each of the `users`, float64 [users], NaN
    undefined. `holdout` says in words what was held out, and `relevant` and `weights` are fingerprints of it, without
    and with its weights ("" where the file has none). `path` is the file of the figures. Where a row is a request,
    `users` are those of the rows and `requests` says which of the user's each is."""

    path: Path
    name: str
    holdout: tuple[str, ...]
    relevant: str
    users: tuple[str, ...]
    figures: Mapping[str, float]
    values: Mapping[str, Floats64]
    requests: tuple[str, ...] | None = None
    weights: str = ""

    @property
    def rows(self) -> Sequence[str | tuple[str, str]]:
        """What tells a row from any other: the user, or the user and the number of his request."""
        return self.users if self.requests is None else list(zip(self.users, self.requests, strict=True))

    def is_mean(self, label: str) -> bool:
        """Whether a figure is the mean of the users' defined values."""
        figure, mean = self.figures[label], self.mean(label)
        both_undefined = math.isnan(figure) and math.isnan(mean)
        return both_undefined or math.isclose(figure, mean, rel_tol=ROUNDING, abs_tol=ROUNDING)

    def mean(self, label: str) -> float:
        """The mean of the users' defined values, NaN without one."""
        values = self.values[label]
        defined = values[~np.isnan(values)]
        return float(defined.mean()) if len(defined) else math.nan


def read_list(path: Path, stage: str | None = None) -> MeasuredList:
    """The whole pipeline's slates, or the own list of the generator or ranker with the id `stage`.

    `path` is the file of the figures, or the folder that holds it as `evaluation.json`. Raises ConfigError where the
    evaluation has no such list, DataError where a file is missing, damaged, or none of an evaluation.
    """
    path = path / FIGURES if path.is_dir() else path
    found = _Mapping(path, "", figures_of(path))
    own = _own_list(found, stage)
    measured = (own or found).inside("metrics")
    figures = {label: measured.inside(label) for label in measured.entries}
    columns = {label: f"{stage}:{label}" if own else label for label in figures}
    what = "requests" if "requests" in found.entries else "users"
    rows, values = _values(path.with_name(f"{path.stem}_users.csv"), columns, _KEYS[what])
    users, requests = rows[0], rows[1] if what == "requests" else None
    evaluated = found.inside(what).count("evaluated")
    if evaluated != len(users):
        raise _not_of_one_run(path, f"it speaks of {evaluated:,} {what}, the file of users' values of {len(users):,}")
    for label, figure in figures.items():
        _check_counts(path, label, figure, values[label])
    read = {label: figure.number("mean") for label, figure in figures.items()}
    name = stage if own and stage else WHOLE_PIPELINE
    relevant, weights = (found.text(key) if key in found.entries else "" for key in ("relevant", "weights"))
    return MeasuredList(path, name, found.texts("holdout"), relevant, users, read, values, requests, weights)


def _check_counts(path: Path, label: str, figure: _Mapping, values: Floats64) -> None:
    undefined = int(np.isnan(values).sum())
    written, read = (figure.count("users"), figure.count("undefined")), (len(values) - undefined, undefined)
    if written != read:
        told = "{:,} users with a value and {:,} without".format
        raise _not_of_one_run(path, f"{label} is of {told(*written)}, the users' values are of {told(*read)}")


def _not_of_one_run(path: Path, why: str) -> DataError:
    users = path.with_name(f"{path.stem}_users.csv")
    return DataError(f"{path} and {users.name} beside it are not of one run: {why}; evaluate again")


@dataclass(frozen=True)
class _Mapping:
    """A mapping of the file, and where in it: `metrics.ndcg@10`."""

    path: Path
    where: str
    value: object

    @property
    def entries(self) -> Mapping[str, Any]:
        if not isinstance(self.value, dict):
            raise self._wrong(self.where, "a mapping", self.value)
        return self.value

    def inside(self, key: str) -> _Mapping:
        return _Mapping(self.path, self._place(key), self._entry(key))

    def count(self, key: str) -> int:
        value = self._entry(key)
        if type(value) is not int or value < 0:
            raise self._wrong(self._place(key), "a number of users", value)
        return value

    def number(self, key: str) -> float:
        value = self._entry(key)
        if value is None:
            return math.nan
        if type(value) not in (int, float) or not math.isfinite(value):
            raise self._wrong(self._place(key), "a finite number or null", value)
        return float(value)

    def text(self, key: str) -> str:
        value = self._entry(key)
        if not isinstance(value, str):
            raise self._wrong(self._place(key), "text", value)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._entry(key)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._wrong(self._place(key), "a list of texts", value)
        return tuple(value)

    def _entry(self, key: str) -> Any:
        if key not in self.entries:
            raise DataError(f"{self.path} is no evaluation that nbarec wrote: it has no {self._place(key)!r}")
        return self.entries[key]

    def _place(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def _wrong(self, place: str, wanted: str, value: object) -> DataError:
        where = f"{self.path}: {place}" if place else str(self.path)
        return DataError(f"{where} must be {wanted}, not {shown(value)}; is it the JSON of an evaluation?")


def figures_of(path: Path) -> object:
    """What the file of an evaluation's figures holds, unchecked. Raises DataError where it is missing or no JSON."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        written = (
            "nbarec evaluate CONFIG --json FILE writes one, and nbarec run where the config has an evaluate section"
        )
        raise DataError(f"{path}: there is no such evaluation; {written}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start:,}), so no evaluation that nbarec wrote"
        ) from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}; is the file damaged?") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no evaluation that nbarec wrote: {shown(error, str)}") from None
    if isinstance(found, dict) and "configs" in found and "metrics" not in found:
        raise DataError(
            f"{path} holds the figures of several configs, and no users' values; evaluate each config alone, with a "
            "--json of its own"
        )
    return found


def _own_list(found: _Mapping, stage: str | None) -> _Mapping | None:
    """What was measured of a stage's own list; None for the whole pipeline."""
    stages = found.inside("stages")
    if stage is not None and stage in stages.entries:
        return stages.inside(stage)
    if stage is None or stage == WHOLE_PIPELINE:
        return None
    advice = advice_on(stage, stages.entries, f"it has {', '.join([*stages.entries, WHOLE_PIPELINE])}")
    raise ConfigError(f"{found.path} has no list of a stage {shown(stage)}; {advice}")


def _values(
    path: Path, columns: Mapping[str, str], keys: Sequence[str]
) -> tuple[Sequence[tuple[str, ...]], Mapping[str, Floats64]]:
    """The columns that tell rows apart, of which the users come first, and by label the values in its column, float64
    [rows]."""
    names = [*keys, *columns.values()]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines, *cells = zip(*_rows(path, csv.reader(file, strict=True), names), strict=True)
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing: the test needs each user's values, which are written beside the figures; put it there "
            "or evaluate again"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; evaluate again") from None
    told, cells = cells[: len(keys)], cells[len(keys) :]
    _refuse_twins(path, lines, list(zip(*told, strict=True)))
    labelled = zip(columns.items(), cells, strict=True)
    return told, {label: _numbers(path, column, lines, texts) for (label, column), texts in labelled}


def _rows(path: Path, reader: Any, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The line and the wanted cells of each row. A loop over rows of text, as they come."""
    try:
        header: list[str] = next(reader, [])
        at = [_column(path, header, column) for column in columns]
        wanted = itemgetter(*at, at[0])  # one more than is used, so that it is always several
        empty = True
        for row in reader:
            if len(row) != len(header):
                said = f"{len(row)} cells where the header has {len(header)}; the file is damaged, evaluate again"
                raise DataError(f"{path}:{reader.line_num}: {said}")
            yield (reader.line_num, *wanted(row)[:-1])
            empty = False
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: the row is not well formed: {error}; evaluate again") from None
    if empty:
        raise DataError(f"{path} has no user's values; evaluate again")


def _column(path: Path, header: Sequence[str], name: str) -> int:
    times = header.count(name)
    if times != 1:
        raise DataError(f"{path}:1: {times or 'no'} columns {name!r}; the file is not of this evaluation")
    return header.index(name)


def _refuse_twins(path: Path, lines: Sequence[int], rows: Sequence[tuple[str, ...]]) -> None:
    line_of = dict(zip(rows, lines, strict=True))  # the last line of each
    if len(line_of) < len(rows):
        row, line = next((row, line) for row, line in zip(rows, lines, strict=True) if line_of[row] != line)
        who = " and the request ".join(map(shown, row))
        raise DataError(f"{path}:{line_of[row]}: the user {who} stands in line {line} already; evaluate again")


def _numbers(path: Path, column: str, lines: Sequence[int], texts: Sequence[str]) -> Floats64:
    values = np.array([_number(text) for text in texts])
    wrong = np.flatnonzero(np.isinf(values))
    if len(wrong):
        at = int(wrong[0])
        said = f"{column} must be a finite number or empty, not {shown(texts[at])}; evaluate again"
        raise DataError(f"{path}:{lines[at]}: {said}")
    return frozen(values)


def _number(text: str) -> float:
    """NaN of an empty cell, and infinity of what is no finite number."""
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        return math.inf
    return value if math.isfinite(value) else math.inf
