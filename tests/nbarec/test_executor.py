"""Every kind of executor gives the same bits in the same order, looks ahead only so far, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest

from nbarec.arrays import AnyArray
from nbarec.errors import ContractError, DataError, NbarecError
from nbarec.executor import (
    SHARDS_A_WORKER,
    Executor,
    Kind,
    ProcessExecutor,
    SerialExecutor,
    ThreadExecutor,
    executor_of,
    work_on,
)

ROOT = Path(__file__).parents[2]
SHARDS = [(start, start + 7) for start in range(0, 70, 7)]

WORK = """
import os
import time
import numpy as np
from nbarec.errors import DataError

def products(shard, shared):
    return shared["grid"][slice(*shard)] @ shared["strided"]

def facts(shard, shared):
    return {name: (a.dtype.str, a.shape, a.tobytes(), a.flags.writeable) for name, a in shared.items()}

def refuse(shard, shared):
    if shard == 3:
        raise DataError("row 3 is wrong")
    return shard

def die(shard, shared):
    if shard == 5:
        os._exit(1)
    return shard

def name_process(shard, shared):
    time.sleep(0.2)
    return os.getpid()
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A module that workers can import: spawned processes are given this one's path."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "nbarec_executor_work.py").write_text(WORK)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("nbarec_executor_work")
    sys.path.remove(str(folder))
    del sys.modules["nbarec_executor_work"]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessExecutor]:
    """Two workers for all tests that need some: spawning them is what takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temp")))
        executor = ProcessExecutor(2)
    with executor:
        yield executor
    assert not executor._folder.exists()


def shared_arrays() -> dict[str, AnyArray]:
    rng = np.random.default_rng(1)
    return {
        "grid": rng.random((70, 33)),
        "strided": rng.random((66, 8))[::2, ::-1],
        "fortran": np.asfortranarray(rng.random((3, 4), np.float32)),
        "empty": np.empty((0, 3), np.int8),
        "single": np.array(3),
        "text": np.array(["a", "ü"]),
        "a/../b": np.array([True]),
    }


def test_all_kinds_give_the_same_bits(work: ModuleType, processes: ProcessExecutor) -> None:
    shared = shared_arrays()
    with executor_of("serial") as serial, executor_of("threads", 3) as threads:
        executors: list[Executor] = [serial, threads, processes]
        blocks = [[block.tobytes() for block in e.map_shards(work.products, SHARDS, shared)] for e in executors]
        facts = [list(e.map_shards(work.facts, [0], shared)) for e in executors]
    assert blocks[0] == blocks[1] == blocks[2]
    assert facts[0] == facts[1] == facts[2]
    assert facts[0][0]["text"] == ("<U1", (2,), np.array(["a", "ü"]).tobytes(), False)
    slow = [shared["grid"][slice(*shard)] @ np.ascontiguousarray(shared["strided"]) for shard in SHARDS]
    assert [block.tobytes() for block in slow] == blocks[0]
    assert shared["grid"].flags.writeable


def test_errors_are_raised_where_the_result_would_stand(work: ModuleType, processes: ProcessExecutor) -> None:
    with executor_of("serial") as serial, executor_of("threads", 2) as threads:
        for executor in (serial, threads, processes):
            results = executor.map_shards(work.refuse, range(6))
            assert [next(results) for _ in range(3)] == [0, 1, 2]
            with pytest.raises(DataError, match="row 3 is wrong"):
                next(results)
            assert list(executor.map_shards(work.refuse, [7, 8])) == [7, 8]
    assert list(processes._folder.iterdir()) == []


def test_functions_that_can_not_be_sent(processes: ProcessExecutor) -> None:
    with pytest.raises(ContractError, match="<lambda> can't be sent to a worker process"):
        processes.map_shards(lambda shard, shared: shard, [1])


def test_a_worker_that_dies_names_its_shard(work: ModuleType, processes: ProcessExecutor) -> None:
    results = processes.map_shards(work.die, range(20))
    with pytest.raises(NbarecError, match=r"a worker process died at (shard 5|one of the shards .*5.*) \(killed"):
        list(results)
    assert list(processes._folder.iterdir()) == []
    assert list(processes.map_shards(work.refuse, [1, 2])) == [1, 2]


def test_workers_that_can_not_start(tmp_path: Path) -> None:
    script = tmp_path / "no_guard.py"
    script.write_text(
        "from nbarec.executor import executor_of\n"
        "def work(shard, shared): return shard\n"
        "with executor_of('processes', 1) as executor: list(executor.map_shards(work, [1]))\n"
    )
    ended = run_script(script, tmp_path)
    assert "died before it began a shard; a script that uses processes must guard its start" in ended
    assert not list(tmp_path.glob("nbarec-*"))


def run_script(script: Path, temp: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temp)}
    return subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=60).stderr


def test_work_in_processes_really_is(work: ModuleType, processes: ProcessExecutor) -> None:
    found = set(processes.map_shards(work.name_process, range(4)))
    assert os.getpid() not in found
    assert len(found) <= processes.workers


def test_a_shard_begins_only_while_its_files_are_there(tmp_path: Path) -> None:
    begun: list[str] = []

    def look(shard: int, shared: Any) -> int:
        begun.extend(path.name for path in tmp_path.glob("*.begun"))
        return int(shared["one"][0]) + shard

    np.save(tmp_path / "0.npy", np.ones(1))
    assert work_on(look, 4, 9, tmp_path, ("one",)) == 5
    assert begun == ["9.begun"]
    assert not list(tmp_path.glob("*.begun"))
    with pytest.raises(FileNotFoundError):
        work_on(look, 4, 9, tmp_path / "gone", ())
    assert len(begun) == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_looking_ahead_is_bounded(workers: int) -> None:
    read = []

    def endless() -> Iterator[int]:
        for shard in range(10**9):
            read.append(shard)
            yield shard

    with executor_of("threads", workers) as executor:
        results = executor.map_shards(lambda shard, shared: shard, endless())
        assert read == []
        for wanted in range(20):
            assert next(results) == wanted
            assert len(read) <= wanted + SHARDS_A_WORKER * workers
        results.close()  # type: ignore[attr-defined]
    assert len(read) <= 19 + SHARDS_A_WORKER * workers


def test_order_is_that_of_shards_whichever_is_done_first() -> None:
    def slow_first(shard: int, shared: object) -> int:
        time.sleep(0.02 if shard % 4 == 0 else 0)
        return shard

    with executor_of("threads", 4) as executor:
        assert list(executor.map_shards(slow_first, range(20))) == list(range(20))
        assert list(executor.map_shards(slow_first, [])) == []


def test_threads_work_at_the_same_time_under_the_callers_settings() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def meet(shard: int, shared: object) -> str:
        meeting.wait()
        return np.geterr()["divide"]

    with executor_of("threads", 2) as executor, np.errstate(divide="raise"):
        assert list(executor.map_shards(meet, range(4))) == ["raise"] * 4


@pytest.mark.parametrize("ends", ["closed", "failed", "interrupted"])
def test_what_has_not_begun_is_cancelled(ends: str) -> None:
    begun: list[int] = []
    let_go = threading.Event()

    def work(shard: int, shared: object) -> int:
        begun.append(shard)
        if shard > 0:
            let_go.wait(10)
        elif ends == "failed":
            raise DataError("wrong")
        return shard

    with contextlib.suppress(KeyboardInterrupt), executor_of("threads", 2) as executor:
        results = executor.map_shards(work, range(1000))
        with pytest.raises(DataError) if ends == "failed" else contextlib.nullcontext():
            assert next(results) == 0
        # Shards 0 to 3 were handed in; 1 and 2 hold both workers until they are let go, so 3 has not begun.
        if ends == "interrupted":
            threading.Timer(0.2, let_go.set).start()
            raise KeyboardInterrupt
        results.close()  # type: ignore[attr-defined]
        let_go.set()
        assert list(executor.map_shards(lambda shard, shared: -1, [0])) == [-1]
    assert set(begun) <= {0, 1, 2}, "the executor went on with a shard that nobody waits for"


INTERRUPTED = """
import signal, sys, time
from nbarec.executor import executor_of
import numpy as np

