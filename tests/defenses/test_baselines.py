"""What every baseline defense promises, at every budget of its own grid."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune import defenses
from emma_tune.defenses import BASELINES, CONTROLS, control_matrix, emma
from emma_tune.defenses.around import NAMES
from emma_tune.defenses.release import Release

Params = Mapping[str, float]

SUMS = {torch.float32: 1e-5, torch.float64: 1e-12}
"""How far from 1 an answer may sum."""

NEAR = {torch.float32: 1e-6, torch.float64: 1e-11}
"""How far two ways of computing one answer may lie apart; T's smallest entry, 1e-12, is below."""

KINDS = ("likely", "unsure", "sure", "one_hot", "uniform", "ties", "zeros")


def grid(name: str) -> list[Params]:
    budget, rest = BASELINES[name].budget, BASELINES[name].settings
    return [{budget.name: value, **rest} for value in budget.grid] if budget else [dict(rest)]


def shown(value: object) -> str:
    return "-".join(f"{name}={of:g}" for name, of in value.items()) or "plain" if isinstance(value, dict) else ""


EVERY = [pytest.param(name, params, id=f"{name}-{shown(params)}") for name in BASELINES for params in grid(name)]
RANDOMIZED = [case for case in EVERY if BASELINES[str(case.values[0])].randomized]
PROMISED = [case for case in EVERY if "epsilon" in case.values[1]]  # type: ignore[operator]
LINEAR = [name for name in BASELINES if BASELINES[name].linear]
IDENTITIES = [
    pytest.param(name, {known.budget.name: known.budget.identity, **known.settings}, id=name)
    for name, known in BASELINES.items()
    if known.budget and known.budget.identity is not None
]


