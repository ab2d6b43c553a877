"""Whatever changes on disk is found: flipped bits, cuts, forged manifests, links."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbarec import manifest
from nbarec.arrays import AnyArray
from nbarec.data import Dataset
from nbarec.errors import StoreError
from nbarec.states import flatten
from nbarec.store import open_model, save
from nbarec.tables import CategoryColumn, Column, NumberColumn, Table


@dataclass(frozen=True)
class Model:
    arrays: Mapping[str, AnyArray]
    number: float = 1.0


def model(seed: int, size: int = 300) -> Model:
    rng = np.random.default_rng(seed)
    return Model({"factors": rng.random((size, 4), np.float32), "order": rng.permutation(size)}, float(seed))


def dataset() -> Dataset:
    data = Dataset.from_arrays(["ü", "b", "ü"], [7, 7, 9], [1.0, 2.0, -1.5], kind=["x", "y", "x"])
    columns: dict[str, Column] = {
        "a.b/..\\": CategoryColumn.of(["rock", None]),
        "tempo": NumberColumn(np.array([np.nan, 1.0])),
    }
    return Dataset.of(data.users, data.items, data.events, Table(2, columns), data.audience)


def same(left: object, right: object) -> bool:
    (arrays, tree), (others, other_tree) = flatten(left), flatten(right)
    return (
        tree == other_tree
        and arrays.keys() == others.keys()
        and all(
            (a.dtype.str, a.shape, a.tobytes()) == (others[name].dtype.str, others[name].shape, others[name].tobytes())
            for name, a in arrays.items()
        )
    )


def version_of(folder: Path) -> Path:
    return folder / (folder / "CURRENT").read_text().strip()


def signed(folder: Path, changed: object) -> None:
    """Write another manifest into a saved model, with the digest that belongs to it."""
    raw = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
    version = version_of(folder)
    (version / "manifest.json").write_bytes(raw)
    name = f"{hashlib.sha256(raw).hexdigest()[:32]}-7"
    version.rename(folder / name)
    (folder / "CURRENT").write_text(f"{name}\n", newline="\n")


def flips(folder: Path, times: int) -> Iterator[tuple[Path, bytes]]:
    """Files of a model, each with the contents that a flipped bit or a cut leaves of it."""
    draw = random.Random(7)
    files = [folder / "CURRENT", *sorted(version_of(folder).iterdir())]
    for at in range(times):
        path = files[at % len(files)]
        raw = bytearray(path.read_bytes())
        if at % 5 == 4:
            yield path, bytes(raw[: draw.randrange(len(raw))])
        else:
            bit = draw.randrange(8 * len(raw))
            raw[bit // 8] ^= 1 << bit % 8
            yield path, bytes(raw)


def test_no_flipped_bit_and_no_cut_goes_unnoticed(tmp_path: Path) -> None:
    save(tmp_path, {"data": dataset(), "m": model(1)}, {"config": "seed: 42"})
    for path, damaged in flips(tmp_path, 300):
        whole = path.read_bytes()
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="fit it again: nbarec fit CONFIG --model"):
            open_model(tmp_path)
        path.write_bytes(whole)
    assert same(open_model(tmp_path).part("data", Dataset), dataset())


def test_headers_and_sizes_are_checked_without_digests_too(tmp_path: Path) -> None:
    path = save(tmp_path, {"m": Model({"a": np.arange(6.0).reshape(2, 3)})}, {}) / "0000.npy"
    whole = path.read_bytes()
    assert len(whole) == 128 + 48
    for bit in range(8 * 128):
        raw = bytearray(whole)
        raw[bit // 8] ^= 1 << bit % 8
        path.write_bytes(raw)
        with pytest.raises(StoreError, match=r"0000.npy does not begin as an array of <f8 and shape"):
            open_model(tmp_path, verify=False)
    for damaged in (whole[:-1], whole + b"\0", b""):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"0000.npy has .* bytes, not 176"):
            open_model(tmp_path, verify=False)
    path.write_bytes(whole)
    assert open_model(tmp_path, verify=False).part("m", Model).arrays["a"].sum() == 15


def nodes(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of a JSON tree stands."""
    yield path
    if isinstance(tree, dict | list):
        for key, inner in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from nodes(inner, (*path, key))


