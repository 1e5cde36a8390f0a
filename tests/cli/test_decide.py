"""What `best`, `compare`, `measures` and `confirm` print, in which shape, and with which exit code."""

from __future__ import annotations

import json

import pytest

from emma_tune.cli.printing.evidence import show_confirmation
from emma_tune.results.confirmation import confirmation_folder, confirmation_study, confirmed
from emma_tune.results.tables import measures
from tests.cli.desks import alike, fill, table
from tests.cli.typed import emma, printed, refused
from tests.results.desk import Written, part

# --- best -------------------------------------------------------------------------------------------------


def test_best_keeps_the_studys_limit_unless_another_is_given(desk):
    content = json.loads(printed("best", desk.root, "--json"))
    assert (content["bounds"], content["point"]["point"]) == ({"accuracy_drop": 0.02}, 1)
    content = json.loads(printed("best", desk.root, "--max", "accuracy_drop=0.5", "--json"))
    assert (content["bounds"], content["point"]["point"]) == ({"accuracy_drop": 0.5}, 3)


def test_best_within_both_bounds(desk):
    content = json.loads(printed("best", desk.root, "--max", "accuracy_drop=0.25", "--max", "l1=1.0", "--json"))
    assert content["bounds"] == {"accuracy_drop": 0.25, "l1": 1.0}
    assert (content["point"]["point"], content["candidates"], content["finished"]) == (2, 2, 5)


def test_a_study_without_limits_has_no_bounds(write):
    desk = fill(write(seeds=[1]))
    content = json.loads(printed("best", desk.root, "--json"))
    assert (content["bounds"], content["point"]["point"]) == ({}, 3)
    assert "best of 5 points (5 finished)" in printed("best", desk.root)


def test_best_is_printed_with_its_figures_and_what_breaks_on_test_data(desk):
    lines = printed("best", desk.root).splitlines()
    assert lines[0] == "point 1: emma lambda 0.02, lr_gamma 0.3, st_epoch 1"
    assert "best of 4 points that satisfy accuracy_drop ≤ 0.02 (5 finished)" in lines
    clones = "soft 37.5 %, inverse 62.5 %"
    assert f"test: l1 1.500, victim 65.0 %, drop 25.0 points, worst clone 62.5 %; clones: {clones}" in lines
    clones = "soft 25.0 %, inverse 50.0 %"
    assert f"validation: l1 1.500, victim 90.0 %, drop 0.0 points, worst clone 50.0 %; clones: {clones}" in lines
    assert "its test figures exceed accuracy_drop by 0.2300; validation figures chose the point" in lines
    assert "7 points: 5 finished (1 beyond the limits), 1 failed, 1 unfinished" in lines


def test_where_none_is_within_the_bounds_the_nearest_is_printed(write):
    desk = write(seeds=[1])
    desk.finished("emma", alike(part(1.0, {"soft": 0.5, "inverse": 0.5})))
    lines = printed("best", desk.root, "--max", "l1=0.25").splitlines()
    assert lines[0] == "no finished point satisfies l1 ≤ 0.25; the closest exceeds l1 by 0.7500:"
    assert lines[1].startswith("point 0: emma ")


def test_stopped_points_that_might_be_better_are_printed(write):
    desk = write(seeds=[1], search={"stop": "joint"})
    rival = desk.finished("emma", alike(part(1.0, {"soft": 0.25, "inverse": 0.25}, drop=0.5)))
    desk.finished("none", alike(part(0.0, {"soft": 0.75})))
    desk.dominated("emma", by=rival, validation=part(1.25, {"soft": 0.5, "inverse": 0.0}))
    output = printed("best", desk.root, "--max", "accuracy_drop=0.1")
    assert "stopped early, and perhaps better within these bounds: point 2; search.stop: none runs" in output
    assert "perhaps better" not in printed("best", desk.root)


