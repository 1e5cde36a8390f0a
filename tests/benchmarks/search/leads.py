"""What could make a search cheaper, tried on recorded points in random orders: what it saves, and what it loses.

A walk goes through recorded points of EMMA in a random order, trains their clones an epoch at a time, and stops a
point as a rule says. A point is stopped wrongly if its own final figures would not have been beaten by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tests.benchmarks.search.emulator import curve_columns
from tests.benchmarks.search.tables import Recorded

KNOWN_AFTER_MATRIX = ("surrogate", "trace", "outer_loss", "inner_loss", "validation.l1")
WALKS, POINTS = 100, 60
ENOUGH = 10
"""Finished points, or clones, that a prediction needs."""


class Rule(NamedTuple):
    """When points are stopped, beside those that are beaten for certain.

    Attributes:
        label: names it.
        certain: whether points that are beaten for certain are stopped.
        turns: whether attackers train one after the other, the one that was the worst most often first.
        limit: whether points beyond the limit are stopped before any clone.
        late: risk of a bound on clones by the gains of finished ones after a third of their epochs.
        screen: risk of a bound on the worst clone by a linear model on `by`, before any clone.
        by: what the model knows of a point.
    """

    label: str
    certain: bool = True
    turns: bool = False
    limit: bool = False
    late: float | None = None
    screen: float | None = None
    by: tuple[str, ...] = ()


RULES = (
    Rule("every point to its end", certain=False),
    Rule("stop: own, attackers side by side"),
    Rule("stop: own, attackers take turns", turns=True),
    Rule("and points beyond the limit before any clone", turns=True, limit=True),
    Rule("and a bound on late epochs, risk 0.1", turns=True, limit=True, late=0.1),
    Rule("and a screen by l1 alone, risk 0.1", turns=True, limit=True, screen=0.1, by=("validation.l1",)),
    Rule("and a screen by surrogate alone, risk 0.1", turns=True, limit=True, screen=0.1, by=("surrogate",)),
    Rule(
        "and a screen by l1, st_epoch and surrogate, risk 0.1",
        turns=True,
        limit=True,
        screen=0.1,
        by=("validation.l1", "st_epoch", "surrogate"),
    ),
)  # fmt: skip


@dataclass
class Walked:
    """What came of one walk.

    Attributes:
        epochs: of clones, as a share of training all to their end.
        guessed: points stopped by a prediction, and how many of them wrongly.
        covered: of the clones with a bound on late epochs, those that ended at it or above.
        volume: hypervolume of the front, by what its points are worth.
    """

    epochs: float
    guessed: int
    wrong: int
    bounded: int
    covered: int
    volume: float


class Walk:
    """One walk through recorded points under a rule."""

    def __init__(self, recorded: Recorded, rule: Rule) -> None:
        self._recorded, self._rule = recorded, rule
        self._columns = {name: curve_columns(recorded.table, name) for name in recorded.attackers}
        self._finished: list[dict[str, Any]] = []
        self._gains: dict[str, list[float]] = {name: [] for name in recorded.attackers}
        self._worst = dict.fromkeys(recorded.attackers, 0)
        self.trained = self.guessed = self.wrong = self.bounded = self.covered = 0

    def through(self, rows: Sequence[dict[str, Any]]) -> Walked:
        """Go through some rows of a table."""
        for row in rows:
            curves = {name: [row[column] for column in columns] for name, columns in self._columns.items()}
            self._visit(row, curves)
        whole = len(rows) * sum(map(len, self._columns.values()))
        kept = {n: (self._figures(row), self._recorded.value("emma", row)) for n, row in enumerate(self._finished)}
        volume, _ = self._recorded.volumes(kept)
        return Walked(self.trained / whole, self.guessed, self.wrong, self.bounded, self.covered, volume)

    def _visit(self, row: dict[str, Any], curves: dict[str, list[float]]) -> None:
        final = {name: curve[-1] for name, curve in curves.items()}
        row = {**row, **{f"final.{name}": value for name, value in final.items()}, "worst": max(final.values())}
        if self._rule.limit and not self._keeps_limit(row):
            return
        if self._screened(row):
            return
        reached = dict.fromkeys(curves, 0.0)
        third = round(len(next(iter(curves.values()))) / 3)
        for name, epoch in self._schedule(curves):
            self.trained += 1
            reached[name] = curves[name][epoch - 1]
            least = max(reached.values())
            if self._rule.certain and self._beaten(row, least):
                return
            if epoch == third and self._late(row, name, reached[name]):
                return
        self._finished.append(row)
        self._worst[max(final, key=final.__getitem__)] += 1
        for name, curve in curves.items():
            self._gains[name].append(curve[-1] - curve[third - 1])

    def _schedule(self, curves: dict[str, list[float]]) -> Iterator[tuple[str, int]]:
        epochs = range(1, len(next(iter(curves.values()))) + 1)
        if self._rule.turns:
            for name in sorted(curves, key=self._worst.__getitem__, reverse=True):
                yield from ((name, epoch) for epoch in epochs)
        else:
            yield from ((name, epoch) for epoch in epochs for name in curves)

    def _late(self, row: dict[str, Any], name: str, reached: float) -> bool:
        gains = self._gains[name]
        if self._rule.late is None or len(gains) < ENOUGH:
            return False
        bound = reached + float(np.quantile(gains, self._rule.late))
        self.bounded += 1
        self.covered += row[f"final.{name}"] >= bound
        return self._guess(row, bound)

    def _screened(self, row: dict[str, Any]) -> bool:
        if self._rule.screen is None or len(self._finished) < ENOUGH:
            return False
        known = np.array([[1.0, *(of[name] for name in self._rule.by)] for of in self._finished])
        worst = np.array([of["worst"] for of in self._finished])
        weights = np.linalg.lstsq(known, worst, rcond=None)[0]
        guess = float(np.array([1.0, *(row[name] for name in self._rule.by)]) @ weights)
        return self._guess(row, guess + float(np.quantile(worst - known @ weights, self._rule.screen)))

    def _guess(self, row: dict[str, Any], least: float) -> bool:
        """Stop a point that would be beaten with a worst clone of at least this accuracy."""
        if not self._beaten(row, least):
            return False
        self.guessed += 1
        self.wrong += self._keeps_limit(row) and not self._beaten(row, row["worst"])
        return True

    def _beaten(self, row: dict[str, Any], least: float) -> bool:
        l1 = row["validation.l1"]
        return any(
            of["validation.l1"] <= l1
            and of["worst"] <= least
            and (of["validation.l1"] < l1 or of["worst"] < least)
            for of in self._finished
            if self._keeps_limit(of)
        )

    def _keeps_limit(self, row: dict[str, Any]) -> bool:
        limit = self._recorded.study.limits.accuracy_drop
        return limit is None or row["validation.accuracy_drop"] <= limit

    def _figures(self, row: dict[str, Any]) -> dict[str, Any]:
        costs = {"l1": row["validation.l1"], "accuracy_drop": row["validation.accuracy_drop"]}
        return {**costs, "attacker_accuracy": row["worst"]}


def correlations(recorded: Recorded) -> pd.DataFrame:
    """Rank points within the limit by what is known after a matrix, and by their clones: Spearman."""
    rows = recorded.nodes[recorded.nodes.defense == "emma"]
    rows = rows[rows["validation.accuracy_drop"] <= recorded.study.limits.accuracy_drop]
    finals = {name: rows[curve_columns(rows, name)[-1]] for name in recorded.attackers}
    finals["worst"] = pd.DataFrame(finals).max(axis=1)
    known = list(KNOWN_AFTER_MATRIX)
    table = pd.DataFrame({name: rows[known].corrwith(of, method="spearman") for name, of in finals.items()})
    partial = {}
    given = rows[["validation.l1", "st_epoch"]].rank().assign(one=1.0).to_numpy()
    rest = _less(finals["worst"].rank().to_numpy(), given)
    for name in known[:-1]:
        partial[name] = float(np.corrcoef(_less(rows[name].rank().to_numpy(), given), rest)[0, 1])
    return table.assign(**{"worst, given l1 and st_epoch": pd.Series(partial)})


def _less(values: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Subtract what a linear model of the given columns explains."""
    return values - given @ np.linalg.lstsq(given, values, rcond=None)[0]


def compare_rules(recorded: Recorded) -> pd.DataFrame:
    """Walk under every rule, in the same random orders."""
    rows = recorded.nodes[recorded.nodes.defense == "emma"].to_dict("records")
    found = []
    for rule in RULES:
        walks = []
        for seed in range(WALKS):
            order = np.random.default_rng(seed).permutation(len(rows))[:POINTS]
            walks.append(Walk(recorded, rule).through([rows[place] for place in order]))
        guessed, bounded = sum(of.guessed for of in walks), sum(of.bounded for of in walks)
        volumes = np.array([of.volume for of in walks])
        found.append(
            {
                "rule": rule.label,
                "epochs, %": 100 * np.mean([of.epochs for of in walks]),
                "stopped by a guess": guessed / WALKS,
                "of them wrongly, %": 100 * sum(of.wrong for of in walks) / guessed if guessed else np.nan,
                "coverage, %": 100 * sum(of.covered for of in walks) / bounded if bounded else np.nan,
                "hypervolume": volumes.mean(),
                "±": volumes.std() / WALKS**0.5,
            }
        )
    return pd.DataFrame(found)