def mutated(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the tree with another value at a place; the value `del` stands for none."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    if len(path) == 1 and value == "del":
        del copy[path[0]]
    else:
        copy[path[0]] = mutated(copy[path[0]], path[1:], value)
    return copy


def test_forged_manifests_fail_cleanly_or_load(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    save(saved, {"data": dataset(), "m": model(1, 3)}, {"x": 1})
    original = json.loads((version_of(saved) / "manifest.json").read_bytes())
    draw = random.Random(3)
    values: list[Any] = [
        "del", None, True, -1, 0, 2**70, 1e308, "", "x", "../CURRENT", "0001.npy", "|O", "<U3", [], {}, [[]],
        {"array": "arrays.factors"}, {"class": "Model", "fields": {}}, [0, 2**70], [2**62, 2**62, 0], {"float": "inf"},
    ]  # fmt: skip
    places = list(nodes(original))
    refused = 0
    for _ in range(400):
        signed(saved, mutated(original, draw.choice(places), draw.choice(values)))
        try:
            stored = open_model(saved)
            stored.part("data", Dataset)
            stored.part("m", Model)
        except StoreError:
            refused += 1
    assert refused > 250
    signed(saved, original)
    assert same(open_model(saved).part("m", Model), model(1, 3))


def entry(**changes: object) -> dict[str, object]:
    fields = {"file": "0000.npy", "part": "m", "array": "a", "dtype": "<f4", "shape": [0], "fortran_order": False}
    return {**fields, "size": 128, "sha256": "0" * 64, **changes}


def whole(**changes: object) -> dict[str, object]:
    return {"format": 1, "nbarec": "1.0", "meta": {}, "parts": {"m": {}}, "files": [], **changes}


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"format": ' + b"9" * 5000 + b"}", "not JSON"),
        ([], "does not hold a mapping"),
        (whole(format=2, nbarec="9.0"), "it has format 2, written by nbarec 9.0; this nbarec reads format 1: install"),
        (whole(format=True), "it has format True"),
        ({"format": 1}, "has no nbarec"),
        (whole(files={}), "has no files, or not as a list"),
        (whole(files=[1]), "lists a file without file, part, array"),
        (whole(files=[entry(more=1)]), "lists a file without file, part, array"),
        (whole(files=[entry(size="1")]), "an entry of a wrong type"),
        (whole(files=[entry(size=True)]), "an entry of a wrong type"),
        (whole(files=[entry(shape=[-1])]), "a shape that is none"),
        (whole(files=[entry(shape=[1.0])]), "a shape that is none"),
        (whole(files=[entry(shape=[0] * 65)]), "that nbarec never writes"),
        (whole(files=[entry(shape=[2**70, 0])]), "a size that its shape and dtype do not make"),
        (whole(files=[entry(size=129)]), "a size that its shape and dtype do not make"),
        (whole(files=[entry(dtype="|O")]), "that nbarec never writes"),
        (whole(files=[entry(part="x")]), "that nbarec never writes"),
        (whole(files=[entry(sha256="0" * 63)]), "that nbarec never writes"),
        (whole(files=[entry(file="../0000.npy")]), "that nbarec never writes"),
        (whole(files=[entry(file="/0000.npy")]), "that nbarec never writes"),
        (whole(files=[entry(file="0000.npy\n")]), "that nbarec never writes"),
        (whole(files=[entry(), entry()]), "lists a file or an array twice"),
        (whole(files=[entry(), entry(file="0001.npy")]), "lists a file or an array twice"),
        (whole(files=[entry()]), "0000.npy is missing"),
    ],
)
def test_manifests_that_nbarec_never_writes(tmp_path: Path, forged: object, said: str) -> None:
    save(tmp_path, {}, {})
    signed(tmp_path, forged)
    with pytest.raises(StoreError, match=said):
        open_model(tmp_path)


def test_a_shape_that_can_not_be_mapped(tmp_path: Path) -> None:
    save(tmp_path, {"m": Model({"a": np.empty((0, 1))})}, {})
    changed = json.loads((version_of(tmp_path) / "manifest.json").read_bytes())
    changed["files"][0]["shape"] = [0, 2**62]
    header = manifest.ArrayFile("0000.npy", "m", "a", "<f8", (0, 2**62), False, 0, "").header()
    changed["files"][0] |= {"size": len(header), "sha256": hashlib.sha256(header).hexdigest()}
    (version_of(tmp_path) / "0000.npy").write_bytes(header)
    signed(tmp_path, changed)
    with pytest.raises(StoreError, match=r"0000.npy can't be mapped"):
        open_model(tmp_path)


def test_links_out_of_the_model_are_not_followed(tmp_path: Path) -> None:
    version = save(tmp_path / "m", {"m": model(1)}, {})
    for path in (version / "0000.npy", version / "manifest.json", version):
        moved = tmp_path / path.name
        path.rename(moved)
        try:
            path.symlink_to(moved)
        except OSError:
            pytest.skip("links are not allowed here")
        with pytest.raises(StoreError, match="is not an ordinary"):
            open_model(tmp_path / "m")
        path.unlink()
        with pytest.raises(StoreError, match="is missing"):
            open_model(tmp_path / "m")
        moved.rename(path)
    open_model(tmp_path / "m")
    (tmp_path / "link").symlink_to(tmp_path / "m")
    assert open_model(tmp_path / "link").parts == ("m",)
