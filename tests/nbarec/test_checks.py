"""The checks for plugin authors: every built-in component passes them, and they run from pytest and the shell."""

from __future__ import annotations

import re
import unittest
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.cli import run_command
from nbarec.components import Component, NoState, Ranker, param
from nbarec.data import Dataset
from nbarec.expressions import Expression
from nbarec.params import Duration, StageRef
from nbarec.plugins import Provider, Registered, registry
from nbarec.testing.checks import Check, CheckFailed, NotApplicable, checks
from nbarec_plugins.adjust import Novelty, PopularityPenalty, Recency
from nbarec_plugins.again import Again
from nbarec_plugins.als import Als
from nbarec_plugins.blend import Blend, Case
from nbarec_plugins.boost import Boost
from nbarec_plugins.bpr import Bpr
from nbarec_plugins.calibrate import Calibrate
from nbarec_plugins.caps import MaxPer
from nbarec_plugins.content import Content
from nbarec_plugins.context_features import ContextFeatures
from nbarec_plugins.dpp import Dpp
from nbarec_plugins.ease import Ease
from nbarec_plugins.fm import Fm
from nbarec_plugins.gbdt import Gbdt
from nbarec_plugins.item_cf import ItemCf
from nbarec_plugins.item_features import ItemFeatures
from nbarec_plugins.listed import Listed
from nbarec_plugins.logistic import Logistic
from nbarec_plugins.low_pass import LowPass
from nbarec_plugins.mmr import Mmr
from nbarec_plugins.multi import Label, Multi
from nbarec_plugins.music_world import MusicWorldSource
from nbarec_plugins.nmf import Nmf
from nbarec_plugins.pair_features import PairFeatures
from nbarec_plugins.pin import Pin
from nbarec_plugins.popularity import Popularity
from nbarec_plugins.proposal_features import Proposals
from nbarec_plugins.pure_svd import PureSvd
from nbarec_plugins.random_items import RandomItems
from nbarec_plugins.random_walk import P3Alpha, Rp3Beta
from nbarec_plugins.recent import Recent
from nbarec_plugins.rules import ExcludeConsumed, Reject, Require
from nbarec_plugins.session import Session
from nbarec_plugins.slim import Slim
from nbarec_plugins.source_params import EventFields, EventsFile, ItemsFile
from nbarec_plugins.sources import Csv, Jsonl, Tsv
from nbarec_plugins.spacing import Spacing
from nbarec_plugins.spectral_ease import SpectralEase
from nbarec_plugins.stack import Stack
from nbarec_plugins.user_cf import UserCf
from nbarec_plugins.user_features import UserFeatures
from nbarec_plugins.weighted import Weighted

