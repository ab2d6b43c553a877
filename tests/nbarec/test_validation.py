"""The validation part is cut from the training part, and nothing of it depends on what the evaluation holds out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.pipeline import Pipeline
from nbarec.splits import LastFraction, LeaveLastOut, Random
from nbarec.validation import training_part, validation_holdout

TEXT = """
nbarec: 1
seed: 3
data: {use: music_world}
candidates: [{id: popular, use: popularity, k: 10}]
evaluate: {split: {use: last_fraction, fraction: 0.25}, metrics: [ndcg@5]}
"""


def world(users: int = 30, items: int = 12, each: int = 16) -> Dataset:
    """Every user has `each` events at rising times with items drawn anew."""
    rng = np.random.default_rng(5)
    user, item = np.repeat(np.arange(users), each), rng.integers(0, items, users * each)
    time = np.tile(np.arange(each), users) * 100 + rng.integers(0, 99, users * each)
    catalog = {"id": list(range(items))}
    return Dataset.from_arrays(user, item, value=rng.integers(1, 6, len(user)), time=time + 1, catalog=catalog)


def scrambled(pipeline: Pipeline, data: Dataset) -> Dataset:
    """The same where the events that the evaluation holds out have other items, weights and values."""
    assert pipeline.plan is not None
    rng = np.random.default_rng([pipeline.config.seed, 1])
    mask = pipeline.plan.split.test_mask(data, rng)  # type: ignore[union-attr]
    draw = np.random.default_rng(8)
    item, weight, value = data.events.item.copy(), data.events.weight.copy(), data.events.value.copy()
    item[mask] = draw.integers(0, len(data.items), mask.sum())
    weight[mask], value[mask] = draw.normal(size=mask.sum()), draw.normal(size=mask.sum())
    return data.with_events(replace(data.events, item=item, weight=weight, value=value))


def pairs(events: Events) -> set[tuple[int, int]]:
    """Events as user and time, which are each event's own."""
    return set(zip(events.row.tolist(), events.time.tolist(), strict=True))


def test_the_three_parts_are_the_data() -> None:
    pipeline, data = Pipeline.from_text(TEXT), world()
    assert pipeline.plan is not None
    found, outer = validation_holdout(pipeline, data), pipeline.plan.held_out(pipeline, data)
    parts = [pairs(found.train.events), pairs(found.test), pairs(outer.test)]
    assert [len(part) for part in parts] == [30 * 9, 30 * 3, 30 * 4]
    assert set.union(*parts) == pairs(data.events)
    assert found.train.as_of == found.train.events.time.max()
    for user in range(30):
        last = max(time for row, time in parts[0] if row == user)
        assert all(time > last for row, time in parts[1] if row == user)


@pytest.mark.parametrize("use", ["last_fraction", "leave_last_out", "global_time", "random", "k_fold", "cold_users"])
def test_scrambling_what_the_evaluation_holds_out_moves_nothing(use: str) -> None:
    pipeline = Pipeline.from_text(TEXT.replace("use: last_fraction, fraction: 0.25", f"use: {use}"))
    data = world()
    other = scrambled(pipeline, data)
    assert not np.array_equal(other.events.item, data.events.item)
    for split in (None, LastFraction(), Random(fraction=0.3)):
        one, two = validation_holdout(pipeline, data, split), validation_holdout(pipeline, other, split)
        for mine, theirs in ((one.train.events, two.train.events), (one.test, two.test)):
            for name in ("indptr", "item", "weight", "value", "time", "kind"):
                assert getattr(mine, name).tobytes() == getattr(theirs, name).tobytes()
        assert one.train.as_of == two.train.as_of


def test_a_rule_of_its_own_cuts_the_training_part() -> None:
    found = validation_holdout(Pipeline.from_text(TEXT), world(), LeaveLastOut())
    assert (len(found.test), len(found.train.events)) == (30, 30 * 11)


def test_a_random_cut_is_not_that_of_the_evaluation() -> None:
    pipeline = Pipeline.from_text(TEXT.replace("use: last_fraction, fraction: 0.25", "use: random, fraction: 0.5"))
    data = world(users=1, each=400)
    assert pipeline.plan is not None
    train = training_part(pipeline, data)
    again = pipeline.plan.held_out(pipeline, train)
    assert pairs(validation_holdout(pipeline, data).test) != pairs(again.test)


def test_a_given_test_file_is_not_read(tmp_path: Path) -> None:
    text = TEXT.replace("use: last_fraction, fraction: 0.25", f"use: given, path: {tmp_path / 'there_is_none.csv'}")
    pipeline, data = Pipeline.from_text(text), world()
    assert training_part(pipeline, data) is data
    assert len(validation_holdout(pipeline, data, LeaveLastOut()).test) == 30
    with pytest.raises(ConfigError, match="takes its events from a file"):
        validation_holdout(pipeline, data)


def test_where_there_is_no_rule_one_is_asked_for() -> None:
    without = Pipeline.from_text(TEXT.partition("evaluate")[0])
    with pytest.raises(ConfigError, match=r"no evaluate\.split"):
        validation_holdout(without, world())
    assert len(validation_holdout(without, world(), LeaveLastOut()).test) == 30
    moment = Pipeline.from_text(TEXT.replace("use: last_fraction, fraction: 0.25", "use: global_time, at: '1200'"))
    with pytest.raises(ConfigError, match="cuts at a moment"):
        validation_holdout(moment, world())
