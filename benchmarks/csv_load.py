"""How fast and how small is loading one million events from CSV? Asked: under 4 s and under 400 MB on 2 cores.

    python benchmarks/csv_load.py [--rows 1000000] [--times iso]

Writes a file of random events to a temporary folder, loads it in a fresh process through the `csv` data source, and
prints seconds and peak memory of that process. Exits with 1 where either is above what is asked.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

MOST_SECONDS = 4.0
MOST_MEGABYTES = 400.0
USERS, ITEMS = 50_000, 20_000
BLOCK = 50_000

LOAD = """
import json, sys, time
from nbarec_plugins.sources import Csv
fields = {"user": "user_id", "item": "item_id", "time": "time", "kind": "event", "value": "value"}
start = time.perf_counter()
data = Csv(events={"path": sys.argv[1], "columns": fields}).load()
seconds = time.perf_counter() - start
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
except ImportError:  # Windows
    peak = float("nan")
print(json.dumps({"events": len(data.events), "seconds": seconds, "megabytes": peak}))
"""


def write_events(path: Path, rows: int, times: str) -> None:
    """Random events, popular items being played more often."""
    rng = np.random.default_rng(42)
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write("user_id,item_id,time,event,value\n")
        # In blocks: on Linux a child's peak memory is never below what its parent held when it was started.
        for start in range(0, rows, BLOCK):
            columns = random_columns(min(BLOCK, rows - start), times, rng)
            file.writelines(f"{','.join(row)}\n" for row in zip(*columns, strict=True))


def random_columns(rows: int, times: str, rng: np.random.Generator) -> list[np.ndarray]:
    """User, item, time, kind and value of `rows` events, as text."""
    seconds = rng.integers(1_600_000_000, 1_700_000_000, size=rows)
    return [
        np.strings.add("U", rng.integers(USERS, size=rows).astype(np.str_)),
        np.strings.add("S", (ITEMS * rng.random(rows) ** 3).astype(np.int64).astype(np.str_)),
        (seconds.astype("datetime64[s]") if times == "iso" else seconds).astype(np.str_),
        rng.choice(["play", "skip", "like"], size=rows, p=[0.7, 0.2, 0.1]),
        np.round(5 * rng.random(rows), 2).astype(np.str_),
    ]


def measured(rows: int, times: str) -> dict[str, float]:
    """How many `events` were read from a file of that `size` in megabytes, in how many `seconds`, and the peak
    `megabytes` of the process that did it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.csv"
        write_events(path, rows, times)
        size = path.stat().st_size / 1e6
        done = subprocess.run([sys.executable, "-c", LOAD, str(path)], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return {**found, "size": size}


def main() -> int:
    """Write, load, print; 1 where the measure is above what is asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", choices=["epoch", "iso"], default="epoch")
    options = parser.parse_args()
    found = measured(options.rows, options.times)
    print(
        f"{found['events']:,} events, {found['size']:.0f} MB of CSV ({options.times} times): "
        f"{found['seconds']:.2f} s (asked: {MOST_SECONDS:g}), peak {found['megabytes']:.0f} MB "
        f"(asked: {MOST_MEGABYTES:g})"
    )
    return int(found["seconds"] > MOST_SECONDS or found["megabytes"] > MOST_MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
