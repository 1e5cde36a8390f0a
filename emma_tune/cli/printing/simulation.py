"""How long a study would take, for a terminal."""

from __future__ import annotations

from typing import Any

import typer

from emma_tune.cli.printing.table import percent, show

BARS = " ▁▂▃▄▅▆▇█"
OVERLOADED = 0.8
"""Share of a driver's time beyond which it is overloaded."""

REMARKABLE = 600.0
"""Seconds that a sampler may hold up a driver in all before the output says so."""


def show_simulation(content: dict[str, Any]) -> None:
    """Print makespan, utilization, where it waits, and what the driver does."""
    from rich.table import Table

    cluster, points = content["cluster"], content["points"]
    typer.echo(
        f"{content['study']} on {cluster['nodes']} nodes of {cluster['cpus']} CPUs and {cluster['gpus']} GPUs, "
        f"{cluster['slots']} trials at once: {_span(content['makespan'])}"
    )
    typer.echo(
        f"points: {points['finished']} finished, {points['dominated']} dominated; {content['trials']} trials"
    )
    for resource, used in content["utilization"].items():
        bars = "".join(BARS[round(part * (len(BARS) - 1))] for part in used["over_time"])
        typer.echo(f"{resource.upper()}s in use: {percent(used['mean'])}  {bars}")
    table = Table(box=None)
    for column in ("stage", "tasks", "seconds of one", "hours in all"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, row in content["stages"].items():
        seconds, tasks = row["seconds"], row["tasks"]
        table.add_row(stage, f"{tasks:,}", f"{seconds / tasks:,.1f}", f"{seconds / 3600:,.1f}")
    show(table)
    typer.echo(f"where {content['wait_unit'].upper()}s wait:")
    for wait in content["waits"]:
        typer.echo(f"  {percent(wait['share']):>7}  {wait['hours']:,.1f} h  {wait['reason']}")
    _show_driver(content)
    for line in content["assumed"]:
        typer.echo(f"assumed: {line}")


def _show_driver(content: dict[str, Any]) -> None:
    driver, sampler = content["driver"], content["sampler"]
    typer.echo(
        f"driver: starts and proposals take {percent(driver['share'])} of its time, "
        f"reports {percent(driver['reports'])} while all slots run"
    )
    if driver["share"] + driver["reports"] > OVERLOADED:
        typer.echo(
            "driver: that is near its limit, and reports are not on the clock above; take larger shares, so that "
            "fewer trials run at once, or several studies"
        )
    searched = sampler["of"]
    if sampler["asked"] < searched:
        typer.echo(
            f"sampler {sampler['name']}: proposed {sampler['asked']} points here, the other "
            f"{searched - sampler['asked']:,} were drawn uniformly to save your time"
        )
    if driver["asks"] > REMARKABLE:
        typer.echo(
            f"sampler {sampler['name']}: proposals take {_span(driver['asks'])}, the last one "
            f"{_span(sampler['last'])}, and nothing starts meanwhile; --set search.sampler=qmc (or tpe, up to a "
            "few thousand points) has no such cost"
        )


def _span(seconds: float) -> str:
    for unit, length in (("years", 365.25 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"
