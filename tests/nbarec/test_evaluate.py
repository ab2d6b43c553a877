"""The evaluation run on slates that are known in advance, and what it writes."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats64
from nbarec.batch import Slate, Trace
from nbarec.components import Metric
from nbarec.data import Dataset
from nbarec.errors import ConfigError, ContractError
from nbarec.evaluate import evaluate, parse_metric
from nbarec.measuring import MetricAt
from nbarec.one_pass import Lists
from nbarec.reports import Evaluation, aligned, replacing
from nbarec.sparse import Csr
from nbarec.statistics import mean_interval

USERS, ITEMS, PLACES = 40, 12, 5


@dataclass(frozen=True)
class Share(Metric):
    """The share of the places with a relevant item; undefined where the first place is empty."""

    name: ClassVar[str] = "share"

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """Hits over places."""
        row = np.arange(len(slate))[:, None] + np.zeros_like(slate.item)
        return np.where(slate.item[:, 0] < 0, np.nan, truth.contains(row, slate.item).mean(axis=1))


@dataclass(frozen=True)
class Reach(Metric):
    """The share of items in any slate, told by the users' names, so that a resample has to carry them along."""

    name: ClassVar[str] = "reach"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """The share of items in the user's slate."""
        return np.asarray((slate.item >= 0).sum(axis=1) / len(data.items))

    def aggregate(self, values: Floats64, slate: Slate, data: Dataset) -> float:
        """Different items over all items."""
        assert len(values) == len(slate.users) == len(slate.trace.known) == len(slate)
        rows = {user: set(row) for user, row in zip(slate.users, slate.item.tolist(), strict=True)}
        return len(set().union(*rows.values()) - {-1}) / len(data.items)


@dataclass(frozen=True)
class Broken(Metric):
    """Gives whatever it is told to."""

    name: ClassVar[str] = "broken"
    give: ClassVar[Callable[[int], np.ndarray]]

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """Not what the base class asks for."""
        return type(self).give(len(slate))


KNOWN: dict[str, type[Metric]] = {"share": Share, "reach": Reach}
METRICS = (MetricAt(Share(), 5), MetricAt(Share(), 2), MetricAt(Reach(), 5))


