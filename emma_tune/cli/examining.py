"""The verb that checks machines before a study runs on them: doctor."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from upath import UPath

from emma_tune.cli.app import DONE, SOME_FAILED, Address, AsJson, absolute, app, user_errors
from emma_tune.cli.submitting import refuse_client
from emma_tune.storage import Place, as_place


@app.command()
def doctor(
    out: Annotated[
        UPath | None,
        typer.Option(
            parser=as_place, metavar="DIR", help="Where studies will be; or s3://bucket/prefix. [default: runs]"
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", envvar="EMMA_TUNE_DATA", metavar="DIR", help="The folder of data sets."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Skip the one-minute self-test.")] = False,
    as_json: AsJson = False,
    address: Address = None,
) -> None:
    """Check this machine or a cluster: nodes, versions, storage, space, data, clocks; then run a small study."""
    from emma_tune.cli import printing

    with user_errors():
        refuse_client(address, out or Path("runs"))
        from emma_tune.tuning.doctor import PROBLEM, worst_of
        from emma_tune.tuning.doctor.checkup import examine_cluster, examine_data, self_test

        place: Place = absolute(out or Path("runs"))
        findings = [*examine_cluster(place, address=address), examine_data(root)]
        if not quick:
            findings.append(self_test(place, address=address))
    if as_json:
        state = worst_of(findings)
        typer.echo(json.dumps({"state": state, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        printing.show_findings(findings)
    raise typer.Exit(SOME_FAILED if worst_of(findings) == PROBLEM else DONE)
