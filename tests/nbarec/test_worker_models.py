"""Serving by worker processes: the same slates to the bit, and whatever goes wrong there is told here."""

from __future__ import annotations

import gc
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nbarec import model as model_module
from nbarec.batch import Request, Slate
from nbarec.components import NoState
from nbarec.errors import ConfigError, ContractError, NbarecError, PluginError
from nbarec.hookspecs import hookimpl
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.stages import Fitted
from nbarec.worker_models import Call, Workers, _Batch, answered

MISTAKEN = "filters:\n  - {use: reject, with: {where: context.mood == 'blue'}}\n"


def by_processes(model: Model, workers: int = 2) -> Model:
    config = model.pipeline.config
    engine = replace(config.engine, workers=workers, executor="processes")
    return replace(model, pipeline=replace(model.pipeline, config=replace(config, engine=engine)))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "MOST_USERS", 25)


@pytest.mark.usefixtures("small_batches")
def test_processes_change_no_bit(music_model: Model) -> None:
    users = [*music_model.data.users.all(), "stranger"]
    asked = {"context": {"device": "mobile"}, "history": music_model.data.items.take([3]), "explain": True}
    here, elsewhere = (model.recommend(users, **asked) for model in (music_model, by_processes(music_model)))  # type: ignore[arg-type]
    assert elsewhere.item.tobytes() == here.item.tobytes()
    assert elsewhere.score.tobytes() == here.score.tobytes()
    assert elsewhere.items == here.items
    assert (elsewhere.users, elsewhere.decision, elsewhere.removed) == (here.users, here.decision, here.removed)
    assert elsewhere.explanations == here.explanations
    own = by_processes(music_model).recommend(users, stage="similar")
    assert own.item.tobytes() == music_model.recommend(users, stage="similar").item.tobytes()


@pytest.mark.usefixtures("small_batches")
def test_a_plugin_here_is_told_of_each_batch(music_text: str, plug) -> None:  # type: ignore[no-untyped-def]
    heard: list[tuple[int, list[str]]] = []

    class Listener:
        @hookimpl
        def nbarec_after_recommend(self, request: Request, slate: Slate) -> None:
            heard.append((len(request), [str(user) for user in slate.users]))

    plug(hooks=Listener())
    model = by_processes(Pipeline.from_text(music_text).fit())
    heard.clear()
    users = model.data.users.all()
    model.recommend(users)
    assert [rows for rows, _ in heard] == [25, 25, len(users) - 50]
    assert [user for _, told in heard for user in told] == [str(user) for user in users]


def test_a_batch_says_what_failed_and_how(music_model: Model, tmp_path: Path) -> None:
    stage = music_model.pipeline.stages.generators[0].id
    failed = Fitted(NoState(), len(music_model.data.items), 0.0, "could not be fitted: no reason")
    replace(music_model, fitted={**music_model.fitted, stage: failed}).save(tmp_path / "model")
    users = music_model.data.users.take([0])
    found = answered(_Batch(tmp_path / "model", users, Call(music_model.door.asked(1, 5))), {})
    assert found.slate is None
    assert str(found.error) == "could not be fitted: no reason"
    assert [(one, str(error)) for one, error in found.failures] == [(stage, str(found.error))]


@pytest.mark.usefixtures("small_batches")
def test_workers_stay_for_the_next_call_and_go_with_the_model(music_model: Model) -> None:
    model = by_processes(music_model)
    users = model.data.users.all()
    first = model.recommend(users)
    workers = model._workers
    folder = workers._folder
    assert model.recommend(users).item.tobytes() == first.item.tobytes()
    assert model._workers is workers
    assert folder.is_dir()
    del model, workers
    gc.collect()
    assert not folder.exists()


def test_an_error_of_a_worker_is_raised_here(music_text: str, small_batches: None) -> None:
    text = music_text.replace("slate:", "  - {id: mood, use: reject, with: {where: context.mood == 'blue'}}\nslate:")
    model = by_processes(Pipeline.from_text(text).fit())
    users = model.data.users.all()
    with pytest.raises(NbarecError, match="mood") as raised:
        model.recommend(users, context={"mood": 3})
    assert "Traceback" not in str(raised.value)
    assert len(model.recommend(users, context={"mood": "blue"})) == len(users)  # and the next call works


def test_what_a_plugin_raises_arrives_in_words() -> None:
    class Odd(NbarecError):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    from nbarec.worker_models import _sendable

    assert str(_sendable(Odd(1, 2))) == "Odd: 1 and 2"
    assert str(_sendable(KeyError("a"))) == "KeyError: 'a'"
    for error in (ConfigError("wrong"), PluginError("gone")):
        assert _sendable(error) is error


def test_a_state_that_cant_be_sent_says_what_to_do(music_model: Model) -> None:
    stage = music_model.pipeline.stages.generators[0].id
    odd = Fitted({"a": np.ones(1)}, 60, 0.0)  # type: ignore[arg-type]
    model = replace(music_model, fitted={**music_model.fitted, stage: odd})
    with pytest.raises(ContractError, match=r"can't be sent to worker processes.*engine.executor: threads"):
        Workers(model)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_script_needs_a_main_guard(tmp_path: Path, music_text: str, guarded: bool) -> None:
    guard = "if __name__ == '__main__':\n    " if guarded else ""
    script = tmp_path / "script.py"
    script.write_text(
        "from nbarec import Pipeline\nfrom nbarec import model\nmodel.MOST_USERS = 30\n"
        f"TEXT = {music_text + 'engine: {workers: 2, executor: processes}' + chr(10)!r}\n"
        f"{guard}fitted = Pipeline.from_text(TEXT).fit(); print(len(fitted.recommend(fitted.data.users.all())))\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    if guarded:
        assert (done.returncode, done.stdout.strip()) == (0, "60"), done.stderr
    else:
        assert done.returncode == 1
        assert "must guard its start by `if __name__ == '__main__':`" in done.stderr
