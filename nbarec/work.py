"""Work: how many workers and how much memory long work may use. Whoever runs the engine says so, and kernels ask here.

>>> with working(Work(workers=2)):
...     list(in_shards(lambda shard, shared: shard * shard, [1, 2, 3]))
[1, 4, 9]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TypeVar

from nbarec.blas import one_thread
from nbarec.executor import Executor, Shared, ThreadExecutor, executor_of

X = TypeVar("X")
R = TypeVar("R")

MEMORY = 2 << 30
"""Bytes: what `engine.memory` is where nobody says otherwise. Never read off the machine, whose free memory changes."""

BLOCK_SHARE = 32
"""A block of work may take this part of the memory: 64 MiB of 2 GiB. Several of that size are alive at a time."""


@dataclass(frozen=True)
class Work:
    """`workers` that work side by side, and the `memory` in bytes that blocks of work are cut to fit.

    Neither changes a result: shards are fixed by the data, and every row of a result depends on that row alone.
    """

    workers: int = 1
    memory: int = MEMORY

    def block_bytes(self, wanted: int) -> int:
        """Bytes for one block: what is `wanted`, as a rule what stays in the cache, or less where memory is short."""
        return max(min(wanted, self.memory // BLOCK_SHARE), 1)


ONE_WORKER = Work()


class _Crew:
    """The threads of one `working` block. They stay for its next work: a new thread would have a heap of its own, and
    what the ones before have let go of would lie idle in theirs."""

    def __init__(self) -> None:
        self._idle: list[Executor] = []

    @contextmanager
    def at_work(self, workers: int) -> Iterator[Executor]:
        """Threads that nobody else uses meanwhile. Where work ends early, what has begun is waited for."""
        executor = self._idle.pop() if self._idle else ThreadExecutor(workers)
        try:
            yield executor
        except BaseException:
            executor.close()
            raise
        self._idle.append(executor)

    def end(self) -> None:
        """Let go of the threads."""
        while self._idle:
            self._idle.pop().close()


_work: ContextVar[Work] = ContextVar("nbarec_work", default=ONE_WORKER)

_crew: ContextVar[_Crew] = ContextVar("nbarec_crew")
"""Set wherever there is more than one worker."""


def current() -> Work:
    """What work may use here: one worker and 2 GiB unless `working` says otherwise."""
    return _work.get()


@contextmanager
def working(work: Work) -> Iterator[None]:
    """Within this block work may use this much, and BLAS has one thread: the workers are the only parallel work."""
    crew = _Crew()
    token, of_crew = _work.set(work), _crew.set(crew)
    try:
        with one_thread():
            yield
    finally:
        _crew.reset(of_crew)
        _work.reset(token)
        crew.end()


def in_shards(function: Callable[[X, Shared], R], shards: Iterable[X], shared: Shared | None = None) -> Iterator[R]:
    """`function(shard, shared)` of every shard, in the order of shards, by as many threads as there are workers.

    What `Executor.map_shards` says holds here too. A shard that itself asks for shards does them one by one: its
    workers are busy. NumPy lets go of Python's lock in sort, take, partition, matvec, einsum and products, and holds
    it in `ufunc.at`, in bincount and in indexing with arrays: a shard of the latter gains nothing from threads.
    """
    work = current()

    def alone(shard: X, shared: Shared) -> R:
        _work.set(replace(work, workers=1))
        return function(shard, shared)

    if work.workers == 1:
        with executor_of("serial", 1) as executor:
            yield from executor.map_shards(function, shards, shared)
        return
    with _crew.get().at_work(work.workers) as executor:
        yield from executor.map_shards(alone, shards, shared)


def on_shards(function: Callable[[X], object], shards: Iterable[X]) -> None:
    """`function(shard)` of every shard, for work whose results stand in arrays that the shards share.

    Each worker takes the next shard as soon as it is free, and nobody waits for results in order: a third thread that
    woke at each of thousands of them would take the lock from those that work. An error is raised when all are done.
    """
    left = iter(list(shards))

    def take_turns(_worker: int, _shared: Shared) -> None:
        for shard in left:
            function(shard)

    for _ in in_shards(take_turns, range(current().workers)):
        pass
