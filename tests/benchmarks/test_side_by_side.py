"""Child processes are timed, watched and taken in turns; their memory is that of all that they start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import memory, side_by_side
from bench.side_by_side import Compared, Measured, Place, Side, alternating, run
from bench.worlds import world_file

TASKS = """
import subprocess, sys, time
from bench.jobs import Job

def quick(task):
    return Job(lambda: task.options["n"] + task.workers, lambda found: {"found": found, "users": task.world.users})

def talking(task):
    print("what a library prints")
    return Job(lambda: print("and prints again"))

def failing(task):
    raise RuntimeError("no such thing as a free lunch")

def own(task):
    held = []
    return Job(lambda: held.append(bytes([1]) * 60_000_000) or time.sleep(0.2))

def of_a_child(task):
    hold = "held = bytes([1]) * 60_000_000; import time; time.sleep(0.4)"
    return Job(lambda: subprocess.run([sys.executable, "-c", hold], check=True) and None)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where children find the tasks above."""
    (tmp_path / "tasks_of_tests.py").write_text(TASKS)
    known = [str(tmp_path), *filter(None, sys.path)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(known))
    return Place(world_file("tiny", tmp_path), tmp_path, workers=3)


def side(task: str, **options: float) -> Side:
    return Side("tested", f"tasks_of_tests:{task}", options=options)


def measured(seconds: float) -> Measured:
    return Measured(seconds, 2 * seconds, 1.0, 2.0, {})


def test_a_child_gets_its_task_and_tells_of_it(place: Place) -> None:
    found = run(side("quick", n=4.0), place, figures=True)
    assert found.figures == {"found": 7.0, "users": 600}
    assert 0 <= found.seconds < 1
    assert found.added != found.added  # NaN: nobody read it
    assert run(side("quick", n=4.0), place).figures == {}


def test_what_a_library_prints_is_not_taken_for_an_answer(place: Place) -> None:
    assert run(side("talking"), place, figures=True).figures == {}


def test_a_child_that_fails_ends_the_run_with_what_it_complained_of(place: Place) -> None:
    with pytest.raises(SystemExit, match=r"(?s)tested: tasks_of_tests:failing failed:.*no such thing as a free lunch"):
        run(side("failing"), place)


@pytest.mark.skipif(not memory.KNOWN, reason="this system tells no PSS")
@pytest.mark.parametrize("task", ["own", "of_a_child"])
def test_memory_is_that_of_the_work_and_of_all_processes(task: str, place: Place) -> None:
    found = run(side(task), place, share=memory.OFTEN)
    assert 55 < found.added < 85
    assert found.total > found.added + 5


@pytest.mark.skipif(not memory.KNOWN, reason="this system tells no PSS")
def test_the_tree_of_a_process_holds_what_it_has_started() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert {os.getpid(), child.pid} <= set(memory.tree(os.getpid()))
        assert memory.tree(child.pid) == [child.pid]
        child.communicate(b"\n")
    assert child.pid not in memory.tree(os.getpid())
    assert memory.megabytes(child.pid) == 0


def test_medians_and_the_spread() -> None:
    compared = Compared(measured(9), tuple(map(measured, (3.0, 1.0, 2.0, 8.0, 2.5))))
    assert (compared.seconds, compared.processor, compared.spread) == (2.5, 5.0, (1.0, 8.0))


@pytest.mark.parametrize(("seconds", "repeats"), [((0.1, 2.0), 5), ((0.1, 5.0), 1), ((1.0, 2.0), 1)])
def test_sides_take_turns_and_short_work_is_repeated(
    seconds: tuple[float, float], repeats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    took: list[tuple[str, int, bool]] = []

    def noted(side: Side, _place: Place, **how: Any) -> Measured:
        took.append((side.name, side.repeats, bool(how)))
        return measured(seconds[side.name == "peer"])

    monkeypatch.setattr(side_by_side, "run", noted)
    steps: list[int] = []
    ours, peer = alternating(Side("ours", ""), Side("peer", ""), Place(Path(), Path(), 1), 3, steps.append)
    assert [name for name, *_ in took] == ["ours", "peer", "ours", "peer", "peer", "ours", "ours", "peer"]
    assert [(often, how) for _, often, how in took] == [(1, True)] * 2 + [(repeats, False)] * 6
    assert (len(ours.runs), len(peer.runs), sum(steps)) == (3, 3, 8)
