"""Points, studies, and what of a store was removed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from emma_tune.cli.printing.table import parameters, percent, plural, show
from emma_tune.storage.redaction import printable

if TYPE_CHECKING:
    from emma_tune.results.removal import Garbage
    from emma_tune.study import Study

DISTANCES = ("l1", "l1_queries")
"""Measures that are no shares."""

WORST, VICTIM = "attacker_accuracy", "victim_accuracy"
AT_LEAST = f"validation.{WORST}_at_least"


def show_points(study: Study, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each point, then why points failed."""
    from rich.table import Table

    measures = [name for name in dict.fromkeys(("l1", *study.objectives)) if name not in (WORST, VICTIM)]
    table = Table(title=f"points of {study.name}, test figures; *: on the front", box=None, title_justify="left")
    for column in ("point", "defense"):
        table.add_column(column, no_wrap=True)
    table.add_column("parameters", overflow="fold")
    table.add_column("state")
    for column in (*measures, "victim", "worst clone", *study.attackers):
        table.add_column(column, justify="right")
    for row in rows:
        stopped = "dominated_by" in row
        table.add_row(
            f"{row['point']:>4}{'*' if row['on_front'] else ''}",
            row["defense"],
            parameters(row["params"]),
            f"stopped by {row['dominated_by']}" if stopped else row["state"],
            *(_shown(row, name) for name in (*measures, VICTIM)),
            f"≥ {percent(row[AT_LEAST])}" if stopped else _shown(row, WORST),
            *(_shown(row, f"attackers.{name}") for name in study.attackers),
        )
    show(table)
    if any("dominated_by" in row for row in rows):
        typer.echo("≥: what the clones of a point had reached on validation images when another point stopped it")
    for row in rows:
        if "reason" in row:
            typer.echo(printable(f"point {row['point']} failed: {row['reason']}"))
    if not rows:
        typer.echo("no points yet; they begin with: emma-tune run STUDY.yaml, or emma-tune resume DIR")


def _shown(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        return ""
    return f"{row[name]:.3f}" if name in DISTANCES else percent(row[name])


def show_studies(studies: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each study."""
    from rich.table import Table

    table = Table(box=None)
    for column in ("study", "state", "points", "finished", "stopped", "failed", "last change", "folder"):
        numeric = column in ("points", "finished", "stopped", "failed")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for study in studies:
        points = study["points"]
        table.add_row(
            study["study"],
            study["state"],
            *(str(points[name]) for name in ("asked", "finished", "dominated", "failed")),
            time.strftime("%F %H:%M", time.localtime(study["changed"])),
            study["folder"],
        )
    show(table)


def show_garbage(garbage: Garbage, *, dry_run: bool) -> None:
    """Print what was removed from a store, or would be."""
    artifacts, states = plural(len(garbage.artifacts), "artifact"), plural(len(garbage.states), "saved state")
    removed = "would remove" if dry_run else "removed"
    typer.echo(f"{removed} {artifacts} and {states} of unfinished tasks: {_size(garbage.bytes)}")
    typer.echo(f"kept what these studies use: {', '.join(map(str, garbage.studies))}")


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"
