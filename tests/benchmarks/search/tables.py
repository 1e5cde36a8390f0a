"""The pairs of data, their recorded points, and studies that search the same spaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emma_tune.defenses import UNDEFENDED
from emma_tune.results.front import front_of, hypervolume
from emma_tune.study import Study
from emma_tune.study.file import load_study
from tests.benchmarks.search.emulator import Emulator, curve_columns, read_table

HERE = Path(__file__).parent / "tables"
PAIRS = ("digits_letters", "letters_mnist5k")
HELD_OUT = "digits_mnist5k"

SOFT = ": soft alone"
"""Ends the name of a pair where only the attacker `soft` counts, as in studies/digits.yaml; the other waits for
the front, which is beyond what is replayed."""

OTHERS = (
    "[{kind: random_mix, epsilon: {low: 0.05, high: 1.0}}, {kind: reverse_sigmoid, beta: {low: 0.05, high: 1.6}}]"
)
SPACE = (
    "search.space.lambda={low: 0.003, high: 0.3, log: true}",
    "search.space.lr_gamma={low: 0.03, high: 3.0, log: true}",
    "search.space.st_epoch=[0, 2, 5, 8]",
)
OF_POINTS = ("surrogate", "matrix", "responses", "attacker", "evaluation")
"""Stages whose seconds count as compute: the victim and its clean answers are the same for every search."""


def study_of(pair: str, *overrides: str, defenses: int = 1) -> Study:
    """Make a study that searches the space of a pair's table: of EMMA alone, or of three defenses."""
    fixed = ["baselines=[]" if defenses == 1 else f"baselines={OTHERS}", *SPACE]
    if pair.endswith(SOFT):
        fixed.append("attackers.hard.when=front")
    study = HERE / f"{pair.removesuffix(SOFT)}.yaml"
    return load_study(study, [*fixed, "search.sampler=gp", "search.stop=own", *overrides])


@dataclass(frozen=True)
class Anchor:
    """What the exhaustive grid takes and finds.

    Attributes:
        seconds: of all its points.
        volume: mean hypervolume of its front over seeds, valued as that of a search.
        alone: hypervolume of the undefended answers alone.
    """

    seconds: float
    volume: float
    alone: float


class Recorded:
    """The recorded points of a pair, emulated.

    Args:
        pair: name of the table, perhaps followed by `SOFT`.
        defenses: 1 for EMMA alone, or 3.
        folder: where the table is.
        nearest: whether a point is worth what the nearest recorded one is, instead of what the emulator says.
    """

    def __init__(self, pair: str, defenses: int = 1, folder: Path = HERE, *, nearest: bool = False) -> None:
        self.pair, self.defenses = pair, defenses
        self.table = read_table(folder / f"{pair.removesuffix(SOFT)}.csv")
        self.study = study_of(pair, defenses=defenses)
        self.emulators = {
            name: Emulator(self.table, self.study, name, nearest=nearest) for name in self.study.searches
        }
        self.attackers = tuple(self.study.counting)

    @cached_property
    def paces(self) -> dict[str, float]:
        """Seconds of an epoch by stage, of a task where a stage has no epochs."""
        table, clone = self.table, self.attackers[0]
        epochs = len(curve_columns(table, clone))
        return {
            "surrogate": float((table["seconds.surrogate"] / table.st_epoch.replace(0, np.nan)).median()),
            "matrix": float((table["seconds.matrix"] / table.epochs).median()),
            "responses": float(table["seconds.responses"].median()),
            "attacker": float(table[f"seconds.{clone}"].median()) / epochs,
            "evaluation": float(table["seconds.evaluation"].median()),
        }

    @cached_property
    def nodes(self) -> pd.DataFrame:
        """The points of the grid, of the searched defenses, once each."""
        return self.table[self.table.defense.isin(list(self.emulators)) & (self.table.repeat == 0)]

    def evaluated(self, defense: str, params: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Return the validation figures of one evaluation, noise included."""
        return self._figures(self.emulators[defense].evaluate(params, seed).figures)

    def value(self, defense: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the validation figures that a point would have in the mean."""
        emulator = self.emulators[defense]
        return self._figures(emulator.mean(*emulator.place(params)))

    def _figures(self, found: Mapping[str, float]) -> dict[str, Any]:
        clones = {name: found[name] for name in self.attackers}
        costs = {name: found[name] for name in ("l1", "accuracy_drop")}
        return {**costs, "attacker_accuracy": max(clones.values()), "attackers": clones}

    def volumes(self, evaluated: Mapping[int, tuple[dict[str, Any], dict[str, Any]]]) -> tuple[float, float]:
        """Compute the hypervolume of the front that evaluations choose, by what its points are worth.

        Args:
            evaluated: of each point the figures it was chosen by, and those it is worth.

        Returns:
            Of the front alone, and together with the undefended answers.
        """
        front = front_of(self.study, {number: seen for number, (seen, _) in evaluated.items()})
        kept = [evaluated[n][1] for n in front if self.study.limits.kept_by(evaluated[n][1])]
        own = hypervolume(kept, self.study.objectives)
        return own, hypervolume([*kept, self.undefended], self.study.objectives)

    @cached_property
    def undefended(self) -> dict[str, Any]:
        """The figures of the answers as they are."""
        row = self.table[self.table.defense == UNDEFENDED].mean(numeric_only=True)
        clones = {name: float(row[curve_columns(self.table, name)[-1]]) for name in self.attackers}
        return self._figures({"l1": 0.0, "accuracy_drop": 0.0, **clones})

    def anchor(self, seeds: int) -> tuple[Anchor, Anchor]:
        """Evaluate the whole grid under each seed: hypervolume of the front alone, and as gain over no defense."""
        rows = self.nodes.to_dict("records")
        found = []
        for seed in range(seeds):
            evaluated = {
                number: (self.evaluated(row["defense"], row, seed), self.value(row["defense"], row))
                for number, row in enumerate(rows)
            }
            found.append(self.volumes(evaluated))
        alone = hypervolume([self.undefended], self.study.objectives)
        (own, joint), seconds = np.mean(found, axis=0), self.grid_seconds
        return Anchor(seconds, float(own), alone), Anchor(seconds, float(joint) - alone, alone)

    @cached_property
    def grid_seconds(self) -> float:
        """Seconds of all points of the grid; surrogates, which points share, once."""
        stages = [f"seconds.{name}" for name in ("matrix", "responses", *self.attackers)]
        evaluations = len(self.attackers) * self.nodes["seconds.evaluation"].sum()
        return float(self.nodes[stages].sum().sum() + evaluations + self.nodes["seconds.surrogate"].max())
