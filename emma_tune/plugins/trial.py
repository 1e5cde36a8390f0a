"""Try what a plug-in declares on a small batch, before a run starts. It has been executed by then."""

from __future__ import annotations

import copy
import inspect
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from emma_tune.attacks.lesson import Lesson, Loot
from emma_tune.defenses import DEFENSES, UNDEFENDED, Defense, Parameter
from emma_tune.defenses.objective import Objective
from emma_tune.defenses.release import Release
from emma_tune.plugins.declarations import Declaration, PluginError
from emma_tune.plugins.known import MODULE, Plugin
from emma_tune.plugins.loading import named, place_of
from emma_tune.plugins.tables import names_of

N, K = 12, 5
"""Rows and classes of the batch."""

CLOSE = 1e-4
"""How far two probabilities may differ that are to be the same."""


def try_out(plugin: Plugin) -> None:
    """Call every function that a plug-in declares, but for data sets and networks, which need the study's images.

    Raises:
        PluginError: if one cannot be called as it will be, raises an error, or returns something else.
    """
    for declared in plugin.declarations.values():
        function = getattr(sys.modules[f"{MODULE}{plugin.hash}"], declared.name, None)
        if not callable(function):
            raise PluginError(f"{declared.place}: {declared.name}: expected a function, found {function!r}")
        if declared.kind in _TRY:
            _TRY[declared.kind](_Trial(plugin, declared, function))


class _Trial:
    """A declared function, and how to say what is wrong with it."""

    def __init__(self, plugin: Plugin, declared: Declaration, function: Callable[..., object]) -> None:
        self.plugin, self.declared, self.function = plugin, declared, function

    def call(self, *values: Any, **named_values: object) -> object:
        """Call the function; errors become a line."""
        try:
            inspect.signature(self.function).bind(*values, **named_values)
        except TypeError as error:
            takes = ", ".join(["…"] * len(values) + [f"{name}=" for name in named_values])
            raise self.error(f"expected a function that can be called with ({takes}), found {error}") from error
        before = copy.deepcopy(values)
        found = self.tried(lambda: self.function(*values, **named_values))
        for given, copied in zip(values, before, strict=True):
            if isinstance(given, Tensor | np.ndarray) and not np.array_equal(given, cast("Any", copied)):
                raise self.error("expected what it is given left as it is, found it changed in place")
        return found

    def tried(self, call: Callable[[], Any]) -> Any:
        """Call what the function returned; errors become a line."""
        try:
            return call()
        except Exception as error:
            place = place_of(error, self.plugin.file)
            place = self.declared.place if place == self.plugin.file else place
            raise PluginError(
                f"{place}: {self.declared.name}: expected an answer to a small batch, found {named(error)}"
            ) from error

    def error(self, message: str) -> PluginError:
        """Return an error about the function."""
        return PluginError(f"{self.declared.place}: {self.declared.name}: {message}")

    def check_distributions(self, found: object, rows: int, what: str) -> None:
        """Raise unless something is (rows, K) distributions."""
        if not isinstance(found, Tensor) or not found.is_floating_point():
            kind = f"a tensor of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
            raise self.error(f"expected {what}, a tensor of real numbers, found {kind}")
        found = found.detach()
        if found.shape != (rows, K):
            raise self.error(f"expected {what} of shape ({rows}, {K}), found {tuple(found.shape)}")
        sums = found.double().sum(dim=1)
        if not bool(found.isfinite().all()) or float(found.min()) < -1e-6 or float((sums - 1).abs().max()) > 1e-3:
            off = (sums - 1).abs() + found.double().clamp(max=0).abs().sum(dim=1)
            worst = int(off.nan_to_num(math.inf).argmax())
            row = ", ".join(f"{value:.3g}" for value in found[worst].tolist())
            raise self.error(f"expected {what} that are distributions, found a row of {row}")

    def check_scalar(self, found: object, what: str) -> None:
        """Raise unless something is one finite number."""
        one = isinstance(found, np.generic) or (isinstance(found, Tensor) and found.numel() == 1)
        value: Any = found.item() if one else found  # type: ignore[attr-defined]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            shape = getattr(found, "shape", ())
            shown = f"an array of shape {tuple(shape)}" if shape else " ".join(repr(value).split())
            raise self.error(f"expected {what}, one finite number, found {shown}")


def _posteriors() -> Tensor:
    """Draw distributions, (N, K): one of them certain, one uniform."""
    drawn = torch.rand((N, K), generator=torch.Generator().manual_seed(0)) ** 4 + 1e-4
    drawn[0], drawn[1] = torch.eye(K)[0], torch.ones(K)
    return drawn / drawn.sum(dim=1, keepdim=True)


