"""Checks that any component must pass: `checks(component)` lists them for its kind, each with a name.

With pytest, one test for each:

    from nbarec.testing.checks import checks

    @pytest.mark.parametrize("check", checks(NewestFirst()), ids=lambda check: check.name)
    def test_contract(check):
        check.run()

Without it, `nbarec plugins check newest_first` runs them, and so does a loop:

>>> class Nameless:
...     pass
>>> checks(Nameless())
Traceback (most recent call last):
TypeError: checks need a component: an instance or a class below one of nbarec.components, which Nameless is not

A component is fitted and asked in small worlds. Its parameters must fit what is there: items have the columns `artist`,
`genre` (categories; `genre` only in some worlds), `moods`, `regions` (several values), `explicit`, `tempo`, `energy`
(numbers; `energy` only in some) and `released` (date), and are called s0, s1, s2, ...; users have `age` (number) and
`country` (category); events have a kind (play, like, skip), `device` (category) and `hour` (number), and requests the
same two as context. The pools of rankers, post-filters and feature providers come from the generators `latent`,
`similar` and `trending`, and any that the component names itself by `generators_named` or `vectors_named`; they have
the feature columns `affinity` (number), `fresh` (flag) and `mood` (text), and `mixed`, the score of a ranker before. A
data source is loaded as it is.

A component may refuse a world by a ConfigError that says why. Where it does, and where it lacks what a check is about,
that check does not apply; pytest shows it as skipped, with the reason. One of the ordinary worlds it must accept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

from nbarec.components import Component, LearningRanker
from nbarec.errors import NbarecError
from nbarec.param_rules import declared
from nbarec.providers import KINDS, Kind
from nbarec.testing import checks_of_answers as answers
from nbarec.testing import checks_of_stages as stages
from nbarec.testing.checks_of_generators import GENERATOR_CHECKS
from nbarec.testing.checks_of_learning import LEARNING_CHECKS
from nbarec.testing.checks_of_metrics import METRIC_CHECKS
from nbarec.testing.checks_of_parameters import PARAMETER_CHECKS
from nbarec.testing.checks_of_pools import FEATURE_CHECKS, FILTER_CHECKS, RANKER_CHECKS
from nbarec.testing.checks_of_sources import SOURCE_CHECKS
from nbarec.testing.forms import FORMS
from nbarec.testing.subject import CheckFailed, NotApplicable, Subject

__all__ = ["Check", "CheckFailed", "NotApplicable", "Outcome", "checks"]

Work = Callable[[Any], None]

BASIC: tuple[Work, ...] = (answers.accepts_a_world, answers.dtypes_and_shapes)
"""Where one of these fails, other answers mean nothing, and no other check applies."""

OF_KIND: Mapping[Kind, tuple[Work, ...]] = {
    "generator": (*GENERATOR_CHECKS, stages.item_vectors, stages.user_vectors, *stages.STAGE_CHECKS),
    "ranker": (*RANKER_CHECKS, *stages.STAGE_CHECKS),
    "filter": (*FILTER_CHECKS, *stages.STAGE_CHECKS),
    "feature": (*FEATURE_CHECKS, *stages.STAGE_CHECKS),
    "metric": METRIC_CHECKS,
    "source": SOURCE_CHECKS,
}
AFTER: Mapping[str, str] = {
    "dtypes_and_shapes": "accepts_a_world",
    "no_duplicates": "items_of_the_catalogue",
    "update_with_new_users_and_items": "item_vectors",
    "second_fit_equals_first": "same_seed_same_bytes",
    "memory_mapped_inputs": "read_only_inputs",
    "inputs_not_mutated": "read_only_inputs",
    "empty_batch": "empty_pool",
    "one_user_one_item": "empty_pool",
    "same_columns_always": "empty_pool",
    "columns_documented": "empty_pool",
    "events_in_order": "loads_a_dataset",
    "second_load_equals_first": "loads_a_dataset",
    "data_round_trip": "loads_a_dataset",
}
"""Check: the one before it that it would only repeat, or could tell nothing without."""


@dataclass(frozen=True)
class Outcome:
    """What came of a check, and why it failed or does not apply."""

    verdict: Literal["ok", "failed", "not applicable"]
    message: str = ""


@dataclass(frozen=True)
class Check:
    """One promise that a component must keep: its `name`, a test's id, and what it means."""

    name: str
    doc: str
    work: Callable[[], None]
    after: tuple[Check, ...] = ()

    def run(self) -> None:
        """Raises CheckFailed where the promise is broken, NotApplicable where it does not concern the component."""
        for earlier in self.after:
            if earlier.outcome.verdict == "failed":
                raise NotApplicable(f"{earlier.name} fails; mend that first")
        try:
            self.work()
        except NbarecError as error:
            raise CheckFailed(str(error)) from error

    @cached_property
    def outcome(self) -> Outcome:
        """The same without an exception."""
        try:
            self.run()
        except CheckFailed as error:
            return Outcome("failed", str(error))
        except NotApplicable as error:
            return Outcome("not applicable", str(error))
        return Outcome("ok")


def checks(component: Component | type[Component]) -> tuple[Check, ...]:
    """The checks of a component, given as an instance or, where no parameter is required, as its class.

    Raises TypeError where it is no component, ValueError where the class alone is not enough.
    """
    made = _instance(component)
    kind = next(kind for kind, spec in KINDS.items() if isinstance(made, spec.base))
    found = {work.__name__: _check(work, made, ()) for work in PARAMETER_CHECKS}
    if kind not in FORMS:  # a data source is loaded as it is
        return _added(found, OF_KIND[kind], made, ())
    subject, basic = Subject(made, FORMS[kind]), tuple(work.__name__ for work in BASIC)
    _added(found, BASIC, subject, ())
    if isinstance(made, LearningRanker):
        _added(found, LEARNING_CHECKS, subject, basic)
    return _added(found, (*OF_KIND[kind], *answers.ANSWER_CHECKS), subject, basic)


def _added(found: dict[str, Check], works: Sequence[Work], given: object, after: Sequence[str]) -> tuple[Check, ...]:
    """All found so far and these, each after those in `after` and the one that `AFTER` names."""
    # One by one: a check may stand after one of the same list.
    for work in works:
        names = (*after, AFTER.get(work.__name__, ""))
        found[work.__name__] = _check(work, given, tuple(found[name] for name in names if name in found))
    return tuple(found.values())


def _check(work: Work, given: object, after: tuple[Check, ...]) -> Check:
    return Check(work.__name__, " ".join((work.__doc__ or "").split()), partial(work, given), after)


def _instance(component: Component | type[Component]) -> Component:
    cls = component if isinstance(component, type) else type(component)
    if not any(issubclass(cls, spec.base) for spec in KINDS.values()):
        raise TypeError(
            "checks need a component: an instance or a class below one of nbarec.components, which "
            f"{cls.__name__} is not"
        )
    if not isinstance(component, type):
        return component
    if missing := [key for key, item in declared(cls).items() if item.required]:
        call = f"checks({cls.__name__}({', '.join(f'{key}=...' for key in missing)}))"
        raise ValueError(f"{cls.__name__} needs {', '.join(missing)}; give an instance: {call}")
    return component()
