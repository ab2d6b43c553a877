"""Written evaluations are read back as they were, and a damaged or foreign file is named with the place."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbarec.errors import ConfigError, NbarecError
from nbarec.evaluation_files import read_list
from nbarec.figures import Figure, Report
from nbarec.reports import Evaluation

NAN = float("nan")
USERS = ("ann", "bob", "cat", "dan")
AWKWARD = ("ann", 'bob, the "first"', "çat\nand 7", "44")


def report(values: Mapping[str, Iterable[float]], **figures: float) -> Report:
    arrays = {label: np.array(list(column), np.float64) for label, column in values.items()}
    made = {}
    for label, array in arrays.items():
        undefined = int(np.isnan(array).sum())
        mean = float(np.nanmean(array)) if undefined < len(array) else NAN
        made[label] = Figure(figures.get(label, mean), (NAN, NAN), len(array) - undefined, undefined)
    return Report(made, arrays, 0.0)


def evaluation() -> Evaluation:
    """Two metrics of four users, one a mean with an undefined value, and a stage's own list."""
    slate = report({"hits@1": [0.0, 0.5, NAN, 1.0], "spread@5": [0.1, 0.2, 0.3, 0.4]}, **{"spread@5": 0.9})
    stages = {"popular": report({"hits@1": [0.1, NAN, 1 / 3, 2e-17]})}
    return Evaluation(slate, stages, USERS, 0, ("split x: 1 event",), 0.0, relevant="abc")


