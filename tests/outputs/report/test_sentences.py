"""The sentences say what the records say, also where no defense helps."""

from __future__ import annotations

from emma_tune.outputs.report.sentences import answer, knowledge, question
from emma_tune.outputs.report.summary import summary_of
from tests.outputs.pictures.desk import verdict
from tests.outputs.report.conftest import SIX
from tests.results.desk import part

LIMIT = {"accuracy_drop": 0.02}


def told(desk):
    return answer(summary_of(desk.view))


def test_three_sentences_with_the_numbers_of_the_test_part(written):
    desk = written(attackers={"soft": {}, "hard": {}}, limits=LIMIT, baselines=["none", "uniform"])
    desk.answered(classes=10)
    desk.finished("none", (part(0, 0.8), part(0, {"soft": 0.91, "hard": 0.88})))
    desk.finished("emma", (part(1, 0.5), part(1.2344, {"soft": 0.42, "hard": 0.614}, drop=0.013)))
    desk.finished("emma", (part(1, 0.4, drop=0.03), part(1, 0.1)))  # beyond the limit
    desk.finished("uniform", (part(0.8, 0.7), part(0.75, 0.777)), a=0.3)
    desk.finished("uniform", (part(1.5, 0.2), part(1.5, 0.2)), a=0.9)  # costs more than what was chosen
    undefended, best, _, worth = told(desk)
    assert "the most accurate one of any attacker, reaches 91.0 %" in undefended
    assert "the victim itself reaches 90.0 %" in undefended
    assert "guessing reaches 10.0 %" in undefended
    assert "point 4 (uniform, a 0.9), the worst clone reaches 20.0 %, 71.0 points less" in best
    assert "l1 1.500" in best
    assert "The worst attacker of point 4 is soft, which knows the answers: 20.0 %." in worth
    assert "With the best point of emma within the limits, point 1 (emma, lambda 0.02," in worth
    assert "the worst clone reaches 61.4 % at l1 1.234." in worth
    assert "1 seed: too few" in worth


def test_the_control_is_one_that_costs_no_more(written):
    desk = written(attackers={"soft": {}, "hard": {}}, limits=LIMIT, baselines=["none", "uniform"])
    desk.finished("none", (part(0, 0.8), part(0, 0.91)))
    desk.finished("emma", (part(1, 0.5), part(1.2344, {"soft": 0.42, "hard": 0.614}, drop=0.013)))
    desk.finished("uniform", (part(0.8, 0.7), part(0.75, 0.777)), a=0.3)
    desk.finished("uniform", (part(1.5, 0.6), part(1.5, 0.5)), a=0.9)
    undefended, best, _, worth = told(desk)
    assert "what guessing reaches is unknown" in undefended
    assert best == (
        "With the best point within the limits, point 1 (emma, lambda 0.02, lr_gamma 0.3, st_epoch 1), the worst "
        "clone reaches 61.4 %, 29.6 points less than without a defense. It costs l1 1.234 (test images, at most "
        "2) and 1.3 points of the victim's accuracy."
    )
    assert "The worst attacker of point 1 is hard, which knows the answers: 61.4 %." in worth
    assert "point 2 (uniform, a 0.3), the worst clone reaches 77.7 % at l1 0.750." in worth


def test_learning_is_not_the_cause_where_a_control_does_as_well(written):
    desk = written(baselines=["none", "uniform"])
    desk.finished("none", (part(0, 0.9),) * 2)
    desk.finished("emma", (part(1, 0.50), part(1, 0.52)))
    desk.finished("uniform", (part(0.9, 0.51), part(0.9, 0.52)), a=0.3)
    assert "learning is not the cause" in told(desk)[-1]


def test_a_learned_matrix_without_controls_is_told_as_such(written):
    desk = written()
    desk.finished("none", (part(0, 0.9),) * 2)
    desk.finished("emma", (part(1, 0.5),) * 2)
    assert "No control" in told(desk)[-1]


def test_no_defense_helps(written):
    desk = written()
    desk.finished("none", (part(0, 0.9), part(0, 0.88)))
    desk.finished("emma", (part(1, 0.95),) * 2)
    assert told(desk)[1] == (
        "No defense helps: by validation figures, none of 2 finished points lowers the accuracy of the worst "
        "clone."
    )


def test_a_point_less_is_no_help(written):
    desk = written(limits=LIMIT)
    desk.finished("none", (part(0, 0.9), part(0, 0.90)))
    desk.finished("emma", (part(1, 0.5), part(1, 0.89)))
    assert told(desk)[1].startswith("No defense helps: with the best point within the limits, point 1 (emma,")
    assert "still reaches 89.0 %, at most one point less than without a defense" in told(desk)[1]


def test_nothing_is_finished(written):
    desk = written()
    desk.asked("none")
    desk.failed("emma")
    assert told(desk) == ["No point is finished yet: of 2 points, 0 stopped and 1 failed."]


