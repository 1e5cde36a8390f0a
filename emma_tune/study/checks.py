"""What must fit together in a study, once each of its parts has been read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from emma_tune.attacks import ATTACKS, kinds_with, targets
from emma_tune.defenses import DEFENSES
from emma_tune.defenses.around import unmatched
from emma_tune.storage.redaction import has_secret
from emma_tune.storage.versions import plain, versions_in
from emma_tune.study.fields import misplaced
from emma_tune.study.measures import measure
from emma_tune.study.parts import KNOWLEDGE
from emma_tune.study.plugged import REGISTERED
from emma_tune.study.search import check_finite
from emma_tune.study.victims import AnsweredVictim

if TYPE_CHECKING:
    from emma_tune.study.study import Study


def check_names(study: Study) -> None:
    """Raise unless every name that a study uses is of this package, or of its own plug-ins.

    Others may be in the tables, since a process can read several studies.
    """
    own = study.plugged
    for place, name in _names(study):
        if versions_in(name) or (name in REGISTERED and name not in own):
            raise misplaced(
                place, f"expected a known name, found {name!r}, which no plug-in of the study declares"
            )


def _names(study: Study) -> Iterator[tuple[str, str]]:
    """Yield the names of a study out of tables that plug-ins add to, each with its place."""
    yield "victim.dataset", study.victim.dataset
    yield "victim.model", study.victim.network or ""
    yield "queries.dataset", study.queries.dataset
    yield "surrogate.model", study.surrogate.model
    yield "defense.kind", study.defense.kind
    yield from ((f"baselines.{number}", baseline.kind) for number, baseline in enumerate(study.baselines))
    yield from ((f"attackers.{name}", attacker.kind) for name, attacker in study.attackers.items())
    yield from ((f"attackers.{name}.targets", attacker.targets) for name, attacker in study.attackers.items())
    yield from ((f"attackers.{name}.model", attacker.model) for name, attacker in study.attackers.items())
    yield from ((f"objectives.{name}", name) for name in study.objectives)
    yield from ([study.exposure] if study.exposure else [])


def refuse_secrets(study: Study) -> None:
    """Refuse passwords: a study is recorded and shown in reports."""
    weights = {f"attackers.{name}.weights": attacker.weights for name, attacker in study.attackers.items()}
    given = {
        "store": study.store,
        "data_root": study.data_root,
        "victim.dataset": study.victim.dataset,
        "queries.dataset": study.queries.dataset,
        **({f"victim.{study.victim.file[0]}": str(study.victim.file[1])} if study.victim.file else {}),
        **({"victim.weights": study.victim.training.weights} if study.victim.training else {}),
        "surrogate.weights": study.surrogate.weights,
        **weights,
        **dict([study.exposure] if study.exposure else []),
    }
    for place, address in given.items():
        if address and has_secret(address):
            raise misplaced(
                place,
                "expected an address without a password (use environment variables such as "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), found one with a password",
            )


OTHER_IMAGES = {
    "views": "which asks augmented views of them",
    "again": "which asks each of them several times",
    "made": "which asks images of its own making",
}
"""What attackers ask besides the queries themselves, by `Attack.asks`."""


def check_answers_suffice(study: Study) -> None:
    """Refuse attackers that ask other images than those that were answered."""
    for name, attacker in study.attackers.items():
        asks = OTHER_IMAGES.get(attacker.attack.asks)
        if isinstance(study.victim, AnsweredVictim) and asks:
            raise misplaced(
                f"attackers.{name}.kind",
                "expected an attacker that asks the queries themselves, since of the victim only answers to "
                f"those are known (victim.answers), found {attacker.kind}, {asks}",
            )


def check_own_fields(study: Study) -> None:
    """Refuse fields that an attacker of this kind, with its targets, does not use."""
    own = dict.fromkeys(field for attack in ATTACKS.values() for field in attack.fields)
    for name, attacker in study.attackers.items():
        for field in own:
            given = getattr(attacker, field) != type(attacker).model_fields[field].default
            if given and field not in attacker.attack.fields:
                kinds = plain(kinds_with(field))
                of = " or ".join(part for part in (", ".join(kinds[:-1]), kinds[-1]) if part)
                if "targets" in attacker.attack.fields and set(kinds) & set(targets()):
                    of += f", or with {'targets of one of these' if len(kinds) > 1 else 'its targets'}"
                found = attacker.kind if field == "targets" else attacker.described
                raise misplaced(f"attackers.{name}.{field}", f"expected {field} only of {of}, found it of {found}")


def check_queries(study: Study) -> None:
    """Refuse too few queries for what an attacker does with them, and to ask only once who averages."""
    for name, attacker in study.attackers.items():
        attack, place = attacker.attack, f"attackers.{name}"
        if attack.asks == "again" and attacker.views < 2:
            raise misplaced(f"{place}.views", f"expected at least 2, found {attacker.views}")
        if attack.asks not in ("chosen", "part", "made"):
            continue
        if attacker.queries is None and attack.asks != "made":
            raise misplaced(
                f"{place}.queries", f"expected how many queries of the pool {attacker.kind} asks, found none"
            )
        fewest = 2 * (attacker.rounds or attack.rounds) if attack.asks == "chosen" else 2
        if attacker.queries is not None and attacker.queries < fewest:
            raise misplaced(f"{place}.queries", f"expected at least {fewest}, found {attacker.queries}")


def check_knowledge(study: Study) -> None:
    """Refuse an attacker that knows less than it needs."""
    for name, attacker in study.attackers.items():
        attack, expected = attacker.attack, None
        if attack.needs_matrix and "defense" not in attacker.knows:
            expected = f"defense among them, since {attacker.described} knows its matrix"
        elif attack.knows_defense == "gate" and not attack.needs_matrix and "gate" not in attacker.knows:
            expected = f"gate among them, since {attacker.described} uses nothing else"
        elif attack.knows_defense == "all" and not attacker.knows:
            expected = f"any of {', '.join(KNOWLEDGE)}"
        if expected:
            found = ", ".join(attacker.knows) or "an empty list"
            raise misplaced(f"attackers.{name}.knows", f"expected {expected}, found {found}")


def check_grids(study: Study) -> None:
    """Refuse ranges for the grid sampler, which needs finitely many values."""
    if study.search.sampler == "grid":
        for index, baseline in enumerate(study.baselines):
            for budget in baseline.space.values():
                check_finite(budget, f"baselines.{index}")


def check_space(study: Study) -> None:
    """Raise unless the space has the parameters of the defense, but for optional ones, and no others."""
    given, known = set(study.search.space.given), DEFENSES[study.versioned(study.defense.kind)].parameters
    left_out = {parameter.name for parameter in known if parameter.optional} - given
    wanted = {parameter.name for parameter in known} - left_out
    for name in sorted(wanted ^ given):
        expected, found = ("a value", "none") if name in wanted else ("no such parameter", name)
        raise misplaced(f"search.space.{name}", f"expected {expected} of {study.defense.kind}, found {found}")
    if (wrong := unmatched(given, study.defense.then)) is not None:
        raise misplaced(f"search.space.{wrong[0]}", wrong[1])


def check_acting(study: Study) -> None:
    """Refuse to bound or to minimize the share of answers that a gate lets a defense act on, without a gate."""
    named = {**{f"limits.{n}": n for n in study.limits.bounds}, **{f"objectives.{n}": n for n in study.objectives}}
    for place, name in named.items():
        if measure(name).gated and not study.gated:
            raise misplaced(
                place,
                "expected a gate beside it (search.space.gate, or gate of a baseline), since without one a "
                "defense acts on every answer, found none",
            )


def check_against(study: Study) -> None:
    """Refuse to learn a matrix of full rank against who inverts it: whatever it is, that attacker has p."""
    if "inverse" in study.defense.against and "rank" not in study.search.space.dimensions:
        raise misplaced(
            "defense.against.inverse",
            "expected search.space.rank beside it, below the number of classes, since the inverse of any other "
            "matrix gives p back, found none",
        )


def check_epochs(study: Study) -> None:
    """Raise unless an epoch of the matrix is left after the latest `st_epoch`."""
    latest = max(study.search.space.st_epochs)
    if latest > study.surrogate.epochs:
        raise misplaced(
            "search.space.st_epoch",
            f"expected at most surrogate.epochs = {study.surrogate.epochs}, found {latest}",
        )
    if latest >= study.defense.epochs:
        raise misplaced(
            "search.space.st_epoch",
            f"expected less than defense.epochs = {study.defense.epochs}, so that an epoch of the matrix "
            f"is left, found {latest}",
        )


CHECKS: tuple[Callable[[Study], None], ...] = (
    check_names,
    refuse_secrets,
    check_answers_suffice,
    check_own_fields,
    check_queries,
    check_knowledge,
    check_grids,
    check_space,
    check_acting,
    check_against,
    check_epochs,
)
"""In this order; the first that finds something is reported."""
