"""What attackers are planned with that ask in rounds, again, or images of their own making."""

from __future__ import annotations

import pytest

from emma_tune.plan import Planner, PointPlan, Task
from emma_tune.plan.task import key_of
from emma_tune.stages import STAGES, AttackerSettings, ResponsesSettings, Sizes
from emma_tune.study import Attacker
from emma_tune.study.file import load_study
from tests.plan.test_defenses import DEFENSES, IMAGES, SEED, point_of

ROUNDS = {
    "soft": {},
    "active": {"queries": 100},
    "jacobian": {},
    "semi": {"queries": 100},
    "average": {"views": 3},
}
SIZES = Sizes(train=1000, validation=200, test=200, queries=300, classes=10)


@pytest.fixture
def planner(study_file):
    def make(**changes) -> Planner:
        return Planner(load_study(study_file(**{"attackers": ROUNDS, **changes})), IMAGES)

    return make


def attacker(plan: PointPlan, name: str) -> Task:
    return plan.attackers[SEED, name]


def settings(plan: PointPlan, name: str) -> AttackerSettings:
    config = attacker(plan, name).config
    assert isinstance(config, AttackerSettings)
    return config


@pytest.mark.parametrize("defense", DEFENSES)
def test_who_makes_its_images_is_handed_the_defended_victim(planner, defense):
    plan = planner().point(point_of(defense))
    task, config = attacker(plan, "jacobian"), settings(plan, "jacobian")
    responses = plan.responses[SEED]
    by_stage = {stage: plan.tasks[key] for stage, key in task.inputs.items()}
    own = {"mad": "surrogate", "grad2": "surrogate", "adaptive_misinformation": "misinformer"}.get(defense)
    assert by_stage.keys() == {"responses", "victim", *([own] if own else [])}
    assert all(of.stage == stage for stage, of in by_stage.items())
    assert by_stage["responses"] == responses
    assert config.release == responses.config
    assert config.oracle is not None
    assert config.oracle.model == "resnet8"
    guides = [of for of in plan.tasks.values() if of.stage == "guidance"]
    assert config.oracle.guidance == (guides[0].config if guides else None)
    if own:
        assert guides[0].inputs[own] == task.inputs[own]
    assert STAGES["attacker"].read_settings(task.recipe["config"]) == config


@pytest.mark.parametrize("defense", ["none", "emma", "mad"])
def test_who_asks_the_pool_gets_its_answers_and_nothing_else(planner, defense):
    plan = planner().point(point_of(defense))
    for name in ("soft", "active", "semi", "average"):
        assert attacker(plan, name).inputs == {"responses": plan.responses[SEED].key}
    assert sum(task.stage == "posteriors" for task in plan.tasks.values()) == 1


def test_fields_of_other_attackers_are_in_no_recipe(planner):
    plan = planner().point(point_of("none"))
    config = attacker(plan, "soft").recipe["config"]
    assert config.keys() == {"kind", "queries", "training", "seed"}
    chosen = settings(plan, "active")
    assert (chosen.rounds, chosen.choose, chosen.epsilon) == (10, "entropy", None)
    made = settings(plan, "jacobian")
    assert (made.rounds, made.choose, made.epsilon) == (6, None, 0.1)


def test_only_noise_that_is_drawn_for_each_answer_is_asked_several_times(planner):
    made = planner()
    once, fresh = (made.point(point_of("gaussian", fresh=fresh)) for fresh in (False, True))
    assert attacker(once, "average").key == attacker(once, "soft").key
    assert attacker(fresh, "average").key != attacker(fresh, "soft").key
    answers = fresh.tasks[attacker(fresh, "average").inputs["responses"]]
    assert answers.config.fresh
    assert (answers.config.views.count, answers.config.views.augmentation) == (3, "none")
    assert attacker(fresh, "soft").inputs == {"responses": fresh.responses[SEED].key}


