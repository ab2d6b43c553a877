"""The same figures as ranx (Bassani 2022) and RecTools give, on random worlds, wherever the definitions agree.

Where they differ by a known factor, that factor is written here. Serendipity, diversity and calibration are defined
otherwise there, or not at all, and have references of their own.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from nbarec.batch import Slate
from nbarec.components import Metric
from nbarec.data import Dataset
from nbarec.sparse import Csr
from nbarec.testing.worlds import slate_of
from nbarec_plugins.exposure_metrics import AveragePopularity
from nbarec_plugins.metrics import AveragePrecision, Coverage, HitRate, Ndcg, Novelty, Precision, Recall, ReciprocalRank
from nbarec_plugins.ranking_metrics import CappedRecall, GradedNdcg, LimitedAuc

pytestmark = pytest.mark.filterwarnings("ignore")  # of the peers

USERS, ITEMS = 40, 30
PLACES = 8


def peer(name: str) -> Any:
    """The module, or the test is skipped. Its import may warn as it likes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(
            name, reason=f"{name.split('.')[0]} is not installed; it is compared with where it is"
        )


@dataclass(frozen=True)
class World:
    """What users had (one event an item), what they are shown, and what is relevant, with gains from 1 to 5."""

    data: Dataset
    slate: Slate
    truth: Csr

    @property
    def relevant(self) -> np.ndarray:
        """How many items are relevant for each user."""
        return self.truth.counts

    def shown(self, user: int) -> list[int]:
        """The items of one slate."""
        return [item for item in self.slate.item[user].tolist() if item >= 0]

    def of(self, metric: Metric, k: int) -> np.ndarray:
        """Each user's value of our metric, of the first k places."""
        cut = replace(self.slate, item=self.slate.item[:, :k], score=self.slate.score[:, :k])
        return metric.per_user(cut, self.truth, self.data)


def world(seed: int, *, least: int = 0) -> World:
    """A random one; slates have at least so many items, and everybody has a relevant one."""
    rng = np.random.default_rng(seed)
    row, item = np.nonzero(rng.random((USERS, ITEMS)) < rng.random(ITEMS) * 0.4)
    ids = {"catalog": {"id": np.arange(ITEMS)}, "audience": {"id": np.arange(USERS)}}
    data = Dataset.from_arrays(row, item, **ids)
    items = [rng.permutation(ITEMS)[: rng.integers(least, PLACES + 1)].tolist() for _ in range(USERS)]
    slate = replace(slate_of(data, items, PLACES), users=tuple(range(USERS)))
    relevant = rng.random((USERS, ITEMS)) < rng.random((USERS, 1)) * 0.6
    relevant[np.arange(USERS), rng.integers(0, ITEMS, USERS)] = True
    row, item = np.nonzero(relevant)
    truth = Csr.from_pairs(row, item, rng.integers(1, 6, len(row)).astype(float), (USERS, ITEMS))
    return World(data, slate, truth)


def ranx_values(ranx: Any, drawn: World, name: str, *, graded: bool) -> np.ndarray:
    """The value of each user, in their order."""
    gains: dict[str, dict[str, int]] = {f"u{user:03}": {} for user in range(USERS)}
    stored = zip(drawn.truth.row_of.tolist(), drawn.truth.indices.tolist(), drawn.truth.data.tolist(), strict=True)
    for user, item, gain in stored:
        gains[f"u{user:03}"][f"i{item}"] = int(gain) if graded else 1
    runs = {
        f"u{user:03}": {f"i{item}": float(-place) for place, item in enumerate(drawn.shown(user))}
        for user in range(USERS)
    }
    return np.asarray(ranx.evaluate(ranx.Qrels(gains), ranx.Run(runs), name, return_mean=False))


@pytest.mark.parametrize("k", [1, 3, PLACES])
@pytest.mark.parametrize("seed", range(3))
def test_ranx_gives_the_same(seed: int, k: int) -> None:
    ranx, drawn = peer("ranx"), world(seed, least=1)

    def of(name: str, *, graded: bool = False) -> np.ndarray:
        return ranx_values(ranx, drawn, f"{name}@{k}", graded=graded)

    most = np.minimum(drawn.relevant, k)
    assert drawn.of(Precision(), k) == pytest.approx(of("precision"))
    assert drawn.of(Recall(), k) == pytest.approx(of("recall"))
    assert drawn.of(CappedRecall(), k) == pytest.approx(of("recall") * drawn.relevant / most)
    assert drawn.of(HitRate(), k) == pytest.approx(of("hit_rate"))
    assert drawn.of(ReciprocalRank(), k) == pytest.approx(of("mrr"))
    assert drawn.of(AveragePrecision(), k) == pytest.approx(of("map") * drawn.relevant / most)
    assert drawn.of(Ndcg(), k) == pytest.approx(of("ndcg"))
    assert drawn.of(GradedNdcg(), k) == pytest.approx(of("ndcg", graded=True))


