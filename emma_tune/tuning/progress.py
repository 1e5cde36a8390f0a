"""What the driver shows while it runs: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from emma_tune.materials import Report
from emma_tune.plan import BEFORE_POINTS
from emma_tune.stages import STAGES
from emma_tune.study_folder import StudyFolder
from emma_tune.tuning.search.searcher import StudySearcher

LINE_EVERY = 5.0
"""Seconds between plain lines."""

TABLE_EVERY = 0.5
"""Seconds between redrawings of the table, and writings of progress.json."""

WRITING_SHARE = 0.1
"""Share of the driver's time that may go into writing progress.json: a storage may be slow."""

SHOWN = 8
"""Of what runs at once, so many are described one by one."""


class Progress(Callback):
    """Follows a run and shows it.

    Args:
        searcher: of the run.
        folder: where progress.json is written for `status`.
        console: where to show it; control codes only if it is a terminal.
    """

    def __init__(self, searcher: StudySearcher, folder: StudyFolder, console: Console) -> None:
        self._searcher = searcher
        self._folder = folder
        self._console = console
        self._began = time.monotonic()
        self._began_with = searcher.conclusions.drawn
        self._first = self._last = self._began
        self._positions: dict[str, dict[str, Any]] = {}
        self._shown_at = self._line_at = self._write_at = -float("inf")
        self._live: Live | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # pickled by Tune into a file that nobody reads

    def setup(self, **info: Any) -> None:
        """The run begins."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial got its worker."""
        if self._first == self._began:
            self._first = time.monotonic()
        self._positions[trial.trial_id] = {"epoch": 0, "epochs": 0}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial reports."""
        self._last = time.monotonic()
        self._positions[trial.trial_id] = {"epoch": result.get("epoch", 0), "epochs": result.get("epochs", 0)}

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial ended."""
        self._positions.pop(trial.trial_id, None)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Its worker died; it waits for another."""
        self._positions.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial ended badly."""
        self._positions.pop(trial.trial_id, None)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Shows how far the run is, now and then."""
        now = time.monotonic()
        if now - self._shown_at < TABLE_EVERY:
            return
        self._shown_at = now
        if now >= self._write_at:
            self._folder.write_progress({"tasks": self._running(), "elapsed": round(now - self._began, 1)})
            written = time.monotonic()
            self._write_at = written + (written - now) / WRITING_SHARE
        if self._live:
            self._live.update(self._table(), refresh=True)
        elif now - self._line_at >= LINE_EVERY:
            self._line_at = now
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    @property
    def span(self) -> tuple[float, float]:
        """When the first trial began and when the last report came, by `time.monotonic()`."""
        return self._first, max(self._first, self._last)

    def close(self) -> None:
        """The run ended, however."""
        if self._live:
            self._live.stop()
            self._live = None

    def _running(self) -> list[dict[str, Any]]:
        return [
            {"stage": tasks[0].stage, "key": tasks[0].key, **self._positions[trial]}
            for trial, tasks in self._searcher.trials.items()
            if trial in self._positions
        ]

    def _times(self) -> str:
        elapsed = time.monotonic() - self._began
        if self._searcher.until in BEFORE_POINTS:
            return f"elapsed {_clock(elapsed)}"
        ended = self._searcher.conclusions.drawn
        here, left = ended - self._began_with, self._searcher.wanted - ended
        remaining = f"about {_clock(elapsed / here * left)}" if here > 0 else "not known yet"
        return f"elapsed {_clock(elapsed)}, remaining {remaining}"

    def _points(self) -> str:
        counts = {
            "dominated": self._searcher.conclusions.dominated,
            "failed": len(self._searcher.conclusions.failures),
        }
        others = "".join(f", {count} {name}" for name, count in counts.items() if count)
        if self._searcher.until:
            return f"as far as {self._searcher.until}{others}"
        return f"points {self._searcher.conclusions.drawn} of {self._searcher.wanted}{others}"

    def _line(self) -> str:
        counts = self._searcher.agenda.counts()
        running = len(self._running())
        tasks = sum(row["done"] for row in counts.values())
        all_tasks = sum(sum(row.values()) for row in counts.values())
        doing = _few([self._describe(entry) for entry in self._running()]) or "starting workers"
        return f"{self._points()} · tasks {tasks} of {all_tasks}, {running} running ({doing}) · {self._times()}"

    @staticmethod
    def _describe(entry: dict[str, Any]) -> str:
        return f"{entry['stage']} {entry['epoch']}/{entry['epochs']}" if entry["epochs"] else str(entry["stage"])

    def _table(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("stage")
        for column in ("done", "running", "waiting", "failed"):
            table.add_column(column, justify="right")
        table.add_column("now")
        running = self._running()
        for stage, row in self._searcher.agenda.counts().items():
            here = [entry for entry in running if entry["stage"] == stage]
            now = _few([f"epoch {entry['epoch']}/{entry['epochs']}" for entry in here if entry["epochs"]])
            started = len(here) if STAGES[stage].own_trial else 0
            waiting = row["waiting"] + row["running"] - started
            table.add_row(stage, *(str(n or "·") for n in (row["done"], started, waiting, row["failed"])), now)
        return Group(table, Text(f"{self._points()} · {self._times()}"))


@contextmanager
def shown_decoding(console: Console) -> Iterator[Report]:
    """Shows how far images are decoded: a bar in a terminal, plain lines elsewhere, nothing if none are."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with ProgressBar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}
        line_at = time.monotonic()

        def report(name: str, done: int, total: int) -> None:
            nonlocal line_at
            if name not in tasks:
                tasks[name] = bar.add_task(f"decoding {name}", total=total)
            bar.update(tasks[name], completed=done)
            now = time.monotonic()
            if not console.is_terminal and now - line_at >= LINE_EVERY:
                line_at = now
                line = f"decoding {name}: {done} of {total} images"
                console.print(line, highlight=False, markup=False, soft_wrap=True)

        yield report


def _few(entries: list[str]) -> str:
    """The first few of many, in a line."""
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return ", ".join(entries[:SHOWN]) + more


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
