"""Ours and a peer in child processes that alternate, so that a slow minute of the machine hits both."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench import memory
from bench.jobs import Figures

FOLDER = Path(__file__).parents[1]
"""Where the package `bench` is found."""

SHORT, LONG, REPEATS = 0.5, 4.0, 5
"""Where one side is done in less seconds than `SHORT`, and none takes `LONG`, both repeat the work so often in each
process, and the median counts: what happens once in a process would else be most of what is measured."""


@dataclass(frozen=True)
class Side:
    """One way to do a task: who does it, the `task` as module:function, what packages it needs, its `options`, what is
    set for its process in `variables`, and how often the work is repeated there."""

    name: str
    task: str
    needs: tuple[str, ...] = ()
    options: Mapping[str, float] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    repeats: int = 1

    def given(self, **options: float) -> Side:
        """The same with further options."""
        return replace(self, options={**self.options, **options})


@dataclass(frozen=True)
class Place:
    """What all children of a run are given: the world's file, the folder that is kept between runs, workers."""

    world: Path
    cache: Path
    workers: int


@dataclass(frozen=True)
class Measured:
    """One run: wall and processor seconds; peak megabytes, over what was held before the work began (`added`) and
    in all (`total`), NaN where they were not read; and figures of the result, empty where nobody asked."""

    seconds: float
    processor: float
    added: float
    total: float
    figures: Figures


@dataclass(frozen=True)
class Compared:
    """Runs of one side: the first warms up, and is the one whose memory was read and whose figures were asked."""

    warm_up: Measured
    runs: tuple[Measured, ...]

    @property
    def seconds(self) -> float:
        """The median of the runs."""
        return median(run.seconds for run in self.runs)

    @property
    def processor(self) -> float:
        """The median of the runs, in processor seconds."""
        return median(run.processor for run in self.runs)

    @property
    def spread(self) -> tuple[float, float]:
        """Seconds of the fastest run and of the slowest."""
        return min(run.seconds for run in self.runs), max(run.seconds for run in self.runs)


class Failed(SystemExit):
    """A child that failed, and what it complained of: the end of the command, unless it is caught."""


def run(side: Side, place: Place, *, figures: bool = False, share: float | None = None) -> Measured:
    """One run in a child process; memory is read by `share` of a processor, or not at all. Raises Failed."""
    command = [sys.executable, "-m", "bench.child", side.task, str(place.world)]
    command += [f"--cache={place.cache}", f"--workers={place.workers}", f"--repeats={side.repeats}"]
    command += [f"--options={json.dumps(dict(side.options))}", *(["--figures"] if figures else [])]
    path = os.pathsep.join(filter(None, [str(FOLDER), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, **side.variables, "PYTHONPATH": path}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": complaints}
        with subprocess.Popen(command, env=variables, text=True, encoding="utf-8", **streams) as child:
            try:
                return _followed(child, share)
            except _Ended:
                child.wait()
                complaints.seek(0)
                raise Failed(f"{side.name}: {side.task} failed:\n{complaints.read()}") from None
            finally:
                child.kill()


class _Ended(Exception):
    """A child that has ended before it had said all."""


def _followed(child: subprocess.Popen[str], share: float | None) -> Measured:
    """Lead a child through its task."""
    ready = _heard(child, "ready")
    before = memory.megabytes(child.pid) if share is not None else math.nan
    most = math.nan
    if share is None:
        _go_on(child)
        done = _heard(child, "done")
    else:
        with memory.watched(child.pid, share) as peak:
            _go_on(child)
            done = _heard(child, "done")
            peak.look(child.pid)  # what the result itself takes is seen also where the work was short
        most = peak.most
        if not memory.KNOWN:
            before, most = ready["peak"], done["peak"]
    _go_on(child)
    figures = _heard(child, "figures")
    child.wait()
    return Measured(median(done["walls"]), median(done["processors"]), most - before, most, figures)


def _heard(child: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """What the child says next, which must be of this event."""
    line = child.stdout.readline() if child.stdout else ""
    if not line:
        raise _Ended
    facts: dict[str, Any] = json.loads(line)[event]
    return facts


def _go_on(child: subprocess.Popen[str]) -> None:
    if child.stdin:
        child.stdin.write("\n")
        child.stdin.flush()


def alternating(ours: Side, peer: Side, place: Place, pairs: int, advance: Callable[[int], None]) -> list[Compared]:
    """Both sides: a run each that warms up, of which memory is read and figures are asked; then `pairs` of runs whose
    seconds count, each side being the first of every other pair. `advance` is told of every run."""

    def one(side: Side, **how: Any) -> Measured:
        measured = run(side, place, **how)
        advance(1)
        return measured

    warm_ups = [one(side, figures=True, share=memory.OFTEN) for side in (ours, peer)]
    first = [warm_up.seconds for warm_up in warm_ups]
    sides = [replace(side, repeats=REPEATS if min(first) < SHORT and max(first) < LONG else 1) for side in (ours, peer)]
    turns: list[list[Measured]] = [[], []]
    for pair in range(pairs):  # a step a pair
        for at in (0, 1) if pair % 2 == 0 else (1, 0):
            turns[at].append(one(sides[at]))
    return [Compared(warm_up, tuple(runs)) for warm_up, runs in zip(warm_ups, turns, strict=True)]