def test_best_of_nothing_says_so(write):
    desk = write(seeds=[1])
    assert printed("best", desk.root).startswith("no point is finished\n")
    assert json.loads(printed("best", desk.root, "--json"))["point"] is None


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        ("l1=2.5", "l1 in [0, 2], found 2.5"),
        ("accuracy_drop=-1.5", "accuracy_drop in [-1, 1], found -1.5"),
        ("l1=low", "MEASURE=VALUE, found l1=low"),
        ("l1=nan", "l1 in [0, 2], found nan"),
        ("victim_accuracy=0.9", "MEASURE=VALUE with one of l1, "),
        ("attackers.few=0.9", "flip_rate, attackers.soft, found attackers.few=0.9"),
    ],
)
def test_bounds_beyond_a_measures_range_and_of_unknown_measures_are_refused(desk, bound, expected):
    line = refused("best", desk.root, "--max", bound)
    assert line.startswith("--max: expected ")
    assert expected in line


def test_best_may_be_bounded_by_one_attacker(desk):
    content = json.loads(printed("best", desk.root, "--max", "attackers.soft=0.8", "--json"))
    assert content["bounds"] == {"accuracy_drop": 0.02, "attackers.soft": 0.8}
    assert content["candidates"] == 2


# --- compare ----------------------------------------------------------------------------------------------


def test_one_study_is_compared_by_its_defenses(desk):
    content = json.loads(printed("compare", desk.root, "--json"))
    assert {"objectives", "reference", "attacker", "enough", "groups", "remarks"} == content.keys()
    assert [group["name"] for group in content["groups"]] == ["none", "emma", "argmax"]
    assert content["reference"] == "emma"
    for group in content["groups"]:
        assert {"name", "points", "hypervolume_by_seed", "mean", "deviation", "difference"} <= group.keys()
        assert group["hypervolume_by_seed"].keys() == {"1", "2"}
    argmax = content["groups"][2]
    assert argmax["mean"] == pytest.approx(1.25 * 0.1 + 0.75 * 0.15)
    assert argmax["difference"]["verdict"] == "too few seeds to speak"


def test_two_studies_are_compared_as_wholes_unless_defenses_are_asked_for(desk, write):
    other = write(name="other", seeds=[2, 3], limits={"accuracy_drop": 0.02})
    other.finished("none", alike(part(0.0, {"soft": 0.5})))
    both = (desk.root, other.root)
    content = json.loads(printed("compare", *both, "--json"))
    assert [group["name"] for group in content["groups"]] == ["tiny", "other"]
    assert content["groups"][1]["difference"]["count"] == 1
    content = json.loads(printed("compare", *both, "--defenses", "--json"))
    assert [group["name"] for group in content["groups"]] == [
        "tiny: none", "tiny: emma", "tiny: argmax", "other: none",
    ]  # fmt: skip
    assert content["reference"] == "tiny: emma"
    assert refused("compare", desk.root, "--studies") == "expected two sides to compare, found tiny"


def test_the_reference_of_a_comparison_can_be_named(desk):
    content = json.loads(printed("compare", desk.root, "--against", "argmax", "--json"))
    assert content["reference"] == "argmax"
    assert [group["difference"] is None for group in content["groups"]] == [False, False, True]
    line = refused("compare", desk.root, "--against", "mad")
    assert line == "expected one of none, emma, argmax, found mad"


def test_compare_against_one_attacker(desk):
    content = json.loads(printed("compare", desk.root, "--attacker", "soft", "--json"))
    assert content["attacker"] == "soft"
    line = refused("compare", desk.root, "--attacker", "few")
    assert line == f"{desk.root}: expected one of the attackers soft, inverse, found few"
    assert refused("compare", desk.root, "--attacker", "inverse") == (
        "expected two sides that inverse can attack, found emma"
    )


def test_a_comparison_is_printed_best_first_with_counts_verdicts_and_remarks(desk):
    lines = printed("compare", desk.root).splitlines()
    assert lines[0].strip() == "hypervolume against the worst attacker, test figures, by seed"
    names = [line.split()[0] for line in lines[2:5]]
    assert names == ["emma", "argmax", "none"]
    assert lines[2].split() == ["emma", "5", "3", "1", "0", "1", "0.4125", "0.0000", "the", "reference"]
    assert " ".join(lines[3].split()) == (
        "argmax 1 1 0 0 0 0.2375 0.0000 -0.1750 too few seeds to speak (2 seeds)"
    )
    assert "differences to emma, paired over seeds; 95 % intervals (Student’s t)" in lines
    assert "unequal tuning budgets, in points: none 1, emma 5, argmax 1" in lines
    assert "emma: 1 of 5 not finished" in lines


