"""The threads of NumPy's BLAS: one inside the engine, whose parallel work is its own, and the user's own outside.

Two workers whose matrix products each start a thread a core get in each other's way: small products then take ten times
as long. And how a product is split decides its last bits, so one thread is also what makes results repeat.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

_FUNCTIONS = (
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("scipy_openblas_get_num_threads", "scipy_openblas_set_num_threads"),
    ("openblas_get_num_threads64_", "openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
)
"""How the libraries that NumPy is built with are asked for their threads, and told."""

_SHARED = ("libopenblas.so.0", "libopenblas64_.so.0", "libblas.so.3", "libmkl_rt.so.2")
"""What the library is called where it did not come with NumPy."""


class _Threads(NamedTuple):
    get: Callable[[], int]
    set: Callable[[int], object]


class _Users:
    """How many blocks of `one_thread` are open, and how many threads there were before the first."""

    def __init__(self) -> None:
        self.lock, self.open, self.before = Lock(), 0, 0


_users = _Users()


@contextmanager
def one_thread() -> Iterator[None]:
    """Within this block, each matrix product runs in the thread that calls it; afterwards it is as it was before.

    Blocks may be nested, and open in several threads at a time. Nothing happens where NumPy's BLAS can't be told.
    """
    threads = _threads()
    if threads is None:
        yield
        return
    with _users.lock:
        if not _users.open:
            _users.before = threads.get()
            threads.set(1)
        _users.open += 1
    try:
        yield
    finally:
        with _users.lock:
            _users.open -= 1
            if not _users.open:
                threads.set(_users.before)


@cache
def _threads() -> _Threads | None:
    """The two functions of the BLAS that NumPy has loaded; None where it is one that can't be asked."""
    for library in _libraries():
        for get, change in _FUNCTIONS:
            with suppress(AttributeError):
                return _Threads(getattr(library, get), getattr(library, change))
    return None


def _libraries() -> Iterator[ctypes.CDLL]:
    """The BLAS libraries of this process: that in NumPy's wheel, or one of the system that is loaded already."""
    package = Path(np.__file__).parent
    for folder in (package.with_name("numpy.libs"), package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            with suppress(OSError):
                yield ctypes.CDLL(str(path))
    for name in _SHARED:
        with suppress(OSError, AttributeError):  # not loaded; or a platform on which that can't be asked
            yield ctypes.CDLL(name, os.RTLD_NOLOAD)
