"""What items share: what must be found, what must not, and the figures against a slow reference."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from nbarec.tables import Table
from nbarec.traits import MIXED, PRIOR_ITEMS, Traits, effective_number, label_of, reasons_of

RNG = np.random.default_rng(0)
GENRES = np.array(["rock"] * 60 + ["pop"] * 240 + ["jazz"] * 200)
ENERGY = np.where(GENRES == "rock", 0.8, 0.5) + RNG.normal(0, 0.05, 500)
MOODS = [["calm"] if row % 3 == 0 else ["loud", "fast"] if row % 3 == 1 else [] for row in range(500)]
SONGS = Table.of(
    {
        "name": [f"song {row}" for row in range(500)],
        "genre": GENRES,
        "moods": MOODS,
        "energy": ENERGY,
        "explicit": (np.arange(500) % 10 == 0),
        "released": np.datetime64("2000-01-01") + np.arange(500) * np.timedelta64(10, "D"),
    }
)
TRAITS = Traits.of(SONGS)


def test_a_shared_level_and_a_shared_height_are_found() -> None:
    items = np.append(np.arange(0, 51, 3), [100, 200])
    found = TRAITS.shared_by(items, np.ones(len(items)))
    assert label_of(found) == "energy high, rock, released early"
    found = tuple(trait for trait in found if trait.words == "rock")
    assert reasons_of(found) == "genre rock 89% of the strongest, 12% of all"


def test_weights_decide_what_counts() -> None:
    items = np.concatenate([np.arange(10), np.arange(300, 310)])
    heavy, light = np.full(10, 5.0), np.full(10, 0.01)
    rock = TRAITS.shared_by(items, np.concatenate([heavy, light]))
    jazz = TRAITS.shared_by(items, np.concatenate([light, heavy]))
    share = next(trait.among for trait in rock if trait.words == "rock")
    assert share == pytest.approx(50 / 50.1)
    assert {"rock", "energy high"}.isdisjoint(trait.words for trait in jazz)


def test_the_evidence_of_a_level_is_its_log_odds_apart() -> None:
    items, weight = np.arange(46, 66), np.linspace(3, 1, 20)
    rock = next(trait for trait in TRAITS.shared_by(items, weight) if trait.words == "rock")
    size = weight.sum() ** 2 / (weight**2).sum()
    share = weight[GENRES[items] == "rock"].sum() / weight.sum()
    overall, others = 60 / 500, 480
    cells = [
        size * share + PRIOR_ITEMS * overall,
        size * (1 - share) + PRIOR_ITEMS * (1 - overall),
        46 + PRIOR_ITEMS * overall,
        others - 46 + PRIOR_ITEMS * (1 - overall),
    ]
    apart = math.log(cells[0] / cells[1]) - math.log(cells[2] / cells[3])
    assert rock.evidence == pytest.approx(apart / math.sqrt(sum(1 / cell for cell in cells)))
    assert rock.among == pytest.approx(share)
    assert rock.overall == pytest.approx(overall)
    assert rock.evidence > NormalDist().inv_cdf(1 - 0.01 / 9)


def test_tags_flags_and_dates() -> None:
    loud = np.flatnonzero(np.arange(500) % 3 == 1)[40:70]
    assert {"loud", "fast"} == {trait.words for trait in TRAITS.shared_by(loud, np.ones(30))} & {"loud", "fast"}
    explicit = TRAITS.shared_by(np.arange(0, 500, 20), np.ones(25))
    assert [trait.words for trait in explicit] == ["explicit"]
    assert reasons_of(explicit) == "explicit 100% of the strongest, 10% of all"
    late = TRAITS.shared_by(np.arange(470, 500), np.ones(30))
    assert "released late" in label_of(late)
    assert "released mean 2013-" in reasons_of(late)
    early = TRAITS.shared_by(np.concatenate([np.arange(60, 75), np.arange(75, 90)]), np.ones(30))
    assert "released early" in label_of(early)


def test_chance_has_no_label() -> None:
    artists = Table.of({"artist": [f"artist {row // 2}" for row in range(2000)], "tempo": RNG.normal(size=2000)})
    traits = Traits.of(artists)
    drawn = [traits.shared_by(RNG.choice(2000, 20, replace=False), RNG.random(20)) for _ in range(200)]
    assert sum(map(bool, drawn)) <= 8
    assert label_of(()) == MIXED
    assert reasons_of(()) == ""


@pytest.mark.parametrize(("word", "sign"), [("high", 1.0), ("low", -1.0)])
@pytest.mark.parametrize(("columns", "chance"), [(1, 0.005), (5, 0.001)])
def test_chance_is_shared_by_both_ends_of_every_number(word: str, sign: float, columns: int, chance: float) -> None:
    ends = sign * np.tile([-1.0, 1.0], 500)
    others = {f"other {at}": RNG.normal(size=1000) for at in range(1, columns)}
    traits = Traits.of(Table.of({"tempo": ends, **others}))
    items = np.append(np.flatnonzero(ends == sign)[:12], np.flatnonzero(ends == -sign)[:12])

    def found(evidence: float) -> list[float]:
        # Weights 1 + s and 1 - s at the two ends: a mean of s, of 24 / (1 + s^2) items.
        mean = evidence / math.sqrt(24 - evidence**2)
        shared = traits.shared_by(items, np.repeat([1 + mean, 1 - mean], 12))
        return [trait.evidence for trait in shared if trait.words == f"tempo {word}"]

    needed = NormalDist().inv_cdf(1 - chance)
    assert found(needed - 0.01) == []
    assert found(needed + 0.01) == pytest.approx([needed + 0.01])


def test_a_rare_level_needs_more_than_one_item() -> None:
    lone = Table.of({"artist": [f"artist {row}" for row in range(300)]})
    assert Traits.of(lone).shared_by(np.arange(3), np.ones(3)) == ()
    assert TRAITS.shared_by(np.arange(2), np.ones(2)) == ()
    assert TRAITS.shared_by(np.empty(0, np.int64), np.empty(0)) == ()


def test_missing_values_are_nobodys_trait() -> None:
    half = Table.of({"genre": [None if row % 2 else ("rock" if row < 40 else "pop") for row in range(400)]})
    found = Traits.of(half).shared_by(np.arange(40), np.ones(40))
    assert [(trait.words, trait.among, trait.overall) for trait in found] == [("rock", 1.0, 0.1)]
    nothing = Traits.of(Table.of({"tempo": np.full(50, np.nan), "genre": [None] * 50, "mood": [[]] * 50}))
    assert nothing.shared_by(np.arange(20), np.ones(20)) == ()


def test_infinite_numbers_are_missing() -> None:
    tempo = np.where(np.arange(200) < 20, 9.0, np.arange(200) % 5)
    known = Traits.of(Table.of({"tempo": np.where(np.arange(200) == 100, np.nan, tempo)}))
    infinite = Traits.of(Table.of({"tempo": np.where(np.arange(200) == 100, np.inf, tempo)}))
    items = np.append(np.arange(10), 100)
    assert label_of(known.shared_by(items, np.ones(11))) == "tempo high"
    assert infinite.shared_by(items, np.ones(11)) == known.shared_by(items, np.ones(11))


def test_what_all_items_share_sets_nobody_apart() -> None:
    alike = Traits.of(Table.of({"genre": ["rock"] * 100, "tempo": np.full(100, 0.1)}))
    assert alike.shared_by(np.arange(30), np.ones(30)) == ()
    for seed in range(20):  # the share of a level that all have may be rounded to more than 1
        assert alike.shared_by(np.arange(30), np.random.default_rng(seed).random(30) + 0.1) == ()
    assert Traits.of(Table(5)).shared_by(np.arange(5), np.ones(5)) == ()


def test_effective_number() -> None:
    assert effective_number(np.ones(7)) == pytest.approx(7)
    assert effective_number(np.array([1.0, 1e-9])) == pytest.approx(1)
    assert effective_number(np.empty(0)) == 0
