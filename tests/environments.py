"""Fresh virtual environments, into which tests install plugins as their users do.

Tests import no other test, so `tests/conftest.py` loads this module and hands it out as the fixture `environments`.
An environment has nothing of its own but what is installed into it; nbarec, NumPy, pytest and pip are found where this
process finds them, so that no package index is needed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NBAREC = "from nbarec.cli import main; main()"
HIDDEN = ("NBAREC_DISABLE_PLUGINS", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "CI", "BUILD_NUMBER")
"""What is set for this process, and is not for those that it starts: under CI pytest prints more."""


class Environment:
    """A virtual environment in a folder that is made now."""

    def __init__(self, folder: Path) -> None:
        missing = [name for name in ("pip", "hatchling", "pytest") if importlib.util.find_spec(name) is None]
        if missing:
            pytest.skip(f"installing a plugin needs {', '.join(missing)}, which this environment does not have")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        windows = os.name == "nt"
        self.executable = folder / ("Scripts/python.exe" if windows else "bin/python")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        _describe_nbarec(folder / ("Lib" if windows else f"lib/{version}") / "site-packages")

    def run(self, *arguments: str, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """What came of Python with these arguments; output and errors are one text, as in a terminal."""
        inherited = {name: value for name, value in os.environ.items() if name not in HIDDEN}
        path = os.pathsep.join(filter(None, sys.path))
        settings = {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [str(self.executable), *arguments],
            cwd=folder,
            env={**inherited, **settings, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    def python(self, *arguments: str, folder: Path | None = None, **variables: str) -> str:
        """What Python prints, which has to end well."""
        done = self.run(*arguments, folder=folder, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def nbarec(self, *arguments: str, folder: Path | None = None) -> str:
        """What a command of nbarec prints, which has to end well."""
        return self.python("-c", NBAREC, *arguments, folder=folder)

    def pip(self, command: str, *arguments: str, folder: Path | None = None) -> str:
        """Install or build without a package index."""
        offline = ["--no-index", "--no-build-isolation"]
        return self.python("-m", "pip", command, *offline, *arguments, folder=folder)

    def pytest(self, *arguments: str, folder: Path) -> str:
        """Run tests, which have to pass; returns the report."""
        return self.python("-m", "pytest", "-p", "no:cacheprovider", *arguments, folder=folder)


def _describe_nbarec(packages: Path) -> None:
    """Write what pip would write of nbarec's own entry points, where tests run on sources not installed."""
    try:
        metadata.distribution("nbarec")
    except metadata.PackageNotFoundError:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        entries = [f"{name} = {value}\n" for name, value in project["entry-points"]["nbarec"].items()]
        info = packages / f"nbarec-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: nbarec\nVersion: {project['version']}\n")
        (info / "entry_points.txt").write_text("[nbarec]\n" + "".join(entries))
