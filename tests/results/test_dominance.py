"""A stopped point could not have reached the front: the front is the same as if all had run to their end."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emma_tune.plan import Planner, Point, PointPlan
from emma_tune.results.dominance import Rivals
from emma_tune.results.figures import best_possible, point_figures
from emma_tune.results.front import targets
from emma_tune.study import Study
from emma_tune.study.measures import MEASURES
from tests.conftest import TINY, merged

SIGN = {"min": 1, "max": -1}
OBJECTIVES = [
    ("l1", "attacker_accuracy"),
    ("l1", "victim_accuracy", "attacker_accuracy"),
    ("l1_queries", "accuracy_drop", "flip_rate"),  # nothing that a clone could change
    ("attacker_accuracy",),
]


def study_of(
    objectives=("l1", "attacker_accuracy"), limit=None, stop="joint", seeds=(1,), attackers=("soft",)
) -> Study:
    changes = {
        "objectives": {name: MEASURES[name].direction for name in objectives},
        "limits": {"accuracy_drop": limit},
        "search": {"stop": stop},
        "seeds": list(seeds),
        "attackers": {name: {"kind": "soft", "epochs": 2 + i} for i, name in enumerate(attackers)},
    }
    return Study.model_validate(merged(TINY, changes))


def dominates(a: dict[str, float], b: dict[str, float], objectives) -> bool:
    """Nowhere worse and somewhere better."""
    signs = {name: SIGN[MEASURES[name].direction] for name in objectives}
    pairs = [(sign * a[name], sign * b[name]) for name, sign in signs.items()]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def of(measure: str) -> st.SearchStrategy[float]:
    """Few values, so that ties are frequent, or any."""
    best, worst = MEASURES[measure].best, MEASURES[measure].worst
    few = st.sampled_from([best, (3 * best + worst) / 4, (best + worst) / 2, worst])
    return st.one_of(few, few, st.floats(*sorted((best, worst))))


FIGURES = st.fixed_dictionaries({name: of(name) for name in MEASURES})


# --- rivals -----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    finished=st.lists(FIGURES, max_size=8),
    bounds=FIGURES,
    objectives=st.sampled_from(OBJECTIVES),
    limit=st.sampled_from([None, 0.0, 0.5]),
)
def test_what_beats_a_bound_is_a_point_within_the_limits_that_dominates_it(finished, bounds, objectives, limit):
    rivals = Rivals(study_of(objectives, limit))
    for number, figures in enumerate(finished):
        rivals.add(Point(10 + number, "emma"), figures)
        kept = {
            10 + n: f for n, f in enumerate(finished[: number + 1]) if limit is None or f["accuracy_drop"] <= limit
        }
        better = {n for n, f in kept.items() if dominates(f, bounds, objectives)}
        found = rivals.beaten_by("emma", bounds)
        assert (found is None) == (not better)
        if found is not None:
            assert found in better
            # the one that is named is not itself dominated, so that it is on the front when it is named
            assert not any(dominates(f, kept[found], objectives) for f in kept.values())
    points = [(Point(10 + n, "emma"), figures) for n, figures in enumerate(finished)]
    at_once = Rivals(study_of(objectives, limit), points)
    assert (at_once.beaten_by("emma", bounds) is None) == (rivals.beaten_by("emma", bounds) is None)


@settings(deadline=None)
@given(figures=FIGURES, objectives=st.sampled_from(OBJECTIVES))
def test_equal_points_do_not_beat_each_other(figures, objectives):
    rivals = Rivals(study_of(objectives))
    rivals.add(Point(0, "emma"), figures)
    rivals.add(Point(1, "emma"), figures)
    assert rivals.beaten_by("emma", figures) is None


GOOD = {"l1": 0.1, "attacker_accuracy": 0.1, "accuracy_drop": 0.3}
BAD = {"l1": 0.2, "attacker_accuracy": 0.2, "accuracy_drop": 0.3}


@pytest.mark.parametrize(("limit", "by"), [(None, 7), (0.3, 7), (0.29, None)])
def test_a_point_beyond_the_limit_beats_none(limit, by):
    rivals = Rivals(study_of(limit=limit))
    rivals.add(Point(7, "none"), GOOD)
    assert rivals.beaten_by("emma", BAD) == by


@pytest.mark.parametrize(
    ("stop", "of_emma", "of_gaussian"), [("joint", 7, 7), ("own", None, 7), ("none", None, None)]
)
def test_only_the_points_that_a_study_names_stop_others(stop, of_emma, of_gaussian):
    rivals = Rivals(study_of(stop=stop))
    rivals.add(Point(7, "gaussian"), GOOD)
    assert (rivals.beaten_by("emma", BAD), rivals.beaten_by("gaussian", BAD)) == (of_emma, of_gaussian)
    rows = np.array([rivals.losses_of(BAD), rivals.losses_of(BAD), rivals.losses_of(GOOD)])
    assert rivals.all_beaten_by(["emma", "gaussian", "gaussian"], rows) == [of_emma, of_gaussian, None]


def test_points_are_stopped_by_points_of_their_own_defense_unless_a_study_says_otherwise():
    search = {name: value for name, value in TINY["search"].items() if name != "stop"}
    assert Study.model_validate({**TINY, "search": search}).search.stop == "own"


def test_without_finished_points_none_is_beaten():
    assert Rivals(study_of()).beaten_by("emma", {"l1": 2.0, "attacker_accuracy": 1.0}) is None


def test_attackers_of_the_fronts_attack_references_and_the_members_of_the_fronts_that_are_whole():
    def figures(l1: float, accuracy: float, drop: float = 0.0) -> dict[str, float]:
        return {"l1": l1, "attacker_accuracy": accuracy, "accuracy_drop": drop}

    finished = [
        (Point(0, "none"), figures(0.0, 0.5)),
        (Point(1, "argmax"), figures(0.1, 0.9)),  # dominated, and attacked all the same: a reference
        (Point(2, "emma"), figures(1.0, 0.8)),
        (Point(3, "emma"), figures(1.1, 0.9)),  # dominated
        (Point(4, "emma"), figures(1.2, 0.1, drop=0.3)),  # beyond the limit
        (Point(5, "gaussian"), figures(0.9, 0.9)),
        (Point(6, "gaussian"), figures(1.3, 0.4)),
    ]
    own, joint = (study_of(limit=0.2, stop=stop) for stop in ("own", "joint"))
    assert [point.number for point in targets(own, finished, {"emma", "gaussian"})] == [0, 1, 2, 5, 6]
    assert [point.number for point in targets(joint, finished, {"emma", "gaussian"})] == [0, 1, 6]
    assert [point.number for point in targets(joint, finished, ())] == [0, 1, 2, 3, 4, 5, 6]


# --- a study ----------------------------------------------------------------------------------------------


@cache
def plans_of(seeds: tuple[int, ...], attackers: tuple[str, ...]) -> tuple[PointPlan, ...]:
    """Two baselines and up to five searched points."""
    planner = Planner(study_of(seeds=seeds, attackers=attackers), {"victim": "v", "queries": "q"})
    searched = [Point(n, "emma", {"lambda": n / 100, "lr_gamma": 0.3, "st_epoch": 0}) for n in range(2, 7)]
    return tuple(map(planner.point, [Point(0, "none"), Point(1, "argmax"), *searched]))


@dataclass
class World:
    """What becomes of points if they run: metrics of their tasks by key, the clones' best accuracies by epoch."""

    plans: tuple[PointPlan, ...]
    metrics: dict[str, dict[str, float]]
    curves: dict[str, list[float]]

    def end(self, plan: PointPlan) -> dict:
        figures = point_figures(plan, lambda task: self.metrics[task.key])
        assert figures is not None
        return figures["validation"]


