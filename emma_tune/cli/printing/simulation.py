"""How long a study would take."""

from __future__ import annotations

from typing import Any

import typer

from emma_tune.cli.printing.table import percent, show

BARS = " ▁▂▃▄▅▆▇█"
ENOUGH = 0.8
"""Share of a driver's time beyond which nobody should count on it."""

REMARKABLE = 600.0
"""Seconds that a sampler may hold up a driver in all before somebody should know."""


def show_simulation(content: dict[str, Any]) -> None:
    """Makespan, use, where it waits, what the driver does, and the best shares."""
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
    _show_fractions(content)
    for line in content["assumed"]:
        typer.echo(f"assumed: {line}")


def _show_driver(content: dict[str, Any]) -> None:
    driver, sampler = content["driver"], content["sampler"]
    typer.echo(
        f"driver: starts and asks take {percent(driver['share'])} of its time, "
        f"reports {percent(driver['reports'])} while all slots run"
    )
    if driver["share"] + driver["reports"] > ENOUGH:
        typer.echo(
            "driver: that is near what one can do, and reports are not on the clock above; larger shares, so that "
            "fewer trials run at once, or several studies would spare it"
        )
    searched = sampler["of"]
    if sampler["asked"] < searched:
        typer.echo(
            f"sampler {sampler['name']}: proposed {sampler['asked']} points here, the other "
            f"{searched - sampler['asked']:,} were drawn uniformly to save your time"
        )
    if driver["asks"] > REMARKABLE:
        typer.echo(
            f"sampler {sampler['name']}: {_span(driver['asks'])} of asks, the last {_span(sampler['last'])}, in "
            "which nothing starts; --set search.sampler=qmc (or tpe, up to a few thousand points) has no such cost"
        )


def _show_fractions(content: dict[str, Any]) -> None:
    fractions = content["fractions"]
    if fractions is None:
        typer.echo(
            "shares of a GPU: not compared, as it is not known how much of one a task keeps at work; "
            "--gpu-use attacker=0.3"
        )
        return
    shares = ", ".join(f"{stage} {share:g}" for stage, share in fractions["shares"].items())
    typer.echo(
        f"best shares of a GPU: {shares}; {percent(fractions['gain'])} of the time with the study's own. Reckoned "
        "on a part of study and cluster, as if a GPU were divided by time without loss; whether its memory is "
        "enough for them only a run with `resources: auto` measures"
    )


def _span(seconds: float) -> str:
    for unit, length in (("years", 365.25 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"
