"""The sentences of a report: question and answer, with the numbers of the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emma_tune.attacks import ATTACKS
from emma_tune.config import SEARCHED
from emma_tune.report.facts import NOTHING, Facts, worst_attacker
from emma_tune.results.intervals import ENOUGH


def percent(share: float) -> str:
    """Show 0.987 as 98.7 %."""
    return f"{100 * share:.1f} %"


def points_of(share: float) -> str:
    """Show 0.013 as 1.3 points."""
    return f"{100 * share:.1f} points"


def counted(count: int, what: str) -> str:
    """Count things: 1 seed, 2 seeds."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def listed(names: list[str]) -> str:
    """List names: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def parameters(params: Mapping[str, Any]) -> str:
    """List the parameters of a point on one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in params.items())


def named(point: Mapping[str, Any]) -> str:
    """Name a point by its number, defense and parameters."""
    inside = ", ".join(filter(None, [point["defense"], parameters(point["params"])]))
    return f"point {point['point']} ({inside})"


def question(facts: Facts) -> list[str]:
    """Say what is attacked, by whom, and what the study asks; one paragraph each."""
    study = facts.study
    pool = f"{study.queries.limit:,} images of {study.queries.dataset}" if study.queries.limit else ""
    pool = pool or f"all images of {study.queries.dataset}"
    attackers = "one attacker does" if len(study.attackers) == 1 else f"{len(study.attackers)} attackers do"
    limit = study.limits.accuracy_drop
    within = "" if limit is None else f", if the victim may lose no more than {points_of(limit)} of accuracy"
    others = sorted({baseline.kind for baseline in study.baselines} - {NOTHING})
    beside = f", and compares it with {counted(len(others), 'other defense')} ({listed(others)})" if others else ""
    return [
        f"A {study.victim.model} trained on {study.victim.dataset} answers queries. An attacker sends it {pool} "
        f"and trains a clone on the answers; {attackers} so here. The defender can release less precise answers, "
        "which makes clones worse and the answers less useful.",
        f"How far does a defense lower the accuracy of the worst clone, and at what cost{within}? The study "
        f"searches {SEARCHED}, which releases p′ = pT with one learned matrix T{beside}.",
    ]


def knowledge(facts: Facts) -> dict[str, str]:
    """Say what each attacker knows and uses, by name."""
    return {
        name: f"{ATTACKS[attacker.kind].knows}; "
        + (f"sends {attacker.queries:,} queries, " if attacker.queries else "")
        + f"trains {attacker.model}"
        + (f" as {attacker.kind}" if attacker.kind != name else "")
        for name, attacker in facts.study.attackers.items()
    }


def answer(facts: Facts) -> list[str]:
    """Answer in three sentences: without a defense, with the best one, and what that is worth.

    While nothing is finished they say so, and how far the study is.
    """
    if not facts.best["finished"]:
        counts = facts.status["points"]
        return [
            f"No point is finished yet: of {counted(counts['asked'], 'point')}, {counts['dominated']} stopped and "
            f"{counts['failed']} failed."
        ]
    worth = (_worst(facts), _searched(facts), _controls(facts), _seeds(facts))
    return [_undefended(facts), _best(facts), " ".join(filter(None, worth))]


def _undefended(facts: Facts) -> str:
    chance = f"guessing reaches {percent(facts.chance)}" if facts.chance else "what guessing reaches is unknown"
    if not facts.undefended:
        return f"The clone without a defense is unknown, because no such point is finished; {chance}."
    return (
        f"Without a defense the worst clone, the most accurate one of any attacker, reaches "
        f"{percent(facts.undefended['attacker_accuracy'])} on the victim's test images; the victim itself reaches "
        f"{percent(facts.undefended['victim_accuracy'])}; {chance}."
    )


def _best(facts: Facts) -> str:
    chosen, nearest = facts.chosen, facts.best["nearest"]
    within = " within the limits" if facts.best["bounds"] else ""
    if chosen is None:
        over = listed([f"{name} by {value:.3f}" for name, value in nearest["excess"].items()])
        return (
            f"None of {counted(facts.best['finished'], 'finished point')} is within the limits. The closest, "
            f"{named(nearest)}, exceeds {over} on validation images; its worst clone reaches "
            f"{percent(nearest['attacker_accuracy'])}."
        )
    if chosen["defense"] == NOTHING:
        of = f"{counted(facts.best['candidates'], 'finished point')}{within}"
        return f"No defense helps: by validation figures, none of {of} lowers the accuracy of the worst clone."
    costs = (
        f"a budget of l1 {chosen['l1']:.3f} (of at most 2) and {points_of(chosen['accuracy_drop'])} of the "
        "victim's accuracy"
    )
    if not facts.helps:
        return (
            f"No defense helps: with the best point{within}, {named(chosen)}, the worst clone still reaches "
            f"{percent(chosen['attacker_accuracy'])}, at most one point less than without a defense. It costs "
            f"{costs}."
        )
    by = f", {points_of(facts.gain)} less than without a defense" if facts.gain is not None else ""
    return (
        f"With the best point{within}, {named(chosen)}, the worst clone reaches "
        f"{percent(chosen['attacker_accuracy'])}{by}. It costs {costs}."
    )


def _worst(facts: Facts) -> str:
    point = facts.chosen or facts.best["nearest"]
    attacker = worst_attacker(point)
    knows = ATTACKS[facts.study.attackers[attacker].kind].knows
    return f"Its worst attacker is {attacker}, which knows {knows}: {percent(point['attackers'][attacker])}."


def _searched(facts: Facts) -> str:
    """Say what the searched defense reaches where another one is the best."""
    best = facts.searched
    if best is None or facts.learned:
        return ""
    return (
        f"With the best point of {SEARCHED} within the limits, {named(best)}, the worst clone reaches "
        f"{percent(best['attacker_accuracy'])} at l1 {best['l1']:.3f}."
    )


def _controls(facts: Facts) -> str:
    """Say what matrices reach that were not learned."""
    control, chosen = facts.control, facts.chosen
    if control is None:
        missing = "No control (a matrix that was not learned) is finished within the limits."
        return missing if facts.learned else ""
    found = (
        f"With a control, a matrix that was not learned, {named(control)}, the worst clone reaches "
        f"{percent(control['attacker_accuracy'])} at l1 {control['l1']:.3f}"
    )
    if facts.learned and chosen and control["l1"] <= chosen["l1"]:
        better = control["attacker_accuracy"] <= chosen["attacker_accuracy"]
        found += ": no more cost and no better clone, so that learning is not the cause" if better else ""
    return f"{found}."


def _seeds(facts: Facts) -> str:
    count = len(facts.study.seeds)
    if count >= ENOUGH:
        return f"All figures are means over {count} seeds."
    return f"{counted(count, 'seed')}: too few to judge differences, for which {ENOUGH} are needed."
