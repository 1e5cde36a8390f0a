"""How far a study is, what it would cost, and which data sets there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from emma_tune.cli.printing.table import counted, show
from emma_tune.storage.redaction import printable

if TYPE_CHECKING:
    from rich.table import Table

    from emma_tune.data.inventory import Entry
    from emma_tune.search.forecast import Forecast
    from emma_tune.storage import Place


def show_problems(problems: list[str]) -> None:
    """What was left out while reading a study."""
    for problem in problems:
        typer.echo(printable(problem), err=True)


def show_thrift(content: dict[str, Any]) -> None:
    """What early stops spared, and how busy the last run was once it has ended."""
    left_out, dominated = content["left_out"], content["points"]["dominated"]
    last_run = None if content["driver"] else content["last_run"]
    if dominated:
        points = "1 point" if dominated == 1 else f"{dominated} points"
        typer.echo(
            f"{points} stopped as dominated: {left_out['epochs']:g} attacker epochs left out, "
            f"about {left_out['seconds']:.0f} s"
        )
    if last_run and last_run["span"]:
        typer.echo(
            f"last run: {last_run['startup']:.1f} s until the first trial, then {last_run['span']:.1f} s with "
            f"{100 * last_run['utilization']:.0f} % of {last_run['slots']} slots at work"
        )


def show_files(folder: Place, files: Mapping[str, str]) -> None:
    """Where a study lies, and what there is to open."""
    typer.echo(f"folder: {folder}")
    for name, what in files.items():
        typer.echo(f"  {name:<14}{what}")


def show_status(content: dict[str, Any]) -> None:
    """How far a study is."""
    from emma_tune.plan import named

    for line in status_lines(content):
        typer.echo(printable(line))
    show(status_table(content))
    show_thrift(content)
    for failure in content["failures"]:
        typer.echo(printable(f"{named(failure['point'])} failed: {failure['reason']}"))
    show_problems(content["problems"])


def status_lines(content: dict[str, Any]) -> list[str]:
    """How many points have come how far, and what the driver is doing."""
    points = content["points"]
    lines = [f"{content['study']}: {content['state']}; points: {counted(points)}, {points['running']} running"]
    if content["driver"]:
        lines.append(f"driven by {content['driver']}")
    if content["this_run"]:
        lines.append(content["this_run"]["line"])
    return lines


def status_table(content: dict[str, Any]) -> Table:
    """Tasks by stage, without the stages that have none."""
    from rich.table import Table

    table = Table(box=None)
    for column in ("stage", "done", "reused", "running", "failed", "seconds"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, row in content["tasks"].items():
        if any(row.values()):
            table.add_row(stage, *(str(number) for number in row.values()), f"{content['seconds'][stage]:.1f}")
    return table


def show_forecast(content: Forecast) -> None:
    """What a run would do."""
    from rich.table import Table

    asked = f", {content.asked} of them known" if content.asked else ""
    table = Table(title=f"{content.points} searched points{asked}", box=None, title_justify="left")
    for column in ("stage", "tasks", "reused", "to do", "epochs", "PFLOP"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    stages = [(name, stage) for name, stage in content.stages.items() if stage.tasks]
    for name, stage in stages:
        numbers = (
            stage.tasks,
            stage.done,
            stage.tasks - stage.done,
            f"{stage.epochs:g}",
            f"{stage.flops / 1e15:,.3g}",
        )
        table.add_row(name, *map(str, numbers))
    show(table)
    flops = sum(stage.flops for _, stage in stages)
    times = (f"{_duration(flops / (rate * 1e12))} at {rate} TFLOP/s" for rate in SUSTAINED)
    typer.echo(f"compute: {flops / 1e15:,.4g} PFLOP at most, that is {', '.join(times)} sustained in all")
    for remark in content.remarks:
        typer.echo(remark)


def show_data_sets(entries: list[Entry]) -> None:
    """Which data sets are there, and how to get the others."""
    from rich.table import Table

    table = Table(box=None)
    for column in ("data set", "for", "found"):
        table.add_column(column, overflow="fold")
    for name, described, found in entries:
        use = "victim, queries" if described.labeled else "queries"
        table.add_row(name, use, found or "no", style=None if found else "dim")
    show(table)
    for name, described, found in entries:
        if not found:
            typer.echo(f"{name}: expected as {described.place}; to get it: {described.get}")


SUSTAINED = (0.1, 10, 100)
"""TFLOP/s that a few CPU cores, a GPU in fp32 and one in bf16 keep up in training, as an order of magnitude."""


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.0f} h"
