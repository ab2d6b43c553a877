"""What the commands print: progress, sections, options that several of them share."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from nbarec.batch import Slate, Trace
from nbarec.data import Dataset
from nbarec.progress import Advance, shown_by, track
from nbarec.reports import aligned

F = TypeVar("F", bound=Callable[..., Any])


@contextmanager
def _bar(label: str, length: int) -> Iterator[Advance]:
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        yield bar.update


@contextmanager
def progress() -> Iterator[None]:
    """Within this block long work shows a bar on standard error, where that is a terminal."""
    with shown_by(_bar):
        yield


def watched(slates: Iterator[Slate], users: int) -> Iterator[Slate]:
    """The same slates, with progress over this many users."""
    with track("recommending", users) as advance:
        for slate in slates:
            yield slate
            advance(len(slate))


def _pairs(_context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{value!r} is not {parameter.metavar}", param=parameter)
        pairs[name] = rest
    return pairs


def _pairs_option(name: str, into: str, metavar: str, told: str) -> Callable[[F], F]:
    """An option of pairs, which may be repeated, as a mapping of texts under the name `into`."""
    return click.option(name, into, multiple=True, callback=_pairs, metavar=metavar, help=f"{told} May be repeated.")


def set_option(command: F) -> F:
    """`--set path=value`, as a mapping `overrides`."""
    told = "Override a key, such as candidates.similar.with.neighbors=50."
    return _pairs_option("--set", "overrides", "PATH=VALUE", told)(command)


def with_option(command: F) -> F:
    """`--with key=value`, as a mapping `parameters` of YAML texts."""
    told = "A parameter, written as under `with:`, such as by=artist."
    return _pairs_option("--with", "parameters", "KEY=VALUE", told)(command)


def context_option(command: F) -> F:
    """`--context key=value`, as a mapping `context` of numbers and texts."""

    def typed(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, float | str]:
        return {name: _number_or_text(value) for name, value in _pairs(context, parameter, values).items()}

    return click.option(
        "--context",
        multiple=True,
        callback=typed,
        metavar="KEY=VALUE",
        help="Context of the request, such as hour=21 or device=phone. May be repeated.",
    )(command)


def _number_or_text(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def items_of(listed: str) -> list[str]:
    """Item ids between commas; one that holds a comma stands in quotes."""
    return next(csv.reader([listed]), [])


def heading(title: str) -> None:
    """A section's title."""
    click.echo(f"\n{title}")


def show_data(data: Dataset) -> None:
    """What became of every input row, and how large the dataset is."""
    heading("Data")
    for report in data.files:
        for line in str(report).splitlines():
            click.echo(f"  {line}")
    click.echo(f"  {counts(len(data.users), len(data.items), len(data.events), data.as_of)}")


def counts(users: int, items: int, events: int, as_of: int) -> str:
    """How large a dataset is, and where its clock stands."""
    clock = datetime.fromtimestamp(as_of, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if as_of else "none (no times)"
    return f"{users:,} users, {items:,} items, {events:,} events; clock {clock}"


def show_trace(fit_seconds: Mapping[str, float], trace: Trace) -> None:
    """Time and entries of every stage."""
    header = ["stage", "step", "entries in", "entries out", "fit s", "serve s"]
    lines = [
        [
            stage.stage,
            stage.step,
            f"{stage.entries_in:,}",
            f"{stage.entries_out:,}",
            f"{fit_seconds[stage.stage]:.3f}" if stage.step != "backfill" else "",
            f"{stage.seconds:.3f}",
        ]
        for stage in trace.stages
    ]
    show_table([header, *lines])
    for stage in trace.stages:
        if stage.note:
            click.echo(f"  {stage.stage}: {stage.note}")


def show_failed(stages: Iterable[tuple[str, str]]) -> None:
    """Which stages (id, why) could not be fitted, of those that may fail."""
    for stage, why in stages:
        if why:
            click.echo(f"  {stage} {why}")


def show_table(lines: Sequence[Sequence[str]]) -> None:
    """Aligned columns, indented."""
    for line in aligned(lines).splitlines():
        click.echo(f"  {line}")
