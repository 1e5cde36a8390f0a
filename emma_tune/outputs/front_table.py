"""The fronts of a study as a table of text, for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from emma_tune.defenses.around import NAMES
from emma_tune.outputs.words import parameter, parameters
from emma_tune.study.measures import measure, value_of


class FrontTable(NamedTuple):
    """The points of the fronts, then the references, with the measures that decide.

    Attributes:
        columns: their heads; `defense` and `joint` are text, the others are numbers.
        groups: the rows of each searched defense's front, then those of the references.
    """

    columns: tuple[str, ...]
    groups: tuple[tuple[tuple[str, ...], ...], ...]


TEXT = ("defense", "joint")
"""Columns of text."""

MOST_ATTACKERS = 6
"""Attackers with a column each; of more, only the clone that is best at each point is shown."""

LEGEND = "test figures, in parentheses validation figures that decide (✓: also on the joint front)"


def front_table(content: Mapping[str, Any]) -> FrontTable:
    """Lay out what `StudyView.front` describes."""
    attackers = content["thieves"]
    counting = [name for name, of in attackers.items() if of["when"] == "always"]
    alone = content["attacker"] or (counting[0] if len(counting) == 1 else None)  # its clone is the worst one
    points = [*content["references"], *(point for of in content["fronts"].values() for point in of["points"])]
    others = [name for name in attackers if name != alone and any(name in point["attackers"] for point in points)]
    crowded = len(others) > MOST_ATTACKERS
    objectives = [name for name in content["objectives"] if name != content["attack"]]
    measures = list(dict.fromkeys([*objectives, "accuracy_drop"]))
    params = _varied([of["points"] for of in content["fronts"].values()])
    heads = [*params, *(measure(name).head for name in measures)]
    beside = ["best clone of any"] if crowded else others
    clones = [f"{name}, %" for name in (alone or measure(content["attack"]).head, *beside)]
    attack = "attacker_accuracy" if content["attacker"] else content["attack"]

    def row(point: Mapping[str, Any], name: str | None = None) -> tuple[str, ...]:
        # references have columns for nothing that stands around a defense, fronts none for what is fixed
        shown = {n: value for n, value in point["params"].items() if n in params and (name or n not in NAMES)}
        rest = {n: value for n, value in point["params"].items() if n not in shown and (n in NAMES or not name)}
        return (
            f"{name or point['defense']} {parameters(rest)}".rstrip(),
            str(point["point"]),
            *(parameter(shown[param], ".3g") if param in shown else "" for param in params),
            *(figure_of(point, column, decides=column in objectives) for column in measures),
            figure_of(point, attack, decides=True),
            *([_best(point)] if crowded else [_share(point["attackers"].get(other)) for other in others]),
            "✓" if point["on_joint_front"] else "",
        )

    fronts = [tuple(row(point, name) for point in of["points"]) for name, of in content["fronts"].items()]
    references = tuple(map(row, content["references"]))
    return FrontTable(("defense", "point", *heads, *clones, "joint"), (*fronts, references))


def _varied(fronts: Iterable[Sequence[Mapping[str, Any]]]) -> list[str]:
    """List the parameters that differ between points of a front; of a single point all of the defense itself."""
    names: dict[str, None] = {}
    for points in fronts:
        for name in dict.fromkeys(name for point in points for name in point["params"]):
            single = len(points) == 1 and name not in NAMES
            if single or len({point["params"].get(name) for point in points}) > 1:
                names[name] = None
    return list(names)


def told(reached: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Pick what to tell of attackers of a front: of more than `MOST_ATTACKERS`, what the best of them reached."""
    if len(reached) <= MOST_ATTACKERS:
        return reached
    best = max(reached, key=lambda name: reached[name]["high"])
    return {best: reached[best]}


def _best(point: Mapping[str, Any]) -> str:
    """Name the attacker with the best clone, of all that have attacked the point."""
    reached = point["attackers"]
    best = max(reached, key=reached.__getitem__, default=None)
    return f"{_share(reached[best])} {best}" if best else "–"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def figure_of(point: Mapping[str, Any], name: str, *, decides: bool) -> str:
    """Show a test figure with its interval, and the validation figure if that decides who is on the front."""
    of, value = measure(name), value_of(point, name)
    text = f"{100 * value:.1f}" if of.unit else f"{value:.3f}"
    ends = point["intervals"].get(name) or point["intervals"].get("attackers", {}).get(name.split(".", 1)[-1])
    text += f" ± {50 * (ends[1] - ends[0]):.1f}" if ends and name != "victim_accuracy" else ""
    validated = of.scale * value_of(point["validation"], name)
    return f"{text} ({validated:.{1 if of.unit else 3}f})" if decides else text
