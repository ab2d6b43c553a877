"""`nbarec factors`: what it finds, what it says, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.batch import Candidates, Request
from nbarec.cli import run_command
from nbarec.components import CandidateGenerator
from nbarec.data import Dataset
from nbarec.errors import ConfigError, ContractError
from nbarec.factors import POLE, STRONG, STRONGEST, Factors
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.saved import load_model
from nbarec.tables import CategoryColumn

Plug = Callable[..., None]
Run = Callable[..., tuple[int, str, str]]

TEXT = """
nbarec: 1
data:
  use: music_world
  users: 300
  songs: 160
  days: 30
  feedback: {weights: {play: 1, like: 3, playlist_add: 4, skip: -0.5}}
candidates:
"""
TASTES = "  - {id: tastes, use: nmf, with: {factors: 6}}\n"
LATENT = "  - {id: latent, use: als, with: {factors: 6}}\n"
ALIKE = "  - {id: alike, use: content}\n"


@dataclass(frozen=True)
class Vectors:
    """A row an item."""

    rows: np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Given(CandidateGenerator[Vectors]):
    """Item vectors and nothing else: the first hundred songs on factor 1, at either end; factor 2 is empty."""

    name: ClassVar[str] = "given"

    def fit(self, data: Dataset, rng: np.random.Generator) -> Vectors:
        rows = np.zeros((len(data.items), 2), np.float32)
        rows[:50, 0], rows[50:100, 0] = np.linspace(2, 1, 50), -np.linspace(1.5, 0.01, 50)
        return Vectors(rows)

    def generate(self, state: Vectors, request: Request, limit: int) -> Candidates:
        return Candidates.empty(len(request))

    def item_vectors(self, state: Vectors) -> np.ndarray[Any, np.dtype[np.float32]]:
        return state.rows


@dataclass(frozen=True)
class Broken(Given):
    """Can't be fitted."""

    name: ClassVar[str] = "broken"

    def fit(self, data: Dataset, rng: np.random.Generator) -> Vectors:
        raise ConfigError("the songs are out of tune")


@dataclass(frozen=True)
class Crooked(Given):
    """Places users where there are no items."""

    name: ClassVar[str] = "crooked"

    def user_vectors(self, state: Vectors, request: Request) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.zeros((len(request), 3), np.float32)


