"""The command `nbarec generate`: simulated worlds as files."""

from __future__ import annotations

from pathlib import Path

import click

from nbarec_plugins.music_simulation import simulate, write_csv


@click.group()
def generate() -> None:
    """Write a simulated world as files.

    \b
    Example:
      nbarec generate music --users 1000 --songs 500 --seed 42 --out data/music
    """


@generate.command()
@click.option("--users", type=click.IntRange(min=1), default=1000, show_default=True, help="Number of listeners.")
@click.option("--songs", type=click.IntRange(min=1), default=500, show_default=True, help="Number of songs.")
@click.option("--days", type=click.IntRange(min=1), default=90, show_default=True, help="Length of the period.")
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Same seed, same files.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the files.")
def music(users: int, songs: int, days: int, seed: int, out: Path) -> None:
    """Write the music world: songs.csv, users.csv and events.csv.

    \b
    Example:
      nbarec generate music --users 1000 --songs 500 --seed 42 --out data/music
    """
    world = simulate(users=users, songs=songs, days=days, seed=seed)
    tables = {"songs": world.songs, "users": world.users, "events": world.events}
    for name, path in write_csv(world, out).items():
        rows = len(next(iter(tables[name].values())))
        click.echo(f"{path}: {rows:,} rows")
