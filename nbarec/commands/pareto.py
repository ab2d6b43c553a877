"""The command that weighs two objectives against each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from nbarec.commands.terminal import heading, progress, set_option, show_data, show_table
from nbarec.errors import ConfigError, Mark, Problem
from nbarec.grids import Setting, Varied, settings_of
from nbarec.pareto import Objective, Pareto, Part, measured_front
from nbarec.pipeline import Pipeline

BARE: Mapping[str, object] = {
    "evaluate.variants": {},
    "evaluate.segments": [],
    "evaluate.stage_losses": False,
    "evaluate.cold_start": None,
}
"""What an evaluation asks for beside the two objectives is not measured here."""


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--vary",
    "varied",
    multiple=True,
    required=True,
    metavar="PATH=V1,V2,...",
    help="The values of a key, written as --set takes them. Repeated, every combination is measured.",
)
@click.option(
    "--objectives", required=True, metavar="NAME@K,NAME@K", help="Two metrics; minimise:NAME@K where less is better."
)
@click.option(
    "--part",
    type=click.Choice(["validation", "test"]),
    default="validation",
    help="Measure on a part of the training events that is held out as well, or on what evaluate holds out.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write in; runs/NAME-pareto if left out.")
@set_option
def pareto(
    config: Path,
    varied: tuple[str, ...],
    objectives: str,
    part: Part,
    output: Path | None,
    overrides: Mapping[str, str],
) -> None:
    """Which settings of CONFIG are the best bargains between two objectives?

    Every setting is fitted and measured; those that no other one beats in one objective without losing in the other are
    on the front. Writes DIR/pareto.json and DIR/pareto.svg. Stages that two settings share are fitted once: of several
    --vary, put first what takes longest to fit.

    \b
    Example:
      nbarec pareto configs/diversity.yaml --vary filters.unlike.with.relevance=0.3,0.5,0.7,0.9 \\
        --objectives ndcg@10,diversity@10
    """
    asked = _two(objectives)
    pipeline, settings = _prepared(config, [Varied.of(text) for text in varied], asked, overrides)
    with progress():
        data = pipeline.load()
        show_data(data)
        found = measured_front(pipeline, data, settings, asked, part)
    _show(found)
    written = found.write(output or Path("runs") / f"{config.stem}-pareto")
    heading("Written")
    for path in written:
        click.echo(f"  {path}")


def _two(text: str) -> tuple[Objective, Objective]:
    listed = [Objective.of(one) for one in text.split(",")]
    if len(listed) != 2 or len({one.label for one in listed}) != 2:
        raise click.UsageError(f"--objectives takes two metrics, such as ndcg@10,novelty@10, not {text!r}")
    return listed[0], listed[1]


def _prepared(
    config: Path, varied: list[Varied], objectives: tuple[Objective, Objective], overrides: Mapping[str, str]
) -> tuple[Pipeline, list[Setting]]:
    """The pipeline as configured and every setting, all with the objectives as metrics."""
    pipeline = Pipeline.from_yaml(config, overrides)
    if pipeline.plan is None:
        raise ConfigError(f"{config} has no evaluate section; add one with a split and metrics")
    measured = {**BARE, "evaluate.metrics": [one.label for one in objectives]}
    try:
        pipeline = pipeline.with_values(measured)
    except ConfigError as error:
        raise ConfigError([_of_objectives(problem) for problem in error.problems]) from None
    return pipeline, settings_of(pipeline, varied)


def _of_objectives(problem: Problem) -> Problem:
    """The problem of a metric, under the option that names it."""
    of_metrics = problem.mark is not None and problem.mark.source == "--set evaluate.metrics"
    return Problem(problem.message, Mark("--objectives", 1, 1)) if of_metrics else problem


def _show(found: Pareto) -> None:
    heading("Held out")
    for line in found.holdout:
        click.echo(f"  {line}")
    if found.part == "validation":
        click.echo("  this is a part of the training events: what evaluate holds out was not read")
    else:
        click.echo("  THE TEST PART: a setting that is chosen by these figures will look better than it is")
    click.echo(f"  {found.measured} measured")
    first, second = found.objectives
    heading(f"{first.label} ({first.wish}) against {second.label} ({second.wish}); ± half of the 95% interval")
    show_table(found.rows())
    click.echo(f"\n  {len(found.front)} of {len(found.points)} settings are on the front: no other is better in one")
    click.echo("  objective without being worse in the other")
