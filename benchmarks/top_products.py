"""How fast are the exact best items by inner product? Asked: never slower than plain blocks, nor than implicit.

    NBAREC_DATA=... python benchmarks/top_products.py [--data gowalla] [--factors 64] [--limit 20] [--rounds 5]
    python benchmarks/top_products.py --data random --users 10000 --items 20000

Writes vectors to a temporary folder: those of `als` on Gowalla's training events, or random ones with lengths by a
power law. Then each contender finds every user's best items, his own left out, in a fresh process of one thread,
in turns: `nbarec.products`; plain blocks of `users @ items.T` with `argpartition`; and implicit, if it is installed.
Prints medians, ratios, peak memory and how many items agree. Exits with 1 where nbarec is slower than another.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np

from nbarec.arrays import rows_of
from nbarec.products import ItemIndex
from nbarec.sparse import Csr

BLOCK = 256
"""Users that plain blocks score at a time: of 64, 256, 1,024 and 4,096 the fastest."""

WARM_UP = 300
"""Users who are served before the clock starts."""

Search = Callable[[np.ndarray, Csr], np.ndarray]
"""From user vectors and what to leave out to the best items [users, limit], -1 where there are fewer."""


def prepare(folder: Path, data: str, users: int, items: int, factors: int) -> None:
    """Write the vectors and what to leave out."""
    made = gowalla(factors) if data == "gowalla" else random(users, items, factors)
    for name, array in zip(("users", "items", "indptr", "indices"), made, strict=True):
        np.save(folder / f"{name}.npy", array)


def gowalla(factors: int) -> tuple[np.ndarray, ...]:
    """The vectors of `als`, by 5 sweeps over the training events, which are left out."""
    from nbarec.testing.worlds import request_for
    from nbarec_plugins.als import Als
    from nbarec_plugins.source_params import EventFields, EventsFile
    from nbarec_plugins.sources import Csv

    path = Path(os.environ["NBAREC_DATA"]) / "gowalla" / "train.csv.gz"
    data = Csv(events=EventsFile(path=path, columns=EventFields(user="user_id", item="item_id"))).load()
    model = Als(factors=factors, iterations=5)
    state = model.fit(data, np.random.default_rng(0))
    request = request_for(data)
    excluded = request.excluded
    return model.user_vectors(state, request), model.item_vectors(state), excluded.indptr, excluded.indices


def random(users: int, items: int, factors: int) -> tuple[np.ndarray, ...]:
    """Vectors around a direction that all share; popular items have long ones, and are left out more often."""
    rng = np.random.default_rng(0)
    place = rng.permutation(items)
    lengths = (1 + place[:, None]) ** -0.35
    spread = rng.normal(size=(items, factors)) + 0.3
    vectors = rng.normal(size=(users, factors)) + 0.3
    played = np.argsort(place)[(items * rng.random((users, 25)) ** 3).astype(np.int64)]
    excluded = Csr.from_pairs(np.repeat(np.arange(users), 25), played.ravel(), None, (users, items))
    as_single = vectors.astype(np.float32), (lengths * spread).astype(np.float32)
    return *as_single, excluded.indptr, excluded.indices


def by_nbarec(items: np.ndarray, limit: int) -> Search:
    """With the index that a model would hold: it is built before the clock starts."""
    index = ItemIndex.of(items)

    def search(users: np.ndarray, excluded: Csr) -> np.ndarray:
        found = index.best(users.astype(np.float64), limit, excluded)
        best = np.full((len(users), limit), -1)
        best[np.arange(limit) < np.diff(found.indptr)[:, None]] = found.item
        return best

    return search


def by_blocks(items: np.ndarray, limit: int) -> Search:
    """Every score of a block of users, in single precision, and a partition of each row."""

    def search(users: np.ndarray, excluded: Csr) -> np.ndarray:
        best = np.empty((len(users), limit), np.int64)
        for first in range(0, len(users), BLOCK):  # a step a block: what bounds the memory
            scores = users[first : first + BLOCK] @ items.T
            barred = excluded.take_rows(np.arange(first, first + len(scores)))
            scores[rows_of(barred.indptr), barred.indices] = -np.inf
            top = np.argpartition(scores, -limit, axis=1)[:, -limit:]
            order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1)
            best[first : first + BLOCK] = np.take_along_axis(top, order, axis=1)
        return best

    return search


def by_implicit(items: np.ndarray, limit: int) -> Search:
    """The search that implicit's factor models serve with."""
    topk = import_module("implicit.cpu.topk").topk
    csr_matrix = import_module("scipy.sparse").csr_matrix

    def search(users: np.ndarray, excluded: Csr) -> np.ndarray:
        ones = np.ones(excluded.nnz, np.float32)
        barred = csr_matrix((ones, excluded.indices, excluded.indptr), shape=excluded.shape)
        best, _ = topk(items, users, limit, filter_query_items=barred, num_threads=1)
        return np.asarray(best)

    return search


