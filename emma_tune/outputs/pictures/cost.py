"""The seconds of a study by stage and by point, and those that were saved. One picture for each study.

Above, by stage: the seconds that were spent, and those that were saved: because points share a task (each
further use saves its seconds), because another study had done it before, because points were stopped early (the
epochs of their clones at the mean pace of the others). Below, by point; a shared task counts for the first point
that needs it. Seconds are those of all slots together.

cost.csv has the stages, cost-points.csv the seconds of each stage by point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from emma_tune.outputs import palette
from emma_tune.outputs.pictures import style
from emma_tune.outputs.pictures.picture import Picture, nothing
from emma_tune.results import StudyView
from emma_tune.results.status import status_of
from emma_tune.stages import STAGES

SAVED = {
    "shared": ("saved by sharing", "//"),
    "elsewhere": ("done by another study", ".."),
    "stopped": ("saved by early stopping", "xx"),
}
"""Name and hatch of what was not spent, by column."""


@style.styled
def draw(view: StudyView) -> Picture:
    """Draw a study."""
    tasks = view.tasks()
    stages, points = seconds_by_stage(view, tasks), seconds_by_point(tasks)
    tables = {"": stages, "points": points}
    if points.empty:
        return nothing(view, "no finished task in the store", tables)
    figure = style.Figure(figsize=(11, 8), layout="constrained")
    figure.suptitle(style.heading(view))
    above, below = figure.subplots(2, 1, height_ratios=[1, 1.1])
    _draw_stages(stages, above)
    _draw_points(view, points, below)
    return Picture(figure, tables)


def seconds_by_stage(view: StudyView, tasks: pd.DataFrame) -> pd.DataFrame:
    """List stages: columns `stage`, `tasks` (finished), `spent`, `elsewhere`, `shared`, `stopped`, in seconds."""
    stopped = status_of(view)["left_out"]["seconds"]
    rows = []
    for stage in STAGES:
        own = tasks[tasks.stage == stage] if len(tasks) else pd.DataFrame(columns=["seconds", "uses", "made_by"])
        other = own.made_by.notna() & ~own.made_by.isin(view.ledger.runs)
        rows.append(
            {
                "stage": stage,
                "tasks": len(own),
                "spent": own.seconds[~other].sum(),
                "elsewhere": own.seconds[other].sum(),
                "shared": (own.seconds * (own.uses - 1)).sum(),
                "stopped": stopped if stage == "attacker" else 0.0,
            }
        )
    return pd.DataFrame(rows)


def seconds_by_point(tasks: pd.DataFrame) -> pd.DataFrame:
    """List `point`, `defense`, `stage` and `seconds` of the tasks that no earlier point needed."""
    if tasks.empty:
        return pd.DataFrame(columns=["point", "defense", "stage", "seconds"])
    return tasks.groupby(["point", "defense", "stage"], sort=False).seconds.sum().reset_index()


def _draw_stages(stages: pd.DataFrame, axes: Axes) -> None:
    shown = stages[stages.tasks > 0][::-1]
    a_unit, unit = style.time_unit((shown.spent + shown.shared).max())
    colors = [palette.stage(stage).color for stage in shown.stage]
    edge: dict[str, Any] = {"edgecolor": palette.BLACK, "linewidth": 0.5}
    axes.barh(shown.stage, shown.spent / a_unit, color=colors, label="spent", **edge)
    left = shown.spent
    for name, (label, hatch) in SAVED.items():
        if shown[name].sum() > 0:
            look = {"color": "white", "hatch": hatch, "label": label, **edge}
            axes.barh(shown.stage, shown[name] / a_unit, left=left / a_unit, **look)
            left = left + shown[name]
    totals = [f"{stages.spent.sum() / a_unit:.3g} {unit} spent"]
    totals += [
        f"{stages[name].sum() / a_unit:.3g} {label}" for name, (label, _) in SAVED.items() if stages[name].sum()
    ]
    axes.set_title("by stage: " + ", ".join(totals))
    axes.set_xlabel(unit)
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1.02 * (shown.spent + shown[[*SAVED]].sum(axis=1)).max() / a_unit)
    handles, labels = axes.get_legend_handles_labels()
    handles[0] = Patch(facecolor=palette.GRAY, **edge)  # each stage has its own color
    axes.legend(handles, labels, loc="center left", bbox_to_anchor=(1, 0.5))


def _draw_points(view: StudyView, points: pd.DataFrame, axes: Axes) -> None:
    numbers = list(view.ledger.points)
    wide = points.pivot_table(index="point", columns="stage", values="seconds", aggfunc="sum", fill_value=0.0)
    wide = wide.reindex(numbers, fill_value=0.0)
    a_unit, unit = style.time_unit(wide.sum(axis=1).max())
    bottom = np.zeros(len(numbers))
    for stage in (stage for stage in STAGES if stage in wide):
        height = wide[stage].to_numpy() / a_unit
        look = palette.stage(stage)._asdict()
        axes.bar(numbers, height, 0.85, bottom, label=stage, edgecolor="white", linewidth=0, **look)
        bottom += height
    axes.set_title("by point: a shared task counts for the first point that needs it")
    axes.set_xlabel("point")
    axes.set_ylabel(unit)
    axes.set_xlim(numbers[0] - 0.7, numbers[-1] + 0.7)
    axes.set_ylim(0, 1.05 * bottom.max())
    axes.grid(axis="x", visible=False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