def test_no_point_at_all(written):
    assert told(written()) == ["No point is finished yet: of 0 points, 0 stopped and 0 failed."]


def test_no_point_keeps_the_limits(written):
    desk = written(limits=LIMIT)
    desk.finished("emma", (part(1, 0.5, drop=0.05), part(1, 0.55, drop=0.04)))
    undefended, best, worth = told(desk)
    assert "is unknown, because no such point is finished" in undefended
    assert best.startswith("None of 1 finished point is within the limits. The closest, point 0 (emma,")
    assert "exceeds accuracy_drop by 0.030 on validation images; its worst clone reaches 55.0 %" in best
    assert "The worst attacker of point 0 is soft" in worth


def test_without_an_undefended_point_nothing_is_compared(written):
    desk = written()
    desk.finished("emma", (part(1, 0.5), part(1, 0.55)))
    assert "the worst clone reaches 55.0 %. It costs" in told(desk)[1]


def test_means_over_enough_seeds(written):
    desk = written(seeds=SIX)
    desk.finished("none", (part(0, 0.9),) * 2)
    desk.finished("emma", *((part(1, 0.5), part(1, accuracy)) for accuracy in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)))
    assert "the worst clone reaches 35.0 %, 55.0 points less" in told(desk)[1]
    assert told(desk)[-1].endswith("All figures are means over 6 seeds.")


def test_the_question_names_who_attacks_what(written):
    attackers = {"soft": {}, "poor": {"kind": "hard", "queries": 50, "model": "resnet10"}}
    facts = summary_of(written(attackers=attackers, limits=LIMIT).view)
    attacked, asked = question(facts)
    assert "A resnet8 trained on digits" in attacked
    assert "300 images of mnist5k" in attacked
    assert "2 attackers do so here" in attacked
    assert "no more than 2.0 points of accuracy" in asked
    assert "1 other defense (argmax)" in asked
    assert knowledge(facts) == {
        "soft": "the answers; trains resnet8",
        "poor": "the answers; sends 50 queries, trains resnet10 as hard",
    }


def test_of_a_pool_that_is_smaller_the_whole_is_sent(written):
    desk = written(attackers={"soft": {}, "greedy": {"kind": "soft", "queries": 5000}})
    desk.answered(images=8)
    facts = summary_of(desk.view)
    assert "An attacker sends it 8 images of mnist5k" in question(facts)[0]
    assert knowledge(facts)["greedy"].startswith("the answers; sends 8 queries, ")
    assert {name: of["queries"] for name, of in desk.view.attackers().items()} == {"soft": None, "greedy": 8}


def test_one_attacker_is_described_as_one(written):
    assert "one attacker does so here" in question(summary_of(written().view))[0]


def test_differences_within_the_intervals_are_called_so(written):
    desk = written(limits=LIMIT, baselines=["none", "uniform"])
    desk.answered(images=400)
    desk.finished("none", (part(0, 0.9), part(0, 0.90)))
    desk.finished("emma", (part(1, 0.5), part(1, 0.87)))
    desk.finished("emma", (part(1.2, 0.6), part(1.2, 0.88)))
    desk.finished("uniform", (part(0.9, 0.7), part(0.9, 0.89)), a=0.3)
    _, best, front, worth = told(desk)
    assert "3.0 points less than without a defense; this is not distinguishable with 400 test images." in best
    assert best.endswith("Points 0, 2 and 3 are not distinguishable from it with 400 test images.")
    assert front == "The front of emma has 1 point: l1 1.000 with a worst clone of 87.0 %."
    assert "no more cost, and not distinguishable with 400 test images" in worth


def test_sentences_follow_the_objectives(written):
    objectives = {"accuracy_drop": "min", "attackers.hard": "min"}
    desk = written(attackers={"soft": {}, "hard": {}}, objectives=objectives)
    desk.finished("none", (part(0, {"soft": 0.9, "hard": 0.8}),) * 2)
    desk.finished("emma", (part(1, {"soft": 0.95, "hard": 0.6}, drop=0.02),) * 2)
    desk.finished("emma", (part(1, {"soft": 0.2, "hard": 0.3}, drop=0.05),) * 2)
    undefended, best, front, _ = told(desk)
    assert undefended.startswith("Without a defense the clone of hard reaches 80.0 %")
    assert "the clone of hard reaches 30.0 %, 50.0 points less" in best
    assert best.endswith("It costs 5.0 points of the victim's accuracy (test images).")
    assert front == (
        "The front of emma has 2 points: from a drop of 2.0 points with a clone of hard of 60.0 % to a drop of "
        "5.0 points with a clone of hard of 30.0 %."
    )
    assert (
        "at what cost (accuracy that the victim loses, test images, points)?" in question(summary_of(desk.view))[1]
    )


