"""Multi: one learned ranker for each of several labels, and one score of all their probabilities."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, get_type_hints

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Floats64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import Component, Example, LearningRanker, Ranker, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError, Mark, Problem
from nbarec.expressions import Expression
from nbarec.hookspecs import hookimpl
from nbarec.marked import MapNode, from_python, to_plain
from nbarec.params import build, check_params
from nbarec.states import flatten, unflatten
from nbarec_plugins.fm import Fm
from nbarec_plugins.gbdt import Gbdt
from nbarec_plugins.learned import Learned, LearnedState
from nbarec_plugins.logistic import Logistic
from nbarec_plugins.scaling import as_scores

OWN: tuple[type[Learned[Any]], ...] = (Fm, Gbdt, Logistic)
"""Learners that are there wherever this module is; those of other distributions are once they are loaded."""

UNLEARNT = {
    "learnt": "nothing: no entry has the label, every one has it, or nothing told them apart; it adds nothing to the "
    "score"
}
"""What is told of a label without a model."""

LEAST = 1e-9
"""The least probability whose logarithm is taken."""


@dataclass(frozen=True)
class Label:
    """One thing that a user may do with an item, and what it is worth."""

    relevant: Expression = param(doc="Which held-out events have the label, such as seconds >= 30.")
    weight: float = param(1.0, doc="What its probability weighs; below 0 for what should not happen.")

    def __post_init__(self) -> None:
        check_params(self)


@dataclass(frozen=True)
class PackedState:
    """The state of a learner as the store takes it apart, because its class depends on the parameters: its `arrays` by
    name, the JSON text `tree` of everything else, and the learner's `state_version`."""

    arrays: Mapping[str, AnyArray]
    tree: str
    version: int

    @classmethod
    def of(cls, learner: Learned[Any], state: LearnedState[Any]) -> PackedState:
        """A learner's state, packed."""
        arrays, tree = flatten(state)
        named = {name: frozen(np.asarray(array)) for name, array in arrays.items()}
        return cls(named, json.dumps(tree), learner.state_version)

    def state(self, learner: Learned[Any]) -> LearnedState[Any]:
        """The learner's state again; put together once. Raises ConfigError where another version of it was saved."""
        if self.version != learner.state_version:
            raise ConfigError(
                f"{learner.name} reads states of version {learner.state_version}, and this one is of version "
                f"{self.version}; fit the model again"
            )
        kind: type[LearnedState[Any]] = get_type_hints(type(learner).fit)["return"]
        if kind not in self._states:
            self._states[kind] = unflatten(kind, self.arrays, json.loads(self.tree))
        return self._states[kind]

    @cached_property
    def _states(self) -> dict[type, LearnedState[Any]]:
        return {}


@dataclass(frozen=True)
class MultiState:
    """What the learner of each label knows, in the order of the labels."""

    labels: Mapping[str, PackedState]


