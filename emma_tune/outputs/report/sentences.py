"""The sentences of a report: question and answer, with the numbers of the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emma_tune.defenses import UNDEFENDED
from emma_tune.outputs.front_table import told
from emma_tune.outputs.points import cheap_first
from emma_tune.outputs.report.summary import Summary, worst_attacker
from emma_tune.outputs.words import (
    attacks_only,
    in_points,
    is_or_are,
    listed,
    numbered,
    parameters,
    percent,
    plural,
)
from emma_tune.results.intervals import MIN_PAIRS
from emma_tune.study import Study
from emma_tune.study.measures import ATTACKERS, value_of

MANY = 8  # points from which on they are counted rather than listed


def named(point: Mapping[str, Any]) -> str:
    """Name a point by its number, defense and parameters."""
    inside = ", ".join(filter(None, [point["defense"], parameters(point["params"])]))
    return f"point {point['point']} ({inside})"


def question(summary: Summary) -> list[str]:
    """Say what is attacked, by whom, and what the study asks; one paragraph each."""
    study = summary.study
    count = summary.images.get("queries") or study.queries.limit
    images = f"{f'{count:,}' if count else 'all'} images of {study.queries.dataset}"
    attackers = "one attacker does" if len(study.attackers) == 1 else f"{len(study.attackers)} attackers do"
    limit = study.limits.accuracy_drop
    within = "" if limit is None else f", if the victim may lose no more than {in_points(limit)} of accuracy"
    budget, attack = study.axes
    others = sorted({baseline.kind for baseline in study.baselines} - {UNDEFENDED})
    beside = f", and compares it with {plural(len(others), 'other defense')} ({listed(others)})" if others else ""
    return [
        f"{victim(study)} answers queries. An attacker sends it {images} "
        f"and trains a clone on the answers; {attackers} so here. The defender can release less precise answers, "
        "which makes clones worse and the answers less useful.",
        f"How far does a defense lower the {attack.label}, and at what cost ({budget.axis()}){within}? The study "
        f"searches {study.defense.kind}, which releases p′ = pT with one learned matrix T{beside}.",
    ]


def victim(study: Study) -> str:
    """Name the victim: what it is, and what it was trained on or where it comes from."""
    of = study.victim
    if of.training:
        return f"A {of.network} trained on {of.dataset}"
    field, file = of.file or ("", Path())
    return {
        "onnx": f"The model in {file.name}",
        "answers": f"A model of which only the answers in {file.name} are known",
    }.get(field, f"A {of.network} with the weights in {file.name}")


def knowledge(summary: Summary) -> dict[str, str]:
    """Say what each attacker knows and uses, by name."""
    pool = summary.images.get("queries")
    return {
        name: f"{attacker.knowledge}; "
        + (f"sends {attacker.asks(pool):,} queries, " if attacker.queries else "")
        + (f"gets {summary.asked[name]:,} answers, " if name in summary.asked else "")
        + f"trains {attacker.model}"
        + (f" as {attacker.described}" if attacker.described != name else "")
        + ("" if attacker.counts else f"; {attacks_only(summary.study.search.stop)}")
        for name, attacker in summary.study.attackers.items()
    }


def answer(summary: Summary) -> list[str]:
    """Answer in a few sentences: without a defense, with the best one, along the fronts, and what that is worth.

    While nothing is finished they say so, and how far the study is.
    """
    if not summary.best["finished"]:
        counts = summary.status["points"]
        return [
            f"No point is finished yet: of {plural(counts['asked'], 'point')}, {counts['stopped']} stopped "
            f"and {counts['failed']} failed."
        ]
    worth = (_worst(summary), _learned(summary), _controls(summary), _seeds(summary))
    fronts = (*_fronts(summary), " ".join(_stopped(summary)))
    paragraphs = (_undefended(summary), _best(summary), *fronts, " ".join(filter(None, worth)))
    return [paragraph for paragraph in paragraphs if paragraph]


def _undefended(summary: Summary) -> str:
    chance = (
        f"guessing reaches {percent(summary.chance)}" if summary.chance else "what guessing reaches is unknown"
    )
    if not summary.undefended:
        return f"The clone without a defense is unknown, because no such point is finished; {chance}."
    study = summary.study
    of = "any attacker" if study.counting == study.attackers else "the attackers of every point"
    one = study.attack.startswith(ATTACKERS)
    clone = f"the {_clone(summary)}" if one else f"the worst clone, the most accurate one of {of},"
    sentence = (
        f"Without a defense {clone} reaches {percent(summary.clone(summary.undefended))} on the victim's test "
        f"images; the victim itself reaches {percent(summary.undefended['victim_accuracy'])}; {chance}."
    )
    return " ".join(filter(None, [sentence, _held(summary, summary.undefended)]))


def _held(summary: Summary, point: Mapping[str, Any]) -> str:
    """Say what the best attacker of the fronts reaches, if that is more than who decides the fronts does."""
    others = {name: of for name, of in point["attackers"].items() if name not in summary.study.counting}
    best = max(others, key=others.__getitem__, default=None)
    if best is None or others[best] <= summary.clone(point):
        return ""
    reached = f"{best}, which has no part in choosing the fronts, reaches {percent(others[best])}"
    return f"Of the other attackers, {reached}."


def _clone(summary: Summary) -> str:
    """Name the clone that the study is about."""
    attack = summary.study.attack
    return f"clone of {attack.removeprefix(ATTACKERS)}" if attack.startswith(ATTACKERS) else "worst clone"


def _best(summary: Summary) -> str:
    chosen, best = summary.chosen, summary.best
    within = " within the limits" if best["bounds"] else ""
    if chosen is None:
        return _closest(summary)
    if chosen["defense"] == UNDEFENDED:
        of = f"{plural(best['candidates'], 'finished point')}{within}"
        return (
            f"No defense helps: by validation figures, none of {of} lowers the accuracy of the {_clone(summary)}."
        )
    where = f"the best point{within}, {named(chosen)}, the {_clone(summary)}"
    costs = _costs(summary, chosen)
    if not summary.helps:
        return (
            f"No defense helps: with {where} still reaches {percent(summary.clone(chosen))}, at most one point "
            f"less than without a defense. {costs}"
        )
    by = f", {in_points(summary.gain)} less than without a defense" if summary.gain is not None else ""
    by += f"; this is {_alike(summary)}" if summary.alike(chosen, summary.undefended) else ""
    sentence = f"With {where} reaches {percent(summary.clone(chosen))}{by}."
    return " ".join(filter(None, [sentence, _held(summary, chosen), costs, _others(summary)]))


def _closest(summary: Summary) -> str:
    """Say how far the closest point is from the limits, where none is within them."""
    nearest = summary.best["nearest"]
    over = listed([f"{name} by {value:.3f}" for name, value in nearest["excess"].items()])
    return (
        f"None of {plural(summary.best['finished'], 'finished point')} is within the limits. The closest, "
        f"{named(nearest)}, exceeds {over} on validation images; its {_clone(summary)} reaches "
        f"{percent(summary.clone(nearest))}."
    )


def _alike(summary: Summary) -> str:
    return f"not distinguishable with {summary.images['test']:,} test images"


def _costs(summary: Summary, point: Mapping[str, Any]) -> str:
    of, name = summary.study.axes[0], summary.study.budget
    lost = f"{in_points(point['accuracy_drop'])} of the victim's accuracy"
    if name == "accuracy_drop":
        return f"It costs {lost} ({of.images()})."
    shown = of.shown(value_of(point, name))
    if not of.unit:
        return f"It costs {of.head} {shown} ({of.images()}, at most {of.worst:g}) and {lost}."
    more = "" if name == "victim_accuracy" else f", and it costs {lost}"
    return f"Its budget ({of.label}, {of.images()}) is {shown}{more}."


def _others(summary: Summary) -> str:
    alike = summary.best["alike"]
    if not alike:
        return ""
    others = f"{len(alike)} other points" if len(alike) > MANY else numbered(alike).capitalize()
    images = f"{summary.images['test']:,} test images"
    return f"{others} {is_or_are(len(alike))} not distinguishable from it with {images}."


def _fronts(summary: Summary) -> Iterator[str]:
    """Say what each searched defense buys along its own front; one paragraph each."""
    for defense, front in summary.fronts.items():
        points = front["points"]
        if not points:
            continue
        ordered = sorted(points, key=lambda point: cheap_first(summary.study, point))
        ends = [
            f"{_budget(summary, point)} with a {_clone(summary)} of {percent(summary.clone(point))}"
            for point in ordered
        ]
        reach = ends[0] if len(ends) == 1 else f"from {ends[0]} to {ends[-1]}"
        sentences = [f"The front of {defense} has {plural(len(points), 'point')}: {reach}."]
        for name, reached in told(front["reached"]).items():
            knows = summary.study.attackers[name].knowledge
            low, high = percent(reached["low"]), percent(reached["high"])
            accuracy = high if low == high else f"{low.removesuffix(' %')} to {high}"
            at = "every point" if reached["points"] == len(points) else plural(reached["points"], "point")
            sentences.append(
                f"The attacker {name}, which knows {knows}, reaches {accuracy} at {at} of {defense}'s front."
            )
        yield " ".join(sentences)


def _stopped(summary: Summary) -> Iterator[str]:
    """Say why all points of a defense were stopped, where they were, and how to run the beaten ones on."""
    any_beaten = False
    for defense, front in summary.fronts.items():
        stopped = front["stopped"]
        if stopped and len(stopped) == front["counts"]["asked"]:
            beaten = [each for each in stopped if each["why"] == "dominated"]
            any_beaten = any_beaten or bool(beaten)
            yield _why_stopped(summary.study, defense, beaten, len(stopped) - len(beaten))
    if any_beaten:
        yield f"To run beaten points on: emma-tune resume {summary.folder} --set search.stop=own."


def _why_stopped(study: Study, defense: str, beaten: Sequence[Mapping[str, Any]], beyond: int) -> str:
    """Say why every point of a defense was stopped: some beaten, and so many beyond the limits."""
    all_points = f"All {plural(len(beaten) + beyond, 'point')} of {defense} stopped early"
    if not beaten:
        return f"{all_points}, beyond the limits."
    attack = study.axes[1]
    least = min(value_of(each["bounds"]["validation"], study.attack) for each in beaten)
    count, others = (f"{len(beaten)} of them ", f"; {beyond} beyond the limits") if beyond else ("", "")
    return (
        f"{all_points}, {count}beaten by {numbered(sorted({each['by'] for each in beaten}))} even at their bounds "
        f"({attack.head} ≥ {attack.shown(least)}, validation images){others}."
    )


def _budget(summary: Summary, point: Mapping[str, Any]) -> str:
    """Show the budget of a point within a sentence: l1 0.412, a drop of 1.3 points, 96.5 % (victim)."""
    of = summary.study.axes[0]
    shown = of.shown(value_of(point, summary.study.budget))
    forms = {"": f"{of.head} {shown}", "points": f"a {of.head} of {shown}", "%": f"{shown} ({of.head})"}
    return forms[of.unit]


def _worst(summary: Summary) -> str:
    point = summary.chosen or summary.best["nearest"]
    attacker = worst_attacker(summary.study, point)
    study, number = summary.study, point["point"]
    knows, reached = study.attackers[attacker].knowledge, percent(point["attackers"][attacker])
    if len(study.counting) == len(study.attackers):
        worst = f"The worst attacker of point {number}"
    else:
        worst = f"Of the attackers of every point, the worst of point {number}"
    return f"{worst} is {attacker}, which knows {knows}: {reached}."


def _learned(summary: Summary) -> str:
    """Say what a learned matrix reaches where another defense is the best."""
    best = summary.learned
    if best is None or summary.chosen_is_learned:
        return ""
    return f"With the best point of {best['defense']} within the limits, {named(best)}, {_reaches(summary, best)}."


def _reaches(summary: Summary, point: Mapping[str, Any]) -> str:
    return f"the {_clone(summary)} reaches {percent(summary.clone(point))} at {_budget(summary, point)}"


def _controls(summary: Summary) -> str:
    """Say what matrices reach that were not learned."""
    control, chosen = summary.control, summary.chosen
    if control is None:
        missing = "No control (a matrix that was not learned) is finished within the limits."
        return missing if summary.chosen_is_learned else ""
    found = f"With a control, a matrix that was not learned, {named(control)}, {_reaches(summary, control)}"
    study = summary.study
    if summary.chosen_is_learned and chosen and cheap_first(study, control) <= cheap_first(study, chosen):
        if summary.clone(control) <= summary.clone(chosen):
            found += ": no more cost and no better clone, so that learning is not the cause"
        elif summary.alike(control, chosen):
            found += f": no more cost, and {_alike(summary)}, so that learning need not be the cause"
    return f"{found}."


def _seeds(summary: Summary) -> str:
    count = len(summary.study.seeds)
    if count >= MIN_PAIRS:
        return f"All figures are means over {count} seeds."
    return f"{plural(count, 'seed')}: too few to judge differences, for which {MIN_PAIRS} are needed."