def rng(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


def slate_of(items: np.ndarray, users: Sequence[int]) -> Slate:
    rows = len(items)
    trace = Trace((), (), np.empty((rows, 0), np.int32), np.ones(rows, bool), np.zeros(rows, np.int64))
    return Slate(
        item=items.astype(np.int32),
        score=np.zeros(items.shape, np.float32),
        decision=("",) * rows,
        users=tuple(users),
        ids=DATA.items,
        trace=trace,
    )


DATA = Dataset.from_arrays(np.repeat(np.arange(USERS), 3), np.arange(USERS * 3) % ITEMS)
SLATES = {
    name: np.array([rng(seed + user).permutation(ITEMS)[:PLACES] for user in range(USERS)])
    for name, seed in ((None, 0), ("near", 100), ("far", 200))
}
TRUTH = Csr.from_pairs(np.repeat(np.arange(5, USERS), 2), np.arange(2 * (USERS - 5)) * 7 % ITEMS, None, (USERS, ITEMS))


class Recommender:
    """Known slates; remembers who was asked for."""

    def __init__(self, stages: Sequence[str] = ()) -> None:
        self.stages = stages
        self.asked: list[tuple[int, list[int]]] = []

    def __call__(self, users: np.ndarray, k: int) -> Lists:
        self.asked.append((k, users.tolist()))
        slate, *own = (slate_of(SLATES[name][users], users.tolist()) for name in (None, *self.stages))
        return Lists(slate, dict(zip(self.stages, own, strict=True)), None, 1.0)


def run(seed: int = 7, batch: int = 4096, metrics: Sequence[MetricAt] = METRICS, resamples: int = 300) -> Evaluation:
    return evaluate(
        Recommender(("near", "far")),
        np.arange(USERS),
        TRUTH,
        metrics,
        DATA,
        rng(seed),
        holdout=("half",),
        batch=batch,
        resamples=resamples,
    )


def share(stage: str | None, user: int, k: int) -> float:
    relevant = set(TRUTH.indices[TRUTH.indptr[user] : TRUTH.indptr[user + 1]])
    return len(relevant & set(SLATES[stage][user][:k])) / k


def test_every_list_is_measured_for_users_with_a_relevant_item() -> None:
    recommender = Recommender(("near", "far"))
    found = evaluate(recommender, np.arange(USERS), TRUTH, METRICS, DATA, rng(), resamples=50)
    assert recommender.asked == [(k, list(range(5, USERS))) for k in sorted({metric.k for metric in METRICS})]
    assert found.users == tuple(str(user) for user in range(5, USERS))
    assert found.skipped == 5
    assert found.seconds > 0
    for stage, report in {None: found.slate, **found.stages}.items():
        for k in (5, 2):
            wanted = [share(stage, user, k) for user in range(5, USERS)]
            assert report.values[f"share@{k}"].tolist() == wanted
            assert report.figures[f"share@{k}"].mean == pytest.approx(np.mean(wanted))
        shown = set(SLATES[stage][5:].ravel())
        assert report.figures["reach@5"].mean == len(shown) / ITEMS
        assert (report.figures["reach@5"].users, report.figures["reach@5"].undefined) == (USERS - 5, 0)
    assert found.metrics is found.slate.figures


def test_intervals_are_the_bootstraps() -> None:
    found = run(seed=3, resamples=300)
    for report in (found.slate, *found.stages.values()):
        for label in ("share@5", "share@2"):
            wanted = mean_interval(report.values[label], rng(3), resamples=300)
            assert report.figures[label].ci95 == pytest.approx(wanted)
            assert wanted[0] < report.figures[label].mean < wanted[1]


def test_a_figure_that_is_no_mean_stands_in_its_interval() -> None:
    few = tuple(MetricAt(Reach(), k) for k in (1, 5))
    found = run(metrics=few)
    low, high = found.metrics["reach@1"].ci95
    assert low <= found.metrics["reach@1"].mean <= high <= 1.0
    assert found.metrics["reach@5"].ci95[1] <= 1.0
    sample = SLATES[None][5:, 0]
    generator = np.random.default_rng(int(rng(7).integers(2**63)))
    drawn = [len(set(sample[generator.integers(0, 35, 35)])) / ITEMS for _ in range(200)]
    assert found.metrics["reach@1"].mean - low == pytest.approx(1.96 * np.std(drawn, ddof=1), rel=1e-3)


def test_a_metric_of_exposure_has_the_interval_of_its_aggregate() -> None:
    def of_exposure(self: Reach, shown: np.ndarray, data: Dataset) -> float:
        return np.count_nonzero(shown) / len(data.items)

    quick: type[Reach] = dataclass(frozen=True)(type("Quick", (Reach,), {"name": "quick", "of_exposure": of_exposure}))
    few = tuple(MetricAt(metric(), k) for metric in (Reach, quick) for k in (1, 5))
    found = run(metrics=few)
    for report in (found.slate, *found.stages.values()):
        for k in (1, 5):
            assert report.figures[f"quick@{k}"] == report.figures[f"reach@{k}"]


def test_lists_that_are_the_same_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    measure = Share.per_user

    def counted(self: Share, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        asked.append(len(slate))
        return measure(self, slate, truth, data)

    monkeypatch.setattr(Share, "per_user", counted)

    def serve(users: np.ndarray, k: int) -> Lists:
        found = Recommender(("near", "far"))(users, k)
        return replace(found, stages={**found.stages, "last": found.slate})

    found = evaluate(serve, np.arange(USERS), TRUTH, METRICS[:1], DATA, rng(), resamples=20)
    assert len(asked) == 3
    assert found.stages["last"].figures == found.slate.figures
    assert list(found.stages) == ["near", "far", "last"]


def test_the_same_seed_gives_the_same_evaluation_in_any_batches() -> None:
    first = run().to_json()
    assert run(batch=3).to_json() == first
    assert run(seed=8).to_json()["metrics"]["share@5"]["ci95"] != first["metrics"]["share@5"]["ci95"]


def test_truth_rows_follow_the_users_that_are_asked_for() -> None:
    users = np.array([30, 2, 9])
    found = evaluate(Recommender(), users, TRUTH, METRICS, DATA, rng(), resamples=10)
    assert found.users == ("30", "9")
    assert found.slate.values["share@5"].tolist() == [share(None, 30, 5), share(None, 9, 5)]
    assert found.skipped == 1
    assert found.stages == {}


def test_undefined_values_are_counted_and_left_out() -> None:
    def recommend(users: np.ndarray, k: int) -> Lists:
        items = SLATES[None][users].copy()
        items[:10] = -1
        return Lists(slate_of(items, users.tolist()), {}, None, 0.0)

    found = evaluate(recommend, np.arange(USERS), TRUTH, METRICS, DATA, rng(), resamples=50).metrics["share@5"]
    assert (found.users, found.undefined) == (USERS - 15, 10)
    assert found.mean == pytest.approx(np.mean([share(None, user, 5) for user in range(15, USERS)]))


def test_a_metric_that_breaks_its_contract_is_named() -> None:
    gifts = (lambda n: np.zeros(n + 1), lambda n: np.zeros(n, int), lambda n: np.full(n, np.inf))
    for gift in gifts:
        Broken.give = staticmethod(gift)
        with pytest.raises(ContractError, match=r"metric broken@5 gave \w+ \(\d+,\) for 35 users; per_user must give"):
            run(metrics=[MetricAt(Broken(), 5)])


def test_lists_are_as_long_as_they_are_used_and_longer_only_for_a_metric_that_looks_further() -> None:
    recommender, metrics = Recommender(), [MetricAt(Share(), k) for k in (1, 5, 3)]
    found = evaluate(recommender, np.arange(USERS), TRUTH, metrics, DATA, rng(), places=3, resamples=5)
    assert [k for k, _ in recommender.asked] == [3, 5]
    alone = evaluate(Recommender(), np.arange(USERS), TRUTH, metrics[:1], DATA, rng(), places=3, resamples=5)
    assert found.metrics["share@1"].mean == alone.metrics["share@1"].mean


def test_slates_of_the_wrong_size_are_refused() -> None:
    with pytest.raises(ContractError, match="slate: slates have 35 users and 5 places; 35 users and at least 9 places"):
        run(metrics=[MetricAt(Share(), 9)])

    def nobody(users: np.ndarray, k: int) -> Lists:
        found = Recommender(("near",))(users, k)
        return replace(found, stages={"near": slate_of(SLATES["near"][:3], [0, 1, 2])})

    with pytest.raises(ContractError, match="near: slates have 3 users"):
        evaluate(nobody, np.arange(USERS), TRUTH, METRICS, DATA, rng(), resamples=5)


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no metric to evaluate by"):
        run(metrics=[])
    with pytest.raises(ConfigError, match="none of 5 users has a relevant held-out item"):
        evaluate(Recommender(), np.arange(5), TRUTH, METRICS, DATA, rng())


def test_parse_metric() -> None:
    parsed = parse_metric("share@20", KNOWN)
    assert (parsed.metric, parsed.k, parsed.label) == (Share(), 20, "share@20")
    with pytest.raises(ValueError, match="'shar@20': there is no metric 'shar'; did you mean 'share'"):
        parse_metric("shar@20", KNOWN)
    with pytest.raises(ValueError, match="there is no metric 'zzz'; the metrics are reach, share"):
        parse_metric("zzz@20", KNOWN)
    with pytest.raises(ValueError, match="'share' does not say how many places count; write for example share@10"):
        parse_metric("share", KNOWN)
    for places in ("0", "-1", "", "ten", "1.5", "²", " 5"):
        with pytest.raises(ValueError, match="is not a number of places"):
            parse_metric(f"share@{places}", KNOWN)


def test_the_files(tmp_path: Path) -> None:
    found = run()
    paths = found.write(tmp_path / "new" / "out" / "evaluation.json")
    assert sorted(tmp_path.joinpath("new/out").iterdir()) == sorted(paths)
    read = json.loads(paths[0].read_text())
    assert read == found.to_json()
    assert set(read["metrics"]) == {"share@5", "share@2", "reach@5"}
    figure = found.metrics["share@5"]
    assert read["metrics"]["share@5"] == {"mean": figure.mean, "ci95": [*figure.ci95], "users": 35, "undefined": 0}
    assert list(read["stages"]) == ["near", "far"]
    assert read["stages"]["near"]["metrics"]["share@2"]["mean"] == found.stages["near"].figures["share@2"].mean
    assert read["users"] == {"evaluated": 35, "without_relevant_item": 5}
    assert read["holdout"] == ["half"]
    header, *rows = csv.reader(paths[1].read_text().splitlines())
    labels = ["share@5", "share@2", "reach@5"]
    assert header == ["user_id", *labels, *(f"near:{m}" for m in labels), *(f"far:{m}" for m in labels)]
    assert [row[0] for row in rows] == list(found.users)
    assert [float(row[4]) for row in rows] == found.stages["near"].values["share@5"].tolist()


def test_undefined_figures_are_null_empty_and_a_dash(tmp_path: Path) -> None:
    def recommend(users: np.ndarray, k: int) -> Lists:
        return Lists(slate_of(np.full((len(users), 5), -1), users.tolist()), {}, None, 0.0)

    found = evaluate(recommend, np.arange(USERS), TRUTH, METRICS[:1], DATA, rng(), resamples=20)
    figures, users = found.write(tmp_path / "evaluation.json")
    assert json.loads(figures.read_text())["metrics"]["share@5"] == {
        "mean": None,
        "ci95": [None, None],
        "users": 0,
        "undefined": 35,
    }
    assert users.read_text().splitlines()[1] == "5,"
    assert aligned(found.rows()) == "stage  share@5\nslate  -"
    assert math.isnan(found.metrics["share@5"].mean)


def test_the_table_lines_up() -> None:
    found = run()
    lines = aligned(found.rows()).splitlines()
    assert [line.split()[0] for line in lines] == ["stage", "near", "far", "slate"]
    low, high = found.metrics["share@2"].ci95
    assert f"  {found.metrics['share@2'].mean:.4f} ±{(high - low) / 2:.3f}" in lines[3]
    assert {line.index("±") for line in lines[1:]} == {lines[1].index("±")}
    assert lines[0].index("share@5") == lines[1].index(f"{found.stages['near'].figures['share@5'].mean:.4f}")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as file:
            file.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("evaluation.json", "old")]
    with replacing(path) as file:
        file.write("new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("evaluation.json", "new")]


def test_a_file_that_can_not_be_written_is_told_by_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.mkdir()
    with pytest.raises(OSError, match="directory") as caught, replacing(path) as file:
        file.write("new")
    assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as missing, replacing(tmp_path / "none" / "a.json"):
        raise AssertionError("there is nothing to write to")
    assert missing.value.filename == str(tmp_path / "none" / "a.json")
    assert list(tmp_path.iterdir()) == [path]


def test_ids_with_commas_and_quotes_survive_the_csv(tmp_path: Path) -> None:
    found = replace(run(), users=tuple(f'u,"{n}"' for n in range(35)))
    rows = list(csv.reader(found.write(tmp_path / "evaluation.json")[1].read_text().splitlines()))
    assert [row[0] for row in rows[1:]] == list(found.users)
