"""What a run took, and with which versions: `run.json` beside what it wrote."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from nbarec import __version__
from nbarec.errors import DataError
from nbarec.reports import write_json

FILE = "run.json"


def versions() -> dict[str, str]:
    """Of this program, of Python and of NumPy."""
    return {"nbarec": __version__, "Python": platform.python_version(), "NumPy": np.__version__}


@dataclass(frozen=True)
class RunCost:
    """`seconds` from the config to the last slate, and `peak` bytes of memory, None where the system doesn't tell."""

    seconds: float
    peak: int | None
    versions: Mapping[str, str] = field(default_factory=versions)

    def write(self, folder: Path) -> None:
        """Write `run.json` into the folder, whole or not at all."""
        write_json(folder / FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> RunCost | None:
        """What the folder says, None where it says nothing. Raises DataError where the file is damaged."""
        path = folder / FILE
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_text("utf-8"))
            peak = found["peak"]
            named = {str(name): str(version) for name, version in found["versions"].items()}
            return cls(float(found["seconds"]), None if peak is None else int(peak), named)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} does not tell what a run took ({error!r}); run again, or remove it") from None