@pytest.mark.parametrize(
    ("name", "changes", "same"),
    [
        ("active", {"queries": 90}, False),
        ("active", {"rounds": 10}, True),
        ("active", {"rounds": 5}, False),
        ("active", {"choose": "entropy"}, True),
        ("active", {"choose": "k_center"}, False),
        ("jacobian", {"rounds": 6, "epsilon": 0.1}, True),
        ("jacobian", {"epsilon": 0.2}, False),
        ("jacobian", {"queries": 500}, False),
    ],
    ids=str,
)
def test_what_an_attacker_asks_is_in_its_key(planner, name, changes, same):
    before, after = (
        planner(attackers={**ROUNDS, name: {**ROUNDS[name], **more}}).point(point_of("none"))
        for more in ({}, changes)
    )
    assert (attacker(before, name).key == attacker(after, name).key) == same


def test_the_forecast_counts_what_attackers_in_rounds_train_on(planner):
    plan = planner().point(point_of("none"))
    one = AttackerSettings.model_validate({**settings(plan, "soft").model_dump(), "queries": 100})

    def passes(config: AttackerSettings) -> float:
        return config.passes(SIZES, config.epochs(answers=SIZES.answers)[0])[1]

    E = one.training.epochs
    assert passes(one) == E * (3 * 100 + 400)
    ten = settings(plan, "active")
    assert ten.epochs() == ten.epochs(answers=SIZES.answers) == (10 * E, 10 * E)
    choosing = sum(300 - 10 * number for number in range(1, 10))
    assert passes(ten) == 10 * E * (3 * 55 + 400) + choosing
    # 50 labeled images, 100, 200, 300, and then no budget is left
    assert settings(plan, "jacobian").epochs() == (6 * E, 6 * E)
    assert settings(plan, "jacobian").epochs(answers=SIZES.answers) == (4 * E, 4 * E)
    assert passes(settings(plan, "jacobian")) == pytest.approx(4 * E * (3 * 650 / 4 + 400) + 4 * 300)
    assert passes(settings(plan, "semi")) == E * (3 * 100 * 5 + 400)


def test_every_attacker_says_how_many_answers_it_gets(planner):
    study = planner().study
    asked = {name: of.asked(300, 10) for name, of in study.attackers.items()}
    assert asked == {"soft": 300, "active": 100, "jacobian": 300, "semi": 100, "average": 900}
    more = planner(attackers={**ROUNDS, "jacobian": {"queries": 4800}, "active": {"queries": 9999}}).study
    assert more.attackers["jacobian"].asked(300, 10) == 1600
    assert more.attackers["active"].asked(300, 10) == 300
    assert {name: of.asks(300) for name, of in more.attackers.items() if of.queries} == {
        "active": 300,
        "jacobian": 4800,
        "semi": 100,
    }
    assert more.attackers["active"].asks(None) == 9999


def test_keys_of_studies_without_them_stay(planner):
    made = planner(attackers={"soft": {"views": 4}, "hard": {}})
    recipe = attacker(made.point(point_of("none")), "soft").recipe
    assert "rounds" not in recipe["config"]
    assert key_of(recipe) == attacker(made.point(point_of("none")), "soft").key == "67ae1120a25440e3f4b3"
    described = made.study.attackers["soft"].model_dump(mode="json")
    assert described.keys().isdisjoint({"rounds", "choose", "epsilon"})


PAIRS = {
    "crafted": {"kind": "jacobian", "targets": "bayes"},
    "blind": {"kind": "jacobian", "targets": "bayes", "knows": ["gate"]},
    "chosen": {"kind": "active", "queries": 100, "targets": "bayes"},
    "undoing": {"kind": "jacobian", "targets": "inverse"},
    "top": {"kind": "jacobian", "targets": "hard"},
}


def test_the_targets_say_how_much_of_the_defense_an_attacker_knows(planner):
    made = planner(attackers={"soft": {}, **PAIRS})
    emma, mad = (made.point(point_of(defense)) for defense in ("emma", "mad"))
    for plan in (emma, mad):
        responses = plan.responses[SEED]
        own = {"surrogate"} if plan is mad else set()
        known = ResponsesSettings(defense=responses.config.defense, params=responses.config.params)
        for name, of in {"crafted": known, "blind": ResponsesSettings(defense="none"), "top": None}.items():
            assert attacker(plan, name).inputs.keys() == {"responses", "victim", *own}
            assert settings(plan, name).release == responses.config
            assert settings(plan, name).known == of
        assert settings(plan, "chosen").release == known
        assert attacker(plan, "chosen").inputs.keys() == {"responses", *(["guidance"] if plan is mad else [])}
    assert (SEED, "undoing") in emma.attackers
    assert (SEED, "undoing") not in mad.attackers, "there is no matrix to know"


