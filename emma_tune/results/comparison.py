"""Fronts over seeds, and studies or defenses side by side with paired differences over seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from emma_tune.defenses import LEARNED, UNDEFENDED
from emma_tune.results.front import attainment, hypervolume
from emma_tune.results.intervals import MIN_PAIRS, interval
from emma_tune.results.reader import StudyReader
from emma_tune.results.stops import STOPS
from emma_tune.study.file import StudyError


def spread(
    study: StudyReader, *, attacker: str | None = None, defenses: Collection[str] | None = None
) -> dict[str, Any]:
    """Describe how a front, as `StudyReader.members` has it, varies over seeds, by test figures.

    Returns:
        `hypervolume_by_seed`, of each victim's own front, with repeats the mean over them; of these `mean`,
        `deviation`, `low`, `high` (95 %) and `count`; `surfaces`: the corners of the attainment surfaces over all
        runs, as `front.attainment` has them (of two or three objectives).
    """
    objectives = study.study.against(attacker).objectives
    fronts, volumes = [], dict[int, list[float]]()
    for run, seed in study.planner.runs.items():
        members = study.members(run=run, attacker=attacker, defenses=defenses)
        fronts.append([figures["test"] for _, figures in members])
        volumes.setdefault(seed, []).append(hypervolume(fronts[-1], objectives))
    by_seed = {seed: fmean(of_runs) for seed, of_runs in volumes.items()}
    return {
        "hypervolume_by_seed": by_seed,
        **asdict(interval(list(by_seed.values()))),
        "surfaces": attainment(fronts, objectives) if len(objectives) in (2, 3) else {},
    }


@dataclass(frozen=True)
class Group:
    """One side of a comparison: a study, or the points of some of its defenses; of all if None."""

    name: str
    view: StudyReader
    defenses: frozenset[str] | None

    @property
    def own(self) -> Collection[str] | None:
        """Its defenses, without the undefended victim that every side contains."""
        return None if self.defenses is None else self.defenses - {UNDEFENDED} or self.defenses


def by_study(views: Sequence[StudyReader]) -> list[Group]:
    """Make a group of each study, with all its defenses."""
    distinct = len({view.study.name for view in views}) == len(views)
    return [Group(view.study.name if distinct else str(view.folder.root), view, None) for view in views]


def by_defense(views: Sequence[StudyReader]) -> list[Group]:
    """Make a group of each defense of each study."""
    groups = []
    for study in by_study(views):
        for defense in dict.fromkeys(point.defense for point in study.view.ledger.points.values()):
            name = defense if len(views) == 1 else f"{study.name}: {defense}"
            groups.append(Group(name, study.view, frozenset({defense, UNDEFENDED})))
    return groups


def compare(
    groups: Sequence[Group], *, reference: str | None = None, attacker: str | None = None
) -> dict[str, Any]:
    """Compare groups.

    Args:
        groups: two at least, of studies with the same objectives. Those to which the attacker does not apply are
            left out: without its clones they have no front to compare.
        reference: the name of the group to compare the others with; emma, or else the first, if None.
        attacker: as `StudyReader.members` takes it.

    Returns:
        `objectives`, `reference`, `attacker`, `enough` (seeds needed to judge a difference), `groups`: each with
        `name`, `points` (as `StudyReader.counts`), what `spread` says, and
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
    left_out = [group.name for group in groups if attacker is not None and not _attacked(group, attacker)]
    groups = [group for group in groups if group.name not in left_out]
    _check_two(groups, f"sides that {attacker} can attack")
    first = _reference(groups, reference)
    fronts = [spread(group.view, attacker=attacker, defenses=group.defenses) for group in groups]
    base = fronts[groups.index(first)]["hypervolume_by_seed"]
    return {
        "objectives": dict(groups[0].view.study.against(attacker).objectives),
        "reference": first.name,
        "attacker": attacker,
        "enough": MIN_PAIRS,
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
            *([f"left out, since {attacker} does not apply: {', '.join(left_out)}"] if left_out else []),
            *_remarks(groups, attacker),
        ],
    }


def _check_two(groups: Sequence[Group], what: str) -> None:
    if len(groups) < 2:
        raise StudyError(f"expected two {what}, found {', '.join(group.name for group in groups) or 'none'}")


def _attacked(group: Group, attacker: str) -> bool:
    """Tell whether an attacker applies to some defense of a group; the undefended victim does not count."""
    defenses = {point.defense for point in group.view.ledger.points.values()}
    own = defenses if group.own is None else defenses & set(group.own)
    return any(attacker in group.view.planner.attackers_of(defense) for defense in own)


def _reference(groups: Sequence[Group], name: str | None) -> Group:
    """Find the group to compare the others with."""
    if name is None:
        return next((group for group in groups if group.own and LEARNED.keys() & group.own), groups[0])
    named = [group for group in groups if group.name == name]
    if not named:
        raise StudyError(f"expected one of {', '.join(group.name for group in groups)}, found {name}")
    return named[0]


def _shared_seeds(view: StudyReader, other: StudyReader) -> list[int]:
    """List the seeds under which both have the same victim: only those can be paired."""
    theirs = {seed: other.planner.foundation(seed)[0].key for seed in other.study.seeds}
    return [seed for seed in view.study.seeds if view.planner.foundation(seed)[0].key == theirs.get(seed)]


def _difference(own: Mapping[int, float], base: Mapping[int, float], seeds: Iterable[int]) -> dict[str, Any]:
    differences = [own[seed] - base[seed] for seed in seeds]
    if not differences:
        unknown = dict.fromkeys(("mean", "deviation", "low", "high"))
        return {**unknown, "count": 0, "verdict": "no victim in common"}
    over_seeds = interval(differences)
    verdict = "no difference to be seen"
    if over_seeds.count < MIN_PAIRS:
        verdict = "too few seeds to speak"
    elif over_seeds.low is not None and over_seeds.low > 0:
        verdict = "better"
    elif over_seeds.high is not None and over_seeds.high < 0:
        verdict = "worse"
    return {**asdict(over_seeds), "verdict": verdict}


def _remarks(groups: Sequence[Group], attacker: str | None) -> list[str]:
    """List what makes the comparison unfair."""
    remarks = []
    counts = {group.name: group.view.counts(group.own) for group in groups}
    budgets = {name: of["asked"] for name, of in counts.items()}
    if len(set(budgets.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in budgets.items())
        remarks.append(f"unequal tuning budgets, in points: {listed}")
    studies = [group.view.study for group in groups]
    attacks = [study.attackers if attacker is None else study.attackers[attacker] for study in studies]
    if any(other != attacks[0] for other in attacks):
        what = "attackers" if attacker is None else f"settings of {attacker}"
        remarks.append(f"the studies have different {what}: their clones are not comparable")
    if len({group.view.planner.images["queries"] for group in groups}) > 1:
        remarks.append("the studies have different query pools: their attackers sent different queries")
    if any(study.limits != studies[0].limits for study in studies):
        remarks.append(
            "the studies have different limits: a point on the front of one may be beyond those of another"
        )
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
        unfinished = of["asked"] - of["finished"] - sum(of[why] for why in STOPS) - of["failed"]
        if unfinished:
            remarks.append(f"{name}: {unfinished} of {of['asked']} not finished")
    return remarks
