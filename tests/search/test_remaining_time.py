"""How long a run still takes is what the arithmetic by hand gives."""

from __future__ import annotations

import pytest

from emma_tune.plan import Planner, Point
from emma_tune.search.agenda import Agenda
from emma_tune.search.paces import TRUSTED, Paces, Utilization
from emma_tune.search.remaining_time import RemainingTime
from emma_tune.search.workload import effort_of
from emma_tune.storage.store import Record
from emma_tune.study.file import load_study

IMAGES = {"victim": "v", "queries": "q"}
VICTIM, SURROGATE, DEFENSE, CLONE = 30, 5, 10, 20
"""Epochs."""
SECONDS = {"victim": 1.0, "surrogate": 2.0, "matrix": 5.0, "attacker": 1.5}
"""Of an epoch."""


class Run:
    """A run of one study: two attackers, and one of the fronts; one seed, st_epoch 0 or 4."""

    def __init__(self, study_file) -> None:
        study = load_study(
            study_file(
                victim={"epochs": VICTIM},
                surrogate={"epochs": SURROGATE},
                defense={"epochs": DEFENSE},
                attackers={
                    "soft": {"epochs": CLONE},
                    "hard": {"epochs": CLONE},
                    "inverse": {"epochs": CLONE, "when": "front"},
                },
                search={"space": {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": {"choices": [0, 4]}}},
            )
        )
        self.planner = Planner(study, IMAGES)
        self.agenda = Agenda(lambda task: False)
        self.paces = Paces()
        self.remaining = RemainingTime(self.planner, self.agenda.workload, self.paces)

    def open(self, number: int, defense: str = "none", **params: float) -> Point:
        point = Point(number, defense, params)
        self.agenda.add(self.planner.point(point))
        return point

    def left(
        self, unproposed: int = 0, slots: int = 1, per_trial: float = 0.0, targets: float = 0.0
    ) -> float | None:
        return self.remaining.seconds(
            {"emma": unproposed}, {"emma": targets, "none": 1.0}, lambda stage: 1 / slots, per_trial
        )

    def time(self, *stages: str) -> None:
        """Finished tasks, elsewhere, tell how long an epoch of these stages takes."""
        plans = (self.planner.point(point) for point in (emma(0, 4), Point(0, "none")))
        for task in [task for plan in plans for task in plan.tasks.values()]:
            if task.stage in stages:
                effort = effort_of(task, None)
                self.paces.finish(effort, SECONDS[task.stage] * effort.amount)


def emma(number: int, st_epoch: int = 0) -> Point:
    return Point(number, "emma", {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": st_epoch})


ALL = tuple(SECONDS)
TWO_CLONES = 2 * CLONE * SECONDS["attacker"]


@pytest.fixture
def run(study_file):
    return Run(study_file)


def test_nothing_is_known_until_something_like_it_was_timed(run):
    run.open(0)
    assert run.left() is None
    run.time("victim")
    assert run.left() is None
    run.time("surrogate")  # a network on the query pool, too: a clone's epoch costs as much
    assert run.left() == VICTIM * SECONDS["victim"] + 2 * CLONE * SECONDS["surrogate"]


def test_a_matrix_not_yet_timed_costs_as_many_passes_as_its_steps_have(run):
    run.time("victim", "attacker")
    run.agenda.add(run.planner.point(emma(0)))
    # three forward passes a step of a clone, ten of a matrix
    matrix = DEFENSE * SECONDS["attacker"] * 10 / 3
    assert run.left() == pytest.approx(VICTIM * SECONDS["victim"] + matrix + TWO_CLONES)


def test_epochs_left_times_seconds_an_epoch_over_slots(run):
    run.time(*ALL)
    run.open(0)
    whole = VICTIM * SECONDS["victim"] + TWO_CLONES
    assert run.left() == whole
    assert run.left(per_trial=0.5) == whole + 3 * 0.5
    # on two slots half as long, but no shorter than the victim and then a clone
    assert run.left(slots=2) == VICTIM * SECONDS["victim"] + CLONE * SECONDS["attacker"]

    # points still to be proposed: their matrices and clones, on average over st_epoch, and the surrogate once
    each = (DEFENSE + DEFENSE - 4) / 2 * SECONDS["matrix"] + TWO_CLONES
    assert run.left(unproposed=6) == pytest.approx(whole + 6 * each + 4 * SECONDS["surrogate"])
    assert run.left(unproposed=6, slots=2) == pytest.approx(run.left(unproposed=6) / 2)


def test_points_that_the_attackers_of_the_fronts_will_attack_count_with_their_clones(run):
    run.time(*ALL)
    run.open(0)  # without a matrix there is nothing for them to attack
    whole = VICTIM * SECONDS["victim"] + TWO_CLONES
    assert run.left(targets=1.5) == pytest.approx(whole + 1.5 * CLONE * SECONDS["attacker"])


def test_what_runs_counts_with_the_epochs_it_has_left(run):
    run.time(*ALL)
    run.open(0)
    (victim, *_) = run.agenda.next()
    run.agenda.workload.update(victim.key, 12)
    assert run.left() == 12 * SECONDS["victim"] + TWO_CLONES
    run.agenda.done([victim.key])
    assert run.left() == TWO_CLONES
    assert run.left(slots=8) == CLONE * SECONDS["attacker"]


def test_epochs_under_way_count_until_a_task_is_finished_and_this_run_before_earlier_ones(run):
    run.open(0)
    (victim, *_) = run.agenda.next()
    effort = run.agenda.workload.efforts[victim.key]
    run.paces.recall(effort, Record({}, {}, [], {"seconds": 7.0 * VICTIM}))
    assert run.paces.of(effort.kind) == 7.0
    run.paces.watch(effort.kind, 6.0, 2)
    assert run.paces.of(effort.kind) == 3.0
    run.paces.finish(effort, 2.0 * VICTIM)
    assert run.paces.of(effort.kind) == 2.0


def test_matrices_that_stop_early_are_expected_to_do_so_again(run):
    run.time("victim", "surrogate", "attacker")
    run.agenda.add(run.planner.point(emma(0)))
    matrix = next(task for task in run.planner.point(emma(0)).tasks.values() if task.stage == "matrix")
    effort = run.agenda.workload.efforts[matrix.key]
    before = run.left()
    run.paces.finish(effort, 4 * SECONDS["matrix"])  # four of its epochs, and then it had settled
    assert run.left() == before - DEFENSE * SECONDS["attacker"] * 10 / 3 + 4 * SECONDS["matrix"]


def test_clones_of_points_that_are_stopped_are_expected_to_be_shorter(run):
    run.time(*ALL)
    point = emma(0)
    plan = run.planner.point(point)
    run.agenda.add(plan)
    while (tasks := run.agenda.next()) and tasks[0].stage != "attacker":
        run.agenda.done(task.key for task in tasks)
    run.agenda.workload.update(tasks[0].key, CLONE - 5)
    run.agenda.drop(point)  # dominated, with 5 of its 40 epochs trained
    run.agenda.release(tasks)
    assert run.left() == 0
    # one clone more, as if it had been trained to its end, tempers what the first points have shown
    share = (5 + CLONE) / (5 + 35 + CLONE)
    expected = 8 * SECONDS["matrix"] + share * TWO_CLONES
    groundwork = 4 * SECONDS["surrogate"]
    assert run.left(unproposed=10) == pytest.approx(10 * expected + groundwork)


def test_the_idle_part_of_a_cluster_is_learned_slowly():
    use = Utilization()
    assert use.share == 1
    use.add(0.5, TRUSTED)
    assert use.share == 0.75
