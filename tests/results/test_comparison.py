"""Sides held against each other: pairs by victim, verdicts by interval, and what makes it unfair."""

from __future__ import annotations

import math

import pytest

from emma_tune.results.comparison import by_defense, by_study, compare
from emma_tune.study.file import StudyError
from tests.results.desk import counts, part

SIX = [1, 2, 3, 4, 5, 6]
T_OF_SIX = 2.570582  # 0.975 quantile, 5 degrees of freedom


def alike(figures):
    return figures, figures


def undefended(desk, *accuracies):
    """Not to defend: of each seed a front that is worth twice what the clone is short of."""
    desk.finished("none", *(alike(part(0.0, accuracy)) for accuracy in accuracies))
    return desk


def named(found):
    return {group["name"]: group for group in found["groups"]}


# --- differences ------------------------------------------------------------------------------------------


def test_differences_are_paired_by_seed(written):
    one = undefended(written(name="one", seeds=[1, 2, 3]), 0.9, 0.8, 0.7)
    other = undefended(written(name="other", seeds=[3, 2, 1]), 0.65, 0.7, 0.85)  # of 3, of 2, of 1
    found = named(compare(by_study([one.view, other.view])))
    assert found["one"]["difference"] is None
    assert found["one"]["hypervolume_by_seed"] == {
        1: pytest.approx(0.2),
        2: pytest.approx(0.4),
        3: pytest.approx(0.6),
    }
    difference = found["other"]["difference"]
    gains = (0.1, 0.2, 0.1)
    middle = sum(gains) / 3
    deviation = math.sqrt(sum((gain - middle) ** 2 for gain in gains) / 2)
    assert (difference["mean"], difference["deviation"]) == (pytest.approx(middle), pytest.approx(deviation))
    assert difference["high"] - middle == pytest.approx(4.302653 * deviation / math.sqrt(3), abs=1e-6)
    assert difference["count"] == 3
    assert difference["verdict"] == "too few seeds to speak"


def test_only_seeds_of_the_same_victim_are_pairs(written):
    one = undefended(written(name="one", seeds=[1, 2, 3]), 0.9, 0.8, 0.7)
    other = undefended(written(name="other", seeds=[2, 3, 4]), 0.7, 0.8, 0.1)
    difference = named(compare(by_study([one.view, other.view])))["other"]["difference"]
    assert (difference["count"], difference["mean"]) == (2, pytest.approx((0.2 - 0.2) / 2))


def test_other_victims_of_the_same_seeds_are_no_pairs(written):
    one = undefended(written(name="one", seeds=SIX), *[0.9] * 6)
    trained = undefended(
        written(name="trained", seeds=SIX, victim={"epochs": 3}, surrogate={"epochs": 2}), *[0.5] * 6
    )
    shown = undefended(written(name="shown", seeds=SIX, images={"victim": "w", "queries": "q"}), *[0.5] * 6)
    found = named(compare(by_study([one.view, trained.view, shown.view])))
    for name in ("trained", "shown"):
        assert found[name]["difference"] == {
            "mean": None, "deviation": None, "low": None, "high": None,
            "count": 0, "verdict": "no victim in common",
        }  # fmt: skip
        assert found[name]["mean"] == pytest.approx(1.0)


def test_another_pool_or_surrogate_is_the_same_victim(written):
    one = undefended(written(name="one", seeds=SIX), *[0.9] * 6)
    other = undefended(
        written(name="other", seeds=SIX, surrogate={"epochs": 4}, images={"victim": "v", "queries": "r"}),
        *[0.5] * 6,
    )
    assert named(compare(by_study([one.view, other.view])))["other"]["difference"]["count"] == 6


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.10, 0.12, 0.08, 0.11, 0.09, 0.10), "better"),
        ((-0.10, -0.12, -0.08, -0.11, -0.09, -0.10), "worse"),
        ((0.10, 0.12, 0.08, 0.11, 0.09), "too few seeds to speak"),
        ((0.10, -0.12, 0.08, -0.11, 0.09, -0.02), "no difference to be seen"),
        ((0.0, 0.0, 0.0, 0.0, 0.0, 0.0), "no difference to be seen"),
        ((0.01, 0.01, 0.01, 0.01, 0.01, 0.10), "no difference to be seen"),  # all gain; yet Student's reaches 0
    ],
)
def test_verdicts_are_those_of_the_interval(written, gains, verdict):
    seeds = SIX[: len(gains)]
    base = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4][: len(gains)]
    one = undefended(written(name="one", seeds=seeds), *base)
    other = undefended(
        written(name="other", seeds=seeds),
        *(accuracy - gain / 2 for accuracy, gain in zip(base, gains, strict=True)),
    )
    content = compare(by_study([one.view, other.view]))
    difference = named(content)["other"]["difference"]
    assert difference["verdict"] == verdict
    assert content["enough"] == 6
    middle = sum(gains) / len(gains)
    assert difference["mean"] == pytest.approx(middle, abs=1e-12)
    if len(gains) == 6:
        reach = T_OF_SIX * math.sqrt(sum((gain - middle) ** 2 for gain in gains) / 5) / math.sqrt(6)
        assert difference["low"] == pytest.approx(middle - reach, abs=1e-6)
        assert difference["high"] == pytest.approx(middle + reach, abs=1e-6)


