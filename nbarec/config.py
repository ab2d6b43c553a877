"""The config: one YAML file, typed, every problem found at once.

`read_config` knows the shape of the whole file; `nbarec.pipeline` then finds the components that it names.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from nbarec.errors import ConfigError, Mark, Problem, in_order
from nbarec.evaluation_config import EvaluateConfig
from nbarec.expressions import Expression
from nbarec.feedback import Feedback
from nbarec.marked import ListNode, MapNode, Node, Scalar, from_python, read_file
from nbarec.moments import moment
from nbarec.overrides import apply_overrides
from nbarec.params import StageRef, build, param
from nbarec.scalars import shown
from nbarec.tune_config import TuneConfig
from nbarec.work import Work

STAGE_ID = re.compile(r"[a-z][a-z0-9_]*")
STAGE_SECTIONS = ("candidates", "features", "rank", "filters")
MEBIBYTE = 2**20

OnError = Literal["fail", "skip"]


class Memory(int):
    """A number of bytes, written 512MiB or 2GiB."""

    UNITS: ClassVar[Mapping[str, int]] = {"MiB": MEBIBYTE, "GiB": 1024 * MEBIBYTE}
    WRITTEN: ClassVar[re.Pattern[str]] = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(MiB|GiB)")

    def __new__(cls, value: str | int) -> Self:
        if not isinstance(value, str):
            return super().__new__(cls, value)
        match = cls.WRITTEN.fullmatch(value)
        if not match:
            raise ValueError(f"{shown(value)} is not an amount of memory; write one such as 512MiB or 2GiB")
        size = float(match[1]) * cls.UNITS[match[2]]
        if not math.isfinite(size):
            raise ValueError(f"{shown(value)} is more memory than there can be; write an amount such as 2GiB")
        return super().__new__(cls, int(size))

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """The amount that a text says; a plain number has no unit and is refused."""
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            raise ValueError("memory has no unit; write an amount such as 512MiB or 2GiB")
        return cls(node.value)

    def __str__(self) -> str:
        unit = "MiB" if self % self.UNITS["GiB"] else "GiB"
        return f"{int(self) / self.UNITS[unit]:.15g}{unit}"


class Clock(str):
    """`latest`, or a moment: ISO 8601 or epoch seconds as text."""

    def __new__(cls, value: str) -> Self:
        if value != "latest":
            try:
                moment(value)
            except ValueError as error:
                raise ValueError(f"{shown(value)} {error}, or latest") from None
        return super().__new__(cls, value)

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """The clock that a text says."""
        if not isinstance(node, Scalar) or type(node.value) not in (str, int):
            raise ValueError("as_of must be latest or a time such as 2025-06-30T00:00:00Z")
        return cls(str(node.value))

    @property
    def seconds(self) -> int | None:
        """Seconds since 1970 UTC; None for `latest`."""
        return None if self == "latest" else moment(self)


@dataclass(frozen=True)
class EngineConfig:
    """How much of the machine to use; no result depends on it."""

    workers: int | None = param(None, ge=1, doc="How many fit and serve side by side; one a core if left out.")
    memory: Memory = param(Memory("2GiB"), ge=Memory("1MiB"), doc="Budget that sets how much is worked on at once.")
    executor: Literal["threads", "processes"] = param(
        "threads", doc="Who serves many users: processes are faster, and need a main guard in a script that asks them."
    )

    @property
    def work(self) -> Work:
        """The same for whoever works."""
        return Work(self.workers or os.cpu_count() or 1, int(self.memory))


@dataclass(frozen=True)
class NamedComponent:
    """A component under an id of its own: what the settings of every stage begin with."""

    use: str = param(doc="The component's name, or distribution/name.")
    id: str | None = param(None, doc="What traces, metrics and errors call it; the component's name if left out.")
    with_: MapNode | None = param(None, key="with", doc="The component's parameters.")


@dataclass(frozen=True)
class CandidatesConfig(NamedComponent):
    """One candidate generator under an id of its own."""

    k: int = param(100, ge=1, doc="How many items to propose for each user.")
    history: Expression | None = param(None, doc="Which events count, for learning and for serving; all if left out.")
    exclude: Expression | None = param(None, doc="Which events' items are not proposed; those of weight above 0.")
    when: Expression | None = param(None, doc="For which requests it runs, such as user.events == 0; all if left out.")
    on_error: OnError = param("fail", doc="skip lets the other stages serve where this one fails.")


@dataclass(frozen=True)
class FeaturesConfig(NamedComponent):
    """One feature provider under an id of its own."""


@dataclass(frozen=True)
class RankConfig(NamedComponent):
    """One ranker under an id of its own."""

    keep: int | None = param(None, ge=1, doc="How many of the best go on to the next stage; all if left out.")
    on_error: OnError = param("fail", doc="skip keeps the scores as they were where this one fails.")


@dataclass(frozen=True)
class FilterConfig(NamedComponent):
    """One post-filter under an id of its own."""


@dataclass(frozen=True)
class SlateConfig:
    """What each user gets."""

    k: int = param(10, ge=1, doc="Number of places.")
    fallback: StageRef | None = param(None, doc="The generator that fills places which would stay empty.")


StageConfig = CandidatesConfig | FeaturesConfig | RankConfig | FilterConfig


@dataclass(frozen=True)
class Config:
    """The whole file."""

    nbarec: int = param(ge=1, le=1, doc="Version of the config's schema: 1.")
    data: MapNode = param(doc="A data source and its parameters, and the feedback model.")
    candidates: tuple[CandidatesConfig, ...] = param(doc="Candidate generators, independent of each other.")
    seed: int = param(0, ge=0, doc="Seed of everything random.")
    as_of: Clock = param(Clock("latest"), doc="The only clock: latest (the latest event) or an ISO time.")
    engine: EngineConfig = param(EngineConfig(), doc="How much of the machine to use.")
    features: tuple[FeaturesConfig, ...] = param((), doc="Feature providers.")
    rank: tuple[RankConfig, ...] = param((), doc="Rankers, in order.")
    filters: tuple[FilterConfig, ...] = param((), doc="Post-filters, in order.")
    slate: SlateConfig = param(SlateConfig(), doc="What each user gets.")
    evaluate: EvaluateConfig | None = param(None, doc="What to measure; nothing if left out.")
    tune: TuneConfig | None = param(None, doc="Which values `nbarec tune` tries; nothing if left out.")


@dataclass(frozen=True)
class DataSection:
    """The `data:` section, apart: the source's name, its own parameters, and the feedback model."""

    use: str
    use_mark: Mark
    parameters: MapNode
    feedback: Feedback | None


