"""Failures of plugins in words: whose they are, and where they happened."""

from __future__ import annotations

import traceback
from dataclasses import replace
from pathlib import Path

from nbarec.errors import ConfigError, Mark, NbarecError

_ENGINE = Path(__file__).parent


def put_in_front(who: str, error: NbarecError, mark: Mark | None) -> None:
    """The label before the error's message, or before each of a config's problems, unless it stands there."""
    if isinstance(error, ConfigError):
        error.problems = tuple(
            replace(p, message=_labelled(who, p.message), mark=p.mark or mark) for p in error.problems
        )
        error.args = ("\n".join(map(str, error.problems)),)
    else:
        error.args = (_labelled(who, str(error)),)


def _labelled(who: str, message: str) -> str:
    return message if message.startswith(who) else f"{who}: {message}"


def failure_of(error: Exception) -> str:
    """What a plugin's exception is called, and where it was raised."""
    told = f"{type(error).__name__}: {error}".removesuffix(": ")
    failure = f"failed: {told} (in {_place(error)})"
    if isinstance(error, ValueError) and "read-only" in str(error):
        return (
            f"{failure}: it wrote into a read-only array of the request, its pool or its state; change a copy instead"
        )
    return failure


def _place(error: Exception) -> str:
    """File and line of the deepest call in the plugin: not in the engine, nor in a library that the plugin uses."""
    frames = traceback.extract_tb(error.__traceback__)
    plugin = [frame for frame in frames if not Path(frame.filename).is_relative_to(_ENGINE)] or list(frames)
    folder = Path(plugin[0].filename).parent
    deepest = [frame for frame in plugin if Path(frame.filename).parent == folder][-1]
    return f"{Path(deepest.filename).name}:{deepest.lineno}"