def _values(parameter: Parameter) -> tuple[float, ...]:
    """Choose values of a parameter to try: its grid, or one within its range."""
    if parameter.grid:
        return parameter.grid
    high = parameter.low + 2 if parameter.high is None else parameter.high
    return (float(round((parameter.low + high) / 2)) if parameter.whole else (parameter.low + high) / 2,)


def _budgets(row: Defense) -> Iterator[dict[str, float]]:
    """Yield the parameters of a baseline at each value of its grid, and where it changes nothing."""
    if row.budget is None:
        yield dict(row.settings)
        return
    identity = row.budget.identity
    none = () if identity is None or not row.budget.allows(identity, identity) else (identity,)
    for value in dict.fromkeys((*_values(row.budget), *none)):
        yield {row.budget.name: value, **row.settings}


def _try_defense(trial: _Trial) -> None:
    row = DEFENSES[names_of(trial.plugin, trial.declared.name)[1]]
    if row.learned:
        _try_objective(trial, row)
        return
    for params in _budgets(row):
        answers = _matrix(trial, params) if row.linear else _answers(trial, row, params)
        if row.budget and row.budget.is_identity(params[row.budget.name], K):
            unchanged = torch.eye(K) if row.linear else _posteriors()
            if float((answers - unchanged).abs().max()) > CLOSE:
                value = f"{row.budget.name} = {row.budget.identity:g}"
                raise trial.error(f"expected p' = p at {value}, its identity, found other answers")


def _matrix(trial: _Trial, params: dict[str, float]) -> Tensor:
    """Call a linear defense."""
    T: Any = trial.call(K, generator=torch.Generator().manual_seed(0), **params)
    trial.check_distributions(T, K, "a matrix with rows")
    return cast(Tensor, T)


def _answers(trial: _Trial, row: Defense, params: dict[str, float]) -> Tensor:
    """Call a defense for all rows, again, and for some: each row has one answer, whatever the others are."""

    def ask(rows: slice) -> Tensor:
        seeds = {"seeds": torch.arange(N)[rows]} if row.randomized else {}
        answers = trial.call(_posteriors()[rows], **seeds, **params)
        trial.check_distributions(answers, len(_posteriors()[rows]), "answers")
        return cast(Tensor, answers)

    everything = ask(slice(None))
    if float((ask(slice(None)) - everything).abs().max()) > CLOSE:
        hint = "draw from `seeds` alone" if row.randomized else "noise is drawn from `seeds`, with randomized=True"
        raise trial.error(f"expected the same answers to the same rows, found others; {hint}")
    some = slice(N // 2, None)
    if float((ask(some) - everything[some]).abs().max()) > CLOSE:
        raise trial.error("expected each row answered by itself, found answers that depend on other rows")
    return everything


def _try_objective(trial: _Trial, row: Defense) -> None:
    params = {parameter.name: _values(parameter)[0] for parameter in row.parameters}
    objective = trial.call(row.release_of(params), params)
    if not isinstance(objective, Objective):
        raise trial.error(f"expected an Objective, found {type(objective).__name__}")
    trial.check_scalar(objective.weight, "a weight")
    p, T = _posteriors(), torch.full((K, K), 1 / K).requires_grad_()
    trial.check_distributions(trial.tried(lambda: objective.release(p, T)), N, "answers by its release")
    trial.check_scalar(trial.tried(lambda: objective.align(p, T)), "a loss of align")
    logits = torch.zeros(N, K, requires_grad=True)
    trial.check_scalar(trial.tried(lambda: objective.mislead(logits, p)), "a loss of mislead")


def _try_attacker(trial: _Trial) -> None:
    matrix = 0.5 * torch.eye(K) + 0.5 / K if trial.declared.given.needs_matrix else None
    release = Release(UNDEFENDED, {}) if trial.declared.given.knows_defense else None
    loot = Loot(_posteriors(), _posteriors()[:K], torch.arange(K), matrix, release)
    lesson = trial.call(loot)
    if not isinstance(lesson, Lesson):
        raise trial.error(f"expected a Lesson, found {type(lesson).__name__}")
    trial.check_distributions(lesson.targets, N, "targets")
    logits = torch.zeros(N, K, requires_grad=True)
    trial.check_scalar(trial.tried(lambda: lesson.loss(logits, lesson.targets)), "a loss")
    for name, value in lesson.metrics.items():
        trial.check_scalar(value, f"a metric {name}")


def _try_measure(trial: _Trial) -> None:
    p = _posteriors().numpy()
    trial.check_scalar(trial.call(p, p[::-1].copy(), p.argmax(axis=1)), "a measure")


_TRY: dict[str, Callable[[_Trial], None]] = {
    "defense": _try_defense,
    "attacker": _try_attacker,
    "measure": _try_measure,
}
