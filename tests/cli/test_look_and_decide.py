"""What the evidence verbs print, in which shape, and with which exit code: on studies written down by hand."""

from __future__ import annotations

import csv
import io
import json

import pytest

from emma_tune.attacks import ATTACKS
from emma_tune.cli.printing.evidence import show_confirmation
from emma_tune.results.confirmation import confirmation_folder, confirmation_study, confirmed
from emma_tune.results.tables import measures
from emma_tune.study.file import load_study
from tests.cli.typed import emma, printed, refused
from tests.results.desk import Written, part

SEVEN = {
    "soft": {},
    "hard": {},
    "inverse": {},
    "forward": {},
    "estimated": {},
    "smoothed": {},
    "few": {"kind": "soft", "queries": 50},
}


@pytest.fixture
def write(study_file, tmp_path):
    """An empty folder of the tiny study with changes."""

    def write(**changes):
        study = load_study(study_file(**{"attackers": {"soft": {}, "inverse": {}}, **changes}))
        return Written(tmp_path / "runs" / study.name, study)

    return write


def alike(figures):
    return figures, figures


def fill(desk):
    """Front: none (0) and two searched points (2, 1); one beyond the limits, one failed, one unfinished."""
    desk.finished("none", alike(part(0.0, {"soft": 0.9})))
    far = {"soft": 0.25, "inverse": 0.5}
    desk.finished("emma", (part(1.5, far), part(1.5, {"soft": 0.375, "inverse": 0.625}, drop=0.25)))
    desk.finished("emma", alike(part(1.0, {"soft": 0.75, "inverse": 0.5})))
    desk.finished("emma", alike(part(1.0, {"soft": 0.125, "inverse": 0.125}, drop=0.5)))
    desk.finished("argmax", alike(part(1.25, {"soft": 0.85})))
    desk.failed("emma")
    desk.asked("emma")
    return desk


@pytest.fixture
def desk(write):
    return fill(write(seeds=[1, 2], limits={"accuracy_drop": 0.02}))


def table(*arguments):
    return list(csv.DictReader(io.StringIO(printed(*arguments))))


# --- front ------------------------------------------------------------------------------------------------


def test_front_as_json_has_what_the_design_promises(desk):
    content = json.loads(printed("front", desk.root, "--json"))
    assert {"study", "objectives", "hypervolume", "points"} <= content.keys()
    assert content["study"] == "tiny"
    assert content["objectives"] == {"l1": "min", "attacker_accuracy": "min"}
    assert [point["point"] for point in content["points"]] == [0, 2, 1]
    shown = {"l1", "victim_accuracy", "accuracy_drop", "attacker_accuracy", "attackers"}
    for point in content["points"]:
        assert {"point", "params", "defense", "validation"} | shown <= point.keys()
        assert shown <= point["validation"].keys()
        figures = [point["victim_accuracy"], point["attacker_accuracy"], *point["attackers"].values()]
        assert all(0 <= accuracy <= 1 for accuracy in figures)
    last = content["points"][-1]
    assert (last["accuracy_drop"], last["validation"]["accuracy_drop"]) == (0.25, 0.0)
    assert last["attackers"] == {"soft": 0.375, "inverse": 0.625}
    volume = 1.0 * 0.1 + 0.5 * 0.25 + 0.5 * 0.375
    assert content["hypervolume"] == pytest.approx(volume)
    assert content["seeds"]["hypervolume_by_seed"] == {"1": pytest.approx(volume), "2": pytest.approx(volume)}
    assert content["counts"] == {
        "asked": 7,
        "finished": 5,
        "infeasible": 1,
        "stopped": 0,
        "dominated": 0,
        "excluded": 0,
        "failed": 1,
    }
    assert content["thieves"]["inverse"]["knows"] == "the answers and the matrix T"


def test_front_against_one_attacker_leaves_out_what_it_cannot_attack(desk):
    content = json.loads(printed("front", desk.root, "--attacker", "inverse", "--json"))
    assert content["attacker"] == "inverse"
    by_point = {point["point"]: point["attacker_accuracy"] for point in content["points"]}
    assert by_point == {2: 0.5}  # point 1 has as bad a clone at a higher cost
    assert content["seeds"]["mean"] == pytest.approx(1.0 * 0.5)
    content = json.loads(printed("front", desk.root, "--attacker", "soft", "--json"))
    assert {point["point"]: point["attacker_accuracy"] for point in content["points"]} == {
        0: 0.9,
        2: 0.75,
        1: 0.375,
    }


def test_front_of_some_defenses_has_only_theirs(desk):
    content = json.loads(printed("front", desk.root, "--defense", "argmax", "--defense", "none", "--json"))
    assert [point["defense"] for point in content["points"]] == ["none", "argmax"]
    assert content["counts"] == {
        "asked": 2,
        "finished": 2,
        "infeasible": 0,
        "stopped": 0,
        "dominated": 0,
        "excluded": 0,
        "failed": 0,
    }


