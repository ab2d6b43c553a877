"""The record of a study: what every trial came to, in a SQLite file that Optuna reads, and whose study it is."""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nbarec.errors import NbarecError, StoreError
from nbarec.tuned_ranges import Value

NAME = "nbarec"
"""What the study is called in its file: there is one in each."""

IDENTITY = "identity"
State = Literal["complete", "pruned", "failed"]

MISSING = "tuning needs Optuna, which is not installed; run: pip install 'nbarec[tune]'"


def optuna() -> Any:
    """The module `optuna`. Raises NbarecError saying how to install it where it is missing."""
    try:
        return importlib.import_module("optuna")
    except ImportError as error:
        raise NbarecError(MISSING) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Within this block Optuna logs warnings alone: what a study is at is told by whoever runs it."""
    logging = optuna().logging
    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)


@dataclass(frozen=True)
class Outcome:
    """What a trial came to: its `values` by path, the `figure` (None where it failed), the figures after each part that
    was measured, the `seconds` it took, how many were `spent` on the study until then, and why it `failed`."""

    number: int
    state: State
    values: Mapping[str, Value]
    figure: float | None
    steps: Sequence[float] = ()
    seconds: float = 0.0
    spent: float = 0.0
    failed: str = ""

    def trial(self, distributions: Mapping[str, Any]) -> Any:
        """The same as a trial of Optuna."""
        module = optuna()
        states = module.trial.TrialState
        return module.trial.create_trial(
            state={"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[self.state],
            value=self.figure,
            params=dict(self.values),
            distributions={path: distributions[path] for path in self.values},
            intermediate_values=dict(enumerate(self.steps)),
            user_attrs={"seconds": self.seconds, "spent": self.spent, "failed": self.failed},
        )

    @classmethod
    def of(cls, trial: Any) -> Outcome:
        """What a trial of Optuna says."""
        known = trial.user_attrs
        told = known["seconds"], known["spent"], known["failed"]
        states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned"}
        state = states.get(trial.state.name, "failed")
        steps = [figure for _, figure in sorted(trial.intermediate_values.items())]
        return cls(trial.number, state, dict(trial.params), trial.value, steps, *told)


@dataclass(frozen=True)
class Record:
    """The trials of a study on disk, in order. Each is there as a whole or not at all, however the process ends."""

    study: Any
    outcomes: list[Outcome]

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, direction: str, identity: Mapping[str, str]) -> Iterator[Record]:
        """The record in a folder, begun where there is none.

        `identity` are digests of what a study depends on, by what they are of. Raises StoreError naming what differs
        where the folder holds a study of something else.
        """
        module = optuna()
        path = folder / "study.db"
        # The file is opened here: in an address, some names of folders would be read as something else.
        opening = {"creator": lambda: sqlite3.connect(path, check_same_thread=False)}
        storage = module.storages.RDBStorage("sqlite:///study.db", engine_kwargs=opening)
        try:
            study = module.create_study(storage=storage, study_name=NAME, direction=direction, load_if_exists=True)
            _check_identity(folder, study, identity)
            yield cls(study, [Outcome.of(trial) for trial in study.get_trials(deepcopy=False)])
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def add(self, outcome: Outcome, distributions: Mapping[str, Any]) -> None:
        """Write down what the next trial came to."""
        self.study.add_trial(outcome.trial(distributions))
        self.outcomes.append(outcome)


def _check_identity(folder: Path, study: Any, identity: Mapping[str, str]) -> None:
    known = study.user_attrs.get(IDENTITY)
    if known is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(IDENTITY, dict(identity))
        return
    known = known or {}
    differs = [name for name in dict.fromkeys([*identity, *known]) if identity.get(name) != known.get(name)]
    if differs:
        raise StoreError(
            f"{folder} holds a study of something else: {', '.join(differs)} changed since it was begun, and trials "
            "can't be compared; give another folder by --output, or put back what was changed, or remove the folder"
        )
