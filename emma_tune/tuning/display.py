"""How a run is shown: a live table in a terminal or a notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from emma_tune.search.driver import StudyDriver
from emma_tune.stages import STAGES
from emma_tune.study.measures import measure, value_of
from emma_tune.tuning.interruption import IN_PLACE, LINE, Interruption
from emma_tune.tuning.notebook import LiveOutput, in_notebook

if TYPE_CHECKING:
    from emma_tune.plan.materials import DecodeCallback

LINE_INTERVAL = 5.0
"""Seconds between plain lines."""

MAX_ENTRIES = 8
"""Tasks that run, and points of the front, that are shown one by one."""


class Display:
    """What a console shows of a run, with control codes only if it is a terminal."""

    def __init__(self, console: Console, interruption: Interruption, driver: StudyDriver) -> None:
        self._console = console
        self._interruption = interruption
        self._driver = driver
        self._live: Live | LiveOutput | None = None
        self._line_at = -float("inf")

    def open(self) -> None:
        """Start the live table, in a terminal or a notebook."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._interruption.notice = IN_PLACE  # a signal is announced in the middle of the table
        elif self._console.file is sys.stdout and in_notebook():
            self._live = LiveOutput()
        if self._live:
            self._live.start()

    @property
    def live(self) -> bool:
        """Whether there is a live table."""
        return self._live is not None

    def close(self) -> None:
        """Remove the live table."""
        self._interruption.notice = LINE
        if self._live:
            self._live.stop()
            self._live = None

    def show(
        self,
        running: Callable[[], list[dict[str, Any]]],
        last: Callable[[], str],
        line: Callable[[], str],
    ) -> None:
        """Redraw the live table; or print a plain line when it is time.

        Args:
            running: `stage`, `epoch` and `epochs` of each task that runs.
            last: what stands below the tables.
            line: the plain line.
        """
        if self._live:
            self._live.update(Group(self._stages(running()), *self._front(), Text(last())), refresh=True)
        elif time.monotonic() - self._line_at >= LINE_INTERVAL:
            self._line_at = time.monotonic()
            self._console.print(line(), highlight=False, soft_wrap=True)

    def _stages(self, running: list[dict[str, Any]]) -> Table:
        """Return a table of tasks by stage, without the stages that have none."""
        table = _table("stage", "done", "running", "waiting", "failed")
        table.add_column("now")
        for stage, row in self._driver.agenda.counts().items():
            if not any(row.values()):
                continue
            here = [entry for entry in running if entry["stage"] == stage]
            now = first_few([f"epoch {entry['epoch']}/{entry['epochs']}" for entry in here if entry["epochs"]])
            started = len(here) if STAGES[stage].own_trial else 0
            waiting = row["waiting"] + row["running"] - started
            table.add_row(stage, *(str(n or "·") for n in (row["done"], started, waiting, row["failed"])), now)
        return table

    def _front(self) -> list[Table | Text]:
        """Return the front of each searched defense so far; nothing before its first point."""
        members = self._driver.outcomes.front()
        if not members:
            return []
        objectives = list(self._driver.planner.study.objectives)
        table = _table("front so far", "point", *(measure(name).head for name in objectives))
        for point, figures in members[:MAX_ENTRIES]:
            shown = (measure(name).shown(value_of(figures["test"], name)) for name in objectives)
            table.add_row(point.defense, str(point.number), *shown)
        more = [Text(f"and {len(members) - MAX_ENTRIES} more")] if len(members) > MAX_ENTRIES else []
        return [Text(), table, *more, Text()]


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(first)
    for column in numbers:
        table.add_column(column, justify="right")
    return table


@contextmanager
def decoding_shown(console: Console) -> Iterator[DecodeCallback]:
    """Show how far images are decoded: a bar in a terminal, plain lines elsewhere, nothing if none are."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    line_at = time.monotonic()

    def report_line(name: str, done: int, total: int) -> None:
        nonlocal line_at
        if time.monotonic() - line_at >= LINE_INTERVAL:
            line_at = time.monotonic()
            line = f"decoding {name}: {done} of {total} images"
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    if not console.is_terminal:
        yield report_line
        return
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(f"decoding {name}", total=total)
            bar.update(tasks[name], completed=done)

        yield report


def first_few(entries: list[str]) -> str:
    """Join the first few entries into a line."""
    more = f" and {len(entries) - MAX_ENTRIES} more" if len(entries) > MAX_ENTRIES else ""
    return ", ".join(entries[:MAX_ENTRIES]) + more


def hms(seconds: float) -> str:
    """Format seconds as `m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
