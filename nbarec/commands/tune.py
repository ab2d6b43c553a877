"""The command that searches for better parameters: tune."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from nbarec.commands.terminal import heading, progress, set_option, show_data, show_table
from nbarec.pipeline import Pipeline
from nbarec.tuning import Limits, Study, Told
from nbarec.tuning_record import Outcome, optuna
from nbarec.tuning_results import Result
from nbarec.tuning_space import TuningPlan


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--trials", type=click.IntRange(min=1), help="How many sets of values to try; as tune.trials says.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Begin no trial later than this.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the study; runs/NAME-tune if left out.")
@set_option
def tune(
    config: Path, trials: int | None, minutes: float | None, output: Path | None, overrides: Mapping[str, str]
) -> None:
    """Try the values that the tune section of CONFIG ranges over, and write the best as a config of its own.

    Values are judged on a validation part of the training part; what evaluate holds out is never looked at. A study
    that was interrupted, or is to go on for longer, goes on where it was. Needs: pip install 'nbarec[tune]'

    Writes DIR/best.yaml, DIR/trials.csv and DIR/study.db, which Optuna's own tools read.

    \b
    Example:
      nbarec tune configs/movielens.yaml --minutes 10
      nbarec tune configs/movielens.yaml --trials 100 --output runs/blend
      nbarec evaluate runs/blend/best.yaml
    """
    folder = output or Path("runs") / f"{config.stem}-tune"
    optuna()  # what is missing is told before data are read
    pipeline = Pipeline.from_yaml(config, overrides)
    TuningPlan.of(pipeline)
    with progress():
        data = pipeline.load()
    show_data(data)
    with Study.opened(pipeline, data, folder) as study:
        _show_start(study)
        limits = Limits.of(study.plan, trials, minutes)
        try:
            with _shown(study, limits) as told:
                result = study.run(limits, told)
        except KeyboardInterrupt:
            limited = {"--trials": trials, "--minutes": minutes}
            options = [word for name, value in limited.items() if value is not None for word in (name, f"{value:g}")]
            options += [word for path, value in overrides.items() for word in ("--set", f"{path}={value}")]
            command = shlex.join(["nbarec", "tune", str(config), "--output", str(folder), *options])
            click.echo(f"\n{len(study.record.outcomes):,} trials are written down; to go on: {command}", err=True)
            raise
    _show(result)


def _show_start(study: Study) -> None:
    """What is tuned, on what, and how far the study was."""
    heading(f"Tuning {len(study.plan.dimensions)} parameters by {study.plan.metric.label} on validation")
    for line in study.scorer.holdout.describe():
        click.echo(f"  {line}")
    plan = study.pipeline.plan
    if plan is not None and getattr(plan.split, "fold_count", 1) > 1:
        click.echo("  what the other folds of evaluate hold out is in this part: only that of the first one is unseen")
    if study.record.outcomes:
        click.echo(f"  {len(study.record.outcomes) - 1:,} trials of this study are there already; going on")


@contextmanager
def _shown(study: Study, limits: Limits) -> Iterator[Told]:
    """Tells of trials: a bar with the best so far on a terminal, else a line for each new best."""
    if not sys.stderr.isatty():
        yield _line_teller(study.plan.metric.label)
        return
    label, known = study.plan.metric.label, len(study.record.outcomes)
    length = 1 + limits.trials if limits.trials is not None else max(int(60 * (limits.minutes or 0)), 1)
    with click.progressbar(length=length, label=f"{label} -", file=sys.stderr) as bar:
        bar.update(min(known, length) if limits.trials is not None else 0)

        def told(outcome: Outcome, best: Outcome) -> None:
            bar.label = f"{label} {best.figure or 0:.4f} (trial {best.number})"
            done = outcome.number + 1 if limits.trials is not None else int(outcome.spent)
            bar.update(max(min(done, length) - bar.pos, 0))

        yield told


def _line_teller(label: str) -> Callable[[Outcome, Outcome], object]:
    def told(outcome: Outcome, best: Outcome) -> None:
        if outcome.failed:
            click.echo(f"  trial {outcome.number}: failed, {outcome.failed}")
        elif outcome is best:
            what = "the config as it is" if outcome.number == 0 else "the best so far"
            click.echo(f"  trial {outcome.number}: {label} {outcome.figure:.4f}, {what} ({outcome.spent:.1f} s)")

    return told


def _show(result: Result) -> None:
    heading("Best")
    click.echo(f"  {result}")
    if result.best.number:
        paths = result.values
        lines = [[path, result.before.get(path, "-"), value] for path, value in paths.items()]
        show_table([["parameter", "was", "best"], *lines])
    click.echo("  the best of many trials is better on the users it was chosen by than on others; measure it once:")
    click.echo(f"  nbarec evaluate {shlex.quote(str(result.written[0]))}")
    heading("Written")
    for path in result.written:
        click.echo(f"  {path}")
