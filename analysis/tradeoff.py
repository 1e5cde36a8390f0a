"""Budget against attacker accuracy: every point of a study, and its front.

    python -m analysis.tradeoff runs/digits --out pictures

writes tradeoff.png, tradeoff.pdf and tradeoff.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from emma_tune.results import StudyView

# Okabe & Ito: told apart by color-blind eyes; markers tell defences apart in print
BLUE, GRAY = "#0072B2", "#666666"
OTHERS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "sD^v<>pPX*hd8"


def draw_tradeoff(view: StudyView, axes: Axes) -> pd.DataFrame:
    """Draws a study's points, figures of the test part.

    Args:
        view: the study, finished or not.
        axes: where to draw.

    Returns:
        The table behind the picture.
    """
    table = view.points()
    done = table[table.state == "finished"]
    searched = done[done.defense == "emma"]
    for kept, style in ((True, {"facecolors": BLUE}), (False, {"facecolors": "none"})):
        rows = searched[searched.within_limits == kept]
        label = "emma" if kept else f"emma, beyond the accuracy limit of {view.study.limits.accuracy_drop:g}"
        if len(rows):
            axes.scatter(rows.l1, 100 * rows.attacker_accuracy, s=36, edgecolors=BLUE, label=label, **style)
    baselines = done[(done.defense != "emma") & done.within_limits].groupby("defense", sort=False)
    for number, (defense, rows) in enumerate(baselines):
        style = {"marker": MARKERS[number % len(MARKERS)], "color": OTHERS[number % len(OTHERS)]}
        axes.scatter(rows.l1, 100 * rows.attacker_accuracy, s=44, label=defense, **style)
    left = table[table.state == "dominated"]
    for number, l1 in enumerate(left.l1):  # their clones have no test figures: a budget is all that belongs here
        label = f"budgets of {len(left)} points stopped as dominated" if number == 0 else None
        axes.axvline(l1, ymax=0.04, color=GRAY, label=label)
    # rings, not a line: members are chosen by validation figures, so that test figures need not descend
    front = done[done.on_front]
    ring = {"s": 170, "facecolors": "none", "edgecolors": GRAY, "linewidths": 1.5}
    axes.scatter(front.l1, 100 * front.attacker_accuracy, label="on the front (by validation figures)", **ring)
    axes.set_xlabel("budget: mean ‖p' − p‖₁ on the victim's test data")
    axes.set_ylabel("worst clone's accuracy on test data, %")
    axes.set_title(f"{view.study.name}: {len(table)} points, thieves: {', '.join(view.study.attackers)}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the study's folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write")
    arguments = parser.parse_args()
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    table = draw_tradeoff(StudyView(arguments.folder), axes)
    arguments.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.out / "tradeoff.csv", index=False)
    for suffix in ("png", "pdf"):
        figure.savefig(arguments.out / f"tradeoff.{suffix}", dpi=150)
    print(f"{arguments.out / 'tradeoff.png'}")


if __name__ == "__main__":
    main()
