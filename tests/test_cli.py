"""The command line as a user meets it: what it prints, what it writes, how it ends."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nbarec
from nbarec import model as model_module
from nbarec.cli import COMMANDS, run_command

ROOT = Path(__file__).parent.parent
MUSIC = str(ROOT / "configs" / "music.yaml")
SMALL = ["--set", "data.users=60", "--set", "data.songs=80"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `nbarec run` wrote for a small music world."""
    folder = tmp_path_factory.mktemp("run")
    assert run_command(["run", MUSIC, "--out", str(folder), *SMALL]) == 0
    return folder


@pytest.fixture
def saved(result: Path) -> str:
    return str(result / "model")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_run_prints_counts_stages_metrics_and_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", MUSIC, "--out", str(tmp_path), *SMALL]) == 0
    printed = capsys.readouterr().out
    for section in ("Data", "Held out", "Quality", "Stages, serving 60 users", "Sample slates", "Written"):
        assert f"\n{section}" in printed
    assert "accepted + 0 rejected" in printed
    assert "60 users, 80 items" in printed
    assert "ndcg@10" in printed
    assert "history, latest first: S" in printed


def test_the_recommendations_file_keeps_its_contract(result: Path) -> None:
    rows = table(result / "recommendations.csv")
    assert list(rows[0]) == ["user_id", "rank", "item_id", "score"]
    model = nbarec.load(result / "model")
    expected = [(u, str(r), i, np.float32(s)) for u, r, i, s in model.recommend(model.data.users.all()).rows()]
    assert [(row["user_id"], row["rank"], row["item_id"], np.float32(row["score"])) for row in rows] == expected
    assert {row["rank"] for row in rows} == {str(rank) for rank in range(1, 11)}


def test_the_evaluation_file_keeps_its_contract(result: Path) -> None:
    found = json.loads((result / "evaluation.json").read_text(encoding="utf-8"))
    figure = found["metrics"]["ndcg@10"]
    low, high = figure["ci95"]
    assert low <= figure["mean"] <= high
    generators = {"similar", "people", "latent", "next", "alike", "fresh", "trending"}
    assert set(found["stages"]) == generators | {"mixed", "engaged", "newcomers", "discovery"}
    assert set(found["stages"]["similar"]["metrics"]) == set(found["metrics"])
    assert set(found["findings"]) == {"engaged"}
    users = table(result / "evaluation_users.csv")
    assert len(users) == figure["users"] == found["requests"]["evaluated"] > found["users"]["evaluated"]
    assert np.mean([float(row["ndcg@10"]) for row in users]) == pytest.approx(figure["mean"])