# --- sides ------------------------------------------------------------------------------------------------


@pytest.fixture
def defended(written):
    """One seed; argmax beats emma, and whoever compares them must give both the undefended point."""
    desk = undefended(written(seeds=[1], attackers={"soft": {}, "inverse": {}}), 0.9)
    desk.finished("argmax", alike(part(0.5, 0.6)))
    desk.finished("emma", alike(part(1.0, {"soft": 0.7, "inverse": 0.8})))
    desk.finished("emma", alike(part(1.5, {"soft": 0.5, "inverse": 0.65})))
    return desk


def test_not_to_defend_belongs_to_everybody(defended):
    found = named(compare(by_defense([defended.view])))
    assert list(found) == ["none", "argmax", "emma"]
    assert found["none"]["mean"] == pytest.approx(2 * 0.1)
    assert found["argmax"]["mean"] == pytest.approx(0.5 * 0.1 + 1.5 * 0.4)
    assert found["emma"]["mean"] == pytest.approx(1.0 * 0.1 + 0.5 * 0.2 + 0.5 * 0.35)
    assert found["emma"]["surfaces"]["worst"] == [[0.0, 0.9], [1.0, 0.8], [1.5, 0.65]]


def test_but_no_side_counts_it_among_its_own_points(defended):
    defended.failed("emma")
    defended.asked("argmax")
    found = named(compare(by_defense([defended.view])))
    assert found["none"]["points"] == counts(asked=1, finished=1)
    assert found["argmax"]["points"] == counts(asked=2, finished=1)
    assert found["emma"]["points"] == counts(asked=3, finished=2, failed=1)


def test_the_others_are_held_against_emma_unless_somebody_else_is_named(defended):
    groups = by_defense([defended.view])
    content = compare(groups)
    assert content["reference"] == "emma"
    assert [group["difference"] is None for group in content["groups"]] == [False, False, True]
    assert named(content)["argmax"]["difference"]["mean"] == pytest.approx(0.65 - 0.375)
    content = compare(groups, reference="argmax")
    assert content["reference"] == "argmax"
    assert named(content)["emma"]["difference"]["mean"] == pytest.approx(0.375 - 0.65)
    assert named(content)["argmax"]["difference"] is None


def test_studies_are_held_against_the_first(written):
    views = [undefended(written(name=name, seeds=[1]), 0.9).view for name in ("one", "other")]
    content = compare(by_study(views))
    assert (content["reference"], content["objectives"]) == ("one", {"l1": "min", "attacker_accuracy": "min"})


def test_sides_of_one_name_are_told_apart_by_their_folders(written, tmp_path):
    first = undefended(written(seeds=[1]), 0.9)
    first.root.rename(first.root.with_name("before"))
    first.root = first.root.with_name("before")
    second = undefended(written(seeds=[1]), 0.8)
    views = [first.view, second.view]
    roots = [str(first.root), str(second.root)]
    assert [group.name for group in by_study(views)] == roots
    assert [group.name for group in by_defense(views)] == [f"{root}: none" for root in roots]


def test_defences_of_several_studies_are_named_with_their_study(written):
    one, other = undefended(written(name="one", seeds=[1]), 0.9), undefended(written(name="other", seeds=[1]), 0.8)
    other.finished("argmax", alike(part(0.5, 0.6)))
    groups = by_defense([one.view, other.view])
    assert [group.name for group in groups] == ["one: none", "other: none", "other: argmax"]
    found = named(compare(groups))
    assert found["other: argmax"]["mean"] == pytest.approx(0.5 * 0.2 + 1.5 * 0.4)  # with its own undefended point


# --- one thief --------------------------------------------------------------------------------------------


def test_against_one_thief_his_clones_count(defended):
    found = named(compare(by_defense([defended.view]), attacker="soft"))
    assert found["emma"]["mean"] == pytest.approx(1.0 * 0.1 + 0.5 * 0.3 + 0.5 * 0.5)


def test_a_defence_that_he_cannot_attack_is_left_out_and_not_worth_nothing(defended):
    defended.finished("uniform", alike(part(0.25, {"soft": 0.9, "inverse": 0.9})), a=0.5)
    content = compare(by_defense([defended.view]), attacker="inverse")
    assert list(named(content)) == ["emma", "uniform"]
    assert "left out, since inverse does not apply: none, argmax" in content["remarks"]
    assert content["attacker"] == "inverse"
    assert named(content)["emma"]["mean"] == pytest.approx(0.5 * 0.2 + 0.5 * 0.35)


def test_where_he_can_attack_one_side_only_nothing_is_compared(defended):
    with pytest.raises(StudyError, match=r"^expected two sides that inverse can attack, found emma$"):
        compare(by_defense([defended.view]), attacker="inverse")


