"""A model in a folder: its config, its data and every stage's state."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from nbarec.components import NoState
from nbarec.data import Dataset
from nbarec.errors import ConfigError, ContractError, PluginError, StoreError
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.plugins import registry
from nbarec.providers import KINDS
from nbarec.stages import AnyStage, Fitted
from nbarec.store import Stored, open_model, save

DATA = "data"
KIND_OF = {spec.section: kind for kind, spec in KINDS.items()}


@dataclass(frozen=True)
class Recorded:
    """What a saved model says of one stage."""

    id: str
    section: str
    component: str
    distribution: str
    version: str
    state_version: int
    n_items: int
    seconds: float
    failed: str
    entry: str = ""

    @classmethod
    def of(cls, stage: AnyStage, fitted: Fitted) -> Recorded:
        """The record of a fitted stage."""
        provider = stage.registered.provider
        return cls(
            id=stage.id,
            section=stage.section,
            component=stage.registered.component.name,
            distribution=provider.distribution,
            version=provider.version,
            state_version=stage.component.state_version,
            n_items=fitted.n_items,
            seconds=round(fitted.seconds, 3),
            failed=fitted.failed,
            entry=provider.entry,
        )

    @property
    def who(self) -> str:
        """The stage, its component, and the distribution and entry point that it came from."""
        entry = f" (entry point {self.entry})" if self.entry else ""
        return f"stage {self.id} uses {self.component} of {self.requirement}{entry}"

    @property
    def requirement(self) -> str:
        """What pip can install."""
        return f"{self.distribution}=={self.version}"


def save_model(model: Model, folder: str | Path) -> Path:
    """Write the model to `folder`; a reader sees the old model or the new one. Raises StoreError."""
    for stage in model.pipeline.stages.all():
        if state_type(stage) is None and not isinstance(model.fitted[stage.id].state, NoState):
            raise ContractError(f"{stage.who}: fit does not say what it returns; write def fit(...) -> its state")
    records = [Recorded.of(stage, model.fitted[stage.id]) for stage in model.pipeline.stages.all()]
    text = model.pipeline.text
    meta = {
        "config": text,
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "counts": counts_of(model.data),
        "stages": [vars(record) for record in records],
    }
    states = {f"stage.{stage}": fitted.state for stage, fitted in model.fitted.items()}
    save(folder, {DATA: model.data, **states}, meta)
    return Path(folder)


def load_model(
    folder: str | Path, *, verify: bool | None = None, overrides: Mapping[str, object] | None = None
) -> Model:
    """The model in `folder`, memory-mapped. `verify` checks the digest of every file, a second for each gigabyte; left
    out, that is done the first time that a process loads a version. `overrides` are other values for its `data`
    section, such as {"data.on_bad_row": "skip"}: how new events are to be read and weighed; or for `engine`.

    Raises StoreError where it is missing, damaged, or needs a plugin that is not installed, ConfigError for an
    override of anything that was learnt with.
    """
    for path in overrides or {}:
        if not path.startswith(("data.", "engine.")):
            raise ConfigError(f"{path} can't be changed in a fitted model; fit again with --set {path}=...")
    stored = open_model(folder, verify=verify)
    records = recorded(stored.meta, folder)
    _require_plugins(records, folder)
    pipeline = Pipeline.serving(str(stored.meta["config"]), f"{folder}: config", overrides)
    fitted = {
        stage.id: _fitted(stage, record, stored, folder)
        for stage, record in zip(pipeline.stages.all(), records, strict=True)
    }
    return Model(pipeline, stored.part(DATA, Dataset), fitted)


def recorded(meta: Mapping[str, Any], folder: str | Path) -> list[Recorded]:
    """The stages that a saved model's manifest lists; needs no plugin."""
    try:
        return [Recorded(**record) for record in meta["stages"]]
    except (KeyError, TypeError) as error:
        raise StoreError(f"{folder}: the manifest does not list its stages ({error}); fit the model again") from error


def state_type(stage: AnyStage) -> Any:
    """The type of a stage's state, as its `fit` says; None where it does not."""
    return get_type_hints(type(stage.component).fit).get("return")


def counts_of(data: Dataset) -> dict[str, int]:
    """How large a dataset is."""
    return {"users": len(data.users), "items": len(data.items), "events": len(data.events), "as_of": data.as_of}


def _require_plugins(records: list[Recorded], folder: str | Path) -> None:
    missing = []
    for record in records:
        try:
            registry().find(KIND_OF[record.section], f"{record.distribution}/{record.component}")
        except PluginError as error:
            missing.append(f"  {record.who}: {error}")
    if missing:
        raise StoreError("\n".join([f"{folder}: install what the model needs, or fit it again without:", *missing]))


def _fitted(stage: AnyStage, record: Recorded, stored: Stored, folder: str | Path) -> Fitted:
    if stage.component.state_version != record.state_version:
        raise StoreError(
            f"{folder}: {record.who}, whose state was of version {record.state_version}; the installed one reads "
            f"version {stage.component.state_version}: fit the model again"
        )
    kind = NoState if record.failed else state_type(stage) or NoState
    return Fitted(stored.part(f"stage.{stage.id}", kind), record.n_items, record.seconds, record.failed)
