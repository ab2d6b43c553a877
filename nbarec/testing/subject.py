"""The component that is checked: what it learns of each world, and what it answers there."""

from __future__ import annotations

import unittest
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from nbarec.components import Component
from nbarec.contracts import guarded
from nbarec.data import Dataset
from nbarec.errors import ConfigError, ContractError, DataError, NbarecError
from nbarec.testing.check_worlds import World, all_worlds, main_worlds
from nbarec.testing.copies import writable
from nbarec.testing.forms import Form
from nbarec.testing.questions import Question, Who

SEED = 0
REFUSALS = (ConfigError, DataError)
"""How a component says, in words for people, that it can't work with some data."""


class CheckFailed(AssertionError):
    """What is wrong with a component: what was asked, what came, and what to do."""


class NotApplicable(unittest.SkipTest):
    """Why a check says nothing of a component. pytest and unittest report it as skipped."""


@dataclass(frozen=True)
class Fit:
    """What the component learnt of a world, a first question and the answer to it."""

    world: World
    state: Any
    question: Any
    answer: Any


@dataclass
class Subject:
    """One component, whatever its kind. It is only ever given copies, so that no check can spoil another."""

    component: Component
    form: Form
    _attempts: dict[str, Fit | NbarecError] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages begin with."""
        return self.component.name

    def learn(self, data: Dataset, component: Component | None = None, seed: int = SEED) -> Any:
        """The state after fitting on a copy of the data."""
        with guarded(self.name):
            return self.form.learn(component or self.component, writable(data), np.random.default_rng(seed))

    def answer(self, state: Any, question: Question) -> Any:
        """What the component says to a copy of the question."""
        with guarded(self.name):
            return self.form.answer(self.component, writable(state), writable(question))

    def rows(self, state: Any, question: Question) -> list[str]:
        """What each row of the question gets, as text that compares to the bit."""
        answer = self.answer(state, question)
        self.form.check_arrays(self.name, answer, question)
        return self.form.rows(answer, question)

    def fit(self, world: World) -> Fit:
        """What came of a world. Raises one of `REFUSALS`, or ContractError where it breaks."""
        if world.name not in self._attempts:
            self._attempts[world.name] = self._attempted(world)
        found = self._attempts[world.name]
        if isinstance(found, NbarecError):
            raise found
        return found

    def _attempted(self, world: World) -> Fit | NbarecError:
        try:
            state = self.learn(world.data)
            question = self.form.ask(self.component, world.data, self._first_asked(world))
            return Fit(world, state, question, self.answer(state, question))
        except NbarecError as error:
            return error

    def _first_asked(self, world: World) -> Who:
        """Users who did something in the main worlds: those without a history are a check of their own."""
        return (Who.active if world in main_worlds() else Who.everybody)(world.data)

    def fits(self, worlds: Sequence[World] | None = None) -> list[Fit]:
        """What came of every world that the component takes part in: of the main ones, unless others are given."""
        found = []
        for world in main_worlds() if worlds is None else worlds:
            try:
                found.append(self.fit(world))
            except NbarecError:
                continue  # refused, or broken: `accepts_a_world` and the checks of special worlds tell
        return found

    def survives(self, worlds: Sequence[World]) -> None:
        """Fit and ask in each world; what comes must have the right arrays. Raises NotApplicable if all are refused."""
        refused = []
        for world in worlds:
            try:
                fit = self.fit(world)
                self.form.check_arrays(self.name, fit.answer, fit.question)
            except REFUSALS as error:
                refused.append(error)
            except NbarecError as error:
                advice = "it must answer there, or refuse with a ConfigError that says what is missing"
                raise CheckFailed(f"{error}, in the world {world.name!r}: {world.what}; {advice}") from error
        if len(refused) == len(worlds):
            raise NotApplicable(f"refused: {refused[0]}")

    @cached_property
    def answers(self) -> tuple[tuple[World, Any, Any], ...]:
        """(world, question, answer) of every world, and of strangers in the main ones; what breaks is left out, for it
        has a check of its own."""
        return tuple(self._answers())

    def _answers(self) -> Iterator[tuple[World, Any, Any]]:
        for fit in self.fits(all_worlds()):
            if self._sound(fit.answer, fit.question):
                yield fit.world, fit.question, fit.answer
        for fit in self.fits():
            question = self.form.ask(self.component, fit.world.data, Who.strangers(fit.world.data))
            try:
                answer = self.answer(fit.state, question)
            except NbarecError:
                continue
            if self._sound(answer, question):
                yield fit.world, question, answer

    def _sound(self, answer: Any, question: Question) -> bool:
        try:
            self.form.check_arrays(self.name, answer, question)
        except ContractError:
            return False
        return True