def world_of(points: int, seeds: int, attackers: int, draw: Callable[[str], float], epochs: int = 3) -> World:
    world = World(plans_of(tuple(range(seeds)), ("soft", "late")[:attackers])[:points], {}, {})
    for plan in world.plans:
        for task in plan.responses.values():
            costs = {name: draw(name) for name in ("l1", "victim_accuracy", "accuracy_drop", "flip_rate")}
            parts = {f"{p}.{name}": value for p in ("validation", "test") for name, value in costs.items()}
            world.metrics[task.key] = {**parts, "queries.l1": draw("l1_queries")}
        for place, task in plan.attackers.items():
            curve = sorted(draw("attacker_accuracy") for _ in range(epochs))
            best = {f"{part}.clone_accuracy.best": curve[-1] for part in ("validation", "test")}
            world.curves[task.key], world.metrics[plan.evaluations[place].key] = curve, best
    return world


def front(figures: dict[int, dict], objectives, limit: float | None) -> set[int]:
    """Every point within the limit that no other one dominates, ties included."""
    kept = {n: f for n, f in figures.items() if limit is None or f["accuracy_drop"] <= limit}
    return {n for n, f in kept.items() if not any(dominates(g, f, objectives) for g in kept.values())}


def simulate(world: World, study: Study, chance: random.Random) -> tuple[dict[int, dict], dict[int, int]]:
    """Runs every point in turns, a step here, a step there, and leaves those that are beaten.

    Returns:
        Figures of the points that finished; by whom the others were beaten.
    """
    rivals = Rivals(study)
    finished: dict[int, dict] = {}
    left: dict[int, int] = {}
    known: dict[str, dict[str, float]] = {}
    reached: dict[str, float] = {}
    to_do: dict[int, dict[object, list]] = {}
    for plan in world.plans:  # of each seed the costs, then its clones side by side, each epoch by epoch
        chains: dict[object, list] = {}
        for (seed, name), task in plan.attackers.items():
            chains[seed, name] = [("train", task.key, best) for best in world.curves[task.key]]
            chains[seed, name].append(("know", plan.evaluations[seed, name].key, None))
        for seed, task in plan.responses.items():
            chains[seed] = [("know", task.key, None)]
        to_do[plan.point.number] = chains
    while to_do:
        number = chance.choice(list(to_do))
        plan, chains = world.plans[number], to_do[number]
        chain = chance.choice([c for c in chains if not (isinstance(c, tuple) and c[0] in chains)])
        kind, key, best = chains[chain].pop(0)
        if kind == "train":
            reached[key] = best
        else:
            known[key] = world.metrics[key]
        if not chains[chain]:
            del chains[chain]
        if not chains:
            del to_do[number]
            finished[number] = world.end(plan)
            rivals.add(plan.point, finished[number])
        for other in list(to_do):  # what is beaten now is stopped, whatever still runs for it
            if world.plans[other].point.defense == "emma":
                bounds = best_possible(world.plans[other], lambda task: known.get(task.key), reached)
                by = rivals.beaten_by("emma", bounds["validation"])
                if by is not None:
                    left[other] = by
                    del to_do[other]
    return finished, left


