"""Findings: what stages tell of what they learnt, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nbarec.components import Findings
from nbarec.contracts import guarded
from nbarec.errors import ContractError
from nbarec.model import Model


def findings_of(model: Model) -> dict[str, Any]:
    """What each stage that has `Findings` tells, by id, as JSON has it: a number that is not finite is None.

    A stage that could not be fitted tells nothing. Raises ContractError naming a stage whose findings are not plain.
    """
    told = {}
    for stage in model.pipeline.stages.all():  # a step a stage
        fitted, component = model.fitted[stage.id], stage.component
        if isinstance(component, Findings) and not fitted.failed:
            with guarded(stage.who, stage.mark):
                told[stage.id] = plain(component.findings(fitted.state), stage.who)
    return told


def plain(value: object, who: str, where: str = "findings") -> Any:
    """The same as numbers, texts, flags, None, lists and dicts by text. Raises ContractError naming what else there
    is."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case np.generic():
            return plain(value.item(), who, where)
        case np.ndarray():
            return plain(value.tolist(), who, where)
        case list() | tuple():
            return [plain(one, who, f"{where}[{at}]") for at, one in enumerate(value)]
        case Mapping() if all(isinstance(name, str) for name in value):
            return {name: plain(one, who, f"{where}.{name}") for name, one in value.items()}
    raise ContractError(
        f"{who}: {where} is {type(value).__name__}; give numbers, texts, lists and mappings by text of these"
    )
