"""How popular what each list shows is: what tells whether it lives from showing what everybody knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nbarec.model import Model

USERS = 200
"""So many users are served: a mean over their places is known well enough to draw it."""


def list_popularity(model: Model, stages: Sequence[str], places: int) -> Mapping[str, float]:
    """The events that an item on the first places of each stage's own list has, on average over users spread from those
    of fewest events to those of most; under "" those of the whole slates. NaN where nothing is shown."""
    counts = model.data.item_counts
    active = np.flatnonzero(model.data.events.counts > 0)
    order = active[np.argsort(model.data.events.counts[active], kind="stable")]
    at = np.unique(np.linspace(0, len(order) - 1, USERS).astype(np.int64)) if len(order) else order
    users = model.data.users.take(order[at])
    found = {}
    for stage in ("", *stages):  # a step a list
        shown = model.recommend(users, k=places, stage=stage or None).item
        events = counts[shown[shown >= 0]]
        found[stage] = float(events.mean()) if len(events) else float("nan")
    return found
