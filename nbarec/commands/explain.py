"""Commands that tell why: explain, similar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click

from nbarec.commands.terminal import context_option, heading, items_of, show_table
from nbarec.commands.writing import explanation_lines, item_names, score_text
from nbarec.errors import DataError
from nbarec.model import Model
from nbarec.outcomes import UserReasons
from nbarec.saved import load_model
from nbarec.similar import similar_items


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("user")
@click.argument("item", required=False)
@click.option("--history", metavar="ITEM,...", help="Items just liked, besides what is known of the user.")
@click.option("-k", type=click.IntRange(min=1), help="Places of the slate; the config's if left out.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="table, or json.")
@context_option
def explain(
    model: Path,
    user: str,
    item: str | None,
    history: str | None,
    k: int | None,
    form: str,
    context: Mapping[str, float | str],
) -> None:
    """Why does USER of the saved MODEL get ITEM, or why not? Without ITEM: the whole slate, and all other items.

    Every item of the catalogue has exactly one reason: it is in the slate, below it, removed by a filter, below the
    cut of a stage, left out as consumed, or never proposed.

    \b
    Example:
      nbarec explain runs/music/model U0001
      nbarec explain runs/music/model U0001 S0123 --context hour=21
    """
    loaded = load_model(model)
    why = loaded.why(user, k=k, history=items_of(history or ""), context=context)
    if form == "json":
        click.echo(json.dumps(_plain(why, item), indent=2, ensure_ascii=False))
    elif item is None:
        _show_slate(loaded, why)
    else:
        _show_item(loaded, why, item)


def _plain(why: UserReasons, item: str | None) -> dict[str, object]:
    if item is not None:
        outcome, explained = why.of_item(item)
        return {"item_id": item, "outcome": outcome, **({} if explained is None else explained.to_json())}
    ids = why.slate.items[0]
    shown = [{"item_id": one, **told.to_json()} for one, told in zip(ids, why.slate.explanations[0], strict=True)]
    return {"user_id": why.slate.users[0], "items": shown, "outcomes": why.outcomes.counts()}


def _show_slate(model: Model, why: UserReasons) -> None:
    click.echo(f"{why.slate.users[0]}: {why.slate.trace.road(0)}")
    if why.slate.decision[0]:
        click.echo(f"  ({why.slate.decision[0]})")
    shown = why.slate.item[0][why.slate.item[0] >= 0]
    names = item_names(model.data, shown)
    for rank, (one, name, told) in enumerate(zip(why.slate.items[0], names, why.slate.explanations[0], strict=True), 1):
        because = f": because {told.because}" if told.because else ""
        click.echo(f"  {rank}  {' '.join(filter(None, [str(one), name]))}{because}")
    heading(f"Where the {len(model.data.items):,} items are")
    show_table([[reason, f"{count:,}"] for reason, count in why.outcomes.counts().items()])


def _show_item(model: Model, why: UserReasons, item: str) -> None:
    outcome, explained = why.of_item(item)
    name = "" if explained is None else item_names(model.data, [explained.item])[0]
    click.echo(f"{' '.join(filter(None, [item, name]))} for {why.slate.users[0]}: {outcome}")
    if explained is not None:
        for line in explanation_lines(explained):
            click.echo(f"  {line}".rstrip())


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("item")
@click.option("--stage", metavar="ID", help="The generator that is asked; the first that has item vectors if left out.")
@click.option("-k", type=click.IntRange(min=1), default=10, help="How many items to show; 10.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="table, or json.")
def similar(model: Path, item: str, stage: str | None, k: int, form: str) -> None:
    """Show the items most like ITEM, as a generator of the saved MODEL sees them.

    By the cosine of its item vectors where it has them (als, nmf, pure_svd), else what it would propose to somebody of
    whom this item is all that is known.

    \b
    Example:
      nbarec similar runs/music/model S0123
      nbarec similar runs/music/model S0123 --stage similar -k 5
    """
    loaded = load_model(model)
    found = similar_items(loaded, item, k, stage)
    ids, names = loaded.data.items.texts(list(found.item)), item_names(loaded.data, list(found.item))
    scores = list(found.score)[: len(ids)]
    if form == "json":
        items = [{"item_id": one, "score": float(score_text(score))} for one, score in zip(ids, scores, strict=True)]
        click.echo(
            json.dumps({"item_id": item, "stage": found.stage, "measure": found.measure, "items": items}, indent=2)
        )
        return
    position = int(loaded.data.items.index([item])[0])
    click.echo(
        f"{' '.join([item, *item_names(loaded.data, [position])]).strip()}: like it by {found.stage} ({found.measure})"
    )
    if not ids:
        raise DataError(f"{found.stage} knows nothing that is like {item!r}; ask another stage with --stage")
    show_table([[one, score_text(score), name] for one, score, name in zip(ids, scores, names, strict=True)])
