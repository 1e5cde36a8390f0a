"""The same colors and marks for the same thing everywhere: on the page and in the pictures.

Defenses have the colors of Okabe & Ito, which color-blind eyes can tell apart. A color is a family of defenses, a
marker one defense of it, so that print shows them apart as well. Attackers have colors that no defense has.
A name without an entry gets a spare look, always the same one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple, TypeVar

from emma_tune.attacks import ATTACKS
from emma_tune.defenses import DEFENSES
from emma_tune.stages import STAGES
from emma_tune.storage.versions import plain

BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
GRAY, BLACK = "#7F7F7F", "#333333"
NARROWEST = 4.0  # points of accuracy that an axis shows at least
SQUEEZED = 0.2
"""Points to look at are squeezed if they take a smaller share of an axis than this beside all others."""

Look = TypeVar("Look")


class Mark(NamedTuple):
    """How points of a defense are drawn: a marker has a name in Matplotlib, and as a symbol one in Plotly."""

    color: str
    marker: str
    symbol: str


class Fill(NamedTuple):
    """How bars of a stage are drawn: Matplotlib's hatch is white on the color."""

    color: str
    hatch: str


MARKS: dict[str, Mark] = {
    "emma": Mark(BLUE, "o", "circle"),
    "none": Mark(BLACK, "o", "circle-open"),
    "argmax": Mark(BLACK, "s", "square"),
    "top_k": Mark(GRAY, "^", "triangle-up"),
    "rounding": Mark(GRAY, "v", "triangle-down"),
    "abstain": Mark(GRAY, "s", "square"),
    "gaussian": Mark(SKY, "D", "diamond"),
    "random_mix": Mark(SKY, "P", "cross"),
    "reverse_sigmoid": Mark(ORANGE, "<", "triangle-left"),
    "adaptive_misinformation": Mark(ORANGE, ">", "triangle-right"),
    "mad": Mark(VERMILION, "s", "square"),
    "grad2": Mark(VERMILION, "X", "x"),
    "modelguard_w": Mark(PURPLE, "p", "pentagon"),
    "uniform": Mark(GREEN, "*", "star"),
    "permutation": Mark(GREEN, "h", "hexagon"),
    "random_matrix": Mark(GREEN, "d", "diamond-tall"),
}
"""Marks by defense: EMMA, no defense and top classes, truncated and withheld answers, noise, confusion, gradients,
controls."""

LINE_COLORS: dict[str, str] = {
    "soft": "#CC5B74",
    "hard": "#8F8A2C",
    "inverse": "#AA3377",
    "forward": "#9A6324",
    "estimated": "#44AA99",
    "smoothed": "#7F6FD6",
    "average": "#A08BD8",
    "active": "#B0418C",
    "jacobian": "#5D7B2E",
    "semi": "#3F7CAC",
    "bayes": "#C0392B",
    "restored": "#B8860B",
    "selective": "#2E8B57",
}
"""Colors by the kind of an attacker."""

HATCHES = ("", "....", "\\\\\\\\", "xxxx", "++++", "////", "oo", "", "----")
"""Hatches of the stages, in the order of the pipeline, white on the color of each."""

_SPARE_COLORS = ("#A05A2C", "#5C6BC0", "#2F8F8F", "#6E8B23")
_SPARE_MARKERS = (("D", "diamond-wide"), ("^", "star-square"), ("8", "octagon"), ("X", "hash"), ("H", "hexagon2"))
_SPARES = len(_SPARE_MARKERS) * len(_SPARE_COLORS)  # the two have no common divisor
SPARE_MARKS = tuple(
    Mark(_SPARE_COLORS[place % len(_SPARE_COLORS)], *_SPARE_MARKERS[place % len(_SPARE_MARKERS)])
    for place in range(_SPARES)
)
SPARE_LINE_COLORS = ("#B5533C", "#3E8E41", "#8E5EA2", "#4B7BB5", "#A67C00")
"""The looks of names that have no entry above; neighbors differ in both color and marker."""

RAMP = ("#0072B2", "#8A5FBF", "#C2417C", "#D55E00", "#B58900")
"""From the smallest budget to the largest, legible on light and on dark paper."""


def defense(name: str) -> Mark:
    """Return the mark of a defense."""
    return MARKS.get(name) or _spare(name, SPARE_MARKS, MARKS, DEFENSES)


def attacker(kind: str) -> str:
    """Return the color of a kind of attacker."""
    return LINE_COLORS.get(kind) or _spare(kind, SPARE_LINE_COLORS, LINE_COLORS, ATTACKS)


def stage(name: str) -> Fill:
    """Return the fill of a stage."""
    return Fill(STAGES[name].color, HATCHES[list(STAGES).index(name) % len(HATCHES)])


def _spare(name: str, looks: Sequence[Look], listed: Container[str], known: Iterable[str]) -> Look:
    """Choose a look by the place of a name among the known ones that have no entry."""
    return looks[[other for other in (*plain(known), name) if other not in listed].index(name) % len(looks)]


def in_order(defenses: Iterable[str]) -> list[str]:
    """Sort defenses, each once: those of the palette in its order, then the others by name."""
    order = list(MARKS)
    return sorted(set(defenses), key=lambda name: (order.index(name) if name in MARKS else len(order), name))


def ramp(count: int) -> list[str]:
    """Return `count` colors at even distances along `RAMP`."""
    return [_between(place / max(1, count - 1) * (len(RAMP) - 1)) for place in range(count)]


def _between(place: float) -> str:
    first = min(int(place), len(RAMP) - 2)
    ends = ([int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in RAMP[first : first + 2])
    return "#" + "".join(f"{round(a + (b - a) * (place - first)):02X}" for a, b in zip(*ends, strict=True))
