"""How often a user took an entry's item in contexts such as the request's: on this device, at this hour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nbarec.arrays import AnyArray, Floats64, Ints64
from nbarec.batch import Pool, Request
from nbarec.events import Events
from nbarec_plugins.context_levels import NO_LEVELS, ContextLevels
from nbarec_plugins.context_lifts import log_lift
from nbarec_plugins.feature_columns import Lines, ratio, word
from nbarec_plugins.item_groups import Cells


def context_lines(names: Sequence[str]) -> Lines:
    """The columns that `at_contexts` gives of these contexts."""
    lines = []
    for context in map(word, names):  # a step a context
        lines += [
            (f"pair_item_at_{context}", f"events of the user with the item at this {context}"),
            (f"pair_item_at_{context}_share", f"share of the item among the user's events at this {context}"),
            (f"pair_item_at_{context}_lift", f"log lift of the item at this {context} among the user's events"),
        ]
    most = "the most contexts of at that agree with this moment in an event of the user with the item"
    return [*lines, ("pair_item_at_all", most)] if lines else []


def at_contexts(
    contexts: Sequence[ContextLevels],
    past: Events,
    request: Request,
    pool: Pool,
    cells: Cells,
    at: Ints64,
    prior: float,
) -> dict[str, Floats64]:
    """The columns of `context_lines`, float64 [N] each.

    `cells` holds the pairs of a row and an item of `past`, `at` int64 [N] where each entry is among them; `prior` is
    that of `log_lift`.
    """
    told: dict[str, Floats64] = {}
    agreeing, any_known = np.zeros(len(past), np.int64), np.zeros(len(request), bool)
    for context in contexts:  # a step a context
        met = context.met(NO_LEVELS, past, request)
        both, item = (cells.counts_where(marked).take(at) for marked in (met.same, met.known))
        level, total = (_by_row(past, marked).take(pool.row) for marked in (met.same, met.known))
        name, wanted = f"pair_item_at_{word(context.name)}", met.asked.take(pool.row)
        told[name] = np.where(wanted, both, np.nan)
        told[f"{name}_share"] = ratio(both, level)
        told[f"{name}_lift"] = log_lift(both, item, level, np.maximum(total, 1), prior)
        agreeing += met.same
        any_known |= met.asked
    if contexts:
        most = np.zeros(cells.places, np.int64)
        np.maximum.at(most, cells.cell, agreeing)
        told["pair_item_at_all"] = np.where(any_known.take(pool.row), most.take(at), np.nan)
    return told


def _by_row(past: Events, marked: AnyArray) -> Ints64:
    """How many of the marked events each row has: int64 [rows]."""
    return np.bincount(past.row[marked], minlength=past.rows)
