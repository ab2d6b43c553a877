"""What an evaluation found, and how it is written: a table for people, JSON and CSV for scripts."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from nbarec.durable import sync_folder
from nbarec.figures import Figure, Report, number
from nbarec.segment_reports import SegmentTable
from nbarec.stage_losses import StageLosses
from nbarec.statistics import Interval

WHOLE_PIPELINE = "slate"
AS_CONFIGURED = "as configured"
"""What a table of variants calls the config itself."""


@dataclass(frozen=True)
class Evaluation:
    """The whole pipeline's slates (`slate`) and each stage's own lists (`stages`, by id) against held-out events.

    `variants` are the slates of other settings, by name; `cold_starts` tells of new users and of new items. `users` are
    the ids of the evaluated users, those with a relevant held-out item; `skipped` counts the users
    without one; `holdout` says in words what was held out; `seconds` is how long the evaluation took. `losses` tells
    at which stage held-out items were left, `segments` of the figures of some users, or of some items, alone.
    `relevant` is a fingerprint of what was to be found, by whom: evaluations with the same one can be compared, by
    metrics that go by weights only where `weights`, empty without such a metric, are the same as well.
    `findings` are what stages tell of what they learnt, by id, as plain values.

    With `requests` a row is not a user but a request, of which a user has several: `users` has the user of each row,
    `requests` which of his held-out events it is, from 1, and where figures speak of users they count requests.
    """

    slate: Report
    stages: Mapping[str, Report]
    users: tuple[str, ...]
    skipped: int
    holdout: tuple[str, ...]
    seconds: float
    variants: Mapping[str, Report] = field(default_factory=dict)
    cold_starts: tuple[ColdTable, ...] = ()
    losses: StageLosses | None = None
    segments: tuple[SegmentTable, ...] = ()
    relevant: str = ""
    weights: str = ""
    findings: Mapping[str, Any] = field(default_factory=dict)
    requests: tuple[int, ...] | None = None

    @property
    def people(self) -> int:
        """How many users were evaluated."""
        return len(set(self.users)) if self.requests is not None else len(self.users)

    @property
    def metrics(self) -> Mapping[str, Figure]:
        """The figures of the whole pipeline by `name@k`."""
        return self.slate.figures

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, without the seconds: the same evaluation gives the same file."""
        plain: dict[str, Any] = {
            "metrics": self.slate.to_json(),
            "stages": {stage: {"metrics": report.to_json()} for stage, report in self.stages.items()},
            "users": {"evaluated": self.people, "without_relevant_item": self.skipped},
            "holdout": list(self.holdout),
            "relevant": self.relevant,
        }
        if self.weights:
            plain["weights"] = self.weights
        if self.requests is not None:
            plain["requests"] = {"evaluated": len(self.requests)}
        if self.losses is not None:
            plain["stage_losses"] = self.losses.to_json()
        if self.segments:
            plain["segments"] = [table.to_json() for table in self.segments]
        if self.variants:
            plain["variants"] = {name: {"metrics": report.to_json()} for name, report in self.variants.items()}
        for table in self.cold_starts:
            plain[f"cold_{table.what}"] = [row.to_json() for row in table.rows]
        if self.findings:
            plain["findings"] = dict(self.findings)
        return plain

    def write(self, figures: Path) -> tuple[Path, Path]:
        """Write the figures, as JSON, and each user's values beside them: for `evaluation.json` that is
        `evaluation_users.csv`. Each file appears whole or not at all. Returns their paths.

        The CSV has `user_id`, a column a metric of the slate, and a column `stage:metric` for each of a stage;
        an undefined value is an empty cell. Where a row is a request, `request` says which of the user's it is.
        """
        users = figures.with_name(f"{figures.stem}_users.csv")
        write_json(figures, self.to_json())
        with replacing(users) as file:
            csv.writer(file, lineterminator="\n").writerows(self._user_rows())
        return figures, users

    def _user_rows(self) -> Iterator[Sequence[str]]:
        columns = dict(self.slate.values)
        for stage, report in self.stages.items():
            columns |= {f"{stage}:{label}": values for label, values in report.values.items()}
        named: dict[str, Sequence[str]] = {"user_id": self.users}
        if self.requests is not None:
            named["request"] = [str(number) for number in self.requests]
        yield [*named, *columns]
        cells = ([_cell(value) for value in values.tolist()] for values in columns.values())
        yield from zip(*named.values(), *cells, strict=True)

    def rows(self) -> list[list[str]]:
        """A header, a line a stage and one for the whole pipeline; a column a metric: `0.1234 ±0.005`, the mean and
        half of its interval."""
        header = ["stage", *self.metrics]
        reports = chain(self.stages.items(), [(WHOLE_PIPELINE, self.slate)])
        return [header, *([name, *self._cells(report)] for name, report in reports)]

    def variant_rows(self) -> list[list[str]]:
        """A header, a line for the config as it stands and one a variant, the last column the time to serve a user, or
        a request."""
        header = ["variant", *self.metrics, "ms a user" if self.requests is None else "ms a request"]
        reports = chain([(AS_CONFIGURED, self.slate)], self.variants.items())
        return [header, *([name, *self._cells(report), self._milliseconds(report)] for name, report in reports)]

    def _cells(self, report: Report) -> list[str]:
        return [str(report.figures[label]) for label in self.metrics]

    def _milliseconds(self, report: Report) -> str:
        return f"{1000 * report.seconds / max(len(self.users), 1):.3f}"


