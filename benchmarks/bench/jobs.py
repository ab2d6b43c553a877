"""What a task gives to the process that measures it: the work, and the figures of what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from bench.worlds import World

R = TypeVar("R")

Figures = Mapping[str, float]


def nothing(_result: object) -> Figures:
    """Of work whose result is not looked at."""
    return {}


@dataclass(frozen=True)
class Task:
    """What a task works on: the `world`, so many `workers`, files that are kept between runs in `cache`, `options`."""

    world: World
    workers: int
    cache: Path
    options: Mapping[str, float] = field(default_factory=dict)

    def whole(self, option: str) -> int:
        """An option that is a whole number."""
        return int(self.options[option])


@dataclass(frozen=True)
class Job(Generic[R]):
    """Work that is ready to start: only `run` is timed. `figures` then says how good its result is."""

    run: Callable[[], R]
    figures: Callable[[R], Figures] = nothing