def test_formats_agree(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["recommend", saved, "--user", "U0001", "--user", "stranger", "-k", "3", "--context", "hour=21"]
    assert run_command([*asked, "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert run_command([*asked, "--format", "jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["user_id"] for line in lines] == ["U0001", "stranger"]
    assert lines[1]["road"].startswith("unknown user, no history")
    flat = [(line["user_id"], str(i["rank"]), i["item_id"], i["score"]) for line in lines for i in line["items"]]
    assert [(row["user_id"], row["rank"], row["item_id"], float(row["score"])) for row in rows] == flat
    assert run_command(asked) == 0
    shown = capsys.readouterr().out
    assert all(f" {row['item_id']} " in shown for row in rows)


def test_users_come_from_a_file(saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users = tmp_path / "users.txt"
    users.write_text("U0002\n\nU0001\n", encoding="utf-8")
    assert run_command(["recommend", saved, "--users", str(users), "-k", "1", "--format", "csv"]) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["U0002", "U0001"]
    users.write_text("\n", encoding="utf-8")
    assert run_command(["recommend", saved, "--users", str(users)]) == 1
    assert "lists no user" in capsys.readouterr().err


def test_all_streams_to_a_file(saved: str, result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "MOST_USERS", 7)
    output = tmp_path / "new" / "slates.csv"
    assert run_command(["recommend", saved, "--all", "--output", str(output)]) == 0
    assert output.read_bytes() == (result / "recommendations.csv").read_bytes()


def test_an_interrupt_leaves_no_half_file(saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "MOST_USERS", 7)
    monkeypatch.setattr("nbarec.commands.models.watched", _interrupted)
    output = tmp_path / "slates.csv"
    assert run_command(["recommend", saved, "--all", "--output", str(output)]) == 130
    assert list(tmp_path.iterdir()) == []


def _interrupted(slates: object, users: int) -> object:
    yield next(iter(slates))  # type: ignore[call-overload]
    raise KeyboardInterrupt


def test_history_serves_somebody_new(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["recommend", saved, "--history", "S0001,S0002", "-k", "3"]) == 0
    assert capsys.readouterr().out.startswith("-: unknown user, 2 events; candidates: similar")
    assert run_command(["recommend", saved, "--history", "S0001,S9999"]) == 1
    assert "item 'S9999' is not in the catalogue of 80 items" in capsys.readouterr().err


def test_a_stage_shows_its_own_list(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["recommend", saved, "--user", "U0001", "--stage", "alike", "-k", "2", "--format", "csv"]) == 0
    expected = nbarec.load(saved).recommend(["U0001"], stage="alike", k=2).items[0]
    assert [line.split(",")[2] for line in capsys.readouterr().out.splitlines()[1:]] == expected
    assert run_command(["recommend", saved, "--user", "U0001", "--stage", "artists"]) == 1
    assert "there are similar, people, latent, next, alike, fresh, trending, mixed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "nowhere.yaml"], 1, "nowhere.yaml"),
        (["run", MUSIC, "--set", "slate.kk=3"], 1, "did you mean 'k'?"),
        (["run", MUSIC, "--set", "slate"], 2, "is not PATH=VALUE"),
        (["fit", MUSIC], 2, "--model"),
        (["recommend", "no_model", "--user", "U1"], 1, "nbarec fit"),
        (["recommend", "no_model"], 2, "say for whom"),
        (["recommend", "no_model", "--all", "--user", "U1"], 2, "one of --user, --users and --all"),
        (["inspect", "no_model"], 1, "no_model"),
        (["plugins", "nothing"], 1, "no component is called 'nothing'"),
        (["dance"], 2, "No such command"),
        (["evaluate", str(ROOT / "configs" / "minimal.yaml")], 1, "no evaluate section"),
    ],
)
def test_mistakes_end_with_one_message(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_validate_shows_every_error_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text(
        "nbarec: 1\nsede: 3\ndata: {use: music_wrld}\ncandidates:\n"
        "  - {use: item_cf, with: {neighbours: 5}}\n  - {use: popularity, with: {prior: -1}}\n",
        encoding="utf-8",
    )
    assert run_command(["validate", MUSIC, str(config)]) == 1
    captured = capsys.readouterr()
    assert "music.yaml: fine, 22 stages: similar, people" in captured.out
    for line, message in (
        (2, "did you mean 'seed'?"),
        (3, "music_wrld"),
        (5, "did you mean 'neighbors'?"),
        (6, "prior must be more than 0"),
    ):
        assert any(f"bad.yaml:{line}:" in row and message in row for row in captured.err.splitlines()), message


def test_update_adds_events_users_and_items(saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = tmp_path / "events.csv"
    events.write_text(
        "user_id,song_id,time,event,seconds,device,session,hour,weekday\n"
        "NEW,S0001,1751360000,play,200,phone,1,10,tue\nNEW,BRANDNEW,1751360300,like,,phone,1,10,tue\n",
        encoding="utf-8",
    )
    target = str(tmp_path / "model")
    assert run_command(["update", saved, str(events), "--output", target]) == 0
    printed = capsys.readouterr().out
    assert "2 event rows = 2 accepted + 0 rejected" in printed
    assert "after: 61 users, 81 items" in printed
    assert printed.count("  updated") == 13  # seven generators, three providers, logistic, novelty and mmr
    assert run_command(["recommend", target, "--user", "NEW", "-k", "2"]) == 0
    assert capsys.readouterr().out.startswith("NEW: known user, 2 events")


def test_inspect_needs_only_the_manifest(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["inspect", saved]) == 0
    printed = capsys.readouterr().out
    assert "60 users, 80 items" in printed
    assert re.search(rf"similar +candidates +item_cf +nbarec=={re.escape(nbarec.__version__)} ", printed)
    assert run_command(["inspect", saved, "--config"]) == 0
    assert '"reciprocal_rank"' in capsys.readouterr().out


def test_plugins_lists_and_explains(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["plugins"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("item_cf", "blend", "max_per", "music_world", "ndcg"))
    assert run_command(["plugins", "nbarec/item_cf"]) == 0
    explained = capsys.readouterr().out
    assert "Sarwar" in explained
    assert re.search(r"neighbors +int >= 1 +100 ", explained)


def test_generate_writes_the_music_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["generate", "music", "--users", "30", "--songs", "40", "--seed", "7", "--out"]
    assert run_command([*asked, str(tmp_path / "a")]) == 0
    assert "songs.csv: 40 rows" in capsys.readouterr().out
    assert run_command([*asked, str(tmp_path / "b")]) == 0
    for name in ("songs.csv", "users.csv", "events.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_evaluate_several_configs_in_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(Path(MUSIC).read_text(encoding="utf-8").replace("k: 200", "k: 50"), encoding="utf-8")
    figures = tmp_path / "figures.json"
    assert run_command(["evaluate", MUSIC, str(other), "--json", str(figures), *SMALL]) == 0
    printed = capsys.readouterr().out
    (header,) = [line for line in printed.splitlines() if "ndcg@10" in line]
    assert header.split()[-3:] == ["seconds", "peak", "MiB"]
    for config in (MUSIC, str(other)):
        (line,) = [line for line in printed.splitlines() if line.startswith(f"  {config}: slate ")]
        seconds, peak = line.split()[-2:]
        assert float(seconds) > 0
        assert peak == "-" or int(peak.replace(",", "")) > 10
    assert "NOT COMPARABLE" not in printed
    assert f"Where quality is lost of {other}: " in printed
    found = json.loads(figures.read_text(encoding="utf-8"))["configs"]
    assert set(found) == {MUSIC, str(other)}
    assert found[MUSIC]["relevant"] == found[str(other)]["relevant"]


def test_configs_that_are_measured_by_other_items_are_said_to_be_not_comparable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    text = Path(MUSIC).read_text(encoding="utf-8")
    assert "use: last_fraction" in text
    assert "ndcg@10" in text
    text = text.replace("use: last_fraction, fraction: 0.2", "use: leave_last_out").replace("ndcg@10", "ndcg@7")
    other.write_text(text, encoding="utf-8")
    assert run_command(["evaluate", MUSIC, str(other), *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "NOT COMPARABLE: these configs are not measured by the same held-out items of the same users" in printed
    assert f"comparable: {MUSIC} alone; {other} alone." in printed
    (header,) = [line for line in printed.splitlines() if "ndcg@10" in line]
    assert "ndcg@7" in header


def test_evaluate_tells_of_losses_segments_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    segments = ["--set", "evaluate.segments=[{by: history, at: [5, 50]}, {by: user.country, largest: 1}]"]
    assert run_command(["evaluate", MUSIC, *SMALL, *segments]) == 0
    printed = capsys.readouterr().out
    assert "Where quality is lost: " in printed
    assert "  in the slate  " in printed
    assert "By history: the whole slate" in printed
    assert "heavy (50 or more events)" in printed
    assert "s to read, fit and measure; peak memory " in printed


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["generate"], ["generate", "music"]])
def test_every_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*command, "--help"]) == 0
    assert "Example:" in capsys.readouterr().out


def test_help_imports_neither_numpy_nor_a_plugin() -> None:
    code = (
        "import sys; from nbarec.cli import run_command; assert run_command(['--help']) == 0; "
        "assert not {'numpy', 'yaml', 'nbarec_plugins'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT can't be sent to a child process on Windows")
def test_a_real_interrupt_ends_with_130_and_no_results(tmp_path: Path) -> None:
    # A parent that runs in the background may have left SIGINT ignored; then no child would ever see it.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from nbarec.cli import run_command; sys.exit(run_command(sys.argv[1:]))"
    )
    arguments = ["run", MUSIC, "--out", str(tmp_path), "--set", "data.users=8000", "--set", "data.songs=2000"]
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any("events; clock" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.strip().endswith("nothing was left half-written.")
    assert list(tmp_path.iterdir()) == []


PLAYS = "user_id,song_id,ts\n U1,a,100\nU1,b,200\nU2,a,300\nU2,b,400\nU2,c,90000\nU3,a,95000\n"
PLAIN = """nbarec: 1
data:
  use: csv
  events: {path: plays.csv, columns: {user: user_id, item: song_id, time: ts}}
candidates:
  - {use: popularity}
slate: {k: 2}
"""


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, now the working directory, with a config and its data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plays.csv").write_text(PLAYS, encoding="utf-8")
    (tmp_path / "plain.yaml").write_text(PLAIN, encoding="utf-8")
    return tmp_path


def test_ids_in_a_users_file_are_kept_as_written(plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "plain.yaml", "--model", "m"]) == 0
    (plain / "users.txt").write_bytes(b" U1\r\nU1\n")
    capsys.readouterr()
    assert run_command(["recommend", "m", "--users", "users.txt", "--format", "csv"]) == 0
    assert [line.split(",")[:3] for line in capsys.readouterr().out.splitlines()[1:]] == [
        [" U1", "1", "b"],
        [" U1", "2", "c"],
        ["U1", "1", "a"],
        ["U1", "2", "c"],
    ]


def test_what_happened_after_the_clock_is_not_known_and_counted(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["fit", "plain.yaml", "--model", "m", "--set", "as_of=1000"]) == 0
    printed = capsys.readouterr().out
    assert "as_of 1000: 6 event rows = 4 accepted + 2 rejected" in printed
    assert "4 events; clock 1970-01-01 00:16:40 UTC" in printed
    assert nbarec.load("m").recommend(["stranger"], k=3).items == [["a", "b"]]


def test_a_run_says_whose_slates_are_not_full(plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (plain / "plays.csv").write_text("user_id,song_id,ts\nx,a,1\ny,a,2\ny,b,3\n", encoding="utf-8")
    assert run_command(["run", "plain.yaml"]) == 0
    printed = capsys.readouterr().out
    assert "1 users get an empty slate, such as y (empty: no stage proposes anything" in printed
    assert "1 users get a short slate, such as x (short: 1 candidate)" in printed


def test_a_run_without_evaluation_removes_figures_of_an_earlier_one(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["run", "plain.yaml", "--out", "out"]
    split = ["--set", "evaluate={split: {use: leave_last_out}, metrics: [recall@2]}"]
    assert run_command([*asked, *split, "--set", "candidates.popularity.exclude='false'"]) == 0
    assert (plain / "out" / "evaluation.json").exists()
    assert run_command(asked) == 0
    assert not (plain / "out" / "evaluation.json").exists()
    assert "evaluation.json of an earlier run is removed" in capsys.readouterr().out


def test_a_stage_that_does_not_exist_is_told_before_anything_is_printed(
    saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["recommend", saved, "--all", "--stage", "licensed", "--format", "csv"]) == 1
    assert capsys.readouterr().out == ""


def test_update_reads_new_events_as_it_is_told(saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = tmp_path / "events.csv"
    events.write_text(
        "user_id,song_id,time,event,seconds,device,session,hour,weekday\nNEW,S0001,1751360000,hum,9,phone,1,10,tue\n",
        encoding="utf-8",
    )
    asked = ["update", saved, str(events), "--output", str(tmp_path / "model")]
    assert run_command(asked) == 1
    assert "kind 'hum'" in capsys.readouterr().err
    assert run_command([*asked, "--set", "data.feedback.weights.other=1"]) == 0
    assert run_command([*asked, "--set", "slate.k=3"]) == 1
    assert "slate.k can't be changed in a fitted model" in capsys.readouterr().err


def test_context_that_nothing_reads_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "configs" / "rules.yaml")
    assert run_command(["fit", config, "--model", str(tmp_path / "m"), *SMALL]) == 0
    asked = ["recommend", str(tmp_path / "m"), "--user", "U0001", "--context"]
    assert run_command([*asked, "hour=8"]) == 0
    assert capsys.readouterr().err == ""
    assert run_command([*asked, "hours=8"]) == 0
    assert (
        "nothing in the model's config reads context.hours; it reads country, device, hour" in capsys.readouterr().err
    )


def test_validate_knows_which_generators_weights_speak_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["validate", MUSIC, "--set", "rank.mixed.with.weights={similar: 1, nope: 1}"]) == 1
    said = capsys.readouterr().err
    assert "mixed: 'nope' is no candidate generator of this config; they are similar, people, latent, next" in said
    line = 1 + Path(MUSIC).read_text("utf-8").splitlines().index("  - id: mixed")
    assert f"music.yaml:{line}:5" in said
