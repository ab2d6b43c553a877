"""How evaluations are shown: one table for all configs, and below it what each tells beyond its figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from nbarec.commands.terminal import heading, show_table
from nbarec.reports import WHOLE_PIPELINE, Evaluation

QUALITY = "Quality (mean over {}, ± half of the 95% bootstrap interval)"


@dataclass(frozen=True)
class Cost:
    """What an evaluation took: `seconds` to read, fit and measure, and `peak` bytes of memory, None if unknown."""

    seconds: float
    peak: int | None

    @property
    def mebibytes(self) -> str:
        """The peak in MiB."""
        return "-" if self.peak is None else f"{self.peak / 2**20:,.0f}"


def show_evaluation(evaluation: Evaluation, cost: Cost | None = None) -> None:
    """What was held out, the quality of every list, and what else was measured of one config."""
    heading("Held out")
    for line in _held_out(evaluation):
        click.echo(f"  {line}")
    heading(_quality([evaluation]))
    show_table(evaluation.rows())
    _show_more("", evaluation)
    if cost is not None:
        heading("Cost")
        click.echo(f"  {cost.seconds:.3f} s to read, fit and measure; peak memory {cost.mebibytes} MiB")


def show_evaluations(found: Mapping[str, Evaluation], costs: Mapping[str, Cost]) -> None:
    """What every config held out, one table with a line a config and list, and what else was measured."""
    heading("Held out")
    for config, evaluation in found.items():
        for line in _held_out(evaluation):
            click.echo(f"  {config}: {line}")
    for line in not_comparable(found):
        click.echo(f"  {line}")
    heading(_quality(found.values()))
    show_table(compared(found, costs))
    for config, evaluation in found.items():
        _show_more(f" of {config}", evaluation)


def compared(found: Mapping[str, Evaluation], costs: Mapping[str, Cost]) -> list[list[str]]:
    """A header and a line a config and list, a column for each metric that any config has, empty where one has it not;
    the lines of whole slates tell what the config took."""
    metrics = list(dict.fromkeys(label for evaluation in found.values() for label in evaluation.metrics))
    lines = [["config: list", *metrics, "seconds", "peak MiB"]]
    for config, evaluation in found.items():
        for stage, report in {**evaluation.stages, WHOLE_PIPELINE: evaluation.slate}.items():
            cells = [str(report.figures[label]) if label in report.figures else "" for label in metrics]
            cost = [f"{costs[config].seconds:.3f}", costs[config].mebibytes] if report is evaluation.slate else ["", ""]
            lines.append([f"{config}: {stage}", *cells, *cost])
    return lines


def not_comparable(found: Mapping[str, Evaluation]) -> list[str]:
    """What to say where configs are not measured by the same held-out items of the same users; nothing if they are."""
    groups: dict[str, list[str]] = {}
    for config, evaluation in found.items():
        groups.setdefault(evaluation.relevant, []).append(config)
    if len(groups) < 2:
        return list(_not_by_weight(found.values()))
    told = "; ".join(f"{', '.join(configs)} alone" for configs in groups.values())
    return [
        "NOT COMPARABLE: these configs are not measured by the same held-out items of the same users, so their figures "
        "must not be set against each other.",
        f"Only within a group are they comparable: {told}. Give all the same data, seed and evaluate section.",
    ]


def _not_by_weight(found: Iterable[Evaluation]) -> Iterator[str]:
    """What to say where the same held-out items have other weights."""
    if len({evaluation.weights for evaluation in found if evaluation.weights}) > 1:
        yield (
            "NOT COMPARABLE by metrics that go by the weights of held-out events, such as ndcg_graded: the configs "
            "weigh them differently."
        )


def _quality(evaluations: Iterable[Evaluation]) -> str:
    """Over what the figures are means: users, requests, or of several configs either."""
    over = dict.fromkeys("users" if one.requests is None else "requests" for one in evaluations)
    return QUALITY.format(" or ".join(over))


def _held_out(evaluation: Evaluation) -> Sequence[str]:
    users, without = evaluation.people, evaluation.skipped
    requests = "" if evaluation.requests is None else f"{len(evaluation.requests):,} requests of "
    return (*evaluation.holdout, f"{requests}{users:,} users measured, {without:,} without a relevant held-out item")


def _show_more(whose: str, evaluation: Evaluation) -> None:
    """Where items were left, the segments, the variants of a config, and its cold starts."""
    if evaluation.losses is not None:
        heading(f"Where quality is lost{whose}: {evaluation.losses.pairs:,} held-out items, step by step")
        show_table(evaluation.losses.rows())
        click.echo()
        show_table(evaluation.losses.generator_rows())
    for segments in evaluation.segments:
        heading(f"By {segments.by}{whose}: the whole slate")
        show_table(segments.rows())
    if evaluation.variants:
        heading(f"Variants{whose}: the whole slate")
        show_table(evaluation.variant_rows())
    if evaluation.findings:
        heading(f"Findings{whose}: of {', '.join(evaluation.findings)}; the JSON has them")
    for table in evaluation.cold_starts:
        measured = len(table.rows[0].evaluation.users)
        heading(f"New {table.what}{whose}: {table.metric} by how many events are known ({measured:,} users)")
        show_table(table.lines())
