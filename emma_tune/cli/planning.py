"""The verb that estimates how long a study would take: simulate."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer
from upath import UPath

from emma_tune.cli.app import AsJson, app, user_errors
from emma_tune.storage import as_place

CPUS_PER_GPU = 8


@app.command()
def simulate(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")],
    nodes: Annotated[int, typer.Option(min=1, help="Number of nodes, all alike.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each node.")] = 0,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="CPU cores of each node. [default: 8, or 8 for each GPU]")
    ] = None,
    times: Annotated[
        UPath | None,
        typer.Option(parser=as_place, metavar="DIR", help="A study to take the seconds of each stage from."),
    ] = None,
    seconds: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE=S",
            help="Seconds that a stage's training takes; overrides --times. Repeatable.",
        ),
    ] = None,
    start_seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds that the driver needs to start a trial. [default: as measured]"),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a field; +N adds to the file's number."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate how long a study would take on a cluster and where it would wait; nothing is trained."""
    from emma_tune.cli import printing

    with user_errors():
        from emma_tune.results import StudyView
        from emma_tune.search import simulation
        from emma_tune.study.file import load_study

        checked = load_study(study, overrides or [])
        paces = simulation.measured(StudyView(times)) if times else {}
        content = simulation.simulate(
            checked,
            nodes=nodes,
            cpus=cpus or CPUS_PER_GPU * max(1, gpus),
            gpus=gpus,
            times=simulation.Times(paces, _by_stage(seconds or [])),
            start_seconds=simulation.START_SECONDS if start_seconds is None else start_seconds,
        )
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    else:
        printing.show_simulation(content)


def _by_stage(given: list[str]) -> dict[str, float]:
    """Read `attacker=900` as seconds by stage."""
    from emma_tune.stages import STAGES
    from emma_tune.study.file import StudyError

    seconds = {}
    for text in given:
        stage, _, number = text.partition("=")
        if stage not in STAGES:
            raise StudyError(f"--seconds: expected STAGE=NUMBER with one of {', '.join(STAGES)}, found {text}")
        try:
            seconds[stage] = float(number)
        except ValueError:
            raise StudyError(f"--seconds: expected STAGE=NUMBER, found {text}") from None
        if not 0 < seconds[stage] < math.inf:
            raise StudyError(f"--seconds: expected seconds, more than 0, found {text}")
    return seconds
