"""The largest inner products against a walk over all of them, one pair at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec import product_search
from nbarec.arrays import Floats32, Floats64, Ints64
from nbarec.batch import Candidates
from nbarec.kernels import TIE
from nbarec.products import ItemIndex, best_products
from nbarec.sparse import Csr
from nbarec.states import flatten, unflatten
from nbarec.work import Work, working

Ranked = list[list[tuple[int, float]]]


def ranked(candidates: Candidates) -> Ranked:
    """(item, score) of each row."""
    bounds = zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)
    return [
        list(zip(candidates.item[start:end].tolist(), candidates.score[start:end].tolist(), strict=True))
        for start, end in bounds
    ]


def one_row(scores: dict[int, float], limit: int) -> list[tuple[int, float]]:
    """Walk down the scores; each that is close to the one before joins its group; in a group, position decides."""
    falling = sorted(scores.items(), key=lambda entry: -entry[1])
    groups: list[list[tuple[int, float]]] = []
    for entry in falling:
        if groups and groups[-1][-1][1] - entry[1] <= TIE * abs(falling[0][1]):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    best = [(item, float(np.float32(group[0][1]))) for group in groups for item, _ in sorted(group)]
    return best[:limit]


def score_of(user: Floats64, vector: Floats32) -> float:
    """One pair alone, in double precision."""
    return float(np.einsum("d,d->", user, vector.astype(np.float64)))


def reference(users: Floats64, items: Floats32, limit: int, excluded: Csr, above: float = -np.inf) -> Ranked:
    """Every pair alone."""
    barred = excluded.to_dense() != 0
    rows = []
    for row, user in enumerate(users):
        scores = {item: score_of(user, vector) for item, vector in enumerate(items)}
        allowed = {item: score for item, score in scores.items() if score > above and not barred[row, item]}
        rows.append(one_row(allowed, limit))
    return rows


def excluding(barred: np.ndarray) -> Csr:
    """The true cells of bool [B, n]."""
    row, item = np.nonzero(barred)
    return Csr.from_pairs(row, item, None, barred.shape)


def vectors(rng: np.random.Generator, users: int, items: int, length: int) -> tuple[Floats64, Floats32]:
    """Vectors of one direction more than of others and of very unequal lengths, as factor models give them."""
    lengths = rng.permutation(np.arange(1, items + 1) ** -0.7)
    spread = rng.normal(size=(items, length)) + 0.5
    return rng.normal(size=(users, length)) + 0.5, (lengths[:, None] * spread).astype(np.float32)


@pytest.fixture(params=[(1 << 20, 1024), (4096, 16)], ids=["large blocks", "small blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the sizes of blocks and tiles are, the answer is the same."""
    monkeypatch.setattr(product_search, "CELLS", request.param[0])
    monkeypatch.setattr(product_search, "TILE", request.param[1])


numbers = st.sampled_from([0.0, 0.0, 1.0, -1.0, 0.5, 2.0, 1e-9, 3e-10, 1.0 + 2**-20, 1e4, -1e4, 1e-6]) | st.floats(
    -3, 3, width=32
)


@st.composite
def searches(draw: st.DrawFn) -> tuple[Floats64, Floats32, int, Csr, float]:
    rows, items, length = draw(st.integers(0, 5)), draw(st.integers(0, 14)), draw(st.integers(0, 4))

    def matrix(height: int) -> np.ndarray:
        cells = draw(st.lists(numbers, min_size=height * length, max_size=height * length))
        made = np.array(cells, np.float64).reshape(height, length)
        copied = draw(st.lists(st.integers(0, max(height - 1, 0)), min_size=height, max_size=height))
        return made[copied] if draw(st.booleans()) and height else made

    share = draw(st.sampled_from([0.0, 0.3, 0.9]))
    barred = np.random.default_rng(draw(st.integers(0, 99))).random((rows, items)) < share
    barred[: draw(st.integers(0, 1))] = True
    above = draw(st.sampled_from([-np.inf, -np.inf, -1.0, 0.0, 0.5]))
    return matrix(rows), matrix(items).astype(np.float32), draw(st.integers(0, items + 3)), excluding(barred), above


