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
from bench.progress import steps
from bench.questions import QUESTIONS, Question
from bench.side_by_side import Failed, Place, alternating, run
from bench.worlds import CACHE, NAMES, World, world_file


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


def asked_questions(only: str | None, data: str) -> list[Question]:
    """The questions of these names, or all that are put to these data. Exits where one is unknown or lacks its peer."""
    known = {question.name: question for question in QUESTIONS}
    names = [name for name in (only or "").split(",") if name] or [q.name for q in QUESTIONS if data in q.data]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"--only: there is no question {', '.join(unknown)}; there are {', '.join(known)}")
    for name in names:
        machine.require(known[name].needs, f"the question {name}")
    return [known[name] for name in names]


def record(answers: Sequence[Answer], world: World, pairs: int) -> str:
    """Everything that was measured, as JSON."""
    found = [{**asdict(answer), "ratio": answer.ratio, "missed": answer.missed} for answer in answers]
    whole = {"command": sys.argv, "machine": machine.facts(), "data": world.name, "pairs": pairs, "answers": found}
    return json.dumps(whole, indent=1, default=sorted)


def parsed() -> argparse.Namespace:
    """The options."""
    summary, examples, how = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(
        description=summary,
        epilog=f"examples:\n{examples}\n\n{how}\nQuestions: {', '.join(question.name for question in QUESTIONS)}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", choices=NAMES, default="gowalla", help="default: %(default)s; tiny only tries it out")
    parser.add_argument("--only", metavar="NAMES", help="questions, separated by commas; default: all for these data")
    parser.add_argument("--pairs", type=int, default=5, help="how many runs of each side count; default: %(default)s")
    parser.add_argument("--workers", type=int, default=machine.cores(), help="of both sides; default: %(default)s")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where data are kept; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the ratios as a picture")
    options = parser.parse_args()
    if options.pairs < 1 or options.workers < 1:
        parser.error("--pairs and --workers must be at least 1")
    return options


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