def test_front_as_json_has_a_front_for_each_searched_defense_and_the_references(desk):
    content = json.loads(printed("front", desk.root, "--json"))
    assert content["fronts"].keys() == {"emma"}
    emma = content["fronts"]["emma"]
    assert [point["point"] for point in emma["points"]] == [2, 1]
    assert emma["hypervolume"] == pytest.approx(1.0 * 0.25 + 0.5 * 0.125)
    assert emma["hypervolume_validation"] == pytest.approx(1.0 * 0.25 + 0.5 * 0.25)
    assert (emma["counts"]["asked"], emma["stopped"], emma["reached"]) == (5, [], {})
    assert [(point["point"], point["on_joint_front"]) for point in content["references"]] == [
        (0, True),
        (4, False),
    ]
    assert (content["budget"], content["attack"], content["limits"]) == (
        "l1",
        "attacker_accuracy",
        {"accuracy_drop": 0.02},
    )


def test_front_as_csv_has_the_fronts_and_the_references_in_order(desk):
    rows = table("front", desk.root, "--csv")
    assert [row["point"] for row in rows] == ["2", "1", "0", "4"]
    assert list(rows[0])[:3] == ["point", "defense", "state"]
    assert [row["on_front"] for row in rows] == ["True", "True", "True", "False"]
    assert [row["on_own_front"] for row in rows] == ["True", "True", "False", "False"]
    assert [float(row["attacker_accuracy"]) for row in rows][:3] == [0.75, 0.625, 0.9]


def test_front_as_csv_against_one_attacker_says_what_its_json_says(desk):
    # point 4 is on this front alone
    desk.finished("uniform", alike(part(0.5, {"soft": 0.95, "inverse": 0.75})), a=0.5)
    arguments = ("front", desk.root, "--attacker", "inverse")
    content = json.loads(printed(*arguments, "--json"))
    points = [*content["fronts"]["emma"]["points"], *content["references"]]
    rows = table(*arguments, "--csv")
    assert [row["defense"] for row in rows] == ["emma", "uniform"]
    assert {row["on_front"] for row in rows} == {"True"}
    for prefix, of in (("", points), ("validation.", [point["validation"] for point in points])):
        for name in ("l1", "attacker_accuracy"):
            assert [float(row[prefix + name]) for row in rows] == [figures[name] for figures in of]


def test_an_empty_front_says_why_it_is(write):
    desk = write(seeds=[1])
    assert json.loads(printed("front", desk.root, "--json"))["points"] == []
    assert table("front", desk.root, "--csv") == []
    assert table("front", desk.root, "--attacker", "inverse", "--csv") == []
    desk.asked("none")
    assert table("front", desk.root, "--attacker", "inverse", "--csv") == []
    lines = printed("front", desk.root).splitlines()
    assert lines[0] == "emma: no point proposed yet"
    assert not any("hypervolume" in line for line in lines)
    beyond = write(name="beyond", seeds=[1], limits={"accuracy_drop": 0.02})
    beyond.finished("emma", alike(part(1.0, {"soft": 0.5, "inverse": 0.5}, drop=0.5)))
    expected = "emma: no finished point satisfies accuracy_drop ≤ 0.02 (1 finished)"
    assert expected in printed("front", beyond.root)
    begun = write(name="begun", seeds=[1])
    begun.asked("emma")
    expected = f"emma: no point finished yet (1 proposed); emma-tune status {begun.root}"
    assert expected in printed("front", begun.root)


def test_defenses_that_change_no_answer_are_named(write):
    desk = write(seeds=[1])
    desk.finished("none", alike(part(0.0, {"soft": 0.6})))
    desk.finished("top_k", alike(part(0.0, {"soft": 0.6})), k=12)
    desk.finished("top_k", alike(part(0.25, {"soft": 0.5})), k=2)
    assert "point 1 releases the answers of the undefended victim: l1 is 0" in printed("front", desk.root)
    desk.finished("mad", alike(part(0.0, {"soft": 0.6})), epsilon=0.0)
    assert json.loads(printed("front", desk.root, "--json"))["unchanged"] == [1, 3]
    assert json.loads(printed("front", desk.root, "--json", "--defense", "mad"))["unchanged"] == [3]


