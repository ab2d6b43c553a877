"""Peak memory of this process: how much it held at most since somebody last asked."""

from __future__ import annotations

import sys
from pathlib import Path

RESET = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")
FORGET_PEAK = "5"
"""What Linux is told to take today's memory as the new peak (proc(5), clear_refs)."""


def forget_peak() -> None:
    """From now on `peak_bytes` tells of what comes; where the system can't do so, of the whole process as before."""
    try:
        RESET.write_text(FORGET_PEAK)
    except OSError:
        return


def peak_bytes() -> int | None:
    """The most memory that the process held since `forget_peak`, in bytes; None where the system doesn't tell."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return _peak_of_process()
    told = next((line.split() for line in lines if line.startswith("VmHWM:")), None)
    return 1024 * int(told[1]) if told else _peak_of_process()


def _peak_of_process() -> int | None:
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return None
    most = getrusage(RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else 1024 * most)
