"""Studies written down by hand: every figure of every run is what a test says, and nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emma_tune.plan import Planner, Point, PointPlan, Task
from emma_tune.results import StudyView
from emma_tune.results.folder import Started, StudyFolder
from emma_tune.results.ledger import LedgerWriter, Outcome
from emma_tune.storage.artifact import Artifact
from emma_tune.study import Study

IMAGES = {"victim": "v", "queries": "q"}

Part = dict[str, Any]
"""Measures of one part of one run."""


def counts(**others: int) -> dict[str, int]:
    """How many points there are of each kind: none but these."""
    return (
        dict.fromkeys(("asked", "finished", "infeasible", "stopped", "dominated", "excluded", "failed"), 0)
        | others
    )


def part(l1: float, clones: float | Mapping[str, float], *, drop: float = 0.0) -> Part:
    """What one run measured on one part; a single clone accuracy is that of a soft thief."""
    thieves = dict(clones) if isinstance(clones, Mapping) else {"soft": clones}
    return {
        "l1": l1,
        "l1_queries": l1 / 2,
        "victim_accuracy": 0.9 - drop,
        "accuracy_drop": drop,
        "flip_rate": 0.0,
        "attackers": thieves,
        "attacker_accuracy": max(thieves.values()),
    }


def mean(parts: Sequence[Part]) -> Part:
    """Every measure averaged over runs; the worst case is that of each run."""
    plain = {
        name: sum(run[name] for run in parts) / len(parts)
        for name in parts[0]
        if not isinstance(parts[0][name], dict)
    }
    names = parts[0]["attackers"]
    return {
        **plain,
        "attackers": {name: sum(run["attackers"][name] for run in parts) / len(parts) for name in names},
    }


class Written:
    """A study's folder with points that a test puts there.

    Args:
        root: of the study.
        study: the study.
        images: fingerprints of its images.
        weights: fingerprints of initial weights, and of a victim that is given.
    """

    def __init__(
        self, root: Path, study: Study, images: Mapping[str, str] = IMAGES, weights: Mapping[str, str] = {}
    ) -> None:
        self.root = root
        place = StudyFolder(root)
        place.root.mkdir(parents=True)
        place.write(Started(study, images, root.parent / "store", weights))
        (root.parent / "store").mkdir(exist_ok=True)
        self.planner = Planner(study, images, weights)
        self._ledger = place.ledger
        self._next = 0

    def finished(self, defense: str, *runs: tuple[Part, Part], **params: Any) -> int:
        """A point with validation and test figures of each run, in order of the plan's runs; one for all."""
        number = self.asked(defense, **params)
        seeds = list(self.planner.runs)
        by_run = dict(zip(seeds, runs if len(runs) > 1 else runs * len(seeds), strict=True))
        figures: dict[str, Any] = {
            name: mean([pair[index] for pair in by_run.values()])
            for index, name in enumerate(("validation", "test"))
        }
        figures["runs"] = {str(run): {"validation": pair[0], "test": pair[1]} for run, pair in by_run.items()}
        self._write("concluded", number, Outcome(self.planner.digest, figures=figures))
        return number

    def dominated(
        self, defense: str, by: int | None, validation: Part, *, costs: bool = True, **params: Any
    ) -> int:
        """A point that was left, beaten by another one or else beyond the limits.

        Its costs on test data are those of validation, where they are known.
        """
        number = self.asked(defense, **params)
        known = {name: value for name, value in validation.items() if not name.startswith("attacker")}
        bounds = {"validation": validation, "test": known if costs else {}}
        self._write("concluded", number, Outcome(self.planner.digest, bounds=bounds, by=by, left_out=1))
        return number

    def failed(self, defense: str, **params: Any) -> int:
        """A point that failed."""
        number = self.asked(defense, **params)
        self._write("failed", number, plan=self.planner.digest, reason="matrix: ValueError: no", task="k")
        return number

    def asked(self, defense: str, *, number: int | None = None, **params: Any) -> int:
        """A point that nothing is known of. Each searched one is another proposal, unless a test says which."""
        number = self._next if number is None else number
        self._next = number + 1
        if defense == "emma":
            params = {"lambda": (number + 1) / 100, "lr_gamma": 0.3, "st_epoch": 1, **params}
        self._write("asked", Point(number, defense, params), {})
        return number

    def plan(self, number: int) -> PointPlan:
        """The tasks of a point."""
        return self.planner.point(self.view.ledger.points[number])

    def commit(
        self, task: Task, metrics: Mapping[str, float] = {}, *, seconds: float = 0.0, answer: float | None = None
    ) -> None:
        """A task is done, and has measured this."""
        timings = {} if answer is None else {"timings": {"answer": answer}}
        artifact, provenance = Artifact({}, dict(metrics)), {"seconds": seconds, **timings}
        self.view.store.commit(task.stage, task.key, artifact, recipe=task.recipe, provenance=provenance)

    def _write(self, what: str, *arguments: Any, **named: Any) -> None:
        writer = LedgerWriter(self._ledger)
        getattr(writer, what)(*arguments, **named)
        writer.close()

    @property
    def view(self) -> StudyView:
        """The folder as everybody reads it."""
        return StudyView(self.root)
