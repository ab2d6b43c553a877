"""Every question can be put, and its answer says what holds."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import decompositions, ours
from bench.answers import Answer, picture, report
from bench.jobs import Task
from bench.questions import QUESTIONS, Question, Rule, nbarec, scipy
from bench.side_by_side import Compared, Measured, Side
from bench.worlds import NAMES, World, world_file
from growth import BEFORE, KERNELS, Line

SIDES = {
    f"{question.name}: {side.name} {side.task}": side
    for question in QUESTIONS
    for side in (
        question.ours,
        question.peer,
        *question.others,
        *([question.before] if question.before else []),
        *([question.until.ours, question.until.peer] if question.until else []),
    )
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Task:
    cache = tmp_path_factory.mktemp("cache")
    return Task(World.load(world_file("tiny", cache)), 2, cache)


def test_questions_have_names_of_their_own_and_known_data() -> None:
    assert len({question.name for question in QUESTIONS}) == len(QUESTIONS)
    assert all(question.data <= set(NAMES) for question in QUESTIONS)


@pytest.mark.parametrize("side", SIDES.values(), ids=SIDES)
def test_tasks_are_there(side: Side) -> None:
    module, _, function = side.task.partition(":")
    assert getattr(import_module(module), function).__doc__


@pytest.mark.parametrize("question", QUESTIONS, ids=[question.name for question in QUESTIONS])
def test_our_side_runs_and_gives_the_figures_that_are_compared(question: Question, tiny: Task) -> None:
    for side in filter(None, (question.before, question.ours)):
        module, _, function = side.task.partition(":")
        job = getattr(import_module(module), function)(Task(tiny.world, 2, tiny.cache, side.options))
        result = job.run()
    figures = job.figures(result)
    assert {rule.figure for rule in question.rules} <= set(figures)


def test_growing_kernels_run(tiny: Task) -> None:
    assert set(BEFORE) <= set(KERNELS)
    few = Task(tiny.world, 1, tiny.cache, {"users": 20})
    assert len(ours.like_minded(few).run().indptr) == 21
    assert len(ours.whole_fit(few).run().fitted) == 6


def test_as_many_sweeps_as_it_takes(tiny: Task) -> None:
    easy, never = (Task(tiny.world, 1, tiny.cache, {"goal": goal, "iterations": 4}) for goal in (0.0, 2.0))
    assert ours.sweeps_of_als(easy).run() == 1
    assert ours.sweeps_of_als(never).run() == 4
    loose, never = (Task(tiny.world, 1, tiny.cache, {"goal": goal, "iterations": 3}) for goal in (1.0, 0.0))
    assert decompositions.passes_of_nmf(loose).run() == 1
    assert decompositions.passes_of_nmf(never).run() == 3


@given(needed=st.integers(1, 500), most=st.integers(1, 400))
def test_the_fewest_that_are_enough_within_a_tenth(needed: int, most: int) -> None:
    tried: list[int] = []
    found = decompositions.fewest(lambda count: tried.append(count) or count >= needed, most)  # type: ignore[func-returns-value]
    assert max(tried) <= max(most, 1)
    assert found == most if needed > most else needed <= found <= max(needed + 1, 1.12 * needed, 1)


@pytest.mark.parametrize(
    ("rule", "ours", "peer", "holds"),
    [
        (Rule("x", "least"), 0.996, 1.0, True),
        (Rule("x", "least"), 0.994, 1.0, False),
        (Rule("x", "least"), 2.0, 1.0, True),
        (Rule("x", "most"), 1.004, 1.0, True),
        (Rule("x", "most"), 1.006, 1.0, False),
        (Rule("x", "same"), 1.006, 1.0, False),
        (Rule("x", "same", 0.0), 7, 7, True),
        (Rule("x", "same", 0.0), 7, 8, False),
        (Rule("x", "least"), float("nan"), 1.0, False),
    ],
)
def test_rules(rule: Rule, ours: float, peer: float, holds: bool) -> None:
    assert rule.holds(ours, peer) is holds


def answer(seconds: float, megabytes: float, figure: float, *, ask: float | None = 0.5, judged: bool = True) -> Answer:
    """Of one question whose peer takes 1 s and 100 MB and has the figure 1."""
    question = Question("asked", "what is asked", nbarec(""), scipy(""), ask, (Rule("figure", "least"),))
    sides = [
        Compared(Measured(8, 8, held, held + 30, {"figure": found}), (Measured(took, took, 0, 0, {}),))
        for took, held, found in ((seconds, megabytes, figure), (1.0, 100.0, 1.0))
    ]
    other = Measured(4.0, 4.0, 50.0, 80.0, {})
    return Answer(question, sides[0], sides[1], (("another", other), ("absent", None)), judged)


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (answer(0.5, 100, 1.0), []),
        (answer(0.6, 100, 1.0), ["seconds"]),
        (answer(0.6, 100, 1.0, ask=None), []),
        (answer(0.5, 102, 1.0), ["memory"]),
        (answer(0.5, float("nan"), 1.0), []),
        (answer(2.0, 200, 0.9), ["seconds", "memory", "quality"]),
    ],
)
def test_what_is_missed(found: Answer, missed: list[str]) -> None:
    assert found.missed == missed


def test_a_report_tells_all(tiny: Task) -> None:
    told = re.sub(" +", " ", report([answer(0.6, 90, 1.0)], tiny.world, 1))
    assert "| `asked` | 0.600 (0.60-0.60) | scipy 1.00 (1.0-1.0) | 0.60 | 0.5 | **no** |" in told
    assert "another 4.00 | 0.15" in told
    assert "absent: not installed" in told
    assert "| scipy | 90 | 100 | yes |" in told
    assert "| >= peer - 0.5% | yes |" in told
    assert "* `asked`: what is asked" in told
    unjudged = report([answer(0.6, 90, 1.0, judged=False)], tiny.world, 1)
    assert "yes" not in unjudged
    assert "**no**" not in unjudged
    assert "missed: 0.60 s, scipy 1.0 s" in picture([answer(0.6, 90, 1.0)], tiny.world)


def test_growth_finds_the_power_law() -> None:
    line = Line((10, 100, 1000), (0.2, 2.0 * 10**0.5, 200.0))
    assert line.law[1] == pytest.approx(1.5)
    assert line.at(1e4) == pytest.approx(2.0 * 10**3.5, rel=1e-6)
    unknown = Line((10, 100), (0.0, 1.0))
    assert unknown.cells(["0", "1"]) == ["0", "1", "-", "-"]


def test_worlds_and_models_of_tests_stay_in_their_cache(tiny: Task) -> None:
    assert ours.factors_file(tiny).is_relative_to(tiny.cache)
    assert not list(Path(tiny.cache).rglob("*.new.npz"))
