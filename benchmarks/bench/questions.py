"""What is asked of nbarec's speed: each question with both sides, and what must hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from bench.side_by_side import Side

IMPLICIT_VARIABLES = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""What implicit asks for when it is imported: its own threads are the parallel work."""

SAME = 0.005
"""Quality is the same where it is not worse by more than this share."""

EXACT = 1e-5
"""What rounding to single precision may change."""


def nbarec(task: str, **options: float) -> Side:
    """Our side."""
    return Side("nbarec", f"bench.ours:{task}", options=options)


def decomposition(task: str, **options: float) -> Side:
    """Our side, where a matrix is taken apart."""
    return Side("nbarec", f"bench.decompositions:{task}", options=options)


def implicit(task: str, **options: float) -> Side:
    """implicit, as it wants to be run."""
    return Side("implicit", f"bench.peers:{task}", ("implicit",), options, IMPLICIT_VARIABLES)


def sklearn(task: str, **options: float) -> Side:
    """scikit-learn."""
    return Side("scikit-learn", f"bench.peers:{task}", ("sklearn",), options)


def scipy(task: str) -> Side:
    """scipy."""
    return Side("scipy", f"bench.peers:{task}", ("scipy",))


def lenskit(task: str) -> Side:
    """LensKit."""
    return Side("LensKit", f"bench.peers:{task}", ("lenskit", "pandas"))


def plain(task: str) -> Side:
    """Plain Python and NumPy, a user at a time."""
    return Side("plain loops", f"bench.references:{task}")


@dataclass(frozen=True)
class Rule:
    """What must hold between our figure and the peer's: not less (`least`), not more (`most`), or neither (`same`), but
    for a share `within`."""

    figure: str
    bound: Literal["least", "most", "same"]
    within: float = SAME

    @property
    def words(self) -> str:
        """What is asked, as tables have it."""
        if not self.within:
            return "equal"
        share = f"{self.within:.4%}".rstrip("0%").rstrip(".") + "%"
        return {"least": f">= peer - {share}", "most": f"<= peer + {share}", "same": f"+- {share}"}[self.bound]

    def holds(self, ours: float, peer: float) -> bool:
        """Whether it does; not where one of them is NaN."""
        slack = self.within * abs(peer)
        enough, not_too_much = ours >= peer - slack, ours <= peer + slack
        return {"least": enough, "most": not_too_much, "same": enough and not_too_much}[self.bound]


GOOD_LISTS = (Rule("recall@20", "least"), Rule("ndcg@20", "least"))
EQUAL = (Rule("checksum", "same", 0.0),)


@dataclass(frozen=True)
class Until:
    """What is run before the clock starts to find how far both sides go: `peer` tells a `goal` and how many
    `iterations` it takes to get there itself, and `ours`, which is told the goal, how many it takes us."""

    peer: Side
    ours: Side


@dataclass(frozen=True)
class Question:
    """Is our side as fast as asked, `ask` being the ratio of seconds that is allowed (None: it is only told), as good
    by `rules`, and of no larger peak memory, where `frugal` asks for it?

    `others` run once, for orientation. `before`: what leaves in the cache what both sides need.
    """

    name: str
    about: str
    ours: Side
    peer: Side
    ask: float | None
    rules: tuple[Rule, ...]
    others: tuple[Side, ...] = ()
    before: Side | None = None
    until: Until | None = None
    frugal: bool = True
    data: frozenset[str] = field(default=frozenset({"gowalla", "synth2m", "synth10m", "tiny"}))

    def going(self, ours: float, peer: float) -> Question:
        """The same with so many iterations of each side."""
        return replace(self, ours=self.ours.given(iterations=ours), peer=self.peer.given(iterations=peer))

    @property
    def needs(self) -> tuple[str, ...]:
        """The packages without which the question can't be put."""
        return self.peer.needs


SMALLER = frozenset({"gowalla", "synth2m", "tiny"})
"""Where a peer would take many minutes on ten million events."""