@pytest.fixture(autouse=True)
def components(plug: Plug) -> None:
    """The made-up ones beside the built-in."""
    plug(Given, Crooked, Broken)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], tuple[Model, Path]]:
    """A fitted model of these candidates, and where it is saved."""

    def made(candidates: str) -> tuple[Model, Path]:
        model = Pipeline.from_text(TEXT + candidates).fit()
        return model, model.save(tmp_path / "model")

    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `nbarec factors` with these arguments: exit code, output, errors."""

    def ran(*arguments: object) -> tuple[int, str, str]:
        code = run_command(["factors", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return ran


def test_tastes_are_shown_as_they_are_with_labels(saved: Any, run: Run) -> None:
    model, folder = saved(TASTES)
    code, text, errors = run(folder)
    assert (code, errors) == (0, "")
    assert text.startswith("tastes (nmf): 6 factors over 160 items, as they are\n")
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("\n\n") == 6
    found = Factors.of(load_model(folder))
    assert found.rotation is None
    assert [(pole.factor, pole.sign) for pole in found.poles] == [(factor, 1) for factor in range(1, 7)]
    genre = model.data.catalog.columns["genre"]
    assert isinstance(genre, CategoryColumn)
    named = [trait for pole in found.poles for trait in pole.traits[:1] if trait.column == "genre"]
    assert len(named) >= 3
    for pole in found.poles:
        column = found.loadings[:, pole.factor - 1]
        strongest = np.argsort(-column, kind="stable")[:STRONGEST]
        np.testing.assert_array_equal(pole.items, strongest[column[strongest] >= STRONG * column.max()])
        np.testing.assert_array_equal(pole.loading, column[pole.items])
        assert pole.label in " ".join(text.split())
        for trait in pole.traits:
            if trait.column != "genre":
                continue
            has = np.array(genre.levels.texts(genre.codes)) == trait.what
            assert trait.overall == pytest.approx(has.mean())
            assert trait.among == pytest.approx((pole.loading * has[pole.items]).sum() / pole.loading.sum())


def test_json_holds_it_all(saved: Any, run: Run) -> None:
    model, folder = saved(TASTES)
    user = model.data.users.all()[0]
    code, text, _ = run(folder, "--format", "json", "--items", 3, "--user", user)
    whole = json.loads(text)
    assert code == 0
    assert (whole["stage"], whole["component"], whole["rotated"]) == ("tastes", "nmf", False)
    first = whole["factors"][0]
    assert (first["factor"], first["sign"], len(first["items"])) == (1, "+", 3)
    item = first["items"][0]
    at = model.data.items.index([item["item_id"]])
    assert [item["name"]] == model.data.catalog.labels("name", at)
    assert [item["features"]["genre"]] == model.data.catalog.labels("genre", at)
    assert ["|".join(item["features"]["moods"])] == model.data.catalog.labels("moods", at)
    assert isinstance(item["features"]["tempo"], float)
    assert first["label"].split(", ")[0] in (first["traits"][0]["what"], "energy high", "energy low")
    sizes = [abs(one["loading"]) for one in whole["users"][0]["factors"]]
    assert sizes == sorted(sizes, reverse=True)


def test_users_are_shown_by_their_strongest_factors(saved: Any, run: Run) -> None:
    model, folder = saved(TASTES)
    found = Factors.of(model)
    users = model.data.users.all()
    silent = users[int(np.flatnonzero(model.data.events.counts == 0)[0])]
    busy = users[int(model.data.events.counts.argmax())]
    code, text, _ = run(folder, "--user", busy, "--user", silent)
    assert code == 0
    loadings = found.user_loadings(model, [busy, silent])
    strongest = int(loadings[0].argmax())
    pole = found.pole(strongest + 1, 1)
    assert pole is not None
    lines = text.splitlines()
    at = lines.index(f"{busy}:")
    assert lines[at + 2].split() == [str(strongest + 1), f"{loadings[0, strongest]:.3g}", *pole.label.split()]
    assert f"{silent}: no factors; tastes finds nothing to read in the history" in lines
    np.testing.assert_array_equal(loadings[1], 0.0)


def test_signed_factors_are_turned_and_users_with_them(saved: Any, run: Run) -> None:
    model, folder = saved(LATENT)
    code, text, _ = run(folder)
    assert code == 0
    assert "turned by varimax" in text
    found = Factors.of(model)
    state: Any = model.fitted["latent"].state
    component: Any = found.stage.component
    vectors = component.item_vectors(state).astype(np.float64)
    np.testing.assert_allclose(found.loadings @ found.loadings.T, vectors @ vectors.T, atol=1e-6)
    users = model.data.users.all()[:20]
    request = model.door.request(users, model.door.asked(20, 1))
    plain = component.user_vectors(state, request).astype(np.float64)
    np.testing.assert_allclose(found.user_loadings(model, users) @ found.loadings.T, plain @ vectors.T, atol=1e-5)
    for pole in found.poles:
        column = pole.sign * found.loadings[:, pole.factor - 1]
        assert column.max() >= POLE * np.abs(column).max()
        assert f"{pole.factor}{'+' if pole.sign > 0 else '-'}  {pole.label}"[:40] in " ".join(text.split(" "))
    assert len({pole.factor for pole in found.poles}) == 6
    assert run(folder, "--user", users[0])[0] == 0


def test_two_ends_and_an_empty_factor(saved: Any, run: Run) -> None:
    model, folder = saved("  - {id: given, use: given}\n")
    code, text, _ = run(folder, "--items", 1)
    assert code == 0
    assert "given (given): 2 factors over 160 items, turned by varimax; 1 of them empty" in text
    found = Factors.of(model)
    assert [(pole.factor, pole.sign) for pole in found.poles] == [(1, 1), (1, -1)]
    np.testing.assert_array_equal(found.poles[0].items, np.arange(20))
    np.testing.assert_array_equal(found.poles[1].items, np.arange(50, 70))
    with pytest.raises(ConfigError, match="none of users"):
        found.user_loadings(model, ["U0001"])


@pytest.mark.parametrize(
    ("candidates", "arguments", "said"),
    [
        (ALIKE, [], "no generator of the model has latent factors (they are alike)"),
        (TASTES + LATENT, [], "choose one by --stage: tastes, latent"),
        (TASTES + ALIKE, ["--stage", "alike"], "'alike' has no latent factors (no item vectors)"),
        (TASTES, ["--stage", "tases"], "no generator of the model has the id 'tases'; there are tastes"),
        (TASTES, ["--user", "nobody"], "'nobody' is not among the model's 300 users"),
        ("  - {use: broken, on_error: skip}\n", [], "has no latent factors: it could not be fitted: config"),
    ],
    ids=["no vectors", "several", "not able", "unknown stage", "unknown user", "not fitted"],
)
def test_what_is_asked_wrongly(saved: Any, run: Run, candidates: str, arguments: list[str], said: str) -> None:
    _, folder = saved(candidates)
    code, text, errors = run(folder, *arguments)
    assert (code, text) == (1, "")
    assert said in errors


def test_vectors_that_break_the_contract_are_named(saved: Any) -> None:
    model, _ = saved("  - {id: bent, use: crooked}\n")
    with pytest.raises(ContractError, match=r"candidates\.bent .*user_vectors must be finite and of shape \(1, 2\)"):
        Factors.of(model).user_loadings(model, model.data.users.all()[:1])


def test_a_missing_model_and_the_help(run: Run, tmp_path: Path) -> None:
    code, _, errors = run(tmp_path / "none")
    assert code == 1
    assert "none" in errors
    code, text, _ = run("--help")
    assert code == 0
    assert "nbarec factors runs/music/model" in text
    assert "varimax" in text


def test_a_catalogue_without_columns(run: Run, tmp_path: Path) -> None:
    songs = [song for user in range(12) for song in range(user % 3, 12, 3)]
    users = [user for user in range(12) for _ in range(user % 3, 12, 3)]
    data = Dataset.from_arrays([f"u{user}" for user in users], [f"s{song}" for song in songs])
    text = "nbarec: 1\ndata: {use: music_world}\ncandidates: [{id: tastes, use: nmf, with: {factors: 3}}]\n"
    Pipeline.from_text(text).fit(data).save(tmp_path / "model")
    code, shown, errors = run(tmp_path / "model", "--items", 2)
    assert (code, errors) == (0, "")
    assert shown.count("mixed") == 3
    assert "no columns that a label could be taken from" in shown
    assert "s0" in shown
    whole = json.loads(run(tmp_path / "model", "--format", "json")[1])
    assert whole["factors"][0]["items"][0]["name"] is None
    assert whole["factors"][0]["items"][0]["features"] == {}
