"""Studies whose answers are real: every stage up to the answers is run here, without Ray, and committed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from emma_tune.data.cache import ImageCache
from emma_tune.plan import Task
from emma_tune.plan.materials import prepare
from emma_tune.stages import STAGES
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, run_through
from emma_tune.storage.store import Store
from emma_tune.study import Study
from emma_tune.study.file import load_study
from tests.conftest import TINY, merged
from tests.results.desk import Written, part

SMALL: dict[str, Any] = {
    "victim": {"limit": 200, "epochs": 2, "batch_size": 16},  # sure of some images, and not of others
    "queries": {"dataset": "digits", "limit": 40},
    "attackers": {"soft": {}, "hard": {}, "inverse": {}},
    "limits": {"accuracy_drop": 0.02},
}
COSTS = {"soft": 0.6, "hard": 0.8}


class Laboratory:
    """A study on a desk whose tasks can be run.

    Args:
        root: where study file, folder and store are.
        changes: of the tiny study; a field of the victim that is None is left out.
    """

    def __init__(self, root: Path, **changes: Any) -> None:
        file = root / "study.yaml"
        content = merged(merged(TINY, SMALL), changes)
        content["victim"] = {name: value for name, value in content["victim"].items() if value is not None}
        file.write_text(yaml.safe_dump(content))
        self.study: Study = load_study(file)
        store = Store(root / "runs" / "store")
        self.materials = prepare(self.study, store, lambda *_: None)
        self.desk = Written(
            root / "runs" / self.study.name, self.study, self.materials.images, self.materials.weights
        )
        self.folder = self.desk.root
        cache = ImageCache(store.root)
        images = {name: cache.load(key) for name, key in self.materials.images.items()}
        exposure = [parts["queries"] for name, parts in images.items() if name.startswith("exposure:")]
        self.runtime = Runtime(
            torch.device("cpu"),
            images["victim"],
            images["queries"]["queries"],
            store.weights,
            exposure=next(iter(exposure), None),
        )

    def finished(self, defense: str, clones: Mapping[str, float] = COSTS, **params: Any) -> int:
        """A finished point with real answers; its clones are what a test says."""
        figures = part(0.5, clones, drop=0.1 if defense == "emma" else 0.0)
        number = self.desk.finished(defense, (figures, figures), **params)
        self.answer(number)
        return number

    def answer(self, number: int, seed: int | None = None) -> None:
        """Runs whatever the answers of a point need."""
        plan = self.desk.plan(number)
        for run, responses in plan.responses.items():
            if seed in (None, run):
                needed = {task.key for task in plan.upstream(responses)}
                for task in plan.tasks.values():  # in the order of the pipeline
                    if task.key in needed:
                        self.run(task)

    def run(self, task: Task) -> None:
        """Runs a task whose inputs are there, unless it is done."""
        store = self.desk.view.store
        if store.has(task.stage, task.key):
            return
        inputs = {stage: store.fetch(stage, key) for stage, key in task.inputs.items()}
        started = STAGES[task.stage].start(task.config, inputs=inputs, runtime=self.runtime)
        self.commit(task, run_through(started))

    def commit(self, task: Task, artifact: Artifact, **provenance: Any) -> None:
        """A task is done, and has left this."""
        self.desk.view.store.commit(
            task.stage, task.key, artifact, recipe=task.recipe, provenance={"seconds": 0.0, **provenance}
        )

    def stored(self, number: int, seed: int | None = None) -> torch.Tensor:
        """p' of the test part, (N, K)."""
        return self.desk.view.artifact(number, "responses", seed=seed).tensors["test"]

    def images(self) -> torch.Tensor:
        """The test part as it is asked, (N, C, h, w) uint8."""
        return torch.cat(list(self.runtime.victim_images("test").plain(512)))
