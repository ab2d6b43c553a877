"""What does learned ranking cost: learning from a million entries, and ranking 500 candidates of one user?

    python benchmarks/ranking.py [--runs 3] [--requests 500] [--only logistic,gbdt] [--json FILE]
    python benchmarks/ranking.py --rows 20000 --trees 5 --users 60 --runs 1 --requests 20    (tries it out)

Learns from made-up entries with 60 features, 5% of them unknown, in requests of 100 entries each: joining the examples,
training, calibration and the figures of the report are timed together. Then ranking_pipeline.yaml, fitted on a made-up
music world, answers one request after the other: the pool has about 500 songs, with all columns of the five feature
providers and three categories. Each runs in processes of its own; medians count. Prints seconds, AUC on
other entries, milliseconds of features and ranker, and whether the asks hold: under 60 s for `logistic`, under 180 s
for `gbdt` with 100 trees of depth 6, under 3 ms a request. Exits with 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench import machine
from bench.options import command, count, names
from bench.progress import steps
from bench.side_by_side import Measured, Place, Side, run
from bench.tables import digits, markdown, verdict
from bench.worlds import world_file

MILLION = 1_000_000

LONGEST: Mapping[str, float] = {"logistic": 60.0, "gbdt": 180.0}
"""Seconds that learning from a million entries may take."""

RANKERS = ("logistic", "fm", "gbdt", "multi")

MOST_MILLISECONDS = 3.0
"""That features and ranker of a request may take together."""

PARTS = ("features", "rank", "both", "tenth", "request")
"""What is timed of a request."""


@dataclass(frozen=True)
class Cost:
    """Runs of one ranker, and the figures of each."""

    ranker: str
    runs: tuple[Measured, ...]

    @property
    def seconds(self) -> float:
        """The median of the runs."""
        return median(one.seconds for one in self.runs)

    @property
    def processor(self) -> float:
        """The median of the runs, in processor seconds."""
        return median(one.processor for one in self.runs)

    def figure(self, name: str) -> float:
        """The median of the runs."""
        return median(one.figures[name] for one in self.runs)


def measured(side: Side, ranker: str, options: argparse.Namespace, place: Place) -> Cost:
    """So many runs of a task, each in a process of its own."""
    with steps(side.task.partition(":")[2], options.runs) as advance:
        runs = []
        for _ in range(options.runs):  # a step a run
            runs.append(run(side, place, figures=True))
            advance(1)
    return Cost(ranker, tuple(runs))


def learning(options: argparse.Namespace, place: Place) -> list[Cost]:
    """Learning, of the rankers that were asked for."""
    given = {"rows": options.rows, "features": options.features, "trees": options.trees}
    asked = [name for name in LONGEST if name in options.only]
    sides = [Side(name, f"bench.rankers:{name}_learning", options=given) for name in asked]
    return [measured(side, side.name, options, place) for side in sides]


def requests(options: argparse.Namespace, place: Place) -> list[Cost]:
    """Single requests, ranked by each that was asked for."""
    given = {"users": options.users, "requests": options.requests, "trees": options.trees}
    sides = [Side(name, f"bench.rankers:{name}_requests", options=given) for name in options.only]
    return [measured(side, side.name, options, place) for side in sides]


def learnt_in_time(cost: Cost, options: argparse.Namespace) -> bool | None:
    """Whether learning was quick enough; None where it is not judged: of fewer entries or trees than are asked for."""
    if options.rows < MILLION or options.features < 60 or (cost.ranker == "gbdt" and options.trees < 100):
        return None
    return bool(cost.seconds < LONGEST[cost.ranker] * options.rows / MILLION)


def served_in_time(cost: Cost, options: argparse.Namespace) -> bool | None:
    """Whether a request was; None where it is not judged."""
    if cost.ranker == "gbdt" and options.trees < 100:
        return None
    return cost.figure("both") < MOST_MILLISECONDS


def _learnt_row(cost: Cost, hold: bool | None) -> list[str]:
    figures = [digits(cost.seconds), digits(cost.processor), digits(cost.figure("auc"), 4)]
    return [cost.ranker, *figures, f"< {LONGEST[cost.ranker]:g} s", verdict(hold)]


def _served_row(cost: Cost, hold: bool | None) -> list[str]:
    times = [f"{digits(cost.figure(part))} ms" for part in PARTS]
    return [cost.ranker, digits(cost.figure("entries")), *times, f"< {MOST_MILLISECONDS:g} ms", verdict(hold)]


def tables(
    learnt: Sequence[Cost], served: Sequence[Cost], options: argparse.Namespace
) -> tuple[str, list[bool | None]]:
    """What is printed, and whether each ask holds."""
    told: list[str] = []
    holds = [[learnt_in_time(cost, options) for cost in learnt], [served_in_time(cost, options) for cost in served]]
    if learnt:
        header = ["learning", "seconds", "of the processor", "AUC", "asked", "holds"]
        rows = [_learnt_row(*one) for one in zip(learnt, holds[0], strict=True)]
        told.append(f"{options.rows:,} entries x {options.features} features\n\n{markdown(header, rows)}")
    if served:
        header = [
            "a request",
            "entries",
            "features",
            "ranker",
            "both",
            "fastest tenth",
            "with all stages",
            "asked",
            "holds",
        ]
        told.append(markdown(header, [_served_row(*one) for one in zip(served, holds[1], strict=True)]))
    return "\n\n".join(told), [*holds[0], *holds[1]]


def parsed() -> argparse.Namespace:
    """The options."""
    parser = command(__doc__)
    asked = names("ranker", RANKERS)
    parser.add_argument("--rows", type=count, default=MILLION, help="entries to learn from; default: %(default)s")
    parser.add_argument("--features", type=count, default=60, help="of each entry; default: %(default)s")
    parser.add_argument("--trees", type=count, default=100, help="of gbdt; default: %(default)s")
    parser.add_argument("--users", type=count, default=600, help="of the music world; default: %(default)s")
    parser.add_argument("--requests", type=count, default=500, help="that are timed in a run; default: %(default)s")
    parser.add_argument("--runs", type=count, default=3, help="of each; medians count; default: %(default)s")
    parser.add_argument(
        "--only", type=asked, metavar="NAME,...", default=",".join(RANKERS), help="default: %(default)s"
    )
    parser.add_argument("--skip", choices=["learning", "requests"], help="leave one of the two tables out")
    return parser.parse_args()


def main() -> int:
    """Measure, print, write; 1 where an ask is missed."""
    options = parsed()
    # Children are given a world's file, which these tasks don't read.
    place = Place(world_file("tiny", options.cache), options.cache, options.workers)
    parts: Mapping[str, Callable[[argparse.Namespace, Place], list[Cost]]] = {
        "learning": learning,
        "requests": requests,
    }
    learnt, served = ([] if name == options.skip else part(options, place) for name, part in parts.items())
    text, holds = tables(learnt, served, options)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    print(f"{machine.line()}; {options.workers} workers; load {load}\n\n{text}")
    if options.json:
        found = {"learning": [asdict(cost) for cost in learnt], "requests": [asdict(cost) for cost in served]}
        told = {"command": sys.argv, "machine": machine.facts(), **found}
        options.json.write_text(json.dumps(told, indent=1), "utf-8")
    return int(any(hold is False for hold in holds))


if __name__ == "__main__":
    sys.exit(main())
