"""Every error that a user, a config or a plugin can cause.

The command line prints these as one message and exits with 1; anything else is a fault of nbarec itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass


class NbarecError(Exception):
    """Base of all errors with a message that is meant for the person who runs the pipeline."""


@dataclass(frozen=True)
class Mark:
    """A place in a text: `source` is a file name or `--set ...`; `line` and `column` count from 1."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a config, and where."""

    message: str
    mark: Mark | None = None

    def __str__(self) -> str:
        return f"{self.mark}: {self.message}" if self.mark else self.message


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """The problems in the order of the file."""
    return sorted(problems, key=lambda problem: astuple(problem.mark or Mark("", 0, 0)))


class ConfigError(NbarecError):
    """The YAML, an override or a parameter is wrong. Carries every problem that was found at once."""

    def __init__(self, problems: str | Problem | Sequence[Problem], mark: Mark | None = None) -> None:
        if isinstance(problems, str):
            problems = Problem(problems, mark)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class DataError(NbarecError):
    """Input data can't be used; the message names the file and the row."""


class PluginError(NbarecError):
    """A plugin can't be found, imported or told from another of the same name."""


class ContractError(NbarecError):
    """A plugin returned something that its base class does not allow."""


class StoreError(NbarecError):
    """A saved model is missing, damaged, or does not fit what is installed."""
