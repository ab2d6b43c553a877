"""The house rules, read from the source itself: who imports whom, and what nobody may call."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINE = sorted((ROOT / "nbarec").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

DEPENDENCIES = {"numpy": "numpy", "pluggy": "pluggy", "pyyaml": "yaml", "click": "click"}
"""Every run-time dependency, and the name it is imported by."""

EXTRAS = {"nbarec/tuning_record.py": "optuna"}
"""The one file that asks for an extra when it is used, and the name that it asks for."""

OUR_OWN = {"nbarec", "nbarec_plugins"}
PICKLES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def imports_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that is imported, at any depth and by any spelling, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            yield from ((str(name.value), node.lineno) for name in node.args[:1] if isinstance(name, ast.Constant))


def called(node: ast.Call) -> str:
    """The last part of the called name: `exec` of `exec(...)`, `load` of `np.load(...)`."""
    return ast.unparse(node.func).rpartition(".")[2]


def builtin_calls_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every call of a bare name, with its line: a method such as `model.eval()` is another matter."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node.lineno


def allows_pickle(tree: ast.AST) -> Iterator[int]:
    """The line of every `allow_pickle=` that is not plainly False."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield node.value.lineno


def read(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def top(module: str) -> str:
    return module.partition(".")[0]


def named(path: Path, line: int, what: str) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{line}: {what}"


def test_there_is_something_to_read() -> None:
    assert {"data.py", "kernels.py", "hookspecs.py"} <= {path.name for path in ENGINE}
    assert {"item_cf.py", "sources.py"} <= {path.name for path in PLUGINS}
    assert Path(__file__).resolve() in TESTS


def test_the_engine_imports_no_plugin() -> None:
    broken = [
        named(path, line, module)
        for path in ENGINE
        for module, line in imports_of(read(path))
        if top(module) in ("nbarec_plugins", "plugins")
    ]
    assert broken == []


def test_engine_and_plugins_import_the_standard_library_and_the_dependencies_alone() -> None:
    allowed = sys.stdlib_module_names | set(DEPENDENCIES.values()) | OUR_OWN
    broken = [
        named(path, line, module)
        for path in ENGINE + PLUGINS
        for module, line in imports_of(read(path))
        if top(module) not in allowed and EXTRAS.get(path.relative_to(ROOT).as_posix()) != module
    ]
    assert broken == []


def test_the_dependencies_are_the_four_that_are_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = [re.match(r"[A-Za-z0-9._-]+", dependency) for dependency in project["dependencies"]]
    assert sorted(match[0] for match in names if match) == sorted(DEPENDENCIES)
    assert len(names) == len(DEPENDENCIES)


def test_no_source_runs_text_prints_or_pickles() -> None:
    broken = []
    for path in ENGINE + PLUGINS:
        tree = read(path)
        calls = [(name, line) for name, line in builtin_calls_of(tree) if name in ("eval", "exec", "print")]
        pickles = [(module, line) for module, line in imports_of(tree) if top(module) in PICKLES]
        unsafe = [("allow_pickle", line) for line in allows_pickle(tree)]
        broken += [named(path, line, what) for what, line in calls + pickles + unsafe]
    assert broken == []


def test_no_test_imports_the_plugins_by_their_folder() -> None:
    broken = [
        named(path, line, module)
        for path in TESTS
        for module, line in imports_of(read(path))
        if top(module) == "plugins"
    ]
    assert broken == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import nbarec_plugins.als", ["nbarec_plugins.als"]),
        ("import numpy as np, scipy.sparse", ["numpy", "scipy.sparse"]),
        ("from plugins.nbarec_plugins import als", ["plugins.nbarec_plugins"]),
        ("def f():\n    if True:\n        from scipy import sparse", ["scipy"]),
        ("import importlib\nimportlib.import_module('scipy')", ["importlib", "scipy"]),
        ("from importlib import import_module as load", ["importlib"]),
        ("__import__('scipy')", ["scipy"]),
        ("import_module(name)", []),
        ("from . import als", ["."]),
        ("text = 'import scipy'", []),
    ],
)
def test_every_way_to_import_is_seen(source: str, found: list[str]) -> None:
    assert [module for module, _ in imports_of(ast.parse(source))] == found


def test_calls_are_told_from_methods_and_from_words() -> None:
    tree = ast.parse("# print(1)\nmodel.eval()\n'exec(x)'\ndef f():\n    return [eval(x) for x in y]\nprint('a')")
    assert sorted(builtin_calls_of(tree)) == [("eval", 5), ("print", 6)]
    tree = ast.parse("np.load(f, allow_pickle=False)\nnp.load(f, allow_pickle=True)\nnp.save(f, a, allow_pickle=x)")
    assert list(allows_pickle(tree)) == [2, 3]
