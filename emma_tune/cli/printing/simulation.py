"""How long a study would take."""

from __future__ import annotations

from typing import Any

import typer

from emma_tune.cli.printing.tables import show, table
from emma_tune.outputs.words import percent, plural
from emma_tune.results.stops import STOPS

BARS = " ▁▂▃▄▅▆▇█"
OVERLOADED_DRIVER = 0.8  # share of the driver's time from which on it is close to its limit
SLOW_PROPOSALS = 600.0  # seconds of proposals in total from which on the sampler's cost is worth a line


def show_simulation(content: dict[str, Any]) -> None:
    """Print the makespan, what is in use, where it waits, and what the driver does."""
    cluster, points = content["cluster"], content["points"]
    typer.echo(
        f"{content['study']} on {plural(cluster['nodes'], 'node')} of {plural(cluster['cpus'], 'CPU')} and "
        f"{plural(cluster['gpus'], 'GPU')}, {plural(cluster['slots'], 'trial')} at once: "
        f"{_span(content['makespan'])}"
    )
    typer.echo(
        f"points: {points['finished']} finished, {sum(points.get(why, 0) for why in STOPS)} stopped early; "
        f"{plural(content['trials'], 'trial')}"
    )
    for resource, used in content["utilization"].items():
        bars = "".join(BARS[round(part * (len(BARS) - 1))] for part in used["over_time"])
        typer.echo(f"{resource.upper()}s in use: {percent(used['mean'])}  {bars}")
    stages = table("stage", "tasks", "seconds each", "hours in total", left=("stage",))
    for stage, row in content["stages"].items():
        seconds, tasks = row["seconds"], row["tasks"]
        stages.add_row(stage, f"{tasks:,}", f"{seconds / tasks:,.1f}", f"{seconds / 3600:,.1f}")
    show(stages)
    typer.echo(f"where {content['wait_unit'].upper()}s wait:")
    for wait in content["waits"]:
        typer.echo(f"  {percent(wait['share']):>7}  {wait['hours']:,.1f} h  {wait['reason']}")
    _show_driver(content)
    for line in content["assumed"]:
        typer.echo(f"assumed: {line}")


def _show_driver(content: dict[str, Any]) -> None:
    driver, sampler = content["driver"], content["sampler"]
    typer.echo(
        f"driver: {percent(driver['share'])} of its time for starts and proposals, {percent(driver['reports'])} "
        "for reports while all slots run"
    )
    if driver["share"] + driver["reports"] > OVERLOADED_DRIVER:
        typer.echo(
            "driver: close to its limit, and reports are not on the simulated clock; use larger shares, so that "
            "fewer trials run at once, or several studies"
        )
    searched = sampler["of"]
    if sampler["asked"] < searched:
        typer.echo(
            f"sampler {sampler['name']}: proposed {sampler['asked']} points here, the other "
            f"{searched - sampler['asked']:,} were drawn uniformly to save your time"
        )
    if driver["asks"] > SLOW_PROPOSALS:
        typer.echo(
            f"sampler {sampler['name']}: proposals take {_span(driver['asks'])}, the last "
            f"{_span(sampler['last'])}; nothing starts meanwhile, and --set search.sampler=qmc (or tpe, up to "
            "a few thousand points) is faster"
        )


def _span(seconds: float) -> str:
    for unit, length in (("years", 365.25 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"
