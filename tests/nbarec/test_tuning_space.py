"""What `tune.ranges` may say: every mistake is told where it stands, and every value that is tried is a valid one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.errors import ConfigError, Mark
from nbarec.marked import to_plain
from nbarec.pipeline import Pipeline
from nbarec.proposals import distributions, grid_values
from nbarec.tune_config import Range
from nbarec.tuned_ranges import Dimension
from nbarec.tuning_space import TuningPlan

BASE = """nbarec: 1
data: {use: music_world}
candidates:
  - {id: similar, use: item_cf, with: {shrink: 20}}
  - {id: recent, use: popularity, with: {window: 30d}}
rank: [{use: blend, keep: 50}]
evaluate: {split: {use: last_fraction}, metrics: [ndcg@5]}
"""
FACTORS = "candidates.similar.with.neighbors"


def plan(tune: str, base: str = BASE) -> TuningPlan:
    return TuningPlan.of(Pipeline.from_text(base + tune, "a.yaml"))


def ranges(*lines: str) -> str:
    return "tune:\n  ranges:\n" + "".join(f"    {line}\n" for line in lines)


def problems(tune: str, base: str = BASE) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Pipeline.from_text(base + tune, "a.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_all_that_is_wrong_with_paths_and_values_is_told_at_once_where_it_stands() -> None:
    found = problems(
        ranges(
            "candidates.similar.with.neighbours: {low: 1, high: 9}",
            "candidates.latent.with.factors: {low: 1, high: 9}",
            "candidates.similar.with.neighbors: {low: 0, high: 9, integer: true}",
            "candidates.similar.with.similarity: {choice: [cosine, cosin]}",
            "candidates.similar.k: {low: 10, high: 20}",
            "candidates.recent.with.window: {low: 1, high: 20}",
            "rank.blend.keep: {choice: [10, 10]}",
            "seed: {low: 1, high: 9, integer: true}",
            "data.events.path: {choice: [a.csv, b.csv]}",
        )
    )
    assert [one.split(": ")[0] for one in found] == [
        *("a.yaml:10:5", "a.yaml:11:5", "a.yaml:12:46", "a.yaml:13:59", "a.yaml:14:5"),
        *("a.yaml:15:5", "a.yaml:15:42", "a.yaml:15:51", "a.yaml:16:5", "a.yaml:17:5", "a.yaml:18:5"),
    ]
    assert "did you mean 'neighbors'?" in found[0]
    assert "no entry has the id 'latent'; the ids here are recent, similar" in found[1]
    assert "neighbors must be at least 1, not 0" in found[2]
    assert "did you mean 'cosine'?" in found[3]
    assert "k must be a whole number, not 16.18; write integer: true" in found[4]
    assert "has no unit" in found[5]
    assert "two values of the choice are alike" in found[8]
    assert "tune can't change 'seed'; it may change what stands in candidates, " in found[9]
    assert "tune can't change 'data.events.path'" in found[10]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{low: 1}", "needs both low and high"),
        ("{low: 9, high: 1}", "low must be below high, and 9 is not below 1"),
        ("{low: 0, high: 9, log: true}", "log needs low above 0"),
        ("{low: 1, high: 9, log: true, step: 1}", "has no step"),
        ("{low: 1.5, high: 9, integer: true}", "must be whole numbers"),
        ("{low: 1, high: 9, step: 10}", "step must fit between"),
        ("{low: 1, high: 9, step: -1}", "step must be more than 0"),
        ("{low: 1, high: 9d}", "all be numbers, or all durations"),
        ("{low: 1, choice: [1, 2]}", "leave out low, high"),
        ("{choice: []}", "choice is empty"),
        ("{lov: 1}", "did you mean 'low'?"),
    ],
)
def test_a_range_that_makes_no_sense_is_told_with_its_line(said: str, told: str) -> None:
    (found,) = problems(ranges(f"{FACTORS}: {said}"))
    assert found.startswith("a.yaml:10:")
    assert told in found


def test_the_rest_of_the_section_is_checked_too() -> None:
    ok = f"{FACTORS}: {{low: 1, high: 9, integer: true}}"
    assert "there is no metric 'ndgc'; did you mean 'ndcg'?" in problems(ranges(ok) + "  metric: ndgc@10\n")[0]
    assert problems(ranges(ok) + "  split: {use: given, path: a}\n")[0].startswith("a.yaml:11:10: tune.split: ")
    assert "sampler: grid needs a choice or a step" in problems(ranges(ok) + "  sampler: grid\n")[0]
    assert "ranges is empty" in problems("tune: {ranges: {}}")[0]
    assert "no evaluate.split" in problems(ranges(ok), BASE.partition("evaluate")[0])[0]
    with pytest.raises(ConfigError, match="no tune section"):
        plan("")


def test_the_values_of_the_config_are_known_written_or_not() -> None:
    found = plan(
        ranges(
            "candidates.similar.with.shrink: {low: 0, high: 100}",
            "candidates.similar.with.neighbors: {low: 1, high: 1000, integer: true}",
            "candidates.recent.with.window: {low: 1d, high: 90d}",
            "candidates.recent.k: {low: 100, high: 200, step: 50, integer: true}",
            "candidates.similar.with.similarity: {choice: [cosine, jaccard]}",
            "rank.blend.keep: {low: 60, high: 90, integer: true}",
            "rank.blend.with.weights.similar: {low: 0, high: 2}",
        )
    )
    own = found.own(Pipeline.from_text(BASE))
    assert own.pop(FACTORS) is not None  # its default
    assert own == {
        "candidates.similar.with.shrink": 20.0,
        "candidates.recent.with.window": 30 * 86_400.0,
        "candidates.recent.k": 100,
        "candidates.similar.with.similarity": "cosine",
    }  # keep is beyond its range, and a weight that nobody wrote is no value


def test_choices_may_be_anything_a_config_can_say() -> None:
    found = plan(ranges("rank.blend.with.weights: {choice: [{similar: 1, recent: 0.5}, {similar: 2, recent: 1}, {}]}"))
    values = list(found.dimensions[0].choices)
    assert values == ['{"recent": 0.5, "similar": 1}', '{"recent": 1, "similar": 2}', "{}"]
    node = found.overrides({"rank.blend.with.weights": values[0]})["rank.blend.with.weights"]
    assert to_plain(node) == {"similar": 1, "recent": 0.5}


@settings(max_examples=60, deadline=None)
@given(low=st.floats(1e-3, 1e6), width=st.floats(1e-6, 1e3), at=st.floats(0, 1))
def test_numbers_are_short_and_within_the_range(low: float, width: float, at: float) -> None:
    dimension = Dimension("rank.blend.keep", Range(low=low, high=low * (1 + width) + 1e-3), Mark("a.yaml", 1, 1), {})
    first, last = dimension.ends
    value = to_plain(dimension.node(first + at * (last - first)))
    assert first <= value <= last
    assert value in (first, last) or value == float(f"{value:.4g}")


def test_durations_are_written_as_durations() -> None:
    (dimension,) = plan(ranges("candidates.recent.with.window: {low: 12h, high: 90d, log: true}")).dimensions
    assert to_plain(dimension.node(86_400.4)) == "1d"
    assert dimension.ends == (43_200.0, 7_776_000.0)


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("{low: 0, high: 0.6, step: 0.05}", [0.05 * at for at in range(13)]),
        ("{low: 0.1, high: 0.75, step: 0.2}", [0.1, 0.3, 0.5, 0.7]),
        ("{low: 1, high: 9, step: 3, integer: true}", [1, 4, 7]),
        ("{low: 0, high: 1, step: 1}", [0, 1]),
        ("{choice: [2, 0.5, 1]}", [2, 0.5, 1]),
    ],
)
def test_the_steps_of_a_range_are_those_of_optuna(said: str, values: list[float]) -> None:
    pytest.importorskip("optuna")
    asked = plan(ranges(f"rank.blend.with.weights.similar: {said}"))
    ((path, distribution),) = distributions(asked).items()
    found = grid_values(asked.dimensions[0])
    assert found == pytest.approx(values)
    assert all(distribution._contains(distribution.to_internal_repr(value)) for value in found)
    assert [to_plain(asked.overrides({path: one})[path]) for one in found] == [float(f"{one:.4g}") for one in values]
