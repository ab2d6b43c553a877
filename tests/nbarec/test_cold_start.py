"""Cold starts: what is hidden, what is known in each row, and which items compete, worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nbarec.cold_start import ColdStartRun
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.reports import ColdTable, Evaluation
from nbarec.sparse import Csr

TEXT = """
nbarec: 1
seed: 3
data: {use: music_world}
candidates:
  - {id: popular, use: popularity, k: 50}
  - {id: similar, use: item_cf, k: 50}
rank: [{id: mixed, use: blend, with: {weights: {similar: 1.0, popular: 0.1}}}]
slate: {k: 3}
evaluate:
  split: {use: random}
  metrics: [recall@3]
  cold_start: COLD
"""
USERS, ITEMS = 30, 20


def plays(seed: int = 5, *, times: bool = True) -> Dataset:
    """Thirty users of two kinds, who play items of their own half, each pair once."""
    rng = np.random.default_rng(seed)
    half = ITEMS // 2
    pairs = [
        (user, (user % 2) * half + int(item))
        for user in range(USERS)
        for item in rng.choice(half, int(rng.integers(3, 9)), replace=False)
    ]
    user, item = zip(*pairs, strict=True)
    time = np.arange(1, len(pairs) + 1) * 60 if times else None
    return Dataset.from_arrays(user, item, time=time)


def evaluated(cold: str, data: Dataset) -> Evaluation:
    pipeline = Pipeline.from_text(TEXT.replace("COLD", cold))
    assert pipeline.plan is not None
    return pipeline.plan.run(pipeline, data)[0]


def table(cold: str, data: Dataset) -> ColdTable:
    (only,) = evaluated(cold, data).cold_starts
    return only


def figures(found: ColdTable, stage: str) -> list[float]:
    return [row.evaluation.stages[stage].figures[found.metric].mean for row in found.rows]


USERS_ALONE = "{users: [0, 1, 4], items: [], fraction: 0.4, metric: recall@3}"
ITEMS_ALONE = "{users: [], items: [0, 1, 3], fraction: 0.3, metric: recall@3}"


def test_new_users_are_left_out_of_fitting_and_bring_their_first_events() -> None:
    data = plays()
    found = table(USERS_ALONE, data)
    assert [row.events for row in found.rows] == [0, 1, 4]
    able = int((data.events.counts > 4).sum())
    for row in found.rows:
        assert row.evaluation.users == found.rows[0].evaluation.users
        assert len(row.evaluation.users) == int(0.4 * able)
    similar, popular = figures(found, "similar"), figures(found, "popular")
    assert similar[0] == 0.0  # nothing is known, and nothing is like nothing
    assert similar[2] > popular[2]  # four events tell the half that the user likes
    assert popular == pytest.approx(_popular_by_hand(data, found))


def _popular_by_hand(data: Dataset, found: ColdTable) -> list[float]:
    """Recall of the three most popular items of the other users, less what each new user has by then."""
    events = data.events
    new = [int(user) for user in data.users.index([int(one) for one in found.rows[0].evaluation.users])]
    counts = np.bincount(events.item[~np.isin(events.row, new)], minlength=len(data.items)).astype(float)
    means = []
    for known in (0, 1, 4):
        recalls = []
        for user in new:
            own = events.item[events.indptr[user] : events.indptr[user + 1]].tolist()
            order = sorted(np.flatnonzero(counts).tolist(), key=lambda item: (-counts[item], item))
            shown = [item for item in order if item not in own[:known]][:3]
            recalls.append(len(set(shown) & set(own[4:])) / len(own[4:]))
        means.append(float(np.mean(recalls)))
    return means


def test_new_items_compete_among_themselves_by_what_is_known_of_them() -> None:
    data = plays()
    found = table(ITEMS_ALONE, data)
    assert [row.events for row in found.rows] == [0, 1, 3]
    popular, similar = figures(found, "popular"), figures(found, "similar")
    assert popular[0] == similar[0] == 0.0  # nobody had them, so no list can have them
    assert 0 < popular[1] <= 1
    # Six new items at most in three places: half of them, and so half of what is to be found, if it is drawn blindly.
    assert 0.3 < popular[2] <= 1


@pytest.mark.parametrize("cold", [USERS_ALONE, ITEMS_ALONE])
def test_the_lead_is_that_of_the_last_ranker_over_the_best_generator(cold: str) -> None:
    found = table(cold, plays())
    for row in found.rows:
        means = {stage: row.evaluation.stages[stage].figures["recall@3"].mean for stage in ("popular", "similar")}
        assert row.best == max(means, key=lambda stage: means[stage])
        assert row.ranked == "mixed"
        mixed = row.evaluation.stages["mixed"].figures["recall@3"].mean
        assert row.lead == pytest.approx(mixed - means[row.best])
        assert row.ci95[0] <= row.lead <= row.ci95[1]


@pytest.mark.parametrize("cold", [USERS_ALONE, ITEMS_ALONE])
def test_data_without_times_are_ordered_at_random_and_the_same_each_time(cold: str) -> None:
    first, again = (table(cold, plays(times=False)) for _ in range(2))
    assert figures(first, "similar") == figures(again, "similar")
    assert figures(first, "similar")[0] == 0.0


def test_tables_are_written_with_the_other_figures() -> None:
    evaluation = evaluated("{users: [0, 2], items: [1], metric: recall@3}", plays())
    users, items = evaluation.cold_starts
    header, *lines = users.lines()
    assert header == ["events", "popular", "similar", "mixed", "slate", "mixed - best"]
    assert [line[0] for line in lines] == ["0", "2"]
    assert lines[0][-1].endswith("(popular)")
    plain = evaluation.to_json()
    assert [row["events"] for row in plain["cold_users"]] == [0, 2]
    assert plain["cold_items"][0]["best"] == items.rows[0].best
    assert set(plain["cold_items"][0]["stages"]) == {"popular", "similar", "mixed"}


@pytest.mark.parametrize(
    ("cold", "said"),
    [
        ("{users: [0, 50]}", "evaluate.cold_start: no user has more than 50 events; ask for fewer"),
        ("{users: [], items: [500]}", "evaluate.cold_start: no item has more than 500 events; ask for fewer"),
    ],
)
def test_too_few_events_are_told(cold: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        evaluated(cold, plays())


@pytest.mark.parametrize(
    ("cold", "said"),
    [
        ("{users: [-1]}", r"users\[0\] must be at least 0, not -1"),
        (
            "{metric: recal@3}",
            "evaluate.cold_start.metric: 'recal@3': there is no metric 'recal'; did you mean 'recall'",
        ),
        ("{fraction: 1}", "fraction must be less than 1, not 1"),
        ("{metric: coverage@3}", "'coverage@3' is a figure of all users together; name one that is a mean over users"),
    ],
)
def test_wrong_settings_are_told_with_their_line(cold: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        Pipeline.from_text(TEXT.replace("COLD", cold))
    assert all(problem.mark is not None for problem in caught.value.problems)


def recommended(data: Dataset, among: Sequence[int] | None) -> list[list[str | int]]:
    model = Pipeline.from_text(TEXT.replace("COLD", "null")).fit(data)
    return model.recommend([0, 1, "stranger"], among=among, k=20).items


def test_only_items_among_those_asked_for_are_shown() -> None:
    data = plays()
    everything, some = recommended(data, None), recommended(data, [3, 4, 15, 16])
    assert all(set(row) <= {3, 4, 15, 16} for row in some)
    assert [[item for item in row if item in {3, 4, 15, 16}] for row in everything] == some
    assert recommended(data, []) == [[], [], []]


@pytest.mark.parametrize("times", [True, False])
def test_exactly_so_many_events_are_known_in_each_row(times: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Model, np.ndarray, np.ndarray | None]] = []
    measured = ColdStartRun._measured

    def watched(run: ColdStartRun, model: Model, users: np.ndarray, truth: Csr, items: np.ndarray | None) -> Evaluation:
        seen.append((model, users, items))
        return measured(run, model, users, truth, items)

    monkeypatch.setattr(ColdStartRun, "_measured", watched)
    data = plays(times=times)
    evaluated("{users: [0, 1, 4], items: [0, 2], fraction: 0.3, metric: recall@3}", data)
    for known, (model, users, items) in zip((0, 1, 4), seen[:3], strict=True):
        assert items is None
        assert (model.data.events.counts[users] == known).all()
        rest = np.delete(np.arange(USERS), users)
        assert (model.data.events.counts[rest] == data.events.counts[rest]).all()
    for known, (model, users, items) in zip((0, 2), seen[3:], strict=True):
        assert items is not None
        assert (model.data.item_counts[items] == known).all()
        others = np.isin(data.events.item, items, invert=True)
        assert set(users.tolist()) == set(data.events.row[others].tolist())


def test_a_share_that_is_a_whole_number_is_exact() -> None:
    """As in the splits: 0.29 of 100 users are 29, though 0.29 * 100 is a little less in floats."""
    data = Dataset.from_arrays(np.repeat(np.arange(100), 3), np.tile(np.arange(3), 100))
    (found,) = evaluated("{users: [0], items: [], fraction: 0.29, metric: recall@3}", data).cold_starts
    assert len(found.rows[0].evaluation.users) == 29


def test_without_a_ranker_there_is_no_lead() -> None:
    text = TEXT.replace("COLD", USERS_ALONE).replace(TEXT[TEXT.index("rank:") : TEXT.index("slate:")], "")
    pipeline = Pipeline.from_text(text)
    assert pipeline.plan is not None
    (found,) = pipeline.plan.run(pipeline, plays())[0].cold_starts
    assert found.lines()[0] == ["events", "popular", "similar", "slate"]


def test_a_metric_that_is_undefined_for_all_has_no_lead() -> None:
    found = table(USERS_ALONE.replace("recall@3", "diversity@1"), plays())
    assert all(line[-1] == "-" for line in found.lines()[1:])