EXPLICIT = Expression("item.explicit")
STAGES: list[Component] = [
    Again(half_life=Duration("10d")),
    Again(across=("device",)),
    Als(factors=3, iterations=3),
    Als(mode="explicit", factors=3, iterations=3),
    Bpr(factors=3, epochs=2),
    Content(),
    Content(fields={"artist": 1.0, "tempo": 0.5}),
    Ease(regularization=2.0),
    ItemCf(neighbors=5),
    ItemCf(similarity="pearson", score="mean"),
    Listed(items=("s2", "s0")),
    Listed(where=EXPLICIT, by="released"),
    LowPass(factors=3),
    Nmf(factors=3),
    P3Alpha(neighbors=5),
    Popularity(half_life=Duration("10d"), count="users"),
    Popularity(by="context.device", min_events=2),
    Popularity(by="item.moods"),
    PureSvd(factors=3),
    RandomItems(),
    Recent(),
    Rp3Beta(neighbors=5),
    Session(),
    Session(mode="markov", steps=2),
    Slim(neighbors=5),
    SpectralEase(factors=3),
    UserCf(),
    UserCf(similarity="pearson", score="mean"),
    Blend(cases=(Case(when=EXPLICIT, weights={"similar": 1.0}),)),
    Blend(method="standardised", weights={"latent": 1.0, "own": 0.5}),
    Blend(method="min_max"),
    Boost(where=EXPLICIT, add=0.5, max_share=0.5),
    Boost(where=Expression("user.age > 30"), multiply=2.0),
    Novelty(),
    PopularityPenalty(),
    Recency(),
    Stack(),
    Stack(method="logistic"),
    Logistic(features=("*", "item.genre", "context.device")),
    Logistic(crosses=(("item.genre", "context.hour"),), calibration="none"),
    Fm(factors=2, epochs=2),
    Gbdt(trees=3),
    Gbdt(loss="lambdarank", trees=3),
    Multi(labels_={"listen": Label(Expression("seconds >= 30")), "like": Label(Expression("kind == 'like'"), 2.0)}),
    UserFeatures(),
    ItemFeatures(released="released"),
    PairFeatures(by=("artist", "moods"), vectors=StageRef("latent")),
    ContextFeatures(by=("genre",), across=("device",)),
    Proposals(),
    Weighted(weights={"mixed": 1.0, "affinity": 0.5, "latent": -0.2}),
    Weighted(weights={"fresh": 1.0, "affinity": 0.5}, combine="product"),
    Weighted(weights={"affinity": 1.0, "latent": -1.0}, scale="standardised"),
    Weighted(weights={"affinity": 1.0, "latent": -1.0}, scale="rank"),
    Calibrate(by="moods", strength=0.9),
    Dpp(relevance=0.5),
    Mmr(relevance=0.5, vectors=StageRef("latent")),
    ExcludeConsumed(within=Duration("10d"), where=Expression("kind == 'like'")),
    MaxPer(by="artist", max=1),
    MaxPer(by="moods", max=2, missing="together"),
    Pin(where=EXPLICIT, at=2),
    Reject(where=Expression("user.age < 18 and item.explicit")),
    Require(where=Expression("user.country in item.regions")),
    Spacing(by="artist"),
    Spacing(by="moods", strict=True),
    MusicWorldSource(users=10, songs=20, days=10),
]
ROWS = [("ann", "tea", 1, "play", "hot"), ("bob", "milk", 2, "like", "cold"), ("ann", "milk", 3, "play", "cold")]
WRITTEN: dict[str, Callable[[tuple[object, ...]], str]] = {
    "csv": lambda row: ",".join(map(str, row)),
    "tsv": lambda row: "\t".join(map(str, row)),
    "jsonl": lambda row: '{{"user": "{}", "item": "{}", "ts": {}, "kind": "{}", "type": "{}"}}'.format(*row),
}


def built_in() -> list[Registered]:
    return [one for one in registry().components() if one.provider.is_from("nbarec")]


METRICS = [one.component() for one in built_in() if one.kind == "metric"]


def failures(component: Component) -> list[str]:
    listed = [(check.name, check.outcome) for check in checks(component)]
    return [f"{name}: {outcome.message}" for name, outcome in listed if outcome.verdict == "failed"]


@pytest.mark.parametrize("component", [*STAGES, *METRICS], ids=lambda component: component.name)
def test_every_built_in_passes_every_check(component: Component) -> None:
    assert failures(component) == []


@pytest.mark.parametrize("source", [Csv, Tsv, Jsonl], ids=lambda source: source.name)
def test_sources_of_text_files_pass_every_check(source: type[Csv | Tsv | Jsonl], tmp_path: Path) -> None:
    path = tmp_path / f"events.{source.name}"
    header = [] if source is Jsonl else [("user", "item", "ts", "kind", "type")]
    path.write_text("\n".join(map(WRITTEN[source.name], [*header, *ROWS])) + "\n", "utf-8")
    events = EventsFile(path=path, columns=EventFields(user="user", item="item", time="ts", kind="kind"))
    assert failures(source(events=events)) == []
    items = tmp_path / f"items.{source.name}"
    items.write_text("\n".join(map(WRITTEN[source.name], [*header, *ROWS[:2]])) + "\n", "utf-8")
    described = ItemsFile(path=items, id="item", columns={"type": "category", "ts": "number"})
    assert failures(source(events=events, items=described)) == []


def test_no_built_in_is_left_out() -> None:
    checked = {type(component) for component in (*STAGES, *METRICS)} | {Csv, Tsv, Jsonl}
    assert checked == {one.component for one in built_in()}


