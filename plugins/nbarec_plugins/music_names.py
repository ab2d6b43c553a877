"""Made-up names for the music world: artists from invented syllables, titles from everyday words."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Text = npt.NDArray[np.str_]


def _words(text: str) -> Text:
    """The words of a text, one a cell."""
    return np.array(text.split())


ONSETS = _words("Bre Cal Dov Eri Fal Gim Hes Ilo Jur Kel Lum Mir Nov Ost Pel Quor Ras Sil Tam Vel")
MIDDLES = _words("a andi e ela i ima o oru u ynn")
ENDINGS = _words("bex dran fen ko lune maar nix quist rell sova tane vik")
SURNAMES = _words("Abren Belcor Dastrel Ekvane Forlind Grusk Hollivar Jendry Kastoi Lorvey Mandrix")
QUALITIES = _words(
    "Amber Broken Copper Distant Early Electric Endless Faded Folded Golden Hidden Hollow Honest Idle Kind "
    "Little Lonely Lucky Neon Northern Open Painted Paper Patient Quiet Restless Salted Second Silent Silver "
    "Slow Sudden Tall Tender Tidal Unsaid Velvet Waking Wild Winter"
)
THINGS = _words(
    "Afternoons Anchors Balconies Bridges Candles Clouds Corners Daydreams Doors Echoes Engines Feathers "
    "Fields Fires Gardens Harbours Highways Islands Kites Ladders Lanterns Letters Maps Mirrors Mountains "
    "Oceans Orchards Postcards Promises Rivers Rooms Satellites Shadows Signals Stairs Stations Summers "
    "Tides Windows Wires"
)
SETTINGS = np.array(
    ["", " Again", " at Dawn", " by the Sea", " for Two", " in June", " on Repeat", " Tonight", " Without You"]
)
ALBUM_FORMS = np.array(["", " Sessions", " (Live)", ", Volume One", " and Other Stories"])


def artist_names(count: int, rng: np.random.Generator) -> Text:
    """`count` different invented artist names, such as `Lumela Kastoi`."""
    given, surname = _mixed(count, (ONSETS.size * MIDDLES.size * ENDINGS.size, SURNAMES.size), rng)
    onset, middle, ending = np.unravel_index(given, (ONSETS.size, MIDDLES.size, ENDINGS.size))
    return _numbered(_concatenate(ONSETS[onset], MIDDLES[middle], ENDINGS[ending], " ", SURNAMES[surname]))


def album_names(count: int, rng: np.random.Generator) -> Text:
    """`count` different album names, such as `Paper Harbours, Volume One`."""
    quality, thing, form = _mixed(count, (QUALITIES.size, THINGS.size, ALBUM_FORMS.size), rng)
    return _numbered(_concatenate(QUALITIES[quality], " ", THINGS[thing], ALBUM_FORMS[form]))


def song_titles(count: int, rng: np.random.Generator) -> Text:
    """`count` different song titles, such as `Quiet Rivers at Dawn`."""
    quality, thing, setting = _mixed(count, (QUALITIES.size, THINGS.size, SETTINGS.size), rng)
    return _numbered(_concatenate(QUALITIES[quality], " ", THINGS[thing], SETTINGS[setting]))


def identifiers(prefix: str, count: int) -> Text:
    """`count` ids such as `S0001`, all of one width: four digits, more where the count needs them."""
    width = max(4, len(str(count)))
    return _concatenate(prefix, np.strings.zfill(np.arange(1, count + 1).astype(np.str_), width))


def join_levels(member: npt.NDArray[np.bool_], levels: Text, separator: str = "|") -> Text:
    """Multi-valued text, one row a cell: the levels of bool `member` (rows, levels), joined in level order."""
    joined: Text = np.full(member.shape[0], "", dtype=np.str_)
    # A loop over levels (a dozen), not over rows: text has no reduction along an axis.
    for level, name in enumerate(levels):
        link = np.where(joined == "", "", separator)
        joined = np.where(member[:, level], _concatenate(joined, link, str(name)), joined)
    return joined


def _mixed(count: int, sizes: tuple[int, ...], rng: np.random.Generator) -> tuple[npt.NDArray[np.intp], ...]:
    """Indices of `count` combinations in random order; none comes twice before all have come once."""
    combinations = rng.permutation(int(np.prod(sizes)))
    return np.unravel_index(np.resize(combinations, count), sizes)


def _numbered(names: Text) -> Text:
    """The names, with a number after those that the word lists were too short to keep apart."""
    _, code = np.unique(names, return_inverse=True)
    order = np.argsort(code, kind="stable")
    ordered = code[order]
    turn = np.empty(names.size, dtype=np.int64)
    turn[order] = np.arange(names.size) - np.searchsorted(ordered, ordered)
    return np.where(turn == 0, names, _concatenate(names, " ", (turn + 1).astype(np.str_)))


def _concatenate(*parts: Text | str) -> Text:
    """The parts put end to end, row by row."""
    joined: Text = np.asarray("", dtype=np.str_)
    # A loop over the handful of parts of a name, not over names.
    for part in parts:
        joined = np.strings.add(joined, np.asarray(part, dtype=np.str_))
    return joined
