"""Remarks on what a study asks for in vain: more than its images have, or what something plainer would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emma_tune.attacks import PLAIN
from emma_tune.defenses.around import OF_STEPS
from emma_tune.study import Study


def remarks_on_sizes(study: Study, counts: Mapping[str, int], classes: int) -> list[str]:
    """Say which limits are above what there is, and which attackers, defenses, steps change nothing; a line each.

    Args:
        study: the study.
        counts: images in the parts, of which `train` and `queries` are read.
        classes: K.
    """
    return [
        *_limits(study, counts["train"], counts["queries"]),
        *_no_fresh_noise(study),
        *_identities(study, classes),
        *_idle(study, classes),
    ]


def _limits(study: Study, train: int, pool: int) -> Iterator[str]:
    if study.victim.limit and study.victim.limit > train:
        yield f"victim.limit is {study.victim.limit:,}, but there are {train:,} images to train on"
    if study.queries.limit and study.queries.limit > pool:
        yield f"queries.limit is {study.queries.limit:,}, but the pool has {pool:,} images"
    for name, attacker in study.attackers.items():
        queries, attack = attacker.queries, attacker.attack
        if queries and queries > attack.budget(queries, pool):
            yield f"attackers.{name}.queries is {queries:,}, but the pool has {pool:,} images"
        if queries and queries >= pool and attack.asks == "part":
            yield f"attackers.{name}: no image of the pool is left unanswered, so it equals {attacker.targets}"


def _no_fresh_noise(study: Study) -> Iterator[str]:
    """Find the attackers that average noise where no defense draws any for each answer."""
    if not any(baseline.fresh for baseline in study.baselines):
        for name, attacker in study.attackers.items():
            if attacker.attack.asks == "again":
                yield f"attackers.{name}: no defense here draws fresh noise, so it equals {PLAIN}"


def _identities(study: Study, classes: int) -> Iterator[str]:
    """Find the baselines that are the undefended victim by another name."""
    for baseline in study.baselines:
        if baseline.exposure or baseline.then:
            continue  # what is released for τ = 0 is another network's answer; a second step changes p, too
        for name, dimension in baseline.space.items():
            parameter = baseline.parameter(name)
            same = [f"{value:g}" for value in dimension.grid() if parameter.is_identity(value, classes)]
            if same:
                yield (
                    f"baselines: {baseline.kind} with {name} {', '.join(same)} releases p itself, of "
                    f"{classes:,} classes: the same as none"
                )


def _idle(study: Study, classes: int) -> Iterator[str]:
    """Find the second steps that keep every class."""
    spaces = {of.kind: of.space for of in study.baselines} | {study.defense.kind: study.search.space.dimensions}
    for kind, space in spaces.items():
        for name, parameter in OF_STEPS.items():
            values = space[name].grid() if name in space else ()
            if same := [f"{value:g}" for value in values if parameter.is_identity(value, classes)]:
                with_these = f"{kind} with {name} {', '.join(same)}"
                yield f"{with_these}: its second step changes nothing, of {classes:,} classes"