def tables(pandas: Any, drawn: World) -> tuple[Any, Any, Any]:
    """Recommendations, relevant items and what users had, as RecTools wants them."""
    row, place = np.nonzero(drawn.slate.item >= 0)
    reco = pandas.DataFrame({"user_id": row, "item_id": drawn.slate.item[row, place], "rank": place + 1})
    relevant = pandas.DataFrame({"user_id": drawn.truth.row_of, "item_id": drawn.truth.indices})
    events = drawn.data.events
    return reco, relevant, pandas.DataFrame({"user_id": events.row, "item_id": events.item})


def in_order(found: Any) -> np.ndarray:
    """A series by user as an array of all users; NaN for those who are not in it."""
    return np.asarray(found.reindex(range(USERS)), np.float64)


@pytest.mark.parametrize("k", [1, 3, PLACES])
@pytest.mark.parametrize("seed", range(3))
def test_rectools_gives_the_same_accuracy(seed: int, k: int) -> None:
    theirs, drawn = peer("rectools.metrics"), world(seed)
    reco, relevant, _ = tables(peer("pandas"), drawn)
    metrics: list[tuple[Any, Metric, Any]] = [
        (theirs.Precision(k), Precision(), 1),
        (theirs.Recall(k), Recall(), 1),
        (theirs.HitRate(k), HitRate(), 1),
        (theirs.MRR(k), ReciprocalRank(), 1),
        (theirs.MAP(k), AveragePrecision(), drawn.relevant / np.minimum(drawn.relevant, k)),
        (theirs.NDCG(k, divide_by_achievable=True), Ndcg(), 1),
    ]
    for metric, own, factor in metrics:
        found = in_order(metric.calc_per_user(reco, relevant))
        assert drawn.of(own, k) == pytest.approx(found * factor), own.name


@pytest.mark.parametrize("k", [1, 3, PLACES])
@pytest.mark.parametrize("seed", range(3))
def test_rectools_gives_the_same_novelty_popularity_and_coverage(seed: int, k: int) -> None:
    theirs, drawn = peer("rectools.metrics"), world(seed)
    reco, _, past = tables(peer("pandas"), drawn)
    for metric, own in ((theirs.MeanInvUserFreq(k), Novelty()), (theirs.AvgRecPopularity(k), AveragePopularity())):
        assert drawn.of(own, k) == pytest.approx(in_order(metric.calc_per_user(reco, past)), nan_ok=True), own.name
    cut = replace(drawn.slate, item=drawn.slate.item[:, :k])
    covered = Coverage().aggregate(drawn.of(Coverage(), k), cut, drawn.data)
    assert covered == pytest.approx(theirs.CatalogCoverage(k, normalize=True).calc(reco, range(ITEMS)))


@pytest.mark.parametrize("relevant", [1, 4, ITEMS - 1])
def test_rectools_gives_the_same_auc_of_a_whole_ranking(relevant: int) -> None:
    """Its partial AUC over all items that are not relevant is the AUC; nobody has a history here."""
    theirs, pandas = peer("rectools.metrics"), peer("pandas")
    rng = np.random.default_rng(relevant)
    orders = [rng.permutation(ITEMS).tolist() for _ in range(USERS)]
    data = Dataset.from_arrays(np.array([], int), np.array([], int), catalog={"id": np.arange(ITEMS)})
    row = np.repeat(np.arange(USERS), relevant)
    item = np.concatenate([rng.permutation(ITEMS)[:relevant] for _ in range(USERS)])
    drawn = World(data, slate_of(data, orders, ITEMS), Csr.from_pairs(row, item, None, (USERS, ITEMS)))
    reco, held_out, _ = tables(pandas, drawn)
    found = theirs.PartialAUC(ITEMS - relevant).calc_per_user(reco, held_out)
    assert drawn.of(LimitedAuc(), ITEMS) == pytest.approx(in_order(found))
