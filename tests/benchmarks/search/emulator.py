"""An emulator of recorded points: what an evaluation anywhere in the space would have given, noise included.

For each defense and figure a Gaussian process over the parameters gives the mean. An evaluation adds to it the
residuals of one repeat of a recorded point nearby, of all figures at once, so that what errs together in a study
errs together here. Its clones' curves are those of the nearest recorded point, scaled to end at their accuracy.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import GroupKFold

from emma_tune.study import Study

KINK = 0.02
"""Accuracy drops are emulated as asinh(drop / KINK): most are about 0, some are large."""

NEIGHBORS = 8
"""Of how many recorded points nearby the residuals are drawn."""

FOLDS = 10


class Evaluation(NamedTuple):
    """What the evaluation of a point gives.

    Attributes:
        figures: `l1`, `accuracy_drop`, validation accuracy of each clone by attacker; of a learned defense
            `surrogate`, that of the surrogate.
        curves: best validation accuracy so far of each clone.
        epochs: of the matrix; 0 where there is none.
    """

    figures: dict[str, float]
    curves: dict[str, list[float]]
    epochs: int


class Emulator:
    """Emulates the recorded points of one defense.

    Args:
        table: as `record` makes it.
        study: whose spaces and attackers count.
        defense: a searched one.
        nearest: whether means are those of the nearest recorded point instead.
    """

    def __init__(self, table: pd.DataFrame, study: Study, defense: str, *, nearest: bool = False) -> None:
        self._space = study.searches[defense].space
        self._attackers = tuple(study.counting)
        self.rows = table[table.defense == defense].reset_index(drop=True)
        self._curves = {name: curve_columns(self.rows, name) for name in self._attackers}
        self.figures = ["l1", "accuracy_drop", *self._attackers]
        if self.rows.surrogate.notna().any():
            self.figures.append("surrogate")
        self._places = np.array([self.place(row) for row in self.rows.to_dict("records")])
        values = {"l1": self.rows["validation.l1"], "accuracy_drop": self.rows["validation.accuracy_drop"]}
        values |= {name: self.rows[columns[-1]] for name, columns in self._curves.items()}
        values |= {"surrogate": self.rows.surrogate}
        self._values = np.array([_stretched(name, values[name].to_numpy()) for name in self.figures]).T
        self._models = [self._fit(column) for column in self._values.T]
        self._residuals, self._origins = self._find_residuals()
        self.mean = cache(self._nearest_mean if nearest else self._mean)

    def place(self, params: Mapping[str, Any]) -> list[float]:
        """Return where parameters lie in the space, each in [0, 1]."""
        place = []
        for name, dimension in self._space.items():
            low, high = dimension.bounds
            log = getattr(dimension, "log", False)
            place.append(
                float(np.log(params[name] / low) / np.log(high / low))
                if log
                else (float(params[name]) - low) / (high - low)
            )
        return place

    def _mean(self, *place: float) -> dict[str, float]:
        found = [float(model.predict(np.array([place]))[0]) for model in self._models]
        return {name: _bounded(name, value) for name, value in zip(self.figures, found, strict=True)}

    def _nearest_mean(self, *place: float) -> dict[str, float]:
        nearest = self.rows.point[int(((self._places - place) ** 2).sum(axis=1).argmin())]
        found = self._values[(self.rows.point == nearest).to_numpy()].mean(axis=0)
        return {name: _bounded(name, value) for name, value in zip(self.figures, found, strict=True)}

    def evaluate(self, params: Mapping[str, Any], seed: int) -> Evaluation:
        """Evaluate a point once; the same point under the same seed always gives the same."""
        place = self.place(params)
        distances = ((self._places - place) ** 2).sum(axis=1)
        nearest = int(distances.argmin())
        residual = self._residual(place, seed)
        mean = self.mean(*place)
        stretched = [float(_stretched(name, np.array(mean[name]))) for name in self.figures]
        figures = {
            name: _bounded(name, value + noise)
            for name, value, noise in zip(self.figures, stretched, residual, strict=True)
        }
        row = self.rows.iloc[nearest]
        curves = {}
        for name, columns in self._curves.items():
            curve = row[columns].to_numpy(dtype=float)
            curves[name] = [float(value) for value in curve * (figures[name] / max(curve[-1], 1e-9))]
        epochs = row.epochs if "epochs" in row and not np.isnan(row.epochs) else 0
        return Evaluation(figures, curves, int(epochs))

    def _residual(self, place: list[float], seed: int) -> np.ndarray:
        name = repr((seed, [round(value, 9) for value in place]))
        chance = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:16], 16))
        near = ((self._origins - place) ** 2).sum(axis=1)
        points = np.unique(near)[:NEIGHBORS]
        of_near = np.flatnonzero(near <= points[-1])
        return self._residuals[chance.choice(of_near)]

    def _find_residuals(self) -> tuple[np.ndarray, np.ndarray]:
        """Take repeats less their mean, widened for the mean's own error; without repeats, from the model."""
        counts = self.rows.groupby("point").point.transform("size")
        if (counts > 1).any():
            repeated = (counts > 1).to_numpy()
            groups = pd.DataFrame(self._values[repeated]).groupby(self.rows.point[repeated].to_numpy())
            widened = np.sqrt(counts[repeated] / (counts[repeated] - 1)).to_numpy()[:, None]
            return (self._values[repeated] - groups.transform("mean").to_numpy()) * widened, self._places[repeated]
        fitted = np.array([model.predict(self._places) for model in self._models]).T
        return self._values - fitted, self._places

    def _fit(self, values: np.ndarray) -> GaussianProcessRegressor:
        lengths = [0.5] * self._places.shape[1]
        signal = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(lengths, (0.05, 20.0), nu=2.5)
        model = GaussianProcessRegressor(signal + WhiteKernel(0.1, (1e-6, 1.0)), normalize_y=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the bounds are meant
            return model.fit(self._places, values)

    def errors(self) -> pd.DataFrame:
        """Compare the emulator's error with the noise, by figure.

        Returns:
            Rows by figure: `deviation` over the space, `error` (root mean square, of points left out, repeats
            included) and `noise` (standard deviation over repeats; NaN without any).
        """
        errors = np.zeros_like(self._values)
        for fold, (known, left) in enumerate(GroupKFold(FOLDS).split(self._places, groups=self.rows.point)):
            del fold
            for column, model in enumerate(self._models):
                of_fold = GaussianProcessRegressor(model.kernel_, optimizer=None, normalize_y=True)
                of_fold.fit(self._places[known], self._values[known, column])
                for place in left:
                    guess = _bounded(self.figures[column], float(of_fold.predict(self._places[[place]])[0]))
                    value = _bounded(self.figures[column], float(self._values[place, column]))
                    errors[place, column] = guess - value
        plain = np.array(
            [[_bounded(n, v) for n, v in zip(self.figures, row, strict=True)] for row in self._values]
        )
        groups = pd.DataFrame(plain).groupby(self.rows.point.to_numpy())
        noise = np.sqrt(groups.var().mean())
        return pd.DataFrame(
            {
                "deviation": plain.std(axis=0),
                "error": np.sqrt((errors**2).mean(axis=0)),
                "noise": noise.to_numpy(),
            },
            index=self.figures,
        )


def curve_columns(table: pd.DataFrame, attacker: str) -> list[str]:
    """List the columns of an attacker's curve, in the order of the epochs."""
    names = [
        str(name) for name in table if str(name).startswith(f"{attacker}.") and str(name) != f"{attacker}.test"
    ]
    return sorted(names, key=lambda name: int(name.rpartition(".")[2]))


def read_table(path: Path) -> pd.DataFrame:
    """Read a table that `record` made."""
    return pd.read_csv(path)


def _stretched(name: str, values: np.ndarray) -> np.ndarray:
    return np.arcsinh(values / KINK) if name == "accuracy_drop" else values


def _bounded(name: str, value: float) -> float:
    """Turn an emulated value back into a figure, within its range."""
    if name == "accuracy_drop":
        return float(np.clip(np.sinh(value) * KINK, -1, 1))
    return float(np.clip(value, 0, 2 if name == "l1" else 1))
