"""Grids of settings: other values at dotted paths of a config, every combination of them.

>>> varied = Varied.of("rank.mixed.with.weights.latent=0.5, 1, 2")
>>> varied.path, varied.texts
('rank.mixed.with.weights.latent', ('0.5', '1', '2'))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from nbarec.errors import ConfigError, Mark, Problem
from nbarec.evaluation_plan import VARIED
from nbarec.marked import ListNode, Node, compose, dump, to_plain
from nbarec.pipeline import Pipeline

MOST_SETTINGS = 1000
"""A grid with more is a slip of the pen rather than an afternoon's work."""


@dataclass(frozen=True)
class Varied:
    """The values that one dotted path of the config takes, one after the other."""

    path: str
    values: tuple[Node, ...]

    @classmethod
    def of(cls, text: str) -> Varied:
        """What `PATH=V1,V2` says; values are YAML, and commas inside brackets and quotes are their own.

        Raises ConfigError where it is not that, where the path may not vary, and where a value stands twice.
        """
        path, equals, written = text.partition("=")
        mark = Mark(f"--vary {path}", 1, 1)
        if not equals or not path or not written.strip():
            raise ConfigError(f"--vary {text!r} is not PATH=VALUE,VALUE, such as rank.mixed.with.weights.latent=0.5,1")
        if path.split(".")[0] not in VARIED:
            raise ConfigError(f"{path!r} can't be varied; a path may begin with {', '.join(VARIED)}", mark)
        listed = compose(f"[{written}]", mark.source)
        values = listed.items if isinstance(listed, ListNode) else ()
        found = cls(path, values)
        if twice := [text for at, text in enumerate(found.texts) if text in found.texts[:at]]:
            raise ConfigError(f"the value {twice[0]} stands twice; write it once", mark)
        return found

    @property
    def texts(self) -> tuple[str, ...]:
        """The values as people read them."""
        return tuple(dump(value).replace('"', "") for value in self.values)

    @property
    def name(self) -> str:
        """The parameter without its stage: `weights.latent`."""
        steps = self.path.split(".")
        return ".".join(steps[steps.index("with") + 1 :] if "with" in steps[:-1] else steps[2:]) or self.path

    @property
    def full_name(self) -> str:
        """The same with its stage: `mixed.weights.latent`."""
        steps = self.path.split(".")
        return self.path if len(steps) < 3 else f"{steps[1]}.{self.name}"


@dataclass(frozen=True)
class Setting:
    """The config with one combination of values: `values` are plain ones, by dotted path."""

    name: str
    values: Mapping[str, Any]
    pipeline: Pipeline


def settings_of(pipeline: Pipeline, varied: Sequence[Varied]) -> list[Setting]:
    """The pipeline with every combination of the varied values, the last path's changing fastest.

    Raises ConfigError with every problem of every value, under its own path.
    """
    paths = [one.path for one in varied]
    if twice := [path for at, path in enumerate(paths) if path in paths[:at]]:
        raise ConfigError(f"--vary names {twice[0]!r} twice; list all its values at once", Mark("--vary", 1, 1))
    if (count := prod(len(one.values) for one in varied)) > MOST_SETTINGS:
        raise ConfigError(f"the grid has {count:,} settings; at most {MOST_SETTINGS:,} are measured: name fewer values")
    found, problems = [], dict[Problem, None]()
    for name, nodes in _combinations(varied):
        try:
            other = pipeline.with_values(nodes)
        except ConfigError as error:
            problems.update((_of_path(problem, paths), None) for problem in error.problems)
        else:
            found.append(Setting(name, {path: to_plain(node) for path, node in nodes.items()}, other))
    if problems:
        raise ConfigError(list(problems))
    return found


def _combinations(varied: Sequence[Varied]) -> Iterator[tuple[str, Mapping[str, Node]]]:
    """The name of every combination, and its values by path."""
    names = [one.name if [other.name for other in varied].count(one.name) == 1 else one.full_name for one in varied]
    for chosen in product(*(zip(one.texts, one.values, strict=True) for one in varied)):
        told = ", ".join(f"{name}={text}" for name, (text, _) in zip(names, chosen, strict=True))
        yield told, {one.path: node for one, (_, node) in zip(varied, chosen, strict=True)}


def _of_path(problem: Problem, paths: Sequence[str]) -> Problem:
    """The problem of an override, under the option that gave it."""
    for path in paths:
        if problem.mark is not None and problem.mark.source == f"--set {path}":
            return Problem(problem.message, replace(problem.mark, source=f"--vary {path}"))
    return problem
