"""How well are taken apps told from others, in context? AUC in the manner of the published Frappe table.

    NBAREC_DATA=... python benchmarks/frappe_auc.py [--seed 0] [--only logistic,fm,gbdt] [--json FILE]
    NBAREC_DATA=... python benchmarks/frappe_auc.py --share 0.05     (tries it out)

Reads frappe/train.csv.gz alone. Beside every event stand two with apps drawn evenly among those that the user did not
use in that context; all are divided at random, nine tenths to learn from, of which each ranker keeps some apart for
itself, and a tenth to measure by. What is known of an entry is user, app and the seven contexts, each as levels and
nothing else. `logistic` has no interactions, `fm` those of all pairs, `gbdt` whatever its trees find. Published in BARS
(openbenchmark.github.io/BARS, Frappe_x1; He and Chua 2017): LR .9356, FM .9671, DeepFM .9842. There the data differ:
that table's file has 288,609 rows, which are all 96,203 events with two drawn ones each, divided 7:2:1, and a column on
whether an app costs money; here are only the 92,808 events of the training part of a split that leaves some of each
user's events out, and the drawn ones are others.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import machine
from bench.boosted_trees import auc
from bench.options import command, names
from bench.tables import digits, markdown
from nbarec import Pipeline
from nbarec.arrays import AnyArray, Floats32, Floats64, Ints64, frozen, mix64
from nbarec.components import Example
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.sparse import Csr
from nbarec.testing.worlds import pool_in_order, request_for
from nbarec.work import Work, working
from nbarec_plugins.fm import Fm
from nbarec_plugins.gbdt import Gbdt
from nbarec_plugins.learned import Learned
from nbarec_plugins.logistic import Logistic

CONFIG = Path(__file__).parents[1] / "configs" / "frappe.yaml"

CONTEXTS = ("daytime", "weekday", "weekend", "place", "weather", "country", "city")

DRAWN = 2
"""Other apps beside each event."""

BATCH = 20_000
"""Entries of an example, each of which is a request of its own."""

LEVELS: Mapping[str, Any] = {
    "features": ("user", "item", *(f"context.{name}" for name in CONTEXTS)),
    "least_count": 1,
    "calibration": "none",
}
"""What every ranker knows."""

RANKERS: Mapping[str, Learned[Any]] = {
    "logistic": Logistic(**LEVELS),
    "fm": Fm(**LEVELS, factors=64, l2=1.0, linear_l2=0.1, epochs=20),
    "gbdt": Gbdt(**LEVELS, trees=300, depth=8, learning_rate=0.2),
}
"""Those of fm were chosen on another draw and division of the same events."""

PUBLISHED: Mapping[str, str] = {"logistic": ".9356 (LR)", "fm": ".9671 (FM)", "gbdt": ""}


@dataclass(frozen=True)
class Entries:
    """Rows of an event's `user` and `item`, int64 positions, and where its context stands, `event` int64: [N]; `label`
    float32 [N]: 1 where that event is of this item."""

    user: Ints64
    item: Ints64
    event: Ints64
    label: Floats32

    def take(self, at: Ints64) -> Entries:
        """These."""
        return Entries(self.user.take(at), self.item.take(at), self.event.take(at), self.label.take(at))


def drawn(data: Dataset, rng: np.random.Generator, share: float) -> Entries:
    """All events, or a share of them, and beside each DRAWN items that its user does not have in its context."""
    events = data.events
    chosen = np.flatnonzero(rng.random(len(events)) < share)
    told = [events.columns[name].codes for name in CONTEXTS]  # type: ignore[union-attr]
    moment = np.unique(np.stack([events.row, *told]), axis=1, return_inverse=True)[1].reshape(-1)
    items = len(data.items)
    had = np.unique(moment * items + events.item)
    beside = np.repeat(chosen, DRAWN)
    item = rng.integers(0, items, len(beside))
    while len(again := np.flatnonzero(np.isin(moment[beside] * items + item, had))):  # until none is had
        item[again] = rng.integers(0, items, len(again))
    event = np.concatenate([chosen, beside])
    label = np.repeat(np.array([1, 0], np.float32), [len(chosen), len(beside)])
    return Entries(events.row[event].astype(np.int64), np.append(events.item[chosen], item), event, label)


def examples(data: Dataset, entries: Entries) -> Iterator[Example]:
    """Each entry as a request whose pool is one item, of a user without a history."""
    texts = {name: _texts(data, name) for name in CONTEXTS}
    nothing = np.empty(0, np.int64)
    for start in range(0, len(entries.label), BATCH):  # a step an example
        some = entries.take(np.arange(start, min(start + BATCH, len(entries.label))))
        rows = len(some.label)
        history = Events.empty(rows, len(data.items))
        excluded = Csr.from_pairs(nothing, nothing, None, (rows, len(data.items)))
        context = {name: told[some.event] for name, told in texts.items()}
        request = request_for(data, some.user, context=context, history=history, excluded=excluded)
        key = mix64(np.arange(start, start + rows, dtype=np.uint64))  # entries, not users, are kept apart
        pool = pool_in_order(request, some.item[:, None].tolist())
        yield Example(replace(request, key=frozen(key)), pool, frozen(some.label))


def _texts(data: Dataset, name: str) -> AnyArray:
    column: Any = data.events.columns[name]
    texts = column.levels.texts(np.arange(len(column.levels)))
    found: AnyArray = np.array(texts).take(column.codes)
    return found


def measured(ranker: Learned[Any], data: Dataset, known: Entries, others: Entries, workers: int) -> tuple[float, float]:
    """AUC on the others, and the seconds to learn."""
    with working(Work(workers=workers)):
        start = time.perf_counter()
        state = ranker.learn(examples(data, known), data, np.random.default_rng(0))
        seconds = time.perf_counter() - start
        scores = [ranker.rank(state, one.request, one.pool) for one in examples(data, others)]
    found: Floats64 = np.concatenate(scores).astype(np.float64)
    return auc(others.label.astype(np.float64), found), seconds


def parsed() -> argparse.Namespace:
    """The options."""
    parser = command(__doc__, cached=False)
    asked = names("ranker", RANKERS)
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn; default: %(default)s")
    parser.add_argument("--share", type=float, default=1.0, help="of the events; default: %(default)s")
    parser.add_argument(
        "--only", type=asked, metavar="NAME,...", default=",".join(RANKERS), help="default: %(default)s"
    )
    options = parser.parse_args()
    if not 0 < options.share <= 1:
        parser.error("--share must be above 0 and at most 1")
    if "NBAREC_DATA" not in os.environ:
        parser.error("NBAREC_DATA must name the folder that holds frappe/train.csv.gz")
    return options


def main() -> int:
    """Draw, learn, measure, print."""
    options = parsed()
    data = Pipeline.from_yaml(CONFIG).load()
    rng = np.random.default_rng(options.seed)
    entries = drawn(data, rng, options.share)
    order = rng.permutation(len(entries.label))
    known, others = (entries.take(part) for part in np.split(order, [int(0.9 * len(order))]))
    found = {name: measured(RANKERS[name], data, known, others, options.workers) for name in options.only}
    rows = [[name, f"{area:.4f}", PUBLISHED[name], f"{digits(took)} s"] for name, (area, took) in found.items()]
    print(f"{machine.line()}\n\n{len(known.label):,} entries to learn from, {len(others.label):,} to measure by\n")
    print(markdown(["", "AUC", "published, other data", "to learn"], rows))
    if options.json:
        told = {name: {"auc": area, "seconds": took} for name, (area, took) in found.items()}
        options.json.write_text(json.dumps({"machine": machine.facts(), "found": told}, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
