"""Of a point's attackers the one that is probably the worst case comes first, and no slot stands idle for it."""

from __future__ import annotations

import shutil

import pytest

from emma_tune.plan import PointPlan, Task
from emma_tune.search.attack_order import AttackOrder
from emma_tune.search.driver import OVER
from tests.search import desk as figures
from tests.search.desk import EPOCHS, FIRST, SECOND

THREE = {"attackers": {name: {"epochs": EPOCHS} for name in ("soft", "hard", "third")}}
THREE["attackers"]["third"]["kind"] = "soft"
THREE["attackers"]["third"]["lr"] = 0.05
MANY = {"choices": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}
REST = {"lr_gamma": 0.3, "st_epoch": 1}


def attacks(desk, trials: list[tuple[str, list[Task]]]) -> list[tuple[int, str]]:
    """Point and attacker of each trial that attacks a searched point."""
    found = []
    for _, (task, *_) in trials:
        number = desk.point_of(task)
        if task.stage == "attacker" and number >= FIRST:
            found.append((number, desk.attacker_of(number, task)))
    return found


def begin(desk, slots: int, **changes) -> list[tuple[str, list[Task]]]:
    """Runs what comes before the attacks on searched points; the trials that then run."""
    desk.open(slots=slots, **changes)
    running: list[tuple[str, list[Task]]] = []
    while True:
        running += list(desk.trials())
        others = [trial for trial in running if not attacks(desk, [trial])]
        if not others:
            return running
        for trial in others:
            running.remove(trial)
            desk.finish(*trial)


def test_each_slot_has_a_point_of_its_own_and_the_second_attacker_follows_the_first(desk):
    soft, other = begin(desk, 2)
    assert attacks(desk, [soft, other]) == [(FIRST, "soft"), (SECOND, "soft")]
    desk.finish(*other)
    assert attacks(desk, list(desk.trials())) == [(SECOND, "hard")]


def test_a_point_that_is_dominated_by_its_first_attacker_saves_the_second(desk):
    first, _ = begin(desk, 2)
    assert desk.report(*first, epoch=4, best=0.5)  # argmax has 0.5 at a lower l1
    (event,) = desk.events("dominated")
    assert event["left_out"] == EPOCHS - 4 + EPOCHS
    desk.driver.ended(first[0], {"done": False})
    assert attacks(desk, list(desk.trials())) == [(SECOND, "hard")]  # its slot would stand idle


@pytest.mark.parametrize("slots", [3, 4, 9])
def test_no_slot_stands_idle(desk, slots):
    assert len(begin(desk, slots)) == min(slots, 4)


@pytest.fixture
def many(desk, monkeypatch):
    """A desk whose points are all on the front."""
    monkeypatch.setattr(figures, "CLONES", dict.fromkeys(range(10), 0.25))
    monkeypatch.setattr(figures, "COSTS", {number: (2 - 0.1 * number, 0.0) for number in range(10)})
    return desk


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_with_more_points_to_propose_every_open_one_is_attacked_once(many, slots):
    desk = many
    running = begin(desk, slots, search={"points": 6, "space": {"lambda": MANY, **REST}})
    # one trial more than can run is only handed out for what need not be held
    assert attacks(desk, running) == [(FIRST + place, "soft") for place in range(slots)]


@pytest.mark.parametrize("changes", [{"search": {"stop": "none"}}, {"until": "attacker"}])
def test_where_no_point_is_stopped_attackers_run_side_by_side(desk, changes):
    assert len(begin(desk, 2, **changes)) == 3


def test_first_comes_the_attacker_that_was_the_worst_case_most_often(many, monkeypatch):
    worst = {"soft": 0.0, "hard": 0.1, "third": 0.2}
    monkeypatch.setattr(many, "clone_of", lambda number, name: 0.25 + worst[name])
    orders = []
    running = begin(many, 1, **THREE, search={"stop": "own", "points": 6, "space": {"lambda": MANY, **REST}})
    while running:
        orders += attacks(many, running)
        many.finish(*running.pop())
        running += list(many.trials())
    by_point = {point: [name for number, name in orders if number == point] for point, _ in orders}
    assert by_point[FIRST] == ["soft", "hard", "third"]  # the study's order
    assert [order[0] for order in by_point.values()] == ["soft", *["third"] * 5]
    assert all(sorted(order) == ["hard", "soft", "third"] for order in by_point.values())


def order_of(desk, is_done, **changes) -> tuple[AttackOrder, PointPlan]:
    """The order of attackers with these tasks done, and the plan of the first searched point."""
    begin(desk, 2, **changes)
    return AttackOrder(desk.planner.study, {"emma"}, is_done), desk.plan(FIRST)


@pytest.mark.parametrize("missing", ["matrix", "measure"])
def test_nothing_is_held_once_every_clone_is_evaluated_whatever_else_is_missing(desk, missing):
    order, plan = order_of(desk, lambda task: task.stage != missing)
    assert order.held(plan) == frozenset()


def test_a_study_whose_matrices_were_deleted_is_resumed(desk):
    desk.open()
    desk.finish_all_but()
    shutil.rmtree(desk.store.root / "matrix")
    desk.open()
    desk.finish_all_but()
    assert desk.driver.suggest("last") == OVER


def test_what_an_attacker_that_waits_alone_needs_waits_with_it(desk):
    """Such as answers to views of the queries, which no other attacker sends."""
    attackers = {"soft": {"epochs": 4}, "smoothed": {"epochs": 4}}
    order, plan = order_of(desk, lambda task: task in plan.responses.values(), attackers=attackers)
    own = [task for task in plan.tasks.values() if getattr(task.config, "views", None)]
    assert {task.stage for task in own} == {"posteriors", "responses"}
    smoothed = [task for (_, name), task in plan.attackers.items() if name == "smoothed"]
    assert order.held(plan) == {task.key for task in (*own, *smoothed)}


def test_the_first_attacker_waits_for_the_costs_of_every_seed(desk):
    done: set[str] = set()
    order, plan = order_of(desk, lambda task: task.key in done, seeds=[1, 2])
    attacks_of_all = {task.key for task in plan.attackers.values()}
    first, second = plan.responses.values()
    done.add(first.key)
    assert order.held(plan) == attacks_of_all
    done.add(second.key)
    soft = {task.key for (_, name), task in plan.attackers.items() if name == "soft"}
    assert order.held(plan) == attacks_of_all - soft
