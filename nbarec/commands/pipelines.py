"""Commands that start from a config: run, fit, evaluate, validate."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path

import click

from nbarec.batch import Slate, Trace
from nbarec.commands.evaluations import Cost, show_evaluation, show_evaluations
from nbarec.commands.terminal import (
    heading,
    progress,
    set_option,
    show_data,
    show_failed,
    show_table,
    show_trace,
    watched,
)
from nbarec.commands.writing import history_text, slate_text, write_slates
from nbarec.errors import ConfigError, Problem
from nbarec.evaluation_plan import EvaluationPlan
from nbarec.model import Model
from nbarec.peak_memory import forget_peak, peak_bytes
from nbarec.pipeline import Pipeline
from nbarec.reports import Evaluation, replacing, write_json
from nbarec.run_costs import RunCost

SAMPLES = 3


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the results; runs/NAME if left out.")
@set_option
def run(config: Path, out: Path | None, overrides: Mapping[str, str]) -> None:
    """Check, load, evaluate (where CONFIG says so), fit on everything, and recommend to every user.

    Writes DIR/model, DIR/recommendations.csv, and with an evaluation DIR/evaluation.json and
    DIR/evaluation_users.csv; what it took stands in DIR/run.json. `nbarec report DIR` makes a page of all that.

    \b
    Example:
      nbarec run configs/music.yaml
      nbarec run configs/movielens.yaml --out runs/ml --set slate.k=20
    """
    pipeline = Pipeline.from_yaml(config, overrides)
    folder = out or Path("runs") / config.stem
    folder.mkdir(parents=True, exist_ok=True)
    forget_peak()
    start = time.perf_counter()
    with progress():
        data = pipeline.load()
        show_data(data)
        written = [folder / "model", folder / "recommendations.csv"]
        if pipeline.plan is not None:
            evaluation, _ = pipeline.plan.run(pipeline, data)
            show_evaluation(evaluation)
            written += evaluation.write(folder / "evaluation.json")
        else:
            _remove_evaluation(folder)
        model = pipeline.fit(data)
        model.save(written[0])
        total, not_full = _recommend_all(model, written[1])
    RunCost(time.perf_counter() - start, peak_bytes()).write(folder)
    heading(f"Stages, serving {len(model.data.users):,} users")
    show_trace({stage: fitted.seconds for stage, fitted in model.fitted.items()}, total.trace)
    for line in not_full:
        click.echo(f"  {line}")
    _show_samples(model, total)
    heading("Written")
    for path in written:
        click.echo(f"  {path}")


def _remove_evaluation(folder: Path) -> None:
    """Figures of an earlier run must not stand beside a model that they do not describe."""
    for name in ("evaluation.json", "evaluation_users.csv"):
        if (folder / name).exists():
            (folder / name).unlink()
            click.echo(f"  {folder / name} of an earlier run is removed: this config has no evaluate section")


def _recommend_all(model: Model, path: Path) -> tuple[Slate, list[str]]:
    """Write everybody's slates; returns the first batch's slates under the trace of all, and what to say of users
    whose slates are not full."""
    first: list[Slate] = []
    traces: list[Trace] = []
    lacking: Counter[str] = Counter()
    such_as: dict[str, str] = {}

    def noted() -> Iterator[Slate]:
        for slate in watched(model.stream(model.data.users), len(model.data.users)):
            first[:] = first or [slate]
            traces.append(slate.trace)
            for user, decision in zip(slate.users, slate.decision, strict=True):
                if decision:
                    kind = "an empty slate" if decision.startswith("empty") else "a short slate"
                    lacking[kind] += 1
                    such_as.setdefault(kind, f"{user} ({decision})")
            yield slate

    with replacing(path) as file:
        write_slates(noted(), file, "csv", model.data)
    said = [f"{lacking[kind]:,} users get {kind}, such as {one}" for kind, one in such_as.items()]
    return replace(first[0], trace=reduce(Trace.plus, traces)), said


def _show_samples(model: Model, slate: Slate) -> None:
    """A few users with a history, what they liked, and what they get."""
    heading("Sample slates")
    served = [row for row in range(len(slate)) if slate.trace.events[row] and slate.item[row, 0] >= 0]
    for row in served[:SAMPLES]:
        click.echo(f"  {slate_text(slate, row, model.data)}".replace("\n", "\n  "))
        click.echo(f"    {history_text(model.data, row)}")


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--model", "folder", type=click.Path(path_type=Path), required=True, help="Folder to save the model in.")
@set_option
def fit(config: Path, folder: Path, overrides: Mapping[str, str]) -> None:
    """Fit CONFIG on all its data and save the model.

    \b
    Example:
      nbarec fit configs/music.yaml --model models/music
    """
    pipeline = Pipeline.from_yaml(config, overrides)
    with progress():
        data = pipeline.load()
        show_data(data)
        model = pipeline.fit(data)
        model.save(folder)
    heading("Stages")
    show_table([["stage", "fit s"], *([stage, f"{one.seconds:.3f}"] for stage, one in model.fitted.items())])
    show_failed((stage, one.failed) for stage, one in model.fitted.items())
    heading("Written")
    click.echo(f"  {folder}")


@click.command()
@click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the figures, and each user's beside.",
)
@set_option
def evaluate(configs: tuple[Path, ...], file: Path | None, overrides: Mapping[str, str]) -> None:
    """Hold out events as each of CONFIGS says, fit on the rest, and measure every list of it.

    Of several configs one table is shown, with the time and the peak memory of each.

    \b
    Example:
      nbarec evaluate configs/movielens.yaml
      nbarec evaluate configs/a.yaml configs/b.yaml --json figures.json --set slate.k=20
    """
    plans = _plans({str(config): Pipeline.from_yaml(config, overrides) for config in configs})
    found: dict[str, Evaluation] = {}
    costs: dict[str, Cost] = {}
    with progress():
        for config, (pipeline, plan) in plans.items():
            forget_peak()
            start = time.perf_counter()
            data = pipeline.load()
            show_data(data)
            found[config], _ = plan.run(pipeline, data)
            costs[config] = Cost(time.perf_counter() - start, peak_bytes())
    alone = len(found) == 1
    if alone:
        show_evaluation(next(iter(found.values())), next(iter(costs.values())))
    else:
        show_evaluations(found, costs)
    if file is not None and alone:
        next(iter(found.values())).write(file)
    elif file is not None:
        write_json(file, {"configs": {config: one.to_json() for config, one in found.items()}})


def _plans(pipelines: Mapping[str, Pipeline]) -> Mapping[str, tuple[Pipeline, EvaluationPlan]]:
    """What each config is to be evaluated by. Raises ConfigError naming all that do not say, before any is run."""
    planned = {config: (pipeline, pipeline.plan) for config, pipeline in pipelines.items() if pipeline.plan is not None}
    lacking = [config for config in pipelines if config not in planned]
    if lacking:
        said = "has no evaluate section; add one with a split and metrics"
        raise ConfigError([Problem(f"{config} {said}") for config in lacking])
    return planned


@click.command()
@click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path))
@set_option
def validate(configs: tuple[Path, ...], overrides: Mapping[str, str]) -> None:
    """Check CONFIGS without reading any data; every error is shown at once.

    \b
    Example:
      nbarec validate configs/music.yaml
    """
    problems: list[Problem] = []
    for config in configs:
        try:
            stages = Pipeline.from_yaml(config, overrides).stages.all()
        except ConfigError as error:
            problems.extend(error.problems)
        else:
            click.echo(f"{config}: fine, {len(stages)} stages: {', '.join(stage.id for stage in stages)}")
    if problems:
        raise ConfigError(problems)
