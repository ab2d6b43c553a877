"""The `tune:` section of a config: which values to try, and by what they are judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nbarec.marked import ListNode, MapNode
from nbarec.params import Duration, check_params, param

MOST_STEPS = 10_000
"""No grid has more values of one parameter."""


@dataclass(frozen=True)
class Range:
    """The values of one parameter to choose from: from `low` to `high`, both included, or a `choice`."""

    low: Duration | float | None = param(None, doc="Least value: a number, or a duration such as 7d.")
    high: Duration | float | None = param(None, doc="Largest value.")
    log: bool = param(False, doc="Whether 10 to 20 is as far as 100 to 200.")
    integer: bool = param(False, doc="Whether only whole numbers are tried.")
    step: Duration | float | None = param(None, gt=0, doc="Only low, low + step, low + 2 steps and so on are tried.")
    choice: ListNode | None = param(None, doc="The values themselves, such as [cosine, jaccard].")

    def __post_init__(self) -> None:
        check_params(self)
        if self.choice is not None:
            self._check_choice(self.choice)
        elif self.low is None or self.high is None:
            raise ValueError("a range needs both low and high, or a choice such as [cosine, jaccard]")
        else:
            self._check_ends(self.low, self.high)

    def _check_choice(self, choice: ListNode) -> None:
        if any(end is not None for end in (self.low, self.high, self.step)) or self.log or self.integer:
            raise ValueError("choice lists all there is; leave out low, high, log, integer and step beside it")
        if not choice.items:
            raise ValueError("choice is empty; list the values to choose from")

    def _check_ends(self, low: float, high: float) -> None:
        given = [end for end in (low, high, self.step) if end is not None]
        if len({isinstance(end, Duration) for end in given}) > 1:
            raise ValueError("low, high and step must all be numbers, or all durations")
        if not low < high:
            raise ValueError(f"low must be below high, and {low:g} is not below {high:g}")
        if self.log and (low <= 0 or self.step is not None):
            raise ValueError("log needs low above 0, and has no step; change low, or leave out log")
        if self.integer and any(end != math.floor(end) for end in given):
            raise ValueError("with integer: true low, high and step must be whole numbers")
        if self.step is not None and not 1 <= (high - low) / self.step <= MOST_STEPS:
            raise ValueError(f"step must fit between low and high at least once, and at most {MOST_STEPS:,} times")


@dataclass(frozen=True)
class TuneConfig:
    """What `nbarec tune` tries, how often, and by what it is judged."""

    ranges: Mapping[str, Range] = param(
        doc="By dotted path (as --set writes it), such as candidates.latent.with.factors: the values to choose from."
    )
    metric: str = param("ndcg@10", doc="What is to be best on the validation part, such as ndcg@10.")
    direction: Literal["maximize", "minimize"] = param("maximize", doc="Whether more or less of the metric is better.")
    split: MapNode | None = param(
        None, doc="How the validation part is cut from the training part; as evaluate.split cuts if left out."
    )
    trials: int | None = param(
        None, ge=1, doc="How many sets of values to try, beside the config's own; 50 without minutes."
    )
    minutes: float | None = param(None, gt=0, doc="No trial is begun later, of all runs of a study together.")
    sampler: Literal["tpe", "random", "grid"] = param(
        "tpe",
        doc="tpe learns from the trials before (Bergstra et al. 2011); random does not; grid goes through all choices "
        "and steps in a random order.",
    )
    pruner: Literal["none", "median"] = param(
        "none",
        doc="median: users are measured in four parts, and a trial ends early whose figure after some is worse than "
        "the median of the trials before. It saves serving, not learning.",
    )
    workers: int = param(
        1, ge=1, doc="How many trials go on side by side. Each number of workers has results of its own."
    )
    seed: int = param(0, ge=0, doc="Another seed tries other values.")

    def __post_init__(self) -> None:
        check_params(self)
        if not self.ranges:
            raise ValueError("ranges is empty; name at least one parameter by its path and the values to choose from")
        if self.sampler == "grid":
            open_ended = [path for path, one in self.ranges.items() if one.choice is None and one.step is None]
            if open_ended:
                raise ValueError(f"sampler: grid needs a choice or a step for every range; {open_ended[0]} has neither")
