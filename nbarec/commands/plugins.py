"""The command that lists what is installed."""

from __future__ import annotations

import inspect as introspection

import click

from nbarec.commands.terminal import heading, show_table
from nbarec.errors import PluginError
from nbarec.params import describe
from nbarec.plugins import Registered, registry


@click.command()
@click.argument("name", required=False)
def plugins(name: str | None) -> None:
    """List every installed component, or show NAME with its documentation and parameters.

    \b
    Example:
      nbarec plugins
      nbarec plugins item_cf
    """
    if name is None:
        _list()
        return
    distribution, _, component = name.rpartition("/")
    found = [one for one in registry().components() if one.name == component and one.provider.is_from(distribution)]
    if not found:
        raise PluginError(f"no component is called {name!r}; `nbarec plugins` lists them all")
    for one in found:
        _show(one)


def _list() -> None:
    known = registry()
    lines = [[one.name, one.kind, one.provider.requirement, _first_line(one)] for one in known.components()]
    show_table([["name", "kind", "distribution", ""], *lines])
    if known.broken:
        heading("Broken: left out, and only a pipeline that uses them fails")
        for broken in known.broken:
            click.echo(f"  {broken}")
    if known.disabled:
        heading("Turned off by NBAREC_DISABLE_PLUGINS")
        for disabled in known.disabled:
            click.echo(f"  {disabled}")


def _first_line(one: Registered) -> str:
    return (introspection.getdoc(one.component) or "").partition("\n")[0]


def _show(one: Registered) -> None:
    click.echo(f"{one.name}: a {one.kind} of {one.provider.requirement} ({one.provider.value})\n")
    click.echo(introspection.getdoc(one.component) or "")
    parameters = describe(one.component)
    if parameters:
        heading("Parameters")
        show_table([["name", "type", "default", ""], *([p.name, p.type, p.default, p.doc] for p in parameters)])
    click.echo()
