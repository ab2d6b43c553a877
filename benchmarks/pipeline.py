"""How fast is a whole pipeline: fitted, and serving everybody?

    NBAREC_DATA=... python benchmarks/pipeline.py [--runs 3] [--json FILE]
    python benchmarks/pipeline.py --data tiny     (tries it out)

The pipeline of gowalla_pipeline.yaml: item_cf, user_cf, als, nmf and popularity, 200 candidates each; a blend; at most
2 items of a group; MMR. It is fitted on Gowalla, saved, loaded by another process and asked for 20 items for each of
all 29,858 users. Prints medians: seconds of each stage, users a second, recall and nDCG, and peak memory (PSS of all
processes). Exits with 1 where it serves less than 4,000 users a second or holds more than 2 GiB.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median

from bench import machine, memory
from bench.options import command, count
from bench.progress import steps
from bench.side_by_side import Measured, Place, Side, run
from bench.tables import digits, markdown, megabytes, verdict
from bench.worlds import world_file

FIT = Side("fit", "bench.whole:fit")
SERVE = Side("serve", "bench.whole:serve")

LEAST_USERS = 4000.0
MOST_MEGABYTES = (2 << 30) / 1e6
QUALITY = ("recall@20", "ndcg@20")


def middle(runs: Sequence[Measured], figure: str) -> float:
    """The median of a figure."""
    return median(one.figures.get(figure, 0.0) for one in runs)


def asks(fits: Sequence[Measured], served: Sequence[Measured]) -> list[tuple[str, str, str, bool]]:
    """What is asked: what, what was measured, the bound, whether it holds."""
    users = median(one.figures["users"] / one.seconds for one in served)
    rows = [("users a second", f"{users:,.0f}", f">= {LEAST_USERS:,.0f}", users >= LEAST_USERS)]
    for what, runs in (("fitting", fits), ("serving", served)):
        peak = median(one.total for one in runs)  # NaN, which is not above anything, where it can't be read
        rows.append((f"MB while {what}", megabytes(peak), f"<= {megabytes(MOST_MEGABYTES)}", not peak > MOST_MEGABYTES))
    return rows


def report(fits: Sequence[Measured], served: Sequence[Measured], *, judged: bool) -> str:
    """What is printed."""
    checks = [[what, found, ask, verdict(holds if judged else None)] for what, found, ask, holds in asks(fits, served)]
    users = int(middle(served, "users"))
    text = [machine.line(), "", f"Medians of {len(fits)} runs; {users:,} users, 20 places each:", ""]
    text.append(markdown(["", "measured", "asked", "holds"], checks))
    text += ["", *(f"* {figure}: {digits(middle(served, figure), 4)}" for figure in QUALITY)]
    for title, runs in (("Fitting", fits), ("Serving everybody, summed over workers", served)):
        seconds = median(one.seconds for one in runs)
        rows = [["all, on the clock", digits(seconds)]]
        steps_of = [name for name in runs[0].figures if name not in (*QUALITY, "users")]
        rows += [[name, digits(middle(runs, name))] for name in steps_of]
        text += ["", markdown([title, "s"], rows)]
    return "\n".join(text)


def record(fits: Sequence[Measured], served: Sequence[Measured]) -> str:
    """Everything that was measured, as JSON."""
    runs = {"fit": [asdict(one) for one in fits], "serve": [asdict(one) for one in served]}
    return json.dumps({"command": sys.argv, "machine": machine.facts(), **runs}, indent=1)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = command(__doc__)
    parser.add_argument("--data", choices=["gowalla", "tiny"], default="gowalla", help="default: %(default)s")
    parser.add_argument("--runs", type=count, default=3, help="default: %(default)s")
    return parser.parse_args()


def main() -> int:
    """Run, print, write; 1 where an ask is missed."""
    options = parsed()
    place = Place(world_file(options.data, options.cache), options.cache, options.workers)
    fits: list[Measured] = []
    served: list[Measured] = []
    with steps("pipeline", 2 * options.runs) as advance:
        for _ in range(options.runs):
            for side, runs in ((FIT, fits), (SERVE, served)):
                runs.append(run(side, place, figures=True, share=memory.SELDOM))
                advance(1)
    judged = options.data != "tiny"
    print(report(fits, served, judged=judged))
    if options.json:
        options.json.write_text(record(fits, served), "utf-8")
    return int(judged and not all(holds for *_, holds in asks(fits, served)))


if __name__ == "__main__":
    sys.exit(main())
