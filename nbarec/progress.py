"""Progress of long work: the library announces it, whoever runs the library may show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

Advance = Callable[[int], None]
Show = Callable[[str, int], AbstractContextManager[Advance]]


@contextmanager
def _silent(label: str, length: int) -> Iterator[Advance]:
    yield lambda _steps: None


_show: ContextVar[Show] = ContextVar("nbarec_progress", default=_silent)


def track(label: str, length: int) -> AbstractContextManager[Advance]:
    """`with track("reading plays.csv", size) as advance: ... advance(steps)`; silent unless `shown_by` is active."""
    return _show.get()(label, length)


@contextmanager
def shown_by(show: Show) -> Iterator[None]:
    """Within this block, long work is shown by `show(label, length)`."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)
