"""What is known of a run while it goes on: which trials run, how far they are, and how long it still takes."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from emma_tune.results.stops import why_stopped
from emma_tune.search.driver import StudyDriver
from emma_tune.search.paces import Utilization
from emma_tune.study import AUTO
from emma_tune.tuning.cluster.capacity import CapacityWatcher
from emma_tune.tuning.display import Display, first_few, hms
from emma_tune.tuning.idle_slots import IdleSlots, cause_of_idle_slots
from emma_tune.tuning.interruption import SAVING
from emma_tune.tuning.order import Session
from emma_tune.tuning.ray_patches import NeverPickled

LOG_INTERVAL = 60.0
"""Seconds between lines of the log that say how far the run is."""

REFRESH_INTERVAL = 0.5
"""Seconds between updates of the display, and of progress.json."""

WRITING_SHARE = 0.1
"""Share of the driver's time that may go into writing progress.json: a storage may be slow."""

RECENT_TRIALS = 100
"""Trials over which the time that a trial takes besides its epochs is averaged."""


@dataclass
class _TrialProgress:
    """A trial that has a worker."""

    started: float  # when it got the worker, by `time.monotonic()`
    busy: float = 0.0  # seconds that its stages ran
    position: dict[str, int] = field(default_factory=lambda: {"epoch": 0, "epochs": 0})  # of its task


class RunMonitor(NeverPickled, Callback):
    """Follows a run: in the display, in the log, and in progress.json for `status`."""

    def __init__(self, driver: StudyDriver, capacity: CapacityWatcher, session: Session) -> None:
        self._driver = driver
        self._capacity = capacity
        self._session = session
        self._display = Display(session.console, session.interruption, driver)
        self._trials: dict[str, _TrialProgress] = {}
        self._first = self._last = 0.0
        self._beside_epochs: deque[float] = deque(maxlen=RECENT_TRIALS)
        self._use = Utilization()
        self.idle = IdleSlots()
        self._updated_at = self._logged_at = time.monotonic()  # finite: busy time is counted from here
        self._write_at = -float("inf")

    def setup(self, **info: Any) -> None:
        """Open the display."""
        self._display.open()
        if self._display.live:
            self._show()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that a trial got its worker."""
        now = time.monotonic()
        if not self._first:  # a victim, mostly, beside which a core is free
            self._first = now
            threading.Thread(target=self._driver.points.prepare, name="imports of samplers").start()
        self._trials[trial.trial_id] = _TrialProgress(now)
        self._note_idle_slots(now)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Note how far a trial is; log its traceback if it failed."""
        self._last = time.monotonic()
        if known := self._trials.get(trial.trial_id):
            known.position = {"epoch": result.get("epoch", 0), "epochs": result.get("epochs", 0)}
            known.busy += result.get("busy", 0.0)
        if "traceback" in result:
            self._session.log.write(f"{result['reason']}\n{result['traceback']}")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note what an ended trial took besides its epochs."""
        if known := self._trials.pop(trial.trial_id, None):
            self._beside_epochs.append(max(0.0, time.monotonic() - known.started - known.busy))
        self._note_idle_slots(time.monotonic())

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Forget a trial whose worker died."""
        self._trials.pop(trial.trial_id, None)

    on_trial_recover = on_trial_error

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Update display, progress.json and log when it is time."""
        now = time.monotonic()
        self._note_idle_slots(now)
        since = now - self._updated_at
        if since < REFRESH_INTERVAL:
            return
        self._updated_at = now
        waiting = len(self._driver.trials) > len(self._trials)
        if self._first and (waiting or self._driver.points.in_full_swing):
            used = sum(self._part(entry["stage"]) for entry in self._running())
            self._use.add(min(1.0, used), since)
        if now >= self._write_at:
            self._write()
            written = time.monotonic()
            self._write_at = written + (written - now) / WRITING_SHARE
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            self._session.log.write(self._line())
        self._show()

    @property
    def span(self) -> tuple[float, float]:
        """When the first trial began and when the last report came, by `time.monotonic()`."""
        first = self._first or time.monotonic()
        return first, max(first, self._last)

    def close(self) -> None:
        """Close the display, and record that nothing runs any more."""
        self._display.close()
        how = "interrupted" if self._session.interruption.requested else "ended"
        self._session.log.write(f"{how} · {self._points()} · elapsed {hms(self._elapsed())}")
        self._session.folder.write_progress({"tasks": [], "elapsed": round(self._elapsed(), 1)})

    def _note_idle_slots(self, now: float) -> None:
        """Note how many slots have no trial, from the first trial on."""
        slots = self._capacity.now.slots if self._first else 0
        interrupted = self._session.interruption.requested
        cause = "interruption" if interrupted else cause_of_idle_slots(self._driver)
        self.idle.note(now, slots, max(0, slots - len(self._driver.trials)), cause)

    def _show(self) -> None:
        self._display.show(self._running, lambda: f"{self._points()} · {self._times()}", self._line)

    def _write(self) -> None:
        remaining = self._remaining()
        progress = {
            "tasks": self._running(),
            "elapsed": round(self._elapsed(), 1),
            "remaining": None if remaining is None else round(remaining, 1),
            "line": self._line(),
        }
        self._session.folder.write_progress(progress)

    def _running(self) -> list[dict[str, Any]]:
        return [
            {"stage": tasks[0].stage, "key": tasks[0].key, **self._trials[trial].position}
            for trial, tasks in self._driver.trials.items()
            if trial in self._trials
        ]

    def _elapsed(self) -> float:
        return time.monotonic() - self._session.order.began

    def _remaining(self) -> float | None:
        """Estimate the seconds until the run's end; None while they are not known."""
        beside_epochs = median(self._beside_epochs) if self._beside_epochs else 0.0
        return self._driver.remaining(lambda stage: self._part(stage) / self._use.share, beside_epochs)

    def _part(self, stage: str) -> float:
        """Return the part of the cluster that a trial of a stage takes."""
        capacity = self._capacity.now
        share = self._driver.shares.granted.get(stage) or capacity.shares[stage]
        gpu = share["gpu"]
        return capacity.part(float(share["cpu"]), 1.0 if gpu == AUTO else float(gpu))

    def _times(self) -> str:
        elapsed = f"elapsed {hms(self._elapsed())}"
        if self._session.interruption.requested:
            return f"{elapsed}, {SAVING}"
        remaining = self._remaining()
        return f"{elapsed}, remaining " + ("not known yet" if remaining is None else f"about {hms(remaining)}")

    def _points(self) -> str:
        outcomes = self._driver.outcomes
        others = why_stopped(outcomes.stopped)
        if outcomes.failed:
            others.append(f"{outcomes.failed} failed")
        if until := self._driver.planner.until:
            return ", ".join([f"until stage {until}", *others])
        return ", ".join([f"points {outcomes.ended} of {self._driver.points.wanted}", *others])

    def _line(self) -> str:
        counts = self._driver.agenda.counts().values()
        done, total = sum(row["done"] for row in counts), sum(sum(row.values()) for row in counts)
        running = self._running()
        now = f"{len(running)} running ({first_few([_position(entry) for entry in running])})"
        tasks = f"tasks {done} of {total}, {now if running else 'starting workers'}"
        return f"{self._points()} · {tasks} · {self._times()}"


def _position(entry: dict[str, Any]) -> str:
    return f"{entry['stage']} {entry['epoch']}/{entry['epochs']}" if entry["epochs"] else str(entry["stage"])
