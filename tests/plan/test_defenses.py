"""What each defense and each attacker needs, what points share of it, and what a repeat runs again."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from emma_tune.attacks import ATTACKS
from emma_tune.defenses import BASELINES
from emma_tune.plan import Planner, Point, PointPlan, Task
from emma_tune.stages import STAGES
from emma_tune.study.file import load_study

IMAGES = {"victim": "v", "queries": "q"}
SEED = 3407
EMMA = {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": 1}
BOTTOM = {"victim": 1, "posteriors": 1, "responses": 1, "attacker": 1, "evaluation": 1}
OWN = {
    "emma": {"surrogate": 2, "matrix": 1},  # legs that end at 0 and at 1
    "mad": {"surrogate": 2, "guidance": 1},
    "grad2": {"surrogate": 2, "guidance": 1},
    "adaptive_misinformation": {"misinformer": 1, "guidance": 1},
}
"""Tasks beside those that every point has, of those that have any."""
LINEAR = {"emma", "uniform", "permutation", "random_matrix"}
ALIKE = {"none", "argmax", "abstain", "top_k", "rounding", "reverse_sigmoid", "modelguard_w"}
"""What answers the same whatever the seed is."""
DEFENSES = ["emma", *BASELINES]


@pytest.fixture
def planner(study_file):
    def make(**changes) -> Planner:
        return Planner(load_study(study_file(**{"attackers": {"soft": {}}, **changes})), IMAGES)

    return make


def point_of(defense: str, **changes: float | bool | str) -> Point:
    """A point at the first value of a defense's own grid."""
    if defense == "emma":
        return Point(0, defense, {**EMMA, **changes})
    known = BASELINES[defense]
    budget = {known.budget.name: known.budget.grid[0]} if known.budget else {}
    return Point(0, defense, {**budget, **known.settings, **changes})


def of_stage(plan: PointPlan, stage: str) -> set[str]:
    return {key for key, task in plan.tasks.items() if task.stage == stage}


def only(plan: PointPlan, stage: str) -> Task:
    (task,) = (task for task in plan.tasks.values() if task.stage == stage)
    return task


# --- what there is to do ----------------------------------------------------------------------------------


@pytest.mark.parametrize("defense", DEFENSES)
def test_a_defense_has_these_tasks_and_no_other(planner, defense):
    plan = planner().point(point_of(defense))
    assert Counter(task.stage for task in plan.tasks.values()) == BOTTOM | OWN.get(defense, {})
    before = set()
    for key, task in plan.tasks.items():
        assert task.needs <= before, "in the order in which they can be done"
        assert {plan.tasks[read].stage for read in task.inputs.values()} == set(task.inputs)
        assert set(task.inputs) <= set(STAGES[task.stage].inputs)
        assert Task.from_json(task.to_json()) == task
        before.add(key)


@pytest.mark.parametrize("defense", DEFENSES)
def test_a_task_reads_what_its_defense_goes_by(planner, defense):
    plan = planner().point(point_of(defense))
    key = {stage: max(of_stage(plan, stage), default=None) for stage in STAGES}
    last = [task.key for task in plan.tasks.values() if task.stage == "surrogate"][-1:]
    guide = {"mad": {"surrogate": last}, "grad2": {"surrogate": last}}.get(defense, {})
    if defense == "adaptive_misinformation":
        guide = {"misinformer": [key["misinformer"]]}
    if guide:
        (name, (network,)) = next(iter(guide.items()))
        assert only(plan, "guidance").inputs == {"posteriors": key["posteriors"], name: network}
    reads = "matrix" if defense == "emma" else "guidance" if guide else None
    more = {reads: key[reads]} if reads else {}
    assert only(plan, "responses").inputs == {"posteriors": key["posteriors"], **more}
    assert only(plan, "attacker").inputs == {"responses": key["responses"]}


@pytest.mark.parametrize("defense", DEFENSES)
def test_who_knows_a_matrix_is_sent_only_where_there_is_one(planner, defense):
    some = {name: {"queries": 100} for name, of in ATTACKS.items() if of.asks in ("chosen", "part")}
    attackers = {name: some.get(name, {}) for name in ATTACKS} | {"late": {"kind": "inverse", "epochs": 5}}
    made = planner(attackers=attackers)
    plan = made.point(point_of(defense))
    blind = {name for name, of in ATTACKS.items() if not of.needs_matrix}
    assert blind >= {"soft", "hard", "estimated", "smoothed"}
    sent = blind | {"inverse", "forward", "late"} if defense in LINEAR else blind
    assert set(made.attackers_of(defense)) == sent
    assert plan.attackers.keys() == plan.evaluations.keys() == {(SEED, name) for name in sent}
    assert of_stage(plan, "attacker") == {task.key for task in plan.attackers.values()}
    assert len(of_stage(plan, "attacker")) == len(sent) - 1  # average is soft: nothing draws noise for each answer


