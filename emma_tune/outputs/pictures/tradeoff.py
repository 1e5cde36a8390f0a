"""What a defense costs against what it buys: every point of a study, and its fronts. One picture for each study.

Above, the study's budget and the victim's accuracy against what attackers get, as the study's objectives measure
them; below, against the clone of each attacker. A mark is a point with its test figures; bars are 95 % intervals
of accuracies, or else go from the lowest to the highest seed. The line of a searched defense is its own front,
chosen by validation figures: at each budget the clone of the member that one would take. Rings mark the joint
front of all defenses. An open mark with a tick is a stopped point at what its clones had reached on validation
images: they would have reached more. tradeoff.csv has the points, tradeoff-fronts.csv the members of all fronts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import SubFigure

from emma_tune.outputs import palette
from emma_tune.outputs.pictures import style
from emma_tune.outputs.pictures.panels import TradeoffPanel, draw_panels, stopped_mark
from emma_tune.outputs.pictures.picture import Picture, nothing
from emma_tune.outputs.points import JOINT, PointRow, attack_of, chance, fronts_of, point_rows, undefended_clone
from emma_tune.outputs.words import listed
from emma_tune.results import StudyView
from emma_tune.study.measures import ATTACKERS, measure


@style.styled
def draw(view: StudyView) -> Picture:
    """Draw a study."""
    rows = point_rows(view)
    tables = {"": tradeoff_table(view, rows), "fronts": fronts_table(view, rows)}
    shown = [row for row in rows if row.test]
    if not shown:
        return nothing(view, "no point is finished yet", tables)
    attackers = list(view.study.attackers) if len(view.study.attackers) > 1 else []
    lines, _ = style.grid(len(attackers))
    figure = style.Figure(figsize=(11, 4.9 + 2.7 * lines), layout="constrained")
    figure.suptitle(style.heading(view))
    heights = [4.1, 2.7 * lines] if attackers else [4.1]
    above, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat
    left, right = above.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    both = [(left, view.study.budget), (right, "victim_accuracy")]
    draw_panels(view, shown, [TradeoffPanel(axes, across, view.study.attack, None) for axes, across in both])
    study, named = view.study, view.study.attack.startswith(ATTACKERS)
    # the worst clone is of these alone: attackers of the fronts have no part in choosing them
    against = "" if named or study.counting == study.attackers else f" against {listed(list(study.counting))}"
    left.set_title(f"what the budget buys{against}")
    right.set_title("and what is left of the victim")
    right.tick_params(labelleft=True)
    for part in below:
        _draw_attackers(view, shown, part, attackers)
    style.tidy_key(figure, _key(view, shown))
    return Picture(figure, tables)


def _draw_attackers(view: StudyView, rows: Sequence[PointRow], part: SubFigure, attackers: Sequence[str]) -> None:
    study, cells = view.study, style.panels(part, len(attackers), sharex=True, sharey=True)
    _, columns = style.grid(len(attackers))
    panels = [
        TradeoffPanel(axes, study.budget, attack_of(study, name), name)
        for axes, name in zip(cells, attackers, strict=True)
    ]
    draw_panels(view, rows, panels)
    for place, (axes, name) in enumerate(zip(cells, attackers, strict=True)):
        of = study.attackers[name].attack
        notes = ["knows T"] if of.needs_matrix else ["knows the defense"] if of.knows_defense == "all" else []
        notes += [] if study.attackers[name].counts else ["front only"]
        axes.set_title(f"against {name}" + (f"\n({', '.join(notes)})" if notes else ""))
        axes.set_ylabel("clone accuracy, %" if place % columns == 0 else "")
        if place < len(attackers) - columns:
            axes.set_xlabel("")


def _key(view: StudyView, rows: Sequence[PointRow]) -> list[Any]:
    drawn = [row for row in rows if not row.stopped]
    entries = [
        style.key(name, **style.mark(name)) for name in palette.in_order(row.point.defense for row in drawn)
    ]
    if any(row.state == "beyond" for row in drawn):
        drop = 100 * (view.study.limits.accuracy_drop or 0)
        limit = f"beyond the limit: accuracy drop {drop:g} {'point' if drop == 1 else 'points'}"
        gray = {"marker": "o", "color": palette.GRAY, "markerfacecolor": "white"}
        entries.append(style.key(limit, linestyle="none", **gray))
    fronts = fronts_of(view, None)
    for defense in view.study.searches:
        if any(row.point.defense == defense and row.bound(view.study.attack) for row in rows):
            entries.append(style.key(f"{defense}, stopped: at least", **stopped_mark(defense)))
        if fronts[defense]:
            color = palette.defense(defense).color
            entries.append(style.key(f"{defense}'s front", color=color, linewidth=1.2))
    if fronts[JOINT]:
        entries.append(style.key("joint front", **style.ring(9)))
    if undefended_clone(view) is not None:
        entries.append(style.key("undefended", **style.level("--")))
    guess = chance(view)
    if guess is not None:
        entries.append(style.key(f"guessing: {100 * guess:.3g} %, if in view", **style.level(":")))
    return entries


def tradeoff_table(view: StudyView, rows: Sequence[PointRow]) -> pd.DataFrame:
    """List every point, as `StudyView.points` does.

    Its range over seeds is `.low` and `.high`, its intervals are `.interval_low` and `.interval_high`; what the
    clones of a stopped point had reached on validation images is `.at_least`.
    """
    more = []
    for row in rows:
        figures = view.figures(row.point)
        own: dict[str, float | None] = {"seeds": len(figures["runs"]) if figures else 0}
        for ranges, prefix in ((row.spread, ""), (row.intervals, "interval_")):
            for name, (low, high) in ranges.items():
                own |= {f"{name}.{prefix}low": low, f"{name}.{prefix}high": high}
        own |= {f"{name}.at_least": row.bound(name) for name in row.validation if measure(name).of_clones}
        more.append(own)
    first = ("point", "defense", "state", "within_limits", "on_front", "on_own_front", "seeds")
    columns = (*first, *view.study.measures)
    table = pd.concat([view.points(), pd.DataFrame(more)], axis=1)
    return table.reindex(columns=[*columns, *(name for name in table if name not in columns)])


def fronts_table(view: StudyView, rows: Sequence[PointRow]) -> pd.DataFrame:
    """List the members of the joint front and of each searched defense's own, as `front`.

    They are those against the study's own measure, with an empty `attacker`, and against each attacker.
    """
    by_number = {row.point.number: row for row in rows}
    found = [
        {
            "attacker": attacker or "",
            "front": front,
            "point": number,
            "defense": by_number[number].point.defense,
            **{name: by_number[number].test.get(name) for name in view.study.measures},
            "clone": by_number[number].test[attack_of(view.study, attacker)],
        }
        for attacker in (None, *view.study.attackers)
        for front, numbers in fronts_of(view, attacker).items()
        for number in numbers
    ]
    return pd.DataFrame(found, columns=("attacker", "front", "point", "defense", *view.study.measures, "clone"))
