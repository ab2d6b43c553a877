"""Serving in worker processes, which map a model's arrays once and are sent batches of users."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from nbarec.batch import Slate
from nbarec.door import Asked
from nbarec.errors import ContractError, NbarecError
from nbarec.executor import Executor, Shared, executor_of
from nbarec.ids import Ids, TextOrNumber

if TYPE_CHECKING:
    from nbarec.model import Model

Users = Sequence[TextOrNumber] | Ids
"""Who is served; `Ids` are read a batch at a time."""

_NO_IDS = Ids.of([])


@dataclass(frozen=True)
class Call:
    """What one call asks for besides its users: see `Model.recommend`."""

    asked: Asked
    stage: str | None = None
    explain: bool = False

    def rows(self, span: slice) -> Call:
        """The same for some of the users."""
        return replace(self, asked=self.asked.rows(span))


@dataclass(frozen=True)
class _Batch:
    folder: Path
    users: Sequence[TextOrNumber]
    call: Call


@dataclass(frozen=True)
class Answer:
    """A batch's slates (without ids), or the `error` it came to; `failures` are the stages that failed, and how."""

    slate: Slate | None
    failures: tuple[tuple[str, NbarecError], ...]
    error: NbarecError | None = None


class Workers:
    """Processes that serve one model, which they map from a temporary folder. They stay until nobody holds this, so
    that the next call finds them ready."""

    def __init__(self, model: Model) -> None:
        """Raises ContractError where a state is more than arrays and plain values."""
        from nbarec.saved import save_model

        self._folder = Path(tempfile.mkdtemp(prefix="nbarec-model-"))
        self._executor = executor_of("processes", model.pipeline.config.engine.work.workers)
        weakref.finalize(self, _let_go, self._executor, self._folder)
        try:
            save_model(model, self._folder)
        except ContractError as error:
            raise ContractError(
                f"the model can't be sent to worker processes: {error}; serve with engine.executor: threads"
            ) from error

    def answers(self, users: Users, spans: Sequence[slice], call: Call) -> Iterator[Answer]:
        """Every span's answer, in order."""
        batches = (_Batch(self._folder, users[span], call.rows(span)) for span in spans)
        yield from self._executor.map_shards(answered, batches)


def _let_go(executor: Executor, folder: Path) -> None:
    executor.close()
    shutil.rmtree(folder, ignore_errors=True)


def answered(batch: _Batch, _shared: Shared) -> Answer:
    """One batch, in a worker."""
    failures: list[tuple[str, NbarecError]] = []

    def failed(stage: str, error: Exception) -> None:
        failures.append((stage, _sendable(error)))

    try:
        _, slate = _model(batch.folder).serve(batch.users, batch.call, failed)
    except NbarecError as error:
        return Answer(None, tuple(failures), _sendable(error))
    return Answer(replace(slate, ids=_NO_IDS), tuple(failures))


@lru_cache(maxsize=1)
def _model(folder: Path) -> Model:
    """The model that this process serves: read once. It was written a moment ago, so its digests are not checked."""
    from nbarec.saved import load_model

    return load_model(folder, verify=False)


def _sendable(error: Exception) -> NbarecError:
    """The error itself, or one that says the same: a plugin's own class may not survive the way."""
    if isinstance(error, NbarecError) and type(error).__module__ == NbarecError.__module__:
        return error
    return NbarecError(f"{type(error).__name__}: {error}")
