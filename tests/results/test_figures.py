"""A point's measures: seeds averaged, thieves at their worst, never better than was held possible before."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emma_tune.plan import Planner, Point, PointPlan, Task
from emma_tune.results.figures import best_possible, point_figures
from emma_tune.study import Study
from emma_tune.study.measures import MEASURES, known_values, value_of
from tests.conftest import TINY, merged

UNTIMED = settings(deadline=None, max_examples=150)
SIGN = {"min": 1, "max": -1}
COSTS = ("l1", "victim_accuracy", "accuracy_drop", "flip_rate")


@cache
def plan_of(seeds: tuple[int, ...], attackers: tuple[str, ...]) -> PointPlan:
    thieves = {"soft": {}, "hard": {}, "late": {"kind": "soft", "epochs": 3}}  # no two of them share a task
    changes = {"seeds": list(seeds), "attackers": {name: thieves[name] for name in attackers}}
    study = Study.model_validate(merged(TINY, changes))
    return Planner(study, {"victim": "v", "queries": "q"}).point(Point(0, "none"))


@dataclass
class Course:
    """All that happens to a point: its costs by seed, and of each clone the accuracy after every epoch."""

    plan: PointPlan
    costs: dict[int, dict[str, float]]
    accuracies: dict[tuple[int, str], list[float]]

    def after(self, measured: set[int], trained: dict[tuple[int, str], int], evaluated: set[tuple[int, str]]):
        """What can be known once these seeds are measured, these epochs trained, and these clones evaluated."""
        metrics = {self.plan.responses[seed].key: self.costs[seed] for seed in measured}
        for place in evaluated:
            best = max(self.accuracies[place])
            figures = {"validation.clone_accuracy.best": best, "test.clone_accuracy.best": best / 2}
            metrics[self.plan.evaluations[place].key] = figures
        reached = {
            self.plan.attackers[place].key: max(self.accuracies[place][:epochs])
            for place, epochs in trained.items()
            if epochs
        }

        def metrics_of(task: Task):
            assert task.stage in ("responses", "evaluation")
            return metrics.get(task.key)

        return metrics_of, reached

    def end(self):
        return point_figures(self.plan, self.after(set(self.costs), {}, set(self.accuracies))[0])


def cost_of(l1: float, **more: float) -> dict[str, float]:
    """Metrics of responses: those of the test part are larger by 0.01, and no figure is made of the undefended."""
    rest = {"victim_accuracy": 0.9, "accuracy_drop": 0.05, "flip_rate": 0.1, "undefended_accuracy": 0.95}
    figures = {**rest, "l1": l1, **more}
    queries = figures.pop("l1_queries", 0.5)
    parts = {f"{part}.{n}": x + s for part, s in (("validation", 0.0), ("test", 0.01)) for n, x in figures.items()}
    return {**parts, "queries.l1": queries}


MEASURED = st.fixed_dictionaries(
    {name: st.floats(*sorted((MEASURES[name].best, MEASURES[name].worst))) for name in (*COSTS, "l1_queries")}
)


@st.composite
def courses(draw: st.DrawFn) -> Course:
    seeds = tuple(range(1, 1 + draw(st.integers(1, 3))))
    names = ("soft", "hard", "late")[: draw(st.integers(1, 3))]
    # few values, so that clones stand still and several are the worst; or any
    accuracy = st.one_of(st.integers(0, 3).map(lambda n: n / 3), st.floats(0, 1))
    return Course(
        plan_of(seeds, names),
        {seed: cost_of(**draw(MEASURED)) for seed in seeds},
        {place: draw(st.lists(accuracy, min_size=1, max_size=3)) for place in product(seeds, names)},
    )


# --- in the end -------------------------------------------------------------------------------------------


def test_the_worst_thief_is_taken_in_each_seed_and_then_the_mean():
    plan = plan_of((1, 2), ("soft", "hard"))
    clone = {(1, "soft"): 0.9, (1, "hard"): 0.5, (2, "soft"): 0.3, (2, "hard"): 0.7}
    by_key = {
        plan.responses[seed].key: {
            "queries.l1": 0.5 * seed,
            **{
                f"{part}.{name}": value + shift
                for part, shift in (("validation", 0.0), ("test", 0.01))
                for name, value in {
                    "l1": 0.2 * seed,
                    "victim_accuracy": 0.9 - 0.1 * seed,
                    "accuracy_drop": 0.05 * seed,
                    "flip_rate": 0.1 * seed,
                }.items()
            },
        }
        for seed in (1, 2)
    } | {
        plan.evaluations[place].key: {
            "validation.clone_accuracy.best": accuracy,
            "test.clone_accuracy.best": accuracy + 0.01,
        }
        for place, accuracy in clone.items()
    }
    figures = point_figures(plan, lambda task: by_key[task.key])
    attackers = {"soft": 0.6, "hard": 0.6}
    costs = {"l1": 0.3, "victim_accuracy": 0.75, "accuracy_drop": 0.075, "flip_rate": 0.15}
    for part, shift in (("validation", 0.0), ("test", 0.01)):
        found = dict(figures[part])
        assert found.pop("attackers") == pytest.approx({name: a + shift for name, a in attackers.items()})
        expected = {**costs, "attacker_accuracy": (0.9 + 0.7) / 2}
        expected = {name: value + shift for name, value in expected.items()} | {"l1_queries": (0.5 + 1.0) / 2}
        assert found == pytest.approx(expected)
    for missing in by_key:  # costs of a seed, or a clone
        assert point_figures(plan, lambda task, m=missing: None if task.key == m else by_key[task.key]) is None


@UNTIMED
@given(course=courses())
def test_figures_have_every_measure_that_can_be_an_objective(course):
    figures = course.end()
    for part in ("validation", "test"):
        assert set(MEASURES) == set(known_values(figures[part], MEASURES))


def test_the_best_value_of_a_measure_is_at_the_other_end_from_the_worst():
    for of in MEASURES.values():
        assert SIGN[of.direction] * of.best < SIGN[of.direction] * of.worst


# --- under way --------------------------------------------------------------------------------------------


def test_before_anything_is_known_everything_is_possible():
    plan = plan_of((1, 2), ("soft", "hard"))
    bounds = best_possible(plan, lambda task: None, {})
    best = {name: of.best for name, of in MEASURES.items()}
    assert bounds == {"validation": {**best, "attackers": {"soft": 0.0, "hard": 0.0}}, "test": {}}


def test_costs_are_exact_for_the_seeds_that_are_measured_and_the_best_for_the_others():
    plan = plan_of((1, 2), ("soft",))
    known = {plan.responses[2].key: cost_of(0.8, accuracy_drop=0.2, l1_queries=0.6)}
    bounds = best_possible(plan, lambda task: known.get(task.key), {})
    validation = bounds["validation"]
    assert (validation["l1"], validation["l1_queries"]) == (0.4, 0.3)
    assert validation["accuracy_drop"] == (0.2 - 1) / 2  # a defence may help the victim, as far as is known
    assert validation["victim_accuracy"] == (0.9 + 1) / 2
    assert bounds["test"] == {}
    known[plan.responses[1].key] = cost_of(0.4)
    bounds = best_possible(plan, lambda task: known.get(task.key), {})
    assert bounds["validation"]["l1"] == pytest.approx(0.6)
    assert bounds["test"]["l1"] == pytest.approx(0.61)
    assert "attacker_accuracy" not in bounds["test"]


def test_a_clone_counts_as_far_as_it_has_come_and_its_evaluation_before_what_it_reported():
    plan = plan_of((1, 2), ("soft", "hard"))
    place = {(seed, name): plan.attackers[seed, name].key for seed, name in plan.attackers}
    reached = {place[1, "soft"]: 0.5, place[1, "hard"]: 0.75, place[2, "hard"]: 0.25}
    known = {plan.evaluations[1, "soft"].key: {"validation.clone_accuracy.best": 0.875}}
    validation = best_possible(plan, lambda task: known.get(task.key), reached)["validation"]
    assert validation["attackers"] == {"soft": 0.4375, "hard": 0.5}  # (0.875 + 0) / 2, (0.75 + 0.25) / 2
    assert validation["attacker_accuracy"] == (0.875 + 0.25) / 2


@UNTIMED
@given(course=courses(), chance=st.randoms(use_true_random=False))
def test_at_any_moment_the_bounds_are_what_a_plain_restatement_says(course, chance):
    measured, trained, evaluated = moment(course, chance)
    bounds = best_possible(course.plan, *course.after(measured, trained, evaluated))["validation"]
    seeds, names = sorted(course.costs), {name for _, name in course.accuracies}

    for name in COSTS:
        of_seed = [course.costs[s][f"validation.{name}"] if s in measured else MEASURES[name].best for s in seeds]
        assert bounds[name] == pytest.approx(sum(of_seed) / len(seeds), abs=1e-12)
    of_seed = [course.costs[s]["queries.l1"] if s in measured else 0 for s in seeds]
    assert bounds["l1_queries"] == pytest.approx(sum(of_seed) / len(seeds), abs=1e-12)

    so_far = {
        place: max(curve if place in evaluated else [0, *curve[: trained[place]]])
        for place, curve in course.accuracies.items()
    }
    worst = sum(max(so_far[seed, name] for name in names) for seed in seeds) / len(seeds)
    assert bounds["attacker_accuracy"] == pytest.approx(worst, abs=1e-12)
    assert set(bounds["attackers"]) == names


def moment(course: Course, chance: random.Random, *, since=None):
    """Seeds measured, epochs trained and clones evaluated at some moment, not before `since`."""
    measured, trained, evaluated = since or (set(), dict.fromkeys(course.accuracies, 0), set())
    measured = measured | {seed for seed in course.costs if chance.random() < 0.5}
    trained = {
        place: chance.randint(trained[place], len(curve)) if place[0] in measured else 0
        for place, curve in course.accuracies.items()
    }
    ended = {place for place, epochs in trained.items() if epochs == len(course.accuracies[place])}
    return measured, trained, evaluated | {place for place in ended if chance.random() < 0.5}


@UNTIMED
@given(course=courses(), chance=st.randoms(use_true_random=False))
def test_a_point_never_ends_better_in_any_measure_than_the_bounds_of_any_earlier_moment(course, chance):
    figures = course.end()["validation"]
    moments = [(set(), dict.fromkeys(course.accuracies, 0), set())]
    for _ in range(4):
        moments.append(moment(course, chance, since=moments[-1]))
    bounds = [best_possible(course.plan, *course.after(*now))["validation"] for now in moments]
    for name, of in MEASURES.items():
        sign = SIGN[of.direction]
        losses = [sign * value_of(bound, name) for bound in bounds]
        # exactly: a rounding error in the wrong direction would lose a point that ties with its rival
        assert losses == sorted(losses), name
        assert losses[-1] <= sign * value_of(figures, name), name
    for thief, accuracy in figures["attackers"].items():
        assert all(bound["attackers"][thief] <= accuracy for bound in bounds)


@UNTIMED
@given(course=courses())
def test_once_everything_is_known_the_bounds_are_the_figures(course):
    known, _ = course.after(set(course.costs), {}, set(course.accuracies))
    figures = point_figures(course.plan, known)
    bounds = best_possible(course.plan, known, {})
    assert bounds["validation"] == figures["validation"]
    assert bounds["test"] == {name: figures["test"][name] for name in (*COSTS, "l1_queries")}
