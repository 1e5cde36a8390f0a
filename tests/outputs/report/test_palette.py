"""Everything that can stand in a study has a look of its own."""

import pytest

from emma_tune.attacks import ATTACKS
from emma_tune.defenses import DEFENSES
from emma_tune.outputs import palette
from emma_tune.stages import STAGES


def test_every_defense_attacker_and_stage_has_one():
    assert palette.DEFENSES.keys() == set(DEFENSES)
    assert palette.ATTACKS.keys() == ATTACKS.keys()
    assert list(palette.STAGES) == list(STAGES)


def test_no_two_look_the_same():
    assert len({(mark.color, mark.marker) for mark in palette.DEFENSES.values()}) == len(palette.DEFENSES)
    assert len({(mark.color, mark.symbol) for mark in palette.DEFENSES.values()}) == len(palette.DEFENSES)
    for colors in (palette.ATTACKS, palette.STAGES):
        assert len(set(colors.values())) == len(colors)
    assert len(set(palette.ramp(12))) == 12


def test_attackers_have_colors_that_no_defense_has():
    assert {mark.color for mark in palette.DEFENSES.values()}.isdisjoint(palette.ATTACKS.values())


def luminance(color):
    channels = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", ["#FDFDFC", "#14171A"])
def test_lines_are_legible_in_both_themes(paper):
    for color in (*palette.ATTACKS.values(), *palette.ramp(12)):
        darker, lighter = sorted((luminance(color), luminance(paper)))
        assert (lighter + 0.05) / (darker + 0.05) > 2.5, color