@settings(max_examples=300, deadline=None)
@given(searches(), st.sampled_from([(1 << 20, 1024, 16, 8192, 8), (64, 2, 2, 4, 8), (16, 1, 4, 3, 2), (8, 4, 1, 9, 1)]))
def test_the_best_are_those_of_a_walk_over_all_pairs(
    search: tuple[Floats64, Floats32, int, Csr, float], sizes: tuple[int, ...]
) -> None:
    users, items, limit, excluded, above = search
    with pytest.MonkeyPatch.context() as patch:
        for name, size in zip(("CELLS", "TILE", "GROUP", "WIDEST", "MANY"), sizes, strict=True):
            patch.setattr(product_search, name, size)
        found = best_products(users, items, limit, excluded, above)
        expected = reference(users, items, limit, excluded, above)
        assert ranked(found) == expected
        arrays = (found.indptr, found.item, found.score)
        assert [str(array.dtype) for array in arrays] == ["int64", "int32", "float32"]
        assert not any(array.flags.writeable for array in arrays)
        for row in range(len(users)):
            alone = best_products(users[row : row + 1], items, limit, excluded.take_rows(np.array([row])), above)
            assert ranked(alone) == expected[row : row + 1]


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("limit", [1, 20, 399, 1000])
def test_the_best_of_vectors_as_factor_models_give_them(limit: int) -> None:
    rng = np.random.default_rng(1)
    users, items = vectors(rng, 25, 400, 12)
    excluded = excluding(rng.random((25, 400)) < np.linspace(0, 1, 25)[:, None])
    for above in (-np.inf, 0.0, 0.1):
        found = ranked(best_products(users, items, limit, excluded, above))
        assert found == reference(users, items, limit, excluded, above)
    assert [len(row) for row in ranked(best_products(users, items, limit, excluded))] == [
        min(limit, 400 - barred) for barred in excluded.counts
    ]


@pytest.mark.usefixtures("blocks")
def test_a_user_gets_the_same_bits_in_a_batch_of_any_size() -> None:
    rng = np.random.default_rng(2)
    users, items = vectors(rng, 500, 2000, 33)
    excluded = excluding(rng.random((500, 2000)) < 0.02)
    index = ItemIndex.of(items)
    together = index.best(users, 30, excluded)
    for size in (1, 2, 7):
        for first in (0, 1, 250, 493):
            rows = np.arange(first, first + size)
            batch = index.best(users[rows], 30, excluded.take_rows(rows))
            at = slice(together.indptr[first], together.indptr[first + size])
            assert batch.item.tobytes() == together.item[at].tobytes()
            assert batch.score.tobytes() == together.score[at].tobytes()


@pytest.mark.usefixtures("blocks")
def test_the_number_of_workers_changes_no_bit() -> None:
    rng = np.random.default_rng(2)
    users, items = vectors(rng, 2500, 300, 5)
    excluded, found = excluding(rng.random((2500, 300)) < 0.02), []
    for workers in (1, 2, 3):
        with working(Work(workers=workers)):
            made = best_products(users, items, 7, excluded)
        found.append([array.tobytes() for array in (made.indptr, made.item, made.score)])
    assert found[0] == found[1] == found[2]


@pytest.mark.usefixtures("blocks")
def test_a_long_chain_of_ties_is_one_group_however_far_it_reaches_down() -> None:
    chain = 0.9e-9 * np.arange(2500, 0, -1)  # each a tie of the next, and all of them far beyond rounding errors
    items = np.append(chain[::-1], 1.0).astype(np.float32)[:, None]
    users = np.array([[1.0], [1.0], [0.0], [-1.0]])
    excluded = excluding(np.arange(2501) == np.array([0, 3, 1, 2500])[:, None])
    for limit in (1, 2, 4):
        found = ranked(best_products(users, items, limit, excluded))
        assert found == reference(users, items, limit, excluded)
    # An excluded item links nothing.
    assert [[item for item, _ in row] for row in found[:2]] == [[2500, 1, 2, 3], [2500, 4, 5, 6]]


@pytest.mark.usefixtures("blocks")
def test_ties_of_items_of_different_lengths_go_by_position_across_the_limit_too() -> None:
    items = np.array([[1.0, 1.0], [2.0, 0.0], [-1.0, 3.0], [4.0, 1.0], [0.0, 0.5]], np.float32)
    users = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-10], [-1.0, -1.0]])
    for limit in range(1, 6):
        best = ranked(best_products(users, items, limit, Csr.empty(3, 5)))
        found = [[item for item, _ in row] for row in best]
        assert found == [[3, 0, 1, 2, 4][:limit]] * 2 + [[4, 0, 1, 2, 3][:limit]]


@pytest.mark.usefixtures("blocks")
def test_scores_that_single_precision_can_not_tell_apart_are_told_apart() -> None:
    rng = np.random.default_rng(3)
    common, own = rng.normal(size=(300, 1)), rng.normal(size=(300, 1)) * 1e-6
    items = np.hstack([common, common, own]).astype(np.float32)
    users = np.array([[1e4, -1e4, 1.0], [1e4, -1e4, -1.0], [1e4, -1e4 + 1e-9, 0.0]])
    found = ranked(best_products(users, items, 10, Csr.empty(3, 300)))
    assert found == reference(users, items, 10, Csr.empty(3, 300))
    assert [item for item, _ in found[0]] == np.argsort(-items[:, 2])[:10].tolist()


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("of_users", [1e-300, 1e-30, 1e200])
@pytest.mark.parametrize("of_items", [1e-44, 1.0, 3e38])
def test_vectors_may_be_tiny_or_huge(of_users: float, of_items: float) -> None:
    users, items = vectors(np.random.default_rng(4), 5, 200, 6)
    users *= of_users
    items = (items.astype(np.float64) / np.abs(items).max() * of_items).astype(np.float32)
    excluded = Csr.empty(len(users), len(items))
    with np.errstate(over="ignore"):  # the scores as they are handed out are single
        found = [[item for item, _ in row] for row in ranked(best_products(users, items, 9, excluded, 0.0))]
        expected = [[item for item, _ in row] for row in reference(users, items, 9, excluded, 0.0)]
    assert found == expected


