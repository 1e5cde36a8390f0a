"""Check machines, and estimate how long a study takes on them: doctor, simulate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from upath import UPath

from emma_tune.cli.app import (
    DONE,
    SOME_FAILED,
    Address,
    AsJson,
    DataRoot,
    Overrides,
    StudyFile,
    answer,
    app,
    named_numbers,
    user_errors,
)
from emma_tune.cli.submitting import refuse_client
from emma_tune.storage import Place, absolute, as_place
from emma_tune.storage.redaction import printable

if TYPE_CHECKING:
    from emma_tune.tuning.doctor import Finding

CPUS_PER_GPU = 8


@app.command()
@user_errors()
def doctor(
    out: Annotated[
        UPath | None,
        typer.Option(
            parser=as_place, metavar="DIR", help="Where studies will be, or s3://bucket/prefix. [default: runs]"
        ),
    ] = None,
    root: DataRoot = None,
    quick: Annotated[bool, typer.Option("--quick", help="Skip the one-minute self-test.")] = False,
    as_json: AsJson = False,
    address: Address = None,
) -> None:
    """Check this machine or a cluster: nodes, versions, storage, space, data, clocks; then run a small study."""
    place: Place = absolute(out or Path("runs"))
    refuse_client(address, place)

    from emma_tune.tuning.doctor import PROBLEM, worst_of
    from emma_tune.tuning.doctor.checkup import examine_cluster, examine_data, self_test

    findings = [*examine_cluster(place, address=address), examine_data(root)]
    if not quick:
        findings.append(self_test(place, address=address))
    state = worst_of(findings)
    content = {"state": state, "findings": [asdict(finding) for finding in findings]}
    answer(content, lambda _: _show_findings(findings), as_json=as_json)
    raise typer.Exit(SOME_FAILED if state == PROBLEM else DONE)


def _show_findings(findings: Sequence[Finding]) -> None:
    """Print for each finding its state, its subject, what was found, and what to do."""
    from emma_tune.tuning.doctor import OK

    for finding in findings:
        typer.echo(f"{finding.state:<8} {printable(finding.what)}: {printable(finding.found)}")
        if finding.state != OK and finding.advice:
            typer.echo(f"{'':<8} → {finding.advice}")


@app.command()
@user_errors()
def simulate(
    study: StudyFile,
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
        typer.Option(metavar="STAGE=S", help="Seconds that a stage takes; overrides --times. Repeatable."),
    ] = None,
    start_seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds that the driver needs to start a trial. [default: as measured]"),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Estimate how long a study would take on a cluster, and where it would wait; nothing is trained."""
    from emma_tune.cli.printing.simulation import show_simulation
    from emma_tune.results import StudyView
    from emma_tune.search import simulation
    from emma_tune.study.file import load_study

    checked = load_study(study, overrides or [])
    view = StudyView(times) if times else None
    content = simulation.simulate(
        checked,
        nodes=nodes,
        cpus=cpus or CPUS_PER_GPU * max(1, gpus),
        gpus=gpus,
        times=simulation.Times(
            simulation.measured(view) if view else {}, _seconds_by_stage(seconds), view.answers if view else None
        ),
        start_seconds=simulation.START_SECONDS if start_seconds is None else start_seconds,
    )
    answer(content, show_simulation, as_json=as_json)


def _seconds_by_stage(given: list[str] | None) -> dict[str, float]:
    """Parse `attacker=900` as seconds by stage."""
    from emma_tune.stages import STAGES
    from emma_tune.study.file import StudyError

    found = named_numbers("--seconds", "STAGE=NUMBER", given, STAGES)
    for stage, seconds in found.items():
        if not 0 < seconds < math.inf:
            raise StudyError(f"--seconds: expected seconds, more than 0, found {stage}={seconds:g}")
    return found
