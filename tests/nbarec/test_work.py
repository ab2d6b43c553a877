"""Work: as many workers as are given, the same results for any number, and BLAS with one thread meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from threading import Barrier, Event, Thread, current_thread
from time import sleep

import numpy as np
import pytest

from nbarec import blas
from nbarec.blas import one_thread
from nbarec.executor import Shared
from nbarec.work import BLOCK_SHARE, MEMORY, Work, current, in_shards, on_shards, working


def square(shard: int, shared: Shared) -> int:
    return shard * shard + int(shared["one"][0])


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_shards_come_in_order_whatever_the_workers(workers: int) -> None:
    with working(Work(workers)):
        found = list(in_shards(square, range(10), {"one": np.ones(1)}))
    assert found == [at * at + 1 for at in range(10)]


def test_shards_run_side_by_side_in_other_threads() -> None:
    meet = Barrier(2, timeout=10)

    def name(shard: int, shared: Shared) -> str:
        meet.wait()  # breaks unless two shards are at work at the same time
        return current_thread().name

    with working(Work(2)):
        assert all(name.startswith("nbarec") for name in in_shards(name, range(4)))


def test_a_shard_of_a_shard_is_done_by_the_same_worker() -> None:
    def inner(shard: int, shared: Shared) -> str:
        return current_thread().name

    def outer(shard: int, shared: Shared) -> bool:
        return set(in_shards(inner, range(3))) == {current_thread().name} and current().workers == 1

    with working(Work(2)):
        assert all(in_shards(outer, range(4)))
        assert current().workers == 2


def test_outside_there_is_one_worker_and_two_gibibytes() -> None:
    assert current() == Work(1, MEMORY)
    with working(Work(4, 64 << 20)):
        assert current().block_bytes(1 << 30) == (64 << 20) // BLOCK_SHARE
        assert current().block_bytes(1000) == 1000
    assert current() == Work(1, MEMORY)


def test_what_a_shard_raises_reaches_the_caller() -> None:
    def fails(shard: int, shared: Shared) -> int:
        raise ValueError(f"shard {shard}")

    with working(Work(2)), pytest.raises(ValueError, match="shard 0"):
        list(in_shards(fails, range(4)))
    assert current().workers == 1


def test_threads_stay_for_the_next_work_and_end_with_the_block() -> None:
    def thread(shard: int, shared: Shared) -> Thread:
        meet.wait()
        return current_thread()

    meet = Barrier(2, timeout=10)
    with working(Work(2)):
        first, second = (set(in_shards(thread, range(2))) for _ in range(2))
        with working(Work(2)):
            inner = set(in_shards(thread, range(2)))
    assert first == second
    assert len(first | inner) == 4
    assert not any(thread.is_alive() for thread in first | inner)


def test_work_that_is_looked_at_side_by_side_has_threads_of_its_own() -> None:
    with working(Work(2)):
        one, other = (
            in_shards(square, range(10), {"one": np.ones(1)}),
            in_shards(square, range(10), {"one": np.ones(1)}),
        )
        assert next(one) == next(other) == 1
        other.close()  # type: ignore[attr-defined]
        assert list(one) == [at * at + 1 for at in range(1, 10)]
        assert list(in_shards(square, range(3), {"one": np.ones(1)})) == [1, 2, 5]


def test_what_has_begun_is_waited_for_where_work_ends_early() -> None:
    ended: list[int] = []
    begun = Event()

    def late(shard: int, shared: Shared) -> None:
        if shard == 0:
            begun.wait(10)
            raise ValueError("shard 0")
        begun.set()
        sleep(0.05)
        ended.append(shard)

    with working(Work(2)):
        with pytest.raises(ValueError, match="shard 0"):
            list(in_shards(late, range(2)))
        assert ended == [1]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_shard_of_a_generator_is_worked_on_once(workers: int) -> None:
    seen = np.zeros(50, np.int64)

    def count(shard: int) -> None:
        seen[shard] += 1
        assert current().workers == 1

    with working(Work(workers)):
        on_shards(count, (at for at in range(50)))
    assert (seen == 1).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_shards_that_share_arrays_tell_of_an_error(workers: int) -> None:
    def fails(shard: int) -> None:
        raise ValueError(f"shard {shard}")

    with working(Work(workers)), pytest.raises(ValueError, match="shard 0"):
        on_shards(fails, range(4))


def _threads() -> int:
    threads = blas._threads()
    if threads is None:
        pytest.skip("NumPy's BLAS on this platform can't be asked for its threads")
    return threads.get()


def test_blas_has_one_thread_inside_and_as_many_as_before_outside() -> None:
    before = _threads()
    with working(Work(2)):
        assert _threads() == 1
        with one_thread():
            assert _threads() == 1
        assert _threads() == 1
        assert list(in_shards(lambda shard, shared: _threads(), range(3))) == [1, 1, 1]
    assert _threads() == before


def test_a_users_own_number_of_threads_comes_back() -> None:
    _threads()
    asked = (
        "from nbarec import blas\n"
        "from nbarec.work import Work, working\n"
        "own = blas._threads().get()\n"
        "with working(Work(4)):\n"
        "    inside = blas._threads().get()\n"
        "print(own, inside, blas._threads().get())\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", asked],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["1", "1", "1"]


def test_where_blas_cant_be_told_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_threads", lambda: None)
    with one_thread():
        assert np.ones((3, 3)).sum() == 9
