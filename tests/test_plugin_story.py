"""docs/plugins.md is followed word for word, in a fresh environment, and leads to tests/thirdparty/nbarec-hello.

The page's blocks are gone through from top to bottom. Those in `console` are run, and print what is shown (as
`tests/shown.py` compares it). All others belong to the file that the text above them names last:

* `python`: an import, class or function takes the place of the one with its name; what is new goes to the end. A block
  that begins with `from __future__` takes the place of all imports.
* `yaml`: takes the place of the sections with its keys, and one that begins with a comment that of the whole file.
* `toml`: is what stands there.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import shlex
import zipfile
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nbarec.testing.checks import checks
from nbarec.testing.worlds import pool_of, request_for, tiny_world

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "plugins.md").read_text("utf-8")
HELLO = ROOT / "tests" / "thirdparty" / "nbarec-hello"
LEARNING = ("learns_the_same_from_any_batches", "serves_without_examples")
STORY = PAGE.partition("\n## Kinds of component\n")[0]


def statements(source: str) -> Iterator[tuple[str, int, int]]:
    """Name, first line and line after the last of what stands at the top level of a source; a docstring is left out."""
    for node in ast.parse(source).body:
        begins = min([node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", []))]) - 1
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, begins, node.end_lineno or begins
            case ast.Import(names=[alias]):
                yield f"import {alias.name}", begins, node.end_lineno or begins
            case ast.ImportFrom(module=module):
                yield f"from {module}", begins, node.end_lineno or begins
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name, begins, node.end_lineno or begins


def edited(source: str, block: str) -> str:
    """The source after what the page says of a `python` block was done."""
    lines, found = source.splitlines(), {name: (first, last) for name, first, last in statements(source)}
    if block.startswith("from __future__"):
        imports = [span for name, span in found.items() if name.startswith(("import ", "from "))]
        lines[imports[0][0] : imports[-1][1]] = block.splitlines()
        return "\n".join(lines) + "\n"
    new = list(statements(block))
    known = [name for name, _, _ in new if name in found]
    if not known:
        return f"{source}\n\n{block}"
    assert len(known) == len(new), f"part of this block is new, and part is not:\n{block}"
    # From the last to the first, so that the lines above stay where they are.
    for name, first, last in sorted(new, key=lambda one: found[one[0]], reverse=True):
        begins, ends = found[name]
        lines[begins:ends] = block.splitlines()[first:last]
    return "\n".join(lines) + "\n"


def with_sections(config: str, block: str) -> str:
    """The config after what the page says of a `yaml` block was done."""
    if block.startswith("#"):
        return block
    sections = {part.partition(":")[0]: part for part in re.split(r"^(?=\S)", config, flags=re.MULTILINE)}
    new = {part.partition(":")[0]: part for part in re.split(r"^(?=\S)", block, flags=re.MULTILINE) if part}
    assert new.keys() <= sections.keys()
    return "".join({**sections, **new}.values())


class Reader:
    """Somebody who does what the page says, in a folder of their own."""

    def __init__(self, folder: Path, environment: Any, shown: ModuleType) -> None:
        self.here = folder
        self.environment = environment
        self.shown = shown

    def do(self, language: str, block: str, above: str) -> None:
        """Follow one block; `above` is the text since the block before it."""
        if language == "console":
            for command, output in self.shown.commands_of(block):
                self.run(command, output)
            return
        named = [name for name in re.findall(r"`([\w./]+)`", above) if (self.here / name).is_file()]
        assert named, f"the text above does not say whose block this is:\n{block}"
        file = self.here / named[-1]
        before = file.read_text("utf-8")
        if language == "toml":
            assert block in before
            return
        edit = {"python": edited, "yaml": with_sections}[language]
        file.write_text(edit(before, block), encoding="utf-8")

    def run(self, command: str, output: list[str]) -> None:
        """Run a line of the console and compare what it prints."""
        words = shlex.split(command)
        if words[0] == "cd":
            self.here = self.here / words[1]
            assert not output
            return
        if words[:3] == ["python", "-m", "pip"]:
            words[4:4] = ["--no-index", "--no-build-isolation"]
        arguments = ["-c", self.shown.NBAREC, *words[1:]] if words[0] == "nbarec" else words[1:]
        done = self.environment.run(*arguments, folder=self.here)
        said = "\n".join([command, "prints:", done.stdout])
        assert done.returncode == int(any(line.startswith(("Error:", "FAILED")) for line in output)), said
        assert self.shown.agree(output, done.stdout.splitlines()), said


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, environments: ModuleType, shown: ModuleType) -> Path:
    """The folder that somebody has who followed the page."""
    folder = tmp_path_factory.mktemp("story")
    reader = Reader(folder, environments.Environment(folder / "environment"), shown)
    ends = 0
    for found in shown.FENCED.finditer(STORY):
        reader.do(found[2], found[3], STORY[ends : found.start()])
        ends = found.end()
    return reader.here


def files_in(folder: Path) -> dict[str, str]:
    """Everything that is written by hand, by its path."""
    made = {"runs", "dist", "__pycache__"}
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    written = [path for path in paths if not any(part in made or part.startswith(".") for part in path.parts)]
    return {path.as_posix(): (folder / path).read_text("utf-8") for path in written}


def test_the_story_leads_to_nbarec_hello(followed: Path) -> None:
    assert files_in(followed) == files_in(HELLO)


def test_the_wheel_holds_the_module_alone(followed: Path) -> None:
    (wheel,) = (followed / "dist").iterdir()
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert names == ["nbarec_hello.py"]


def test_the_ranker_that_learns_keeps_its_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = re.findall(r"```python\n(.*?)^```$", PAGE.removeprefix(STORY), re.DOTALL | re.MULTILINE)
    (tmp_path / "nbarec_trust.py").write_text(source, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("nbarec_trust")
    (ranker,) = module.nbarec_rankers()
    tried = doctest.testmod(module)
    assert tried.failed == 0
    assert tried.attempted > 5
    outcomes = {check.name: check.outcome for check in checks(ranker())}
    assert [name for name, outcome in outcomes.items() if outcome.verdict == "failed"] == []
    assert all(outcomes[name].verdict == "ok" for name in LEARNING)


def test_what_a_component_is_given_is_as_the_page_says() -> None:
    request = request_for(tiny_world(), [0, 4], context={"hour": 9})
    known = {"request": request, "pool": pool_of(request, {"some": [{2: 0.9, 4: 0.8}] * 2})}
    table = PAGE.partition("| written | is | of |\n")[2].partition("\n\n")[0].splitlines()[1:]
    assert len(table) > 12
    for written, kind, _ in (row.strip("| ").split(" | ") for row in table):
        first, *path = written.strip("`").split(".")
        value = reduce(getattr, path, known[first])
        assert kind == (value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__), written
    (example,) = re.findall(r"\n`(request\.catalog\.\S+)` is", PAGE)
    assert eval(example, known).tolist() == [0, 1, 0, 1]  # ada, bo


def test_blocks_are_put_where_the_page_says() -> None:
    source = (
        '"""Doc."""\n\nimport a\nfrom b import c\n\nX = 1\n\n\n@mark\ndef f():\n    return 1\n\n\nclass G:\n    pass\n'
    )
    assert edited(source, "from b import c, d\n") == source.replace("import c", "import c, d")
    assert edited(source, "@mark\ndef f():\n    return 2\n") == source.replace("return 1", "return 2")
    assert edited(source, "def h():\n    pass\n") == source + "\n\ndef h():\n    pass\n"
    assert edited(source, "from __future__ import z\nimport e\n") == source.replace(
        "import a\nfrom b import c", "from __future__ import z\nimport e"
    )
    both = edited(source, "class G:\n    x = 1\n\n\ndef f():\n    return 3\n")
    assert "class G:\n    x = 1\n" in both
    assert "\n\n\ndef f():\n    return 3\n\n\nclass G" in both
    with pytest.raises(AssertionError, match="part of this block is new"):
        edited(source, "def f():\n    pass\n\n\ndef new():\n    pass\n")
    config = "# c\na: 1\nb:\n  - 2\nc: 3\n"
    assert with_sections(config, "b:\n  - 4\n  - 5\n") == "# c\na: 1\nb:\n  - 4\n  - 5\nc: 3\n"
    assert with_sections(config, "# all\na: 2\n") == "# all\na: 2\n"
