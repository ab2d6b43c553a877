"""The site that Sphinx makes of docs/: it builds without a warning, and no link in it leads nowhere."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

DOCS = Path(__file__).parents[1] / "docs"
NEEDED = ("sphinx", "myst_parser", "furo")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed: pip install -e '.[docs]'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Page(HTMLParser):
    """What a page of the site points at, and what can be pointed at in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag's links and ids."""
        given = dict(attrs)
        self.targets += [target for name in ("href", "src") if (target := given.get(name))]
        self.anchors |= {anchor for name in ("id", "name") if (anchor := given.get(name))}

    def inside(self) -> Iterator[tuple[Path, str]]:
        """(file, anchor) of every link that stays on the site."""
        for target in self.targets:
            parts = urlsplit(target)
            if not parts.scheme and not parts.netloc:
                path = (self.path.parent / unquote(parts.path)).resolve() if parts.path else self.path
                yield path, unquote(parts.fragment)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """The pages that are made of ours."""
    made = [site / page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md")]
    return {path.resolve(): Page(path.resolve()) for path in made}


def test_no_link_leads_nowhere(pages: dict[Path, Page]) -> None:
    lost = []
    for page in pages.values():
        for path, anchor in page.inside():
            known = path not in pages or not anchor or anchor in pages[path].anchors
            if not path.is_file() or not known:
                lost.append(f"{page.path.name}: {path.name}#{anchor}")
    assert lost == []
    assert sum(len(page.targets) for page in pages.values()) > 100


def test_every_page_is_reached_from_the_first(site: Path, pages: dict[Path, Page]) -> None:
    first = pages[(site / "index.html").resolve()]
    assert set(pages) <= {path for path, _ in first.inside()}


def test_links_to_the_repository_s_files_bring_them_along(site: Path) -> None:
    brought = {path.name for path in (site / "_downloads").rglob("*.yaml")}
    assert {"movielens.yaml", "rules.yaml", "cold_start.yaml"} <= brought
