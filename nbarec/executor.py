"""Parallel work: a function over shards, in order, with the same bits whoever does it.

>>> with executor_of("threads", 2) as executor:
...     list(executor.map_shards(lambda shard, shared: shard + shared["one"].sum(), [1, 2, 3], {"one": np.ones(1)}))
[np.float64(2.0), np.float64(3.0), np.float64(4.0)]
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from contextvars import copy_context
from itertools import count
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Literal, Self, TypeVar, get_args

import numpy as np

from nbarec.arrays import AnyArray
from nbarec.errors import ContractError, NbarecError

X = TypeVar("X")
R = TypeVar("R")
Shared = Mapping[str, AnyArray]
Kind = Literal["serial", "threads", "processes"]

SHARDS_A_WORKER = 2
"""So many shards a worker are in flight at most: submitted, being worked on, or done and not yet handed out."""

_MOST_PROCESSES_ON_WINDOWS = 61


class Executor(ABC):
    """Does work shard by shard. Close it, or use it in a `with` statement, to let go of its workers and files."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @abstractmethod
    def map_shards(
        self, function: Callable[[X, Shared], R], shards: Iterable[X], shared: Shared | None = None
    ) -> Iterator[R]:
        """`function(shard, shared)` of every shard, in the order of shards.

        `shards` may be lazy and endless: it is read no further ahead than the workers need, and nothing starts
        before the first result is asked for. `shared` arrives read-only, and empty where it is None; arrays that
        are not contiguous arrive as contiguous copies, so that every kind of executor computes the same bits.
        Whatever `function` raises is raised where its result would stand; later shards are cancelled then, as they
        are when the iterator or the executor is closed. Shards must not use the executor that works on them.
        """

    @abstractmethod
    def close(self) -> None:
        """Cancel what has not begun, wait for what has, and end the workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SerialExecutor(Executor):
    """One shard after the other, here."""

    def __init__(self) -> None:
        super().__init__(1)

    def map_shards(
        self, function: Callable[[X, Shared], R], shards: Iterable[X], shared: Shared | None = None
    ) -> Iterator[R]:
        given = _shareable(shared)
        for shard in shards:
            yield function(shard, given)

    def close(self) -> None:
        """Nothing to let go of."""


class ThreadExecutor(Executor):
    """Threads of this process: for work that NumPy does without holding Python's lock."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="nbarec")

    def map_shards(
        self, function: Callable[[X, Shared], R], shards: Iterable[X], shared: Shared | None = None
    ) -> Iterator[R]:
        given = _shareable(shared)
        # Each shard gets a copy of the caller's context: np.errstate and progress hold in threads as they do here.
        submitted = (self._pool.submit(copy_context().run, function, shard, given) for shard in shards)
        return _in_order(submitted, SHARDS_A_WORKER * self.workers)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class ProcessExecutor(Executor):
    """Spawned processes: for work that holds Python's lock. `function` must be one that a module defines, shards and
    results must be picklable, and a script must guard its start by `if __name__ == "__main__":`.

    Shared arrays are written to temporary files once, and every worker maps them into its memory.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(min(workers, _MOST_PROCESSES_ON_WINDOWS) if sys.platform == "win32" else workers)
        self._folder = Path(tempfile.mkdtemp(prefix="nbarec-"))
        self._remove_files = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._pool = self._new_pool()
        self._calls = count()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.workers, get_context("spawn"), initializer=_leave_interrupts_to_the_parent)

    def map_shards(
        self, function: Callable[[X, Shared], R], shards: Iterable[X], shared: Shared | None = None
    ) -> Iterator[R]:
        _check_sendable(function)
        return self._map(function, shards, shared)

    def _map(self, function: Callable[[X, Shared], R], shards: Iterable[X], shared: Shared | None) -> Iterator[R]:
        with self._files(_shareable(shared)) as (folder, names):
            submitted = (
                self._pool.submit(work_on, function, shard, at, folder, names) for at, shard in enumerate(shards)
            )
            try:
                yield from _in_order(submitted, SHARDS_A_WORKER * self.workers)
            except BrokenProcessPool as error:
                self._pool = self._new_pool()
                raise NbarecError(_why_broken(folder)) from error

    @contextmanager
    def _files(self, shared: Shared) -> Iterator[tuple[Path, tuple[str, ...]]]:
        folder = self._folder / str(next(self._calls))
        folder.mkdir()
        try:
            for at, array in enumerate(shared.values()):
                np.save(_array_file(folder, at), array, allow_pickle=False)
            yield folder, tuple(shared)
        finally:
            _remove(folder)

    def close(self) -> None:
        # The files go first: a shard that was handed to a worker and has not begun then ends at once.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._remove_files()


def executor_of(kind: Kind, workers: int | None = None) -> Executor:
    """An executor of this kind; None or 0 workers stand for one a processor. Raises ValueError on anything else."""
    if workers is not None and workers < 0:
        raise ValueError(f"workers must be at least 0, not {workers}")
    number = workers or os.cpu_count() or 1
    match kind:
        case "serial":
            return SerialExecutor()
        case "threads":
            return ThreadExecutor(number)
        case "processes":
            return ProcessExecutor(number)
    raise ValueError(f"an executor is one of {', '.join(get_args(Kind))}, not {kind!r}")


def _in_order(submitted: Iterator[Future[R]], most: int) -> Iterator[R]:
    """Results in the order of submission, at most `most` of them in flight. However it ends, nothing stays begun."""
    flying: deque[Future[R]] = deque()
    try:
        for future in submitted:
            flying.append(future)
            if len(flying) >= most:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()
    finally:
        for future in flying:
            future.cancel()


def _shareable(shared: Shared | None) -> Shared:
    return {name: _read_only(array) for name, array in (shared or {}).items()}


def _read_only(array: AnyArray) -> AnyArray:
    contiguous = array.flags.c_contiguous or array.flags.f_contiguous
    view = array.view() if contiguous else np.ascontiguousarray(array)
    view.setflags(write=False)
    return view


def _check_sendable(function: Callable[..., object]) -> None:
    try:
        ForkingPickler.dumps(function)
    except Exception as error:
        raise ContractError(
            f"{getattr(function, '__qualname__', function)} can't be sent to a worker process ({error}); it must be a "
            "function that a module defines, or the executor one of threads"
        ) from error


def _array_file(folder: Path, at: int) -> Path:
    return folder / f"{at}.npy"


def _remove(folder: Path) -> None:
    """Remove a call's folder. Under another name first: a worker that begins a shard right now would otherwise put its
    file into a folder that is being emptied, and the folder would stay."""
    gone = folder.with_name(f"{folder.name}.gone")
    with suppress(OSError):  # Windows does not rename a folder whose files are mapped
        folder = folder.rename(gone)
    shutil.rmtree(folder, ignore_errors=True)


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches every process of a terminal; the parent alone decides what happens then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def work_on(function: Callable[[X, Shared], R], shard: X, at: int, folder: Path, names: tuple[str, ...]) -> R:
    """One shard's result, in a worker. A file stands for a shard that has begun and not ended, so that the parent
    can tell which ones a worker died of; it can't be made once the parent has given up and removed the folder."""
    begun = folder / f"{at}.begun"
    begun.touch()
    try:
        arrays = {name: np.load(_array_file(folder, i), mmap_mode="r") for i, name in enumerate(names)}
        return function(shard, {name: np.asarray(array) for name, array in arrays.items()})
    finally:
        begun.unlink(missing_ok=True)


def _why_broken(folder: Path) -> str:
    begun = sorted(int(path.stem) for path in folder.glob("*.begun"))
    if not begun:
        return (
            "a worker process died before it began a shard; a script that uses processes must guard its start by "
            "`if __name__ == '__main__':`, or use threads"
        )
    shards = f"shard {begun[0]}" if len(begun) == 1 else f"one of the shards {', '.join(map(str, begun))}"
    return f"a worker process died at {shards} (killed, or out of memory?); use fewer workers, or threads"
