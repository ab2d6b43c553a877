"""How much memory a process and all that it has started hold together, read from outside while they work.

PSS, the proportional set size, counts a page that n processes share as an n-th in each, so that a sum over processes
counts it once. Only Linux tells it. Reading takes the kernel some milliseconds a gigabyte, so where seconds count as
well, it is read less often.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

PROC = Path("/proc")
KNOWN = (PROC / "self" / "smaps_rollup").is_file()
"""Whether this system tells the PSS."""

OFTEN, SELDOM = 0.3, 0.02
"""The share of a processor that reading may take: where memory alone is measured, and where seconds are as well."""

LEAST_PAUSE = 0.003
"""Seconds between two readings, at least."""


def peak_of_this_process() -> float:
    """The most megabytes that this process alone has ever held; NaN where the system doesn't say."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def megabytes(process: int) -> float:
    """The PSS of a process and its descendants; 0 where none is alive, NaN where the system doesn't say."""
    return sum(map(_own, tree(process))) if KNOWN else float("nan")


def _own(process: int) -> float:
    with suppress(OSError):  # ended meanwhile
        found = re.search(rb"^Pss: +(\d+) kB", (PROC / str(process) / "smaps_rollup").read_bytes(), re.MULTILINE)
        return int(found[1]) * 1024 / 1e6 if found else 0.0
    return 0.0


def tree(process: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                # "pid (name) state parent ...", and a name may hold brackets and spaces.
                parent = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found = [process]
    for one in found:  # grows as it is read
        found += children.get(one, [])
    return found


class Peak:
    """The most megabytes that were read so far."""

    def __init__(self) -> None:
        self.most = 0.0 if KNOWN else float("nan")

    def look(self, process: int) -> None:
        """Read once more."""
        self.most = max(self.most, megabytes(process))


@contextmanager
def watched(process: int, share: float) -> Iterator[Peak]:
    """Within this block a thread reads what a process and its descendants hold, by `share` of a processor at most."""
    peak, done = Peak(), Event()

    def watch() -> None:
        while not done.is_set():
            before = time.thread_time()
            peak.look(process)
            done.wait(max(LEAST_PAUSE, (time.thread_time() - before) / share))

    if not KNOWN:
        yield peak
        return
    thread = Thread(target=watch, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