def slow(shard, shared):
    time.sleep(0.3)
    return shard

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background inherit "ignore"
    with executor_of("processes", 2) as executor:
        for shard in executor.map_shards(slow, range(1000), {"x": np.ones(10)}):
            print(shard, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to whole console groups alone")
def test_an_interrupt_ends_processes_promptly_and_removes_files(tmp_path: Path) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(script)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"0\n"
        assert len(list(tmp_path.glob("nbarec-*/*/0.npy"))) == 1
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to the workers too
        began = time.monotonic()
        _, errors = child.communicate(timeout=60)
    assert time.monotonic() - began < 3
    assert child.returncode == -signal.SIGINT
    assert errors.decode().count("Traceback") == 1, "workers stay silent"
    assert not list(tmp_path.glob("nbarec-*"))


def test_files_go_when_an_executor_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    executor = ProcessExecutor(1)
    assert len(list(tmp_path.iterdir())) == 1
    del executor
    assert not list(tmp_path.iterdir())


def test_closing_twice_is_fine_and_a_closed_executor_takes_no_work() -> None:
    make: list[Callable[[], Executor]] = [lambda: ThreadExecutor(1), lambda: ProcessExecutor(1), SerialExecutor]
    for new in make:
        executor = new()
        executor.close()
        executor.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        list(closed_executor().map_shards(lambda shard, shared: shard, [1]))


def closed_executor() -> Executor:
    executor = ThreadExecutor(1)
    executor.close()
    return executor


@pytest.mark.parametrize("workers", [None, 0, 1, 5])
def test_how_many_workers(workers: int | None) -> None:
    for kind in get_args(Kind):
        with executor_of(kind, workers) as executor:
            expected = 1 if kind == "serial" else workers or os.cpu_count()
            assert executor.workers == expected


def test_wrong_kinds_and_numbers() -> None:
    with pytest.raises(ValueError, match="workers must be at least 0, not -1"):
        executor_of("threads", -1)
    with pytest.raises(ValueError, match="one of serial, threads, processes, not 'ray'"):
        executor_of("ray", 1)  # type: ignore[arg-type]
