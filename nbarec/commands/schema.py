"""The command that writes the JSON Schema of the config."""

from __future__ import annotations

from pathlib import Path

import click

from nbarec.plugins import registry
from nbarec.reports import replacing
from nbarec.schema import schema_text


@click.command()
@click.option("--output", type=click.Path(path_type=Path), help="Write here instead of to standard output.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema (draft 2020-12) of a config, with the parameters of every installed component.

    With the line `# yaml-language-server: $schema=nbarec.schema.json` on top of a config, editors that speak the YAML
    language server (VS Code, Neovim, Emacs, ...) complete keys and names, show their docs and underline mistakes. The
    path is relative to the config.

    \b
    Example:
      nbarec schema --output nbarec.schema.json
    """
    text = schema_text(registry())
    if output is None:
        click.echo(text, nl=False)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as file:
        file.write(text)
    click.echo(f"the schema of the config written to {output}", err=True)
