"""The command that writes a new plugin: a whole distribution that works, for its author to change.

The files under `templates/` are such distributions, all of them called my-shop, with `.txt` behind their names so that
no tool takes them for parts of nbarec. Those in `every` belong to each, the others to one kind. Writing one means
copying it under another name.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources, util
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

import click

from nbarec import __version__
from nbarec.commands.terminal import heading
from nbarec.errors import PluginError
from nbarec.plugins import Kind, registry
from nbarec.providers import KINDS, advice_on, normalised

LONGEST_NAME = 30
"""Longer names would break lines of the templates."""

_WRITABLE: tuple[Kind, ...] = ("generator", "ranker", "filter", "metric")
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_SUFFIX = ".txt"


@dataclass(frozen=True)
class Names:
    """What a plugin called `my-shop` is called where."""

    component: str

    @classmethod
    def of(cls, name: str) -> Names:
        """From `my-shop`, `my_shop` or `nbarec-my-shop`. Raises ValueError where no name can be made of it."""
        short = re.sub("^nbarec[-_]", "", name)
        if not _NAME.fullmatch(short) or not 2 <= len(short) <= LONGEST_NAME:
            nearest = re.sub("[^a-z0-9]+", "-", short.lower()).lstrip("-0123456789")[:LONGEST_NAME].strip("-")
            rule = f"2 to {LONGEST_NAME} small letters and digits with single hyphens between, a letter first"
            advice = advice_on(nearest, [nearest] if len(nearest) > 1 else [], "such as my-shop")
            raise ValueError(f"{name!r} can't be a plugin's name: {rule}; {advice}")
        return cls(short.replace("-", "_"))

    @property
    def distribution(self) -> str:
        """What pip installs: `nbarec-my-shop`."""
        return "nbarec-" + self.component.replace("_", "-")

    @property
    def module(self) -> str:
        """What Python imports: `nbarec_my_shop`."""
        return f"nbarec_{self.component}"

    @property
    def class_name(self) -> str:
        """`MyShop`."""
        return "".join(map(str.capitalize, self.component.split("_")))

    def put_into(self, text: str) -> str:
        """The text of a template, or its path, under these names."""
        short = self.component.replace("_", "-")
        # No name has a capital, and none has both hyphens and underscores: what was put in is not found again.
        return text.replace("my-shop", short).replace("my_shop", self.component).replace("MyShop", self.class_name)


@click.command("new-plugin")
@click.argument("name")
@click.option("--kind", type=click.Choice(_WRITABLE), required=True, help="What it is to be.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="A new folder; ./nbarec-NAME if left out.")
def new_plugin(name: str, kind: Kind, out: Path | None) -> None:
    """Write a plugin NAME of your own: a whole distribution with a small component that works, its tests and a README.

    \b
    Example:
      nbarec new-plugin my-shop --kind ranker
    """
    try:
        names = Names.of(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    files = distribution(names, kind)
    _check_free(names, kind, files)
    folder = Path(names.distribution) if out is None else out
    _write(folder, files)
    _show(folder, names, kind, files)


def distribution(names: Names, kind: Kind) -> Mapping[str, str]:
    """The text of every file of a new plugin, by its path with `/` in it."""
    templates = resources.files("nbarec.commands") / "templates"
    minor = ".".join(__version__.split(".")[:2])
    files = {}
    for part in ("every", kind):
        for path, text in _texts(templates / part, PurePosixPath()):
            filled = text.replace("KIND_WORDS", KINDS[kind].words).replace("NBAREC_VERSION", minor)
            files[names.put_into(str(path))] = names.put_into(filled)
    return files


def _texts(folder: Traversable, path: PurePosixPath) -> Iterator[tuple[PurePosixPath, str]]:
    """Path and text of every template in a folder and below."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _texts(entry, path / entry.name)
        elif entry.name.endswith(_SUFFIX):
            yield path / entry.name.removesuffix(_SUFFIX), entry.read_text("utf-8")


def _check_free(names: Names, kind: Kind, files: Mapping[str, str]) -> None:
    """Refuse names that would hide something, or be hidden; raises PluginError."""
    class_name = names.class_name
    taken = keyword.iskeyword(class_name) or hasattr(builtins, class_name)
    if taken or class_name in _imported(files, names.module):
        raise PluginError(f"its class would be called {class_name}, as something else is already; choose another name")
    if util.find_spec(names.module) is not None:
        raise PluginError(
            f"a module {names.module} is installed already; choose another name, or uninstall "
            f"{names.distribution} before you begin anew"
        )
    for one in registry().components(kind):
        if one.name == names.component and not one.provider.is_from(normalised(names.distribution)):
            raise PluginError(
                f"a {KINDS[kind].words} {one.name!r} is there already, of {one.provider.requirement}; configs could no "
                "longer tell the two apart by that name: choose another"
            )


def _imported(files: Mapping[str, str], own: str) -> set[str]:
    """Every name that one of the sources imports, but for those of the module `own`."""
    nodes = [node for path, text in files.items() if path.endswith(".py") for node in ast.walk(ast.parse(text))]
    imports = [
        node
        for node in nodes
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module != own)
    ]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files into a new folder, all or none; raises PluginError where it is there already."""
    if folder.exists():
        raise PluginError(f"{folder} is there already; give another folder with --out, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-plugin-") as beside:
        whole = Path(beside) / "whole"
        for path, text in files.items():
            target = whole / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="\n")
        whole.rename(folder)


def _show(folder: Path, names: Names, kind: Kind, files: Mapping[str, str]) -> None:
    click.echo(f"{folder}: the {KINDS[kind].words} {names.component}, which works, and is yours to change")
    for path in sorted(files):
        click.echo(f"  {path}")
    heading("Install it, test it, run it")
    for line in (
        f"cd {shlex.quote(str(folder))}",
        "python -m pip install -e '.[test]'",
        "python -m pytest",
        "nbarec run example.yaml",
    ):
        click.echo(f"  {line}")
    heading("In a config of yours")
    for line in _lines_that_use(names.component, files["example.yaml"]):
        click.echo(f"  {line}")


def _lines_that_use(component: str, config: str) -> tuple[str, str]:
    """The first line of a config that names the component, and above it that of its section."""
    section = ""
    for line in config.splitlines():
        if not line.startswith((" ", "#")):
            section = line
        elif line.startswith(" ") and re.search(rf"\b{component}\b", line):
            return section, line
    raise ValueError(f"the example does not use {component}")
