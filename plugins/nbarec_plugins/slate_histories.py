"""What the users of slates had before: what metrics compare slates with."""

from __future__ import annotations

from nbarec.batch import Slate
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.sparse import Csr


def histories_of(slate: Slate, data: Dataset) -> Events:
    """The training events of each row's user: B rows; none in the row of a user whom `data` does not know."""
    return data.events.take_rows(data.users.index(slate.users))


def owned_items(slate: Slate, data: Dataset) -> Csr:
    """The items of which each row's user has a training event of positive weight: (B x items). These are what a
    pipeline recommends to nobody again, unless it is told to."""
    history = histories_of(slate, data)
    liked = history.weight > 0
    return Csr.from_pairs(history.row[liked], history.item[liked], None, (history.rows, history.n_items))
