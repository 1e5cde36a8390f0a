"""The same colors for the same thing everywhere: on the page and in the pictures.

Defenses have the colors of Okabe & Ito, which color-blind eyes can tell apart. A color is a family of defenses, a
marker one defense of it, so that print shows them apart as well. Attackers have colors that no defense has.
"""

from __future__ import annotations

from typing import NamedTuple

BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
GRAY, BLACK = "#7F7F7F", "#333333"


class Mark(NamedTuple):
    """How points of a defense are drawn.

    Attributes:
        color: hexadecimal.
        marker: Matplotlib's name.
        symbol: Plotly's name.
    """

    color: str
    marker: str
    symbol: str


DEFENSES: dict[str, Mark] = {
    "emma": Mark(BLUE, "o", "circle"),
    "none": Mark(BLACK, "o", "circle-open"),
    "argmax": Mark(BLACK, "s", "square"),
    "top_k": Mark(GRAY, "^", "triangle-up"),
    "rounding": Mark(GRAY, "v", "triangle-down"),
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
"""Marks by defense: EMMA, no defense and top classes, truncated answers, noise, confusion, gradients, controls."""

ATTACKS: dict[str, str] = {
    "soft": "#CC5B74",
    "hard": "#8F8A2C",
    "inverse": "#AA3377",
    "forward": "#9A6324",
    "estimated": "#44AA99",
    "smoothed": "#7F6FD6",
}
"""Colors by the kind of an attacker."""

STAGES: dict[str, str] = {
    "victim": BLACK,
    "posteriors": GRAY,
    "surrogate": SKY,
    "misinformer": ORANGE,
    "guidance": VERMILION,
    "matrix": BLUE,
    "responses": PURPLE,
    "attacker": GREEN,
    "evaluation": "#F0E442",
}
"""Colors by stage, in the order of the pipeline."""

RAMP = ("#0072B2", "#8A5FBF", "#C2417C", "#D55E00", "#B58900")
"""From the smallest budget to the largest, legible on light and on dark paper."""


def ramp(count: int) -> list[str]:
    """Return so many colors at even distances along `RAMP`."""
    return [_between(place / max(1, count - 1) * (len(RAMP) - 1)) for place in range(count)]


def _between(place: float) -> str:
    first = min(int(place), len(RAMP) - 2)
    ends = ([int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in RAMP[first : first + 2])
    return "#" + "".join(f"{round(a + (b - a) * (place - first)):02X}" for a, b in zip(*ends, strict=True))
