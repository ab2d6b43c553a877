"""How good is every candidate generator alone, on real data? The quality table of docs/results.md.

    NBAREC_DATA=... python benchmarks/generators.py [--data movielens lastfm] [--set candidates.als.with.factors=32]

Takes data, split and metrics from configs/movielens.yaml and configs/lastfm.yaml, puts every generator of the
collection in place of theirs, and prints each one's list, measured alone over the same users: a Markdown table with
half of the 95% bootstrap interval, and the seconds to fit it. The parameters are the defaults unless named here.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nbarec import Pipeline
from nbarec.reports import Evaluation

CONFIGS = Path(__file__).parents[1] / "configs"

PLACES = 100
"""How many items each generator proposes: more than any metric here looks at."""

EVERYWHERE: list[dict[str, object]] = [
    {"use": "random"},
    {"use": "popularity", "with": {"count": "users"}},
    {"use": "item_cf", "with": {"neighbors": 200, "shrink": 20}},
    {"use": "user_cf"},
    {"use": "als"},
    {"use": "nmf"},
    {"use": "pure_svd"},
    {"use": "spectral_ease"},
    {"use": "low_pass"},
    {"use": "p3alpha"},
    {"use": "rp3beta"},
    {"use": "slim"},
    {"use": "bpr"},
]
OF_DATA: dict[str, list[dict[str, object]]] = {
    "movielens": [
        {"use": "ease"},  # its matrix of 17,632 x 17,632 artists is beyond the usual memory
        {"use": "session"},
        {"use": "content", "with": {"fields": {"genres": 1.0, "release_year": 0.3}}},
    ],
    "lastfm": [{"use": "content", "with": {"fields": {"tags": 1.0}}}],
}


def measured(data: str, overrides: dict[str, object]) -> tuple[Evaluation, dict[str, float]]:
    """Every generator's list on the held-out events of a config's split, and the seconds to fit each."""
    candidates = [{**stage, "k": PLACES} for stage in (*EVERYWHERE, *OF_DATA[data])]
    bare = {"candidates": candidates, "rank": [], "filters": [], "slate": {"k": 10}, "evaluate.variants": {}}
    pipeline = Pipeline.from_yaml(CONFIGS / f"{data}.yaml", {**bare, **overrides})
    if pipeline.plan is None:
        raise SystemExit(f"{data}.yaml has no evaluate section")
    evaluation, model = pipeline.plan.run(pipeline, pipeline.load())
    return evaluation, {stage: fitted.seconds for stage, fitted in model.fitted.items()}


def markdown(evaluation: Evaluation, seconds: dict[str, float]) -> str:
    """The table, best first by nDCG."""
    header, *rows = evaluation.rows()
    figure = header.index("ndcg@10")
    by_figure = sorted((row for row in rows if row[0] in seconds), key=lambda row: row[figure], reverse=True)
    lines = [[*header, "fit s"], ["---"] * (len(header) + 1)]
    lines += [[f"`{row[0]}`", *row[1:], f"{seconds[row[0]]:.2f}"] for row in by_figure]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=sorted(OF_DATA), default=sorted(OF_DATA, reverse=True))
    parser.add_argument("--set", nargs="*", default=[], metavar="PATH=VALUE", help="Other values, as `nbarec --set`.")
    options = parser.parse_args()
    overrides = dict(pair.split("=", 1) for pair in options.set)
    for data in options.data:
        evaluation, seconds = measured(data, overrides)
        print(f"\n{data}: {len(evaluation.users):,} users; {evaluation.holdout[0]}\n")
        print(markdown(evaluation, seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
