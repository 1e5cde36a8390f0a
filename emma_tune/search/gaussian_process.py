"""A Gaussian process: what a figure is at any point of a space, and how sure that is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

Array = NDArray[np.float64]

LENGTH, AMPLITUDE, NOISE = (0.5, 0.6), (1.0, 0.5), (0.05, 1.0)
"""Priors of lengths in the unit cube, and of variances of values whose own variance is 1: the median, and the
deviation of the logarithm. Few points do not tell these; without priors the likeliest ones are often extreme."""

ENOUGH = 200
"""Points from which hyperparameters are found, which takes the third power of their number; all count as data."""

LEAST_DEVIATION = 1e-9
"""Of values, as a share of their mean: equal ones differ from it by rounding."""

LEAST_VARIANCE = 1e-8
"""Of a prediction, where the values' own variance is 1."""


class GaussianProcess:
    """A model of values at points of the unit cube: Matérn 5/2, a length for each dimension, and noise.

    Args:
        points: (N, d), each coordinate in [0, 1].
        values: (N,).
    """

    def __init__(self, points: Array, values: Array) -> None:
        self._center, self._scale = float(values.mean()), float(values.std())
        if self._scale < LEAST_DEVIATION * max(1.0, abs(self._center)):
            self._scale = 1.0
        scaled = (values - self._center) / self._scale
        priors = [AMPLITUDE, *[LENGTH] * points.shape[1], NOISE]
        medians = np.array([median for median, _ in priors])
        kernel = ConstantKernel(medians[0]) * Matern(medians[1:-1], nu=2.5) + WhiteKernel(medians[-1])
        some = np.linspace(0, len(points) - 1, min(len(points), ENOUGH)).round().astype(int)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of noise that is close to none
            self._model = GaussianProcessRegressor(kernel, optimizer=_most_probable(priors))
            self._model.fit(points[some], scaled[some])
        if len(some) < len(points):
            self._model = GaussianProcessRegressor(self._model.kernel_, optimizer=None).fit(points, scaled)
        self._noise = float(self._model.kernel_.k2.noise_level)

    def means(self, points: Array) -> Array:
        """Predict the mean at points (M, d): (M,)."""
        return self._center + self._scale * np.asarray(self._model.predict(points))

    def predict(self, points: Array) -> tuple[Array, Array, Array]:
        """Predict at points (M, d), of the value without noise.

        Returns:
            Means; deviations; and by how much, as a deviation, one more measurement there would move the mean,
            which is less, the more of it is noise: (M,) each.
        """
        mean, deviation = self._model.predict(points, return_std=True)
        variance = np.maximum(deviation**2 - self._noise, LEAST_VARIANCE)
        moved = variance / np.sqrt(variance + self._noise)
        return self._center + self._scale * mean, self._scale * np.sqrt(variance), self._scale * moved


def _most_probable(priors: Sequence[tuple[float, float]]) -> Callable[..., tuple[Array, float]]:
    """Make an optimizer of hyperparameters, given as logarithms, that weighs their likelihood with priors."""
    median = np.log([of[0] for of in priors])
    deviation = np.array([of[1] for of in priors])

    def optimize(loss: Callable[..., tuple[float, Array]], initial: Array, bounds: Array) -> tuple[Array, float]:
        def penalized(logarithms: Array) -> tuple[float, Array]:
            value, gradient = loss(logarithms, eval_gradient=True)
            off = (logarithms - median) / deviation
            return value + 0.5 * float(off @ off), gradient + off / deviation

        found = minimize(penalized, initial, jac=True, method="L-BFGS-B", bounds=bounds)
        return found.x, found.fun

    return optimize
