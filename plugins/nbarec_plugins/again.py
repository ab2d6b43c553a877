"""Again: what the user took before, most of all in contexts such as this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints32, Ints64, concat_ranges
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, NoState, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec.kernels import TIE, best_first
from nbarec.params import Duration
from nbarec_plugins.context_levels import ContextLevels, agreeing, of_other_moments
from nbarec_plugins.event_features import Calendar, known_by_now, latest_of
from nbarec_plugins.sparse_rows import sums_at

MOST_CONTEXTS = 32
"""Which contexts of an event agree is a set of bits."""


@dataclass(frozen=True)
class Again(CandidateGenerator[NoState]):
    """Proposes the items of the user's own history, by how much he took them: music, apps and groceries are taken again
    and again, and how often and how lately an item was taken says which one is next (Anderson, Kumar, Tomkins and
    Vassilvitskii 2014, "The dynamics of repeat consumption").

    score = sum over the user's events with the item, up to `request.now`, of

        weight * 2^(-age / half_life) * elsewhere^(contexts of `across` in which the event differs from the request)

    The age is that before the user's last event, so that who was away for a year finds his items in the order in which
    he left them. The last factor is the kernel of Aitchison and Aitken (1976) for categories. Contexts are the event's
    column X and `context.X`, numbers by their whole part; hours agree where they lie at most `hours` apart, and the
    hour and the weekday are those of the moment where no column tells, `utc_offset` hours ahead of UTC. What is not
    known differs.

    Logs that hold an item once for each user and context, however often it was taken, say nothing more of a context
    once it is in them: what is there already can't come again. With `moment` naming the contexts of such a log, events
    that agree with the request in all of these are not counted, and its other moments speak for this one.

    An item whose score is not above 0 (more was disliked than liked) is not proposed, nor is anything to a user without
    a history. Stages exclude by default what the user has: write `exclude: weight < 0` beside it, or the like.

    >>> from nbarec.sparse import Csr
    >>> from nbarec.testing.worlds import request_for, tiny_world
    >>> data, again = tiny_world(), Again(half_life=Duration("20d"))
    >>> nothing = Csr.empty(1, len(data.items))
    >>> request = request_for(data, [0], excluded=nothing)  # anna: song 0 40 and 1 (liked) days ago, song 1 20 days ago
    >>> found = again.generate(again.fit(data, np.random.default_rng(0)), request, 10)
    >>> found.item.tolist(), [round(score, 2) for score in found.score.tolist()]
    ([0, 1], [3.26, 0.52])
    """

    name: ClassVar[str] = "again"

    half_life: Duration | None = param(
        None, gt=0, doc="An event so much older than the user's last one counts half; if left out, age does not count."
    )
    across: tuple[str, ...] = param((), doc="Contexts in which events such as this count more: place, device, hour.")
    elsewhere: float = param(
        0.5, gt=0, le=1, doc="What an event still counts for each context of across that was another, as a share."
    )
    moment: tuple[str, ...] = param(
        (), doc="Contexts in which the data hold an item only once a user; events that agree in all are not counted."
    )
    hours: int = param(2, ge=0, le=12, doc="Hours of the day agree across events that lie at most so many apart.")
    utc_offset: float = param(0.0, ge=-14, le=14, doc="Hours that the users' clock is ahead of UTC.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.across)) < len(self.across) or len(self.across) > MOST_CONTEXTS:
            raise ValueError(f"across must name each context once, and at most {MOST_CONTEXTS} of them")

    @property
    def _across(self) -> list[ContextLevels]:
        return [ContextLevels(one, Calendar(self.utc_offset), self.hours, self.name) for one in self.across]

    @property
    def _moment(self) -> list[ContextLevels]:
        return [ContextLevels(one, Calendar(self.utc_offset), 0, self.name, "moment") for one in self.moment]

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing is learnt. Raises ConfigError where the events have no times, or lack a context."""
        if self.half_life is not None and len(data.events) and not data.events.time.any():
            raise ConfigError(
                "again: half_life needs the time of each event; name its column in data.events.columns.time, or leave "
                "half_life out"
            )
        for context in (*self._across, *self._moment):
            context.check(data)
        return NoState()

    def update(self, state: NoState, data: Dataset, new: Dataset) -> NoState:
        """Nothing is learnt: histories come with the request."""
        return state

    def generate(self, state: NoState, request: Request, limit: int) -> Candidates:
        """The user's own items, those he took most first."""
        past = self._past(request)
        amount = self._amounts(past, agreeing(self._across, past, request))
        pair, place = np.unique(past.row * request.n_items + past.item, return_inverse=True)
        score, size = (sums_at(place.reshape(-1), value, len(pair)) for value in (amount, np.abs(amount)))
        excluded = np.isin(pair, request.excluded_pairs, assume_unique=True)
        # What likes and dislikes leave of each other may be no more than rounding.
        wanted = np.flatnonzero((score > TIE * size) & ~excluded)
        row, item = np.divmod(pair[wanted], max(request.n_items, 1))
        return best_first(row, item, score[wanted], len(request), limit)

    def evidence(self, state: NoState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """How often the user took the item, a part for each set of contexts that were as they are now; what he disliked
        of it is in the rest."""
        past = self._past(request)
        same = agreeing(self._across, past, request)
        amount = self._amounts(past, same)
        key, wanted = past.row * request.n_items + past.item, row.astype(np.int64) * request.n_items + item
        took = past.weight > 0
        takes = _Takes.of(key[took], same[:, took], amount[took])
        pair, part = takes.of_pairs(wanted)
        distinct, which = np.unique(wanted, return_inverse=True)
        place = np.searchsorted(distinct, key)
        here = np.append(distinct, -1).take(place) == key
        score = sums_at(place[here], amount[here], len(distinct)).take(which.reshape(-1))
        labels = takes.in_words(part, row[pair], self._words_now(request))
        return Evidence.strongest(pair, labels, takes.amount[part], score, limit, "you took it {}")

    def _past(self, request: Request) -> Events:
        return of_other_moments(self._moment, known_by_now(request), request)

    def _amounts(self, past: Events, same: Bools) -> Floats64:
        """What each event adds to the score of its item, float64 [events]; `same` bool [contexts, events]."""
        amount = past.weight.astype(np.float64)
        if self.half_life is not None:
            newest = latest_of(past.row, past.time, past.rows).take(past.row)
            amount *= np.exp2(np.minimum(past.time - newest, 0) / self.half_life)
        share = self.elsewhere ** np.arange(len(self.across), -1, -1)
        return np.asarray(amount * share.take(same.sum(axis=0)), np.float64)

    def _words_now(self, request: Request) -> list[list[str]]:
        """Of each context in `across`, what it is now: a text a row, such as `place home`."""
        told = []
        for context in self._across:  # a step a context
            levels, code = context.of_request(request)
            names = [*levels.texts(np.arange(len(levels))), "unknown"]  # the last for `NONE`, which is -1
            told.append([f"{context.name} {names[at]}" for at in code.tolist()])
        return told


@dataclass(frozen=True)
class _Takes:
    """Events by pair of a row and an item and by the set of contexts in which they agree with now: `key` int64 [P],
    ascending, is the pair of each part; `agreeing` bool [contexts, P], `times` int64 [P] and `amount` float64 [P]."""

    key: Ints64
    agreeing: Bools
    times: Ints64
    amount: Floats64

    @classmethod
    def of(cls, key: Ints64, agreeing: Bools, amount: Floats64) -> _Takes:
        """From the pair, the contexts and the amount of each event."""
        bits = 1 << np.arange(len(agreeing))
        sets, which = np.unique(bits @ agreeing, return_inverse=True)
        parts, place = np.unique(key * len(sets) + which.reshape(-1), return_inverse=True)
        pair, at = np.divmod(parts, max(len(sets), 1))
        place = place.reshape(-1)
        inside = (sets[at] & bits[:, None]) != 0
        return cls(pair, inside, np.bincount(place, minlength=len(parts)), sums_at(place, amount, len(parts)))

    def of_pairs(self, wanted: Ints64) -> tuple[Ints64, Ints64]:
        """All parts of each wanted pair: its position there and that of the part here, int64 [E] both."""
        first = np.searchsorted(self.key, wanted, side="left")
        counts = np.searchsorted(self.key, wanted, side="right") - first
        return np.repeat(np.arange(len(wanted)), counts), concat_ranges(first, counts)

    def in_words(self, part: Ints64, row: Ints32, now: list[list[str]]) -> list[str]:
        """What each part is called, such as `3 times with place home`; `now` holds what each context is in a row."""
        times = ["once" if count == 1 else f"{count:,} times" for count in self.times[part].tolist()]
        if not now:
            return times
        said = [""] * len(part)
        for words, same in zip(now, self.agreeing[:, part].tolist(), strict=True):  # a step a context
            told = zip(said, same, row.tolist(), strict=True)
            said = [
                f"{before}{' and ' if before else ''}{words[at]}" if is_now else before for before, is_now, at in told
            ]
        return [
            f"{count} with {when}" if when else f"{count} at other moments"
            for count, when in zip(times, said, strict=True)
        ]


@hookimpl
def nbarec_candidate_generators() -> list[type[Again]]:
    """The generators of this module."""
    return [Again]
