"""A process that ends at any moment leaves the old model or the new one; two writers never meet."""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbarec import durable
from nbarec.arrays import AnyArray
from nbarec.errors import StoreError
from nbarec.states import flatten
from nbarec.store import open_model, save

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Model:
    arrays: Mapping[str, AnyArray]
    number: float = 1.0


def model(seed: int, size: int = 300) -> Model:
    rng = np.random.default_rng(seed)
    return Model({"factors": rng.random((size, 4), np.float32), "order": rng.permutation(size)}, float(seed))


def same(left: object, right: object) -> bool:
    (arrays, tree), (others, other_tree) = flatten(left), flatten(right)
    return (
        tree == other_tree
        and arrays.keys() == others.keys()
        and all(
            (a.dtype.str, a.shape, a.tobytes()) == (others[name].dtype.str, others[name].shape, others[name].tobytes())
            for name, a in arrays.items()
        )
    )


class Crash(BaseException):
    """The process is gone: nothing it would still do happens."""


class Faults:
    """Counts steps in the file system, and fails at one of them: with an error once, or for good as a crash does."""

    STEPS = (
        (os, "fsync"), (os, "open"), (builtins, "open"), (os, "listdir"), (Path, "open"), (Path, "mkdir"),
        (Path, "rename"), (Path, "replace"), (Path, "unlink"), (shutil, "rmtree"),
    )  # fmt: skip

    def __init__(self, patch: pytest.MonkeyPatch, fails_at: int, crash: bool) -> None:
        self.taken, self.fails_at, self.crash = 0, fails_at, crash
        for owner, name in self.STEPS:
            patch.setattr(owner, name, self.watched(getattr(owner, name)))

    def watched(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            self.taken += 1
            if self.crash and self.taken >= self.fails_at:
                raise Crash
            if self.taken == self.fails_at:
                raise OSError(errno.ENOSPC, "no space left")
            return real(*args, **kwargs)

        return step


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_a_failure_at_any_step_leaves_the_old_model_or_the_new(tmp_path: Path, first: bool, crash: bool) -> None:
    outcomes = set()
    for fails_at in range(1, 200):
        folder = tmp_path / str(fails_at)
        if not first:
            save(folder, {"m": model(1)}, {})
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, fails_at, crash)
            with contextlib.suppress(StoreError, Crash):
                save(folder, {"m": model(2)}, {})
        if first and not (folder / "CURRENT").exists():
            with pytest.raises(StoreError, match="make one: nbarec fit"):
                open_model(folder)
            outcomes.add(0.0)
        else:
            outcomes.add(open_model(folder).part("m", Model).number)
        save(folder, {"m": model(3)}, {})
        assert same(open_model(folder).part("m", Model), model(3))
        assert len(os.listdir(folder)) == 3, "something was left behind"
        if faults.taken < fails_at:
            break
    else:
        pytest.fail("saving never ran to its end")
    assert outcomes == {0.0 if first else 1.0, 2.0}


def test_an_error_names_the_folder_and_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Faults(monkeypatch, 6, crash=False)
    with pytest.raises(StoreError, match=r"the model can't be saved at .*: .*no space left"):
        save(tmp_path / "x", {"m": model(1)}, {})


CHILD = """
import sys
sys.path.insert(0, {root!r})
from dataclasses import dataclass
import numpy as np
from nbarec.arrays import AnyArray
from nbarec.store import save

@dataclass(frozen=True)
class Model:
    a: AnyArray
    b: AnyArray

print("ready", flush=True)
seed = int(sys.argv[2])
while True:
    seed += 1
    save(sys.argv[1], {{"m": Model(np.full(50_000, seed), np.full(10, seed))}}, {{"seed": seed}})
"""


@dataclass(frozen=True)
class Killed:
    a: AnyArray
    b: AnyArray


def test_a_killed_process_leaves_a_model_that_loads(tmp_path: Path) -> None:
    script, folder = tmp_path / "child.py", tmp_path / "model"
    script.write_text(CHILD.format(root=str(ROOT)).replace("class Model", "class Killed").replace("Model(", "Killed("))
    save(folder, {"m": Killed(np.full(5, 0), np.full(5, 0))}, {"seed": 0})
    draw, seeds = random.Random(5), [0]
    for _ in range(20):
        with subprocess.Popen(
            [sys.executable, str(script), str(folder), str(seeds[-1])], stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline().strip() == b"ready"
            time.sleep(draw.uniform(0.0, 0.05))
            child.kill()
        stored = open_model(folder)
        seed = stored.meta["seed"]
        found = stored.part("m", Killed)
        assert seed >= seeds[-1]
        assert np.unique(np.append(found.a, found.b)).tolist() == [seed]
        seeds.append(seed)
    assert seeds[-1] > 0, "no child came as far as saving"


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    save(tmp_path, {"m": model(1)}, {})
    with durable.locked(tmp_path / "LOCK"), pytest.raises(StoreError, match="another process is saving at"):
        save(tmp_path, {"m": model(2)}, {})
    save(tmp_path, {"m": model(2)}, {})


def test_file_systems_without_locks_or_folder_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(file: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(durable, "_lock", no_locks)
    monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
    save(tmp_path, {"m": model(1)}, {})
    monkeypatch.undo()
    real = os.fsync

    def no_folders(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "not a file")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", no_folders)
    save(tmp_path, {"m": model(2)}, {})
    assert same(open_model(tmp_path).part("m", Model), model(2))


def test_versions_that_can_not_be_moved_stay_whole_until_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = save(tmp_path, {"m": model(1)}, {})
    rename = Path.rename

    def open_elsewhere(path: Path, target: Path) -> Path:
        if path == old:
            raise PermissionError("in use")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", open_elsewhere)
    save(tmp_path, {"m": model(2)}, {})
    assert len(list(old.iterdir())) == 3
    monkeypatch.undo()
    save(tmp_path, {"m": model(3)}, {})
    assert not old.exists()


def test_a_half_made_first_save_and_stray_links_are_cleared(tmp_path: Path) -> None:
    (tmp_path / ".new-0123456789abcdef").mkdir()
    (tmp_path / ".new-0123456789abcdee").write_text("x")
    (tmp_path / ("0" * 32 + "-0")).mkdir()
    save(tmp_path, {"m": model(1)}, {})
    assert len(os.listdir(tmp_path)) == 3
