"""Progress is announced to whoever shows it, and to nobody otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nbarec.progress import Advance, Show, shown_by, track


def recorder(said: list[object]) -> Show:
    @contextmanager
    def show(label: str, length: int) -> Iterator[Advance]:
        said.append((label, length))
        yield said.append
        said.append("done")

    return show


def work() -> None:
    with track("reading", 3) as advance:
        advance(1)
        advance(2)


def test_nothing_is_said_unless_somebody_shows_it(capfd: pytest.CaptureFixture[str]) -> None:
    work()
    assert capfd.readouterr() == ("", "")


def test_steps_go_to_whoever_shows_them_and_only_within_the_block() -> None:
    said: list[object] = []
    with shown_by(recorder(said)):
        work()
    work()
    assert said == [("reading", 3), 1, 2, "done"]


def test_the_inner_of_two_shows_and_then_the_outer_again() -> None:
    outer: list[object] = []
    inner: list[object] = []
    with shown_by(recorder(outer)):
        with shown_by(recorder(inner)):
            work()
        work()
    assert outer == inner == [("reading", 3), 1, 2, "done"]


def test_an_error_ends_the_showing() -> None:
    said: list[object] = []
    with pytest.raises(RuntimeError, match="stopped"), shown_by(recorder(said)):
        raise RuntimeError("stopped")
    work()
    assert said == []
