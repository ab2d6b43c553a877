"""How long does one wait: for one user's slate, a saved model, the command line, a million events from CSV?

    NBAREC_DATA=... python benchmarks/latency.py [--requests 1000] [--refit] [--json FILE]
    python benchmarks/latency.py --data tiny     (tries it out)

The pipeline of gowalla_pipeline.yaml, fitted on Gowalla once and kept in the cache (--refit: anew), answers one request
after the other from Python, in a fresh process after a few that warm up: of users that it knows, and of unknown ones
who bring 20 items. Then that model is loaded, with and without the digests of its files being checked; `nbarec --help`
is started; a million events are read. Prints a Markdown table and exits with 1 where an ask is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import csv_load
from bench import machine
from bench.options import command, count
from bench.progress import steps
from bench.side_by_side import Place, Side, run
from bench.tables import digits, markdown, verdict
from bench.whole import model_folder
from bench.worlds import world_file

FIT = Side("fit", "bench.whole:fit")
KNOWN, UNKNOWN = Side("known users", "bench.whole:known_users"), Side("unknown users", "bench.whole:unknown_users")
LOADING = Side("loading", "bench.whole:loading")

STARTS = 11
"""How often the command line is started, and the model loaded; medians count."""

HELP = [sys.executable, "-c", "from nbarec.cli import main; main()", "--help"]
"""What the command `nbarec --help` runs."""


@dataclass(frozen=True)
class Wait:
    """How long something took, in a unit, and the most that is asked; None where nothing is."""

    what: str
    measured: float
    unit: str
    asked: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether it is below; None where nothing is asked."""
        return None if self.asked is None else self.measured < self.asked

    def line(self, *, judged: bool) -> list[str]:
        """What stands in the table."""
        asked = "" if self.asked is None else f"< {self.asked:g} {self.unit}"
        return [self.what, f"{digits(self.measured)} {self.unit}", asked, verdict(self.holds if judged else None)]


def requests(place: Place, count: int) -> list[Wait]:
    """One request at a time."""
    known, unknown = (run(side.given(requests=count), place, figures=True).figures for side in (KNOWN, UNKNOWN))
    return [
        Wait("known user, p50", known["p50"], "ms", 5),
        Wait("known user, p99", known["p99"], "ms", 15),
        Wait("unknown user with 20 items, p50", unknown["p50"], "ms", 8),
        Wait("unknown user with 20 items, p99", unknown["p99"], "ms"),
    ]


def loads(place: Place, times: int) -> list[Wait]:
    """The saved model, loaded by fresh processes which have imported all plugins."""
    bare = [run(LOADING, place, figures=True) for _ in range(times)]
    checked = [run(LOADING.given(verify=1), place) for _ in range(times)]
    size = f"{bare[0].figures['megabytes']:,.0f} MB"
    return [
        Wait(f"loading a model of {size}", 1e3 * median(one.seconds for one in bare), "ms", 50),
        Wait(f"the same, {size} checked by digests", 1e3 * median(one.seconds for one in checked), "ms"),
    ]


def start_up(times: int) -> list[Wait]:
    """The command line."""
    return [Wait("`nbarec --help`", median(_seconds_of(HELP) for _ in range(times)), "s", 0.3)]


def _seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def reading(rows: int) -> list[Wait]:
    """Events from CSV, as `csv_load.py` has it."""
    found = csv_load.measured(rows, "epoch")
    return [Wait(f"{rows:,} events from CSV ({found['size']:.0f} MB)", found["seconds"], "s", csv_load.MOST_SECONDS)]


def parsed() -> argparse.Namespace:
    """The options."""
    parser = command(__doc__)
    parser.add_argument("--data", choices=["gowalla", "tiny"], default="gowalla", help="default: %(default)s")
    parser.add_argument("--requests", type=count, default=1000, help="of each kind; default: %(default)s")
    parser.add_argument("--refit", action="store_true", help="fit the pipeline anew even if it is in the cache")
    return parser.parse_args()


def main() -> int:
    """Measure, print, write; 1 where an ask is missed."""
    options = parsed()
    place = Place(world_file(options.data, options.cache), options.cache, options.workers)
    judged = options.data != "tiny"
    times = STARTS if judged else 1
    parts: list[Callable[[], list[Wait]]] = [
        lambda: requests(place, options.requests),
        lambda: loads(place, times),
        lambda: start_up(times),
        lambda: reading(1_000_000 if judged else 10_000),
    ]
    waits: list[Wait] = []
    with steps("latency", len(parts) + 1) as advance:
        if options.refit or not model_folder(options.data, options.cache).is_dir():
            run(FIT, place, figures=True)
        advance(1)
        for part in parts:
            waits += part()
            advance(1)
    print(f"{machine.line()}\n")
    print(markdown(["", "measured", "asked", "holds"], [wait.line(judged=judged) for wait in waits]))
    if options.json:
        told = {"command": sys.argv, "machine": machine.facts(), "waits": [asdict(wait) for wait in waits]}
        options.json.write_text(json.dumps(told, indent=1), "utf-8")
    return int(judged and any(wait.holds is False for wait in waits))


if __name__ == "__main__":
    sys.exit(main())
