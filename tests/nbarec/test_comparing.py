"""Evaluations compared: a world small enough to work out by hand, and what can not be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.batch import Slate
from nbarec.comparing import compare
from nbarec.comparisons import Compared, Comparison
from nbarec.components import Metric
from nbarec.data import Dataset
from nbarec.errors import ConfigError, DataError
from nbarec.evaluation_files import MeasuredList, read_list
from nbarec.figures import Figure, Report
from nbarec.reports import Evaluation
from nbarec.sparse import Csr

NAN = float("nan")
USERS = ("ann", "bob", "cat", "dan")
SPLIT = "split leave_last_out: 9 events = 5 training + 4 held out"


@dataclass(frozen=True)
class Hits(Metric):
    """Stands for a metric that is a mean."""

    name: ClassVar[str] = "hits"

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> np.ndarray[Any, np.dtype[np.float64]]:
        raise AssertionError("a comparison measures nothing")


@dataclass(frozen=True)
class Spread(Hits):
    """Stands for a figure of all users together."""

    name: ClassVar[str] = "spread"

    def aggregate(self, values: np.ndarray[Any, np.dtype[np.float64]], slate: Slate, data: Dataset) -> float:
        raise AssertionError("a comparison measures nothing")


KNOWN = {"hits": Hits, "spread": Spread}


def report(values: Mapping[str, Iterable[float]], figures: Mapping[str, float] | None = None) -> Report:
    arrays = {label: np.array(list(column), np.float64) for label, column in values.items()}
    made = {}
    for label, array in arrays.items():
        undefined = int(np.isnan(array).sum())
        mean = float(np.nanmean(array)) if undefined < len(array) else NAN
        made[label] = Figure((figures or {}).get(label, mean), (NAN, NAN), len(array) - undefined, undefined)
    return Report(made, arrays, 0.0)


def evaluation(values: Mapping[str, Iterable[float]], **changed: Any) -> Evaluation:
    figures = changed.pop("figures", None)
    made = Evaluation(report(values, figures), {}, USERS, 0, (SPLIT,), 0.0)
    return replace(made, **changed)


A = {"hits@1": [0.0, 0.5, NAN, 1.0]}
B = {"hits@1": [1.0, 0.5, 1.0, 0.25]}


def listed(folder: Path, name: str, one: Evaluation) -> MeasuredList:
    return read_list(one.write(folder / name / "evaluation.json")[0])


def compared(folder: Path, *evaluations: Evaluation, resamples: int = 200) -> list[Comparison]:
    lists = [listed(folder, str(at), one) for at, one in enumerate(evaluations)]
    return compare(lists, KNOWN, resamples=resamples)


def metric(comparison: Comparison) -> Compared:
    (found,) = comparison.metrics
    return found


def test_users_are_matched_by_id_and_undefined_ones_left_out(tmp_path: Path) -> None:
    """Without cat, whom A does not define: 0, .5, 1 against 1, .5, .25."""
    turned = evaluation({"hits@1": B["hits@1"][::-1]}, users=USERS[::-1])
    (comparison,) = compared(tmp_path, evaluation(A), turned)
    found = metric(comparison)
    assert found.test is not None
    assert (comparison.users, comparison.alone, found.test.users, found.undefined) == (4, (0, 0), 3, (1, 0, 0))
    assert (found.first, found.second) == pytest.approx((0.5, 1.75 / 3))
    assert found.difference == pytest.approx(0.25 / 3)
    # Differences 1, 0, -.75: of the 8 ways to give signs, none has a sum nearer to 0 than .25.
    assert found.test.permutation == 1.0
    assert comparison.title() == "B against A: 4 users in both"
    assert comparison.notes[0] == "hits@1: users left out as undefined: 1 in A alone."
    assert compared(tmp_path, evaluation(A), evaluation(B)) == [comparison]


def test_users_of_one_run_alone_are_counted(tmp_path: Path) -> None:
    other = evaluation(B, users=("dan", "ann", "eve", "10"))
    (comparison,) = compared(tmp_path, evaluation(A), other)
    assert (comparison.users, comparison.alone) == (2, (2, 2))
    assert metric(comparison).first == 0.5
    assert metric(comparison).second == pytest.approx((0.5 + 1.0) / 2)
    assert comparison.title() == "B against A: 2 users in both; 2 only in A; 2 only in B"
    assert "Warning: the held-out sets differ" in comparison.notes[0]


def test_the_other_way_round_and_with_itself(tmp_path: Path) -> None:
    many = tuple(f"u{user}" for user in range(60))
    first, second = (
        evaluation({"hits@1": np.random.default_rng(seed).random(60)}, users=many if seed else many[::-1])
        for seed in range(2)
    )
    forth, back, same = (
        metric(compared(tmp_path, *pair)[0]) for pair in ((first, second), (second, first), [first] * 2)
    )
    assert forth.test is not None
    assert back.test is not None
    assert (back.first, back.second, back.difference) == (forth.second, forth.first, -forth.difference)
    assert (back.test.bootstrap, back.test.permutation) == (forth.test.bootstrap, forth.test.permutation)
    assert back.test.ci95 == pytest.approx((-forth.test.ci95[1], -forth.test.ci95[0]))
    assert same.test is not None
    assert (same.difference, same.test.ci95, same.test.bootstrap, same.test.permutation) == (0.0, (0.0, 0.0), 1.0, 1.0)


def test_figures_of_all_users_together_have_no_test(tmp_path: Path) -> None:
    """Also where the runs happen to have the mean; of a metric that is not installed, where not both have it."""
    columns = {"spread@2": [0.1] * 4, "spread@1": [0.1] * 4, "odd@1": [0.5] * 4, "even@1": [0.0, 0.0, 0.0, 1.0]}
    first = evaluation(columns, figures={"spread@1": 0.1, "odd@1": 0.5})
    second = evaluation(columns, figures={"spread@1": 0.4, "odd@1": 0.75})
    (comparison,) = compared(tmp_path, first, second)
    chance, spread, odd, even = comparison.metrics
    assert (chance.test, spread.test, odd.test) == (None, None, None)
    assert (spread.first, spread.second, spread.difference) == pytest.approx((0.1, 0.4, 0.3))
    assert spread.cells() == ["spread@1", "0.1000", "0.4000", "+0.3000", "no test: not a mean", "", ""]
    assert odd.to_json() == {"first": 0.5, "second": 0.75, "difference": 0.25, "test": None}
    assert even.test is not None
    with pytest.raises(DataError, match=r"not of one run: hits@1 is 0\.75 there, and the mean .* is 0\.5"):
        compared(tmp_path, evaluation(A), evaluation(A, figures={"hits@1": 0.75}))


def test_holm_corrects_all_tests_of_all_runs(tmp_path: Path) -> None:
    many = tuple(f"u{user}" for user in range(30))
    noise = np.random.default_rng(1).normal(size=(6, 30))
    runs = [evaluation({"hits@1": noise[at] + at, "hits@2": noise[at + 3] + 0.2 * at}, users=many) for at in range(3)]
    found = compared(tmp_path, *runs)
    tests = [one for comparison in found for one in comparison.metrics]
    assert [comparison.names for comparison in found] == [("A", "B"), ("A", "C")]
    raw = [one.test.permutation for one in tests if one.test]
    assert len(raw) == 4
    smallest = tests[int(np.argmin(raw))]
    assert smallest.holm[1] == pytest.approx(4 * min(raw))
    assert all(one.holm[1] >= p for one, p in zip(tests, raw, strict=True))
    alone = compared(tmp_path, runs[0], runs[2])[0]
    assert alone.metrics[0].test == found[1].metrics[0].test


@pytest.mark.parametrize(
    ("changed", "warned"),
    [
        ({}, None),
        (
            {"holdout": (SPLIT.replace("9", "8"),)},
            "A: split leave_last_out: 9 events = 5 training + 4 held out. B: split",
        ),
        ({"relevant": "other"}, "Warning: the held-out sets differ, which may explain a difference."),
        ({"relevant": "truth", "holdout": ("split given: whatever",)}, None),
        (
            {"relevant": "truth", "weights": "others"},
            "Warning: the weights of the held-out events differ, which may explain a difference of metrics that go by",
        ),
        ({"relevant": "truth", "weights": "these"}, None),
        ({"relevant": "truth", "weights": ""}, None),
        ({"relevant": "other", "weights": "others"}, "Warning: the held-out sets differ"),
    ],
)
def test_other_held_out_sets_are_warned_of(tmp_path: Path, changed: Mapping[str, Any], warned: str | None) -> None:
    relevant = "truth" if "relevant" in changed else ""
    first = evaluation(B, relevant=relevant, weights="these")
    (comparison,) = compared(tmp_path, first, evaluation(B, **changed))
    warnings = [note for note in comparison.notes if note.startswith("Warning")]
    assert len(warnings) == (warned is not None)
    assert (warned or "") in "".join(warnings)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            evaluation(B, holdout=("split random: 9 events",)),
            "by different splits, the first by leave_last_out, the sec",
        ),
        (
            evaluation(B, users=("1", "2", "3", "4")),
            r"no user in common \(the first has such as 'ann', the second '1'\)",
        ),
        (evaluation({"hits@2": B["hits@1"]}), r"no metric in common \(the first has hits@1, the second hits@2\)"),
        (evaluation({"hits@1": [NAN, NAN, 1.0, NAN]}), r"no user for whom both define a metric \(hits@1\)"),
    ],
)
def test_what_can_not_be_compared_is_refused(tmp_path: Path, other: Evaluation, said: str) -> None:
    with pytest.raises(DataError, match=said):
        compared(tmp_path, evaluation(A), other)


def test_a_comparison_is_of_two_to_twenty_six(tmp_path: Path) -> None:
    one = listed(tmp_path, "a", evaluation(B))
    for count in (1, 27):
        with pytest.raises(ConfigError, match=f"2 to 26 evaluations, not {count}"):
            compare([one] * count, KNOWN)
