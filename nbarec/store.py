"""Saved models: a folder of memory-mapped arrays that is always the old model or the new one.

    DIR/CURRENT                    the name of the live version
    DIR/<version>/manifest.json    what it holds: meta, the parts' trees, size and SHA-256 of every file
    DIR/<version>/0000.npy ...     the arrays
    DIR/LOCK                       held while somebody saves

A version is named after the digest of its manifest, and the manifest holds the digest of every file, so whatever
changes on disk is found. A version is written beside the live one, made safe on disk and renamed, and only then is
`CURRENT` replaced: a process that is killed at any moment leaves a model that loads.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from nbarec.arrays import AnyArray
from nbarec.durable import locked, remove, sync_folder, write_synced
from nbarec.errors import ContractError, StoreError
from nbarec.manifest import (
    FORMAT,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Damaged,
    check_plain,
    json_bytes,
    read_manifest_of,
    write_array,
)
from nbarec.states import flatten, unflatten
from nbarec.statescalars import Tree

S = TypeVar("S")
T = TypeVar("T")
Flat = tuple[dict[str, AnyArray], dict[str, Tree]]

CURRENT = "CURRENT"
LOCK = "LOCK"
_DIGEST_LENGTH = 32
_VERSION = re.compile(rf"[0-9a-f]{{{_DIGEST_LENGTH}}}-[0-9]{{1,9}}")
_WORKING = re.compile(r"\.new-[0-9a-f]{16}")
_verified: set[tuple[str, int, int]] = set()
"""Versions whose digests this process has checked: folder, inode and time of the last change. They never change."""


@dataclass(frozen=True)
class Stored:
    """A saved model that was opened: `folder` of its version, its `manifest`, its arrays memory-mapped by part."""

    folder: Path
    manifest: Mapping[str, Any]
    arrays: Mapping[str, Mapping[str, AnyArray]]

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the one who saved it wrote down beside the parts."""
        meta: dict[str, Any] = self.manifest["meta"]
        return meta

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the states that were saved, in order."""
        return tuple(self.manifest["parts"])

    def part(self, name: str, cls: type[S]) -> S:
        """One state, as an instance of `cls`; its arrays are read from disk when they are used.

        Raises StoreError where there is no such part, or where it does not fit the class.
        """
        if name not in self.manifest["parts"]:
            raise StoreError(f"the model at {self.folder} has no part {name!r}; it has {', '.join(self.parts)}")
        try:
            return unflatten(cls, self.arrays[name], self.manifest["parts"][name])
        except StoreError as error:
            raise StoreError(f"part {name!r} of the model at {self.folder}: {error}") from error


def save(folder: Path | str, parts: Mapping[str, object], meta: Mapping[str, object]) -> Path:
    """Save states and what belongs to them as the new version of the model at `folder`; returns the version's folder.

    `meta` is anything JSON can say. Raises ContractError where a state or `meta` can't be saved (nothing is written
    then), StoreError where the folder holds something else or can't be written, or another process is saving there.
    """
    folder = Path(folder)
    json_bytes(meta, "meta")
    flat = {name: _flattened(name, state) for name, state in parts.items()}
    try:
        _refuse_other_folders(folder)
        if not folder.exists():
            folder.mkdir(parents=True)
            sync_folder(folder.parent)
        with locked(folder / LOCK):
            return _write_version(folder, flat, meta)
    except OSError as error:
        raise StoreError(
            f"the model can't be saved at {folder}: {error}; a model that was saved there before still loads"
        ) from error


def open_model(folder: Path | str, verify: bool | None = True) -> Stored:
    """The model at `folder`, memory-mapped. Every file is checked by name, type, size and header before it is mapped,
    and with `verify` by its SHA-256; None checks that the first time that this process opens a version.

    Raises StoreError where there is no model, or where it is damaged.
    """
    return _of_live_version(Path(folder), lambda version: _opened(version, verify))


def read_manifest(folder: Path | str) -> Mapping[str, Any]:
    """The manifest of the model at `folder` alone: `meta`, `parts` and `files`. Raises StoreError as `open_model`."""
    return _of_live_version(Path(folder), lambda version: read_manifest_of(version, _digest_of(version))[0])


def _flattened(name: str, state: object) -> Flat:
    try:
        return flatten(state)
    except ContractError as error:
        raise ContractError(f"{name} can't be saved: {error}") from error


def _refuse_other_folders(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file; give the folder to save the model in")
    ours = all(name in (CURRENT, LOCK) or _VERSION.fullmatch(name) or _is_working(name) for name in os.listdir(folder))
    if not ours and _live_or_none(folder) is None:
        raise StoreError(f"{folder} holds something else than a model, and is left as it is; give another folder")


def _write_version(folder: Path, flat: Mapping[str, Flat], meta: Mapping[str, object]) -> Path:
    working = folder / _working_name()
    try:
        working.mkdir()
        raw = _write_files(working, flat, meta)
        sync_folder(working)
        version = _free_name(folder, hashlib.sha256(raw).hexdigest()[:_DIGEST_LENGTH])
        working.rename(folder / version)
        sync_folder(folder)
        write_synced(working, f"{version}\n".encode("ascii"))
        working.replace(folder / CURRENT)
        sync_folder(folder)
        return folder / version
    finally:
        _sweep(folder)


def _write_files(working: Path, flat: Mapping[str, Flat], meta: Mapping[str, object]) -> bytes:
    named = [(part, name, array) for part, (arrays, _) in flat.items() for name, array in arrays.items()]
    files = [write_array(working, f"{at:04}.npy", *found).entry for at, found in enumerate(named)]
    trees = {part: tree for part, (_, tree) in flat.items()}
    manifest = {"format": FORMAT, "nbarec": _own_version(), "meta": meta, "parts": trees, "files": files}
    raw = json_bytes(manifest, "the manifest")
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ContractError(
            f"the manifest would have {len(raw):,} bytes, more than {MAX_MANIFEST_BYTES:,}; "
            "a state with that many texts or numbers should hold them as arrays and Ids"
        )
    write_synced(working / MANIFEST, raw)
    return raw


def _sweep(folder: Path) -> None:
    """Remove what is left of earlier versions and of saves that failed. What can't be removed stays for next time."""
    live = _live_or_none(folder)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if _is_working(name):
                remove(folder / name)
            elif live and live != name and _VERSION.fullmatch(name):
                _retire(folder / name)


