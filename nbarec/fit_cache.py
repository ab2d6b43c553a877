"""What stages learnt, kept by what they learn it from: a stage is fitted once however many trials leave it as it is."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from nbarec import __version__
from nbarec.data import Dataset
from nbarec.durable import remove
from nbarec.errors import ContractError, StoreError
from nbarec.manifest import json_bytes
from nbarec.marked import dump
from nbarec.saved import state_type
from nbarec.stages import AnyStage, Fitted
from nbarec.states import flatten
from nbarec.store import open_model, save

V = TypeVar("V")

DIGEST_BYTES = 16
STATE = "state"

WORTH = 0.05
"""Seconds: a state that was learnt in less is learnt again sooner than it is written, and is kept in memory alone."""


@dataclass
class Recent(Generic[V]):
    """Values of at most so many `bytes` together, the least recently used forgotten first."""

    bytes: int
    held: int = 0
    values: OrderedDict[Hashable, tuple[V, int]] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def get(self, key: Hashable) -> V | None:
        """The value, which is now the most recently used; None where it is not, or no longer, kept."""
        with self.lock:
            if key not in self.values:
                return None
            self.values.move_to_end(key)
            return self.values[key][0]

    def put(self, key: Hashable, value: V, size: int) -> None:
        """Keep a value of this many bytes, if it fits at all."""
        with self.lock:
            if key in self.values or size > self.bytes:
                return
            self.values[key] = value, size
            self.held += size
            while self.held > self.bytes:
                self.held -= self.values.popitem(last=False)[1][1]


@dataclass
class FitCache:
    """Fitted stages by key: the recent ones in `memory` (bytes), and those that took `worth` seconds as models of one
    state each in `folder`, which never holds more than `disk` bytes for long. May be asked by several threads: a stage
    is fitted by one of them."""

    folder: Path
    memory: int
    disk: int
    worth: float = WORTH
    recent: Recent[Fitted] = field(init=False)
    _fitting: defaultdict[str, Lock] = field(default_factory=lambda: defaultdict(Lock))

    def __post_init__(self) -> None:
        self.recent = Recent(self.memory)

    def fitted(self, key: str, stage: AnyStage, fit: Callable[[], Fitted]) -> Fitted:
        """What the stage learnt under this key, or learns now; a failure is not kept."""
        with self._fitting[key]:
            found = self.recent.get(key) or self._read(key, stage)
            if found is None:
                found = fit()
                if found.failed:
                    return found
                if found.seconds >= self.worth:
                    self._write(key, found)
            self.recent.put(key, found, _size(found))
            return found

    def _read(self, key: str, stage: AnyStage) -> Fitted | None:
        kind = state_type(stage)
        if kind is None or not (self.folder / key).is_dir():
            return None
        try:
            stored = open_model(self.folder / key)
            found = Fitted(stored.part(STATE, kind), int(stored.meta["n_items"]), float(stored.meta["seconds"]))
        except (StoreError, KeyError, ValueError):
            remove(self.folder / key)  # half a file, or of another version: it is learnt anew
            return None
        os.utime(self.folder / key)
        return found

    def _write(self, key: str, fitted: Fitted) -> None:
        with contextlib.suppress(ContractError, StoreError):  # a state or a disk that can't is only slower
            save(self.folder / key, {STATE: fitted.state}, {"n_items": fitted.n_items, "seconds": fitted.seconds})
            self._make_room(key)

    def _make_room(self, newest: str) -> None:
        """Remove what was not used for longest until the rest has room."""
        with contextlib.suppress(OSError):
            kept = sorted(self.folder.iterdir(), key=lambda one: (one.name == newest, one.stat().st_mtime_ns, one.name))
            sizes = [sum(file.stat().st_size for file in one.rglob("*")) for one in kept]
            left = sum(sizes)
            for one, size in zip(kept, sizes, strict=True):  # a step a state
                if left <= self.disk:
                    break
                remove(one)
                left -= size


def _size(fitted: Fitted) -> int:
    """How many bytes the arrays of a state have; 0 where it has something that can't be saved."""
    try:
        return sum(array.nbytes for array in flatten(fitted.state)[0].values())
    except ContractError:
        return 0


def data_digest(data: Dataset) -> str:
    """A digest of everything that a stage can learn from: ids, events and their weights, both tables, the clock."""
    arrays, tree = flatten(replace(data, files=()))
    found = hashlib.blake2b(json_bytes(tree, "the data"), digest_size=DIGEST_BYTES)
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def stage_digest(stage: AnyStage, seed: int, *learnt_from: str) -> str:
    """A digest of what decides what a stage learns: its component, whose code it is, its parameters, which events it
    counts, the seed and id behind its random numbers, and digests of what it is `learnt_from`."""
    provider, component = stage.registered.provider, type(stage.component)
    told = (
        *(__version__, provider.distribution, provider.version, component.__qualname__, stage.component.state_version),
        *(_code_of(component), stage.id, seed, repr(stage.component), getattr(stage.settings, "history", None)),
        *learnt_from,
    )
    return digest_of(*told)


def settings_text(stage: AnyStage) -> str:
    """Everything that the config says of a stage."""
    return f"{replace(stage.settings, with_=None)!r} {dump(stage.settings.with_) if stage.settings.with_ else ''}"


def digest_of(*told: object) -> str:
    """A digest of texts, or of bytes, each kept apart from the next."""
    texts = (one if isinstance(one, bytes) else str(one).encode() for one in told)
    return hashlib.blake2b(b"\0".join(texts), digest_size=DIGEST_BYTES).hexdigest()


@functools.cache
def _code_of(component: type) -> str:
    """A digest of the module that defines a component: whoever writes one changes it between two runs of a study."""
    try:
        return digest_of(Path(inspect.getfile(component)).read_text("utf-8"))
    except (OSError, TypeError):
        return ""
