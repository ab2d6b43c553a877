"""What the commands share of their options: how they are explained, and values that are checked as they are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from pathlib import Path

from bench import machine
from bench.worlds import CACHE


def command(text: str, *, more: str = "", cached: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that every command has; its help is the command's docstring, and `more` below it.

    A docstring has three parts, with an empty line between them: the question, examples, and how it is done.
    """
    summary, examples, how = text.split("\n\n")
    parser = argparse.ArgumentParser(
        description=summary,
        epilog=f"examples:\n{examples}\n\n{how}{more}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = parser.add_argument_group("shared options")
    cores = machine.cores()
    shared.add_argument("--workers", type=count, default=cores, help="cores to work on; default: %(default)s")
    if cached:
        shared.add_argument(
            "--cache", type=Path, default=CACHE, help="where data and models are kept; default: %(default)s"
        )
    shared.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    return parser


def count(text: str) -> int:
    """The type of an option that is a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def names(what: str, known: Collection[str]) -> Callable[[str], list[str]]:
    """The type of an option that names some of the known, separated by commas; `what` they are is told in mistakes."""

    def chosen(text: str) -> list[str]:
        found = text.split(",")
        unknown = [name for name in found if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"there is no {what} {', '.join(unknown)}; there are {', '.join(known)}")
        return found

    return chosen
