"""What a look at a cluster has found."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from emma_tune.storage.redaction import printable
from emma_tune.tuning.doctor import OK, Finding


def show_findings(findings: Sequence[Finding]) -> None:
    """A line each: ok, warning or problem, what, what was found, and what to do."""
    for finding in findings:
        typer.echo(f"{finding.state:<8} {printable(finding.what)}: {printable(finding.found)}")
        if finding.state != OK and finding.advice:
            typer.echo(f"{'':<8} → {finding.advice}")
