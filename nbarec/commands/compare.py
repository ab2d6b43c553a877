"""The command that compares evaluations."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from nbarec.commands.terminal import heading, progress, show_table
from nbarec.comparing import NAMES
from nbarec.comparing import compare as compare_lists
from nbarec.comparisons import Comparison
from nbarec.errors import PluginError
from nbarec.evaluation_files import MeasuredList, read_list
from nbarec.paired import RESAMPLES
from nbarec.plugins import registry
from nbarec.reports import write_json

WIDTH = 100


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--list", "stage", metavar="STAGE", help="Compare a stage's own list; the whole slate if left out.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Also write the comparison.")
@click.option("--resamples", type=click.IntRange(min=1), default=RESAMPLES, help=f"Draws of each test; {RESAMPLES:,}.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the draws; 0.")
def compare(runs: tuple[Path, ...], stage: str | None, file: Path | None, resamples: int, seed: int) -> None:
    """Is the second of RUNS better than the first, or was it chance? Each later one is compared with the first.

    RUNS are evaluations as `nbarec evaluate --json` or `nbarec run` write them, or folders with an evaluation.json;
    the users' values are read beside them. The same users are compared: the difference of the means, its 95% interval
    (paired bootstrap), and two p-values for no difference (bootstrap; permutation by sign flips), the second also
    corrected for all tests together (Holm). Figures of all users together, such as coverage, have no test.

    \b
    Example:
      nbarec compare runs/a runs/b
      nbarec compare a/evaluation.json b/evaluation.json --list similar --json difference.json
    """
    if len(runs) < 2:
        raise click.UsageError("name at least two evaluations: nbarec compare A/evaluation.json B/evaluation.json")
    with progress():
        lists = [read_list(run, stage) for run in runs]
        found = compare_lists(lists, _known_metrics(), resamples=resamples, seed=seed)
    _show(lists, found, resamples)
    if file is not None:
        write_json(file, _plain(lists, found, resamples, seed))


def _known_metrics() -> Mapping[str, Any]:
    """The metrics that are installed, by name; one that two distributions claim is left out."""
    installed = registry()
    known = {}
    for registered in installed.components("metric"):
        with suppress(PluginError):
            known[registered.component.name] = installed.find("metric", registered.component.name).component
    return known


def _show(lists: list[MeasuredList], found: list[Comparison], resamples: int) -> None:
    heading(f"Runs ({lists[0].name})")
    for name, one in zip(NAMES, lists, strict=False):
        click.echo(f"  {name}  {one.path}")
    for comparison in found:
        heading(comparison.title())
        show_table(comparison.rows())
        for note in comparison.notes:
            _show_text(note)
    tests = sum(metric.test is not None for comparison in found for metric in comparison.metrics)
    if tests:
        click.echo()
        corrected = f"Holm corrects for all {tests} tests" if tests > 1 else "with one test, Holm changes nothing"
        _show_text(f"p-values are two-sided, from {resamples:,} resamples of the users; {corrected}.")


def _show_text(text: str) -> None:
    indent = "  "
    click.echo(textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=2 * indent))


def _plain(lists: list[MeasuredList], found: list[Comparison], resamples: int, seed: int) -> Mapping[str, Any]:
    runs = {name: str(one.path) for name, one in zip(NAMES, lists, strict=False)}
    told = {"list": lists[0].name, "runs": runs, "resamples": resamples, "seed": seed}
    return {**told, "comparisons": [comparison.to_json() for comparison in found]}
