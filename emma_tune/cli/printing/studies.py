"""How far studies are, their points, and what a run would do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer

from emma_tune.cli.app import complain
from emma_tune.cli.printing.tables import show, table
from emma_tune.outputs.words import parameters, percent, plural, point_counts, state_of
from emma_tune.results.stops import STOPS, why_stopped
from emma_tune.storage.redaction import printable
from emma_tune.study.measures import measure

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from emma_tune.search.forecast import Forecast
    from emma_tune.storage import Place
    from emma_tune.study import Study
    from emma_tune.tuning.precision.remark import SlowBf16

REFRESH_EVERY = 2.0  # seconds between two updates of a study that is followed in a terminal
FOLLOWED_LINE_EVERY = 5.0  # seconds between two lines where there is no terminal, as a run prints them

IDLE = {
    "victims": "only victims to train",
    "proposals": "waiting for proposals",
    "measuring": "until a first task has shown its share of a GPU",
    "end": "with the last tasks",
    "interruption": "after the interruption",
    "between": "between tasks",
}
"""What slots were idle for, for people."""

WORST, VICTIM = "attacker_accuracy", "victim_accuracy"
AT_LEAST = f"validation.{WORST}_at_least"

SUSTAINED = (0.1, 10, 100)
"""TFLOP/s that a few CPU cores, a GPU in fp32 and one in bf16 keep up in training, as an order of magnitude."""


# --- how far a study is


def show_status(content: dict[str, Any]) -> None:
    """Print how far a study is, as `status_of` describes it."""
    from emma_tune.plan import named

    for line in _status_lines(content):
        typer.echo(printable(line))
    show(_tasks_by_stage(content))
    show_savings(content)
    for failure in content["failures"]:
        typer.echo(printable(f"{named(failure['point'])} failed: {failure['reason']}"))
    complain(*content["problems"])


def _status_lines(content: dict[str, Any]) -> list[str]:
    """Return the study's state, its points, and what its run is doing."""
    lines = [f"{content['study']}: {state_of(content)}; {point_counts(content['points'])}"]
    if content["driver"]:
        lines.append(f"run by {content['driver']}")
    if content["this_run"]:
        lines.append(content["this_run"]["line"])
    return lines


def _tasks_by_stage(content: dict[str, Any]) -> Table:
    """Return the table of tasks, without stages that have none."""
    shown = table("stage", "done", "reused", "running", "failed", "seconds", left=("stage",))
    for stage, row in content["tasks"].items():
        if any(row.values()):
            shown.add_row(stage, *map(str, row.values()), f"{content['seconds'][stage]:.1f}")
    return shown


def show_savings(content: dict[str, Any]) -> None:
    """Print what early stops saved and, once a run has ended, how busy its slots were."""
    left_out, stopped = content["left_out"], content["points"]["stopped"]
    last_run = None if content["driver"] else content["last_run"]
    if stopped:
        typer.echo(
            f"{plural(stopped, 'point')} stopped early ({', '.join(why_stopped(content['points']))}): "
            f"{left_out['epochs']:g} attacker epochs saved, about {left_out['seconds']:.0f} s"
        )
    if last_run and last_run["span"]:
        typer.echo(
            f"last run: {last_run['startup']:.1f} s until the first trial, then {last_run['span']:.1f} s with "
            f"{100 * last_run['utilization']:.0f} % of {plural(last_run['slots'], 'slot')} busy"
            f"{_idle(last_run)}"
        )


def _idle(last_run: Mapping[str, Any]) -> str:
    """Return what slots were idle for; nothing where it is less than half a percent of their time."""
    shares = {cause: share for cause in IDLE if (share := last_run["idle"].get(cause, 0.0)) >= 0.005}
    named = [f"{100 * share:.0f} % {IDLE[cause]}" for cause, share in shares.items()]
    if "victims" in shares:  # beside one that every point needs nothing can run
        named[0] += f" ({100 * last_run['utilization'] / (1 - shares['victims']):.0f} % busy without that)"
    return f"; idle: {', '.join(named)}" if named else ""


def follow_study(folder: Place) -> None:
    """Show how far a study is while it is running: a live table in a terminal, plain lines elsewhere.

    Raises:
        StudyError: if it is not the folder of a study.
    """
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    if console.is_terminal:
        _follow_live(folder, console)
    else:
        _follow_in_lines(folder)


def _follow_live(folder: Place, console: Console) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from emma_tune.results import StudyView
    from emma_tune.results.status import status_of

    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            content = status_of(StudyView(folder))
            if not content["driver"]:
                return
            lines = (Text(printable(line)) for line in _status_lines(content))
            live.update(Group(*lines, _tasks_by_stage(content)), refresh=True)
            time.sleep(REFRESH_EVERY)


