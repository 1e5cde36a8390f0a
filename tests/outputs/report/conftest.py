"""Studies for a report, written by hand, with the records that a page looks into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from emma_tune.plan import Task
from emma_tune.storage.artifact import Artifact
from emma_tune.study import Study
from tests.conftest import TINY, merged
from tests.results.desk import Written

SIX = [1, 2, 3, 4, 5, 6]
"""Seeds enough to speak of differences."""


class Desk(Written):
    """A study's folder with points and records that a test puts there."""

    def record(self, task: Task, artifact: Artifact, **provenance: Any) -> None:
        """A task is done, and has left this."""
        provenance = {"seconds": 1.0, **provenance}
        self.view.store.commit(task.stage, task.key, artifact, recipe=task.recipe, provenance=provenance)

    def answered(self, classes: int = 10, images: int = 8) -> None:
        """The victims have answered: so many classes and images are known from then on."""
        parts = ("queries", "validation", "test")
        for seed in self.view.study.seeds:
            _, posteriors = self.planner.foundation(seed)
            self.record(posteriors, Artifact({name: torch.full((images, classes), 1 / classes) for name in parts}))

    def learned(self, number: int, accuracies: Sequence[float], attacker: str = "soft", **provenance: Any) -> None:
        """The clones of a point were trained, in every run with these test accuracies after each epoch."""
        history = [{"epoch": epoch, "test.accuracy": value} for epoch, value in enumerate(accuracies)]
        for (_, name), task in self.plan(number).attackers.items():
            if name == attacker:
                self.record(task, Artifact({}, {}, history), **provenance)

    def matrix(self, number: int, T: torch.Tensor, traces: Sequence[float] = ()) -> None:
        """The matrix of an emma point is done, in every run."""
        history = [{"epoch": epoch, "trace": value} for epoch, value in enumerate(traces)]
        for task in self.plan(number).tasks.values():
            if task.stage == "matrix":
                self.record(task, Artifact({"matrix": T}, {}, history))


def desk(root: Path, **changes: Any) -> Desk:
    """The tiny study with changes, and no points yet."""
    study = Study.model_validate(merged(TINY, {"attackers": {"soft": {}}, **changes}))
    return Desk(root / "runs" / study.name, study)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Desk]:
    """`written(seeds=[1, 2])`: the tiny study with changes, and no points yet, in a folder of its name."""
    return lambda **changes: desk(tmp_path, **changes)
