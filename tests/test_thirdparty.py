"""A plugin in a distribution of its own: built and installed by pip, found from another process, used from YAML."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbarec.data import Dataset
from nbarec_plugins.music_world import MusicWorldSource

ROOT = Path(__file__).parents[1]
HELLO = ROOT / "tests" / "thirdparty" / "nbarec-hello"
NO_INDEX = re.compile(r"No matching distribution found for hatchling|Temporary failure in name resolution")

PIPELINE = """
nbarec: 1
data: {use: music_world, users: 60, songs: 120, days: 30, seed: 1}
candidates:
  - {id: fresh, use: newest_first, k: 50, with: {by: released, within: 3650d}}
rank:
  - {id: liked, use: favourite_first, with: {by: genre, bonus: 0.25}}
slate: {k: 10}
"""

LISTING = """
import json
from nbarec.plugins import registry

found = registry()
print(json.dumps({
    "components": [[i.kind, i.name, i.provider.requirement, str(i.provider)] for i in found.components()],
    "broken": [str(plugin) for plugin in found.broken],
}))
"""

SLATES = """
import json, sys
import nbarec

model = nbarec.Pipeline.from_yaml(sys.argv[1]).fit()
slate = model.recommend(users=sys.argv[2:], k=3)
print(json.dumps([[user, item, score] for user, _, item, score in slate.rows() if item is not None]))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed nbarec-hello, and nothing else."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("installing a plugin needs pip, which this environment does not have")
    folder = tmp_path_factory.mktemp("site")
    ready = importlib.util.find_spec("hatchling") is not None
    options = ["--no-deps", "--quiet", "--disable-pip-version-check", *(["--no-build-isolation"] if ready else [])]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(HELLO)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode and not ready and NO_INDEX.search(done.stderr):
        pytest.skip("building a plugin needs hatchling, which is not installed and no package index offers")
    assert done.returncode == 0, done.stderr
    describe_nbarec(folder)
    return folder


def describe_nbarec(folder: Path) -> None:
    """Write what pip would write of nbarec's own entry points, where tests run on sources not installed."""
    try:
        metadata.distribution("nbarec")
    except metadata.PackageNotFoundError:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        entries = [f"{name} = {value}\n" for name, value in project["entry-points"]["nbarec"].items()]
        info = folder / f"nbarec-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: nbarec\nVersion: {project['version']}\n")
        (info / "entry_points.txt").write_text("[nbarec]\n" + "".join(entries))


def python(site: Path, *arguments: str, **environment: str) -> str:
    """What a Python prints that has `site` on its path besides what the tests have."""
    path = os.pathsep.join([str(site), *filter(None, sys.path)])
    inherited = {name: value for name, value in os.environ.items() if name != "NBAREC_DISABLE_PLUGINS"}
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**inherited, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def listing(site: Path, **environment: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(python(site, "-c", LISTING, **environment))
    assert found["broken"] == []
    return found


def version() -> str:
    return str(tomllib.loads((HELLO / "pyproject.toml").read_text())["project"]["version"])


def test_the_installed_plugin_is_listed_with_distribution_and_version(site: Path) -> None:
    components = listing(site)["components"]
    hello = f"nbarec-hello=={version()}"
    assert ["generator", "newest_first", hello, "nbarec-hello:hello"] in components
    assert ["ranker", "favourite_first", hello, "nbarec-hello:hello"] in components
    assert ["generator", "item_cf"] in [component[:2] for component in components]


def test_the_environment_turns_it_off(site: Path) -> None:
    components = listing(site, NBAREC_DISABLE_PLUGINS="nbarec_hello:hello")["components"]
    names = {name for _, name, _, _ in components}
    assert "newest_first" not in names
    assert "item_cf" in names


def test_its_own_tests_pass(site: Path) -> None:
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(HELLO), "-c", str(HELLO / "pyproject.toml")]
    summary = python(site, "-m", "pytest", *options, str(HELLO / "tests"))
    assert re.search(r"\d+ passed", summary)


def test_it_works_from_yaml(site: Path, tmp_path: Path) -> None:
    config = tmp_path / "hello.yaml"
    config.write_text(PIPELINE)
    data = MusicWorldSource(users=60, songs=120, days=30, seed=1).load()
    users = [str(user) for user in data.users.take(range(5))]
    rows = json.loads(python(site, "-c", SLATES, str(config), *users, "nobody"))
    for position, user in enumerate([*users, "nobody"]):
        expected = slowly(data, position if user != "nobody" else None)
        served = [(item, score) for name, item, score in rows if name == user]
        assert [item for item, _ in served] == [item for item, _ in expected]
        np.testing.assert_allclose([score for _, score in served], [score for _, score in expected], rtol=1e-6)


def test_the_pipeline_of_its_readme_works(site: Path, tmp_path: Path) -> None:
    config = tmp_path / "readme.yaml"
    shown = (HELLO / "README.md").read_text().partition("    nbarec: 1\n")
    config.write_text(textwrap.dedent("".join(shown[1:]).partition("\n\n")[0]))
    rows = json.loads(python(site, "-c", SLATES, str(config), "U0001"))
    assert len(rows) == 3


def slowly(data: Dataset, user: int | None) -> list[tuple[str, float]]:
    """The first three of a user by the definitions alone: newest unheard songs, 1 / rank + 0.25 for the favourite."""
    events = data.events
    heard = [] if user is None else events.item[events.indptr[user] : events.indptr[user + 1]].tolist()
    genre = data.catalog.labels("genre", range(len(data.items)))
    released = data.catalog.columns["released"].seconds.tolist()  # type: ignore[union-attr]
    plays = Counter(genre[song] for song in heard)
    favourite = min(plays, key=lambda name: (-plays[name], name), default=None)
    oldest = data.as_of - 3650 * 86_400
    unheard = [song for song in range(len(genre)) if song not in heard and oldest <= released[song] <= data.as_of]
    newest = sorted(unheard, key=lambda song: (-released[song], song))[:50]
    score = {song: 1 / rank + 0.25 * (genre[song] == favourite) for rank, song in enumerate(newest, start=1)}
    best = sorted(newest, key=lambda song: (-np.float32(score[song]), song))[:3]
    return [(str(data.items.take([song])[0]), score[song]) for song in best]