def test_a_defense_is_told_its_parameters_as_numbers_and_whether_noise_is_fresh(planner):
    made = planner()
    config = only(made.point(point_of("gaussian", sigma=1, fresh=True)), "responses").config
    assert (config.defense, config.params, config.fresh, config.seed) == ("gaussian", {"sigma": 1.0}, True, SEED)
    once = only(made.point(point_of("gaussian", sigma=1)), "responses").config
    assert (once.params, once.fresh) == (config.params, False)
    whole = [only(made.point(point_of("top_k", k=k)), "responses").key for k in (3, 3.0)]
    assert whole[0] == whole[1]  # JSON may have made one of the other
    config = only(made.point(point_of("reverse_sigmoid", beta=0.4, gamma=0.5)), "responses").config
    assert config.params == {"beta": 0.4, "gamma": 0.5}
    config = only(made.point(point_of("emma")), "responses").config
    assert (config.params, config.seed) == ({}, None)


def test_the_form_of_mad_changes_its_guidance_and_nothing_else(planner):
    made = planner()
    forms = ({}, {"layers": "last"}, {"surrogate": "untrained"}, {"layers": "last", "surrogate": "untrained"})
    plans = [made.point(point_of("mad", **form)) for form in forms]
    guides = [only(plan, "guidance") for plan in plans]
    assert [of.config.layers for of in guides] == ["all", "last", "all", "last"]
    legs = [plan.tasks[of.inputs["surrogate"]].config.until for plan, of in zip(plans, guides, strict=True)]
    assert legs == [1, 1, 0, 0], "a surrogate that learned nothing is that of st_epoch 0"
    assert len({of.key for of in guides}) == 4
    answers = [only(plan, "responses").config for plan in plans]
    assert answers == [answers[0]] * 4


def test_exposure_is_a_matter_of_the_misinformer_and_its_images(study_file):
    exposed = {"kind": "adaptive_misinformation", "tau": 0.5, "exposure": "letters"}
    study = load_study(study_file(attackers={"soft": {}}, baselines=["none", exposed]))
    assert study.image_sets == ("victim", "queries", "exposure:letters")
    made = Planner(study, {**IMAGES, "exposure:letters": "e", "exposure:mnist5k": "m"})
    usual = made.point(point_of("adaptive_misinformation"))
    plan = made.point(point_of("adaptive_misinformation", exposure="letters"))
    assert only(usual, "misinformer").images == {"victim": "v"}
    assert only(plan, "misinformer").images == {"victim": "v", "exposure": "e"}
    assert only(plan, "misinformer").recipe["config"]["exposed"] is True
    assert "exposed" not in only(usual, "misinformer").recipe["config"]
    assert only(plan, "guidance").config == only(usual, "guidance").config
    assert only(plan, "responses").config == only(usual, "responses").config
    assert Task.from_json(only(plan, "misinformer").to_json()) == only(plan, "misinformer")
    earlier = made.point(point_of("adaptive_misinformation", exposure="mnist5k"))
    assert only(earlier, "misinformer").images["exposure"] == "m", "of a point from before the study was edited"
    other = Planner(study, IMAGES)
    forgotten = other.point(point_of("adaptive_misinformation", exposure="letters"))
    assert of_stage(forgotten, "misinformer").isdisjoint(of_stage(plan, "misinformer"))
    assert of_stage(other.point(point_of("emma")), "matrix") == of_stage(made.point(point_of("emma")), "matrix")
    # outcomes stay when the study names no such pool any more, whatever earlier runs have prepared
    without = load_study(study_file(attackers={"soft": {}}, baselines=["none"]))
    assert Planner(without, {**IMAGES, "exposure:letters": "e"}).digest == Planner(without, IMAGES).digest
    assert made.digest != other.digest


# --- what points share ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("defense", "budget"), [("mad", "epsilon"), ("grad2", "epsilon"),
                                                 ("adaptive_misinformation", "tau")])  # fmt: skip
