"""The same colors for the same thing everywhere: on the page, and in the figures of `analysis`.

Colors are Okabe & Ito's, told apart by color-blind eyes; a color is a family of defences, a marker one of it, so
that they can be told apart in print, too.
"""

from __future__ import annotations

from typing import NamedTuple

BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
GRAY, BLACK = "#7F7F7F", "#333333"


class Mark(NamedTuple):
    """How points of a defence are drawn.

    Attributes:
        color: hexadecimal.
        marker: in Matplotlib's words.
        symbol: in Plotly's words.
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
"""By defence: EMMA, no defence and top classes, what APIs give away, noise, confusion, gradients, controls."""

ATTACKS: dict[str, str] = {
    "soft": BLUE,
    "hard": ORANGE,
    "inverse": VERMILION,
    "forward": PURPLE,
    "estimated": GREEN,
    "smoothed": SKY,
}
"""Colors by the kind of a thief."""

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
