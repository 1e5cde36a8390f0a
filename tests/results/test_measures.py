"""Every figure in the long table is one of a record, and nothing is there that no record says."""

from __future__ import annotations

import pytest

from emma_tune.results.tables import measures
from emma_tune.storage.store import CorruptArtifactError

COLUMNS = ["point", "defense", "run", "seed", "attacker", "knows", "part", "measure", "value"]
ANSWERS, MATRIX = "the answers", "the answers and the matrix T"


def rows(desk, **of):
    """The rows of some columns' values, without these columns."""
    table = measures(desk.view)
    assert list(table.columns) == COLUMNS
    for name, value in of.items():
        table = table[table[name] == value].drop(columns=name)
    return [tuple(row) for row in table.itertuples(index=False)]


def test_before_anything_is_done_there_are_columns_and_no_rows(written):
    desk = written(seeds=[1])
    assert rows(desk) == []
    desk.asked("none")
    desk.failed("emma")
    assert rows(desk) == []


def test_what_a_defence_costs_is_what_its_responses_say(written):
    desk = written(seeds=[1])
    number = desk.asked("none")
    metrics = {"queries.l1": 0.5, "validation.accuracy_drop": 0.25, "test.ece": 0.125, "matrix.trace": 8.0}
    desk.commit(desk.plan(number).responses[1], metrics, seconds=2.0, answer=0.25)
    assert rows(desk) == [
        (0, "none", 1, 1, "", "", "queries", "l1", 0.5),
        (0, "none", 1, 1, "", "", "validation", "accuracy_drop", 0.25),
        (0, "none", 1, 1, "", "", "test", "ece", 0.125),
        (0, "none", 1, 1, "", "", "", "matrix.trace", 8.0),
        (0, "none", 1, 1, "", "", "", "seconds.responses", 2.0),
        (0, "none", 1, 1, "", "", "", "latency", 0.25),
    ]


def test_latency_is_that_of_the_answer_and_of_the_guidance_before_it(written):
    desk = written(seeds=[1], baselines=["mad"])
    guided = desk.plan(desk.asked("mad", epsilon=0.5))
    (guidance,) = (task for task in guided.tasks.values() if task.stage == "guidance")
    clean = next(task for task in guided.tasks.values() if task.stage == "posteriors")
    desk.commit(guided.responses[1], seconds=2.0, answer=0.25)
    desk.commit(guidance, seconds=16.0, answer=0.5)
    desk.commit(clean, seconds=64.0, answer=4.0)  # the victim answers without a defence, too
    assert {row[-2]: row[-1] for row in rows(desk)} == {
        "seconds.guidance": 16.0, "seconds.responses": 2.0, "latency": 0.75,
    }  # fmt: skip


def test_of_the_searched_defence_the_matrix_takes_time_and_its_answers_alone_latency(written):
    desk = written(seeds=[1])
    searched = desk.plan(desk.asked("emma"))
    (matrix,) = (task for task in searched.tasks.values() if task.stage == "matrix")
    desk.commit(searched.responses[1], seconds=2.0, answer=0.25)
    desk.commit(matrix, {"trace": 3.0}, seconds=32.0)
    assert {row[-2]: row[-1] for row in rows(desk)} == {
        "seconds.matrix": 32.0, "seconds.responses": 2.0, "latency": 0.25,
    }  # fmt: skip


def test_each_thief_has_his_own_rows_and_what_he_knows(written):
    desk = written(seeds=[1], attackers={"soft": {}, "thief": {"kind": "inverse"}})
    searched = desk.plan(desk.asked("emma"))
    for thief, accuracy in (("soft", 0.25), ("thief", 0.75)):
        trained = {"last.validation.accuracy": 0.9, "best.test.accuracy": 0.9, "matrix_error": accuracy / 2}
        desk.commit(searched.attackers[1, thief], trained, seconds=100 * accuracy)
        evaluated = {"validation.clone_accuracy.best": accuracy, "test.agreement_defended.last": accuracy / 4}
        desk.commit(searched.evaluations[1, thief], evaluated, seconds=1.0)
    # what the clone's training says of accuracies is what its evaluation says
    assert rows(desk, point=0, defense="emma", run=1, seed=1) == [
        ("soft", ANSWERS, "validation", "clone_accuracy.best", 0.25),
        ("soft", ANSWERS, "test", "agreement_defended.last", 0.0625),
        ("soft", ANSWERS, "", "matrix_error", 0.125),
        ("soft", ANSWERS, "", "seconds.attacker", 25.0),
        ("thief", MATRIX, "validation", "clone_accuracy.best", 0.75),
        ("thief", MATRIX, "test", "agreement_defended.last", 0.1875),
        ("thief", MATRIX, "", "matrix_error", 0.375),
        ("thief", MATRIX, "", "seconds.attacker", 75.0),
    ]