@pytest.mark.usefixtures("blocks")
def test_items_and_users_without_a_direction_score_zero_and_go_by_position() -> None:
    users, items = vectors(np.random.default_rng(5), 4, 300, 3)
    users[2] = 0.0
    items[::2] = 0.0
    items[1::2] = -np.abs(items[1::2])
    users[3] = np.abs(users[3])
    excluded = excluding(np.arange(300) < np.array([0, 0, 5, 3])[:, None])
    found = ranked(best_products(users, items, 4, excluded))
    assert found == reference(users, items, 4, excluded)
    assert found[2:] == [[(item, 0.0) for item in range(5, 9)], [(item, 0.0) for item in range(4, 12, 2)]]
    assert ranked(best_products(users, items, 4, excluded, 0.0))[2:] == [[], []]


@pytest.mark.usefixtures("blocks")
def test_sums_without_negative_parts_are_above_zero_where_one_part_is() -> None:
    rng = np.random.default_rng(9)
    users, weights = (rng.exponential(size=(rows, 9)) * (rng.random((rows, 9)) < 0.2) for rows in (12, 500))
    items = weights.astype(np.float32)
    for limit in (3, 400):
        search = users, items, limit, Csr.empty(12, 500), 0.0
        assert ranked(best_products(*search)) == reference(*search)
    users, items = np.array([[1.0, 1e-30], [0.0, 1.0]]), np.array([[0.0, 1e-30], [1.0, 0.0], [0.0, 0.0]], np.float32)
    found = ranked(best_products(users, items, 3, Csr.empty(len(users), len(items)), 0.0))
    assert [[item for item, _ in row] for row in found] == [[1, 0], [0]]
    users, items = np.array([[1 + 1e-9, 1.0], [1.0, 1 + 1e-9]]), np.array([[1.0, -1.0]], np.float32)
    found = ranked(best_products(users, items, 3, Csr.empty(2, 1), 0.0))
    assert [[item for item, _ in row] for row in found] == [[0], []]


def test_ties_of_everybody_with_everything_stay_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_search, "CELLS", 512)
    monkeypatch.setattr(product_search, "TILE", 16)
    rng = np.random.default_rng(6)
    users = np.eye(4)[rng.integers(4, size=40)]
    items = np.eye(4, dtype=np.float32)[np.minimum(np.arange(600) // 5, 3)]
    excluded = excluding(rng.random((40, 600)) < 0.1)
    most = []
    crowded = product_search.Search.crowded

    def watched(search: product_search.Search) -> bool:
        most.append(sum(len(row) for row, _, _ in search.found))
        return crowded(search)

    monkeypatch.setattr(product_search.Search, "crowded", watched)
    for above in (-np.inf, 0.0):
        assert ranked(best_products(users, items, 8, excluded, above)) == reference(users, items, 8, excluded, above)
    assert 2 * 512 < max(most) <= 3 * 512


def test_short_items_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    users, items = vectors(np.random.default_rng(7), 50, 20_000, 8)
    looked = []
    scan = product_search.Search.scan

    def watched(search: product_search.Search, active: Ints64, tile: Floats32, start: int) -> None:
        looked.append(len(active) * len(tile))
        scan(search, active, tile, start)

    monkeypatch.setattr(product_search.Search, "scan", watched)
    best_products(users, items, 10, Csr.empty(len(users), len(items)))
    assert sum(looked) < 0.2 * 50 * 20_000


def test_an_index_is_a_state() -> None:
    users, items = vectors(np.random.default_rng(8), 3, 40, 5)
    index, excluded = ItemIndex.of(items), Csr.empty(3, 40)
    kept = unflatten(ItemIndex, *flatten(index))
    assert ranked(kept.best(users, 7, excluded)) == ranked(index.best(users, 7, excluded))


def wrong_searches() -> Iterator[tuple[Floats64, np.ndarray, Csr, str]]:
    users, items = np.ones((2, 3)), np.ones((4, 3), np.float32)
    fits = Csr.empty(2, 4)
    yield users, items.astype(np.float64), fits, "item vectors"
    yield users, np.where(np.eye(4, 3) > 0, np.float32(np.nan), items), fits, "item vectors"
    yield users, np.where(np.eye(4, 3) > 0, np.float32(np.inf), items), fits, "item vectors"
    yield users * np.nan, items, fits, r"user vectors must be finite float64 \[B, 3\]"
    yield users[:, :2], items, fits, "user vectors"
    yield users.astype(np.float32), items, fits, "user vectors"
    yield users, items, Csr.empty(2, 5), r"excluded must be \(2, 4\), users x items, and is \(2, 5\)"


@pytest.mark.parametrize(("users", "items", "excluded", "message"), list(wrong_searches()))
def test_what_does_not_fit_is_refused(users: Floats64, items: np.ndarray, excluded: Csr, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        best_products(users, items, 2, excluded)
