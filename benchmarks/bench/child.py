"""One task in a process of its own: `python -m bench.child` with a task, a world's file and options.

What it says goes to stdout, a line of JSON each: `{"ready": ...}` when the input is built, `{"done": ...}` when the
work is, `{"figures": ...}` last. After the first two it waits for a line on stdin, while memory is read from outside.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from bench.jobs import Job, Task
from bench.memory import peak_of_this_process
from bench.worlds import World


def processor_seconds() -> float:
    """Of all threads of this process, and of the processes that it has started and that have ended."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system


def told(out: TextIO, event: str, **facts: object) -> None:
    """Say what happened."""
    print(json.dumps({event: facts}), file=out, flush=True)


def timed(job: Job[Any], repeats: int) -> tuple[Any, list[float], list[float]]:
    """The result, and wall and processor seconds of each repeat: the first one pays for memory that is new."""
    result, walls, processors = None, [], []
    # A step a repeat.
    for _ in range(repeats):
        result = None  # two results at a time would count as memory that the work needs
        wall, processor = time.perf_counter(), processor_seconds()
        result = job.run()
        walls.append(time.perf_counter() - wall)
        processors.append(processor_seconds() - processor)
    return result, walls, processors


def main() -> None:
    """Do the task and tell of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", help="module:function")
    parser.add_argument("world", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--figures", action="store_true")
    asked = parser.parse_args()
    # Nothing else may be printed between the lines of JSON: what peers print goes to stderr.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    name, _, function = asked.task.partition(":")
    build: Callable[[Task], Job[Any]] = getattr(import_module(name), function)
    job = build(Task(World.load(asked.world), asked.workers, asked.cache, asked.options))
    gc.collect()
    told(out, "ready", peak=peak_of_this_process())
    sys.stdin.readline()
    result, walls, processors = timed(job, asked.repeats)
    told(out, "done", walls=walls, processors=processors, peak=peak_of_this_process())
    sys.stdin.readline()
    told(out, "figures", **(job.figures(result) if asked.figures else {}))


if __name__ == "__main__":
    main()