def test_a_thief_has_no_rows_where_he_has_nothing_to_attack(written):
    desk = written(seeds=[1], attackers={"soft": {}, "inverse": {}})
    undefended = desk.plan(desk.asked("none"))
    assert list(undefended.evaluations) == [(1, "soft")]
    desk.commit(undefended.evaluations[1, "soft"], {"test.clone_accuracy.best": 0.5})
    assert rows(desk) == [(0, "none", 1, 1, "soft", ANSWERS, "test", "clone_accuracy.best", 0.5)]


def test_a_clone_that_is_trained_and_not_evaluated_says_what_it_knows(written):
    desk = written(seeds=[1])
    undefended = desk.plan(desk.asked("none"))
    desk.commit(undefended.attackers[1, "soft"], {"last.test.accuracy": 0.5}, seconds=3.0)
    assert rows(desk, attacker="soft", part="") == [(0, "none", 1, 1, ANSWERS, "seconds.attacker", 3.0)]
    assert len(rows(desk)) == 1


def test_runs_are_told_by_their_seed_and_that_of_their_victim(written):
    desk = written(seeds=[1, 2], repeats=[0, 3])
    undefended = desk.plan(desk.asked("none"))
    for value, run in enumerate(desk.planner.runs):
        desk.commit(undefended.evaluations[run, "soft"], {"test.clone_accuracy.best": value / 8})
    found = [(run, seed, value) for _, _, run, seed, *_, value in rows(desk, measure="clone_accuracy.best")]
    assert found == [(run, desk.planner.runs[run], value / 8) for value, run in enumerate(desk.planner.runs)]
    assert [seed for _, seed, _ in found] == [1, 2, 1, 2]


def test_defences_share_no_rows_though_they_share_tasks(written):
    desk = written(seeds=[1], baselines=["mad"])
    weak, strong = (desk.plan(desk.asked("mad", epsilon=epsilon)) for epsilon in (0.25, 0.5))
    (guidance,) = (task for task in weak.tasks.values() if task.stage == "guidance")
    assert guidance.key in strong.tasks
    desk.commit(guidance, seconds=16.0, answer=0.5)
    desk.commit(weak.responses[1], {"test.l1": 0.25}, answer=0.125)
    # the other's answers are not there: what guides them alone costs it nothing yet
    assert {row[0] for row in rows(desk)} == {0}
    desk.commit(strong.responses[1], {"test.l1": 0.5}, answer=0.25)
    assert [row[-1] for row in rows(desk, measure="latency")] == [0.625, 0.75]


def test_every_number_of_every_record_is_there_once(written):
    """Against a plain walk through the store."""
    desk = written(seeds=[1, 2], attackers={"soft": {}, "hard": {}})
    for defense in ("none", "emma"):
        planned = desk.plan(desk.asked(defense))
        for task in (*planned.responses.values(), *planned.evaluations.values()):
            number = int(task.key, 16) % 997 / 997
            desk.commit(task, {"test.one": number, "validation.two": number + 1, "three": number + 2})
    expected = sorted(
        value
        for stage in ("responses", "evaluation")
        for record in desk.view.store.root.glob(f"{stage}/*/record.json")
        for value in desk.view.store.record(stage, record.parent.name).metrics.values()
    )
    table = measures(desk.view)
    assert sorted(table[table.measure.isin(["one", "two", "three"])].value) == expected
    assert len(expected) == 3 * (4 + 8)
    assert set(table[table.measure == "one"].part) == {"test"}
    assert set(table[table.measure == "two"].part) == {"validation"}
    assert set(table[table.measure == "three"].part) == {""}


def test_a_damaged_record_is_left_out_and_named(written):
    desk = written(seeds=[1])
    undefended = desk.plan(desk.asked("none"))
    desk.commit(undefended.responses[1], {"test.l1": 0.0})
    desk.commit(undefended.evaluations[1, "soft"], {"test.clone_accuracy.best": 0.5})
    task = undefended.responses[1]
    record = desk.view.store.folder(task.stage, task.key) / "record.json"
    record.write_text(record.read_text().replace("0.0", "0.5"))
    view = desk.view
    with pytest.raises(CorruptArtifactError):
        view.store.record(task.stage, task.key)
    assert list(measures(view).measure) == ["clone_accuracy.best"]
    assert [str(record) in problem for problem in view.problems] == [True]