def test_guidance_is_found_once_for_all_budgets_and_all_attackers(planner, defense, budget):
    made = planner()
    one, other = (made.point(point_of(defense, **{budget: value})) for value in (0.25, 0.75))
    shared = one.tasks.keys() & other.tasks.keys()
    assert {one.tasks[key].stage for key in shared} == set(one_stage(one)) - {
        "responses",
        "attacker",
        "evaluation",
    }
    more = planner(attackers={"soft": {"epochs": 9}, "hard": {}}).point(point_of(defense, **{budget: 0.25}))
    assert of_stage(more, "guidance") == of_stage(one, "guidance")
    assert of_stage(more, "responses") == of_stage(one, "responses")


def one_stage(plan: PointPlan) -> dict[str, int]:
    return Counter(task.stage for task in plan.tasks.values())


def test_the_sharpness_of_a_guided_defense_is_no_matter_of_its_guidance(planner):
    made = planner()
    one, other = (made.point(point_of("adaptive_misinformation", nu=nu)) for nu in (10, 1000))
    assert of_stage(one, "guidance") == of_stage(other, "guidance")
    assert of_stage(one, "responses") != of_stage(other, "responses")


def test_defenses_share_the_surrogate_of_the_latest_st_epoch_and_not_what_it_says(planner):
    made = planner()
    mad, grad2, emma = (made.point(point_of(defense)) for defense in ("mad", "grad2", "emma"))
    assert of_stage(mad, "surrogate") == of_stage(grad2, "surrogate") == of_stage(emma, "surrogate")
    assert of_stage(mad, "surrogate") == of_stage(made.groundwork(), "surrogate")
    assert of_stage(mad, "guidance").isdisjoint(of_stage(grad2, "guidance"))
    latest = made.point(point_of("emma", st_epoch=1))
    (leg,) = {task.inputs["surrogate"] for task in mad.tasks.values() if task.stage == "guidance"}
    assert leg == only(latest, "matrix").inputs["surrogate"]


def space(*epochs: int) -> dict:
    return {
        "search": {"space": {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": {"choices": list(epochs)}}},
        "surrogate": {"epochs": 9},
        "defense": {"epochs": 9},
    }


def test_another_latest_st_epoch_is_another_guide(planner):
    few, earlier, later = (planner(**space(*epochs)) for epochs in ((0, 4), (0, 2, 4), (0, 4, 6)))
    plans = [made.point(point_of("mad")) for made in (few, earlier, later)]
    guides = [of_stage(plan, "guidance") for plan in plans]
    assert guides[0] == guides[1] != guides[2]
    assert [next(iter(plan.responses.values())).key for plan in plans[:2]] == [plans[0].responses[SEED].key] * 2
    assert few.digest == earlier.digest, "no point's tasks end otherwise"
    assert few.digest != later.digest
    blind = [made.point(point_of("adaptive_misinformation")) for made in (few, later)]
    assert blind[0].tasks.keys() == blind[1].tasks.keys()


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"name": "another"}, True),
        ({"baselines": ["mad", {"kind": "top_k", "k": 4}]}, True),
        ({"search": {"points": 99, "sampler": "tpe", "stop": "joint"}}, True),
        ({"objectives": {"accuracy_drop": "min"}, "limits": {"accuracy_drop": 0.5}}, True),
        ({"resources": {"guidance": {"cpu": 2}}}, True),
        ({"repeats": [0, 1]}, False),
        ({"repeats": [1]}, False),
        ({"seeds": [SEED, 1]}, False),
        ({"attackers": {"soft": {}, "smoothed": {}}}, False),
        ({"attackers": {"soft": {"queries": 100}}}, False),
        ({"victim": {"lr": 0.2}}, False),
        ({"defense": {"patience": 9}}, False),
    ],
    ids=str,
)
def test_the_digest_names_what_a_points_tasks_depend_on_beside_the_point(planner, changes, same):
    before, after = planner(), planner(**changes)
    assert (before.digest == after.digest) == same
    plans = [{t.key for t in made.point(point_of("emma")).tasks.values()} for made in (before, after)]
    assert (plans[0] == plans[1]) == same


# --- views ------------------------------------------------------------------------------------------------

SMOOTHED = {"soft": {}, "smoothed": {"views": 3}}


def asked_views(plan: PointPlan, stage: str) -> set[str]:
    return {key for key, task in plan.tasks.items() if task.stage == stage and task.config.views is not None}