def test_targets_of_soft_are_in_no_recipe_and_no_digest(planner):
    plain, named = (
        planner(attackers={"soft": {}, "thief": {"kind": "jacobian", **more}})
        for more in ({}, {"targets": "soft"})
    )
    assert plain.digest == named.digest
    tasks = [attacker(made.point(point_of("emma")), "thief") for made in (plain, named)]
    assert tasks[0].key == tasks[1].key
    assert tasks[0].recipe["config"].keys().isdisjoint({"targets", "known"})


@pytest.mark.parametrize(
    ("attacker", "said"),
    [
        ({"kind": "active", "targets": "hard"}, "the answers to queries that its clone chooses"),
        ({"kind": "active", "targets": "bayes"}, "the answers to queries that its clone chooses, and the defense"),
        (
            {"kind": "active", "targets": "inverse", "knows": ["defense", "gate"]},
            "the answers to queries that its clone chooses, and the matrix T, but not its second step",
        ),
    ],
)
def test_what_an_attacker_knows_joins_its_queries_and_its_targets(attacker, said):
    assert Attacker(model="resnet8", epochs=1, **attacker).knowledge == said


WRONG = [
    (
        {"jacobian": {"targets": "active"}},
        "attackers.jacobian.targets: expected a known attacker whose targets others can train on, one of bayes, "
        "forward, hard, inverse, restored, selective, soft, found 'active'",
    ),
    (
        {"bayes": {"targets": "hard"}},
        "attackers.bayes.targets: expected targets only of active, jacobian or semi, found it of bayes",
    ),
    (
        {"jacobian": {"targets": "hard", "knows": ["gate"]}},
        "attackers.jacobian.knows: expected knows only of inverse, forward, bayes, restored or selective, or with "
        "targets of one of these, found it of jacobian with targets of hard",
    ),
    (
        {"jacobian": {"targets": "bayes", "knows": []}},
        "attackers.jacobian.knows: expected any of defense, gate, then, found an empty list",
    ),
    (
        {"jacobian": {"targets": "inverse", "knows": ["gate"]}},
        "expected defense among them, since jacobian with targets of inverse knows its matrix, found gate",
    ),
    ({"active": {}}, "attackers.active.queries: expected how many queries of the pool active asks, found none"),
    ({"semi": {}}, "attackers.semi.queries: expected how many queries of the pool semi asks, found none"),
    ({"active": {"queries": 19}}, "attackers.active.queries: expected at least 20, found 19"),
    ({"active": {"queries": 9, "rounds": 5}}, "attackers.active.queries: expected at least 10, found 9"),
    ({"jacobian": {"queries": 1}}, "attackers.jacobian.queries: expected at least 2, found 1"),
    (
        {"soft": {"rounds": 3}},
        "attackers.soft.rounds: expected rounds only of active or jacobian, found it of soft",
    ),
    ({"soft": {"choose": "dfal"}}, "attackers.soft.choose: expected choose only of active, found it of soft"),
    (
        {"active": {"queries": 50, "epsilon": 0.5}},
        "attackers.active.epsilon: expected epsilon only of jacobian, found it of active",
    ),
    ({"jacobian": {"epsilon": 0}}, "attackers.jacobian.epsilon: expected greater than 0, found 0"),
    ({"jacobian": {"epsilon": 1.5}}, "attackers.jacobian.epsilon: expected at most 1, found 1.5"),
    ({"jacobian": {"rounds": 0}}, "attackers.jacobian.rounds: expected at least 1, found 0"),
    (
        {"active": {"queries": 50, "choose": "random"}},
        "attackers.active.choose: expected a known way to choose queries, one of entropy, k_center, dfal, found",
    ),
]


@pytest.mark.parametrize(("attackers", "expected"), WRONG, ids=[text.split(": ")[0] for _, text in WRONG])
def test_what_an_attacker_cannot_use_is_refused(study_file, attackers, expected):
    from emma_tune.study.file import StudyError

    with pytest.raises(StudyError) as error:
        load_study(study_file(attackers={"hard": {}, **attackers}))
    assert expected in str(error.value)
