"""The pages in docs/ are true: whoever follows one gets what it shows; `tests/shown.py` says how that is compared."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from nbarec import Pipeline
from nbarec.config import Config
from nbarec.param_rules import declared
from nbarec.plugins import registry
from nbarec.providers import KINDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CHECKED_IN_PARTS = (
    "architecture.md",
    "components.md",
    "configuration.md",
    "expressions.md",
    "plugins.md",
    "performance.md",
    "results.md",
)
"""Pages that are no walk from top to bottom, or one through other folders: what they show is checked elsewhere."""

FOLLOWED = sorted(page for page in DOCS.rglob("*.md") if page.name not in CHECKED_IN_PARTS)
STAGE = re.compile(r"`\{((?:id: \w+, )?use: (\w+)[^`]*)\}`")
FEEDBACK = re.compile(r"`((?:weights|success|decay|transform|combine): [^`]+)`")

MINIMAL = """
nbarec: 1
data:
  use: music_world
  feedback: {FEEDBACK}
candidates:
  - {id: latent, use: als}
  - {id: trending, use: popularity}
"""


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_all_that_a_page_shows_comes_out(shown: ModuleType, tmp_path: Path, page: Path) -> None:
    shown.follow(page, tmp_path)


def test_the_tutorial_and_the_ways_to_do_things_are_followed() -> None:
    names = {page.relative_to(DOCS).as_posix() for page in FOLLOWED}
    ways = {f"howto/{name}.md" for name in ("own-data", "rules", "cold-start", "own-plugin", "nightly-batch")}
    assert {"index.md", "tutorial.md", "concepts.md", *ways} <= names
    assert all((DOCS / name).is_file() for name in CHECKED_IN_PARTS)


def test_stages_in_the_text_can_stand_in_a_config() -> None:
    kinds = {item.name: item.kind for item in registry().components() if "use" in KINDS[item.kind].written}
    found = [stage for page in FOLLOWED for stage in STAGE.findall(page.read_text("utf-8")) if stage[1] in kinds]
    assert len(found) > 1
    for stage, name in found:
        section = KINDS[kinds[name]].section
        listed = f"  - {{{stage}}}\n"
        Pipeline.from_text(
            MINIMAL.replace("FEEDBACK", "") + (listed if section == "candidates" else f"{section}:\n{listed}")
        )


def test_what_the_page_of_own_data_says_of_feedback_can_stand_there() -> None:
    found = FEEDBACK.findall((DOCS / "howto" / "own-data.md").read_text("utf-8"))
    assert len(found) > 3
    for line in found:
        Pipeline.from_text(MINIMAL.replace("FEEDBACK", line))


def test_the_picture_has_the_steps_of_the_config() -> None:
    names = re.findall(r'class="name"[^>]*>(\w+)<', (DOCS / "pipeline.svg").read_text("utf-8"))
    steps = ["data", "candidates", "features", "rank", "filters", "slate"]
    assert [name for name in names if name != "request"] == steps
    assert set(steps) <= set(declared(Config))
