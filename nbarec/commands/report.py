"""The command that makes a page of a run."""

from __future__ import annotations

from pathlib import Path

import click

from nbarec.commands.terminal import heading, progress
from nbarec.run_report import write_report


@click.command()
@click.argument("folder", metavar="RUN_DIR", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Where to write it; RUN_DIR/report.html if left out.")
@click.option("--users", multiple=True, metavar="ID", help="A sample user, may be repeated; ten are drawn if left out.")
def report(folder: Path, output: Path | None, users: tuple[str, ...]) -> None:
    """Make one page of HTML of what `nbarec run` left in RUN_DIR.

    It shows the data, the metrics with their intervals, where good items are left, popularity against recall,
    segments, and sample users with their history, slate and reasons. It needs no network and no script.

    \b
    Example:
      nbarec report runs/music
      nbarec report runs/music --users U0001 --users U0002 --output music.html
    """
    with progress():
        path = write_report(folder, output, users)
    heading("Written")
    click.echo(f"  {path}")
