"""The sentences of a report: question and answer, with the numbers of the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from emma_tune.attacks import ATTACKS
from emma_tune.outputs.report.facts import NOTHING, Facts, worst_attacker
from emma_tune.outputs.report.rows import cheap_first
from emma_tune.outputs.words import in_points, is_or_are, listed, numbered, parameters, percent, plural
from emma_tune.results.intervals import MIN_PAIRS
from emma_tune.study.measures import ATTACKERS, value_of

MANY = 8
"""Points from which on they are counted rather than listed."""


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
    within = "" if limit is None else f", if the victim may lose no more than {in_points(limit)} of accuracy"
    budget, attack = study.axes
    others = sorted({baseline.kind for baseline in study.baselines} - {NOTHING})
    beside = f", and compares it with {plural(len(others), 'other defense')} ({listed(others)})" if others else ""
    return [
        f"A {study.victim.model} trained on {study.victim.dataset} answers queries. An attacker sends it {pool} "
        f"and trains a clone on the answers; {attackers} so here. The defender can release less precise answers, "
        "which makes clones worse and the answers less useful.",
        f"How far does a defense lower the {attack.label}, and at what cost ({budget.axis()}){within}? The study "
        f"searches {study.defense.kind}, which releases p′ = pT with one learned matrix T{beside}.",
    ]


def knowledge(facts: Facts) -> dict[str, str]:
    """Say what each attacker knows and uses, by name."""
    return {
        name: f"{ATTACKS[attacker.kind].knows}; "
        + (f"sends {attacker.queries:,} queries, " if attacker.queries else "")
        + f"trains {attacker.model}"
        + (f" as {attacker.kind}" if attacker.kind != name else "")
        + ("" if attacker.counts else "; attacks only baselines and points on a front")
        for name, attacker in facts.study.attackers.items()
    }


def answer(facts: Facts) -> list[str]:
    """Answer in a few sentences: without a defense, with the best one, along the fronts, and what that is worth.

    While nothing is finished they say so, and how far the study is.
    """
    if not facts.best["finished"]:
        counts = facts.status["points"]
        return [
            f"No point is finished yet: of {plural(counts['asked'], 'point')}, {counts['dominated']} stopped and "
            f"{counts['failed']} failed."
        ]
    worth = (_worst(facts), _searched(facts), _controls(facts), _seeds(facts))
    paragraphs = (_undefended(facts), _best(facts), " ".join(_fronts(facts)), " ".join(filter(None, worth)))
    return [paragraph for paragraph in paragraphs if paragraph]


def _undefended(facts: Facts) -> str:
    chance = f"guessing reaches {percent(facts.chance)}" if facts.chance else "what guessing reaches is unknown"
    if not facts.undefended:
        return f"The clone without a defense is unknown, because no such point is finished; {chance}."
    return (
        f"Without a defense {_attacked(facts)} reaches {percent(facts.clone(facts.undefended))} on the victim's "
        f"test images; the victim itself reaches {percent(facts.undefended['victim_accuracy'])}; {chance}."
    )


def _attacked(facts: Facts) -> str:
    """Name the clone that the study is about."""
    attack = facts.study.attack
    if attack.startswith(ATTACKERS):
        return f"the clone of {attack.removeprefix(ATTACKERS)}"
    return "the worst clone, the most accurate one of any attacker,"


def _best(facts: Facts) -> str:
    chosen, nearest = facts.chosen, facts.best["nearest"]
    within = " within the limits" if facts.best["bounds"] else ""
    if chosen is None:
        over = listed([f"{name} by {value:.3f}" for name, value in nearest["excess"].items()])
        return (
            f"None of {plural(facts.best['finished'], 'finished point')} is within the limits. The closest, "
            f"{named(nearest)}, exceeds {over} on validation images; its {_clone(facts)} reaches "
            f"{percent(facts.clone(nearest))}."
        )
    if chosen["defense"] == NOTHING:
        of = f"{plural(facts.best['candidates'], 'finished point')}{within}"
        return f"No defense helps: by validation figures, none of {of} lowers the accuracy of the {_clone(facts)}."
    where = f"the best point{within}, {named(chosen)}, the {_clone(facts)}"
    costs = f"It costs {_costs(facts, chosen)}."
    if not facts.helps:
        return (
            f"No defense helps: with {where} still reaches {percent(facts.clone(chosen))}, at most one point less "
            f"than without a defense. {costs}"
        )
    by = f", {in_points(facts.gain)} less than without a defense" if facts.gain is not None else ""
    by += f"; this is {_alike(facts)}" if facts.alike(chosen, facts.undefended) else ""
    sentences = [f"With {where} reaches {percent(facts.clone(chosen))}{by}.", costs, _others(facts)]
    return " ".join(filter(None, sentences))


def _clone(facts: Facts) -> str:
    attack = facts.study.attack
    return f"clone of {attack.removeprefix(ATTACKERS)}" if attack.startswith(ATTACKERS) else "worst clone"


def _alike(facts: Facts) -> str:
    return f"not distinguishable with {_images(facts)}"


def _images(facts: Facts) -> str:
    return f"{facts.images['test']:,} test images"


def _costs(facts: Facts, point: Mapping[str, Any]) -> str:
    budget, of = facts.study.budget, facts.study.axes[0]
    least = f", at most {of.worst:g}" if not of.unit else ""
    costs = [f"{of.head} {of.shown(value_of(point, budget))} ({of.images()}{least})"]
    if budget not in ("accuracy_drop", "victim_accuracy"):
        costs.append(f"{in_points(point['accuracy_drop'])} of the victim's accuracy")
    return listed(costs)


def _others(facts: Facts) -> str:
    alike = facts.best["alike"]
    if not alike:
        return ""
    if len(alike) > MANY:
        return f"{len(alike)} other points are not distinguishable from it with {_images(facts)}."
    others = f"{numbered(alike).capitalize()} {is_or_are(len(alike))}"
    return f"{others} not distinguishable from it with {_images(facts)}."


def _fronts(facts: Facts) -> Iterator[str]:
    """Say what each searched defense buys along its own front, or that all its points were stopped."""
    budget, attack = facts.study.axes
    for defense, front in facts.fronts.items():
        points, stopped = front["points"], front["stopped"]
        if points:
            ends = [
                f"{budget.head} {budget.shown(value_of(point, facts.study.budget))} with a {_clone(facts)} of "
                f"{percent(facts.clone(point))}"
                for point in sorted(
                    points, key=lambda of: cheap_first(facts.study, value_of(of, facts.study.budget))
                )
            ]
            reach = ends[0] if len(ends) == 1 else f"from {ends[0]} to {ends[-1]}"
            yield f"The front of {defense} has {plural(len(points), 'point')}: {reach}."
        elif stopped and len(stopped) == front["counts"]["asked"]:
            least = min(value_of(each["bounds"]["validation"], facts.study.attack) for each in stopped)
            by = numbered(sorted({each["by"] for each in stopped}))
            yield (
                f"All {len(stopped)} points of {defense} stopped early, beaten by {by} even at their bounds "
                f"({attack.head} ≥ {attack.shown(least)}, validation images). To run them on: emma-tune "
                f"resume {facts.folder} --set search.stop=own."
            )
        for name, reached in front["reached"].items():
            knows = ATTACKS[facts.study.attackers[name].kind].knows
            low, high = percent(reached["low"]), percent(reached["high"])
            accuracy = high if low == high else f"{low.removesuffix(' %')} to {high}"
            at = "every point" if reached["points"] == len(points) else plural(reached["points"], "point")
            yield f"The attacker {name}, which knows {knows}, reaches {accuracy} at {at} of {defense}'s front."


def _worst(facts: Facts) -> str:
    point = facts.chosen or facts.best["nearest"]
    attacker = worst_attacker(facts.study, point)
    knows = ATTACKS[facts.study.attackers[attacker].kind].knows
    reached = percent(point["attackers"][attacker])
    return f"The worst attacker of point {point['point']} is {attacker}, which knows {knows}: {reached}."


def _searched(facts: Facts) -> str:
    """Say what the searched defense reaches where another one is the best."""
    best = facts.searched
    if best is None or facts.learned:
        return ""
    searched = facts.study.defense.kind
    return f"With the best point of {searched} within the limits, {named(best)}, {_reaches(facts, best)}."


def _reaches(facts: Facts, point: Mapping[str, Any]) -> str:
    budget = facts.study.axes[0]
    cost = f"{budget.head} {budget.shown(value_of(point, facts.study.budget))}"
    return f"the {_clone(facts)} reaches {percent(facts.clone(point))} at {cost}"


def _controls(facts: Facts) -> str:
    """Say what matrices reach that were not learned."""
    control, chosen = facts.control, facts.chosen
    if control is None:
        missing = "No control (a matrix that was not learned) is finished within the limits."
        return missing if facts.learned else ""
    found = f"With a control, a matrix that was not learned, {named(control)}, {_reaches(facts, control)}"
    if facts.learned and chosen and _dear(facts, control) <= _dear(facts, chosen):
        if facts.clone(control) <= facts.clone(chosen):
            found += ": no more cost and no better clone, so that learning is not the cause"
        elif facts.alike(control, chosen):
            found += f": no more cost, and {_alike(facts)}, so that learning need not be the cause"
    return f"{found}."


def _dear(facts: Facts, point: Mapping[str, Any]) -> float:
    return cheap_first(facts.study, value_of(point, facts.study.budget))


def _seeds(facts: Facts) -> str:
    count = len(facts.study.seeds)
    if count >= MIN_PAIRS:
        return f"All figures are means over {count} seeds."
    return f"{plural(count, 'seed')}: too few to judge differences, for which {MIN_PAIRS} are needed."
