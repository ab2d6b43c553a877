"""How do seconds and memory grow with the events? Each kernel and a whole fit, on made-up worlds of growing size.

    python benchmarks/growth.py [--only als,knn] [--scales 1,3,10,30] [--json FILE] [--svg FILE]
    python benchmarks/growth.py --events 20000 --scales 1,3 --only csr,als     (tries it out)

A world of 1 million events has 40,000 users and 10,000 items. Users grow with the events, each doing as much as before:
a service grows by its audience. Items grow by the square root, slower: so do catalogues. Each kernel runs in a process
of its own. Prints Markdown tables of seconds and of megabytes (PSS of all processes: above the loaded input, and in
all), the slope of each on logarithmic axes by least squares, where 1 is linear, and what that comes to at a billion
events: an extrapolation, nothing that was run.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench import machine, memory
from bench.options import command, names
from bench.plots import lines, short
from bench.progress import steps
from bench.questions import decomposition, nbarec
from bench.side_by_side import Measured, Place, Side, run
from bench.tables import digits, markdown, megabytes
from bench.worlds import GROWTH, GROWTH_EVENTS, shape_of, world_file

BILLION = 1e9

SERVED = 1000
"""Users whom user_cf serves at every size: each is compared with all others."""

KERNELS: Mapping[str, tuple[str, Side]] = {
    "csr": ("sparse rows from pairs in random order", nbarec("sparse_matrix")),
    "knn": ("the 100 most similar items of every item", nbarec("item_neighbours")),
    "als": ("ALS, 64 factors, 15 sweeps", nbarec("als")),
    "svd": ("64 singular values and vectors", decomposition("singular_values", components=64)),
    "nmf": ("32 factors, 30 passes", decomposition("nmf", iterations=30)),
    "topk": ("the 20 best unseen items of every user, 64 factors", nbarec("top_items")),
    "user_cf": (f"serving {SERVED:,} users by their neighbours among all", nbarec("like_minded", users=SERVED)),
    "fit": ("a whole pipeline: item_cf, user_cf, als, nmf and popularity", nbarec("whole_fit")),
}

COLUMNS: Sequence[tuple[str, str, Callable[[float], str]]] = (
    ("Seconds", "seconds", digits),
    ("Megabytes above the loaded input", "added", megabytes),
    ("Megabytes in all", "total", megabytes),
)
"""The tables: what each shows, and of which attribute of a run."""

BEFORE = {"topk": nbarec("store_factors")}
"""What a kernel needs in the cache."""


@dataclass(frozen=True)
class Line:
    """Measures of one kernel at growing numbers of events, and the power law that is closest: scale x events^slope."""

    events: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def law(self) -> tuple[float, float]:
        """Scale and slope by least squares of logarithms; NaN where a value is not above 0 or there is only one."""
        if len(self.events) < 2 or not all(value > 0 for value in self.values):
            return math.nan, math.nan
        slope, start = np.polyfit(np.log(self.events), np.log(self.values), 1).tolist()
        return math.exp(start), slope

    def at(self, events: float) -> float:
        """What the law says of so many events."""
        scale, slope = self.law
        return scale * math.exp(slope * math.log(events))

    def cells(self, told: Sequence[str]) -> list[str]:
        """What stands in a table: the values as told, the slope, and the value at a billion events."""
        return [*told, digits(self.law[1], 2), digits(self.at(BILLION), 2)]


def measured(names: Sequence[str], sizes: Sequence[int], cache: Path, workers: int) -> dict[str, list[Measured]]:
    """Every kernel at every size."""
    found: dict[str, list[Measured]] = {name: [] for name in names}
    with steps("growth", len(names) * len(sizes)) as advance:
        # A step a world, and in it one a kernel: only one world is drawn at a time.
        for size in sizes:
            place = Place(world_file(f"{GROWTH}{size}", cache), cache, workers)
            for name in names:
                if name in BEFORE:
                    run(BEFORE[name], place)
                found[name].append(run(KERNELS[name][1], place, share=memory.SELDOM))
                advance(1)
    return found


def laws(found: Mapping[str, Sequence[Measured]], sizes: Sequence[int], what: str) -> dict[str, Line]:
    """The line of each kernel in one attribute of its runs."""
    return {name: Line(tuple(sizes), tuple(getattr(one, what) for one in runs)) for name, runs in found.items()}


def report(found: Mapping[str, Sequence[Measured]], sizes: Sequence[int]) -> str:
    """What is printed."""
    worlds = [shape_of(f"{GROWTH}{size}") for size in sizes]
    header = ["kernel", *(short(size) for size in sizes), "slope", "at 1B"]
    of_worlds = [
        ["users", *(f"{world.users:,}" for world in worlds)],
        ["items", *(f"{world.items:,}" for world in worlds)],
    ]
    text = [machine.line(), "", markdown(["events", *header[1:-2]], of_worlds), ""]
    text += [f"* `{name}`: {KERNELS[name][0]}" for name in found]
    for title, what, told in COLUMNS:
        kernels = laws(found, sizes, what).items()
        rows = [[f"`{name}`", *line.cells([told(value) for value in line.values])] for name, line in kernels]
        text += [
            "",
            f"{title}, the slope, and what that comes to at 1B events (extrapolated):",
            "",
            markdown(header, rows),
        ]
    return "\n".join(text)


def record(found: Mapping[str, Sequence[Measured]], sizes: Sequence[int]) -> str:
    """Everything that was measured, as JSON."""
    kernels = {
        name: {
            "runs": [asdict(one) for one in runs],
            **{f"slope of {what}": laws(found, sizes, what)[name].law[1] for _, what, _ in COLUMNS},
        }
        for name, runs in found.items()
    }
    worlds = [asdict(shape_of(f"{GROWTH}{size}")) for size in sizes]
    whole = {"command": sys.argv, "machine": machine.facts(), "worlds": worlds, "kernels": kernels}
    return json.dumps(whole, indent=1)


def picture(found: Mapping[str, Sequence[Measured]], sizes: Sequence[int]) -> str:
    """Seconds by events, each line named with its slope."""
    named = {
        f"{name} ({digits(line.law[1], 2)})": list(zip(map(float, sizes), line.values, strict=True))
        for name, line in laws(found, sizes, "seconds").items()
    }
    return lines(f"Seconds by events, {machine.cores()} cores, and slopes", "events", "seconds", named)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = command(__doc__, more=f"\nKernels: {', '.join(KERNELS)}.")
    asked = names("kernel", KERNELS)
    parser.add_argument("--only", type=asked, default=list(KERNELS), metavar="NAME,...", help="kernels; default: all")
    parser.add_argument("--events", type=int, default=GROWTH_EVENTS, help="at scale 1; default: %(default)s")
    parser.add_argument("--scales", default="1,3,10,30", help="what to multiply events by; default: %(default)s")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write seconds by events as a picture")
    options = parser.parse_args()
    try:
        options.sizes = sorted({round(options.events * float(scale)) for scale in options.scales.split(",")})
    except ValueError:
        parser.error(f"--scales must be numbers separated by commas, not {options.scales!r}")
    if options.sizes[0] < 1000 or len(options.sizes) < 2:
        parser.error("a slope needs at least two sizes, and a world at least 1,000 events")
    return options


def main() -> int:
    """Run, print, write."""
    options = parsed()
    found = measured(options.only, options.sizes, options.cache, options.workers)
    print(report(found, options.sizes))
    if options.json:
        options.json.write_text(record(found, options.sizes), "utf-8")
    if options.svg:
        options.svg.write_text(picture(found, options.sizes), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
