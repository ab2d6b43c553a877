"""Serving in worker processes: a model is sent to them once, as arrays that they map, and batches of users after it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbarec.batch import Slate
from nbarec.door import Asked
from nbarec.errors import ContractError, NbarecError
from nbarec.executor import Shared, executor_of
from nbarec.ids import Ids, TextOrNumber
from nbarec.states import flatten
from nbarec.statescalars import Tree
from nbarec.store import Stored

if TYPE_CHECKING:
    from nbarec.model import Model

Users = Sequence[TextOrNumber] | Ids
"""Who is served; `Ids` are read a batch at a time."""

_NO_IDS = Ids.of([])
_BETWEEN = "/"
"""Stands between a part's name and an array's; stage ids have none."""


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
class Sent:
    """A model without its arrays; `token` tells it from any other, `trees` are what `states.flatten` leaves of each
    part beside the arrays."""

    token: str
    meta: Mapping[str, Any]
    trees: Mapping[str, Tree]

    @classmethod
    def of(cls, model: Model) -> tuple[Sent, dict[str, np.ndarray]]:
        """What is sent, and the arrays that workers map. Raises ContractError where a state is more than arrays and
        plain values."""
        from nbarec.saved import parts_and_meta

        parts, meta = parts_and_meta(model)
        trees: dict[str, Tree] = {}
        arrays: dict[str, np.ndarray] = {}
        for part, state in parts.items():
            try:
                own, trees[part] = flatten(state)
            except ContractError as error:
                raise ContractError(
                    f"{part} can't be sent to worker processes: {error}; serve with engine.executor: threads"
                ) from error
            arrays |= {f"{part}{_BETWEEN}{name}": array for name, array in own.items()}
        return cls(secrets.token_hex(8), meta, trees), arrays

    def model(self, arrays: Shared) -> Model:
        """The model that was sent, its arrays where they lie."""
        from nbarec.saved import model_of

        of_part: dict[str, dict[str, np.ndarray]] = {part: {} for part in self.trees}
        for path, array in arrays.items():
            part, _, name = path.partition(_BETWEEN)
            of_part[part][name] = array
        where = Path("the model that was sent")
        return model_of(Stored(where, {"meta": self.meta, "parts": self.trees}, of_part), where)


@dataclass(frozen=True)
class _Batch:
    sent: Sent
    users: Sequence[TextOrNumber]
    call: Call


@dataclass(frozen=True)
class Answer:
    """A batch's slates (without ids), or the `error` it came to; `failures` are the stages that failed, and how."""

    slate: Slate | None
    failures: tuple[tuple[str, NbarecError], ...]
    error: NbarecError | None = None


class _Kept:
    """The model that this process serves: read once, for all the batches of a call."""

    def __init__(self) -> None:
        self.token = ""
        self.model: Model | None = None


_kept = _Kept()


def served_elsewhere(model: Model, users: Users, spans: Sequence[slice], call: Call) -> Iterator[Answer]:
    """Every span's answer, in order, by as many processes as `engine.workers` says."""
    sent, arrays = Sent.of(model)
    batches = (_Batch(sent, users[span], call.rows(span)) for span in spans)
    with executor_of("processes", model.pipeline.config.engine.work.workers) as executor:
        yield from executor.map_shards(answered, batches, arrays)


def answered(batch: _Batch, arrays: Shared) -> Answer:
    """One batch, in a worker."""
    failures: list[tuple[str, NbarecError]] = []

    def failed(stage: str, error: Exception) -> None:
        failures.append((stage, _sendable(error)))

    try:
        _, slate = _model(batch.sent, arrays).serve(batch.users, batch.call, failed)
    except NbarecError as error:
        return Answer(None, tuple(failures), _sendable(error))
    return Answer(replace(slate, ids=_NO_IDS), tuple(failures))


def _model(sent: Sent, arrays: Shared) -> Model:
    if _kept.model is None or _kept.token != sent.token:
        _kept.token, _kept.model = sent.token, sent.model(arrays)
    return _kept.model


def _sendable(error: Exception) -> NbarecError:
    """The error itself, or one that says the same: a plugin's own class may not survive the way."""
    if isinstance(error, NbarecError) and type(error).__module__ == NbarecError.__module__:
        return error
    return NbarecError(f"{type(error).__name__}: {error}")
