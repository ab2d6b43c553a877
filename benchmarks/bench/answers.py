"""What came of the questions: what holds, as tables and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench import machine, memory
from bench.plots import Bar, bars
from bench.questions import Question
from bench.side_by_side import Compared, Measured
from bench.tables import digits, markdown, megabytes, verdict
from bench.worlds import World

MEMORY_SLACK = 1.0
"""Megabytes by which a peak may be above the peer's: less than two readings of the same differ by."""


@dataclass(frozen=True)
class Answer:
    """Both sides' runs, and those of `others`, None where a package is missing; `judged`: whether asks must be met."""

    question: Question
    ours: Compared
    peer: Compared
    others: tuple[tuple[str, Measured | None], ...]
    judged: bool

    @property
    def name(self) -> str:
        """The question's, as tables have it."""
        return f"`{self.question.name}`"

    @property
    def about(self) -> str:
        """What is asked, and how many iterations it took each side to get there, where that was found first."""
        if self.question.until is None:
            return self.question.about
        ours, peer = self.question.ours, self.question.peer
        taken = [f"{side.name} takes {side.options['iterations']:g} iterations" for side in (ours, peer)]
        return f"{self.question.about}; {', '.join(taken)}"

    @property
    def ratio(self) -> float:
        """Our median seconds over the peer's."""
        return self.ours.seconds / self.peer.seconds

    @property
    def fast(self) -> bool:
        """Whether the ratio is as asked."""
        return self.question.ask is None or self.ratio <= self.question.ask

    @property
    def frugal(self) -> bool:
        """Whether our peak is at most the peer's; so it is where nothing can be read."""
        over = self.ours.warm_up.added - self.peer.warm_up.added
        return not self.question.frugal or not over > MEMORY_SLACK

    @property
    def good(self) -> tuple[bool, ...]:
        """Whether our result is as good as the peer's, by each rule."""
        ours, peer = self.ours.warm_up.figures, self.peer.warm_up.figures
        return tuple(rule.holds(ours[rule.figure], peer[rule.figure]) for rule in self.question.rules)

    @property
    def missed(self) -> list[str]:
        """What does not hold, in words."""
        checks = {"seconds": self.fast, "memory": self.frugal, "quality": all(self.good)}
        return [what for what, holds in checks.items() if not holds]

    def told(self, holds: bool, *, asked: bool = True) -> str:
        """What stands in the column `holds`."""
        return verdict(holds if asked and self.judged else None)

    def of_seconds(self) -> list[list[str]]:
        """Lines of the table of seconds: both sides, and then each other."""
        ask, peer = self.question.ask, self.question.peer.name
        asked = "" if ask is None else f"{ask:g}"
        holds = self.told(self.fast, asked=ask is not None)
        processor = [digits(side.processor) for side in (self.ours, self.peer)]
        both = [_spread(self.ours), f"{peer} {_spread(self.peer)}", digits(self.ratio, 2)]
        lines = [[self.name, *both, asked, holds, *processor]]
        for name, run in self.others:
            told = [f"{name}: not installed", "", "", "", "", ""]
            if run:
                ratio = digits(self.ours.seconds / run.seconds, 2)
                told = [f"{name} {digits(run.seconds)}", ratio, "", "", "", digits(run.processor)]
            lines.append([self.name, "", *told])
        return lines

    def of_memory(self) -> list[list[str]]:
        """Lines of the table of memory."""
        ours, peer = self.ours.warm_up, self.peer.warm_up
        added, total = [ours.added, peer.added], [ours.total, peer.total]
        holds = self.told(self.frugal, asked=self.question.frugal)
        lines = [[self.name, self.question.peer.name, *map(megabytes, added), holds, *map(megabytes, total)]]
        runs = [(name, run) for name, run in self.others if run]
        lines += [[self.name, name, "", megabytes(run.added), "", "", megabytes(run.total)] for name, run in runs]
        return lines

    def of_quality(self) -> list[list[str]]:
        """Lines of the table of quality: one a figure."""
        ours, peer = self.ours.warm_up.figures, self.peer.warm_up.figures
        return [
            [
                self.name,
                rule.figure,
                _figure(ours[rule.figure]),
                f"{self.question.peer.name} {_figure(peer[rule.figure])}",
                rule.words,
                self.told(holds),
            ]
            for rule, holds in zip(self.question.rules, self.good, strict=True)
        ]


def _spread(side: Compared) -> str:
    """The median, the fastest and the slowest."""
    least, most = side.spread
    return f"{digits(side.seconds)} ({digits(least, 2)}-{digits(most, 2)})"


def _figure(value: float) -> str:
    """A checksum in full, anything else with five digits."""
    return f"{value:.0f}" if isinstance(value, int) else digits(value, 5)


def report(answers: Sequence[Answer], world: World, pairs: int) -> str:
    """What is printed: on what it ran, what was asked, and what was found."""
    shape = f"{len(world.train_user):,} events of {world.users:,} users with {world.items:,} items"
    lines = [f"{world.name}: {shape}", machine.line(), ""]
    lines += [f"* {answer.name}: {answer.about}" for answer in answers]
    seconds = ["question", "nbarec", "peer", "ratio", "asked", "holds", "CPU nbarec", "CPU peer"]
    lines += ["", f"Seconds, medians of {pairs} alternating pairs (fastest-slowest):", ""]
    lines.append(markdown(seconds, [line for answer in answers for line in answer.of_seconds()]))
    how = "PSS of all processes" if memory.KNOWN else "peak of the main process alone: this system tells no PSS"
    lines += ["", f"Most megabytes held above the loaded input, and in all ({how}):", ""]
    held = ["question", "peer", "nbarec", "peer", "holds", "nbarec in all", "peer in all"]
    lines.append(markdown(held, [line for answer in answers for line in answer.of_memory()]))
    lines += ["", "Quality, by the same code for both:", ""]
    quality = ["question", "figure", "nbarec", "peer", "asked", "holds"]
    lines.append(markdown(quality, [line for answer in answers for line in answer.of_quality()]))
    return "\n".join(lines)


def picture(answers: Sequence[Answer], world: World) -> str:
    """The ratios as bars, where there is a compiled peer."""
    rows = [
        Bar(
            answer.question.name,
            answer.ratio,
            answer.question.ask if answer.judged else None,
            f"{digits(answer.ours.seconds, 2)} s, {answer.question.peer.name} {digits(answer.peer.seconds, 2)} s",
        )
        for answer in answers
        if answer.question.needs
    ]
    subtitle = f"{world.name}, {machine.cores()} cores; shorter is faster, dashed: as fast, tick: what is asked"
    return bars("Seconds of nbarec over those of a compiled peer", subtitle, rows)
