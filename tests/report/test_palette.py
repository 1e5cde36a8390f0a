"""Everything that can stand in a study has a look of its own."""

from emma_tune.attacks import ATTACKS
from emma_tune.config import SEARCHED
from emma_tune.defenses import BASELINES
from emma_tune.report import palette
from emma_tune.stages import STAGES


def test_every_defence_thief_and_stage_has_one():
    assert palette.DEFENSES.keys() == {SEARCHED, *BASELINES}
    assert palette.ATTACKS.keys() == ATTACKS.keys()
    assert list(palette.STAGES) == list(STAGES)


def test_no_two_look_the_same():
    assert len({(mark.color, mark.marker) for mark in palette.DEFENSES.values()}) == len(palette.DEFENSES)
    assert len({(mark.color, mark.symbol) for mark in palette.DEFENSES.values()}) == len(palette.DEFENSES)
    for colors in (palette.ATTACKS, palette.STAGES):
        assert len(set(colors.values())) == len(colors)
