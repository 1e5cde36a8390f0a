"""What attackers are told of a defense, and what of that is in the keys of their clones."""

from __future__ import annotations

import pytest

from emma_tune.attacks import ATTACKS
from emma_tune.plan import Planner, Point, Task
from emma_tune.stages import ResponsesSettings
from emma_tune.study.file import load_study
from emma_tune.study.parts import Attacker

SEED = 3407
LEARNED = {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": 1}
GATED = {**LEARNED, "gate": 0.8, "then": "top_k", "then_k": 2}
KNOWING = [kind for kind, of in ATTACKS.items() if of.knows_defense]
USING_ALL = [kind for kind in KNOWING if ATTACKS[kind].knows_defense == "all"]
QUERIES = {"active": {"queries": 60}, "semi": {"queries": 60}}


@pytest.fixture
def clone_of(study_file):
    def plan(kind: str, defense: str, params: dict[str, float | str], **attacker: object) -> Task:
        attackers = {"soft": {}, "thief": {"kind": kind, **QUERIES.get(kind, {}), **attacker}}
        planner = Planner(load_study(study_file(attackers=attackers)), {"victim": "v", "queries": "q"})
        return planner.point(Point(0, defense, params)).attackers[SEED, "thief"]

    return plan


def release_of(task: Task) -> ResponsesSettings | None:
    return task.config.release


@pytest.mark.parametrize("kind", [kind for kind in ATTACKS if kind not in (*USING_ALL, "jacobian")])
def test_without_a_gate_only_those_who_use_all_of_a_defense_are_told_of_it(kind, clone_of):
    clone = clone_of(kind, "emma", LEARNED)
    assert release_of(clone) is None
    assert not {"release", "confidence"} & clone.config.model_dump().keys(), "so its key is what it was"
    assert clone.inputs.keys() == {"responses"}


@pytest.mark.parametrize("kind", USING_ALL)
def test_those_who_use_all_of_a_defense_are_told_its_kind_and_parameters(kind, clone_of):
    known = release_of(clone_of(kind, "reverse_sigmoid", {"beta": 0.4, "gamma": 0.2}))
    assert known == ResponsesSettings(defense="reverse_sigmoid", params={"beta": 0.4, "gamma": 0.2})
    noisy = release_of(clone_of(kind, "gaussian", {"sigma": 0.2, "fresh": True}))
    assert noisy == ResponsesSettings(defense="gaussian", params={"sigma": 0.2}), "what is drawn nobody knows"


@pytest.mark.parametrize("kind", [kind for kind in KNOWING if kind != "selective"])  # which must know the gate
@pytest.mark.parametrize(
    ("knows", "params"),
    [
        (("defense", "gate", "then"), {"gate": 0.8, "then": "top_k", "then_k": 2.0}),
        (("then", "gate", "defense"), {"gate": 0.8, "then": "top_k", "then_k": 2.0}),
        (("defense", "gate"), {"gate": 0.8}),
        (("defense", "then"), {"then": "top_k", "then_k": 2.0}),
        (("defense",), {}),
    ],
)
def test_who_knows_less_takes_the_rest_as_absent(kind, knows, params, clone_of):
    known = release_of(clone_of(kind, "emma", GATED, knows=list(knows)))
    if kind not in USING_ALL and "gate" not in params:
        assert known is None
    else:
        assert known == ResponsesSettings(defense="emma", params=params)


def test_who_selects_by_the_gate_is_told_nothing_but_what_it_knows(clone_of):
    known = release_of(clone_of("selective", "emma", GATED, knows=["gate", "defense"]))
    assert known == ResponsesSettings(defense="emma", params={"gate": 0.8})


@pytest.mark.parametrize("kind", [kind for kind in KNOWING if not ATTACKS[kind].needs_matrix])
def test_who_does_not_know_the_defense_itself_takes_it_for_none(kind, clone_of):
    known = release_of(clone_of(kind, "reverse_sigmoid", {"beta": 0.4, "gamma": 0.2, "gate": 0.8}, knows=["gate"]))
    assert known == ResponsesSettings(defense="none", params={"gate": 0.8})


@pytest.mark.parametrize("kind", USING_ALL)
@pytest.mark.parametrize("defense", ["mad", "grad2"])
def test_who_knows_a_guided_defense_reads_its_guidance(kind, defense, clone_of):
    clone = clone_of(kind, defense, {"epsilon": 0.5})
    assert clone.inputs.keys() == {"responses", "guidance"}
    without = clone_of(kind, defense, {"epsilon": 0.5, "gate": 0.8}, knows=["gate"])
    assert without.inputs.keys() == {"responses"}


def test_what_a_known_defense_learned_changes_the_answers_alone(clone_of):
    one, other = (clone_of("bayes", "emma", {**LEARNED, "lambda": weight}) for weight in (0.1, 0.2))
    assert one.config == other.config
    assert one.inputs != other.inputs


def test_confidence_is_in_the_key_of_those_who_ask_for_it(clone_of):
    keys = [
        clone_of("selective", "emma", LEARNED, **more).key
        for more in ({}, {"confidence": 0.0}, {"confidence": 0.5})
    ]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("kind", "knows", "said"),
    [
        ("bayes", ("defense", "gate", "then"), "the answers and the defense"),
        ("bayes", ("gate",), "the answers and the defense, but not its kind and parameters or its second step"),
        ("inverse", ("defense",), "the answers and the matrix T, but not its gate or its second step"),
    ],
)
def test_what_an_attacker_knows_is_said_in_words(kind, knows, said):
    assert Attacker(model="resnet8", epochs=1, kind=kind, knows=knows).knowledge == said