Read = tuple[Config, DataSection | None, MapNode]


def read_config(
    source: str | Path | MapNode, overrides: Mapping[str, object] | None = None, problems: list[Problem] | None = None
) -> Read:
    """The typed config, its data section and the tree it was read from (overrides applied).

    `source` is a path, or a tree that was already read. Raises ConfigError with every problem of the file. Where a
    list of `problems` is given they are appended to it instead, and what is returned is the sound rest of the file,
    in which a caller can look for further problems; ConfigError is raised only where no sound rest makes a config.
    """
    found: list[Problem] = []
    root = source if isinstance(source, MapNode) else read_file(source)
    root = apply_overrides(root, overrides or {})
    config, sound = build(Config, root, where="config", problems=found), root
    if config is None:
        sound = _sound_part(root)
        config = build(Config, sound, where="config", problems=[])
    section = _data_section(root, found)
    if config is not None:
        found.extend(_stage_problems(config, sound, whole=sound is root))
    if config is None or (found and problems is None):
        raise ConfigError(in_order(found))
    if problems is not None:
        problems.extend(found)
    return _named(config), section, sound


def _sound_part(root: MapNode) -> MapNode:
    """The tree without the stages, and without the other entries of the file, that make no part of a config."""
    least = from_python({"nbarec": 1, "data": {}, "candidates": []}, root.mark)

    def is_sound(key: str, node: Node) -> bool:
        entries = {**getattr(least, "entries", {}), key: node}
        return build(Config, MapNode(root.mark, entries, root.key_marks), where="", problems=[]) is not None

    def sound(key: str, node: Node) -> Node:
        if key not in STAGE_SECTIONS or not isinstance(node, ListNode):
            return node
        return replace(node, items=tuple(item for item in node.items if is_sound(key, ListNode(node.mark, (item,)))))

    kept = {key: sound(key, node) for key, node in root.entries.items()}
    return replace(root, entries={key: node for key, node in kept.items() if is_sound(key, node)})


