"""What early stopping costs the search: a sampler on recorded points, with several ways to treat stopped points.

    python -m tests.benchmarks.stopping [--table FILE.csv] [--points 12] [--seeds 20]

The table (digits_points.csv) holds finished points of studies of digits asked with letters, seed 3407. A proposal
gets the figures of the nearest recorded point. Its clones train side by side, an epoch at a time, and the point is
stopped once a finished one beats what it can still reach, as in a run with `search.stop: own`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from optuna.storages import InMemoryStorage

from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.results.dominance import Rivals
from emma_tune.results.front import front_of, hypervolume
from emma_tune.search.early_stopping import Curves
from emma_tune.search.proposals import Proposer
from emma_tune.study import Study
from emma_tune.study.file import load_study

HERE = Path(__file__).parent
TABLE = HERE / "digits_points.csv"
STUDY = HERE.parents[1] / "studies" / "digits.yaml"
NEAR = 0.1
"""Two proposals are near if they differ by less in every dimension, of its whole range."""

COSTS = ("l1", "accuracy_drop")


class Replayed(NamedTuple):
    """What came of one seed of a sampler.

    Attributes:
        volume: hypervolume of the front of the finished points, by validation figures.
        epochs: that clones were trained, as a share of training all of them to their end.
        finished: how many points were.
        crowd: the longest run of proposals each of which is near the one before.
    """

    volume: float
    epochs: float
    finished: int
    crowd: int


class Recorded:
    """Points that were run to their end.

    Args:
        table: a row a point: parameters, validation costs, and as `ATTACKER.EPOCH` the best validation accuracy
            so far.
        study: whose space and attackers count.
    """

    def __init__(self, table: pd.DataFrame, study: Study) -> None:
        self._table = table
        space = study.search.space
        self._scales: dict[str, Callable[[float], float]] = {
            "lambda": _scale(*space.dimensions["lambda"].bounds, log=space.dimensions["lambda"].log),
            "lr_gamma": _scale(*space.lr_gamma.bounds, log=space.lr_gamma.log),
            "st_epoch": _scale(min(space.st_epoch.choices), max(space.st_epoch.choices), log=False),
        }
        self._places = np.array([self.place(row) for row in table.to_dict("records")])
        self.attackers = tuple(study.counting)

    def place(self, params: Mapping[str, Any]) -> list[float]:
        """Where parameters lie in the space, each in [0, 1]."""
        return [scale(params[name]) for name, scale in self._scales.items()]

    def nearest(self, params: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, list[float]]]:
        """Costs and clones' curves of the recorded point that is nearest to parameters."""
        distances = ((self._places - self.place(params)) ** 2).sum(axis=1)
        row = self._table.iloc[int(distances.argmin())]
        curves = {
            name: [float(row[column]) for column in self._table if str(column).startswith(f"{name}.")]
            for name in self.attackers
        }
        return {name: float(row[name]) for name in COSTS}, curves


def _scale(low: float, high: float, *, log: bool) -> Callable[[float], float]:
    def scale(value: float) -> float:
        if low == high:
            return 0.5
        return float(np.log(value / low) / np.log(high / low)) if log else (value - low) / (high - low)

    return scale


def replay(recorded: Recorded, study: Study, told: str, points: int) -> Replayed:
    """Run the study's sampler on recorded points.

    Args:
        recorded: the points.
        study: with the seed of the sampler.
        told: what the sampler learns of a stopped point: `estimate`, `bounds`, `nothing`; `all`: none is stopped.
        points: how many are proposed.
    """
    proposer, rivals, curves_of = Proposer(study, "emma", InMemoryStorage()), Rivals(study), Curves()
    asked: list[Point] = []
    finished: dict[int, dict[str, Any]] = {}
    trained = whole = 0
    for number in range(points):
        params, memory = proposer.propose(number, number, asked)
        point = Point(number, "emma", params)
        asked.append(point)
        costs, curves = recorded.nearest(params)
        epochs = max(map(len, curves.values()))
        for epoch in range(1, epochs + 1):
            reached = {name: curve[min(epoch, len(curve)) - 1] for name, curve in curves.items()}
            figures = _figures(costs, reached)
            if told != "all" and epoch < epochs and rivals.beaten_by("emma", figures) is not None:
                break
        trained += sum(min(epoch, len(curve)) for curve in curves.values())
        whole += sum(map(len, curves.values()))
        if epoch == epochs:
            finished[number] = figures
            rivals.add(point, figures)
            proposer.conclude(point, figures, memory)
            for name, curve in curves.items():
                curves_of.add("emma", name, curve)
        elif told == "nothing":
            proposer.fail(point)
        else:
            if told == "estimate":
                forecast = {name: curves_of.forecast("emma", name, best, epoch) for name, best in reached.items()}
                figures = _figures(costs, forecast)
            proposer.conclude(point, figures, memory, stopped=True)
    front = [finished[number] for number in front_of(study, finished)]
    places = np.array([recorded.place(point.params) for point in asked])
    return Replayed(hypervolume(front, study.objectives), trained / whole, len(finished), _longest_run(places))


def _figures(costs: Mapping[str, float], clones: Mapping[str, float]) -> dict[str, Any]:
    return {**costs, "attacker_accuracy": max(clones.values()), "attackers": dict(clones)}


def _longest_run(places: np.ndarray) -> int:
    longest = run = 1
    for near in (np.abs(np.diff(places, axis=0)) < NEAR).all(axis=1):
        run = run + 1 if near else 1
        longest = max(longest, run)
    return longest


def record(view: StudyView) -> pd.DataFrame:
    """Make the table from a study whose points were all run to their end, of one seed."""
    curves = view.curves()
    curves = curves[curves.stage == "attacker"]
    rows = []
    for point in view.ledger.points.values():
        figures = view.figures(point)
        if point.defense != "emma" or figures is None:
            continue
        own = curves[curves.point == point.number]
        rows.append(
            {
                **point.params,
                **{name: figures["validation"][name] for name in COSTS},
                **{
                    f"{row['attacker']}.{int(row['epoch']) + 1}": row["best.validation.accuracy"]
                    for row in own.to_dict("records")
                },
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.stopping", description=__doc__)
    parser.add_argument("--table", type=Path, default=TABLE, help="recorded points")
    parser.add_argument("--study", type=Path, default=STUDY, help="the study that they are of")
    parser.add_argument("--points", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--record", nargs="+", metavar="DIR", help="write the table from these studies instead")
    options = parser.parse_args()
    if options.record:
        tables = [record(StudyView(Path(folder))) for folder in options.record]
        pd.concat(tables).drop_duplicates().round(5).to_csv(options.table, index=False)
        return
    recorded = Recorded(pd.read_csv(options.table), load_study(options.study))
    for told in ("all", "estimate", "nothing", "bounds"):
        found = [
            replay(recorded, load_study(options.study, [f"search.seed={seed}"]), told, options.points)
            for seed in range(options.seeds)
        ]
        volumes = [of.volume for of in found]
        print(
            f"{told:>9}: hypervolume {fmean(volumes):.4f} ± {stdev(volumes) / len(volumes) ** 0.5:.4f}, epochs "
            f"{100 * fmean(of.epochs for of in found):.0f} %, finished {fmean(of.finished for of in found):.1f}, "
            f"longest run of near proposals {fmean(of.crowd for of in found):.1f}, "
            f"at most {max(of.crowd for of in found)}"
        )


if __name__ == "__main__":
    main()