def test_what_an_attacker_of_the_fronts_reaches(written):
    desk = written(attackers={"soft": {}, "inverse": {"when": "front"}})
    desk.finished("none", (part(0, 0.9),) * 2)
    for n, reached in ((0.5, 0.8), (1.0, 0.85)):
        verdict(desk, desk.finished("emma", (part(n, 0.9 - n / 2),) * 2), inverse=reached)
    assert told(desk)[2].endswith(
        "The attacker inverse, which knows the answers and the matrix T, reaches 80.0 to 85.0 % at every point of "
        "emma's front."
    )
    assert knowledge(summary_of(desk.view))["inverse"].endswith("; attacks only baselines and points on a front")


def test_who_attacks_only_the_fronts_is_no_part_of_the_worst_clone(written):
    held = {name: {"kind": "semi", "queries": 50, "when": "front"} for name in ("some", "more")}
    desk = written(attackers={"soft": {}, **held})
    verdict(desk, desk.finished("none", (part(0, 0.4),) * 2), some=0.95, more=0.9)
    verdict(desk, desk.finished("emma", (part(0.1, 0.2),) * 2), some=0.7, more=0.8)
    undefended, best, _, worth = told(desk)
    assert worth.startswith(
        "Of the attackers of every point, the worst of point 1 is soft, which knows the answers"
    )
    assert "the most accurate one of the attackers of every point, reaches 40.0 %" in undefended
    assert undefended.endswith(
        "Of the other attackers, some, which has no part in choosing the fronts, reaches 95.0 %."
    )
    assert (
        "the worst clone reaches 20.0 %, 20.0 points less than without a defense. Of the other attackers, more, "
        "which has no part in choosing the fronts, reaches 80.0 %. It costs l1 0.100" in best
    )


def test_attackers_of_the_fronts_that_get_less_are_not_told(written):
    desk = written(attackers={"soft": {}, "some": {"kind": "semi", "queries": 50, "when": "front"}})
    verdict(desk, desk.finished("none", (part(0, 0.9),) * 2), some=0.8)
    verdict(desk, desk.finished("emma", (part(0.5, 0.4),) * 2), some=0.3)
    assert not any("Of the other attackers" in sentence for sentence in told(desk))


def test_of_many_attackers_of_the_fronts_the_best_is_told(written):
    held = {f"few{n}": {"kind": "soft", "queries": 50, "when": "front"} for n in range(7)}
    desk = written(attackers={"soft": {}, **held})
    desk.finished("none", (part(0, 0.9),) * 2)
    reached = {name: 0.8 + n / 100 for n, name in enumerate(held)}
    verdict(desk, desk.finished("emma", (part(1, 0.4),) * 2), **reached)
    _, _, front, *_ = told(desk)
    assert "The attacker few6, which knows the answers, reaches 86.0 %" in front
    assert "few5" not in front


def test_a_defense_whose_points_were_all_stopped_says_so(written):
    desk = written(search={"stop": "joint"})
    desk.finished("none", (part(0, 0.5),) * 2)
    for n in (1, 2):
        desk.dominated("emma", 0, part(n / 2, 0.6 + n / 10))
    (sentence,) = [sentence for sentence in told(desk) if "stopped" in sentence]
    assert sentence.startswith("All 2 points of emma stopped early, beaten by point 0 even at their bounds")
    assert "(worst clone ≥ 70.0 %, validation images)" in sentence
    assert sentence.endswith(f"To run beaten points on: emma-tune resume {desk.root} --set search.stop=own.")


def test_several_defenses_without_a_front_are_told_in_one_paragraph_with_one_command(written):
    desk = written(
        search={"stop": "joint"}, baselines=["none", {"kind": "uniform", "a": {"low": 0.1, "high": 0.9}}]
    )
    desk.finished("none", (part(0, 0.5),) * 2)
    desk.dominated("emma", 0, part(0.5, 0.7))
    desk.dominated("uniform", 0, part(0.6, 0.8), a=0.3)
    (sentence,) = [sentence for sentence in told(desk) if "stopped" in sentence]
    assert sentence.count("stopped early, beaten by point 0") == 2
    assert sentence.count("emma-tune resume") == 1


def test_points_that_were_stopped_beyond_the_limits_are_told_apart(written):
    desk = written(search={"stop": "joint"}, limits={"accuracy_drop": 0.02})
    desk.finished("none", (part(0, 0.5),) * 2)
    desk.dominated("emma", None, part(0.5, 0.3, drop=0.1))
    (sentence,) = [sentence for sentence in told(desk) if "stopped" in sentence]
    assert sentence == "All 1 point of emma stopped early, beyond the limits."
    desk.dominated("emma", 0, part(1.0, 0.7))
    (sentence,) = [sentence for sentence in told(desk) if "stopped" in sentence]
    assert sentence.startswith(
        "All 2 points of emma stopped early, 1 of them beaten by point 0 even at their bounds"
    )
    assert "(worst clone ≥ 70.0 %, validation images); 1 beyond the limits. To run beaten points on:" in sentence
