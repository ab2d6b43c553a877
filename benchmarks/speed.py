"""How fast is nbarec beside compiled peers, at the same quality and in how much memory?

    NBAREC_DATA=... python benchmarks/speed.py [--data gowalla] [--only als,knn,topk] [--pairs 5] [--json FILE]
    python benchmarks/speed.py --data synth10m --svg ratios.svg

Each question is put to nbarec and to a peer in child processes that take turns. Only the work itself is timed: building
the input is not. The first run of each side warms up; in it, peak memory is read (PSS, summed over all processes) and
the quality of the result is measured, by the same code for both. Seconds are medians of the runs that follow. Prints
Markdown tables and exits with 1 where an ask is missed. Peers: pip install 'nbarec[bench]'.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from bench import machine, memory
from bench.answers import Answer, picture, report
from bench.options import command, count, names
from bench.progress import steps
from bench.questions import QUESTIONS, Question
from bench.side_by_side import Failed, Place, alternating, run
from bench.worlds import NAMES, World, world_file


def answered(question: Question, place: Place, pairs: int, *, judged: bool) -> Answer:
    """Put one question."""
    runs = 2 * (pairs + 1) + len(question.others) + bool(question.before) + 2 * bool(question.until)
    with steps(question.name, runs) as advance:
        if question.before:
            run(question.before, place)
            advance(1)
        question = _settled(question, place, advance)
        ours, peer = alternating(question.ours, question.peer, place, pairs, advance)
        others = []
        for side in question.others:
            there = not machine.missing(side.needs)
            others.append((side.name, run(side, place, share=memory.SELDOM) if there else None))
            advance(1)
    return Answer(question, ours, peer, tuple(others), judged)


def _settled(question: Question, place: Place, advance: Callable[[int], None]) -> Question:
    """The question with as many iterations of each side as it takes to get to the peer's quality."""
    if question.until is None:
        return question
    theirs = run(question.until.peer, place, figures=True).figures
    advance(1)
    own = run(question.until.ours.given(goal=theirs["goal"]), place, figures=True).figures
    advance(1)
    return question.going(own["iterations"], theirs["iterations"])


def asked_questions(only: Sequence[str] | None, data: str) -> list[Question]:
    """The questions of these names, or all that are put to these data. Exits where one lacks its peer."""
    known = {question.name: question for question in QUESTIONS}
    asked = [question for question in QUESTIONS if data in question.data] if only is None else [known[n] for n in only]
    for question in asked:
        machine.require(question.needs, f"the question {question.name}")
    return asked


def record(answers: Sequence[Answer], world: World, pairs: int) -> str:
    """Everything that was measured, as JSON."""
    found = [{**asdict(answer), "ratio": answer.ratio, "missed": answer.missed} for answer in answers]
    whole = {"command": sys.argv, "machine": machine.facts(), "data": world.name, "pairs": pairs, "answers": found}
    return json.dumps(whole, indent=1, default=sorted)


def parsed() -> argparse.Namespace:
    """The options."""
    known = [question.name for question in QUESTIONS]
    parser = command(__doc__, more=f"\nQuestions: {', '.join(known)}.")
    parser.add_argument("--data", choices=NAMES, default="gowalla", help="default: %(default)s; tiny only tries it out")
    parser.add_argument("--only", type=names("question", known), metavar="NAME,...", help="default: all for these data")
    parser.add_argument("--pairs", type=count, default=5, help="how many runs of each side count; default: %(default)s")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the ratios as a picture")
    return parser.parse_args()


def main() -> int:
    """Ask, print, write; 1 where an ask is missed."""
    options = parsed()
    questions = asked_questions(options.only, options.data)
    place = Place(world_file(options.data, options.cache), options.cache, options.workers)
    judged, world, answers, failures = options.data != "tiny", World.load(place.world), [], 0
    # A question after the other: a failure, or a stop by the user, leaves the answers before it.
    for question in questions:
        try:
            answers.append(answered(question, place, options.pairs, judged=judged))
        except Failed as failed:
            failures += 1
            print(f"{question.name}: {failed}", file=sys.stderr)
        if options.json:
            options.json.write_text(record(answers, world, options.pairs), "utf-8")
    print(report(answers, world, options.pairs))
    if options.svg:
        options.svg.write_text(picture(answers, world), "utf-8")
    return int(failures > 0 or (judged and any(answer.missed for answer in answers)))


if __name__ == "__main__":
    sys.exit(main())