def changed_json(change: Callable[[Any], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        plain = json.loads((folder / "evaluation.json").read_text("utf-8"))
        change(plain)
        (folder / "evaluation.json").write_text(json.dumps(plain), "utf-8")

    return damage


def text_json(text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "evaluation.json").write_bytes(text.encode("latin-1"))

    return damage


def changed_csv(change: Callable[[list[list[str]]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "evaluation_users.csv"
        rows = list(csv.reader(path.read_text("utf-8").splitlines()))
        change(rows)
        path.write_text("".join(",".join(row) + "\n" for row in rows), "utf-8")

    return damage


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    written = replace(evaluation(), users=AWKWARD)
    path, _ = written.write(tmp_path / "evaluation.json")
    whole = read_list(path)
    assert (whole.path, whole.name, whole.holdout, whole.relevant) == (path, "slate", ("split x: 1 event",), "abc")
    assert whole.users == AWKWARD
    assert whole.figures == {"hits@1": 0.5, "spread@5": 0.9}
    assert [whole.is_mean(label) for label in whole.figures] == [True, False]
    for label, values in written.slate.values.items():
        np.testing.assert_array_equal(whole.values[label], values)
    assert read_list(tmp_path, "slate").values.keys() == whole.values.keys()


def test_a_list_of_a_stage_is_read(tmp_path: Path) -> None:
    written = evaluation()
    written.write(tmp_path / "evaluation.json")
    own = read_list(tmp_path, "popular")
    assert (own.name, own.figures["hits@1"]) == ("popular", written.stages["popular"].figures["hits@1"].mean)
    np.testing.assert_array_equal(own.values["hits@1"], written.stages["popular"].values["hits@1"])
    with pytest.raises(ConfigError, match=r"no list of a stage 'populr'; did you mean 'popular'\?"):
        read_list(tmp_path, "populr")
    with pytest.raises(ConfigError, match="no list of a stage 'x'; it has popular, slate"):
        read_list(tmp_path, "x")


def test_an_undefined_figure_and_a_file_without_a_fingerprint(tmp_path: Path) -> None:
    nothing = replace(evaluation(), slate=report({"hits@1": [NAN] * 4}), stages={})
    nothing.write(tmp_path / "evaluation.json")
    changed_json(lambda plain: plain.pop("relevant"))(tmp_path)
    found = read_list(tmp_path)
    assert found.relevant == ""
    assert np.isnan([found.figures["hits@1"], found.mean("hits@1")]).all()
    assert found.is_mean("hits@1")


USERS_FILE, FIGURES_FILE = r"evaluation_users\.csv", r"evaluation\.json"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "evaluation.json").unlink(), f"{FIGURES_FILE}: there is no such evaluation"),
        (text_json('{\n "metrics": {,'), FIGURES_FILE + r":2:14: not JSON"),
        (text_json("\xff"), r"not UTF-8 text \(byte 0\)"),
        (text_json("[" * 100_000), f"{FIGURES_FILE} is no evaluation that nbarec wrote"),
        (text_json("[1]"), r"evaluation\.json must be a mapping, not \[1\]"),
        (text_json("{}"), "is no evaluation that nbarec wrote: it has no 'stages'"),
        (text_json('{"configs": {}}'), "evaluate each config alone"),
        (changed_json(lambda plain: plain["metrics"]["hits@1"].pop("mean")), r"it has no 'metrics\.hits@1\.mean'"),
        (
            changed_json(lambda plain: plain["metrics"].update({"hits@1": 3})),
            r"metrics\.hits@1 must be a mapping, not 3",
        ),
        (
            changed_json(lambda plain: plain["metrics"]["hits@1"].update(mean=NAN)),
            r"mean must be a finite number or null",
        ),
        (
            changed_json(lambda plain: plain["metrics"]["hits@1"].update(mean=True)),
            r"mean must be a finite number or null",
        ),
        (
            changed_json(lambda plain: plain["users"].update(evaluated=-1)),
            r"users\.evaluated must be a number of users",
        ),
        (
            changed_json(lambda plain: plain["users"].update(evaluated=5)),
            "not of one run: it speaks of 5 users, .* of 4",
        ),
        (
            changed_json(lambda plain: plain["metrics"]["hits@1"].update(users=4)),
            "hits@1 is of 4 users with a value and 1",
        ),
        (changed_json(lambda plain: plain.update(holdout=[1])), "holdout must be a list of texts"),
        (changed_json(lambda plain: plain.update(relevant=1)), "relevant must be text, not 1"),
        (lambda folder: (folder / "evaluation_users.csv").unlink(), f"{USERS_FILE} is missing"),
        (lambda folder: (folder / "evaluation_users.csv").write_bytes(b"\xff"), f"{USERS_FILE} is not UTF-8 text"),
        (lambda folder: (folder / "evaluation_users.csv").write_bytes(b""), USERS_FILE + ":1: no columns 'user_id'"),
        (changed_csv(lambda rows: rows[0].__setitem__(1, "ndcg@1")), USERS_FILE + ":1: no columns 'hits@1'"),
        (changed_csv(lambda rows: rows.__setitem__(0, [*rows[0], "hits@1"])), USERS_FILE + ":1: 2 columns 'hits@1'"),
        (changed_csv(lambda rows: rows[3].append("7")), USERS_FILE + ":4: 5 cells where the header has 4"),
        (changed_csv(lambda rows: rows[4].__setitem__(1, "half")), USERS_FILE + ":5: hits@1 .* not 'half'"),
        (changed_csv(lambda rows: rows[4].__setitem__(1, "inf")), USERS_FILE + ":5: hits@1 .* not 'inf'"),
        (changed_csv(lambda rows: rows[4].__setitem__(1, "nan")), USERS_FILE + ":5: hits@1 .* not 'nan'"),
        (changed_csv(lambda rows: rows[4].__setitem__(0, "bob")), USERS_FILE + ":5: the user 'bob' stands in line 3"),
        (changed_csv(lambda rows: rows[2].__setitem__(0, '"bo"b')), USERS_FILE + ":3: the row is not well formed"),
        (changed_csv(lambda rows: rows.__delitem__(slice(1, None))), f"{USERS_FILE} has no user's values"),
        (changed_csv(lambda rows: rows.pop()), "not of one run: it speaks of 4 users, .* of 3"),
    ],
)
def test_damaged_and_foreign_files_are_named_with_the_place(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    evaluation().write(tmp_path / "evaluation.json")
    damage(tmp_path)
    with pytest.raises(NbarecError, match=said):
        read_list(tmp_path / "evaluation.json")
