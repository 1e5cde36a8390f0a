"""A study written down by hand with a point of every kind, and what a verb prints of it."""

from __future__ import annotations

import csv
import io

from tests.cli.typed import printed
from tests.results.desk import part

SEVEN = {
    "soft": {},
    "hard": {},
    "inverse": {},
    "forward": {},
    "estimated": {},
    "smoothed": {},
    "few": {"kind": "soft", "queries": 50},
}


def alike(figures):
    return figures, figures


def fill(desk):
    """Front: none (0) and two searched points (2, 1); one beyond the limits, one failed, one unfinished."""
    desk.finished("none", alike(part(0.0, {"soft": 0.9})))
    far = {"soft": 0.25, "inverse": 0.5}
    desk.finished("emma", (part(1.5, far), part(1.5, {"soft": 0.375, "inverse": 0.625}, drop=0.25)))
    desk.finished("emma", alike(part(1.0, {"soft": 0.75, "inverse": 0.5})))
    desk.finished("emma", alike(part(1.0, {"soft": 0.125, "inverse": 0.125}, drop=0.5)))
    desk.finished("argmax", alike(part(1.25, {"soft": 0.85})))
    desk.failed("emma")
    desk.asked("emma")
    return desk


def table(*arguments):
    return list(csv.DictReader(io.StringIO(printed(*arguments))))