def _follow_in_lines(folder: Place) -> None:
    """Repeat the line in which the driver writes its progress; nothing else of the study is read."""
    from emma_tune.results.folder import StudyFolder

    place = StudyFolder(folder)
    place.read()
    while place.driver():
        with suppress(KeyError):  # not written yet
            typer.echo(printable(place.progress()["line"]))
        time.sleep(FOLLOWED_LINE_EVERY)


# --- points and studies


def show_points(study: Study, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each point, then why points failed."""
    if not rows:
        typer.echo("no points yet; begin with: emma-tune run STUDY.yaml, or emma-tune resume DIR")
        return
    measures = [name for name in dict.fromkeys(("l1", *study.objectives)) if name not in (WORST, VICTIM)]
    text = ("point", "defense", "parameters", "state")
    columns = (*text, *measures, "victim", "worst clone", *study.attackers)
    shown = table(*columns, left=text, title=f"points of {study.name}, test figures; *: on the front")
    for row in rows:
        stopped, reached = row["state"] in STOPS, row.get(AT_LEAST)
        shown.add_row(
            f"{row['point']:>4}{'*' if row['on_front'] else ''}",
            row["defense"],
            parameters(row["params"]),
            _state(row),
            *(_figure(row, name) for name in (*measures, VICTIM)),
            (f"≥ {percent(reached)}" if reached else "") if stopped else _figure(row, WORST),
            *(_figure(row, f"attackers.{name}") for name in study.attackers),
        )
    show(shown)
    if any(row.get(AT_LEAST) for row in rows):
        typer.echo("≥: what the worst clone had reached on validation images when the point was stopped")
    for row in rows:
        if "reason" in row:
            typer.echo(printable(f"point {row['point']} failed: {row['reason']}"))


def _state(row: Mapping[str, Any]) -> str:
    """Show the state of a point, and which other one stopped it."""
    match row["state"]:
        case "dominated":
            return f"stopped by {row['dominated_by']}"
        case "excluded":
            return "stopped beyond the limits"
    return str(row["state"])


def _figure(row: Mapping[str, Any], name: str) -> str:
    """Show a figure, or nothing if it is not known."""
    return measure(name).shown(row[name]) if name in row else ""


def show_studies(studies: Sequence[Mapping[str, Any]], root: Place) -> None:
    """Print a row for each study below a folder."""
    if not studies:
        typer.echo(f"no studies below {root}; begin one with: emma-tune init NAME, then emma-tune run NAME.yaml")
        return
    numbers = ("points", "finished", "stopped", "failed")
    shown = table(
        "study", "state", *numbers, "last change", "folder", left=("study", "state", "last change", "folder")
    )
    for study in studies:
        shown.add_row(
            study["study"],
            state_of(study),
            *(str(count) for count in _counts_of(study["points"])),
            time.strftime("%F %H:%M", time.localtime(study["changed"])),
            study["folder"],
        )
    show(shown)


def _counts_of(points: Mapping[str, int]) -> tuple[int, ...]:
    return points["asked"], points["finished"], points["stopped"], points["failed"]


def show_files(folder: Place, files: Mapping[str, str]) -> None:
    """Print where a study is, and which of its files are worth opening."""
    typer.echo(f"folder: {folder}")
    for name, what in files.items():
        typer.echo(f"  {name:<14}{what}")


# --- what a run would do


def show_forecast(content: Forecast, slow: SlowBf16 | None = None) -> None:
    """Print the tasks that a run would have, and about how much compute they take; `slow` if bf16 is, on CPUs."""
    known = f", {content.asked} of them known" if content.asked else ""
    columns = ("stage", "tasks", "reused", "to do", "epochs", "PFLOP")
    shown = table(*columns, left=("stage",), title=f"{plural(content.points, 'searched point')}{known}")
    stages = [(name, stage) for name, stage in content.stages.items() if stage.tasks]
    for name, stage in stages:
        counts = (stage.tasks, stage.done, stage.tasks - stage.done)
        shown.add_row(name, *map(str, counts), f"{stage.epochs:g}", f"{stage.flops / 1e15:,.3g}")
    show(shown)
    flops = sum(stage.flops for _, stage in stages)
    times = {rate: f"{_duration(flops / (rate * 1e12))} at {rate} TFLOP/s" for rate in SUSTAINED}
    if slow and (in_bf16 := sum(stage.bf16_flops for name, stage in stages if name in slow.stages)):
        cpus = SUSTAINED[0]
        seconds = (flops + (slow.factor - 1) * in_bf16) / (cpus * 1e12)
        times[cpus] = f"{_duration(seconds)} at {cpus} TFLOP/s ({cpus / slow.factor:.2g} in bf16)"
    typer.echo(f"compute: at most {flops / 1e15:,.4g} PFLOP: {', '.join(times.values())} sustained in total")
    for remark in (*content.remarks, *([slow.line] if slow else [])):
        typer.echo(remark)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.0f} h"