LARGE = {"factors": 128.0, "alpha": 40.0}
"""A model whose vectors lie so that lengths alone hardly bound a score."""

QUESTIONS = (
    Question(
        "csr",
        "sparse rows from pairs in random order",
        nbarec("sparse_matrix"),
        scipy("sparse_matrix"),
        0.5,
        EQUAL,
        frugal=False,
    ),
    Question(
        "knn",
        "the 100 most similar items of every item, cosine",
        nbarec("item_neighbours"),
        implicit("item_neighbours"),
        0.8,
        (Rule("similarity", "same", EXACT), *GOOD_LISTS),
        others=(lenskit("lenskit_item_neighbours"), scipy("product_of_matrices")),
    ),
    Question(
        "uknn",
        "the 100 most similar users of every user, cosine",
        nbarec("user_neighbours"),
        implicit("user_neighbours"),
        0.9,
        (Rule("similarity", "same", EXACT),),
        data=SMALLER,
    ),
    Question(
        "als",
        "ALS, 64 factors, 15 sweeps, against conjugate gradients",
        nbarec("als"),
        implicit("als"),
        0.7,
        GOOD_LISTS,
        others=(lenskit("lenskit_als"),),
    ),
    Question(
        "als128",
        "ALS, 128 factors, 15 sweeps, alpha 40, against conjugate gradients",
        nbarec("als", **LARGE, cg_steps=2),
        implicit("als", **LARGE),
        0.7,
        GOOD_LISTS,
    ),
    Question(
        "alschol",
        "ALS, 64 factors, 15 sweeps, against an exact solver",
        nbarec("als"),
        implicit("als", cholesky=1),
        0.15,
        GOOD_LISTS,
        data=SMALLER,
    ),
    Question(
        "alsq",
        "ALS, 64 factors: until recall is within 0.5% of the peer's after 15 sweeps",
        nbarec("als"),
        implicit("als"),
        0.65,
        (Rule("recall@20", "least", 2 * SAME),),
        until=Until(implicit("sweeps_of_als"), nbarec("sweeps_of_als")),
    ),
    Question(
        "topk",
        "the 20 best unseen items of every user, 64 factors",
        nbarec("top_items"),
        implicit("top_items"),
        0.3,
        (Rule("score", "same", EXACT),),
        before=nbarec("store_factors"),
    ),
    Question(
        "topk128",
        "the 20 best unseen items of every user, 128 factors, alpha 40",
        nbarec("top_items", **LARGE, cg_steps=3),
        implicit("top_items", **LARGE),
        1.0,
        (Rule("score", "same", EXACT),),
        before=nbarec("store_factors", **LARGE, cg_steps=3),
    ),
    Question(
        "svd",
        "256 singular values and vectors",
        decomposition("singular_values", components=256),
        sklearn("singular_values", components=256),
        1.2,
        (Rule("energy", "least"),),
        frugal=False,
        data=SMALLER,
    ),
    Question(
        "nmf",
        "non-negative factorisation, 32 factors, to the peer's loss",
        decomposition("nmf"),
        sklearn("nmf"),
        1.2,
        (Rule("loss", "most", 2e-4),),
        until=Until(sklearn("nmf"), decomposition("passes_of_nmf", iterations=400)),
        frugal=False,
        data=SMALLER,
    ),
    Question(
        "foldin",
        "vectors of 2,000 users from their histories, 64 factors",
        nbarec("fold_in"),
        implicit("fold_in"),
        None,
        (Rule("loss", "same", EXACT),),
        before=nbarec("store_factors"),
        frugal=False,
    ),
    Question(
        "merge",
        "merging 5 x 200 candidates of 1,000 users",
        Side("nbarec", "bench.references:merged"),
        plain("merged_plainly"),
        None,
        EQUAL,
        frugal=False,
    ),
    Question(
        "mmr",
        "MMR over the best 100 of 1,000 users, 20 places",
        Side("nbarec", "bench.references:diversified"),
        plain("diversified_plainly"),
        None,
        EQUAL,
        frugal=False,
    ),
)
