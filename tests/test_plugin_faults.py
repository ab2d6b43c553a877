"""Plugins that are at fault, as a user of the command line meets them: what is said, and that all else goes on.

The messages stand in docs/plugins.md, in the table under "When something is wrong"; its rows are compared in order.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbarec.cli import run_command
from nbarec.plugins import registry

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"

RANKER = """\
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from nbarec.components import NoState, Ranker
from nbarec.hookspecs import hookimpl


@dataclass(frozen=True)
class Lift(Ranker[NoState]):
    name: ClassVar[str] = "lift"

    def fit(self, data, rng) -> NoState:
        return NoState()

    def rank(self, state, request, pool):
        return pool.score


@hookimpl
def nbarec_rankers():
    return [Lift]
"""

MINE = """\
nbarec: 1
data: {use: music_world, users: 20, songs: 30}
candidates: [{use: popularity}]
rank:
  - {id: best, use: lift}
"""

SOUND = MINE.partition("rank:")[0]

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(distribution, source)`: what pip leaves of a distribution whose entry point is `rankers`."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(MINE, encoding="utf-8")
    Path("sound.yaml").write_text(SOUND, encoding="utf-8")
    before = set(sys.modules)

    def installed(distribution: str, source: str) -> Path:
        module = distribution.replace("-", "_")
        (site / f"{module}.py").write_text(source, encoding="utf-8")
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[nbarec]\nrankers = {module}\n")
        importlib.invalidate_caches()
        registry.cache_clear()
        return info

    yield installed
    registry.cache_clear()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(site)):
            del sys.modules[name]


class Terminal:
    """A shell in which one runs `nbarec` and reads what it says."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def says(self, *arguments: str) -> str:
        """What a command prints that ends well."""
        assert run_command(list(arguments)) == 0, self.capsys.readouterr().err
        return self.capsys.readouterr().out

    def refuses(self, *arguments: str) -> str:
        """The message of a command that ends with 1."""
        assert run_command(list(arguments)) == 1
        message = self.capsys.readouterr().err
        assert "Traceback" not in message
        return message.strip()

    def works(self) -> None:
        """Make sure that a pipeline of sound stages runs, whatever else is installed."""
        assert "Written" in self.says("run", "sound.yaml", "--out", "sound")


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def shown() -> list[str]:
    """The messages in the page's table, in order."""
    table = PAGE.read_text("utf-8").partition("| what is wrong |")[2].partition("\n\n")[0]
    messages = [re.search(r"\| `(.+)` \|$", row) for row in table.splitlines()[2:]]
    return [match[1] for match in messages if match]


def agrees(row: int, message: str) -> None:
    """The message is the one in this row of the table, where `...` stands for any text."""
    pattern = ".*".join(re.escape(part) for part in shown()[row].split("..."))
    assert re.fullmatch(pattern, " ".join(message.split()), re.DOTALL), f"the page shows: {shown()[row]}"


def test_two_distributions_of_one_name(install: Install, terminal: Terminal) -> None:
    install("nbarec-mine", RANKER)
    install("nbarec-other", RANKER)
    agrees(0, terminal.refuses("validate", "mine.yaml"))
    assert "best" in terminal.says("run", "mine.yaml", "--set", "rank.best.use=nbarec-mine/lift", "--out", "mine")
    terminal.works()


def test_a_module_that_cannot_be_imported(install: Install, terminal: Terminal) -> None:
    install("nbarec-mine", RANKER.replace("import numpy", "import numpi"))
    agrees(1, terminal.refuses("validate", "mine.yaml"))
    listed = terminal.says("plugins")
    assert "Broken" in listed
    assert "nbarec-mine:rankers (nbarec-mine==1.0): ModuleNotFoundError: No module named 'numpi'" in listed
    assert "item_cf" in listed
    terminal.works()


def test_a_hook_with_an_argument_that_it_has_not(install: Install, terminal: Terminal) -> None:
    install("nbarec-mine", RANKER + "\n\n@hookimpl\ndef nbarec_after_fit(stage, duration):\n    pass\n")
    agrees(2, terminal.refuses("validate", "mine.yaml"))
    assert "nbarec-mine:rankers (nbarec-mine==1.0): PluginValidationError" in terminal.says("plugins")
    terminal.works()


def test_scores_of_a_wrong_dtype(install: Install, terminal: Terminal) -> None:
    install("nbarec-mine", RANKER.replace("return pool.score", "return pool.score.astype(np.float64)"))
    agrees(3, terminal.refuses("run", "mine.yaml", "--out", "mine"))
    assert not Path("mine", "recommendations.csv").exists()
    terminal.works()


def test_writing_into_the_request(install: Install, terminal: Terminal) -> None:
    writes = "request.now[:] = 0\n        return pool.score"
    install("nbarec-mine", RANKER.replace("return pool.score", writes))
    agrees(4, terminal.refuses("run", "mine.yaml", "--out", "mine"))
    terminal.works()


def test_a_stage_at_fault_that_may_be_skipped(install: Install, terminal: Terminal) -> None:
    install("nbarec-mine", RANKER.replace("return pool.score", "return pool.score.astype(np.float64)"))
    Path("mine.yaml").write_text(MINE.replace("use: lift", "use: lift, on_error: skip"), encoding="utf-8")
    skipped = terminal.says("run", "mine.yaml", "--out", "mine")
    assert re.search(r"best: .*rank\.best \(lift of nbarec-mine:rankers 1\.0\): score has dtype float64;", skipped)
    rows = Path("mine", "recommendations.csv").read_text("utf-8")
    terminal.works()
    assert rows == Path("sound", "recommendations.csv").read_text("utf-8")


def test_a_model_whose_plugin_is_gone(install: Install, terminal: Terminal) -> None:
    info = install("nbarec-mine", RANKER)
    terminal.says("fit", "mine.yaml", "--model", "model")
    for file in info.iterdir():
        file.unlink()
    info.rmdir()
    importlib.invalidate_caches()
    registry.cache_clear()
    agrees(5, terminal.refuses("recommend", "model", "--user", "U0001"))
    assert re.search(r"best +rank +lift +nbarec-mine==1\.0 ", terminal.says("inspect", "model"))
    terminal.works()
    install("nbarec-mine", RANKER)
    assert "U0001: known user" in terminal.says("recommend", "model", "--user", "U0001")


def test_the_table_has_a_row_for_each_of_these() -> None:
    assert len(shown()) == 6
