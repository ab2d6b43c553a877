"""A saved model comes back bit for bit, is never half a model, and is never read wrongly in silence."""

from __future__ import annotations

import importlib.metadata
import mmap
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbarec import manifest, store
from nbarec.arrays import AnyArray
from nbarec.data import Dataset
from nbarec.errors import ContractError, StoreError
from nbarec.states import flatten
from nbarec.store import open_model, read_manifest, save
from nbarec.tables import CategoryColumn, Column, NumberColumn, Table

DTYPES = ["?", *(f"{order}{code}" for order in "<>" for code in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8"))]


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


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    arrays = {f"{dtype}-{at}": np.ones((2, 3)[:at], dtype) for dtype in DTYPES for at in range(3)}
    arrays |= {"empty": np.empty((0, 3), np.int8), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    arrays |= {"strided": np.arange(12.0).reshape(3, 4)[::2, ::-1], "../../x": np.zeros(1), "CON": np.zeros(2)}
    meta = {"config": "seed: 42\n", "stages": [{"id": "similar", "state_version": 1}], "unicode": "ü\ud800"}
    version = save(tmp_path / "a" / "b", {"data": dataset(), "candidates.similar": Model(arrays)}, meta)
    stored = open_model(tmp_path / "a" / "b")
    assert stored.folder == version
    assert stored.meta == meta
    assert stored.parts == ("data", "candidates.similar")
    assert same(stored.part("data", Dataset), dataset())
    back = stored.part("candidates.similar", Model)
    assert same(back, Model(arrays))
    assert back.arrays["fortran"].flags.f_contiguous
    assert not any(array.flags.writeable for array in back.arrays.values())
    assert {type(array) for array in back.arrays.values()} == {np.ndarray}
    owner: Any = back.arrays["fortran"]
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner, mmap.mmap)


def test_any_numpy_reads_the_files(tmp_path: Path) -> None:
    version = save(tmp_path, {"m": model(1)}, {})
    loaded = [np.load(path, allow_pickle=False) for path in sorted(version.glob("*.npy"))]
    assert all(np.array_equal(a, b) for a, b in zip(loaded, model(1).arrays.values(), strict=True))
    assert sorted(os.listdir(version)) == ["0000.npy", "0001.npy", "manifest.json"]


def test_the_same_contents_have_the_same_name_and_meta_changes_it(tmp_path: Path) -> None:
    names = [save(tmp_path / str(at), {"m": model(1)}, {"x": at // 2}).name for at in range(3)]
    assert names[0] == names[1] != names[2]
    again = save(tmp_path / "0", {"m": model(1)}, {"x": 0})
    assert again.name == names[0].replace("-0", "-1")
    assert sorted(os.listdir(tmp_path / "0")) == sorted(["CURRENT", "LOCK", again.name])


def test_the_manifest_alone(tmp_path: Path) -> None:
    save(tmp_path, {"m": model(1)}, {"digest": "abc"})
    (version_of(tmp_path) / "0000.npy").unlink()
    found = read_manifest(str(tmp_path))
    assert found["format"] == 1
    assert found["meta"] == {"digest": "abc"}
    assert found["parts"]["m"]["class"] == "Model"
    first = found["files"][0]
    assert (first["part"], first["array"], first["dtype"], first["shape"]) == ("m", "arrays.factors", "<f4", [300, 4])


def test_an_open_model_outlives_its_version(tmp_path: Path) -> None:
    save(tmp_path, {"m": model(1)}, {})
    old = open_model(tmp_path)
    save(tmp_path, {"m": old.part("m", Model)}, {"next": True})  # saved from its own maps
    save(tmp_path, {"m": model(2)}, {})
    assert same(old.part("m", Model), model(1))
    assert same(open_model(tmp_path).part("m", Model), model(2))


def test_a_reader_that_is_overtaken_reads_the_new_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, {"m": model(1)}, {})
    opened, calls = store._opened, []

    def overtaken(version: Path, verify: bool) -> store.Stored:
        calls.append(version)
        if len(calls) == 1:
            save(tmp_path, {"m": model(2)}, {})
        return opened(version, verify)

    monkeypatch.setattr(store, "_opened", overtaken)
    assert same(open_model(tmp_path).part("m", Model), model(2))
    assert len(calls) == 2


@pytest.mark.parametrize("bad", [{"x": {1}}, {"x": float("nan")}, {1: {(1, 2): 3}}])
def test_meta_that_json_can_not_say(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(ContractError, match="meta can't be written as JSON"):
        save(tmp_path / "x", {}, bad)
    assert not (tmp_path / "x").exists()


def test_states_that_can_not_be_saved_are_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"candidates.x can't be saved: state field 'arrays.a' is an array of <U1"):
        save(tmp_path / "x", {"candidates.x": Model({"a": np.array(["t"])})}, {})
    assert not (tmp_path / "x").exists()


def test_a_manifest_that_is_too_large_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, {"m": model(1)}, {})
    monkeypatch.setattr(store, "MAX_MANIFEST_BYTES", 100)
    with pytest.raises(ContractError, match="the manifest would have"):
        save(tmp_path, {"m": model(2)}, {})
    assert same(open_model(tmp_path).part("m", Model), model(1))
    assert len(os.listdir(tmp_path)) == 3
    monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", 100)
    with pytest.raises(StoreError, match="larger than 100 bytes"):
        open_model(tmp_path)


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        save(tmp_path / "file", {}, {})
    other = tmp_path / "other"
    other.mkdir()
    (other / "CURRENT").write_text("MANIFEST-000001\n")
    (other / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="holds something else than a model"):
        save(other, {}, {})
    assert sorted(os.listdir(other)) == ["CURRENT", "thesis.tex"]


def test_a_note_beside_a_model_stays(tmp_path: Path) -> None:
    save(tmp_path, {"m": model(1)}, {})
    (tmp_path / "NOTE.md").write_text("x")
    save(tmp_path, {"m": model(2)}, {})
    assert (tmp_path / "NOTE.md").read_text() == "x"


def test_a_damaged_model_can_be_saved_anew(tmp_path: Path) -> None:
    save(tmp_path, {"m": model(1)}, {})
    (tmp_path / "CURRENT").write_text("nonsense")
    save(tmp_path, {"m": model(2)}, {})
    assert same(open_model(tmp_path).part("m", Model), model(2))
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("reader", [open_model, read_manifest])
def test_no_model_says_how_to_make_one(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    with pytest.raises(StoreError, match=r"no model at .*missing; make one: nbarec fit CONFIG --model .*missing"):
        reader(tmp_path / "missing")
    with pytest.raises(StoreError, match="is not a saved model; make one: nbarec fit CONFIG --model"):
        reader(tmp_path)
    (tmp_path / "CURRENT").mkdir()
    with pytest.raises(StoreError, match="can't be read"):
        reader(tmp_path)


def test_parts_that_are_missing_or_of_another_class(tmp_path: Path) -> None:
    save(tmp_path, {"m": model(1)}, {})
    stored = open_model(tmp_path)
    with pytest.raises(StoreError, match="has no part 'x'; it has m"):
        stored.part("x", Model)
    with pytest.raises(StoreError, match=r"part 'm' of the model at .*: saved state: Model where Dataset is expected"):
        stored.part("m", Dataset)


def test_the_version_of_an_installed_nbarec_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} 9.9")
    save(tmp_path, {}, {})
    assert read_manifest(tmp_path)["nbarec"] == "nbarec 9.9"

    def not_installed(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    save(tmp_path, {}, {})
    assert read_manifest(tmp_path)["nbarec"] == "unknown"