def test_a_defense_whose_points_were_all_stopped_says_by_which_at_which_bounds_and_how_to_run_them_on(write):
    desk = write(seeds=[1], search={"stop": "joint"})
    desk.finished("none", alike(part(0.0, {"soft": 0.6})))
    desk.finished("argmax", alike(part(0.1, {"soft": 0.5})))
    for place, soft in enumerate((0.7, 0.65)):
        desk.dominated("emma", by=place, validation=part(1.0, {"soft": soft, "inverse": 0.0}))
    lines = printed("front", desk.root).splitlines()
    assert (
        "emma: all 2 points stopped early, already beaten by point 0 (worst clone ≥ 65.0 %, validation); "
        f"list them with: emma-tune points {desk.root}"
    ) in lines
    assert f"run them to their end with: emma-tune resume {desk.root} --set search.stop=own" in lines
    content = json.loads(printed("front", desk.root, "--json"))["fronts"]["emma"]
    assert [(of["point"], of["by"]) for of in content["stopped"]] == [(2, 0), (3, 0)]
    assert content["stopped"][0]["bounds"]["validation"]["attacker_accuracy"] == 0.7


def test_front_is_printed_with_what_every_attacker_knows_and_what_became_of_the_points(write):
    desk = write(seeds=[1, 2], attackers=SEVEN, limits={"accuracy_drop": 0.02}, search={"stop": "joint"})
    linear = dict.fromkeys(SEVEN, 0.5)
    desk.finished("none", alike(part(0.0, {name: 0.9 for name in SEVEN if name not in ("inverse", "forward")})))
    desk.finished("emma", alike(part(1.0, linear)))
    desk.finished("emma", alike(part(1.0, linear, drop=0.5)))
    desk.dominated("emma", by=1, validation=part(1.5, linear))
    desk.failed("emma")
    output = printed("front", desk.root)
    for name, attacker in SEVEN.items():
        (line,) = (line for line in output.splitlines() if line.startswith(f"{name} knows "))
        assert ATTACKS[attacker.get("kind", name)].knows in line
        assert "resnet8" in line
    assert "few knows the answers, asks 50 queries, trains resnet8 (soft)" in output
    assert "5 points: 3 finished (1 beyond the limits), 1 stopped early, 1 failed" in output
    assert "–" in next(line for line in output.splitlines() if " none " in line)  # nothing to invert
    assert "; by seed (2): mean 0.60, deviation 0.00" in output


def test_attackers_and_defenses_that_are_not_there_are_refused_in_one_line(desk):
    assert (
        refused("front", desk.root, "--attacker", "few") == "--attacker: expected one of soft, inverse, found few"
    )
    assert refused("front", desk.root, "--defense", "mad") == (
        "--defense: expected one of argmax, emma, none, found mad"
    )


@pytest.mark.parametrize("verb", ["front", "best", "compare", "measures", "confirm"])
def test_a_folder_that_is_no_study_is_refused_in_one_line(verb, tmp_path):
    assert refused(verb, tmp_path) == f"{tmp_path}: expected the folder of a study, found no study.json in it"


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


# --- budgets ----------------------------------------------------------------------------------------------


def test_front_at_budgets_names_the_best_point_of_each_defense_within_them(desk):
    content = json.loads(printed("front", desk.root, "--at", "0.25,1.0,1.75", "--json"))
    assert (content["budget"], content["attack"]) == ("l1", "attacker_accuracy")
    found = [{name: point and point["point"] for name, point in row["points"].items()} for row in content["rows"]]
    assert [row["at"] for row in content["rows"]] == [0.25, 1.0, 1.75]
    assert found == [
        {"none": 0, "emma": None, "argmax": None},
        {"none": 0, "emma": 2, "argmax": None},
        {"none": 0, "emma": 1, "argmax": 4},
    ]
    lines = printed("front", desk.root, "--at", "0.25,1.0").splitlines()
    assert lines[0] == (
        "tiny: worst clone’s accuracy on test images, at the best point within each budget (chosen on validation "
        "images)"
    )
    assert lines[2].split() == ["≤", "0.25", "90.0", "(point", "0)", "–", "–"]


@pytest.mark.parametrize("given", ["", "a", "0.5,", "0.5,inf"])
def test_budgets_that_are_no_numbers_are_refused(desk, given):
    ended = emma("front", desk.root, "--at", given)
    assert ended.exit_code == 2
    assert "expected numbers, as in 0.25,0.5,1.0" in " ".join(ended.stderr.split())


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


# --- problems ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [("front", "--json"), ("best", "--json"), ("compare", "--json"), ("measures",)]
)
def test_what_could_not_be_read_is_told_aside(desk, arguments):
    desk.commit(desk.plan(0).responses[1], {"test.l1": 0.5})
    with (desk.root / "ledger.jsonl").open("a") as file:
        file.write('{"event": "fini')
    verb, *rest = arguments
    ended = emma(verb, desk.root, *rest)
    assert ended.exit_code == 0
    (line,) = ended.stderr.splitlines()
    assert "ledger.jsonl, line" in line
    if rest:
        json.loads(ended.stdout)


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
