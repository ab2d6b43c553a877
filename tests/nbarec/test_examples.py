"""Every example in a docstring runs, and every hook has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import nbarec
import nbarec_plugins
from nbarec import hookspecs


def hooks() -> list[str]:
    return [name for name in vars(hookspecs) if name.startswith("nbarec_")]


def examples_of(module: ModuleType, name: str) -> list[doctest.Example]:
    found = doctest.DocTestFinder(recurse=False).find(getattr(module, name), name, module)
    return [example for test in found for example in test.examples]


@pytest.mark.parametrize("hook", hooks())
def test_every_hook_has_an_example_that_implements_it(hook: str) -> None:
    source = "".join(example.source for example in examples_of(hookspecs, hook))
    assert "@hookimpl" in source
    assert f"def {hook}(" in source


def modules_of(*packages: ModuleType) -> list[str]:
    walked = [pkgutil.walk_packages(package.__path__, f"{package.__name__}.") for package in packages]
    return [info.name for found in walked for info in found]


@pytest.mark.parametrize("name", modules_of(nbarec, nbarec_plugins))
def test_examples_in_the_documentation_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if name.endswith("__main__"):
        pytest.skip("importing it runs the command line")
    report: list[str] = []
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(importlib.import_module(name), name):
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
