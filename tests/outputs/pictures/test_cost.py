"""Seconds: they add up to those of the records, and what was saved is what would have been spent again."""

from __future__ import annotations

import pytest

from emma_tune.results.ledger import LedgerWriter
from tests.outputs.pictures.desk import accuracies, commit, draw, is_picture, seconds, table, work
from tests.results.desk import part


def test_seconds_add_up(several, tmp_path):
    desk = several()
    assert draw("cost", desk.root, out=tmp_path) == 0
    plans = [desk.plan(number).tasks for number in range(8)]
    done = {key: task for plan in plans[:5] for key, task in plan.items()}
    uses = {key: sum(key in plan for plan in plans) for key in done}
    stages, points = table(tmp_path, "cost"), table(tmp_path, "cost", "points")
    for row in stages.itertuples():
        own = {key: seconds(task) for key, task in done.items() if task.stage == row.stage}
        assert row.spent + row.elsewhere == pytest.approx(sum(own.values()))
        assert row.shared == pytest.approx(sum(own[key] * (uses[key] - 1) for key in own))
        assert points[points.stage == row.stage].seconds.sum() == pytest.approx(row.spent + row.elsewhere)
    first = points[points.point == 0].seconds.sum()  # victims and all: whoever comes first
    assert first == pytest.approx(sum(seconds(task) for task in plans[0].values()))
    assert is_picture(tmp_path, "cost")


def test_what_another_study_had_done_was_not_spent_here(written, tmp_path):
    desk = written()
    writer = LedgerWriter(desk.root / "ledger.jsonl")
    writer.run("ours")
    writer.close()
    number = desk.finished("none", (part(0.0, 0.9), part(0.0, 0.9)))
    tasks = desk.plan(number).tasks.values()
    victim = next(task for task in tasks if task.stage == "victim")
    commit(desk, victim, seconds=seconds(victim), run="theirs")
    work(desk, number, run="ours")
    assert draw("cost", desk.root, out=tmp_path) == 0
    stages = table(tmp_path, "cost").set_index("stage")
    assert (stages.spent["victim"], stages.elsewhere["victim"]) == (0, pytest.approx(seconds(victim)))
    assert stages.elsewhere.sum() == pytest.approx(seconds(victim))


def test_early_stopping_saves_epochs_at_the_pace_of_the_others(several, tmp_path):
    desk = several()
    clones = list(desk.plan(7).attackers.values())  # of the point that is under way
    for task in clones:
        commit(desk, task, history=accuracies(task), seconds=seconds(task))
    assert draw("cost", desk.root, out=tmp_path) == 0
    stopped = table(tmp_path, "cost").set_index("stage").stopped
    pace = sum(seconds(task) for task in clones) / sum(len(accuracies(task)) for task in clones)
    assert stopped["attacker"] == pytest.approx(pace, abs=0.06)  # one epoch of one clone was left out
    assert stopped.drop("attacker").eq(0).all()