@pytest.mark.parametrize(("defense", "guided"), [("emma", 0), ("none", 0), ("mad", 1), ("gaussian", 0)])
def test_who_asks_views_has_clean_answers_guidance_and_responses_of_their_own(planner, defense, guided):
    plan = planner(attackers=SMOOTHED).point(point_of(defense))
    plain = planner().point(point_of(defense))
    assert plain.tasks.keys() < plan.tasks.keys()
    new = [plan.tasks[key] for key in plan.tasks.keys() - plain.tasks.keys()]
    stages = Counter({"posteriors": 1, "guidance": guided, "responses": 1, "attacker": 1, "evaluation": 1})
    assert Counter(task.stage for task in new) == stages
    (answers,), (released,) = asked_views(plan, "posteriors"), asked_views(plan, "responses")
    assert plan.tasks[released].inputs["posteriors"] == answers
    assert plan.attackers[SEED, "smoothed"].inputs == {"responses": released}
    # its costs, and what its clone is compared with, are of the answers to images as they are
    assert plan.responses == plain.responses
    assert plan.evaluations[SEED, "smoothed"].inputs["responses"] == plain.responses[SEED].key
    assert plan.evaluations[SEED, "smoothed"].inputs["posteriors"] == only(plain, "posteriors").key
    if defense == "emma":
        assert plan.tasks[released].inputs["matrix"] == only(plain, "matrix").key
    if guided:
        (found,) = asked_views(plan, "guidance")
        assert plan.tasks[released].inputs["guidance"] == found
        assert plan.tasks[found].inputs["posteriors"] == answers


def test_points_and_attackers_share_views_that_are_alike(planner):
    attackers = {**SMOOTHED, "twin": {"kind": "smoothed", "views": 3, "epochs": 7, "queries": 50}}
    made = planner(attackers=attackers)
    plans = [made.point(point) for point in (point_of("none"), point_of("emma"), point_of("mad", epsilon=0.25),
                                             point_of("mad", epsilon=0.5))]  # fmt: skip
    for stage in ("posteriors", "responses"):
        assert all(len(asked_views(plan, stage)) == 1 for plan in plans)
    assert len(set.union(*(asked_views(plan, "posteriors") for plan in plans))) == 1
    assert asked_views(plans[2], "guidance") == asked_views(plans[3], "guidance")
    assert asked_views(plans[2], "responses") != asked_views(plans[3], "responses")


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        ({"views": 3}, False),
        ({"epochs": 7}, False),
        ({"queries": 9}, False),
        ({"views": 4}, True),
        ({"augmentation": "none"}, True),
        ({"smallest_crop": 0.5}, True),
    ],
    ids=str,
)
def test_views_are_named_by_how_they_are_made(planner, changes, others):
    def views(**more) -> set[str]:
        attackers = {"smoothed": {"views": 3, **more}, "soft": {}}
        return asked_views(planner(attackers=attackers).point(point_of("none")), "posteriors")

    assert (views() != views(**changes)) == others


def test_who_asks_no_views_does_not_depend_on_their_number(planner):
    few, many = (
        planner(attackers={"soft": {}, "smoothed": {"views": views}}).point(point_of("none")) for views in (2, 5)
    )
    assert few.attackers[SEED, "soft"] == many.attackers[SEED, "soft"]
    assert few.attackers[SEED, "smoothed"] != many.attackers[SEED, "smoothed"]


def test_how_many_queries_an_attacker_asks_is_its_own_affair(planner):
    whole, few = (planner(attackers={"soft": {"queries": n}}).point(point_of("mad")) for n in (None, 50))
    changed = {task.stage for key, task in few.tasks.items() if key not in whole.tasks}
    assert changed == {"attacker", "evaluation"}
    assert few.attackers[SEED, "soft"].config.queries == 50


# --- repeats ----------------------------------------------------------------------------------------------


def fresh(seed: int, repeat: int) -> int:
    """80 bits of a hash, as keys are made, down to 31."""
    digest = hashlib.sha256(f'{{"repeat":{repeat},"seed":{seed}}}'.encode()).hexdigest()
    return int(digest[:20], 16) % 2**31