@dataclass(frozen=True)
class Multi(LearningRanker[MultiState]):
    """Several things that a user may do with an item, each with its own probability, weighed in one score (as the
    multi-task rankers of large feeds do: Zhao et al. 2019).

        sum:      score(u, i) = sum over labels l of w_l p_l(u, i)
        product:  score(u, i) = sum over labels l of w_l ln max(p_l(u, i), 1e-9),  the log of product p_l ^ w_l

    p_l is the calibrated probability of the learned ranker `model`, such as `logistic`, `fm` or `gbdt`, or one of
    another distribution; `with` has its parameters. Each label has a model of its own, and all learn from the same
    examples. With `sum` the score is the expected worth of showing the item, where the weights say what each thing is
    worth; with `product` an item must do well in all of them, and only ratios of probabilities count.

    `held_out.relevant` says whose examples there are (`by: user`: users with such an event; `by: event`: these events);
    left out, it is any of the labels. A label that all examples have, or none, teaches nothing and is left out of the
    score. Where no label teaches anything, or there are no examples, the earlier score stays. What an entry has no
    values for is the model's own matter. Items that the user already has are no entries unless generators propose them
    again (`exclude`) or `held_out.shown` says what was shown: a like that follows a listen is not learnt from else.

    >>> multi = Multi(
    ...     model="logistic",
    ...     with_={"features": ["*"]},
    ...     labels_={"listen": {"relevant": "seconds >= 30"}, "skip": {"relevant": "seconds < 10", "weight": -1}},
    ... )
    >>> multi.labels()["skip"].text, multi.held_out.relevant.text
    ('seconds < 10', '(seconds >= 30) or (seconds < 10)')
    """

    name: ClassVar[str] = "multi"

    labels_: Mapping[str, Label] = param(
        {}, key="labels", doc="By name: what counts as the label, and its weight, such as {relevant: ..., weight: 2}."
    )
    model: str = param("logistic", doc="The learned ranker that each label has one of.")
    with_: MapNode = param({}, key="with", doc="The parameters of that ranker, but for held_out.")
    combine: Literal["sum", "product"] = param("sum", doc="How probabilities become one score.")
    learner: Learned[Any] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.labels_:
            raise ValueError("labels is empty; name at least one, such as {listen: {relevant: seconds >= 30}}")
        object.__setattr__(self, "learner", self._built())
        # Two are equal by what is written in them, wherever it stands.
        object.__setattr__(self, "with_", from_python(to_plain(self.with_), Mark("with", 1, 1)))
        if self.held_out.relevant is None:
            either = " or ".join(f"({label.relevant.text})" for label in self.labels_.values())
            object.__setattr__(self, "held_out", replace(self.held_out, relevant=Expression(either)))

    def _built(self) -> Learned[Any]:
        """The learner with its parameters. Raises ConfigError, with its line, for a wrong one."""
        kind, node = learner_named(self.model), self.with_
        problems: list[Problem] = []
        if "held_out" in node.entries:
            said = "held_out belongs beside model, not inside with: all labels learn from the same examples"
            problems.append(Problem(f"{self.name}: {said}", node.key_marks["held_out"]))
        made = build(kind, node, where=f"{self.name}.with ({self.model})", problems=problems)
        if problems or made is None:
            raise ConfigError(problems)
        return made

    def generators_named(self) -> Iterable[str]:
        """Those that the learner names."""
        return self.learner.generators_named()

    def vectors_named(self) -> Iterable[str]:
        """Those that the learner names."""
        return self.learner.vectors_named()

    def learns_as(self, other: Component) -> bool:
        """Whether the same labels are learnt in the same way, whatever they weigh."""
        return isinstance(other, Multi) and self._unweighted == other._unweighted

    @property
    def _unweighted(self) -> Multi:
        plain = {name: replace(label, weight=1.0) for name, label in self.labels_.items()}
        return replace(self, labels_=plain, combine="sum")

    def labels(self) -> Mapping[str, Expression]:
        """What counts as each label."""
        return {name: label.relevant for name, label in self.labels_.items()}

    def fit(self, data: Dataset, rng: np.random.Generator) -> MultiState:
        """What it serves with before there are examples."""
        fitted = self.learner.fit(data, rng)
        return MultiState({name: PackedState.of(self.learner, fitted) for name in self.labels_})

    def learn(self, examples: Iterable[Example], data: Dataset, rng: np.random.Generator) -> MultiState:
        """A model for each label, of the same entries. Raises ConfigError at an unknown feature, and where there is not
        enough memory."""
        learner = self.learner
        told = learner.gathered(examples)
        seed, learnt = int(rng.integers(2**63)), {}
        # A step a label, which has random numbers of its own: another label beside it changes nothing.
        for name in self.labels_:
            own = np.random.default_rng([seed, *name.encode()])
            start = learner.fit(data, own)
            known = learner.taught(start, told.of(name), own) if len(told) else start
            learnt[name] = PackedState.of(learner, known)
        return MultiState(learnt)

    def update(self, state: MultiState, data: Dataset, new: Dataset) -> MultiState:
        """The same state: a refit alone makes new examples."""
        return state

    def rank(self, state: MultiState, request: Request, pool: Pool) -> Floats32:
        """The combination of the labels' probabilities: float32 [N]; the earlier score where nothing was learnt."""
        total, learnt = np.zeros(len(pool)), False
        for _, share in self._shares(state, request, pool):  # in the order of the labels: the same bits in any batch
            total += share
            learnt = True
        if learnt:
            return as_scores(total)
        return self.learner.rank(next(iter(self._states(state)))[1], request, pool)

    def terms(self, state: MultiState, request: Request, pool: Pool) -> Mapping[str, Floats64] | None:
        """What each label adds to the score, under its name; None where nothing was learnt."""
        terms = {name: frozen(share) for name, share in self._shares(state, request, pool)}
        return terms or None

    def findings(self, state: MultiState) -> Mapping[str, object]:
        """What the learner of each label has to tell, and the label's weight."""
        found: dict[str, object] = {}
        for name, known in self._states(state):
            told = UNLEARNT if known.model is None else self.learner.findings(known)
            found[name] = {"weight": self.labels_[name].weight, **told}
        return found

    def _states(self, state: MultiState) -> Iterator[tuple[str, LearnedState[Any]]]:
        for name in self.labels_:
            yield name, state.labels[name].state(self.learner)

    def _shares(self, state: MultiState, request: Request, pool: Pool) -> Iterator[tuple[str, Floats64]]:
        """Each label that something was learnt of, and what it adds to every entry's score: float64 [N]."""
        layout, frame = None, None
        for name, known in self._states(state):
            if known.model is None:
                continue
            if frame is None or known.layout != layout:  # labels that learn from the same entries have the same one
                layout, frame = known.layout, known.layout.frame(request, pool)
            chance = self.learner.scores(known, known.model, frame).astype(np.float64)
            told = chance if self.combine == "sum" else np.log(np.maximum(chance, LEAST))
            yield name, self.labels_[name].weight * told


def learner_named(name: str) -> type[Learned[Any]]:
    """The learned ranker of that name, among all that are loaded. Raises ValueError where there is none, and where
    several claim the name."""
    known: dict[str, list[type[Learned[Any]]]] = {}
    for kind in dict.fromkeys((*OWN, *_below(Learned))):
        # One that inherits its name is a variant of another, and can't be named.
        if not inspect.isabstract(kind) and "name" in vars(kind):
            known.setdefault(kind.name, []).append(kind)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(sorted(known))}"
        raise ValueError(f"model is {name!r}, which is no learned ranker; {advice}")
    if len(known[name]) > 1:
        modules = " and ".join(sorted(kind.__module__ for kind in known[name]))
        raise ValueError(f"model is {name!r}, which {modules} both have; turn one of these plugins off")
    return known[name][0]


def _below(kind: type[Any]) -> Iterator[type[Learned[Any]]]:
    """Every class below a class."""
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


@hookimpl
def nbarec_rankers() -> Iterable[type[Ranker[MultiState]]]:
    """The rankers of this module."""
    return [Multi]
