"""The manifest of a saved model: what every file must be, checked before anything else is looked at."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nbarec.arrays import AnyArray
from nbarec.durable import write_synced
from nbarec.errors import ContractError, StoreError
from nbarec.statecodecs import ARRAY_DTYPES

MANIFEST = "manifest.json"
FORMAT = 1
MAX_MANIFEST_BYTES = 64 * 2**20
MAX_DIMENSIONS = 64

_FILE_NAME = re.compile(r"[0-9]{4,9}\.npy")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LENGTH_END = 10  # magic, version and the header's own length come before the header


class Damaged(StoreError):
    """Something in a version's folder is not what was written there. The message says what, not yet what to do."""


@dataclass(frozen=True)
class ArrayFile:
    """One `.npy` file: `array` of `part`, with `size` in bytes, header included."""

    file: str
    part: str
    array: str
    dtype: str
    shape: tuple[int, ...]
    fortran_order: bool
    size: int
    sha256: str

    def header(self) -> bytes:
        """The only header this file may have, byte for byte (`.npy` format 1.0: Kern 2007)."""
        described = f"{{'descr': '{self.dtype}', 'fortran_order': {self.fortran_order}, 'shape': {self.shape}, }}"
        padding = -(_LENGTH_END + len(described) + 1) % 64
        header = f"{described}{' ' * padding}\n".encode("ascii")
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header

    @property
    def entry(self) -> dict[str, object]:
        """This file as the manifest lists it."""
        return {**asdict(self), "shape": list(self.shape)}

    def opened(self, folder: Path, verify: bool) -> AnyArray:
        """The array, memory-mapped and read-only. Raises Damaged where the file is not what the manifest says."""
        path = folder / self.file
        check_plain(path)
        header = self.header()
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != self.size:
                raise Damaged(f"{self.file} has {size} bytes, not {self.size}")
            if file.read(len(header)) != header:
                raise Damaged(f"{self.file} does not begin as an array of {self.dtype} and shape {self.shape} does")
            file.seek(0)
            if verify and hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
                raise Damaged(f"{self.file} has other contents than were written")
        return self._mapped(path, len(header))

    def _mapped(self, path: Path, offset: int) -> AnyArray:
        order: Literal["F", "C"] = "F" if self.fortran_order else "C"
        try:
            return np.asarray(np.memmap(path, self.dtype, "r", offset, self.shape, order))
        except (ValueError, OverflowError) as error:
            raise Damaged(f"{self.file} can't be mapped: {error}") from error


def write_array(folder: Path, file: str, part: str, name: str, array: AnyArray) -> ArrayFile:
    """Write one array, safe on disk when this returns. The digest is of the bytes in memory, not read back."""
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    body = np.ascontiguousarray(array.T if fortran else array).reshape(-1).view(np.uint8).data
    unsized = ArrayFile(file, part, name, array.dtype.str, tuple(array.shape), fortran, 0, "")
    header = unsized.header()
    digest = hashlib.sha256(header)
    digest.update(body)
    write_synced(folder / file, header, body)
    size = len(header) + body.nbytes
    return ArrayFile(file, part, name, unsized.dtype, unsized.shape, fortran, size, digest.hexdigest())


def json_bytes(value: object, what: str) -> bytes:
    """The JSON of a value. Raises ContractError where it has none."""
    try:
        return json.dumps(value, allow_nan=False, indent=1).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise ContractError(f"{what} can't be written as JSON: {error}") from error


def read_manifest_of(folder: Path, digest: str) -> tuple[dict[str, Any], tuple[ArrayFile, ...]]:
    """The manifest of one version, and its files. Raises Damaged where it is not the one with this digest (the
    first digits of its SHA-256), StoreError where it was written by a newer nbarec."""
    path = folder / MANIFEST
    check_plain(path)
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_MANIFEST_BYTES:
            raise Damaged(f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
        raw = file.read(MAX_MANIFEST_BYTES)
    if not hashlib.sha256(raw).hexdigest().startswith(digest):
        raise Damaged(f"{MANIFEST} has other contents than were written")
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{MANIFEST} is not JSON: {error}") from error
    return manifest, _checked(manifest)


def _checked(manifest: object) -> tuple[ArrayFile, ...]:
    if not isinstance(manifest, dict):
        raise Damaged(f"{MANIFEST} does not hold a mapping")
    known = manifest.get("format")
    if type(known) is not int or known != FORMAT:
        writer = str(manifest.get("nbarec"))[:40]
        raise StoreError(
            f"it has format {str(known)[:40]}, written by nbarec {writer}; this nbarec reads format {FORMAT}: "
            "install the one that wrote it, or fit again"
        )
    wanted = {"format": int, "nbarec": str, "meta": dict, "parts": dict, "files": list}
    for key, kind in wanted.items():
        if not isinstance(manifest.get(key), kind):
            raise Damaged(f"{MANIFEST} has no {key}, or not as a {kind.__name__}")
    files = tuple(_checked_file(entry, manifest["parts"]) for entry in manifest["files"])
    for names in ([file.file for file in files], [(file.part, file.array) for file in files]):
        if len(set(names)) < len(names):
            raise Damaged(f"{MANIFEST} lists a file or an array twice")
    return files


def _checked_file(entry: object, parts: Mapping[str, object]) -> ArrayFile:
    kinds = {"shape": list, "fortran_order": bool, "size": int}
    names = [*ArrayFile.__dataclass_fields__]
    if not isinstance(entry, dict) or entry.keys() != set(names):
        raise Damaged(f"{MANIFEST} lists a file without {', '.join(names)}")
    if any(type(entry[name]) is not kinds.get(name, str) for name in names):
        raise Damaged(f"{MANIFEST} lists a file with an entry of a wrong type")
    if not all(type(length) is int and length >= 0 for length in entry["shape"]):
        raise Damaged(f"{MANIFEST} lists an array with a shape that is none")
    file = ArrayFile(**{**entry, "shape": tuple(entry["shape"])})
    in_order = _FILE_NAME.fullmatch(file.file) and _SHA256.fullmatch(file.sha256) and file.part in parts
    if not in_order or file.dtype not in ARRAY_DTYPES or len(file.shape) > MAX_DIMENSIONS:
        raise Damaged(f"{MANIFEST} lists a file name, digest, part, dtype or shape that nbarec never writes")
    _check_size(file)
    return file


def _check_size(file: ArrayFile) -> None:
    makes = math.prod(file.shape) * np.dtype(file.dtype).itemsize
    if max(file.shape, default=0) >= 2**63 or len(file.header()) + makes != file.size:
        raise Damaged(f"{MANIFEST} gives {file.file} a size that its shape and dtype do not make")


def check_plain(path: Path, folder: bool = False) -> None:
    """Raises Damaged unless the path is an ordinary file (or folder), not a link to somewhere else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise Damaged(f"{path.name} is missing") from None
    if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        raise Damaged(f"{path.name} is not an ordinary {'folder' if folder else 'file'}")
