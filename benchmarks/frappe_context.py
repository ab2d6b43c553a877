"""What does context add to the ranking of apps? Frappe, with paired differences.

    NBAREC_DATA=... python benchmarks/frappe_context.py [--set PATH=VALUE]
    NBAREC_DATA=... python benchmarks/frappe_context.py --set "evaluate.split={use: random, fraction: 0.05}"

Evaluates configs/frappe.yaml with all its variants in one go, as `nbarec evaluate` does, and compares the slates of
each ranker with context to those without context, and to the blend alone: the difference of the means over requests,
its 95% interval by a paired bootstrap over users, and p by sign flips, corrected for both metrics (Holm). The second
command is what its parameters were chosen by: it holds out a part of the training file and reads nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from bench.tables import markdown
from nbarec import Pipeline
from nbarec.comparing import compare
from nbarec.evaluation_files import MeasuredList
from nbarec.figures import Report
from nbarec.reports import Evaluation

CONFIG = Path(__file__).parents[1] / "configs" / "frappe.yaml"

CONTEXT, BLEND = "gbdt", "blend alone"
"""What the slates as configured are called, and the list of the stage `mixed`."""

PAIRS = (
    (f"{CONTEXT} without context", CONTEXT),
    ("gbdt without context", "gbdt, this very context not counted"),
    ("fm without context", "fm"),
    (BLEND, CONTEXT),
    (BLEND, "fm"),
    (BLEND, "gbdt without context"),
    ("fm", CONTEXT),
)
"""First and second: the difference is that of the second."""


def lists(evaluation: Evaluation) -> dict[str, MeasuredList]:
    """The slates of each setting, and the blend's own list."""
    reports = {CONTEXT: evaluation.slate, BLEND: evaluation.stages["mixed"], **evaluation.variants}
    return {name: _measured(evaluation, name, report) for name, report in reports.items()}


def _measured(evaluation: Evaluation, name: str, report: Report) -> MeasuredList:
    return MeasuredList(
        path=CONFIG,
        name=name,
        holdout=evaluation.holdout,
        relevant=evaluation.relevant,
        users=evaluation.users,
        figures={label: figure.mean for label, figure in report.figures.items()},
        values=report.values,
        requests=None if evaluation.requests is None else tuple(map(str, evaluation.requests)),
    )


def differences(measured: dict[str, MeasuredList], pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """A line for each pair and metric."""
    rows = []
    for first, second in pairs:  # a step a pair
        found = compare([measured[first], measured[second]], {})[0]
        rows += [[f"{second} - {first}", *cells] for cells in found.rows()[1:]]
    return rows


def main() -> int:
    """Evaluate, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="*", default=[], metavar="PATH=VALUE", help="Other values, as `nbarec --set`.")
    options = parser.parse_args()
    given = (pair.partition("=") for pair in options.set)
    pipeline = Pipeline.from_yaml(CONFIG, {path: yaml.safe_load(value) for path, _, value in given})
    if pipeline.plan is None:
        raise SystemExit("frappe.yaml has no evaluate section")
    evaluation, _ = pipeline.plan.run(pipeline, pipeline.load())
    header = evaluation.rows()[0]
    named = [[CONTEXT, *evaluation.slate.row()], [BLEND, *evaluation.stages["mixed"].row()]]
    named += [[name, *report.row()] for name, report in evaluation.variants.items()]
    print(f"{len(evaluation.requests or ()):,} requests; {'; '.join(evaluation.holdout)}\n")
    print(markdown(["ranked by", *header[1:]], named))
    columns = ["difference", "metric", "first", "second", "difference", "95% interval", "p bootstrap", "p sign flips"]
    print(f"\n{markdown(columns, differences(lists(evaluation), PAIRS))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
