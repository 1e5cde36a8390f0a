"""The sentences of a report: what is asked, and what came out, with the numbers of the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emma_tune.attacks import ATTACKS
from emma_tune.config import SEARCHED
from emma_tune.report.facts import NOTHING, Facts, worst_thief
from emma_tune.results.intervals import ENOUGH


def percent(share: float) -> str:
    """0.987 as 98.7 %."""
    return f"{100 * share:.1f} %"


def points_of(share: float) -> str:
    """A difference of accuracies: 0.013 as 1.3 points."""
    return f"{100 * share:.1f} points"


def counted(count: int, what: str) -> str:
    """1 seed, 2 seeds."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def listed(names: list[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def parameters(params: Mapping[str, Any]) -> str:
    """Parameters of a point on one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in params.items())


def named(point: Mapping[str, Any]) -> str:
    """A point by its number, its defence and its parameters."""
    inside = ", ".join(filter(None, [point["defense"], parameters(point["params"])]))
    return f"point {point['point']} ({inside})"


def question(facts: Facts) -> list[str]:
    """What is attacked, by whom, and what is asked; one paragraph each."""
    study = facts.study
    pool = f"{study.queries.limit:,} images of {study.queries.dataset}" if study.queries.limit else ""
    pool = pool or f"all images of {study.queries.dataset}"
    thieves = "one thief tries" if len(study.attackers) == 1 else f"{len(study.attackers)} thieves try"
    limit = study.limits.accuracy_drop
    within = "" if limit is None else f", as long as the victim loses no more than {points_of(limit)} of accuracy"
    others = sorted({baseline.kind for baseline in study.baselines} - {NOTHING})
    beside = f", and of {counted(len(others), 'other defence')} ({listed(others)})" if others else ""
    return [
        f"A {study.victim.model} that was trained on {study.victim.dataset} answers whoever asks. A thief asks it "
        f"{pool} and trains a clone on the answers; {thieves} that here. The defender can answer less precisely, "
        "and pays with answers that are worth less.",
        f"How far down does a defence bring the best clone of any thief, and at what cost{within}? Asked of "
        f"{SEARCHED}, which releases p′ = pT with one learned matrix T{beside}.",
    ]


def knowledge(facts: Facts) -> dict[str, str]:
    """What each thief knows and uses, by name."""
    return {
        name: f"{ATTACKS[thief.kind].knows}; "
        + (f"asks {thief.queries:,} queries, " if thief.queries else "")
        + f"trains {thief.model}"
        + (f" as {thief.kind}" if thief.kind != name else "")
        for name, thief in facts.study.attackers.items()
    }


def answer(facts: Facts) -> list[str]:
    """Three sentences: without a defence, with the best one, and what that is worth.

    While nothing is finished they say so, and how far the study is.
    """
    if not facts.best["finished"]:
        counts = facts.status["points"]
        return [
            f"Nothing is finished yet: none of {counted(counts['asked'], 'point')} that were asked has all its "
            f"figures ({counts['dominated']} stopped as dominated, {counts['failed']} failed)."
        ]
    worth = (_worst(facts), _searched(facts), _controls(facts), _seeds(facts))
    return [_undefended(facts), _best(facts), " ".join(filter(None, worth))]


def _undefended(facts: Facts) -> str:
    chance = f"guessing reaches {percent(facts.chance)}" if facts.chance else "what guessing reaches is not known"
    if not facts.undefended:
        return f"What a clone reaches without a defence is not known, as no such point is finished; {chance}."
    return (
        "Without a defence the worst clone, that of the most successful thief, reaches "
        f"{percent(facts.undefended['attacker_accuracy'])} on the victim's test "
        f"images, the victim itself {percent(facts.undefended['victim_accuracy'])}; {chance}."
    )


def _best(facts: Facts) -> str:
    chosen, nearest = facts.chosen, facts.best["nearest"]
    within = " within the limits" if facts.best["bounds"] else ""
    if chosen is None:
        over = listed([f"{name} by {value:.3f}" for name, value in nearest["excess"].items()])
        return (
            f"None of {counted(facts.best['finished'], 'finished point')} keeps the limits; {named(nearest)} "
            f"comes nearest, exceeds {over} on validation data, and leaves the worst clone at "
            f"{percent(nearest['attacker_accuracy'])}."
        )
    if chosen["defense"] == NOTHING:
        return (
            f"No defence helps: of {counted(facts.best['candidates'], 'finished point')}{within} none has a worse "
            "worst clone than the undefended victim, by validation figures."
        )
    costs = (
        f"a budget of l1 {chosen['l1']:.3f} (of at most 2) and {points_of(chosen['accuracy_drop'])} of the "
        "victim's accuracy"
    )
    if not facts.helps:
        return (
            f"No defence helps: even the best point{within}, {named(chosen)}, leaves the worst clone at "
            f"{percent(chosen['attacker_accuracy'])}, within one point of no defence or above it, and costs "
            f"{costs}."
        )
    by = f", {points_of(facts.gain)} less" if facts.gain is not None else ""
    return (
        f"The best point{within}, {named(chosen)}, leaves the worst clone at "
        f"{percent(chosen['attacker_accuracy'])}{by}, and costs {costs}."
    )


def _worst(facts: Facts) -> str:
    point = facts.chosen or facts.best["nearest"]
    thief = worst_thief(point)
    knows = ATTACKS[facts.study.attackers[thief].kind].knows
    return f"Its worst thief is {thief}, who knows {knows}: {percent(point['attackers'][thief])}."


def _searched(facts: Facts) -> str:
    """What the searched defence reaches, where another one is the best."""
    best = facts.searched
    if best is None or facts.learned:
        return ""
    return (
        f"The best of {SEARCHED} within the limits, {named(best)}, leaves the worst clone at "
        f"{percent(best['attacker_accuracy'])} for l1 {best['l1']:.3f}."
    )


def _controls(facts: Facts) -> str:
    """What matrices that nobody learned reach."""
    control, chosen = facts.control, facts.chosen
    if control is None:
        return "No control (a matrix that nobody learned) is finished within the limits." if facts.learned else ""
    told = (
        f"Of the controls, matrices that nobody learned, {named(control)} leaves the worst clone at "
        f"{percent(control['attacker_accuracy'])} for l1 {control['l1']:.3f}"
    )
    if facts.learned and chosen and control["l1"] <= chosen["l1"]:
        better = control["attacker_accuracy"] <= chosen["attacker_accuracy"]
        told += ": no more cost and no better clone, so that learning is not the cause" if better else ""
    return f"{told}."


def _seeds(facts: Facts) -> str:
    count = len(facts.study.seeds)
    if count >= ENOUGH:
        return f"All of it is the mean over {count} seeds."
    return f"{counted(count, 'seed')}: too few to speak of differences ({ENOUGH} are enough)."