def test_a_run_of_the_chain_is_named_by_its_seed_which_is_the_studys_own_in_repeat_0(planner):
    made = planner(seeds=[1, 2], repeats=[0, 5, 7])
    expected = {1: 1, 2: 2, fresh(1, 5): 1, fresh(2, 5): 2, fresh(1, 7): 1, fresh(2, 7): 2}
    assert made.runs == expected
    assert len(expected) == 6
    plan = made.point(point_of("emma"))
    assert plan.responses.keys() == expected.keys()
    assert plan.attackers.keys() == {(run, "soft") for run in expected}
    for run, seed in expected.items():
        victim, posteriors = made.foundation(seed)
        assert victim.config.seed == seed
        assert plan.responses[run].inputs["posteriors"] == posteriors.key
        assert plan.attackers[run, "soft"].config.seed == run
        matrix = plan.tasks[plan.responses[run].inputs["matrix"]]
        assert (matrix.config.seed, plan.tasks[matrix.inputs["surrogate"]].config.seed) == (run, run)


@pytest.mark.parametrize("defense", DEFENSES)
def test_a_repeat_keeps_the_victim_and_runs_everything_else_again(planner, defense):
    whole, again = (planner(repeats=repeats).point(point_of(defense)) for repeats in ([0], [1]))
    same = {"victim", "posteriors"} | ({"responses"} if defense in ALIKE else set())
    for stage in STAGES:
        if stage in same:
            assert of_stage(again, stage) == of_stage(whole, stage)
        else:
            assert of_stage(again, stage).isdisjoint(of_stage(whole, stage))
            assert len(of_stage(again, stage)) == len(of_stage(whole, stage))
    both = planner(repeats=[0, 1]).point(point_of(defense))
    assert both.tasks.keys() == whole.tasks.keys() | again.tasks.keys()


def test_a_repeat_draws_other_views(planner):
    plans = [planner(attackers=SMOOTHED, repeats=[n]).point(point_of("none")) for n in (0, 1)]
    assert asked_views(plans[0], "posteriors").isdisjoint(asked_views(plans[1], "posteriors"))


def test_the_groundwork_of_repeats_is_one_victim_and_a_surrogate_for_each(planner):
    tasks = planner(seeds=[1, 2], repeats=[0, 1, 2]).groundwork().tasks.values()
    assert Counter(task.stage for task in tasks) == {"victim": 2, "posteriors": 2, "surrogate": 6 * 2}


# --- gate and second step ---------------------------------------------------------------------------------

AROUND = {"gate": 0.8, "gate_temperature": 2.0, "then": "top_k", "then_k": 2.0}


@pytest.mark.parametrize("defense", DEFENSES)
def test_a_gate_that_is_always_open_is_in_no_recipe(planner, defense):
    plain, neutral = (
        planner().point(point_of(defense, **of)) for of in ({"gate": 1}, {"gate": 1.0, "gate_temperature": 3})
    )
    without = {name: value for name, value in point_of(defense).params.items() if name != "gate"}
    assert plain.tasks.keys() == neutral.tasks.keys() == planner().point(Point(0, defense, without)).tasks.keys()


@pytest.mark.parametrize("defense", DEFENSES)
def test_what_stands_around_a_defense_is_in_its_answers_and_in_what_follows(planner, defense):
    without, behind = (planner().point(point_of(defense, **of)) for of in ({}, AROUND))
    params = only(behind, "responses").config.params
    assert {name: params[name] for name in AROUND} == AROUND
    changed = {"responses", "attacker", "evaluation"} | ({"matrix"} if defense == "emma" else set())
    for stage in STAGES:
        same = of_stage(without, stage) & of_stage(behind, stage)
        assert same == (set() if stage in changed else of_stage(without, stage))
    (again,) = (Task.from_json(task.to_json()) for task in behind.tasks.values() if task.stage == "responses")
    assert (again.key, again.config) == (only(behind, "responses").key, only(behind, "responses").config)


def test_a_matrix_is_learned_behind_its_gate_and_before_the_second_step(planner):
    gated = only(planner().point(point_of("emma", gate=0.8)), "matrix")
    composed = only(planner().point(point_of("emma", **{**AROUND, "gate_temperature": 1})), "matrix")
    assert gated.config.params == {"gate": 0.8}
    assert gated.config.objective_params == {"gate": 0.8, "lambda": 0.1}
    assert gated.key == composed.key
    assert only(planner().point(point_of("emma", then="argmax")), "matrix").config.params == {}


def test_a_second_step_of_the_learned_defense_leaves_finished_points_as_they_are(planner):
    assert planner(defense={"then": "argmax"}).digest == planner().digest
