"""How do our gradient-boosted trees compare with scikit-learn's and LightGBM's, on the same features?

    python benchmarks/gbdt.py [--rows 1000000] [--pairs 3] [--only fit,predict] [--json FILE]
    python benchmarks/gbdt.py --rows 20000 --trees 10 --pairs 1     (tries it out, judges nothing)

Both sides grow 100 trees of depth 6 from made-up entries with 60 features, 5% of them unknown, and predict others. Each
runs in processes of its own that alternate; medians count. Prints seconds of both, their ratio and that of processor
seconds, AUC or NDCG@10 on other entries, and whether the asks hold: fits within 5 times scikit-learn's, predictions
within 2 times, no quality worse by more than 0.5%, and a million entries in less than 180 seconds. Peers that are not
installed are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from bench import machine
from bench.options import command, count, names
from bench.progress import steps
from bench.questions import SAME, Rule
from bench.side_by_side import Compared, Place, Side, alternating
from bench.tables import digits, markdown, verdict
from bench.worlds import world_file

JUDGED = 200_000
"""With fewer rows nothing is judged: calls would be most of what is measured."""

MILLION, LONGEST = 1_000_000, 180.0
"""So many rows must be learnt from in less than so many seconds."""


@dataclass(frozen=True)
class Question:
    """What both sides are asked, how many times longer ours may take, if that is asked at all, and the figure that must
    not be worse."""

    about: str
    ours: str
    peer: str
    needs: str
    most: float | None = None
    figure: str | None = None
    batch: tuple[int, int] = (0, 0)


QUESTIONS: Mapping[str, Question] = {
    "fit": Question("fit, log loss, scikit-learn", "our_fit", "peer_fit", "sklearn", 5.0, "auc"),
    "light": Question("fit, log loss, LightGBM", "our_fit", "light_fit", "lightgbm", None, "auc"),
    "rank": Question("fit, LambdaRank, LightGBM", "our_rank", "light_rank", "lightgbm", None, "ndcg@10"),
    "predict": Question(
        "100,000 entries, scikit-learn", "our_predict", "peer_predict", "sklearn", 2.0, batch=(100_000, 1)
    ),
    "request": Question("500 entries, scikit-learn", "our_predict", "peer_predict", "sklearn", 2.0, batch=(500, 200)),
}
"""Of predictions: entries of a batch, and how often it is asked for."""


@dataclass(frozen=True)
class Answer:
    """Both sides of one question, and whether its asks hold: None where none was made."""

    question: Question
    ours: Compared
    peer: Compared
    holds: bool | None

    @property
    def ratio(self) -> float:
        """Our seconds by the peer's."""
        return self.ours.seconds / self.peer.seconds

    @property
    def row(self) -> list[str]:
        """A line of the table: of predictions, milliseconds a batch."""
        often = self.question.batch[1]
        times = [1000 * side.seconds / often if often else side.seconds for side in (self.ours, self.peer)]
        unit = " ms" if often else " s"
        name = self.question.figure
        figures = [side.warm_up.figures[name] if name else float("nan") for side in (self.ours, self.peer)]
        told = [f"{digits(time)}{unit}" for time in times]
        ratios = [digits(self.ratio), digits(self.ours.processor / self.peer.processor)]
        return [self.question.about, *told, *ratios, *(digits(f, 4) for f in figures), verdict(self.holds)]


def answered(question: Question, options: argparse.Namespace, place: Place) -> Answer:
    """Ask both sides."""
    batch, often = question.batch
    given = {"rows": options.rows, "features": options.features, "trees": options.trees}
    given |= {"batch": batch, "often": often} if often else {}
    # Threads of OpenMP that spin while they wait take the processor from each other where others use it too.
    threads = {"OMP_NUM_THREADS": str(options.workers), "OMP_WAIT_POLICY": "passive"}
    us, them = (
        Side(name, f"bench.boosted_trees:{task}", options=given, variables=threads)
        for name, task in (("nbarec", question.ours), (question.needs, question.peer))
    )
    with steps(question.about, 2 + 2 * options.pairs) as advance:
        ours, peer = alternating(us, them, place, options.pairs, advance)
    return Answer(question, ours, peer, _holds(question, ours, peer, options.rows))


def _holds(question: Question, ours: Compared, peer: Compared, rows: int) -> bool | None:
    if rows < JUDGED or (question.most is None and question.figure is None):
        return None
    fast = question.most is None or ours.seconds <= question.most * peer.seconds
    in_time = bool(question.batch[1]) or rows < MILLION or ours.seconds <= LONGEST * rows / MILLION
    name = question.figure
    good = name is None or Rule(name, "least", SAME).holds(ours.warm_up.figures[name], peer.warm_up.figures[name])
    return fast and in_time and good


def parsed() -> argparse.Namespace:
    """The options."""
    parser = command(__doc__, more=f"\nQuestions: {', '.join(QUESTIONS)}.")
    asked = names("question", QUESTIONS)
    parser.add_argument("--rows", type=count, default=JUDGED, help="entries to learn from; default: %(default)s")
    parser.add_argument("--features", type=count, default=60, help="default: %(default)s")
    parser.add_argument("--trees", type=count, default=100, help="default: %(default)s")
    parser.add_argument(
        "--only", type=asked, default=list(QUESTIONS), metavar="NAME,...", help="questions; default: all"
    )
    parser.add_argument("--pairs", type=count, default=3, help="how many runs of each side count; default: %(default)s")
    return parser.parse_args()


def main() -> int:
    """Ask, print, write; 1 where an ask is missed."""
    options = parsed()
    # Children are given a world's file, which these tasks don't read.
    place = Place(world_file("tiny", options.cache), options.cache, options.workers)
    answers: dict[str, Answer] = {}
    for name in options.only:  # a step a question
        lacking = machine.missing((QUESTIONS[name].needs,))
        if lacking:
            print(f"{name}: left out, as {lacking[0]} is not installed", file=sys.stderr)
            continue
        answers[name] = answered(QUESTIONS[name], options, place)
    header = ["question", "nbarec", "peer", "ratio", "of processor time", "quality", "peer's", "holds"]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    print(f"{options.rows:,} x {options.features}, {options.trees} trees, {options.workers} workers; load {load}")
    print(f"{machine.line()}\n\n{markdown(header, [answer.row for answer in answers.values()])}")
    if options.json:
        found = {name: asdict(answer) for name, answer in answers.items()}
        options.json.write_text(json.dumps({"machine": machine.facts(), "answers": found}, indent=1), "utf-8")
    return int(any(answer.holds is False for answer in answers.values()))


if __name__ == "__main__":
    sys.exit(main())
