"""A plugin in a distribution of its own: built and installed by pip, found from another process, used from YAML."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nbarec.data import Dataset
from nbarec.tables import NumberColumn
from nbarec_plugins.music_world import MusicWorldSource

HELLO = Path(__file__).parent / "thirdparty" / "nbarec-hello"
HOUR = 3600

PIPELINE = """
nbarec: 1
data: {use: music_world, users: 60, songs: 120, days: 30, seed: 1}
candidates:
  - {id: now, use: this_hour, k: 50}
rank:
  - {id: lively, use: hello, with: {by: energy, weight: 0.25}}
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
def site(tmp_path_factory: pytest.TempPathFactory, environments: ModuleType) -> Any:
    """An environment into which pip has built and installed nbarec-hello, and nothing else."""
    made = environments.Environment(tmp_path_factory.mktemp("site") / "environment")
    made.pip("install", "--quiet", str(HELLO))
    return made


def listing(site: Any, **variables: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.python("-c", LISTING, **variables))
    assert found["broken"] == []
    return found


def version() -> str:
    return str(tomllib.loads((HELLO / "pyproject.toml").read_text())["project"]["version"])


def test_the_installed_plugin_is_listed_with_distribution_and_version(site: Any) -> None:
    components = listing(site)["components"]
    hello = f"nbarec-hello=={version()}"
    assert ["generator", "this_hour", hello, "nbarec-hello:hello"] in components
    assert ["ranker", "hello", hello, "nbarec-hello:hello"] in components
    assert ["generator", "item_cf"] in [component[:2] for component in components]


def test_the_environment_turns_it_off(site: Any) -> None:
    components = listing(site, NBAREC_DISABLE_PLUGINS="nbarec_hello:hello")["components"]
    names = {name for _, name, _, _ in components}
    assert "this_hour" not in names
    assert "item_cf" in names


def test_it_works_from_yaml(site: Any, tmp_path: Path) -> None:
    config = tmp_path / "hello.yaml"
    config.write_text(PIPELINE)
    data = MusicWorldSource(users=60, songs=120, days=30, seed=1).load()
    users = [str(user) for user in data.users.take(range(5))]
    rows = json.loads(site.python("-c", SLATES, str(config), *users, "nobody"))
    for position, user in enumerate([*users, "nobody"]):
        expected = slowly(data, position if user != "nobody" else None)
        served = [(item, score) for name, item, score in rows if name == user]
        assert [item for item, _ in served] == [item for item, _ in expected]
        np.testing.assert_allclose([score for _, score in served], [score for _, score in expected], rtol=1e-6)


def slowly(data: Dataset, user: int | None) -> list[tuple[str, float]]:
    """The first three of a user by the definitions alone: unheard songs by their plays at this hour of the day, scored
    1 / rank and up to 0.25 for energy."""
    events = data.events
    assert (events.weight > 0).all()
    heard = [] if user is None else events.item[events.indptr[user] : events.indptr[user + 1]].tolist()
    now = data.as_of // HOUR % 24
    at_this_hour = [
        song for song, time in zip(events.item.tolist(), events.time.tolist(), strict=True) if time // HOUR % 24 == now
    ]
    plays = Counter(song for song in at_this_hour if song not in heard)
    proposed = sorted(plays, key=lambda song: (-plays[song], song))[:50]
    column = data.catalog.columns["energy"]
    assert isinstance(column, NumberColumn)
    energy = {song: float(column.values[song]) for song in proposed}
    low, high = min(energy.values()), max(energy.values())
    score = {song: 1 / rank + 0.25 * (energy[song] - low) / (high - low) for rank, song in enumerate(proposed, start=1)}
    best = sorted(proposed, key=lambda song: (-np.float32(score[song]), song))[:3]
    return [(str(data.items.take([song])[0]), score[song]) for song in best]