def _retire(version: Path) -> None:
    """Renamed first: a version that is open on Windows can't be, and stays whole; no other is ever seen half gone."""
    gone = version.with_name(_working_name())
    with contextlib.suppress(OSError):
        version.rename(gone)
        remove(gone)


def _of_live_version(folder: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of the live version's folder; anew where another version went live meanwhile."""
    while True:
        live = _live_version(folder)
        try:
            return read(folder / live)
        except (StoreError, OSError) as error:
            # Each further round needs a writer that replaced the pointer since: this ends.
            if _live_or_none(folder) == live:
                raise _told(folder, error) from error


def _told(folder: Path, error: Exception) -> StoreError:
    if isinstance(error, Damaged):
        return StoreError(f"the model at {folder} is damaged: {error}; {_fit_again(folder)}")
    return StoreError(f"the model at {folder} can't be read: {error}")


def _opened(version: Path, verify: bool | None) -> Stored:
    manifest, files = read_manifest_of(version, _digest_of(version))
    found = version.stat()
    known = str(version.resolve()), found.st_ino, found.st_mtime_ns
    if verify is None:
        verify = known not in _verified
    arrays: dict[str, dict[str, AnyArray]] = {part: {} for part in manifest["parts"]}
    for file in files:
        arrays[file.part][file.array] = file.opened(version, verify)
    if verify:
        _verified.add(known)
    return Stored(version, manifest, arrays)


def _live_version(folder: Path) -> str:
    """The name that `CURRENT` holds. Raises StoreError where there is none."""
    if not folder.is_dir():
        raise StoreError(f"there is no model at {folder}; make one: nbarec fit CONFIG --model {folder}")
    try:
        with (folder / CURRENT).open("rb") as file:
            name = file.read(100).decode("ascii", errors="replace")
    except FileNotFoundError:
        raise StoreError(f"{folder} is not a saved model; make one: nbarec fit CONFIG --model NEW_FOLDER") from None
    except OSError as error:
        raise StoreError(f"the model at {folder} can't be read: {error}") from error
    if not name.endswith("\n") or not _VERSION.fullmatch(name[:-1]):
        raise StoreError(f"the model at {folder} is damaged: {CURRENT} names no version; {_fit_again(folder)}")
    return name[:-1]


def _live_or_none(folder: Path) -> str | None:
    try:
        return _live_version(folder)
    except StoreError:
        return None


def _digest_of(version: Path) -> str:
    check_plain(version, folder=True)
    return version.name.partition("-")[0]


def _free_name(folder: Path, digest: str) -> str:
    return next(name for at in count() if not os.path.lexists(folder / (name := f"{digest}-{at}")))


def _working_name() -> str:
    return f".new-{secrets.token_hex(8)}"


def _is_working(name: str) -> bool:
    return _WORKING.fullmatch(name) is not None


def _fit_again(folder: Path) -> str:
    return f"fit it again: nbarec fit CONFIG --model {folder}"


def _own_version() -> str:
    try:
        return importlib.metadata.version("nbarec")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
