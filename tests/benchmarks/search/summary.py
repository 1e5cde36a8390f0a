"""What replays come to: hypervolume against compute, as a table and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

SHARES = np.arange(0.25, 40.01, 0.25)
"""Compute, in % of the grid's, at which the hypervolume is looked up."""

BAND = (10, 90)
"""Percentiles of the seeds."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Distinguishable by color-blind readers (Okabe and Ito)."""


def over_compute(results: pd.DataFrame, figure: str) -> np.ndarray:
    """Look up a figure, in % of the grid's, at each of `SHARES`: (seeds, shares); the first step is at 0."""
    curves = []
    for _, steps in results.groupby("seed", sort=True):
        steps = steps.sort_values("compute")
        place = np.searchsorted(steps.compute, SHARES, side="right") - 1
        curves.append(steps[figure].to_numpy()[place])
    return np.array(curves)


def reached(curve: np.ndarray, goal: float) -> float:
    """Find the compute at which a curve over `SHARES` first reaches a goal; infinity if it does not."""
    places = np.flatnonzero(curve >= goal)
    return float(SHARES[places[0]]) if len(places) else float("inf")


def summarize(results: pd.DataFrame, figure: str, goals: Sequence[float] = (90, 95)) -> pd.DataFrame:
    """Tabulate when the mean over seeds reaches goals, with a band of the seeds, and what is found for 10 %."""
    rows = []
    for (pair, label), of in results.groupby(["pair", "setting"], sort=False):
        curves = over_compute(of, figure)
        row: dict[str, object] = {"pair": pair, "search": label, "seeds": len(curves)}
        followed = float(of.groupby("seed").compute.max().min())
        for goal in goals:
            each = np.sort([reached(curve, goal) for curve in curves])
            low, high = (each[round(q / 100 * (len(each) - 1))] for q in BAND)
            mean, low, high = (_percent(at, followed) for at in (reached(curves.mean(axis=0), goal), low, high))
            row[f"{goal:g} %"] = f"{mean} ({low}–{high})"
        at = curves[:, np.searchsorted(SHARES, 10.0)]
        row["at 10 %"] = f"{at.mean():.1f} ± {at.std() / len(at) ** 0.5:.1f}"
        rows.append(row)
    return pd.DataFrame(rows)


def _percent(share: float, followed: float) -> str:
    return f"> {min(followed, SHARES[-1]):.0f}" if np.isinf(share) else f"{share:.1f}"


def draw(results: pd.DataFrame, labels: Mapping[str, str], path: Path) -> None:
    """Draw hypervolume against compute, mean and band, a panel for each pair; `labels` are shown, by setting."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    pairs = list(results.pair.unique())
    ends = SHARES[results.compute.max() >= SHARES]
    figure, axes = plt.subplots(2, len(pairs), figsize=(4.4 * len(pairs), 6.4), sharex=True, squeeze=False)
    for column, pair in enumerate(pairs):
        for row, (of, name) in enumerate((("volume", "hypervolume"), ("gain", "gain over no defense"))):
            axis = axes[row, column]
            for color, (setting, label) in zip(COLORS, labels.items(), strict=False):
                chosen = results[(results.pair == pair) & (results.setting == setting)]
                if chosen.empty:
                    continue
                curves = over_compute(chosen, of)
                ends = SHARES[chosen.groupby("seed").compute.max().min() >= SHARES]
                low, high = np.percentile(curves, BAND, axis=0)
                axis.plot(ends, curves.mean(axis=0)[: len(ends)], color=color, label=label, linewidth=1.6)
                axis.fill_between(ends, low[: len(ends)], high[: len(ends)], color=color, alpha=0.12, linewidth=0)
            axis.axhline(95, color="#666666", linewidth=0.8, linestyle=":")
            axis.axvline(10, color="#666666", linewidth=0.8, linestyle=":")
            axis.set_ylim((70, 104) if of == "volume" else (0, 110))
            axis.set_ylabel(f"{name}, % of the grid's" if column == 0 else "")
            if row == 0:
                axis.set_title(pair.replace("_", ", queries "), fontsize=10)
            else:
                axis.set_xlabel("compute, % of the grid's")
    shown = {line.get_label(): line for axis in axes.flat for line in axis.get_lines()}
    names = [label for label in labels.values() if label in shown]
    figure.legend(
        [shown[of] for of in names], names, fontsize=9, frameon=False, ncols=len(names), loc="lower center"
    )
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)