CONTENDERS: dict[str, Callable[[np.ndarray, int], Search]] = {
    "nbarec": by_nbarec,
    "plain blocks": by_blocks,
    "implicit": by_implicit,
}


def measure(folder: Path, contender: str, limit: int) -> dict[str, float]:
    """Seconds and peak megabytes of one contender in this process; its answer is left in the folder."""
    users, items, indptr, indices = (
        np.load(folder / f"{name}.npy") for name in ("users", "items", "indptr", "indices")
    )
    excluded = Csr(indptr, indices, np.ones(len(indices), np.float32), (len(users), len(items)))
    search = CONTENDERS[contender](items, limit)
    few = np.arange(min(WARM_UP, len(users)))
    search(users[few], excluded.take_rows(few))
    start = time.perf_counter()
    best = search(users, excluded)
    seconds = time.perf_counter() - start
    np.save(folder / f"best of {contender}.npy", best)
    return {"seconds": seconds, "megabytes": peak_megabytes()}


def peak_megabytes() -> float:
    """The most memory that this process has held; NaN where the system doesn't say."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def in_child(arguments: list[str]) -> str:
    """What this script prints in a fresh process of one thread; what it complains of is shown."""
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads}).stdout


def compared(folder: Path, limit: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Every contender's measures, in turns, so that a slow minute hits all of them."""
    contenders = [name for name in CONTENDERS if name != "implicit" or find_spec("implicit")]
    asked = ["--folder", str(folder), "--limit", str(limit), "--contender"]
    turns = [{name: json.loads(in_child([*asked, name])) for name in contenders} for _ in range(rounds)]
    return {name: [turn[name] for turn in turns] for name in contenders}


def table(folder: Path, measured: dict[str, list[dict[str, float]]]) -> list[str]:
    """The lines to print."""
    own = np.load(folder / "best of nbarec.npy")
    lines = ["| contender | seconds (median) | nbarec / this | peak MB | same items |", "|---|---|---|---|---|"]
    for name, runs in measured.items():
        seconds, most = median(run["seconds"] for run in runs), max(run["megabytes"] for run in runs)
        same = (np.load(folder / f"best of {name}.npy") == own).mean()
        lines.append(f"| {name} | {seconds:.3f} | {ratio(measured, name):.2f} | {most:.0f} | {same:.3%} |")
    return lines


def ratio(measured: dict[str, list[dict[str, float]]], name: str) -> float:
    """nbarec's seconds over this contender's: the median over the rounds."""
    pairs = zip(measured["nbarec"], measured[name], strict=True)
    return median(own["seconds"] / other["seconds"] for own, other in pairs)


def parsed() -> argparse.Namespace:
    """The options; those without help are for the child processes."""
    summary, example = __doc__.split("\n\n")[:2]
    parser = argparse.ArgumentParser(
        description=summary, epilog=f"examples:\n{example}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    has_gowalla = (Path(os.environ.get("NBAREC_DATA", "")) / "gowalla" / "train.csv.gz").is_file()
    standard = "gowalla" if has_gowalla else "random"
    parser.add_argument("--data", choices=["gowalla", "random"], default=standard, help=f"default: {standard}")
    parser.add_argument("--users", type=int, default=30_000, help="of random data; default: %(default)s")
    parser.add_argument("--items", type=int, default=40_000, help="of random data; default: %(default)s")
    parser.add_argument("--factors", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--limit", type=int, default=20, help="items a user; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--contender", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.data == "gowalla" and not has_gowalla:
        parser.error("set NBAREC_DATA to a folder with gowalla/train.csv.gz, or use --data random")
    return options


def main() -> int:
    """Prepare, measure, print; 1 where nbarec is slower than another contender."""
    options = parsed()
    if options.contender:
        print(json.dumps(measure(options.folder, options.contender, options.limit)))
        return 0
    if options.folder:
        prepare(options.folder, options.data, options.users, options.items, options.factors)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        passed_on = [f"--{key}={getattr(options, key)}" for key in ("data", "users", "items", "factors")]
        in_child(["--folder", name, *passed_on])  # a child's peak memory is never below what its parent held
        measured = compared(folder, options.limit, options.rounds)
        users, items = (np.load(folder / f"{part}.npy", mmap_mode="r").shape for part in ("users", "items"))
        print(f"{options.data}: {users[0]:,} users x {items[0]:,} items, {items[1]} factors, top {options.limit}\n")
        print("\n".join(table(folder, measured)))
    return int(any(ratio(measured, other) > 1 for other in measured if other != "nbarec"))


if __name__ == "__main__":
    sys.exit(main())
