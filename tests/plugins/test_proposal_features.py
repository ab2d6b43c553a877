"""What the generators say of an entry, against a plain loop over them."""

from __future__ import annotations

import doctest
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Pool, Request
from nbarec.components import NoState
from nbarec.data import Dataset
from nbarec.testing.checks import Check, checks
from nbarec.testing.worlds import pool_of, request_for
from nbarec_plugins import proposal_features
from nbarec_plugins.proposal_features import Proposals, nbarec_feature_providers

N_ITEMS = 12
WORLD = Dataset.from_arrays(["u"] * N_ITEMS, np.arange(N_ITEMS))
Rows = list[dict[int, float]]

scores = st.one_of(st.sampled_from([0.0, 0.1, 3.0]), st.floats(-1e6, 1e6, width=32))
proposed = st.dictionaries(st.integers(0, N_ITEMS - 1), scores)
batches = st.integers(1, 4).flatmap(lambda rows: st.lists(st.lists(proposed, min_size=rows, max_size=rows), max_size=4))


def merged(lists: list[Rows]) -> tuple[Request, Pool]:
    request = request_for(WORLD, [0] * (len(lists[0]) if lists else 1))
    return request, pool_of(request, {f"g{at}": rows for at, rows in enumerate(lists)})


def slow(pool: Pool, at: int) -> dict[str, float]:
    """The columns of one entry."""
    inside = np.flatnonzero(pool.row == pool.row[at])
    ranks, standard = [], []
    for source in range(len(pool.sources)):
        if pool.ranks[at, source] == 0:
            continue
        ranks.append(int(pool.ranks[at, source]))
        every = [float(pool.scores[one, source]) for one in inside if pool.ranks[one, source]]
        spread = statistics.pstdev(every)
        alike = spread <= 1e-9 * max(map(abs, every))
        standard.append(0.0 if alike else (float(pool.scores[at, source]) - statistics.fmean(every)) / spread)
    found = dict.fromkeys(Proposals().columns(), math.nan)
    found["proposals_agreement"] = len(ranks)
    if ranks:
        found["proposals_best_rank"] = 1 / min(ranks)
        found["proposals_fused"] = sum(1 / (60 + rank) for rank in ranks)
        found["proposals_score"] = statistics.fmean(standard)
    if len(ranks) > 1:
        found["proposals_rank_spread"] = statistics.pstdev(map(math.log, ranks))
    return found


@given(batches)
@settings(max_examples=100, deadline=None)
def test_each_entry_is_told_as_a_loop_over_generators_would(lists: list[Rows]) -> None:
    request, pool = merged(lists)
    columns = Proposals().columns_for(NoState(), request, pool)
    for at in range(len(pool)):
        found = {name: float(values[at]) for name, values in columns.items()}
        assert found == pytest.approx(slow(pool, at), rel=1e-4, abs=1e-5, nan_ok=True)


@given(batches)
@settings(max_examples=50, deadline=None)
def test_a_batch_gives_each_user_what_he_gets_alone(lists: list[Rows]) -> None:
    request, pool = merged(lists)
    together = Proposals().columns_for(NoState(), request, pool)
    for row in range(len(request)):
        alone = Proposals().columns_for(NoState(), *merged([[rows[row]] for rows in lists]))
        span = slice(*pool.indptr[row : row + 2])
        assert all(alone[name].tobytes() == together[name][span].tobytes() for name in together)


def test_what_nobody_proposes_is_unknown() -> None:
    request, pool = merged([[{3: 1.0, 4: 2.0}]])
    ranks, scores = np.array([[1, 0]], np.int32), np.array([[2.0, np.nan]], np.float32)
    shown = Pool(pool.indptr, pool.row, pool.item, pool.sources, {"ranks": ranks, "scores": scores}, {}, pool.score)  # type: ignore[arg-type]
    columns = Proposals().columns_for(NoState(), request, shown)
    assert columns["proposals_agreement"].tolist() == [1.0, 0.0]
    assert all(np.isnan(values[1]) for name, values in columns.items() if name != "proposals_agreement")


def test_every_column_is_listed() -> None:
    request, pool = merged([[{3: 1.0}]])
    assert list(Proposals().columns()) == list(Proposals().columns_for(NoState(), request, pool))


@pytest.mark.parametrize("check", checks(Proposals), ids=lambda check: check.name)
def test_contract(check: Check) -> None:
    outcome = check.outcome
    assert outcome.verdict != "failed", outcome.message


def test_examples_and_registration() -> None:
    assert nbarec_feature_providers() == [Proposals]
    assert doctest.testmod(proposal_features).failed == 0
