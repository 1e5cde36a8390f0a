"""What the driver shows while it runs: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from emma_tune.plan.materials import DecodeCallback
from emma_tune.results.folder import RunLog, StudyFolder
from emma_tune.search.driver import StudyDriver
from emma_tune.search.paces import Utilization
from emma_tune.stages import STAGES
from emma_tune.study import AUTO
from emma_tune.study.measures import measure, value_of
from emma_tune.tuning.cluster.room import Nodes
from emma_tune.tuning.interruption import IN_PLACE, LINE, SAVING, Interruption

LINE_EVERY = 5.0
"""Seconds between plain lines."""

LOG_EVERY = 60.0
"""Seconds between lines of the log that say how far the run is."""

TABLE_EVERY = 0.5
"""Seconds between redrawings of the table, and writings of progress.json."""

WRITING_SHARE = 0.1
"""Share of the driver's time that may go into writing progress.json: a storage may be slow."""

SHOWN = 8
"""Of what runs at once, and of the front so far, as many are shown one by one."""

RECENT = 100
"""Trials of which it is known how long they took beside their epochs."""


class Progress(Callback):
    """Follows a run and shows it.

    Args:
        driver: of the run.
        nodes: where it runs.
        folder: where progress.json is written for `status`.
        log: hears now and then how far the run is, and of tracebacks.
        interruption: of the run.
        console: where to show it; control codes only if it is a terminal.
        began: when the command was given, by `time.monotonic()`.
    """

    def __init__(
        self,
        driver: StudyDriver,
        nodes: Nodes,
        folder: StudyFolder,
        log: RunLog,
        interruption: Interruption,
        console: Console,
        began: float,
    ) -> None:
        self._driver = driver
        self._nodes = nodes
        self._folder = folder
        self._log = log
        self._interruption = interruption
        self._console = console
        self._began = began
        self._first = self._last = 0.0
        self._positions: dict[str, dict[str, Any]] = {}
        self._started: dict[str, float] = {}
        self._busy: dict[str, float] = {}
        self._beside_epochs: deque[float] = deque(maxlen=RECENT)
        self._use = Utilization()
        self._shown_at = self._line_at = self._write_at = -float("inf")
        self._logged_at = time.monotonic()
        self._live: Live | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # pickled by Tune into a file that nothing reads

    def setup(self, **info: Any) -> None:
        """The run begins."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
            self._show()
            self._interruption.notice = IN_PLACE

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial got its worker."""
        now = time.monotonic()
        self._first = self._first or now
        self._started[trial.trial_id], self._busy[trial.trial_id] = now, 0.0
        self._positions[trial.trial_id] = {"epoch": 0, "epochs": 0}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial reports."""
        self._last = time.monotonic()
        self._positions[trial.trial_id] = {"epoch": result.get("epoch", 0), "epochs": result.get("epochs", 0)}
        if trial.trial_id in self._busy:
            self._busy[trial.trial_id] += result.get("busy", 0.0)
        if "traceback" in result:
            self._log.write(f"{result['reason']}\n{result['traceback']}")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial ended."""
        if trial.trial_id in self._started:
            seconds = time.monotonic() - self._started[trial.trial_id]
            self._beside_epochs.append(max(0.0, seconds - self._busy[trial.trial_id]))
        self._forget(trial)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Its worker died; it waits for another."""
        self._forget(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial ended badly."""
        self._forget(trial)

    def _forget(self, trial: Trial) -> None:
        for of_trial in (self._positions, self._started, self._busy):
            of_trial.pop(trial.trial_id, None)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Shows how far the run is, now and then."""
        now = time.monotonic()
        since = now - self._shown_at
        if since < TABLE_EVERY:
            return
        self._shown_at = now
        waiting = len(self._driver.trials) > len(self._positions)
        if self._first and (waiting or self._driver.points.in_full_swing):
            used = sum(self._part(entry["stage"]) for entry in self._running())
            self._use.add(min(1.0, used), since)
        if now >= self._write_at:
            self._write()
            written = time.monotonic()
            self._write_at = written + (written - now) / WRITING_SHARE
        if now - self._logged_at >= LOG_EVERY:
            self._logged_at = now
            self._log.write(self._line())
        if self._live:
            self._show()
        elif now - self._line_at >= LINE_EVERY:
            self._line_at = now
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    @property
    def span(self) -> tuple[float, float]:
        """When the first trial began and when the last report came, by `time.monotonic()`."""
        first = self._first or time.monotonic()
        return first, max(first, self._last)

    def close(self) -> None:
        """The run ended, however: nothing runs any more."""
        self._interruption.notice = LINE
        if self._live:
            self._live.stop()
            self._live = None
        how = "interrupted" if self._interruption.requested else "ended"
        self._log.write(f"{how} · {self._points()} · elapsed {clock(self._elapsed())}")
        self._folder.write_progress({"tasks": [], "elapsed": round(self._elapsed(), 1)})

    def _write(self) -> None:
        """Tells `status` how far the run is."""
        remaining = self._remaining()
        self._folder.write_progress(
            {
                "tasks": self._running(),
                "elapsed": round(self._elapsed(), 1),
                "remaining": None if remaining is None else round(remaining, 1),
                "line": self._line(),
            }
        )

    def _running(self) -> list[dict[str, Any]]:
        return [
            {"stage": tasks[0].stage, "key": tasks[0].key, **self._positions[trial]}
            for trial, tasks in self._driver.trials.items()
            if trial in self._positions
        ]

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _remaining(self) -> float | None:
        """Seconds until the run's end, about; None while that is not known."""
        beside_epochs = median(self._beside_epochs) if self._beside_epochs else 0.0
        return self._driver.remaining(lambda stage: self._part(stage) / self._use.share, beside_epochs)

    def _part(self, stage: str) -> float:
        """The part of the cluster that a trial of a stage takes."""
        room = self._nodes.room
        share = self._driver.shares.granted.get(stage) or room.shares[stage]
        gpu = share["gpu"]
        return room.part(float(share["cpu"]), 1.0 if gpu == AUTO else float(gpu))

    def _times(self) -> str:
        remaining = self._remaining()
        left = "not known yet" if remaining is None else f"about {clock(remaining)}"
        return f"elapsed {clock(self._elapsed())}, " + (
            SAVING if self._interruption.requested else f"remaining {left}"
        )

    def _points(self) -> str:
        counts = {
            "dominated": self._driver.outcomes.dominated,
            "failed": self._driver.outcomes.failed,
        }
        others = "".join(f", {count} {name}" for name, count in counts.items() if count)
        if self._driver.planner.until:
            return f"until stage {self._driver.planner.until}{others}"
        return f"points {self._driver.outcomes.ended} of {self._driver.points.wanted}{others}"

    def _line(self) -> str:
        counts = self._driver.agenda.counts()
        running = self._running()
        tasks = sum(row["done"] for row in counts.values())
        all_tasks = sum(sum(row.values()) for row in counts.values())
        doing = _few([self._describe(entry) for entry in running]) or "starting workers"
        done = f"tasks {tasks} of {all_tasks}, {len(running)} running ({doing})"
        return f"{self._points()} · {done} · {self._times()}"

    @staticmethod
    def _describe(entry: dict[str, Any]) -> str:
        return f"{entry['stage']} {entry['epoch']}/{entry['epochs']}" if entry["epochs"] else str(entry["stage"])

    # --- in a terminal ------------------------------------------------------------------------------------

    def _show(self) -> None:
        assert self._live is not None
        parts = [self._stages(), *self._front(), Text(f"{self._points()} · {self._times()}")]
        self._live.update(Group(*parts), refresh=True)

    def _stages(self) -> Table:
        """Tasks by stage, without the stages that have none."""
        table = _table("stage", "done", "running", "waiting", "failed")
        table.add_column("now")
        running = self._running()
        for stage, row in self._driver.agenda.counts().items():
            if not any(row.values()):
                continue
            here = [entry for entry in running if entry["stage"] == stage]
            now = _few([f"epoch {entry['epoch']}/{entry['epochs']}" for entry in here if entry["epochs"]])
            started = len(here) if STAGES[stage].own_trial else 0
            waiting = row["waiting"] + row["running"] - started
            table.add_row(stage, *(str(n or "·") for n in (row["done"], started, waiting, row["failed"])), now)
        return table

    def _front(self) -> list[Table | Text]:
        """The front of each searched defense so far; nothing before its first point."""
        members = self._driver.outcomes.front()
        if not members:
            return []
        objectives = list(self._driver.planner.study.objectives)
        table = _table("front so far", "point", *(measure(name).head for name in objectives))
        for point, figures in members[:SHOWN]:
            shown = (measure(name).shown(value_of(figures["test"], name)) for name in objectives)
            table.add_row(point.defense, str(point.number), *shown)
        more = [Text(f"and {len(members) - SHOWN} more")] if len(members) > SHOWN else []
        return [Text(), table, *more, Text()]


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(first)
    for column in numbers:
        table.add_column(column, justify="right")
    return table


@contextmanager
def shown_decoding(console: Console) -> Iterator[DecodeCallback]:
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
    """The first few entries, in a line."""
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return ", ".join(entries[:SHOWN]) + more


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