@dataclass(frozen=True)
class ColdRow:
    """Every list where `events` events are known of what is new; `best` is the best single generator, `ranked` the
    last ranker (empty without one), and `lead` by how much it is ahead of the best, with the 95% interval of the
    users' differences."""

    events: int
    evaluation: Evaluation
    best: str
    ranked: str
    lead: float
    ci95: Interval

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        lead = {"mean": number(self.lead), "ci95": [number(bound) for bound in self.ci95]}
        told = {"events": self.events, "best": self.best, "ranked": self.ranked, "lead": lead}
        return {**told, **self.evaluation.to_json()}


@dataclass(frozen=True)
class ColdTable:
    """Quality by how many events are known, of new `what`: users or items."""

    what: str
    metric: str
    rows: tuple[ColdRow, ...]

    def lines(self) -> list[list[str]]:
        """A header and a line a number of events: every list's figure, and the last ranker's lead over the best."""
        first = self.rows[0]
        lead = [f"{first.ranked} - best"] if first.ranked else []
        lists = [*first.evaluation.stages, WHOLE_PIPELINE]
        return [["events", *lists, *lead], *(self._line(row) for row in self.rows)]

    def _line(self, row: ColdRow) -> list[str]:
        reports = (*row.evaluation.stages.values(), row.evaluation.slate)
        figures = [str(report.figures[self.metric]) for report in reports]
        if not row.ranked:
            return [str(row.events), *figures]
        low, high = row.ci95
        interval = "" if math.isnan(low) else f" ±{(high - low) / 2:.3f}"
        lead = "-" if math.isnan(row.lead) else f"{row.lead:+.4f}{interval} ({row.best})"
        return [str(row.events), *figures, lead]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file (UTF-8) that takes the place of `path` when the block ends well, and is removed when it does not.

    What the system has against it is raised as OSError of `path`.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if str(error.filename) == str(temporary):
            error.filename, error.filename2 = str(path), None  # nobody knows of the other name
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_json(path: Path, plain: Mapping[str, Any]) -> None:
    """Plain values as a JSON file that appears whole or not at all, in a folder that is made where it is missing.

    Raises ValueError where a number is not finite.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        json.dump(plain, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def aligned(lines: Iterable[Sequence[str]]) -> str:
    """Columns two spaces apart, the first to the left."""
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[line[0].ljust(widths[0]), *map(str.ljust, line[1:], widths[1:])] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)
