"""A study without Ray: trials are run by hand, their artifacts committed with the metrics that a test wants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from torch import Tensor

from emma_tune.plan import Planner, PointPlan, Task
from emma_tune.results.folder import Started, StudyFolder
from emma_tune.results.ledger import LedgerWriter, read_ledger
from emma_tune.search.driver import StudyDriver, new_driver
from emma_tune.search.outcomes import SearchContext
from emma_tune.search.proposals import new_proposers
from emma_tune.search.trial_shares import Capacity
from emma_tune.stages import STAGES
from emma_tune.storage.artifact import Artifact
from emma_tune.storage.store import Store
from emma_tune.study.file import load_study

IMAGES = {"victim": "v", "queries": "q"}
SHARES = {stage: {"cpu": 1.0, "gpu": 0.0} for stage in STAGES}
EPOCHS = 10
STUDY: dict[str, Any] = {
    "attackers": {"soft": {"epochs": EPOCHS}, "hard": {"epochs": EPOCHS}},
    "search": {
        "stop": "joint",
        "sampler": "grid",  # whatever Optuna learns, the points are these
        "points": 2,
        "space": {"lambda": {"choices": [0.1, 0.2]}, "lr_gamma": 0.3, "st_epoch": 1},
    },
}
NONE, ARGMAX, FIRST, SECOND = range(4)
COSTS = {NONE: (0.0, 0.0), ARGMAX: (0.25, 0.05), FIRST: (1.0, 0.0), SECOND: (1.5, 0.0)}
"""l1 and accuracy drop of a point."""
CLONES = {NONE: 0.9, ARGMAX: 0.5, FIRST: 0.75, SECOND: 0.25}
"""Accuracy of each of its clones in the end: argmax alone dominates the first searched point."""


def rows_of(best: float) -> list[dict[str, float]]:
    """Epochs of a clone that comes to this accuracy evenly: after epoch e of E, best · e/E."""
    return [
        {"epoch": epoch, "loss": 1.0, "best.validation.accuracy": best * (epoch + 1) / EPOCHS}
        for epoch in range(EPOCHS)
    ]


class Desk:
    """One study in a folder, and a driver at a time that drives it."""

    def __init__(self, folder: Path, study_file: Any) -> None:
        self.place, self.store, self._study_file = (
            StudyFolder(folder / "study"),
            Store(folder / "store"),
            study_file,
        )
        self.place.root.mkdir()
        self.said: list[str] = []
        self.answers: dict[str, Tensor] = {}  # of every victim
        self._trials = 0

    def open(
        self, slots: int = 4, until: str | None = None, shares: Any = SHARES, gpus: int = 0, **changes: Any
    ) -> StudyDriver:
        """A run begins, of the study with these changes, as far as a stage."""
        whole = {**STUDY, **changes, "search": {**STUDY["search"], **changes.get("search", {})}}
        study = load_study(self._study_file(**whole))
        self.place.write(Started(study, IMAGES, self.store.root))
        self.planner = Planner(study, IMAGES, until=until)
        ledger, writer = read_ledger(self.place.ledger), LedgerWriter(self.place.ledger)
        self.proposers = new_proposers(study, self.place.journal)
        context = SearchContext(self.planner, ledger, writer, self.proposers)
        capacity = Capacity(slots, shares, gpus)
        self.driver = new_driver(context, self.store, capacity, run="a-run", say=self.said.append)
        return self.driver

    def suggest(self) -> tuple[str, list[Task]] | None:
        """A trial and its tasks; None if there is none for now."""
        self._trials += 1
        trial = f"trial-{self._trials}"
        config = self.driver.suggest(trial)
        if not isinstance(config, dict):
            return None
        return trial, [Task.from_json(text) for text in config["tasks"]]

    def trials(self) -> Iterator[tuple[str, list[Task]]]:
        """All that can be handed out now."""
        return iter(self.suggest, None)

    def finish(self, trial: str, tasks: list[Task]) -> None:
        """A trial does all its tasks, reports, and ends."""
        self.make(tasks)
        self.driver.hear(trial, {"done": True, "busy": 1.0, "epoch": 0, "epochs": 0})
        self.driver.ended(trial, {"done": True})

    def make(self, tasks: list[Task], **memory: int) -> None:
        """Puts artifacts into the store, with what each took of a GPU."""
        for task in tasks:
            metrics: dict[str, float] = {}
            if task.stage in ("responses", "evaluation"):
                point = self.point_of(task)
                l1, drop = COSTS[point]
                clone = self.clone_of(point, self.attacker_of(point, task))
                rest = {"victim_accuracy": 1 - drop, "flip_rate": 0.0, "clone_accuracy.best": clone}
                figures = {"l1": l1, "accuracy_drop": drop, **rest}
                metrics = {f"{part}.{n}": x for part in ("validation", "test") for n, x in figures.items()}
                metrics["queries.l1"] = l1
            provenance = {"run": "a-run", "seconds": 2.0, **memory}
            history = [] if task.stage != "attacker" else rows_of(CLONES[self.point_of(task)])
            artifact = Artifact(self.answers if task.stage == "posteriors" else {}, metrics, history)
            self.store.commit(task.stage, task.key, artifact, recipe=task.recipe, provenance=provenance)

    def attacker_of(self, number: int, task: Task) -> str:
        """Whose clone a task of a point trains or evaluates; any attacker for another task."""
        plan = self.plan(number)
        places = (*plan.attackers.items(), *plan.evaluations.items())
        return next((name for (_, name), of in places if of.key == task.key), "soft")

    def clone_of(self, number: int, attacker: str) -> float:
        """Accuracy of a clone in the end."""
        return CLONES[number]

    def plan(self, number: int) -> PointPlan:
        """Tasks of a point, with all its attackers."""
        return self.planner.whole(read_ledger(self.place.ledger).points[number])

    def point_of(self, task: Task) -> int:
        """The first point that needs a task."""
        return next(n for n in read_ledger(self.place.ledger).points if task.key in self.plan(n).tasks)

    def report(self, trial: str, tasks: list[Task], epoch: int, best: float) -> bool:
        """An attacker's trial reports all its epochs so far; whether it is to be stopped."""
        rows = rows_of(best)[:epoch]
        rows[-1]["best.validation.accuracy"] = best
        position = {"task": tasks[0].key, "epoch": epoch, "epochs": EPOCHS, "metrics": rows[-1], "history": rows}
        return self.driver.hear(trial, {"busy": 1.0, **position})

    def finish_all_but(self, *points: int) -> dict[tuple[int, str], tuple[str, list[Task]]]:
        """Runs all there is to run, but leaves the attackers of `points` running: trials by point and attacker."""
        running = {}
        while some := list(self.trials()):
            for trial, tasks in some:
                number = self.point_of(tasks[0])
                if tasks[0].stage == "attacker" and number in points:
                    (place,) = (p for p, task in self.plan(number).attackers.items() if task.key == tasks[0].key)
                    running[number, place[1]] = (trial, tasks)
                else:
                    self.finish(trial, tasks)
        return running

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Of this kind, in the ledger."""
        lines = self.place.ledger.read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def journal(self) -> dict[int, optuna.trial.FrozenTrial]:
        """Optuna's trials by point."""
        storage = JournalStorage(JournalFileBackend(str(self.place.journal)))
        trials = optuna.load_study(study_name="tiny", storage=storage).trials
        return {trial.user_attrs["point"]: trial for trial in trials}
