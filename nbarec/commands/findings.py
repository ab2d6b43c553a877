"""What a model's stages tell: the columns that they add to the pool, and what they learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from nbarec.commands.terminal import heading, show_table
from nbarec.findings import findings_of
from nbarec.model import Model

INDENT = "  "


def show_feature_columns(model: Model) -> None:
    """Every column of the pool that a feature provider adds, with what it is."""
    heading("Columns")
    lines = [
        [stage.id, name, told]
        for stage in model.pipeline.stages.features
        for name, told in stage.component.columns().items()
    ]
    if lines:
        show_table([["stage", "column", "what it is"], *lines])
    else:
        click.echo(f"{INDENT}no feature provider of the model tells of its columns")


def show_what_was_found(model: Model) -> None:
    """What every stage that has findings learnt."""
    found = findings_of(model)
    for stage, told in found.items():
        heading(f"Findings of {stage}")
        _show(told, INDENT)
    if not found:
        heading("Findings")
        click.echo(f"{INDENT}no stage of the model tells what it learnt")


def _show(told: Mapping[str, Any], indent: str) -> None:
    """A mapping: plain values in a line each, mappings indented below their names, lists of mappings as tables."""
    for name, value in told.items():
        if isinstance(value, dict) and value:
            click.echo(f"{indent}{name}:")
            _show(value, indent + INDENT)
        elif _is_table(value):
            click.echo(f"{indent}{name}:")
            columns = list(dict.fromkeys(column for row in value for column in row))
            show_table([columns, *([_text(row.get(column)) for column in columns] for row in value)])
        else:
            click.echo(f"{indent}{name}: {_text(value)}")


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) and row for row in value)


def _text(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.6g}"
        case dict():
            return ", ".join(f"{name}: {_text(one)}" for name, one in value.items()) or "-"
        case Sequence() if not isinstance(value, str):
            return ", ".join(_text(one) for one in value) or "-"
    return str(value)
