"""Around a defense: where its gate lets it act, what a second step makes of it, a matrix that is learned there."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from emma_tune.defenses import BASELINES, UNDEFENDED, control_matrix, emma, rounding, top_k
from emma_tune.defenses.around import around_params, effective, unmatched
from emma_tune.defenses.gate import confidence
from emma_tune.defenses.release import Release, objective_of
from emma_tune.training.forward_pass import ForwardPass
from emma_tune.training.hypergradient import hypergradient
from tests.defenses.test_baselines import guidance_for, posteriors, seeds_for
from tests.training.test_hypergradient import LR, draw, draw_answers, relative

K = 5
GATES = st.floats(0, 1, allow_subnormal=False)


def params_of(name: str) -> dict[str, float]:
    """Its first budget, and its settings; without a gate."""
    known = BASELINES[name]
    budget = {known.budget.name: known.budget.grid[0]} if known.budget and name != "abstain" else {}
    return {**budget, **known.settings}


def answer(name: str, params: dict[str, float | str], p: Tensor) -> Tensor:
    T = control_matrix(name, params, p.shape[1], seed=7).to(p.dtype) if BASELINES[name].linear else None
    return Release(name, params, T)(p, seeds=seeds_for(p), guidance=guidance_for(name, p))


# --- where a defense acts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1, 2, 4, 100])
def test_confidence_is_the_largest_of_the_tempered_probabilities(temperature):
    p = posteriors(K, torch.float64, ("likely", "unsure", "ties"))
    for row, found in zip(p.tolist(), confidence(p, temperature).tolist(), strict=True):
        powers = [value ** (1 / temperature) for value in row]
        assert found == pytest.approx(max(powers) / sum(powers), abs=1e-12)


def test_confidence_is_that_of_divided_logits():
    logits = 3 * torch.randn(50, K, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = (logits / 4).softmax(dim=1).max(dim=1).values
    torch.testing.assert_close(confidence(logits.softmax(dim=1), 4), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("gate", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", BASELINES)
def test_behind_a_gate_a_row_is_answered_as_without_or_not_at_all(name, gate, temperature):
    p = posteriors(K, torch.float32)
    without, behind = params_of(name), {**params_of(name), "gate": gate, "gate_temperature": temperature}
    expected, found = answer(name, without, p), answer(name, behind, p)
    acting = [confidence(row[None], temperature).item() < gate for row in p]
    assert Release(name, behind).acts(p).tolist() == acting
    for row, acts in enumerate(acting):
        assert torch.equal(found[row], expected[row] if acts else p[row])


@pytest.mark.parametrize("name", BASELINES)
def test_a_gate_of_1_is_none_and_a_gate_of_0_lets_nothing_act(name):
    p = posteriors(K, torch.float32)
    without = params_of(name)
    open_gate = {**without, "gate": 1.0, "gate_temperature": 4.0}
    assert torch.equal(answer(name, open_gate, p), answer(name, without, p)), "also where p is certain"
    assert Release(name, open_gate).acts(p).all()
    assert torch.equal(answer(name, {**without, "gate": 0.0}, p), p)


@given(gate=GATES, temperature=st.floats(0.05, 50), rows=st.lists(st.floats(0, 40), min_size=1, max_size=8))
def test_whatever_the_gate_each_answer_is_one_of_the_two(gate, temperature, rows):
    logits = torch.tensor([[scale, 0.5 * scale, 0, -scale] for scale in rows])
    p = logits.softmax(dim=1)
    params = {"gate": gate, "gate_temperature": temperature}
    found = Release("abstain", params)(p)
    uniform = torch.full((4,), 0.25)
    assert all(torch.equal(row, uniform) or torch.equal(row, own) for row, own in zip(found, p, strict=True))
    wider = Release("abstain", {**params, "gate": min(1, gate + 0.1)}).acts(p)
    assert (wider | ~Release("abstain", params).acts(p)).all(), "a higher gate lets it act on no fewer answers"


def test_what_abstaining_costs_by_hand():
    p = torch.tensor([[0.9, 0.1, 0, 0], [0.5, 0.5, 0, 0], [0.4, 0.3, 0.2, 0.1]], dtype=torch.float64)
    found = Release("abstain", {"gate": 0.8})(p)
    moved = (found - p).abs().sum(dim=1).tolist()
    assert moved == pytest.approx([0, 4 * 0.25, 0.15 + 0.05 + 0.05 + 0.15])
    certain = torch.eye(4, dtype=torch.float64)
    everywhere = (Release("abstain", {})(certain) - certain).abs().sum(dim=1)
    assert everywhere.tolist() == pytest.approx([2 * (1 - 1 / 4)] * 4)


# --- a second step ----------------------------------------------------------------------------------------

STEPS = {
    "argmax": ({"then": "argmax"}, lambda p: F.one_hot(p.argmax(dim=1), K).to(p)),
    "top_k": ({"then": "top_k", "then_k": 2.0}, lambda p: top_k.release(p, k=2)),
    "rounding": ({"then": "rounding", "then_decimals": 1.0}, lambda p: rounding.release(p, decimals=1)),
}


@pytest.mark.parametrize("gate", [{}, {"gate": 0.7}], ids=["everywhere", "behind a gate"])
@pytest.mark.parametrize(("then", "step"), STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("name", BASELINES)
def test_a_composition_is_one_step_after_the_other(name, then, step, gate):
    p, first = posteriors(K, torch.float32), {**params_of(name), **gate}
    assert torch.equal(answer(name, {**first, **then}, p), step(answer(name, first, p)))


def test_of_nothing_a_second_step_is_the_defense_itself():
    p = posteriors(K, torch.float32)
    assert torch.equal(Release(UNDEFENDED, {"then": "top_k", "then_k": 3})(p), Release("top_k", {"k": 3})(p))


# --- what is in a recipe ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "left"),
    [
        ({"a": 1.0}, {"a": 1.0}),
        ({"a": 1.0, "gate": 1}, {"a": 1.0}),
        ({"gate": 1.0, "gate_temperature": 4.0}, {}),
        ({"gate_temperature": 4.0}, {}),
        ({"gate": 0.5, "gate_temperature": 1.0}, {"gate": 0.5}),
        ({"gate": 0, "then": "argmax"}, {"gate": 0, "then": "argmax"}),
        ({"gate": 0.5, "gate_temperature": 2.0}, {"gate": 0.5, "gate_temperature": 2.0}),
    ],
)
def test_what_changes_nothing_is_left_out(params, left):
    assert effective(params) == left
    assert around_params(params) == {name: value for name, value in left.items() if name != "a"}


@pytest.mark.parametrize(
    ("given", "then", "wrong"),
    [
        ({"gate", "gate_temperature"}, None, None),
        ({"then_k"}, "top_k", None),
        (set(), "argmax", None),
        ({"gate_temperature"}, None, "gate_temperature"),
        (set(), "top_k", "then_k"),
        ({"then_k"}, None, "then_k"),
        ({"then_k", "then_decimals"}, "top_k", "then_decimals"),
        ({"then_decimals"}, "argmax", "then_decimals"),
    ],
)
def test_what_belongs_together(given, then, wrong):
    found = unmatched(given, then)
    assert (found and found[0]) == wrong


# --- a matrix behind a gate -------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [0.0, 0.4, 0.7, 0.999])
def test_the_losses_of_a_gated_matrix_are_those_of_what_it_releases(gate):
    """L_align by a loop; the gradient of L_out by double backward through the virtual step."""
    net, x = draw("smooth", K, torch.float64)
    p, T = draw_answers(K, "inside", torch.float64)
    objective = objective_of("emma", {"lambda": 0.3, "gate": gate})
    acting = p.max(dim=1).values < gate
    losses = []
    for row, acts in zip(p, acting.tolist(), strict=True):
        mixed = row @ T if acts else row
        losses.append(-math.log(float(mixed[row.argmax()])))
    assert float(objective.align(p, T)) == pytest.approx(sum(losses) / len(losses), abs=1e-12)

    gradient, loss = hypergradient(ForwardPass(net, x), p, T, lr=LR, objective=objective)
    expected, expected_loss = by_double_backward(net, x, p, T, acting)
    assert float(loss) == pytest.approx(float(expected_loss), abs=1e-9)
    if acting.any():
        assert relative(gradient, expected) <= 1e-9
    else:
        assert not gradient.any()
        assert not expected.any()


def by_double_backward(
    net: torch.nn.Module, x: Tensor, p: Tensor, T: Tensor, acting: Tensor
) -> tuple[Tensor, Tensor]:
    T = T.clone().requires_grad_()
    rows = list(zip(p, acting.tolist(), strict=True))
    released = torch.stack([emma.release(row[None], T)[0] if acts else row for row, acts in rows])
    weights = dict(net.named_parameters())
    inner = F.cross_entropy(torch.func.functional_call(net, weights, (x,)), released)
    steps = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
    moved = {name: w - LR * step for (name, w), step in zip(weights.items(), steps, strict=True)}
    mislead = emma.mislead_loss(torch.func.functional_call(net, moved, (x,)), p)
    top = p.argmax(dim=1, keepdim=True)
    mixed = torch.stack([row @ T if acts else row for row, acts in rows])
    outer = 0.3 * -mixed.gather(1, top).log().mean() + 0.7 * mislead
    (gradient,) = torch.autograd.grad(outer, T, materialize_grads=True)
    return gradient, outer.detach()


def test_without_a_gate_the_objective_is_the_defense_s_own():
    p, T = draw_answers(K, "inside", torch.float32)
    own, neutral = (objective_of("emma", {"lambda": 0.3, **of}) for of in ({}, {"gate": 1.0}))
    assert neutral.align is own.align is emma.align_loss
    assert torch.equal(neutral.release(p, T), emma.release(p, T))
