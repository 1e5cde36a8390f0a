"""What `front` prints, in which shape, and with which exit code; and what every evidence verb says of damage."""

from __future__ import annotations

import json

import pytest

from emma_tune.attacks import ATTACKS
from tests.cli.desks import SEVEN, alike, table
from tests.cli.typed import emma, printed, refused
from tests.results.desk import part

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
    stopped = "emma: all 2 points stopped early, already beaten by point 0"
    assert f"{stopped} (worst clone ≥ 65.0 %, validation)" in lines
    assert f"list points that were stopped early with: emma-tune points {desk.root}" in lines
    assert f"run them to their end with: emma-tune resume {desk.root} --set search.stop=own" in lines
    content = json.loads(printed("front", desk.root, "--json"))["fronts"]["emma"]
    assert [(of["point"], of["by"]) for of in content["stopped"]] == [(2, 0), (3, 0)]
    assert content["stopped"][0]["bounds"]["validation"]["attacker_accuracy"] == 0.7


def test_front_is_printed_with_what_every_attacker_knows_and_what_became_of_the_points(write):
    attackers = {**SEVEN, "pair": {"kind": "jacobian", "targets": "bayes"}}
    desk = write(seeds=[1, 2], attackers=attackers, limits={"accuracy_drop": 0.02}, search={"stop": "joint"})
    linear = dict.fromkeys(attackers, 0.5)
    desk.finished(
        "none", alike(part(0.0, {name: 0.9 for name in attackers if name not in ("inverse", "forward")}))
    )
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
    assert "copies of them, and the defense" in output
    assert "trains resnet8 (jacobian with targets of bayes)" in output
    assert "5 points: 3 finished (1 beyond the limits), 1 stopped early, 1 failed" in output
    assert "; by seed (2): mean 0.60, deviation 0.00" in output


def test_attackers_that_have_attacked_have_a_column_each(write):
    desk = write(seeds=[1], attackers={"soft": {}, "inverse": {}, "semi": {"queries": 50, "when": "front"}})
    desk.finished("none", alike(part(0.0, {"soft": 0.9})))
    desk.finished("emma", alike(part(1.0, {"soft": 0.5, "inverse": 0.8})))
    heads, *rows = printed("front", desk.root).splitlines()[1:4]
    assert heads.endswith("worst clone, %  soft, %  inverse, %  joint ")
    assert [row.split()[-3:] for row in rows] == [["50.0", "80.0", "✓"], ["90.0", "–", "✓"]]


def test_of_many_attackers_the_best_is_named(write):
    desk = write(seeds=[1], attackers=SEVEN)
    desk.finished("emma", alike(part(1.0, {**dict.fromkeys(SEVEN, 0.5), "inverse": 0.75})))
    heads, row = printed("front", desk.root).splitlines()[1:3]
    assert heads.endswith("worst clone, %  best clone of any, %  joint ")
    assert "  75.0 inverse  ✓" in row


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