def test_a_study_that_he_can_attack_in_part_stays(defended, written):
    other = undefended(written(name="other", seeds=[1], attackers={"soft": {}, "inverse": {}}), 0.9)
    other.finished("emma", alike(part(0.5, {"soft": 0.1, "inverse": 0.5})))
    found = named(compare(by_study([defended.view, other.view]), attacker="inverse"))
    assert found["other"]["mean"] == pytest.approx(1.5 * 0.5)


# --- what is unfair ---------------------------------------------------------------------------------------


def test_equal_studies_are_compared_without_a_remark(written):
    views = [undefended(written(name=name, seeds=[1]), 0.9).view for name in ("one", "other")]
    assert compare(by_study(views))["remarks"] == []


def test_unequal_tuning_budgets_are_remarked(defended):
    remarks = compare(by_defense([defended.view]))["remarks"]
    assert remarks == ["unequal tuning budgets, in points: none 1, argmax 1, emma 2"]


def test_other_attackers_are_remarked_unless_one_is_named_who_is_the_same(written):
    one = undefended(written(name="one", seeds=[1], attackers={"soft": {}}), 0.9)
    more = undefended(written(name="more", seeds=[1], attackers={"hard": {}, "soft": {}}), 0.9)
    longer = undefended(written(name="longer", seeds=[1], attackers={"soft": {"epochs": 9}}), 0.9)
    worst = "the studies have different attackers: their clones are not comparable"
    same = "the studies have different settings of soft: their clones are not comparable"
    assert compare(by_study([one.view, more.view]))["remarks"] == [worst]
    assert compare(by_study([one.view, longer.view]))["remarks"] == [worst]
    assert compare(by_study([one.view, more.view]), attacker="soft")["remarks"] == []
    assert compare(by_study([one.view, longer.view]), attacker="soft")["remarks"] == [same]


def test_the_order_of_attackers_is_no_difference(written):
    one = undefended(written(name="one", seeds=[1], attackers={"soft": {}, "hard": {}}), 0.9)
    other = undefended(written(name="other", seeds=[1], attackers={"hard": {}, "soft": {}}), 0.9)
    assert compare(by_study([one.view, other.view]))["remarks"] == []


def test_other_limits_are_remarked(written):
    one = undefended(written(name="one", seeds=[1]), 0.9)
    other = undefended(written(name="other", seeds=[1], limits={"accuracy_drop": 0.02}), 0.9)
    (remark,) = compare(by_study([one.view, other.view]))["remarks"]
    assert remark.startswith("the studies have different limits")


def test_another_pool_is_remarked(written):
    one = undefended(written(name="one", seeds=[1]), 0.9)
    other = undefended(written(name="other", seeds=[1], images={"victim": "v", "queries": "r"}), 0.5)
    (remark,) = compare(by_study([one.view, other.view]))["remarks"]
    assert remark.startswith("the studies have different query pools")


def test_stopped_and_unfinished_points_are_remarked(written):
    desk = undefended(written(seeds=[1], search={"stop": "joint"}), 0.9)
    best = desk.finished("emma", alike(part(1.0, 0.5)))
    desk.dominated("emma", by=best, validation=part(1.5, 0.6))
    desk.asked("argmax")
    content = compare(by_defense([desk.view]))
    assert named(content)["emma"]["points"]["dominated"] == 1
    stopped = [remark for remark in content["remarks"] if "stopped" in remark]
    assert len(stopped) == 1
    assert stopped[0].startswith("emma: 1 of 2 stopped as dominated, so that its own front may be better")
    assert "search.stop: none" in stopped[0]
    unfinished = [remark for remark in content["remarks"] if "not finished" in remark]
    assert unfinished == ["argmax: 1 of 1 not finished"]  # a stopped point has ended


# --- what cannot be compared ------------------------------------------------------------------------------


def test_one_side_alone_is_refused(written):
    desk = written(seeds=[1])
    with pytest.raises(StudyError, match=r"^expected two sides to compare, found none$"):
        compare(by_defense([desk.view]))
    with pytest.raises(StudyError, match=r"^expected two sides to compare, found tiny$"):
        compare(by_study([desk.view]))


def test_an_unknown_reference_is_refused_and_the_sides_named(defended):
    with pytest.raises(StudyError, match=r"^expected one of none, argmax, emma, found mad$"):
        compare(by_defense([defended.view]), reference="mad")


def test_an_attacker_that_one_study_has_not_is_refused(written):
    one = undefended(written(name="one", seeds=[1], attackers={"soft": {}, "hard": {}}), 0.9)
    other = undefended(written(name="other", seeds=[1]), 0.9)
    with pytest.raises(StudyError, match=rf"^{other.root}: expected one of the attackers soft, found hard$"):
        compare(by_study([one.view, other.view]), attacker="hard")


def test_other_objectives_are_refused_and_both_named(written):
    one = undefended(written(name="one", seeds=[1]), 0.9)
    other = undefended(written(name="other", seeds=[1], objectives={"victim_accuracy": "max"}), 0.9)
    both = rf"expected the objectives l1, attacker_accuracy, as {one.root} has them, found victim_accuracy"
    with pytest.raises(StudyError, match=rf"^{other.root}: {both}$"):
        compare(by_study([one.view, other.view]))
