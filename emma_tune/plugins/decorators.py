"""The decorators of a plug-in. They return what they decorate: all that they say is read from the source.

Their signatures are the only list of what can be declared: `declarations.py` checks a file against them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from emma_tune.defenses import Parameter

F = TypeVar("F", bound=Callable[..., object])
NOTHING: Mapping[str, float] = {}


def _unchanged(declared: F) -> F:
    return declared


def defense(
    *,
    parameters: Sequence[Parameter] = (),
    settings: Mapping[str, float] = NOTHING,
    linear: bool = False,
    randomized: bool = False,
    learned: bool = False,
) -> Callable[[F], F]:
    """Declare a defense.

    The function is called with its parameters and settings by name, and returns p', (N, K) distributions:

    - `f(posteriors, *, …)`, row by row;
    - randomized: `f(posteriors, *, seeds, …)`, where `seeds` has one number a query, (N,) int64;
    - linear: `f(classes, *, generator, …)`, which returns T, (K, K) row-stochastic, for p' = pT;
    - learned: `f(release, params)`, which returns the `Objective` that T is optimized for.

    Args:
        parameters: its budget, with its range and the grid of a study that names only the defense; of a learned
            one all that is searched, besides `lr_gamma` and `st_epoch`.
        settings: its other parameters, with their usual values, all > 0.
        linear: whether it is a matrix that is not learned.
        randomized: whether it draws noise.
        learned: whether a matrix is learned for it; a study names it by `defense: {kind: …}`.
    """
    return _unchanged


def attacker(*, knows: str = "", needs_matrix: bool = False, knows_defense: bool = False) -> Callable[[F], F]:
    """Declare an attacker: `f(loot) -> Lesson`, what its clone is trained on (`emma_tune.attacks.lesson`).

    Args:
        knows: what it is assumed to know, in words; by default the answers, and the matrix T or the defense if it
            needs them.
        needs_matrix: whether there is nothing to attack unless the defense is a matrix.
        knows_defense: whether `loot.release` takes posteriors to answers as the defense does.
    """
    return _unchanged


def network() -> Callable[[F], F]:
    """Declare a network: `f(channels, classes) -> nn.Module`, a function or a class."""
    return _unchanged


def dataset(
    *, labeled: bool = True, side: int | None = None, classes: int | None = None, get: str = "your own"
) -> Callable[[F], F]:
    """Declare a data set: `f(root) -> Found | None` (`emma_tune.data.source`).

    The root is the study's data root as a `Path`, or None; it is None that says that the images are not there.

    Args:
        labeled: whether a victim can be trained on it; otherwise it is a query pool only.
        side: pixels that a victim's network sees; if left out, the arrays or the study determine it.
        classes: how many, for estimates.
        get: how to get it, in words.
    """
    return _unchanged


def measure(
    *,
    direction: Literal["min", "max"],
    best: float,
    worst: float,
    label: str,
    unit: Literal["", "%", "points"] = "",
) -> Callable[[F], F]:
    """Declare a measure: `f(p, released, labels) -> float`, of NumPy arrays (N, K), (N, K) and (N,).

    Args:
        direction: in which it is better for the defender.
        best: the value that no defense can better.
        worst: the value that no defense can exceed.
        label: names it on an axis or in a sentence.
        unit: empty, or of a rate in [0, 1] what it is shown in: `%`, or `points` for a difference of rates.
    """
    return _unchanged