@dataclass(frozen=True)
class Plus(Ranker[NoState]):
    """The score so far and a little more."""

    name: ClassVar[str] = "plus"
    more: float = param(1.0, ge=0, doc="How much.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def rank(self, state: NoState, request: Any, pool: Any) -> Any:
        return pool.score + np.float32(self.more)


@dataclass(frozen=True)
class PlusMean(Plus):
    """The score so far and the mean of the batch."""

    def rank(self, state: NoState, request: Any, pool: Any) -> Any:
        return pool.score + pool.score.mean(dtype=np.float32) if len(pool) else pool.score


@pytest.mark.parametrize("check", checks(Plus), ids=lambda check: check.name)
def test_the_way_that_authors_use_them(check: Check) -> None:
    if check.outcome.verdict == "not applicable":
        with pytest.raises(NotApplicable, match=r"it has no update|it tells no terms"):
            check.run()
    else:
        check.run()


def test_each_check_has_a_name_of_its_own_and_says_what_it_means() -> None:
    for component in (*STAGES, *METRICS):
        listed = checks(component)
        assert len({check.name for check in listed}) == len(listed)
        assert all(check.doc for check in listed)


def named(component: Component, name: str) -> Check:
    return next(check for check in checks(component) if check.name == name)


def test_a_failed_check_says_what_was_asked_what_came_and_what_to_do() -> None:
    with pytest.raises(CheckFailed) as caught:
        named(PlusMean(), "batch_equals_single").run()
    assert "in the world 'tiny' row 0 gets" in str(caught.value)
    assert "in a batch of 4" in str(caught.value)
    assert "compute each row from itself" in str(caught.value)
    assert issubclass(CheckFailed, AssertionError)


def test_what_does_not_apply_is_skipped_and_says_why() -> None:
    assert issubclass(NotApplicable, unittest.SkipTest)  # which pytest shows as skipped
    assert named(MaxPer(by="artist", max=1), "no_attributes").outcome.message.startswith("refused: max_per has `by:")
    wrong = MaxPer(by="height", max=1)
    failed = named(wrong, "accepts_a_world").outcome
    assert failed.verdict == "failed"
    assert "no column 'height'" in failed.message
    assert named(wrong, "empty_batch").outcome.message == "accepts_a_world fails; mend that first"


def test_what_is_no_component_or_needs_more_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"MaxPer needs by, max; give an instance: checks\(MaxPer\(by=\.\.\., max="):
        checks(MaxPer)
    with pytest.raises(TypeError, match="which int is not"):
        checks(5)  # type: ignore[arg-type]


def test_the_command_prints_a_line_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["plugins", "check", "nbarec/max_per", "--with", "by=artist", "--with", "max=2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("max_per: a post-filter of nbarec==")
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in printed.splitlines() if line.startswith("  ")}
    assert lines["batch_equals_single"] == "ok"
    assert lines["update_with_nothing_new"] == "not applicable: it has no update"
    assert set(lines) - {"25"} == {check.name for check in checks(MaxPer(by="artist", max=2))}
    assert "0 failed" not in printed


def test_the_command_ends_with_1_where_a_check_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Provider("nbarec-other", "1.2", "plus", "nbarec_other")
    known = registry()
    found = replace(known, registered=(*known.registered, Registered("ranker", PlusMean, other)))
    monkeypatch.setattr("nbarec.commands.plugins.registry", lambda: found)
    assert run_command(["plugins", "check", "plus", "--with", "more=2"]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"batch_equals_single +failed: in the world 'tiny' row 0 gets", printed)
    assert re.search(r"26 checks: \d+ ok, \d failed", printed)


def test_a_name_of_several_kinds_is_checked_as_all_or_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["plugins", "check", "novelty"]) == 0
    printed = capsys.readouterr().out
    assert "novelty: a ranker of" in printed
    assert "novelty: a metric of" in printed
    assert run_command(["plugins", "check", "novelty", "--kind", "metric"]) == 0
    assert "ranker" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["max_per"], 1, "max_per needs the parameter 'by' (text); add it"),
        (["max_per", "--with", "by=artist", "--with", "max=0"], 1, "max must be at least 1, not 0"),
        (["als", "--with", "factor=3"], 1, "did you mean 'factors'?"),
        (["als", "--with", "factors"], 2, "'factors' is not KEY=VALUE"),
        (["nothing"], 1, "no component is called 'nothing'"),
        (["als", "--kind", "metric"], 1, "no metric is called 'als'"),
        ([], 2, "Missing argument 'NAME'"),
    ],
)
def test_mistakes_are_told(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["plugins", "check", *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_component_may_be_called_like_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["plugins", "show", "item_cf"]) == 0
    shown = capsys.readouterr().out
    assert run_command(["plugins", "item_cf"]) == 0
    assert capsys.readouterr().out == shown
    assert run_command(["plugins", "check", "--help"]) == 0
    assert "Example:" in capsys.readouterr().out
