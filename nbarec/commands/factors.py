"""The command that shows what a model's latent factors stand for."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import click
import numpy as np

from nbarec.arrays import Floats64, Ints64
from nbarec.commands.terminal import progress
from nbarec.commands.writing import item_names
from nbarec.data import Dataset
from nbarec.factors import STRONGEST, Factors, Pole
from nbarec.reports import aligned
from nbarec.saved import load_model
from nbarec.tables import CategoryColumn, NumberColumn, Table, TagsColumn
from nbarec.traits import NO_TRAITS, Trait, reasons_of

WIDTH = 100
SIGNS = {1: "+", -1: "-"}

USER_FACTORS, USER_SHARE = 10, 0.1
"""Of a user's loadings at most so many are shown, and none below this share of his largest."""


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--stage", metavar="ID", help="The generator; may be left out where only one has latent factors.")
@click.option("--user", "users", multiple=True, metavar="ID", help="Show a user's factors instead; may be repeated.")
@click.option("--items", type=click.IntRange(min=1, max=STRONGEST), default=5, help="Items to show of each; 5.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="table, or json.")
def factors(model: Path, stage: str | None, users: tuple[str, ...], items: int, form: str) -> None:
    """Show what the latent factors of the saved MODEL stand for.

    Each factor comes with its strongest items and a label: the levels and numbers of the catalogue that its 20
    strongest items, weighted by loading, share far beyond chance (log-odds against the rest of the catalogue under a
    Dirichlet prior, in standard errors); "mixed" where nothing stands out.

    Factors without negative values, such as those of nmf, are shown as they are. Others, such as those of als, are
    arbitrary up to a rotation: they are turned to simple structure first (varimax), and have two ends, + and -, which
    are shown where they hold strong items. Users are turned alike.

    \b
    Example:
      nbarec factors runs/music/model
      nbarec factors runs/music/model --stage latent --user U0001 --format json
    """
    with progress():
        loaded = load_model(model)
    found = Factors.of(loaded, stage)
    loadings = found.user_loadings(loaded, users) if users else np.zeros((0, found.loadings.shape[1]))
    if form == "json":
        click.echo(json.dumps(_whole(found, loaded.data, items, users, loadings), ensure_ascii=False, indent=1))
        return
    click.echo(_title(found))
    if not _features(loaded.data.catalog):
        click.echo("The items have no columns that a label could be taken from; add some to data.items.")
    paragraphs = [_user_lines(user, row, found) for user, row in zip(users, loadings, strict=True)]
    for lines in paragraphs or [_pole_lines(pole, found, loaded.data, items) for pole in found.poles]:
        click.echo()
        click.echo("\n".join(lines))


def _title(found: Factors) -> str:
    rows, width = found.loadings.shape
    how = "as they are" if found.rotation is None else "turned by varimax"
    empty = width - len({pole.factor for pole in found.poles})
    blank = f"; {empty} of them empty" if empty else ""
    return f"{found.stage.id} ({_component(found)}): {width} factors over {rows:,} items, {how}{blank}"


def _component(found: Factors) -> str:
    return found.stage.registered.component.name


def _pole_lines(pole: Pole, found: Factors, data: Dataset, most: int) -> list[str]:
    """The label with its reasons, and the strongest items under it."""
    shown = pole.items[:most]
    columns = [
        [f"{loading:.3g}" for loading in pole.loading[:most].tolist()],
        data.items.texts(shown),
        item_names(data, shown),
        _features_text(data.catalog, shown, pole.traits),
    ]
    cells = zip(*(column for column in columns if any(column)), strict=True)
    return [*_label_lines(pole, found), *(_clipped(f"      {line}") for line in aligned(list(cells)).splitlines())]


def _label_lines(pole: Pole, found: Factors) -> list[str]:
    reasons = f" ({reasons_of(pole.traits)})" if pole.traits else ""
    return textwrap.wrap(f"{_number(pole, found):>4}  {pole.label}{reasons}", WIDTH, subsequent_indent="      ")


def _number(pole: Pole, found: Factors) -> str:
    return str(pole.factor) if found.rotation is None else f"{pole.factor}{SIGNS[pole.sign]}"


def _clipped(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def _features_text(catalog: Table, items: Ints64, traits: Sequence[Trait]) -> list[str]:
    """What is known of each item, the columns that the label speaks of first."""
    names = dict.fromkeys([trait.column for trait in traits] + _features(catalog))
    columns = [_named(name, catalog, items) for name in names]
    return ["; ".join(filter(None, cells)) for cells in zip(*columns, strict=True)] or [""] * len(items)


def _features(catalog: Table) -> list[str]:
    return [name for name in catalog.columns if name not in NO_TRAITS]


def _named(name: str, catalog: Table, items: Ints64) -> list[str]:
    """The cells of a column as they stand in a line: a level speaks for itself, a number needs its name."""
    speaks = isinstance(catalog.columns[name], CategoryColumn | TagsColumn)
    return ["" if text == "-" else text if speaks else f"{name} {text}" for text in catalog.labels(name, items)]


def _user_lines(user: str, loadings: Floats64, found: Factors) -> list[str]:
    """The user's strongest factors, with their labels."""
    shown = _strongest(loadings)
    if not len(shown):
        return [f"{user}: no factors; {found.stage.id} finds nothing to read in the history"]
    rows = [
        [str(factor + 1), f"{loadings[factor]:.3g}", _meaning(factor, loadings, found)] for factor in shown.tolist()
    ]
    return [f"{user}:", *(_clipped(f"  {line}") for line in aligned([["factor", "loading", ""], *rows]).splitlines())]


def _meaning(factor: int, loadings: Floats64, found: Factors) -> str:
    """The label of the end that the user leans to, or of the one that he leans away from where only that has one."""
    sign = 1 if loadings[factor] > 0 else -1
    if (pole := found.pole(factor + 1, sign)) is not None:
        return pole.label
    other = found.pole(factor + 1, -sign)
    return "" if other is None else f"away from: {other.label}"


def _strongest(loadings: Floats64) -> Ints64:
    """Factors by the size of a user's loadings, largest first; those far below the largest are left out."""
    size = np.abs(loadings)
    order = np.argsort(-size, kind="stable")[:USER_FACTORS]
    return np.asarray(order[(size[order] > 0) & (size[order] >= USER_SHARE * size.max(initial=0.0))])


def _whole(found: Factors, data: Dataset, most: int, users: Sequence[str], loadings: Floats64) -> Mapping[str, object]:
    """All of it for a program: every pole, and every loading of the users."""
    return {
        "stage": found.stage.id,
        "component": _component(found),
        "rotated": found.rotation is not None,
        "factors": [_pole_object(pole, data, most) for pole in found.poles],
        "users": [_user_object(user, row, found) for user, row in zip(users, loadings, strict=True)],
    }


def _pole_object(pole: Pole, data: Dataset, most: int) -> Mapping[str, object]:
    shown = pole.items[:most]
    features = zip(*(_values(data.catalog, name, shown) for name in _features(data.catalog)), strict=True)
    names = [name or None for name in item_names(data, shown)]
    cells = zip(data.items.take(shown), names, pole.loading.tolist(), list(features) or [()] * len(shown), strict=False)
    return {
        "factor": pole.factor,
        "sign": SIGNS[pole.sign],
        "label": pole.label,
        "traits": [asdict(trait) for trait in pole.traits],
        "items": [
            {"item_id": item, "name": name, "loading": loading, "features": dict(known)}
            for item, name, loading, known in cells
        ],
    }


def _values(catalog: Table, name: str, items: Ints64) -> list[tuple[str, object]]:
    """The column's name with each cell: a number, a text, a list of tags; None where it is missing."""
    column = catalog.columns[name]
    cells: Iterable[object] = catalog.labels(name, items)
    if isinstance(column, NumberColumn):
        cells = column.values[items].tolist()
    elif isinstance(column, TagsColumn):
        tags = column.take(items).matrix
        listed = column.levels.texts(tags.indices)
        cells = [listed[start:stop] for start, stop in pairwise(tags.indptr.tolist())]
    return [(name, None if cell == "-" or cell != cell else cell) for cell in cells]


def _user_object(user: str, loadings: Floats64, found: Factors) -> Mapping[str, object]:
    strongest = np.argsort(-np.abs(loadings), kind="stable").tolist()
    return {
        "user_id": user,
        "factors": [
            {"factor": factor + 1, "loading": float(loadings[factor]), "label": _meaning(factor, loadings, found)}
            for factor in strongest
            if loadings[factor] != 0
        ],
    }
