"""The commands that list, show and check what is installed."""

from __future__ import annotations

import inspect as introspection
from collections import Counter
from collections.abc import Mapping

import click

from nbarec.commands.terminal import heading, show_table, with_option
from nbarec.components import Component
from nbarec.errors import ConfigError, Mark, PluginError, Problem
from nbarec.marked import MapNode, Scalar, compose
from nbarec.params import build, describe
from nbarec.plugins import Registered, registry
from nbarec.providers import KINDS

FAILED = 1
"""Exit code where a component breaks a promise."""


class _Plugins(click.Group):
    """Takes the name of a component for what is to be shown."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


@click.group(cls=_Plugins, invoke_without_command=True, subcommand_metavar="[NAME | check NAME]")
@click.pass_context
def plugins(context: click.Context) -> None:
    """List every installed component, show NAME with its documentation and parameters, or check it.

    \b
    Example:
      nbarec plugins
      nbarec plugins item_cf
      nbarec plugins check item_cf
    """
    if context.invoked_subcommand is None:
        _list()


@plugins.command()
@click.argument("name")
def show(name: str) -> None:
    """Show NAME with its documentation and parameters; the word `show` may be left out.

    \b
    Example:
      nbarec plugins show nbarec/item_cf
    """
    for one in _found(name):
        _show(one)


@plugins.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Which one, where components of several kinds have NAME.")
@with_option
def check(name: str, kind: str | None, parameters: Mapping[str, str]) -> int:
    """Run every check of nbarec.testing on the component NAME; exit with 1 if one fails.

    It is fitted and asked in small worlds, and its parameters must fit them. Items have artist, genre, moods,
    regions, explicit, tempo, energy, released; users age, country; events device, hour. Pools come from the
    generators latent, similar and trending, and have the columns affinity, fresh, mood and mixed.

    \b
    Example:
      nbarec plugins check item_cf
      nbarec plugins check max_per --with by=artist --with max=2
      nbarec plugins check nbarec/blend --with "weights={latent: 1, similar: 0.5}"
    """
    failed = [_check(one, parameters) for one in _found(name, kind)]
    return FAILED if any(failed) else 0


def _found(name: str, kind: str | None = None) -> list[Registered]:
    """The components of that name, or of `distribution/name`. Raises PluginError where there is none."""
    distribution, _, component = name.rpartition("/")
    found = [
        one
        for one in registry().components()
        if one.name == component and one.provider.is_from(distribution) and kind in (None, one.kind)
    ]
    if not found:
        what = "component" if kind is None else KINDS[kind].words  # type: ignore[index]
        raise PluginError(f"no {what} is called {name!r}; `nbarec plugins` lists them all")
    return found


def _check(one: Registered, parameters: Mapping[str, str]) -> int:
    """Run all checks, a line each; how many failed."""
    from nbarec.testing.checks import checks  # only here: to list components needs none of its worlds

    listed = checks(_made(one, parameters))
    click.echo(f"{one.name}: a {KINDS[one.kind].words} of {one.provider.requirement}\n")
    width = max(len(check.name) for check in listed)
    verdicts: Counter[str] = Counter()
    # One by one, so that each line stands there as soon as it is known.
    for check in listed:
        outcome = check.outcome
        verdicts[outcome.verdict] += 1
        why = f": {' '.join(outcome.message.split())}" if outcome.message else ""
        click.echo(f"  {check.name:{width}}  {outcome.verdict}{why}")
    click.echo(f"\n  {len(listed)} checks: {', '.join(f'{n} {verdict}' for verdict, n in verdicts.items())}\n")
    return verdicts["failed"]


def _made(one: Registered, parameters: Mapping[str, str]) -> Component:
    """The component with these parameters. Raises ConfigError where they are wrong, or not enough."""
    marks = {key: Mark(f"--with {key}", 1, 1) for key in parameters}
    entries = {key: compose(text, marks[key].source) or Scalar(marks[key], None) for key, text in parameters.items()}
    problems: list[Problem] = []
    component = build(one.component, MapNode(Mark("--with", 1, 1), entries, marks), where=one.name, problems=problems)
    if component is None:
        told = [Problem(problem.message) for problem in problems]
        advice = f"give parameters as --with KEY=VALUE; `nbarec plugins {one.name}` lists them"
        raise ConfigError([*told, Problem(advice)])
    return component


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