def check(world: World, study: Study, chance: random.Random) -> dict[int, int]:
    objectives, limit = tuple(study.objectives), study.limits.accuracy_drop
    every = {plan.point.number: world.end(plan) for plan in world.plans}
    finished, left = simulate(world, study, chance)
    own = {n: figures for n, figures in every.items() if world.plans[n].point.defense == "emma"}
    kept = {n: figures for n, figures in finished.items() if n in own}
    if study.search.stop == "own":  # the front of the defense by itself is the same, too
        assert front(kept, objectives, limit) == front(own, objectives, limit)
        assert set(left.values()) <= set(own)
    assert front(finished, objectives, limit) == front(every, objectives, limit)
    assert set(finished) | set(left) == set(every)
    assert not set(left) & {0, 1}, "baselines are never left"
    for number, by in left.items():
        assert dominates(finished[by], every[number], objectives)
    return left


@settings(deadline=None, max_examples=200)
@given(
    data=st.data(),
    points=st.integers(3, 7),
    seeds=st.integers(1, 2),
    attackers=st.integers(1, 2),
    objectives=st.sampled_from(OBJECTIVES),
    limit=st.sampled_from([None, 0.0, 0.5]),
    stop=st.sampled_from(["own", "joint"]),
    chance=st.randoms(use_true_random=False),
)
def test_the_front_is_the_same_as_if_all_points_had_run_to_their_end(
    data, points, seeds, attackers, objectives, limit, stop, chance
):
    world = world_of(points, seeds, attackers, lambda name: data.draw(of(name)), epochs=2)
    names = ("soft", "late")[:attackers]
    study = study_of(objectives, limit, stop, seeds=tuple(range(seeds)), attackers=names)
    check(world, study, chance)


@pytest.mark.parametrize("stop", ["own", "joint"])
@pytest.mark.parametrize("objectives", OBJECTIVES, ids=" ".join)
def test_it_is_the_same_in_many_random_studies_and_many_points_are_left_on_the_way(objectives, stop):
    left = 0
    for seed, (seeds, attackers) in product(range(40), product((1, 2), repeat=2)):
        chance = random.Random(f"{seed} {seeds} {attackers}")

        def draw(name: str, chance=chance) -> float:
            return MEASURES[name].best + chance.randint(0, 8) / 8 * (MEASURES[name].worst - MEASURES[name].best)

        study = study_of(objectives, chance.choice([None, 0.5]), stop, seeds=tuple(range(seeds)))
        left += len(check(world_of(7, seeds, attackers, draw), study, chance))
    assert left > 120  # of 800 searched points
