"""`nbarec new-plugin`: what it writes is a whole distribution, whose tests pass where it is installed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nbarec.cli import run_command
from nbarec.commands.new_plugin import LONGEST_NAME, Names, distribution
from nbarec.providers import KINDS, Kind

WRITABLE: tuple[Kind, ...] = ("generator", "ranker", "filter", "metric")
LONGEST = "a-long-name-of-thirty-letters-"[: LONGEST_NAME - 1] + "x"

EXAMPLES = f"""
from nbarec.cli import run_command

for at, kind in enumerate({WRITABLE}):
    print(end="\\f" if at else "", flush=True)
    config = f"nbarec-try-{{kind}}/example.yaml"
    assert run_command(["run", config, "--out", kind]) == 0
"""
"""Runs the example of each plugin, with a form feed between them."""


def written(kind: Kind) -> str:
    """What the new plugin of a kind is called here."""
    return f"try-{kind}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new plugin of each kind."""
    made = tmp_path_factory.mktemp("new")
    for kind in WRITABLE:
        out = made / f"nbarec-{written(kind)}"
        assert run_command(["new-plugin", written(kind), "--kind", kind, "--out", str(out)]) == 0
    return made


@pytest.fixture(scope="module")
def installed(folder: Path, environments: ModuleType) -> Any:
    """A fresh environment with all of them, installed from where they stand."""
    made = environments.Environment(folder / "environment")
    made.pip(
        "install", "--quiet", *(part for kind in WRITABLE for part in ("-e", f"nbarec-{written(kind)}")), folder=folder
    )
    return made


def test_their_tests_pass(folder: Path, installed: Any) -> None:
    tests = [f"nbarec-{written(kind)}/tests/test_try_{kind}.py" for kind in WRITABLE]
    report = installed.pytest("-W", "error", "--rootdir", ".", *tests, folder=folder)
    assert all(test in report for test in tests)
    found = re.search(r"(\d+) passed", report)
    assert found
    assert int(found[1]) > 80


def test_their_pipelines_run(folder: Path, installed: Any) -> None:
    for kind, printed in zip(WRITABLE, installed.python("-c", EXAMPLES, folder=folder).split("\f"), strict=True):
        assert f"try_{kind}" in printed
        assert "Written" in printed


def test_all_are_listed_with_their_distributions(installed: Any) -> None:
    listed = [line.split()[:3] for line in installed.nbarec("plugins").splitlines()]
    for kind in WRITABLE:
        assert [written(kind).replace("-", "_"), kind, f"nbarec-{written(kind)}==0.1.0"] in listed


def test_installed_code_is_what_is_edited(folder: Path, installed: Any) -> None:
    module = folder / "nbarec-try-metric" / "nbarec_try_metric.py"
    place = installed.python("-c", "import nbarec_try_metric; print(nbarec_try_metric.__file__)").strip()
    assert Path(place).resolve() == module.resolve()


