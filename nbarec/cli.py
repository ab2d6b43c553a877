"""The command `nbarec`: finds its commands, and turns errors into one message and an exit code.

Exit codes: 0 done, 1 the user's input is wrong, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module, metadata

import click

from nbarec import __version__
from nbarec.errors import NbarecError

DONE, WRONG_INPUT, INTERRUPTED = 0, 1, 130

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("nbarec.commands.pipelines", "Load, evaluate, fit, save and recommend: everything in one go."),
    "fit": ("nbarec.commands.pipelines", "Fit a config and save the model."),
    "evaluate": ("nbarec.commands.pipelines", "Measure configs on held-out events."),
    "tune": ("nbarec.commands.tune", "Search for the parameters that are best on a validation part."),
    "compare": ("nbarec.commands.compare", "Tell whether evaluations differ by more than chance."),
    "pareto": ("nbarec.commands.pareto", "Find the settings that are the best bargains of two objectives."),
    "report": ("nbarec.commands.report", "Make a page of a run: figures, data, sample users."),
    "validate": ("nbarec.commands.pipelines", "Check configs; shows every error at once."),
    "recommend": ("nbarec.commands.models", "Recommend with a saved model."),
    "update": ("nbarec.commands.models", "Add new events to a saved model without a refit."),
    "inspect": ("nbarec.commands.models", "Show what a saved model holds."),
    "explain": ("nbarec.commands.explain", "Tell why a user gets an item, or why not."),
    "similar": ("nbarec.commands.explain", "Show the items most like one item."),
    "factors": ("nbarec.commands.factors", "Show what a model's latent factors stand for."),
    "plugins": ("nbarec.commands.plugins", "List components, or show one with its parameters."),
    "new-plugin": ("nbarec.commands.new_plugin", "Write a plugin of your own, ready to change."),
    "schema": ("nbarec.commands.schema", "Print the JSON Schema of the config, for editors."),
}
"""Where each built-in command lives, and its line in the help: none is imported before it is called."""


class Commands(click.Group):
    """The built-in commands, and those that plugins add through the entry-point group `nbarec.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return [*COMMANDS, *sorted(set(_added()) - set(COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name in COMMANDS:
            command: click.Command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name.replace("-", "_"))
            return command
        added = _added().get(cmd_name)
        return None if added is None else added.load()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line a command, without importing it."""
        lines = [(name, line) for name, (_, line) in COMMANDS.items()]
        for name, entry in sorted(_added().items()):
            distribution = entry.dist.name if entry.dist else "a plugin"
            lines.append((name, f"Added by {distribution} ({entry.value})."))
        with formatter.section("Commands"):
            formatter.write_dl(lines)


def _added() -> dict[str, metadata.EntryPoint]:
    return {entry.name: entry for entry in metadata.entry_points(group="nbarec.commands")}


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="nbarec")
def cli() -> None:
    """Next-best-action recommendations from one YAML file.

    \b
    Example:
      nbarec run configs/music.yaml
      nbarec recommend runs/music/model --user U0001 -k 5
    """


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command; returns the exit code."""
    try:
        outcome = cli.main(args=arguments, prog_name="nbarec", standalone_mode=False)
        return outcome if isinstance(outcome, int) else DONE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted; nothing was left half-written.", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except NbarecError as error:
        click.echo(f"Error: {error}", err=True)
        return WRONG_INPUT
    except OSError as error:
        click.echo(f"Error: {error.filename or 'file'}: {error.strerror or error}", err=True)
        return WRONG_INPUT
