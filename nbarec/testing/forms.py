"""How each kind of component learns, is asked and answers: what the checks of all kinds have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from nbarec.arrays import AnyArray
from nbarec.components import Component, LearningRanker
from nbarec.contracts import check_candidate_arrays, check_columns, check_scores, check_selection
from nbarec.data import Dataset
from nbarec.errors import ContractError
from nbarec.providers import Kind
from nbarec.testing.copies import writable
from nbarec.testing.questions import (
    Asked,
    AskedOfMetric,
    Question,
    Who,
    asked_of,
    asked_of_metric,
    examples_of,
    sorted_question,
)


class Form(ABC):
    """One kind of component. Components, states and answers are whatever a plugin makes of them, hence Any."""

    kind: ClassVar[Kind]

    def learn(self, component: Any, data: Dataset, rng: np.random.Generator) -> Any:
        """The state after fitting."""
        return component.fit(data, rng)

    def ask(self, component: Component, data: Dataset, who: Who) -> Any:
        """The question of these users."""
        return asked_of(component, data, who)

    @abstractmethod
    def answer(self, component: Any, state: Any, question: Any) -> Any:
        """What the component says to the question."""

    @abstractmethod
    def check_arrays(self, name: str, answer: Any, question: Any) -> None:
        """Refuse an answer of wrong types, dtypes or lengths; raises ContractError."""

    @abstractmethod
    def rows(self, answer: Any, question: Any) -> list[str]:
        """What each row of the question got, as text; two texts are equal if all bits are."""


class GeneratorForm(Form):
    """Candidate generators: lists of items and scores."""

    kind = "generator"

    def answer(self, component: Any, state: Any, question: Asked) -> Any:
        """The candidates."""
        return component.generate(state, question.request, question.limit)

    def check_arrays(self, name: str, answer: Any, question: Asked) -> None:
        """Of the three arrays of candidates."""
        check_candidate_arrays(name, answer, len(question))

    def rows(self, answer: Any, question: Asked) -> list[str]:
        """Items and their scores, best first."""
        pairs = zip(answer.item.tolist(), answer.score.tolist(), strict=True)
        return _by_row([f"item {item}: {score!r}" for item, score in pairs], answer.indptr)


class RankerForm(Form):
    """Rankers: a score for each entry of the pool."""

    kind = "ranker"

    def learn(self, component: Any, data: Dataset, rng: np.random.Generator) -> Any:
        """The state after fitting, or after learning from examples of this world, three users at a time."""
        if not isinstance(component, LearningRanker):
            return super().learn(component, data, rng)
        return component.learn(writable(examples_of(component, data, 3)), data, rng)

    def answer(self, component: Any, state: Any, question: Asked) -> Any:
        """The scores."""
        return component.rank(state, question.request, question.pool)

    def check_arrays(self, name: str, answer: Any, question: Asked) -> None:
        """Of the scores, whatever their values are."""
        check_scores(name, _finite(answer), question.pool)

    def rows(self, answer: Any, question: Asked) -> list[str]:
        """The scores in the order of the pool."""
        return _by_row([repr(score) for score in answer.tolist()], question.pool.indptr)


class FilterForm(Form):
    """Post-filters: which entries of the pool stay, in which order."""

    kind = "filter"

    def ask(self, component: Component, data: Dataset, who: Who) -> Asked:
        """With a pool that is best first."""
        return sorted_question(asked_of(component, data, who))

    def answer(self, component: Any, state: Any, question: Asked) -> Any:
        """The positions that are kept."""
        return component.select(state, question.request, question.pool)

    def check_arrays(self, name: str, answer: Any, question: Asked) -> None:
        """Of the positions, whatever they are."""
        check_selection(name, answer[:0] if isinstance(answer, np.ndarray) else answer, question.pool)

    def rows(self, answer: Any, question: Asked) -> list[str]:
        """The items that are kept, in their new order; what is no entry of the pool belongs to no row."""
        pool = question.pool
        kept = answer[(answer >= 0) & (answer < len(pool))]
        row, item = pool.row[kept], pool.item[kept]
        return [", ".join(f"item {one}" for one in item[row == at].tolist()) for at in range(len(question))]


class FeatureForm(Form):
    """Feature providers: named columns of the pool."""

    kind = "feature"

    def answer(self, component: Any, state: Any, question: Asked) -> Any:
        """The columns."""
        return component.columns_for(state, question.request, question.pool)

    def check_arrays(self, name: str, answer: Any, question: Asked) -> None:
        """Of every column, whatever its values are."""
        if isinstance(answer, Mapping):
            answer = {column: _finite(values) for column, values in answer.items()}
        check_columns(name, answer, question.pool)

    def rows(self, answer: Any, question: Asked) -> list[str]:
        """The values of each column in the order of the pool."""
        columns = [
            _by_row([f"{name} {value!r}" for value in values.tolist()], question.pool.indptr)
            for name, values in answer.items()
        ]
        return [", ".join(parts) for parts in zip(*columns, strict=True)] if columns else [""] * len(question)


class MetricForm(Form):
    """Metrics: a value for each slate. A metric learns nothing; what it is measured against stands for a state."""

    kind = "metric"

    def learn(self, component: Any, data: Dataset, rng: np.random.Generator) -> Dataset:
        """The data themselves."""
        return data

    def ask(self, component: Component, data: Dataset, who: Who) -> AskedOfMetric:
        """Slates and what was held out."""
        return asked_of_metric(data, who)

    def answer(self, component: Any, state: Dataset, question: AskedOfMetric) -> Any:
        """A value a row."""
        return component.per_user(question.slate, question.truth, state)

    def check_arrays(self, name: str, answer: Any, question: Question) -> None:
        """Of the values."""
        if not isinstance(answer, np.ndarray) or answer.dtype != np.float64 or answer.shape != (len(question),):
            given = f"{answer.dtype} {answer.shape}" if isinstance(answer, np.ndarray) else type(answer).__name__
            raise ContractError(f"{name}: per_user returned {given}; it must be float64 ({len(question)},), one a row")

    def rows(self, answer: Any, question: Question) -> list[str]:
        """The values."""
        return [repr(value) for value in answer.tolist()]


FORMS: Mapping[Kind, Form] = {
    form.kind: form for form in (GeneratorForm(), RankerForm(), FilterForm(), FeatureForm(), MetricForm())
}


def _by_row(texts: list[str], indptr: AnyArray) -> list[str]:
    return [", ".join(texts[start:stop]) for start, stop in pairwise(indptr.tolist())]


def _finite(values: Any) -> Any:
    """An array of floats with zeros for what is not finite; anything else as it is."""
    is_float = isinstance(values, np.ndarray) and values.dtype.kind == "f"
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) if is_float else values


def told(rows: Iterable[str]) -> str:
    """Some rows, short."""
    text = "; ".join(row or "nothing" for row in rows)
    return text if len(text) <= 120 else f"{text[:117]}..."
