"""Writes the reference pages from what the code declares: `python docs/generate_reference.py`.

`components.md` is written whole. In the others what stands between a marker and `<!-- end -->` is replaced:
`<!-- table: module:Class -->` by the parameters of that class, `<!-- modules: folder -->` by a line for each module.
`nbarec.schema.json` is the JSON Schema of a config of nbarec's own components, for editors.
A test fails where the files in the repository differ.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, get_args

from nbarec.marked import Node
from nbarec.param_rules import declared
from nbarec.param_types import reads_itself
from nbarec.params import describe
from nbarec.plugins import Registered, registry
from nbarec.providers import KINDS, Kind
from nbarec.schema import schema_text

DOCS = Path(__file__).parent
TABLE = re.compile(r"(<!-- table: ([\w.]+):(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
MODULES = re.compile(r"(<!-- modules: ([\w/]+) -->\n).*?(<!-- end -->)", re.DOTALL)
DEFINED_BY = re.compile(r"`(\w+)\.([\w.]+)` defines")
IN_WORDS = ("required", "its own defaults")
TITLES: Mapping[Kind, str] = {
    "generator": "Generators",
    "ranker": "Rankers",
    "filter": "Post-filters",
    "source": "Data sources",
    "feature": "Feature providers",
    "metric": "Metrics",
}
INTRODUCTION = """\
# Components

Every component that nbarec brings: what it computes, by which formula and from which source, and its parameters, which
are written in YAML under `with:` (for data sources: in `data:` itself). `nbarec plugins NAME` shows the same for any
component that is installed, those of other distributions included. The examples are tests, and run in the component's
own module.

This page is written by `python docs/generate_reference.py` from the source; change it there.
"""


def pages() -> dict[str, str]:
    """File name -> text of every page that this script writes."""
    return {
        "components.md": components_page(),
        "nbarec.schema.json": schema_text(replace(registry(), registered=tuple(_own_components()))),
        **{name: with_tables((DOCS / name).read_text("utf-8")) for name in ("architecture.md", "configuration.md")},
    }


def with_tables(text: str) -> str:
    """The page with every marked table as the code is today."""

    def table(match: re.Match[str]) -> str:
        opening, module, name, closing = match.groups()
        return f"{opening}{parameter_table(getattr(importlib.import_module(module), name))}{closing}"

    def modules(match: re.Match[str]) -> str:
        opening, folder, closing = match.groups()
        return f"{opening}{module_table(DOCS.parent / folder)}{closing}"

    return MODULES.sub(modules, TABLE.sub(table, text))


def module_table(folder: Path) -> str:
    """The modules of a folder, those of its own before those of folders inside, by the first paragraph of each."""
    found = sorted(folder.rglob("*.py"), key=lambda path: (len(path.parts), path.parts))
    lines = ["| file | what it is |", "|---|---|"]
    for path in found:
        if path.name != "__init__.py":
            text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            title = " ".join(text.partition("\n\n")[0].split()).rstrip(".:")
            lines.append(f"| `{path.relative_to(folder).as_posix()}` | {_escaped(title)} |")
    return "\n".join(lines) + "\n"


def components_page() -> str:
    """The page of all components of the distribution nbarec, by kind and name."""
    return "\n".join([INTRODUCTION, *(_kind_section(kind) for kind in KINDS)])


def _kind_section(kind: Kind) -> str:
    listed = _own_components(kind)
    spec = KINDS[kind]
    parts = [f"## {TITLES[kind]}\n", f"In a config: `{spec.section}`, `{spec.written.format('NAME')}`.\n"]
    if not listed:
        parts.append(f"nbarec itself brings no {spec.words}; a [plugin](plugins.md) can.\n")
    modules = dict.fromkeys(item.component.__module__ for item in listed)
    notes = (_module_note(importlib.import_module(module)) for module in modules)
    groups = dict.fromkeys(group for item in listed for group in _groups(item.component))
    parts += [f"{note}\n" for note in notes if note]
    parts += [_component_section(item, spec.words) for item in listed]
    parts += map(_group_section, groups)
    return "\n".join(parts)


def _own_components(kind: Kind | None = None) -> list[Registered]:
    return [item for item in registry().components(kind) if item.provider.is_from("nbarec")]


def _component_section(item: Registered, kind: str) -> str:
    prose, example = _split_example(inspect.getdoc(item.component) or "")
    twins = [other for other in _own_components() if other.name == item.name]
    title = item.name if len(twins) == 1 else f"{item.name} ({kind})"
    parts = [f"### {title}\n", f"{prose}\n"]
    parts += [f"{_definition(item.component, *match.groups())}\n" for match in DEFINED_BY.finditer(prose)]
    if example:
        parts.append(f"```python\n{example}\n```\n")
    if describe(item.component):
        parts.append(parameter_table(item.component))
    return "\n".join(parts)


def _group_section(group: type) -> str:
    prose, _ = _split_example(inspect.getdoc(group) or "")
    return "\n".join([f"### {group.__name__}\n", f"{prose}\n", parameter_table(group)])


def _definition(component: type, module: str, name: str) -> str:
    """The docstring of what a component's own docstring refers to: `module.Class` or `module.Class.method`."""
    found: Any = importlib.import_module(f"{component.__module__.rpartition('.')[0]}.{module}")
    for part in name.split("."):
        found = getattr(found, part)
    return f"`{module}.{name}`: {inspect.getdoc(found)}"


def _module_note(module: object) -> str:
    """A module's docstring, where it says more than its title: what its components have in common."""
    text = inspect.getdoc(module) or ""
    return text if "\n" in text.strip() else ""


def _split_example(text: str) -> tuple[str, str]:
    """The docstring's prose, and the example at its end."""
    prose, prompt, example = text.partition(">>> ")
    return prose.strip(), f"{prompt}{example}".strip()


def parameter_table(cls: type) -> str:
    """The parameters of a class as a table, which links to the groups of parameters inside."""
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for parameter in describe(cls):
        default = parameter.default if parameter.default in IN_WORDS else f"`{parameter.default}`"
        groups = _own_groups(declared(cls)[parameter.name].annotation)
        links = "".join(f" ([{group.__name__}](components.md#{group.__name__.lower()}))" for group in groups)
        own = "" if cls.__module__.startswith("nbarec.") else links  # the engine's groups have tables of their own
        cells = (f"`{parameter.name}`", parameter.type + own, default, parameter.doc)
        lines.append(f"| {' | '.join(_escaped(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|")


def _groups(cls: type) -> Iterator[type]:
    """Every group of parameters below a class, each before those inside it."""
    for item in declared(cls).values():
        for group in _own_groups(item.annotation):
            yield group
            yield from _groups(group)


def _own_groups(annotation: object) -> Iterable[type]:
    """The classes of parameters that a type speaks of: of `Mapping[str, Tags] | None` it is `Tags`."""
    if isinstance(annotation, type) and is_dataclass(annotation):
        return [] if reads_itself(annotation) or issubclass(annotation, Node) else [annotation]
    return [group for argument in get_args(annotation) for group in _own_groups(argument)]


def main() -> None:
    """Write every page."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
