"""A simulated study: makespans computed by hand, every second accounted for, every point concluded once."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emma_tune.results import StudyView
from emma_tune.results.figures import PARTS, best_possible
from emma_tune.search.point_search import PointSearch
from emma_tune.search.simulation import Times, measured, simulate
from emma_tune.search.simulation.cluster import UNIT, Cluster, Demand
from emma_tune.search.simulation.invented import Invented
from emma_tune.search.simulation.memory import MemoryLedger
from emma_tune.search.simulation.replay import FOUNDATION, STARTING, TAIL, Replay
from emma_tune.search.simulation.simulator import Simulation
from emma_tune.study import Study
from emma_tune.study.file import StudyError, load_study

NOTHING = dict.fromkeys(("victim", "posteriors", "surrogate", "matrix", "responses", "evaluation"), 0.0)
SCENARIO = Path(__file__).parents[2] / "studies" / "cifar10_kl.yaml"
WHOLE = {"victim": 14_400.0, "surrogate": 1_800.0, "matrix": 5_400.0, "attacker": 1_800.0}


@pytest.fixture
def study(study_file):
    """Makes a small study: one attacker, one baseline, searched at one st_epoch of one."""

    def make(points: int, **changes) -> Study:
        space = {"lambda": {"low": 0.01, "high": 0.1}, "lr_gamma": {"low": 0.1, "high": 1.0}, "st_epoch": 1}
        given = {
            "attackers": {"soft": {}},
            "baselines": ["none"],
            "search": {"points": points, "space": space, "sampler": "random"},
        }
        return load_study(study_file(**{**given, **changes}))

    return make


def replayed(study: Study, cluster: Cluster, seconds: dict[str, float], start: float = 0.0) -> Replay:
    replay = Simulation(study, cluster, Invented(study, Times(whole=seconds)), start).run()
    check(replay)
    return replay


def check(replay: Replay) -> None:
    """Whatever is simulated: no more is used than there is, and idle and busy time add up to all the time."""
    whole = replay.capacity[replay.unit] * replay.makespan
    assert math.isclose(sum(replay.idle.values()) + replay.busy[replay.unit], whole, rel_tol=1e-9, abs_tol=1e-6)
    assert min(replay.idle.values(), default=0.0) >= -1e-6
    for resource in ("cpu", "gpu"):
        assert 0 <= replay.utilization(resource) <= 1
    assert all(0 <= cpu <= replay.capacity["cpu"] and 0 <= gpu <= replay.capacity["gpu"] for _, cpu, gpu in
               replay.changes)  # fmt: skip


# --- by hand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("points", "cores"), [(5, 1), (5, 2), (5, 3), (8, 3), (2, 7)])
def test_equal_tasks_on_so_many_cores_take_so_many_rounds(study, points, cores):
    replay = replayed(study(points), Cluster(1, cores, 0), {**NOTHING, "attacker": 10.0})
    rounds = math.ceil((points + 1) / cores)  # the baseline, too
    assert 10 * rounds <= replay.makespan <= 10 * rounds + replay.asks + 1e-9
    assert replay.seconds["attacker"] == 10 * (points + 1)
    assert replay.points == {"finished": points + 1, "dominated": 0}


CHAIN = {"victim": 100.0, "surrogate": 10.0, "matrix": 20.0, "attacker": 30.0}
"""The surrogate and the matrix do one of two epochs: half of it."""


def test_a_chain_takes_as_long_as_its_stages_however_large_the_cluster(study):
    replay = replayed(study(1), Cluster(9, 9, 0), CHAIN)
    # cheap stages take a second each: the clean answers and the baseline's ride with the victim
    assert replay.makespan == pytest.approx((100 + 1 + 1) + 5 + (10 + 1) + (30 + 1), abs=replay.asks)
    assert max(replay.idle, key=replay.idle.__getitem__) == FOUNDATION
    assert replay.idle[FOUNDATION] == pytest.approx(102 * 80)  # one of 81 cores works


def test_on_one_core_everything_takes_as_long_as_all_tasks_together(study):
    replay = replayed(study(3), Cluster(1, 1, 0), CHAIN)
    assert replay.makespan == pytest.approx(sum(replay.seconds.values()), abs=replay.asks)
    assert replay.tasks == {
        "victim": 1, "posteriors": 1, "surrogate": 1, "matrix": 3, "responses": 4, "attacker": 4, "evaluation": 4,
    }  # fmt: skip
    assert replay.seconds["surrogate"] == 5
    assert replay.seconds["matrix"] == 30


def test_a_driver_that_does_one_thing_at_a_time_bounds_what_can_be_fed(study):
    replay = replayed(study(20), Cluster(50, 8, 0), {**NOTHING, "attacker": 0.0}, start=2.0)
    assert replay.makespan == pytest.approx(2.0 * replay.trials + replay.asks)
    assert replay.idle[STARTING] == pytest.approx(400 * 2.0 * replay.trials)
    assert replay.driver == pytest.approx(replay.makespan)


def test_four_quarters_share_a_gpu(study):
    quarter = {
        stage: {"cpu": 1, "gpu": 0.25} for stage in ("victim", "surrogate", "misinformer", "matrix", "attacker")
    }
    seconds = {**NOTHING, "attacker": 10.0}
    replay = replayed(study(7, resources=quarter), Cluster(1, 8, 1), seconds)
    assert replay.slots == 4
    assert replay.makespan == pytest.approx(20, abs=replay.asks)  # eight attackers
    assert replay.busy["gpu"] == pytest.approx(20)
    whole = {stage: {"cpu": 1, "gpu": 1} for stage in quarter}
    assert replayed(study(7, resources=whole), Cluster(1, 8, 1), seconds).makespan >= 80


def test_the_tail_is_named(study):
    replay = replayed(study(2, baselines=["none"]), Cluster(1, 2, 0), {**NOTHING, "attacker": 10.0})
    assert replay.makespan == pytest.approx(20, abs=replay.asks)  # three attackers on two cores
    assert replay.idle[TAIL] == pytest.approx(10, abs=replay.asks)


class Chosen:
    """Tasks of which only clones take time; the first of two λ makes the cheaper defense, and the better one."""

    CURVES: ClassVar = {0.01: (0.1, 0.2, 0.3, 0.3), 0.02: (0.1, 0.3, 0.4, 0.5)}

    def __init__(self):
        self._weights = {}

    def seconds(self, task, before):
        return 10.0 if task.stage == "attacker" else 0.0

    def curve(self, task):
        return self.CURVES[self._weights[task.inputs["responses"]]] if task.stage == "attacker" else ()

    def metrics(self, task):
        if task.stage == "matrix":
            self._weights[task.key] = task.config.lambda_
        elif task.stage == "responses":
            weight = self._weights[task.key] = self._weights[task.inputs["matrix"]]
            costs = {"l1": 20 * weight, "accuracy_drop": 0.0, "flip_rate": 0.0, "victim_accuracy": 0.9}
            return {f"{part}.{name}": value for part in PARTS for name, value in costs.items()} | {
                "queries.l1": 0.2
            }
        elif task.stage == "evaluation":
            weight = self._weights[task.inputs["responses"]]
            return {f"{part}.clone_accuracy.best": self.CURVES[weight][-1] for part in PARTS}
        return {}


@pytest.mark.parametrize(("stop", "cut"), [("own", 5.0), ("none", 0.0)])
def test_a_clone_is_stopped_when_it_reports_what_a_cheaper_point_beats(study, stop, cut):
    space = {"lambda": [0.01, 0.02], "lr_gamma": 1.0, "st_epoch": 1}
    two = study(2, baselines=[], search={"points": 2, "space": space, "sampler": "grid", "stop": stop})
    simulation = Simulation(two, Cluster(1, 1, 0), Chosen(), 0.0)
    for _ in simulation.steps():
        spent = sum(simulation.spent().values())
        assert spent == pytest.approx(simulation.replay.makespan, abs=simulation.replay.asks + 1e-9)
    replay = simulation.replay
    check(replay)
    # after its second report of four the other clone is as good as the one that costs half the l1
    assert sum(replay.cut.values()) == pytest.approx(cut)
    assert replay.seconds["attacker"] == (10.0 if cut else 20.0)
    assert replay.points == {"finished": 2 - bool(cut), "dominated": bool(cut)}


# --- placement --------------------------------------------------------------------------------------------


def test_a_share_lies_on_one_gpu():
    cluster = Cluster(1, 8, 2)
    most = Demand.of(1, 0.6)
    first, second = cluster.place(most), cluster.place(most)
    assert {first.gpus, second.gpus} == {(0,), (1,)}
    assert cluster.place(most) is None  # 0.4 and 0.4 are no 0.6
    rest = cluster.place(Demand.of(1, 0.4))
    cluster.free(first)
    cluster.free(rest)
    third = Demand.of(1, 0.3)
    assert cluster.place(third).gpus == second.gpus  # where there is least room: a whole GPU stays free
    assert cluster.place(Demand.of(1, 1)).gpus == first.gpus


def test_ten_tenths_are_one():
    cluster = Cluster(1, 1, 1)
    tenth = Demand.of(0.1, 0.1)
    assert [cluster.place(tenth) is not None for _ in range(11)] == [True] * 10 + [False]


def test_a_trial_lies_on_one_node_and_whole_gpus_are_its_own():
    cluster = Cluster(2, 4, 2)
    both = Demand.of(1, 2)
    held = cluster.place(Demand.of(1, 0.1))
    assert (held.node, held.gpus) == (0, (0,))
    assert cluster.place(both).node == 1
    assert cluster.place(Demand.of(4, 0)) is None  # three and three are no four on one node
    cluster.free(held)
    assert cluster.place(both).gpus == (0, 1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.25, 0.5, 0.6, 1.0, 2.0]), st.booleans()), max_size=60))
def test_whatever_comes_and_goes_nothing_is_given_twice_and_nothing_is_lost(events):
    cluster, placed = Cluster(3, 6, 2), []
    for gpu, ends in events:
        if ends and placed:
            cluster.free(placed.pop(len(placed) // 2))
        elif found := cluster.place(Demand.of(1, gpu)):
            placed.append(found)
        else:  # then there is no room indeed
            loads = [Counter(g for p in placed if p.node == node for g in p.gpus) for node in range(3)]
            assert any(loads) or any(p.node == 0 for p in placed)
        for node in range(3):
            here = [p for p in placed if p.node == node]
            assert sum(p.demand.cpu for p in here) <= 6 * UNIT
            for index in range(2):
                assert sum(min(p.demand.gpu, UNIT) for p in here if index in p.gpus) <= UNIT
    for found in placed:
        cluster.free(found)
    assert [cluster.place(Demand.of(6, 2)) is not None for _ in range(4)] == [True] * 3 + [False]


# --- whatever is asked ------------------------------------------------------------------------------------

SECONDS = st.fixed_dictionaries(
    {stage: st.floats(1, 100) for stage in ("victim", "surrogate", "matrix", "attacker")}
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=SECONDS, nodes=st.integers(1, 3), cpus=st.integers(1, 3), start=st.sampled_from([0.0, 0.7]))
def test_no_schedule_beats_work_or_the_longest_chain_and_none_is_slower_than_one_after_the_other(
    study, seconds, nodes, cpus, start
):
    replay = replayed(study(4), Cluster(nodes, cpus, 0), seconds, start)
    work = sum(replay.seconds.values())
    chain = seconds["victim"] + 2 + seconds["surrogate"] / 2 + seconds["matrix"] / 2 + 1 + seconds["attacker"] + 1
    assert replay.makespan >= max(work / (nodes * cpus), chain) - 1e-6
    assert replay.makespan <= work + replay.driver + 1e-6


def test_the_same_again_is_the_same(study):
    def once() -> dict:
        made = study(12, search={**study(12).search.model_dump(by_alias=True), "stop": "joint", "sampler": "tpe"})
        content = simulate(made, nodes=2, cpus=2, gpus=0, times=Times(whole=CHAIN))
        del content["sampler"]["slowest"]  # what an ask really took
        return content

    assert once() == once()


def test_at_every_event_exactly_the_points_that_are_dominated_or_beyond_the_limits_are_left(study, monkeypatch):
    stop, checked = PointSearch._stop_points, []

    def stop_and_check(self: PointSearch) -> None:
        before, early = tuple(self.agenda.open), self.outcomes.early_stopping
        stop(self)
        for plan in before:
            reached = {key: clone.best for key, clone in early._clones.items()}
            bounds = best_possible(plan, early._records.metrics, reached)
            beaten = early._rivals.beaten_by(plan.point.defense, bounds["validation"]) is not None
            within = self.planner.study.limits.kept_by(bounds["validation"])
            left = plan.point.defense in self._proposers and (beaten or not within)
            assert self.agenda.is_open(plan.point) == (not left)
            checked.append((left, beaten))

    monkeypatch.setattr(PointSearch, "_stop_points", stop_and_check)
    search = {"points": 60, "sampler": "qmc", "stop": "joint"}
    study = load_study(SCENARIO, [f"search.{name}={value}" for name, value in search.items()])
    replay = Simulation(study, Cluster(2, 16, 2), Invented(study, Times(whole=WHOLE)), 0.5).run()
    check(replay)
    assert checked.count((True, True)) == replay.points["dominated"] > 0
    assert checked.count((True, False)) == replay.points["excluded"] > 0
    assert replay.points.total() == 62


@pytest.mark.parametrize("points", [200, pytest.param(10_000, marks=pytest.mark.long)])
def test_every_point_is_concluded_once(monkeypatch, points):
    concluded: list[int] = []
    note = MemoryLedger.concluded
    monkeypatch.setattr(
        MemoryLedger,
        "concluded",
        lambda self, number, outcome: (concluded.append(number), note(self, number, outcome))[1],
    )
    study = load_study(SCENARIO, [f"search.points={points}", "search.sampler=qmc"])
    replay = Simulation(study, Cluster(100, 64, 8), Invented(study, Times(whole=WHOLE)), 0.5).run()
    check(replay)
    assert sorted(concluded) == list(range(points + 2))
    assert replay.points.total() == points + 2
    assert replay.tasks["matrix"] == 3 * points
    assert replay.tasks["victim"] == replay.tasks["posteriors"] == 3
    assert replay.tasks["attacker"] == replay.tasks["evaluation"] <= 6 * (points + 2)
    assert replay.trials >= replay.tasks["attacker"] + replay.tasks["matrix"]


# --- how long a task takes --------------------------------------------------------------------------------


def test_times_of_an_earlier_study_are_scaled_by_epochs(desk):
    driver = desk.open(search={"stop": "none"})
    desk.finish_all_but()
    assert driver.outcomes.finished == 4
    files = {path: path.stat().st_mtime_ns for path in desk.place.root.parent.rglob("*")}
    paces = measured(StudyView(desk.place.root))
    assert {path: path.stat().st_mtime_ns for path in desk.place.root.parent.rglob("*")} == files
    # two seconds each: a victim of two epochs, a leg of one, a matrix of one, clones of ten
    assert paces == {
        "victim": 1.0, "posteriors": 2.0, "surrogate": 2.0, "matrix": 2.0, "responses": 2.0, "attacker": 0.2,
        "evaluation": 2.0,
    }  # fmt: skip
    plan = desk.plan(2)
    times, attacker = Times(paces), next(iter(plan.attackers.values()))
    assert times.of(attacker, None) == pytest.approx(2.0)
    longer = attacker.config.training.model_copy(update={"epochs": 50})
    assert times.of(
        type(attacker)("attacker", attacker.config.model_copy(update={"training": longer}), {}, {}), None
    ) == (pytest.approx(10.0))


def test_a_stage_of_which_nothing_is_known_is_named(study):
    with pytest.raises(StudyError, match=r"^matrix: no duration known; give --seconds matrix=SECONDS"):
        replayed(study(1), Cluster(1, 1, 0), {"victim": 1.0, "surrogate": 1.0, "attacker": 1.0})


def test_a_task_that_no_node_could_run_is_named(study):
    with pytest.raises(StudyError, match=r"resources.victim: expected at most what a node has, 1 CPUs and 2 GPUs"):
        replayed(study(1, resources={"victim": {"cpu": 2}}), Cluster(9, 1, 2), CHAIN)