def test_studies_without_a_victim_in_common_are_printed_without_a_difference(write):
    for name, seed in (("one", 1), ("other", 2)):
        write(name=name, seeds=[seed]).finished("none", alike(part(0.0, {"soft": 0.5})))
    root = write(name="third", seeds=[3]).root.parent
    line = next(x for x in printed("compare", root / "one", root / "other").splitlines() if "other" in x)
    assert line.split()[-5:] == ["–", "no", "victim", "in", "common"]


# --- measures ---------------------------------------------------------------------------------------------


def test_measures_are_the_whole_table_as_csv(desk):
    planned = desk.plan(0)
    for run, value in ((1, 0.25), (2, 0.5)):
        desk.commit(planned.evaluations[run, "soft"], {"test.clone_accuracy.best": value})
        desk.commit(planned.responses[run], {"test.l1": value}, seconds=1.0, answer=0.125)
    rows = table("measures", desk.root)
    assert list(rows[0]) == ["point", "defense", "run", "seed", "attacker", "knows", "part", "measure", "value"]
    expected = measures(desk.view).to_dict("records")
    assert len(rows) == len(expected) == 8
    for row, of in zip(rows, expected, strict=True):
        assert {**row, "value": float(row["value"])} == {
            name: of[name] if name == "value" else str(of[name]) for name in of
        }


def test_measures_of_nothing_are_no_lone_line_of_names(write):
    root = write(seeds=[1]).root
    assert refused("measures", root) == f"{root}: expected a study with measured figures, found none"


# --- confirm ----------------------------------------------------------------------------------------------


def test_confirm_refuses_before_anything_starts(desk):
    assert refused("confirm", desk.root, "--points", "99") == (
        f"{desk.root}: expected a point of the study, found no point 99"
    )
    assert refused("confirm", desk.root, "--points", "0,6") == (
        f"{desk.root}: expected a finished point, found point 6 unfinished"
    )
    for arguments in (("--points", "all"), ("--points", ""), ("--repeats", "1")):
        ended = emma("confirm", desk.root, *arguments)
        assert ended.exit_code == 2
        assert arguments[0].strip("-") in ended.stderr or "expected numbers of points" in ended.stderr
    assert not confirmation_folder(desk.root).exists()


def test_a_confirmation_is_printed_with_what_stays_and_what_leaves(desk, capsys):
    again = Written(confirmation_folder(desk.root), confirmation_study(desk.view.study, 2))
    points = desk.view.ledger.points
    again.finished("none", alike(part(0.0, {"soft": 0.9})))
    runs = [alike(part(1.5, {"soft": 0.25, "inverse": accuracy})) for accuracy in (0.5, 0.25, 0.5, 0.25)]
    again.finished("emma", *runs, **points[1].params)
    again.finished("emma", alike(part(1.5, {"soft": 0.5, "inverse": 0.5})), **points[2].params)
    again.finished("emma", alike(part(1.0, {"soft": 0.5, "inverse": 0.5}, drop=0.25)), **points[3].params)
    again.asked("argmax")
    show_confirmation(confirmed(desk.view, again.view))
    lines = capsys.readouterr().out.splitlines()
    assert "tiny: 2 repeats with fresh seeds, test figures" in lines[0]
    notes = {
        line.split()[0]: line for line in lines if line.strip() and line.split()[0] in ("0", "1", "2", "3", "4")
    }
    assert notes["0"].rstrip().endswith("stays on the front")  # of its own defense
    assert notes["1"].rstrip().endswith("stays on the front")
    assert notes["2"].rstrip().endswith("leaves the front: beaten by point 1")
    assert notes["3"].rstrip().endswith("not on the front of the search")
    assert notes["4"].rstrip().endswith("unfinished")
    (row,) = [line.split() for line in lines if line.split()[:1] == ["attackers.inverse"]][:1]
    assert row == ["attackers.inverse", "0.6250", "0.3750", "0.0000", "–"]
    assert lines[-1] == "5 points: 4 finished (1 beyond the limits), 1 unfinished"
