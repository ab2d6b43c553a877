"""What many tests share: the folder of real data, a small pipeline on the music world, made-up plugins, and
the modules `shown`, `environments`, `learners` and `feature_checks`."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pluggy
import pytest

from nbarec import hookspecs
from nbarec.components import Component, Example
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.plugins import Provider, Registered, registry
from nbarec.providers import KINDS

ROOT = Path(__file__).parents[1]
OTHER = Provider("nbarec-other", "1.2", "other", "nbarec_other")

MUSIC = """
nbarec: 1
seed: 7
data:
  use: music_world
  users: 60
  songs: 80
  days: 30
  events_per_user: 15
  feedback: {weights: {play: 1, like: 3, playlist_add: 4, skip: -0.5}, combine: {by: sum, max: 10}}
candidates:
  - {id: similar, use: item_cf, k: 40, with: {neighbors: 20}}
  - {id: alike, use: content, k: 30, with: {fields: {genre: 1.0, energy: 0.5}}}
  - {id: trending, use: popularity, k: 30, with: {by: context.device, min_events: 0}}
rank:
  - id: mixed
    use: blend
    keep: 25
    with:
      weights: {similar: 1.0, alike: 0.3, trending: 0.2}
      cases: [{when: user.events < 3, weights: {alike: 0.5, trending: 1.0}}]
filters:
  - {id: licensed, use: require, with: {where: user.country in item.regions, missing: allow}}
  - {id: artists, use: max_per, with: {by: artist, max: 2}}
slate: {k: 6, fallback: trending}
"""


@pytest.fixture(scope="session")
def data_folder() -> Iterator[Path]:
    """The folder of real data, under which the configs find it; skips where there is none."""
    folder = Path(os.environ.get("NBAREC_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs real data, and there is no folder {folder}; set NBAREC_DATA to where they are")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBAREC_DATA", str(folder))
        yield folder


def helpers(name: str) -> ModuleType:
    """A module beside this file, which tests can't import as they are no package."""
    spec = importlib.util.spec_from_file_location(f"tests.{name}", ROOT / "tests" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shown() -> ModuleType:
    """The module `tests/shown.py`, which runs what pages show."""
    return helpers("shown")


@pytest.fixture(scope="session")
def environments() -> ModuleType:
    """The module `tests/environments.py`, which makes environments to install plugins into."""
    return helpers("environments")


@pytest.fixture(scope="session")
def learners() -> ModuleType:
    """The module `tests/learners.py`, which has rankers that learn, and what they are told."""
    return helpers("learners")


@pytest.fixture(scope="session")
def feature_checks() -> ModuleType:
    """The module `tests/feature_checks.py`, with what holds of every feature provider."""
    return helpers("feature_checks")


@pytest.fixture
def heard(plug: Callable[..., None], learners: ModuleType) -> Iterator[list[list[Example]]]:
    """What the ranker `listens` of `learners` was told, fit by fit; it and `wonders` are plugged in."""
    plug(learners.Listens, learners.Wonders)
    learners.Listens.heard.clear()
    yield learners.Listens.heard
    learners.Listens.heard.clear()


@pytest.fixture(scope="session")
def music_text() -> str:
    """A small pipeline with every kind of built-in stage, as YAML."""
    return MUSIC


@pytest.fixture(scope="session")
def music_model() -> Model:
    """The small pipeline, fitted."""
    return Pipeline.from_text(MUSIC).fit()


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`plug(*component classes, hooks=object)`: the plugins of this process and those of nbarec-other 1.2."""

    def plugged(*components: type[Component], hooks: object = None) -> None:
        known = registry()
        manager = pluggy.PluginManager("nbarec")
        manager.add_hookspecs(hookspecs)
        if hooks is not None:
            manager.register(hooks, str(OTHER))
        made = [
            Registered(kind, component, OTHER)
            for component in components
            for kind, spec in KINDS.items()
            if issubclass(component, spec.base)
        ]
        found = replace(
            known, manager=manager, registered=(*known.registered, *made), providers=(*known.providers, OTHER)
        )
        monkeypatch.setattr("nbarec.pipeline.registry", lambda: found)
        monkeypatch.setattr("nbarec.saved.registry", lambda: found)

    return plugged