def tool(name: str, folder: Path, *arguments: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs {name}, which is not installed")
    done = subprocess.run(
        [sys.executable, "-m", name, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["ab", LONGEST])
def test_its_style_is_right_whatever_the_name(name: str, tmp_path: Path) -> None:
    for kind in WRITABLE:
        for path, text in distribution(Names.of(name), kind).items():
            target = tmp_path / kind / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            assert not re.search("my.?shop|KIND_WORDS|NBAREC_VERSION", text, re.IGNORECASE), path
    tool("ruff", tmp_path, "check", "--no-cache", ".")
    tool("ruff", tmp_path, "format", "--no-cache", "--check", ".")


def test_its_types_are_right(folder: Path, tmp_path: Path) -> None:
    sources = [path for kind in WRITABLE for path in (folder / f"nbarec-{written(kind)}").rglob("*.py")]
    tool("mypy", tmp_path, "--strict", "--cache-dir", str(tmp_path), *map(str, sources))


@pytest.mark.parametrize("kind", WRITABLE)
def test_every_file_is_there_and_has_its_text(kind: Kind) -> None:
    files = distribution(Names.of("my-shop"), kind)
    assert sorted(files) == [
        "README.md",
        "example.yaml",
        "nbarec_my_shop.py",
        "pyproject.toml",
        "tests/test_my_shop.py",
    ]
    assert KINDS[kind].hook in files["nbarec_my_shop.py"]
    assert f"the {KINDS[kind].words} `my_shop`" in files["README.md"]
    assert 'my_shop = "nbarec_my_shop"' in files["pyproject.toml"]
    assert "checks(MyShop())" in files["tests/test_my_shop.py"]


@pytest.mark.parametrize("name", ["my-shop", "nbarec-my-shop", "my_shop", "nbarec_my_shop"])
def test_every_spelling_of_a_name_is_the_same_plugin(name: str) -> None:
    names = Names.of(name)
    assert (names.distribution, names.module) == ("nbarec-my-shop", "nbarec_my_shop")
    assert (names.component, names.class_name) == ("my_shop", "MyShop")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("My Shop!", "did you mean 'my-shop'?"),
        ("2nd", "did you mean 'nd'?"),
        ("my--shop", "did you mean 'my-shop'?"),
        ("x", "such as my-shop"),
        ("", "such as my-shop"),
        ("nbarec-", "such as my-shop"),
        ("a" * 31, f"did you mean '{'a' * 30}'?"),
    ],
)
def test_a_name_that_is_none_is_refused(name: str, advice: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["new-plugin", "--kind", "ranker", "--", name]) == 2
    said = capsys.readouterr().err
    assert f"{name!r} can't be a plugin's name: 2 to 30 small letters" in " ".join(said.split())
    assert advice in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pool", "its class would be called Pool, as something else is already; choose another name"),
        ("check", "its class would be called Check, as something else is already"),
        ("none", "its class would be called None, as something else is already"),
        ("value-error", "its class would be called ValueError, as something else is already"),
        ("plugins", "a module nbarec_plugins is installed already; choose another name, or uninstall nbarec-plugins"),
        ("blend", "a ranker 'blend' is there already, of nbarec=="),
    ],
)
def test_a_name_that_is_taken_is_refused(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["new-plugin", name, "--kind", "ranker"]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_a_component_of_another_kind_is_free(tmp_path: Path) -> None:
    assert run_command(["new-plugin", "blend", "--kind", "filter", "--out", str(tmp_path / "new")]) == 0


def test_a_folder_that_is_there_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "nbarec-my-shop" / "README.md"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert run_command(["new-plugin", "my-shop", "--kind", "ranker"]) == 1
    assert "nbarec-my-shop is there already; give another folder with --out, or remove it" in capsys.readouterr().err
    assert [path.read_text() for path in mine.parent.iterdir()] == ["mine"]
    assert run_command(["new-plugin", "my-shop", "--kind", "ranker", "--out", "a new/folder"]) == 0
    assert "\n  cd 'a new/folder'\n" in capsys.readouterr().out
    assert (tmp_path / "a new" / "folder" / "nbarec_my_shop.py").is_file()
    assert [path.name for path in (tmp_path / "a new").iterdir()] == ["folder"]


def test_what_is_interrupted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(path: Path, *_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupted)
    assert run_command(["new-plugin", "my-shop", "--kind", "ranker", "--out", str(tmp_path / "new")]) == 130
    assert "nothing was left half-written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run_command(["new-plugin", "my-shop", "--kind", "ranker", "--out", str(tmp_path / "file" / "new")]) == 1
    assert "file: File exists" in capsys.readouterr().err
    assert run_command(["new-plugin", "my-shop", "--kind", "ranker", "--out", str(tmp_path / "file")]) == 1
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("generator", ["candidates:", "  - {use: my_shop, k: 100, with: {within: 30d}}"]),
        ("ranker", ["rank:", "  - {use: my_shop, with: {by: tempo}}"]),
        ("filter", ["filters:", "  - {use: my_shop, with: {share: 0.3}}"]),
        ("metric", ["evaluate:", "  metrics: [ndcg@10, my_shop@10]"]),
    ],
)
def test_it_says_what_to_write_into_a_config(
    kind: Kind, lines: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["new-plugin", "my-shop", "--kind", kind, "--out", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out.partition("In a config of yours\n")[2]
    assert said.splitlines() == [f"  {line}" for line in lines]
