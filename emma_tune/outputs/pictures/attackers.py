"""How each attacker's clone learns, point by point of the fronts. One picture for each study.

Test accuracy after each epoch: the mean over seeds, in a band from the lowest to the highest. A front of more
than twelve points are shown by twelve of them, at even distances in the order of budgets. Dashed: the best clone
of the undefended victim. attackers.csv has the curves.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from emma_tune.outputs.pictures import style
from emma_tune.outputs.pictures.picture import Picture, nothing
from emma_tune.outputs.points import cheap_first, point_rows, undefended_clone
from emma_tune.plan import Point
from emma_tune.results import StudyView

COLUMNS = ("point", "defense", "attacker", "epoch", "seeds", "mean", "low", "high")


@style.styled
def draw(view: StudyView) -> Picture:
    """Draw a study."""
    members = [row for row in point_rows(view) if row.state == "front"]
    members.sort(key=lambda row: cheap_first(view.study, row.test))
    points = style.evenly([row.point for row in members])
    table = curves_table(view, points)
    drawn = [point for point in points if (table.point == point.number).any()]
    if not drawn:
        missing = "no finished clone in the store" if members else "no point is on a front yet"
        return nothing(view, missing, {"": table})
    rows, columns = style.grid(len(drawn))
    figure = style.Figure(figsize=(max(6.5, 2.75 * columns), 2.7 * rows + 0.9), layout="constrained")
    figure.suptitle(style.heading(view))
    for place, (axes, point) in enumerate(
        zip(style.panels(figure, len(drawn), sharex=True, sharey=True), drawn, strict=True)
    ):
        _draw_point(view, table[table.point == point.number], axes)
        axes.set_title(style.named(point), fontsize=8)
        axes.set_ylabel("clone accuracy, %" if place % columns == 0 else "")
        axes.set_xlabel("epoch" if place >= len(drawn) - columns else "")
    entries = [style.key(name, **style.attacker_line(view, name)) for name in dict.fromkeys(table.attacker)]
    if undefended_clone(view) is not None:
        entries.append(style.key("undefended: best clone of all", **style.level("--")))
    style.tidy_key(figure, entries, most=2 * columns)
    return Picture(figure, {"": table})


def curves_table(view: StudyView, points: Sequence[Point]) -> pd.DataFrame:
    """List test accuracies in [0, 1] after each epoch, from 1, over the seeds whose clones are finished."""
    rows = [
        (point.number, point.defense, attacker, int(epoch["epoch"]) + 1, epoch["test.accuracy"])
        for point in points
        for (_, attacker), task in view.planner.whole(point).attackers.items()
        if (record := view.record(task))
        for epoch in record.history
    ]
    table = pd.DataFrame(rows, columns=[*COLUMNS[:4], "accuracy"])
    over = table.groupby(list(COLUMNS[:4]), sort=False).accuracy
    return over.agg(seeds="count", mean="mean", low="min", high="max").reset_index()


def _draw_point(view: StudyView, table: pd.DataFrame, axes: Axes) -> None:
    for attacker in table.attacker.unique():
        rows, line = table[table.attacker == attacker], style.attacker_line(view, attacker)
        axes.plot(rows.epoch, 100 * rows["mean"], **line, linewidth=1.4)
        band = {"color": line["color"], "alpha": 0.15, "linewidth": 0}
        axes.fill_between(rows.epoch, 100 * rows.low, 100 * rows.high, **band)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    without = undefended_clone(view)
    if without is not None:
        axes.axhline(100 * without, **style.level("--"))
