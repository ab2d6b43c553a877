"""One parameter that a study may change, and the values that it may take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

from nbarec.errors import ConfigError, Mark, Problem
from nbarec.evaluation_plan import VARIED
from nbarec.marked import MapNode, Node, Scalar, dump, from_python, is_null
from nbarec.overrides import entry_id
from nbarec.param_rules import Declared, declared
from nbarec.params import Duration
from nbarec.tune_config import Range

if TYPE_CHECKING:
    from nbarec.pipeline import Pipeline

TUNED = (*VARIED, "data.feedback")
"""What ranges may be about: the rest says what is measured. What is relevant goes by the feedback as configured."""

TUNED_PATHS = tuple(f"{one}." for one in TUNED)
NO_TUNING = {"tune": None}  # need not be read again for every value that it names

DIGITS = 4
"""Significant digits of the numbers that are tried: nobody wants to read more of them in a config."""

STEP_DIGITS = 12
"""Of a value that steps lead to: 12 steps of 0.05 are 0.6, and not 0.6000000000000001."""

TOUCHING = 1e-9
"""A number this near to a step, in steps, is on it."""

WITHIN = 0.618
"""A place between two ends at which no range has its ends, steps or whole numbers."""

Value = float | int | str | bool | None
"""What a study keeps of a value; choices that are lists or mappings stand there as JSON."""


@dataclass(frozen=True)
class Dimension:
    """One parameter: its dotted `path`, the `range` of its values, and where both stand in the file."""

    path: str
    range: Range
    mark: Mark
    marks: Mapping[str, Mark]

    @property
    def choices(self) -> dict[Value, Node]:
        """Every value of a choice, by what the study calls it."""
        items = self.range.choice.items if self.range.choice is not None else ()
        return {_plain(item): item for item in items}

    def node(self, value: Value) -> Node:
        """A study's value as it stands in a config."""
        if self.range.choice is not None:
            return self.choices[value]
        return self._number(float(value or 0), self.mark)

    def first_tried(self) -> Iterator[Node]:
        """What must make a valid config: every choice, or both ends and a value between them."""
        yield from self.choices.values()
        if self.range.choice is not None:
            return
        low, high = self.ends
        yield self._number(low, self.marks["low"])
        yield self._number(high, self.marks["high"])
        if self.range.step is not None:
            yield self._number(low + self.range.step, self.marks["step"])
        elif not self.range.integer:
            yield self._number(low + WITHIN * (high - low), self.mark)

    def own(self, pipeline: Pipeline) -> dict[str, Value]:
        """The value that the config itself has, by path; empty where it has none, or one that the range does not
        have."""
        parts = self.path.split(".")
        node = _at(pipeline.root, parts) or _built(pipeline, parts, self.mark)
        if node is None:
            return {}
        if self.range.choice is not None:
            return {self.path: _plain(node)} if _plain(node) in self.choices else {}
        value = self._within(getattr(node, "value", None))
        return {} if value is None else {self.path: value}

    def _within(self, given: Any) -> Value:
        """A value of the range as a study keeps it; None where the range does not have it."""
        low, high = self.ends
        try:
            value = Duration(given) if isinstance(self.range.low, Duration) else given
        except (ValueError, TypeError):
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return None
        step = self.range.step or (1 if self.range.integer else None)
        if step is not None and abs((value - low) / step - round((value - low) / step)) > TOUCHING:
            return None
        return int(value) if self.range.integer else float(value)

    @property
    def ends(self) -> tuple[float, float]:
        """The least value, and the largest that steps lead to. Raises ValueError for a choice."""
        low, high = self.range.low, self.range.high
        if low is None or high is None:
            raise ValueError(f"{self.path} has a choice, and no ends")
        if self.range.step is None:
            return float(low), float(high)
        last = low + self.range.step * math.floor((high - low) / self.range.step + TOUCHING)
        return float(low), float(f"{last:.{STEP_DIGITS}g}")

    def _number(self, value: float, mark: Mark) -> Node:
        if isinstance(self.range.low, Duration):
            return Scalar(mark, str(Duration(round(value))))
        if self.range.integer:
            return Scalar(mark, round(value))
        low, high = self.ends
        return Scalar(mark, min(max(float(f"{value:.{DIGITS}g}"), low), high))

    def own_problems(self, pipeline: Pipeline) -> list[Problem]:
        """What is wrong with the path, and with the values beside each other, where it stands in the file."""
        found, mark = [], self.mark
        if not self.path.startswith(TUNED_PATHS):
            said = f"tune can't change {self.path!r}; it may change what stands in {', '.join(TUNED)}"
            found.append(Problem(said, mark))
        if self.path.startswith("data.") and pipeline.plan is not None and pipeline.plan.each == "event":
            found.append(Problem(f"tune can't change {self.path!r} where evaluate measures each: event", mark))
        if self.range.choice is not None and len(self.choices) < len(self.range.choice.items):
            found.append(Problem(f"tune, {self.path}: two values of the choice are alike; keep one of them", mark))
        return found

    def problems(self, pipeline: Pipeline) -> Iterator[Problem]:
        """All that is wrong, also with a value, where it stands in the file."""
        yield from self.own_problems(pipeline)
        for node in self.first_tried() if self.path.startswith(TUNED_PATHS) else ():
            try:
                pipeline.with_values({self.path: node, **NO_TUNING})
            except ConfigError as error:
                for problem in error.problems:
                    at_path = problem.mark is None or problem.mark.source == f"--set {self.path}"
                    hint = "; write integer: true" if self._lacks_integer(problem) else ""
                    mark = self.mark if at_path else problem.mark
                    yield Problem(f"tune, {self.path}: {problem.message}{hint}", mark)

    def _lacks_integer(self, problem: Problem) -> bool:
        return "whole number" in problem.message and self.range.choice is None and not self.range.integer


def _plain(node: Node) -> Value:
    """A scalar's value; JSON of anything else."""
    value: Any = node.value if isinstance(node, Scalar) else None
    return value if isinstance(node, Scalar) and isinstance(value, Value) else dump(node)


def _built(pipeline: Pipeline, parts: Sequence[str], mark: Mark) -> Node | None:
    """The value that a stage has where its config says none; None where there is no such stage or value."""
    section, stage, *rest = [*parts, ""]
    found = next((one for one in pipeline.stages.all() if (one.section, one.id) == (section, stage)), None)
    if found is None:
        return None
    value: Any = found.component if rest[:1] == ["with"] else found.settings
    for key in rest[rest[:1] == ["with"] : -1]:
        known = {} if isinstance(value, Mapping) else {name: one.name for name, one in _declared(value).items()}
        value = value.get(key) if isinstance(value, Mapping) else getattr(value, known.get(key, ""), None)
    return from_python(value, mark)


def _declared(value: Any) -> Mapping[str, Declared]:
    return declared(type(value)) if is_dataclass(value) else {}


def _at(node: Node | None, parts: Sequence[str]) -> Node | None:
    """What stands at a dotted path, as `--set` reads it; None where nothing does."""
    if not parts or node is None or is_null(node):
        return node if not parts else None
    if isinstance(node, MapNode):
        return _at(node.entries.get(parts[0]), parts[1:])
    found = [item for item in getattr(node, "items", ()) if entry_id(item) == parts[0]]
    return _at(found[0], parts[1:]) if found else None