def posteriors(K: int, dtype: torch.dtype, kinds: tuple[str, ...] = KINDS, each: int = 4) -> Tensor:
    """Answers of every kind that a victim may give, `each` of one after the other, (len(kinds)·each, K)."""
    chance = torch.Generator().manual_seed(K)
    drawn = torch.randn(len(kinds), each, K, generator=chance, dtype=torch.float64)
    for kind, p in zip(kinds, drawn, strict=True):
        match kind:
            case "likely" | "unsure" | "sure":
                p.mul_({"likely": 2, "unsure": 0.01, "sure": 40}[kind]).copy_(p.softmax(dim=1))
            case "one_hot":
                p.copy_(F.one_hot(p.argmax(dim=1), K))
            case "uniform":
                p.fill_(1 / K)
            case "ties":  # of the two halves every class is as likely as one of the other
                half = p[:, : K - K // 2].softmax(dim=1)
                p.copy_(torch.cat([half, half[:, : K // 2]], dim=1))
            case "zeros":  # the first and the last class, where there are others
                p.copy_(p.softmax(dim=1))
                p[:, [0, -1] if K > 2 else [0]] = 0
        p.div_(p.sum(dim=1, keepdim=True))
    return drawn.flatten(0, 1).to(dtype)


def guidance_for(name: str, p: Tensor) -> Tensor | None:
    """Of the kind that the guidance stage finds for this defense; the first row points where p does."""
    drawn = torch.randn(p.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(p)
    drawn[0] = p[0] * 5
    kinds = {
        "mad": F.one_hot(drawn.argmax(dim=1), p.shape[1]).to(p),
        "grad2": 100 * drawn,
        "adaptive_misinformation": drawn.softmax(dim=1),
    }
    return kinds[name] if BASELINES[name].guided else None


def seeds_for(p: Tensor, first: int = 0) -> Tensor:
    """As large as seeds get."""
    return 2**63 - 1 - torch.arange(first, first + len(p))


def answer(
    name: str, params: Params, p: Tensor, *, seeds: Tensor | None = None, guidance: Tensor | None = None
) -> Tensor:
    """p' as the responses stage has it."""
    if BASELINES[name].linear:
        return emma.release(p, control_matrix(name, params, p.shape[1], seed=7).to(p.dtype))
    return Release(name, params)(p, seeds=seeds, guidance=guidance)


def answers(name: str, params: Params, p: Tensor) -> Tensor:
    return answer(name, params, p, seeds=seeds_for(p), guidance=guidance_for(name, p))


def assert_distributions(found: Tensor) -> None:
    assert (found >= 0).all()
    assert (found.sum(dim=1) - 1).abs().max() <= SUMS[found.dtype]


@pytest.mark.parametrize("K", [2, 3, 7, 50])
@pytest.mark.parametrize("dtype", SUMS, ids=str)
@pytest.mark.parametrize(("name", "params"), EVERY)
def test_answers_are_distributions_of_the_same_shape_and_type(
    name: str, params: Params, dtype: torch.dtype, K: int
) -> None:
    p = posteriors(K, dtype)
    found = answers(name, params, p)
    assert found.shape == p.shape
    assert found.dtype == dtype
    assert_distributions(found)


@pytest.mark.parametrize("K", [2, 50])
@pytest.mark.parametrize("dtype", SUMS, ids=str)
@pytest.mark.parametrize(("name", "params"), EVERY)
def test_nothing_asked_is_nothing_answered(name: str, params: Params, dtype: torch.dtype, K: int) -> None:
    p = torch.empty(0, K, dtype=dtype)
    guidance = torch.empty(0, K, dtype=dtype) if BASELINES[name].guided else None
    found = answer(name, params, p, seeds=torch.empty(0, dtype=torch.int64), guidance=guidance)
    assert found.shape == (0, K)
    assert found.dtype == dtype


@pytest.mark.parametrize("dtype", SUMS, ids=str)
@pytest.mark.parametrize(("name", "params"), EVERY)
def test_what_is_handed_in_is_not_written_to(name: str, params: Params, dtype: torch.dtype) -> None:
    p = posteriors(7, dtype)
    seeds, guidance = seeds_for(p), guidance_for(name, p)
    handed = [p, seeds, *([] if guidance is None else [guidance])]
    before = [tensor.clone() for tensor in handed]
    answer(name, params, p, seeds=seeds, guidance=guidance)
    assert all(torch.equal(now, then) for now, then in zip(handed, before, strict=True))


@pytest.mark.parametrize("dtype", SUMS, ids=str)
@pytest.mark.parametrize(("name", "params"), EVERY)
def test_answers_stand_in_the_order_of_the_questions(name: str, params: Params, dtype: torch.dtype) -> None:
    p = posteriors(7, dtype)
    guidance = guidance_for(name, p)
    order = torch.randperm(len(p), generator=torch.Generator().manual_seed(2))
    found = answer(
        name,
        params,
        p[order],
        seeds=seeds_for(p)[order],
        guidance=None if guidance is None else guidance[order],
    )
    torch.testing.assert_close(found, answers(name, params, p)[order], atol=NEAR[dtype], rtol=0)


@pytest.mark.parametrize("dtype", SUMS, ids=str)
@pytest.mark.parametrize(("name", "params"), EVERY)
def test_an_answer_does_not_depend_on_what_else_is_asked(name: str, params: Params, dtype: torch.dtype) -> None:
    p = posteriors(7, dtype)
    guidance, together = guidance_for(name, p), answers(name, params, p)
    for row in range(0, len(p), 3):
        one = slice(row, row + 1)
        guide = None if guidance is None else guidance[one]
        alone = answer(name, params, p[one], seeds=seeds_for(p)[one], guidance=guide)
        torch.testing.assert_close(alone, together[one], atol=NEAR[dtype], rtol=0)


@pytest.mark.parametrize(("name", "params"), EVERY)
def test_double_precision_gives_the_same_answers(name: str, params: Params) -> None:
    p = posteriors(7, torch.float32, ("likely", "one_hot", "zeros"))
    exact = answer(name, params, p.double(), seeds=seeds_for(p), guidance=guidance_for(name, p.double()))
    # classes may be level in one of them only: 0.1 % back
    tolerance = 1e-3 if name == "modelguard_w" else 1e-5
    torch.testing.assert_close(answers(name, params, p).double(), exact, atol=tolerance, rtol=0)


@pytest.mark.parametrize("K", [2, 7, 50])
@pytest.mark.parametrize("dtype", SUMS, ids=str)
@pytest.mark.parametrize(("name", "params"), PROMISED)
def test_no_answer_is_further_away_than_was_promised(
    name: str, params: Params, dtype: torch.dtype, K: int
) -> None:
    p = posteriors(K, dtype)
    moved = (answers(name, params, p) - p).abs().sum(dim=1)
    assert moved.max() <= params["epsilon"] + {torch.float32: 1e-6, torch.float64: 1e-14}[dtype]
    assert moved.max() >= 0.4 * params["epsilon"]


def test_defenses_with_an_epsilon_are_those_that_promise_one() -> None:
    assert {str(case.values[0]) for case in PROMISED} == {"random_mix", "mad", "grad2", "modelguard_w"}


@pytest.mark.parametrize("K", [2, 7, 50])
@pytest.mark.parametrize("dtype", SUMS, ids=str)
@pytest.mark.parametrize(("name", "params"), IDENTITIES)
def test_a_budget_of_nothing_changes_nothing(name: str, params: Params, dtype: torch.dtype, K: int) -> None:
    p = posteriors(K, dtype)
    if name == "adaptive_misinformation":
        p = p[p.max(dim=1).values >= 0.05]  # below, 1/(1 + exp(1000 max p)) is not quite nothing
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-10}[dtype]
    torch.testing.assert_close(answers(name, params, p), p, atol=tolerance, rtol=0)


@pytest.mark.parametrize("dtype", SUMS, ids=str)
@pytest.mark.parametrize("name", ["none", "random_mix", "mad", "grad2"])
def test_where_nothing_is_computed_not_a_bit_changes(name: str, dtype: torch.dtype) -> None:
    p = posteriors(7, dtype)
    assert torch.equal(answers(name, {} if name == "none" else {"epsilon": 0}, p), p)


@pytest.mark.parametrize("dtype", SUMS, ids=str)
@pytest.mark.parametrize(("name", "params"), RANDOMIZED)
def test_who_asks_twice_hears_the_same(name: str, params: Params, dtype: torch.dtype) -> None:
    p = posteriors(7, dtype)
    first = Release(name, params)(p, seeds=seeds_for(p))
    torch.rand(5)  # whatever is drawn elsewhere
    assert torch.equal(Release(name, params)(p, seeds=seeds_for(p)), first)


@pytest.mark.parametrize("dtype", SUMS, ids=str)
@pytest.mark.parametrize(("name", "params"), RANDOMIZED)
def test_another_seed_is_another_answer_to_that_question_only(
    name: str, params: Params, dtype: torch.dtype
) -> None:
    p = posteriors(50, dtype, ("likely", "unsure", "zeros"))
    seeds, others = seeds_for(p), seeds_for(p, first=100)
    same = torch.arange(len(p)) % 2 == 0
    first, second = (Release(name, params)(p, seeds=drawn) for drawn in (seeds, torch.where(same, seeds, others)))
    assert torch.equal(first[same], second[same])
    differ = (first[~same] != second[~same]).any(dim=1)
    assert differ.sum() >= len(differ) - 1  # the same of 49 classes may be drawn again


@pytest.mark.parametrize(("name", "params"), RANDOMIZED)
def test_drawing_leaves_the_chance_of_others_alone(name: str, params: Params) -> None:
    p = posteriors(7, torch.float32)
    before = torch.get_rng_state()
    Release(name, params)(p, seeds=seeds_for(p))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", BASELINES)
def test_the_table_says_what_a_defense_takes(name: str) -> None:
    known = BASELINES[name]
    takes = {*known.settings, *([known.budget.name] if known.budget else ())} - NAMES  # around it
    takes |= {"classes", "generator"} if known.linear else {"posteriors"}
    takes |= {"floor"} & set(known.forms)  # the other forms are of what happens before it answers
    takes |= {word for word, wanted in {"seeds": known.randomized, "guidance": known.guided}.items() if wanted}
    assert set(inspect.signature(known.function).parameters) == takes
    assert known.guided in (None, "surrogate", "misinformer")


def test_no_file_hides_a_function_of_its_name() -> None:
    for file in pkgutil.iter_modules(defenses.__path__, "emma_tune.defenses."):
        importlib.import_module(file.name)
    assert inspect.isfunction(defenses.control_matrix)


@pytest.mark.parametrize("name", BASELINES)
def test_the_grid_lies_within_the_budget(name: str) -> None:
    known = BASELINES[name].budget
    if known is None:
        return
    assert list(known.grid) == sorted(set(known.grid))
    assert all(value == int(value) for value in known.grid) or not known.whole
    for value in (*known.grid, *(() if known.identity is None else (known.identity,))):
        assert known.low <= value <= (float("inf") if known.high is None else known.high)
    assert known.identity not in known.grid


def test_argmax_releases_one_on_the_top_class_and_zero_elsewhere() -> None:
    p = posteriors(7, torch.float32)
    for found, sample in zip(Release("argmax", {})(p).tolist(), p.tolist(), strict=True):
        top = max(range(7), key=sample.__getitem__)
        assert found == [float(k == top) for k in range(7)]


def test_argmax_takes_the_first_of_equal_classes() -> None:
    p = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.1, 0.4]])
    assert Release("argmax", {})(p).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


def test_argmax_keeps_the_number_of_classes_when_the_last_never_wins() -> None:
    assert Release("argmax", {})(torch.tensor([[0.9, 0.1, 0.0]])).tolist() == [[1, 0, 0]]


def test_the_controls_are_the_linear_ones() -> None:
    assert sorted(CONTROLS) == sorted(LINEAR)


@pytest.mark.parametrize("a", [0, 0.15, 0.5, 1])
@pytest.mark.parametrize("K", [2, 3, 10, 50])
@pytest.mark.parametrize("name", LINEAR)
def test_a_control_is_a_transition_matrix_of_the_trace_that_was_asked_for(name: str, K: int, a: float) -> None:
    T = control_matrix(name, {"a": a}, K, seed=3)
    assert T.shape == (K, K)
    assert_distributions(T)
    assert float(T.trace()) == pytest.approx(K * (1 - a) + (a if name == "uniform" else 0), abs=1e-5)
    if a == 0:
        assert torch.equal(T, torch.eye(K))


@pytest.mark.parametrize("name", LINEAR)
def test_the_seed_decides_what_matrix_is_drawn(name: str) -> None:
    drawn = [control_matrix(name, {"a": 0.3}, 10, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2]) == (name == "uniform")


@pytest.mark.parametrize("dtype", SUMS, ids=str)
@pytest.mark.parametrize("name", LINEAR)
def test_a_control_answers_with_the_plain_sum_over_classes(name: str, dtype: torch.dtype) -> None:
    p = posteriors(7, dtype)
    T = control_matrix(name, {"a": 0.3}, 7, seed=7).tolist()
    for sample, found in zip(p.tolist(), answers(name, {"a": 0.3}, p).tolist(), strict=True):
        assert found == pytest.approx([sum(sample[i] * T[i][j] for i in range(7)) for j in range(7)], abs=1e-6)
