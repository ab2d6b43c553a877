"""On what a benchmark ran: versions, processor, cores."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("nbarec", "numpy", "implicit", "lenskit", "scikit-learn", "scipy")


def cores() -> int:
    """How many processors this process may use."""
    with suppress(AttributeError):  # macOS, Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def facts() -> dict[str, str | int]:
    """What to tell of the machine and of what is installed there."""
    found: dict[str, str | int] = {"cores": cores(), "processor": _processor(), "system": platform.platform()}
    found["python"] = platform.python_version()
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def line() -> str:
    """The same in one line."""
    return ", ".join(f"{what} {value}" if what != "cores" else f"{value} cores" for what, value in facts().items())


def missing(packages: tuple[str, ...]) -> list[str]:
    """Those of these packages that can't be imported."""
    return [name for name in packages if find_spec(name) is None]


def require(packages: tuple[str, ...], why: str) -> None:
    """Exit where one of these packages can't be imported, saying what to install."""
    lacking = missing(packages)
    if lacking:
        raise SystemExit(
            f"{why} needs {', '.join(lacking)}, which {sys.executable} does not have: pip install 'nbarec[bench]'"
        )
