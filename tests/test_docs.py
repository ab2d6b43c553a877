"""The pages in docs/ say what the code does: tables are up to date, examples run, links lead somewhere."""

from __future__ import annotations

import doctest
import importlib.util
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import pytest

from nbarec import Pipeline, hookspecs
from nbarec.config import Config
from nbarec.errors import ConfigError
from nbarec.evaluation_config import EvaluateConfig
from nbarec.expression_values import MissingColumn, Truth
from nbarec.expressions import Expression
from nbarec.ids import Ids
from nbarec.param_rules import declared
from nbarec.plugins import registry
from nbarec.sparse import Csr
from nbarec.splits import SPLITS
from nbarec.tables import CategoryColumn, Column, NumberColumn, TagsColumn

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md"])
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    found = BLOCK.findall(page.read_text("utf-8"))
    return [textwrap.dedent(text) for _, named, text in found if named == language]


def rows_of_table(text: str, first_cell: str) -> list[list[str]]:
    """The cells of the table whose header begins with `first_cell`, without its header; code marks are dropped."""
    lines = iter(text.splitlines())
    header = next(line for line in lines if line.startswith(f"| {first_cell} |"))
    assert set(next(lines)) <= set("|-")
    rows = [cells(header)]
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(cells(line))
    assert all(len(row) == len(rows[0]) for row in rows)
    return rows


def cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip()[1:-1].split("|")]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """The script docs/generate_reference.py as a module."""
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_pages_are_what_the_code_declares(generator: ModuleType) -> None:
    pages = generator.pages()
    assert set(pages) == {"architecture.md", "components.md", "configuration.md", "nbarec.schema.json"}
    for name, text in pages.items():
        assert (DOCS / name).read_text("utf-8") == text, f"docs/{name} is old: run python docs/generate_reference.py"


def test_every_component_has_its_section() -> None:
    """One each; where two kinds share a name, as the ranker and the metric `novelty` do, each title tells its kind."""
    sections = re.findall(r"^### (\w+)(?: \(\w+\))?$", (DOCS / "components.md").read_text("utf-8"), re.MULTILINE)
    ours = [item.name for item in registry().components() if item.provider.is_from("nbarec")]
    assert len(ours) > 10
    assert [name for name in ours if sections.count(name) != ours.count(name)] == []


CONFIG_MODULES = (Config.__module__, EvaluateConfig.__module__)


def config_groups(cls: type) -> Iterator[type]:
    """The classes of the config's sections, from the whole file down."""
    yield cls
    for item in declared(cls).values():
        for kind in (item.annotation, *get_args(item.annotation)):
            if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ in CONFIG_MODULES:
                yield from config_groups(kind)


def test_every_section_of_the_config_and_every_split_has_its_table() -> None:
    tables = re.findall(r"<!-- table: [\w.]+:(\w+) -->", (DOCS / "configuration.md").read_text("utf-8"))
    sections = {group.__name__ for group in config_groups(Config)}
    assert {"EngineConfig", "CandidatesConfig", "EvaluateConfig"} <= sections
    assert sections - set(tables) == set()
    splits = {split.__name__ for split in SPLITS.values() if declared(split)}
    assert splits - set(tables) == set()


def test_the_configs_of_the_pages_are_valid() -> None:
    # One of howto/ names a component that its reader writes; `test_pages.py` runs them all.
    pages = [page for page in PAGES if page.parent.name != "howto"]
    shown = [text for page in pages for text in blocks(page, "yaml") if text.startswith("nbarec:")]
    assert shown
    for text in shown:
        Pipeline.from_text(text)


def test_the_check_of_configs_can_fail() -> None:
    text = next(iter(blocks(DOCS / "configuration.md", "yaml")))
    with pytest.raises(ConfigError, match="item_cg"):
        Pipeline.from_text(text.replace("use: item_cf", "use: item_cg"))


@dataclass(frozen=True)
class Shown:
    """The columns of a page's table as a scope."""

    size: int
    columns: Mapping[str, Column]

    def column(self, name: str) -> Column | MissingColumn:
        return self.columns[name]

    def names(self) -> list[str]:
        return list(self.columns)


def shown_column(name: str, texts: list[str]) -> Column:
    """A column of a page: tags where it is named so, numbers where all of it are, else categories."""
    if name in ("item.tags", "item.regions"):
        rows = [[tag.strip() for tag in text.split(",") if tag.strip()] for text in texts]
        levels = Ids.sorted_of({tag for row in rows for tag in row})
        flat = levels.index([tag for row in rows for tag in row])
        row = np.repeat(np.arange(len(rows)), [len(tags) for tags in rows])
        return TagsColumn(Csr.from_pairs(row, flat, None, (len(rows), len(levels))), levels)
    if all(not text or text.isdecimal() for text in texts):
        return NumberColumn(np.array([float(text) if text else np.nan for text in texts]))
    return CategoryColumn.of([text or None for text in texts])


def test_the_rules_of_the_page_hold_and_fail_where_it_says() -> None:
    page = (DOCS / "expressions.md").read_text("utf-8")
    header, *events = rows_of_table(page, "event")
    texts = dict(zip(header, zip(*events, strict=True), strict=True))
    scope = Shown(len(events), {name: shown_column(name, list(texts[name])) for name in header[1:]})
    _, *rules = rows_of_table(page[page.index("these rules say") :], "rule")
    assert len(rules) > 8
    for rule, *said in rules:
        truth = Expression(rule).truth(scope)
        assert [numbers_of(cell) for cell in said] == [event_numbers(rows) for rows in three(truth)], rule


def three(truth: Truth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return truth.holds, truth.fails, ~truth.known


def event_numbers(rows: np.ndarray) -> list[int]:
    return (np.flatnonzero(rows) + 1).tolist()


def numbers_of(cell: str) -> list[int]:
    return [int(number) for number in cell.split(",") if number.strip()]


def test_the_examples_of_the_page_run() -> None:
    example = "\n".join(text for text in blocks(DOCS / "expressions.md", "python"))
    test = doctest.DocTestParser().get_doctest(example, {}, "expressions.md", None, 0)
    assert len(test.examples) > 5
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(test, out=report.append).failed == 0, "".join(report)


def test_the_page_of_plugins_lists_every_hook() -> None:
    page = (DOCS / "plugins.md").read_text("utf-8")
    assert [name for name in vars(hookspecs) if name.startswith("nbarec_") and f"`{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{page.name} links to {target}#{anchor}"


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_benchmark_is_listed() -> None:
    listed = set(re.findall(r"`python benchmarks/(\w+\.py)`", (ROOT / "benchmarks" / "README.md").read_text("utf-8")))
    assert listed == {path.name for path in (ROOT / "benchmarks").glob("*.py")}
