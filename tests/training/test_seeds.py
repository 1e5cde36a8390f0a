"""Seeds have names: the same name gives the same seed, another name another seed."""

import hashlib

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emma_tune.training.seeds import derive_seed, generator

names = st.lists(st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"])) | st.integers(0, 999))
seeds = st.integers(0, 2**63 - 1)


def test_is_stable() -> None:
    # a changed value would silently change every study that is continued
    assert derive_seed(3407, "victim", "order", 0) == 8838479160194894888


@settings(deadline=None)
@given(seed=seeds, name=names)
def test_is_63_bits_of_a_hash(seed: int, name: list[str | int]) -> None:
    digits = hashlib.sha256("/".join(map(str, [seed, *name])).encode()).hexdigest()
    derived = derive_seed(seed, *name)
    assert derived == int(digits[:16], 16) // 2
    assert 0 <= derived < 2**63


@settings(deadline=None)
@given(seed=seeds, one=names, other=names)
def test_other_names_give_other_seeds(seed: int, one: list[str | int], other: list[str | int]) -> None:
    same = [str(part) for part in one] == [str(part) for part in other]
    assert (derive_seed(seed, *one) == derive_seed(seed, *other)) == same


def test_all_seeds_of_a_study_differ() -> None:
    derived = [
        derive_seed(seed, role, purpose, epoch)
        for seed in (1, 11, 3407)
        for role in ("victim", "surrogate", "matrix", "attacker")
        for purpose in ("order", "augmentation")
        for epoch in range(50)
    ]
    assert len(set(derived)) == len(derived)


def test_a_generator_repeats_and_leaves_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    draws = [torch.rand(4, generator=generator(7, name)) for name in ("order", "order", "augmentation")]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.get_rng_state(), before)
