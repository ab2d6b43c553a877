"""Commands that start from a saved model: recommend, update, inspect."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import click

from nbarec.batch import Slate
from nbarec.commands.findings import show_feature_columns, show_what_was_found
from nbarec.commands.terminal import (
    context_option,
    counts,
    heading,
    items_of,
    progress,
    set_option,
    show_data,
    show_failed,
    show_table,
    watched,
)
from nbarec.commands.writing import Format, write_slates
from nbarec.errors import DataError
from nbarec.ids import TextOrNumber
from nbarec.model import Model
from nbarec.reports import replacing
from nbarec.saved import load_model, recorded
from nbarec.store import read_manifest

FORMATS: Mapping[str, Format] = {".csv": "csv", ".jsonl": "jsonl"}


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--user", "users", multiple=True, metavar="ID", help="A user; may be repeated.")
@click.option("--users", "file", type=click.Path(path_type=Path), help="A file with a user id a line.")
@click.option("--all", "everybody", is_flag=True, help="Every user that the model knows.")
@click.option(
    "--history",
    metavar="ITEM,...",
    help="Items just liked: by a new user, or besides what is known; an id with a comma in quotes.",
)
@click.option("--among", metavar="ITEM,...", help="The only items that may be shown; all if left out.")
@click.option("-k", type=click.IntRange(min=1), help="Places of the slate; the config's if left out.")
@click.option("--stage", metavar="ID", help="One generator's or ranker's own list instead of the slate.")
@click.option("--explain", is_flag=True, help="Tell of every item why it is there, in each format.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "jsonl"]), help="table, or as --output ends.")
@click.option("--output", type=click.Path(path_type=Path), help="Write here instead of to standard output.")
@context_option
def recommend(
    model: Path,
    users: tuple[str, ...],
    file: Path | None,
    everybody: bool,
    history: str | None,
    among: str | None,
    k: int | None,
    stage: str | None,
    explain: bool,
    form: Format | None,
    output: Path | None,
    context: Mapping[str, float | str],
) -> None:
    """Recommend with the saved MODEL. Unknown users are served too.

    CSV has the columns user_id,rank,item_id,score (rank from 1), and because with --explain.

    \b
    Example:
      nbarec recommend runs/music/model --user U0001 --user U0002 -k 5 --context hour=21
      nbarec recommend runs/music/model --history S0001,S0002
      nbarec recommend runs/music/model --all --format csv --output slates.csv
    """
    if sum([bool(users), file is not None, everybody]) > 1:
        raise click.UsageError("give one of --user, --users and --all")
    if not (users or file or everybody or history):
        raise click.UsageError("say for whom: --user ID, --users FILE, --all, or --history ITEM,...")
    loaded = load_model(model)
    _warn_of_unread(context, loaded.pipeline.text)
    asked = loaded.data.users if everybody else _listed(file) if file else users or None
    only = None if among is None else items_of(among)
    slates = loaded.stream(
        asked, k=k, history=items_of(history or ""), context=context, stage=stage, among=only, explain=explain
    )
    chosen = form or (FORMATS.get(output.suffix, "table") if output else "table")
    with progress(), _opened(output) as opened:
        # A bar and a table would share the terminal.
        written = write_slates(
            watched(slates, len(asked or [0])) if output else slates, opened, chosen, loaded.data, explained=explain
        )
    if output:
        click.echo(f"{written:,} users written to {output}", err=True)


def _noting(slates: Iterator[Slate]) -> Iterator[Slate]:
    """The same slates; a stage that was skipped is told of once."""
    told: set[str] = set()
    for slate in slates:
        for one in slate.trace.stages:
            if one.note and one.stage not in told:
                told.add(one.stage)
                click.echo(f"Note: {one.stage}: {one.note}", err=True)
        yield slate


def _warn_of_unread(context: Mapping[str, object], config: str) -> None:
    """A misspelt key of the context changes nothing; whoever gave it should know."""
    read = set(re.findall(r"\bcontext\.(\w+)", config))
    for key in sorted(set(context) - read):
        known = f"; it reads {', '.join(sorted(read))}" if read else ""
        click.echo(f"Note: nothing in the model's config reads context.{key}{known}", err=True)


def _listed(file: Path) -> Sequence[TextOrNumber]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read ({error}); give a UTF-8 text file with a user id a line") from error
    # Only the line's end is taken off: ids are what the user wrote, spaces and all.
    users = [line.removesuffix("\r") for line in lines if line.strip()]
    if not users:
        raise DataError(f"{file} lists no user; write an id a line")
    return users


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as file:
        yield file


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("events", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Save here; in place of MODEL if left out.")
@set_option
def update(model: Path, events: Path, output: Path | None, overrides: Mapping[str, str]) -> None:
    """Add the EVENTS of a file (columns as in the model's config) to the saved MODEL, without a refit.

    New users and items are added. --set changes keys of the data section, such as data.on_bad_row=skip.
    Stages that can't take new events keep what they learnt, and are named.

    \b
    Example:
      nbarec update runs/music/model new_events.csv
    """
    with progress():
        before = load_model(model, overrides=overrides)
        new = before.pipeline.data_source().events_from(events)
        after, told = before.update(new)
        after.save(output or model)
    show_data(new)
    _show_growth(before, after)
    heading("Stages")
    show_table([["stage", ""], *([stage, what] for stage, what in told.items())])
    heading("Written")
    click.echo(f"  {output or model}")


def _show_growth(before: Model, after: Model) -> None:
    heading("Model")
    for when, data in (("before", before.data), ("after", after.data)):
        click.echo(f"  {when}: {counts(len(data.users), len(data.items), len(data.events), data.as_of)}")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--config", "show_config", is_flag=True, help="Print the config that the model was fitted with.")
@click.option("--findings", "show_findings", is_flag=True, help="What its stages tell of what they learnt.")
@click.option("--columns", "show_columns", is_flag=True, help="The columns that feature providers add to the pool.")
def inspect(model: Path, show_config: bool, show_findings: bool, show_columns: bool) -> None:
    """Show what the saved MODEL holds, from its manifest alone: no plugin is needed but for --findings and --columns.

    \b
    Example:
      nbarec inspect runs/music/model
      nbarec inspect runs/music/model --findings
    """
    if show_findings or show_columns:
        loaded = load_model(model)
        if show_columns:
            show_feature_columns(loaded)
        if show_findings:
            show_what_was_found(loaded)
        return
    manifest = read_manifest(model)
    meta = manifest["meta"]
    if show_config:
        click.echo(meta["config"])
        return
    files = manifest["files"]
    click.echo(f"{model}: {len(files)} arrays, {sum(file['size'] for file in files):,} bytes")
    click.echo(f"  config sha256 {meta['config_sha256']}")
    click.echo(f"  {counts(**meta['counts'])}")
    heading("Stages")
    stages = recorded(meta, model)
    header = ["stage", "section", "component", "distribution", "state", "fit s"]
    lines = [
        [
            one.id,
            one.section,
            one.component,
            one.requirement,
            f"v{one.state_version}",
            f"{one.seconds:.3f}",
        ]
        for one in stages
    ]
    show_table([header, *lines])
    show_failed((one.id, one.failed) for one in stages)
