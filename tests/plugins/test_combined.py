"""Gates, second steps and ways to ask go with methods of a user's own as they do with those of this package."""

from __future__ import annotations

import pytest
import torch

from emma_tune.attacks import attack_of
from emma_tune.attacks.lesson import Loot
from emma_tune.defenses import DEFENSES, control_matrix
from emma_tune.defenses.around import own_params
from emma_tune.defenses.release import Release, objective_of
from emma_tune.plan import Planner, Point
from emma_tune.plugins.loading import load
from emma_tune.study.file import load_study
from tests.plugins import files

BASELINES = [
    "none",
    {"kind": "flatter", "temperature": 2, "gate": [0.7, 1]},
    {"kind": "shifted", "gate": 0.7, "then": "argmax"},
    {"kind": "noisy", "gate": 0.5, "gate_temperature": 2},
]
POINTS = [
    ("none", {}),
    ("flatter", {"temperature": 2, "gate": 0.7}),
    ("flatter", {"temperature": 2}),
    ("shifted", {"share": 0.5, "gate": 0.7, "then": "argmax"}),
    ("noisy", {"gate": 0.5, "gate_temperature": 2, "width": 0.5}),
]
LEARNED = {"mildness": 0.1, "lr_gamma": 0.3, "st_epoch": 1, "gate": 0.7}


@pytest.fixture
def study(study_file, tmp_path):
    (tmp_path / "methods.py").write_text(files.METHODS)
    changes = {"plugins": ["methods.py"], "defense": {"kind": "mild"}, "baselines": BASELINES}
    return load_study(study_file(**changes, search={"space": LEARNED}))


def test_own_defenses_act_where_the_victim_is_not_sure(study):
    for plugin in study.plugins:
        load(plugin.plugin)
    p = (4 * torch.randn(40, 5, generator=torch.Generator().manual_seed(2))).softmax(dim=1)
    seeds = torch.arange(len(p))
    assert list(study.fixed) == POINTS
    for kind, params in POINTS[1:]:
        name = study.versioned(kind)
        T = control_matrix(name, params, 5, seed=1) if DEFENSES[name].linear else None
        without = Release(name, own_params(params), T)(p, seeds=seeds)
        release = Release(name, params, T)
        expected = torch.where(release.acts(p)[:, None], without, p)
        if "then" in params:
            expected = Release("argmax", {})(expected)
        assert torch.equal(release(p, seeds=seeds), expected)
        assert release.acts(p).all() != release.gated


def test_a_learned_defense_of_one_s_own_is_learned_behind_its_gate(study):
    for plugin in study.plugins:
        load(plugin.plugin)
    plan = Planner(study, {"victim": "a", "queries": "b"}).point(Point(0, "mild", LEARNED))
    (config,) = (task.config for task in plan.tasks.values() if task.stage == "matrix")
    assert config.params == {"mildness": 0.1, "gate": 0.7}
    objective = objective_of(study.versioned("mild"), config.objective_params)
    p = torch.tensor([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25]])
    T = torch.full((3, 3), 1 / 3)
    assert torch.equal(objective.release(p, T)[0], p[0])
    torch.testing.assert_close(objective.release(p, T)[1], torch.full((3,), 1 / 3))
    expected = -(torch.tensor([0.9, 1 / 3]).log().mean())
    torch.testing.assert_close(objective.align(p, T), expected)


@pytest.mark.parametrize("kind", ["active", "jacobian", "semi"])
def test_attackers_that_choose_or_make_queries_train_on_targets_of_one_s_own_attacker(study_file, tmp_path, kind):
    (tmp_path / "thieves.py").write_text(files.THIEVES)
    smooth = {"kind": kind, "targets": "label_smoothing", "queries": 50}
    study = load_study(study_file(plugins=["thieves.py"], attackers={"soft": {}, "smooth": smooth}))
    for plugin in study.plugins:
        load(plugin.plugin)
    plan = Planner(study, {"victim": "a", "queries": "b"}).point(Point(0, "none", {}))
    config = plan.attackers[study.seeds[0], "smooth"].config
    assert (config.kind, config.targets) == (kind, study.versioned("label_smoothing"))
    assert study.attackers["smooth"].knowledge.endswith(", and that they are too sure")
    answers = torch.tensor([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25]])
    attack = attack_of(config.kind, config.targets)
    lesson = attack.learn(Loot(answers, answers[:0], torch.empty(0, dtype=torch.int64)))
    torch.testing.assert_close(lesson.targets, 0.9 * answers + 0.1 / 3)
