"""Studies or defences side by side: what each front is worth, and paired differences over seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emma_tune.results import StudyView
from emma_tune.results.evidence.fronts import spread
from emma_tune.results.intervals import ENOUGH, interval
from emma_tune.study import SEARCHED
from emma_tune.study.file import StudyError

NOTHING = "none"
"""Not to defend is open to everybody: its points belong to every defence."""


@dataclass(frozen=True)
class Group:
    """One side of a comparison.

    Attributes:
        name: of the study, of the defence, or of both.
        view: the study.
        defenses: its defences; all if None.
    """

    name: str
    view: StudyView
    defenses: frozenset[str] | None

    @property
    def own(self) -> Collection[str] | None:
        """Its defences, without what belongs to everybody."""
        return None if self.defenses is None else self.defenses - {NOTHING} or self.defenses


def by_study(views: Sequence[StudyView]) -> list[Group]:
    """A side for each study, with all its defences."""
    names = _distinct([view.study.name for view in views], [str(view.folder.root) for view in views])
    return [Group(name, view, None) for name, view in zip(names, views, strict=True)]


def by_defense(views: Sequence[StudyView]) -> list[Group]:
    """A side for each defence of each study."""
    groups = []
    for study in by_study(views):
        for defense in dict.fromkeys(point.defense for point in study.view.ledger.points.values()):
            name = defense if len(views) == 1 else f"{study.name}: {defense}"
            groups.append(Group(name, study.view, frozenset({defense, NOTHING})))
    return groups


def compare(
    groups: Sequence[Group], *, reference: str | None = None, attacker: str | None = None
) -> dict[str, Any]:
    """Puts groups side by side.

    Args:
        groups: two at least, of studies with the same objectives. Those in which the attacker has nothing to
            attack are left out: that he gets nothing there is not a front that is worth nothing.
        reference: the name of the group that the others are held against; emma, or else the first, if None.
        attacker: as `StudyView.members` takes it.

    Returns:
        `objectives`, `reference`, `attacker`, `enough` (seeds from which on a difference is spoken of), `groups`:
        each with `name`, `points` (asked, finished, infeasible, dominated, failed), what `fronts.spread` says, and
        `difference` to the reference over the seeds of victims that both have (`mean`, `deviation`, `low`, `high`,
        `count`, `verdict`; None for the reference, and means of no pairs); `remarks`, a line each.

    Raises:
        StudyError: if they cannot be compared.
    """
    _check_two(groups, "sides to compare")
    objectives = groups[0].view.study.objectives
    for group in groups:
        if group.view.study.objectives != objectives:
            raise StudyError(
                f"{group.view.folder.root}: expected the objectives {', '.join(objectives)}, as "
                f"{groups[0].view.folder.root} has them, found {', '.join(group.view.study.objectives)}"
            )
        if attacker is not None and attacker not in group.view.study.attackers:
            names = ", ".join(group.view.study.attackers)
            raise StudyError(f"{group.view.folder.root}: expected one of the attackers {names}, found {attacker}")
    spared = [group.name for group in groups if attacker is not None and not _attacked(group, attacker)]
    groups = [group for group in groups if group.name not in spared]
    _check_two(groups, f"sides that {attacker} can attack")
    first = _reference(groups, reference)
    fronts = [spread(group.view, attacker=attacker, defenses=group.defenses) for group in groups]
    base = fronts[groups.index(first)]["hypervolume_by_seed"]
    return {
        "objectives": dict(groups[0].view.study.against(attacker).objectives),
        "reference": first.name,
        "attacker": attacker,
        "enough": ENOUGH,
        "groups": [
            {
                "name": group.name,
                "points": group.view.counts(group.own),
                **front,
                "difference": None
                if group is first
                else _difference(front["hypervolume_by_seed"], base, _shared_seeds(group.view, first.view)),
            }
            for group, front in zip(groups, fronts, strict=True)
        ],
        "remarks": [
            *([f"left out, since {attacker} has nothing to attack there: {', '.join(spared)}"] if spared else []),
            *_remarks(groups, attacker),
        ],
    }


def _check_two(groups: Sequence[Group], what: str) -> None:
    if len(groups) < 2:
        raise StudyError(f"expected two {what}, found {', '.join(group.name for group in groups) or 'none'}")


def _attacked(group: Group, attacker: str) -> bool:
    """Whether a thief can attack some defence of a group; what belongs to everybody does not count."""
    defenses = {point.defense for point in group.view.ledger.points.values()}
    own = defenses if group.own is None else defenses & set(group.own)
    return any(attacker in group.view.planner.attackers_of(defense) for defense in own)


def _distinct(names: Sequence[str], otherwise: Sequence[str]) -> Sequence[str]:
    return names if len(set(names)) == len(names) else otherwise


def _reference(groups: Sequence[Group], name: str | None) -> Group:
    """The group that the others are held against."""
    if name is None:
        return next((group for group in groups if group.own and SEARCHED in group.own), groups[0])
    named = [group for group in groups if group.name == name]
    if not named:
        raise StudyError(f"expected one of {', '.join(group.name for group in groups)}, found {name}")
    return named[0]


def _shared_seeds(view: StudyView, other: StudyView) -> list[int]:
    """Seeds under which both have the same victim: only those can be paired."""
    theirs = {seed: other.planner.foundation(seed)[0].key for seed in other.study.seeds}
    return [seed for seed in view.study.seeds if view.planner.foundation(seed)[0].key == theirs.get(seed)]


def _difference(own: Mapping[int, float], base: Mapping[int, float], seeds: Iterable[int]) -> dict[str, Any]:
    differences = [own[seed] - base[seed] for seed in seeds]
    if not differences:
        unknown = dict.fromkeys(("mean", "deviation", "low", "high"))
        return {**unknown, "count": 0, "verdict": "no victim in common"}
    over_seeds = interval(differences)
    verdict = "no difference to be seen"
    if over_seeds.count < ENOUGH:
        verdict = "too few seeds to speak"
    elif over_seeds.low is not None and over_seeds.low > 0:
        verdict = "better"
    elif over_seeds.high is not None and over_seeds.high < 0:
        verdict = "worse"
    return {**over_seeds.as_dict(), "verdict": verdict}


def _remarks(groups: Sequence[Group], attacker: str | None) -> list[str]:
    """What makes the comparison unfair."""
    remarks = []
    counts = {group.name: group.view.counts(group.own) for group in groups}
    budgets = {name: of["asked"] for name, of in counts.items()}
    if len(set(budgets.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in budgets.items())
        remarks.append(f"unequal tuning budgets, in points: {listed}")
    studies = [group.view.study for group in groups]
    thieves = [study.attackers if attacker is None else study.attackers[attacker] for study in studies]
    if any(other != thieves[0] for other in thieves):
        what = "attackers: their worst cases are" if attacker is None else f"settings of {attacker}: this is"
        remarks.append(f"the studies have other {what} not the same thing")
    if len({group.view.planner.images["queries"] for group in groups}) > 1:
        remarks.append("the studies have different query pools: their attackers have not asked the same")
    if any(study.limits != studies[0].limits for study in studies):
        remarks.append("the studies have other limits: what one of them admits to its front another does not")
    # stopped by points of its own defense, by the worst case and the mean over runs: only that front is whole
    whole = {
        group.name: group.view.study.search.stop == "own"
        and attacker is None
        and len(group.view.planner.runs) == 1
        for group in groups
    }
    for name, of in counts.items():
        if of["dominated"] and not whole[name]:
            remarks.append(
                f"{name}: {of['dominated']} of {of['asked']} stopped as dominated, so that its own front may be "
                "better than shown (search.stop: none runs them to their end)"
            )
        unfinished = of["asked"] - of["finished"] - of["dominated"] - of["failed"]
        if unfinished:
            remarks.append(f"{name}: {unfinished} of {of['asked']} not finished")
    return remarks
