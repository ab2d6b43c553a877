"""Why not: every item of the catalogue has exactly one reason, and it is the true one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.data import Dataset
from nbarec.model import Model
from nbarec.pipeline import Pipeline

ITEMS = 24
TEXT = """
nbarec: 1
seed: 1
data: {use: music_world}
candidates:
  - {id: similar, use: item_cf, k: SIMILAR}
  - {id: popular, use: popularity, k: POPULAR, exclude: EXCLUDE}
rank: [{id: mixed, use: blend, keep: KEEP}]
filters:
  - {id: cheap, use: require, with: {where: item.price < 15}}
  - {id: kinds, use: max_per, with: {by: kind, max: 2}}
slate: {k: 3FALLBACK}
"""


def text_of(similar: int, popular: int, keep: int, exclude: str = "weight > 0", fallback: str = "") -> str:
    """The config with these numbers."""
    filled = TEXT.replace("SIMILAR", str(similar)).replace("POPULAR", str(popular)).replace("KEEP", str(keep))
    return filled.replace("EXCLUDE", exclude).replace("FALLBACK", fallback)


def shop(seed: int) -> Dataset:
    """Forty events of six users; the last two items nobody touched."""
    rng = np.random.default_rng(seed)
    catalog = {
        "id": np.arange(ITEMS),
        "price": np.arange(ITEMS).astype(float),
        "kind": [f"kind {item % 5}" for item in range(ITEMS)],
    }
    return Dataset.from_arrays(
        rng.integers(6, size=40), rng.integers(ITEMS - 2, size=40), rng.choice([1.0, 2.0, -1.0], 40), catalog=catalog
    )


settings_of_a_shop = st.tuples(
    st.integers(0, 50), st.integers(1, ITEMS), st.integers(1, ITEMS), st.integers(1, ITEMS), st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(settings_of_a_shop, st.sampled_from([0, 3, 5, 99]))
def test_each_item_has_one_reason_and_they_add_up_to_the_catalogue(
    drawn: tuple[int, int, int, int, bool], user: int
) -> None:
    seed, similar, popular, keep, falls = drawn
    fallback = ", fallback: popular" if falls else ""
    model = Pipeline.from_text(text_of(similar, popular, keep, fallback=fallback)).fit(shop(seed))
    why = model.why(user)
    assert sum(why.outcomes.counts().values()) == ITEMS
    served = model.recommend([user])
    np.testing.assert_array_equal(why.slate.item, served.item)
    shown = served.item[0][served.item[0] >= 0].tolist()
    assert [int(np.flatnonzero(why.outcomes.rank == place)[0]) for place in range(1, len(shown) + 1)] == shown
    for item in range(ITEMS):
        assert_true(why.outcomes.of_item(item), item, model, user, shown)


def assert_true(reason: str, item: int, model: Model, user: int, shown: list[int]) -> None:
    """The reason holds as far as it can be told from outside."""
    liked = model.data.events.take_rows(model.data.users.index([user]))
    consumed = item in liked.item[liked.weight > 0].tolist()
    price, kinds = item, [shop_item % 5 for shop_item in shown]
    if item in shown:
        assert reason == f"in the slate at rank {shown.index(item) + 1}"
    else:
        assert not reason.startswith("in the slate")
    if reason == "left out as consumed":
        assert consumed
    elif reason == "removed by filter cheap":
        assert price >= 15
    elif reason == "removed by filter kinds":
        assert price < 15
        assert kinds.count(item % 5) == 2 or len(shown) == 3
    elif reason == "never proposed":
        assert not consumed
    else:
        assert not consumed
        assert reason.startswith(("in the slate", "below the slate", "below the cut of "))


def test_every_kind_of_reason() -> None:
    model = Pipeline.from_text(text_of(4, 12, 9)).fit(shop(3))
    why = model.why(0)
    found = {reason.split(" of ")[0] for reason in why.outcomes.reasons}
    assert found >= {
        "in the slate",
        "removed by filter cheap",
        "below the cut",
        "left out as consumed",
        "never proposed",
    }
    assert why.of_item("nothing like it") == ("not in the catalogue", None)


def test_an_item_that_one_stage_may_show_again_is_not_consumed() -> None:
    model = Pipeline.from_text(text_of(4, 1, 9, exclude="weight > 99")).fit(shop(3))
    liked = model.data.events.item[model.data.events.weight > 0]
    reasons = {model.why(0).outcomes.of_item(int(item)) for item in liked}
    assert "left out as consumed" not in reasons


def test_a_saved_model_gives_the_same_reasons(tmp_path: Path) -> None:
    import nbarec

    model = Pipeline.from_text(text_of(6, 12, 9)).fit(shop(4))
    model.save(tmp_path / "model")
    assert nbarec.load(tmp_path / "model").why(2).outcomes.counts() == model.why(2).outcomes.counts()


@pytest.mark.parametrize("k", [1, 5])
def test_places_may_be_asked_for(k: int) -> None:
    model = Pipeline.from_text(text_of(12, 12, 20)).fit(shop(4))
    why = model.why(1, k=k)
    assert why.outcomes.counts()["in the slate"] == (why.slate.item >= 0).sum() <= k
