"""Which data sets are found: on the machine of the command, which decodes them for all others."""

from __future__ import annotations

from pathlib import Path

from emma_tune.data.inventory import inventory
from emma_tune.tuning.doctor.judgement import OK, WARNING, Finding


def data_found(root: Path | None) -> Finding:
    """The data sets below a data root, and those that come with a package."""
    entries = [entry for entry in inventory(root) if ":" not in entry.name]
    damaged = [f"{entry.name}: {entry.found}" for entry in entries if entry.found.startswith("damaged")]
    if damaged:
        return Finding("data", WARNING, "; ".join(damaged), "fetch or copy it again: emma-tune data list")
    found = [entry.name for entry in entries if entry.found]
    missing = [entry.name for entry in entries if not entry.found]
    here = f"below {root}" if root else "no data root (--root, EMMA_TUNE_DATA)"
    return Finding("data", OK, f"{', '.join(found)}; {here}; not found: {', '.join(missing) or 'none'}")
