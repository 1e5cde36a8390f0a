"""Everything that can stand in a study has a look of its own, also what the palette does not list."""

import pytest

from emma_tune.attacks import ATTACKS
from emma_tune.defenses import DEFENSES
from emma_tune.outputs import palette
from emma_tune.stages import STAGES


def test_every_defense_and_attacker_has_one():
    assert palette.MARKS.keys() == DEFENSES.keys()
    assert palette.LINE_COLORS.keys() == ATTACKS.keys()


def test_no_two_look_the_same():
    marks = [palette.defense(name) for name in DEFENSES]
    assert len({(mark.color, mark.marker) for mark in marks}) == len(marks)
    assert len({(mark.color, mark.symbol) for mark in marks}) == len(marks)
    assert len(set(map(palette.attacker, ATTACKS))) == len(ATTACKS)
    assert len(set(map(palette.stage, STAGES))) == len({stage.color for stage in STAGES.values()}) == len(STAGES)
    assert len(set(palette.ramp(12))) == 12


def test_attackers_have_colors_that_no_defense_has():
    assert {palette.defense(name).color for name in DEFENSES}.isdisjoint(map(palette.attacker, ATTACKS))
    assert {mark.color for mark in palette.SPARE_MARKS}.isdisjoint(palette.SPARE_LINE_COLORS)


@pytest.mark.parametrize(("registry", "look"), [(DEFENSES, palette.defense), (ATTACKS, palette.attacker)])
def test_what_the_palette_does_not_list_has_a_look_of_its_own(monkeypatch, registry, look):
    new = ["newest", "another", "third"]
    for name in new:
        monkeypatch.setitem(registry, name, None)
    looks = [look(name) for name in [*registry, "of another version"]]
    assert len(set(looks)) == len(looks)
    assert [look(name) for name in reversed(new)] == looks[-2:-5:-1]  # whoever asks first


def test_the_order_is_that_of_the_palette():
    assert palette.in_order(["z", "argmax", "a", "emma", "argmax"]) == ["emma", "argmax", "a", "z"]


def luminance(color):
    channels = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", ["#FDFDFC", "#14171A"])
def test_lines_are_legible_in_both_themes(paper):
    spare = (*{mark.color for mark in palette.SPARE_MARKS}, *palette.SPARE_LINE_COLORS)
    for color in (*palette.LINE_COLORS.values(), *spare, *palette.ramp(12)):
        darker, lighter = sorted((luminance(color), luminance(paper)))
        assert (lighter + 0.05) / (darker + 0.05) > 2.5, color