def _data_section(root: MapNode, problems: list[Problem]) -> DataSection | None:
    node = root.entries.get("data")
    if not isinstance(node, MapNode):
        return None  # the shape of the file is wrong, and `build` has said so
    use = node.entries.get("use")
    if not isinstance(use, Scalar) or not isinstance(use.value, str):
        problems.append(Problem("data needs a source: write use: csv, or another source by name", node.mark))
        return None
    given = node.entries.get("feedback")
    feedback = None
    if isinstance(given, MapNode):
        feedback = build(Feedback, given, where="data.feedback", problems=problems)
    elif given is not None:
        problems.append(Problem("data.feedback must be a mapping, such as {decay: {half_life: 30d}}", given.mark))
    own = {key: value for key, value in node.entries.items() if key not in ("use", "feedback")}
    return DataSection(use.value, use.mark, replace(node, entries=own), feedback)


def _named(config: Config) -> Config:
    """The same with every stage's id filled in."""
    return replace(
        config,
        candidates=tuple(replace(stage, id=stage_id(stage)) for stage in config.candidates),
        features=tuple(replace(stage, id=stage_id(stage)) for stage in config.features),
        rank=tuple(replace(stage, id=stage_id(stage)) for stage in config.rank),
        filters=tuple(replace(stage, id=stage_id(stage)) for stage in config.filters),
    )


def stage_id(stage: StageConfig) -> str:
    """The stage's id: its own, or the name of its component without the distribution."""
    return stage.use.rpartition("/")[2] if stage.id is None else stage.id


def stage_marks(root: MapNode) -> dict[tuple[str, int], Mark]:
    """Where each stage stands in the file, by section and position."""
    marks = {}
    for section in STAGE_SECTIONS:
        for position, node in enumerate(_items(root.entries.get(section))):
            marks[section, position] = node.mark
    return marks


def _items(node: Any) -> Iterable[Node]:
    return getattr(node, "items", ()) if not isinstance(node, MapNode) else ()


def _stage_problems(config: Config, root: MapNode, *, whole: bool) -> list[Problem]:
    """Ids that are malformed or stand twice; in a `whole` file also no candidates, or a fallback that is none."""
    problems = []
    marks = stage_marks(root)
    seen: dict[str, Mark] = {}
    for section in STAGE_SECTIONS:
        for position, stage in enumerate(getattr(config, section)):
            name, mark = stage_id(stage), marks[section, position]
            if not STAGE_ID.fullmatch(name):
                said = f"{shown(name)} is no stage id; write a to z, 0 to 9 and _, a letter first"
                problems.append(Problem(said, mark))
            elif name in seen:
                again = f"the id {shown(name)} is taken by {seen[name]}; give one of them another id: ..."
                problems.append(Problem(again, mark))
            seen.setdefault(name, mark)
    if not whole:
        return problems  # what seems to be missing may be among the parts that are not sound
    if not config.candidates:
        problems.append(Problem("candidates is empty; list at least one generator", root.mark))
    fallback = config.slate.fallback
    generators = [stage_id(stage) for stage in config.candidates]
    if fallback is not None and fallback not in generators:
        known = ", ".join(generators)
        message = f"slate.fallback {shown(str(fallback))} is no candidate generator of this config; they are {known}"
        problems.append(Problem(message, fallback.mark))
    return problems
