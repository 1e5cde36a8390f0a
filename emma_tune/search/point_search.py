"""The points of a study: proposed, taken up from the ledger, closed, and in the end attacked on their fronts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from emma_tune.plan import Point, PointPlan, Task, named
from emma_tune.search.agenda import Agenda
from emma_tune.search.attack_order import AttackOrder
from emma_tune.search.outcomes import PointOutcomes, SearchContext
from emma_tune.stages import STAGES
from emma_tune.study.search import SAMPLERS


class PointSearch:
    """Opens points, hands out the tasks of the open ones, and closes them."""

    def __init__(
        self, context: SearchContext, agenda: Agenda, outcomes: PointOutcomes, say: Callable[[str], None]
    ) -> None:
        self.planner = context.planner
        self._study = context.planner.study
        self._ledger = context.ledger
        self._writer = context.writer
        self._proposers = context.proposers
        self._say = say
        self.agenda = agenda
        self.outcomes = outcomes
        self._order = AttackOrder(self._study, self._proposers, agenda.is_done)
        self._asked = Counter(point.defense for point in self._ledger.points.values())
        searches, params = self._study.searches, self._ledger.params_of
        self._unproposed = {name: searches[name].left(params(name)) for name in self._proposers}
        self._next_number = self._ledger.next_number
        until = context.planner.until
        self._before_points = until is not None and STAGES[until].before_points
        self._attacking_fronts = False
        self._attacked: set[int] = set()  # points that the attackers of the fronts attack, or would if one applied
        self._has_changed = True  # something, since it was last asked which points are on a front for certain
        self._take_up_ledger()

    def next_tasks(self, slots: int, *, idle: bool) -> list[Task] | None:
        """Hand out the tasks of one trial, proposing points for the slots as needed; None if nothing is ready.

        Args:
            slots: how many trials can run at once.
            idle: whether one of them is free, so that it takes what is held if there is nothing else.
        """
        tasks = self.agenda.next()
        while tasks is None and self._may_propose(slots):
            self._propose()
            tasks = self.agenda.next()
        if tasks is None and idle and self._attack_ahead():
            tasks = self.agenda.next()
        if tasks is None and idle:
            tasks = self.agenda.next(held=True)
        if tasks is None and not (self._attacking_fronts or self.agenda.open or self._points_left()):
            self._attack_fronts()
            tasks = self.agenda.next()
        return tasks

    def prepare(self) -> None:
        """Make the first proposals quick, if there are any to come."""
        if self._points_left():
            for proposer in self._proposers.values():
                proposer.prepare()

    @property
    def is_over(self) -> bool:
        """Whether every point is closed, the attacked ones too."""
        return self._attacking_fronts and not self.agenda.open

    def foundations_done(self) -> bool:
        """Tell whether what every point depends on is done."""
        return all(self.agenda.is_done(task) for task in self._foundations())

    @property
    def in_full_swing(self) -> bool:
        """Whether there is work for all slots: points are still to be proposed, and may be."""
        return self._points_left() and self.foundations_done()

    @property
    def wanted(self) -> int:
        """How many points there will be when the study is complete."""
        return len(self._ledger.points) + sum(self._unproposed.values())

    def unproposed(self) -> Mapping[str, int]:
        """Count the points still to be proposed, by defense."""
        return self._unproposed if self._points_left() else {}

    def expected_targets(self) -> dict[str, float]:
        """Estimate how many points the attackers of the fronts will attack, by defense; none once they do."""
        waiting = any(not attacker.counts for attacker in self._study.attackers.values())
        if not waiting or self._attacking_fronts or self.planner.until is not None:
            return {}
        names = {*self._asked, *self._unproposed}
        points = {name: self._asked[name] + self._unproposed.get(name, 0) for name in names}
        begun = Counter(self._ledger.points[number].defense for number in self._attacked)
        expected = self.outcomes.expected_targets({name: count for name, count in points.items() if count})
        return {name: max(0.0, count - begun[name]) for name, count in expected.items()}

    def report_clone(self, result: Mapping[str, Any]) -> None:
        """Take in the progress of a clone under way; points that it shows to be beaten are stopped."""
        best = result.get("metrics", {}).get("best.validation.accuracy")
        if best is not None and self.outcomes.early_stopping.report(result["task"], best, result["history"]):
            self.agenda.touch(result["task"])
            self._stop_points()

    def close_points(self) -> None:
        """End the points whose tasks are all done, that cannot be finished, or that are stopped."""
        for plan, failure in self.agenda.close_plans():
            self._has_changed = True
            self._order.forget(plan.point)
            is_attack = plan.point.number in self._attacked
            if failure is not None:
                fail = self.outcomes.fail_attack if is_attack else self.outcomes.fail
                fail(plan.point, failure.task, failure.reason)
                self._say(f"{named(plan.point.number)} failed: {failure.reason}")
            elif is_attack:
                self.outcomes.finish_attack(plan)
            elif self.planner.until is not None:
                self.outcomes.pause(plan.point)
            else:
                self._order.add_finished(plan, self.outcomes.finish(plan))
        self._stop_points()

    def _stop_points(self) -> None:
        """Stop the points that cannot reach a front, and hold of the others the attacks that wait for one."""
        if self.planner.until is not None or self._attacking_fronts:
            return  # every point is wanted as far as the stage; or the search is over
        changed = self._of_the_search(self.agenda.changed())
        # where nothing is stopped, bounds of open points are not at hand: it is asked when a point has ended
        self._has_changed |= bool(changed) and self._study.search.stop != "none"
        for point in self.outcomes.stop(changed):
            self.agenda.drop(point)
            self._order.forget(point)
        for plan in changed:
            if self.agenda.is_open(plan.point):
                self.agenda.hold(plan.point, self._order.held(plan))

    # --- opening ------------------------------------------------------------------------------------------

    def _take_up_ledger(self) -> None:
        """Plan the points of earlier runs again: what the store has is done, the rest is to be done."""
        if self._before_points:
            self.agenda.add(self.planner.groundwork())
            self.close_points()
            return
        stopped = []
        for point in self._ledger.points.values():
            if self.outcomes.was_stopped(point):
                stopped.append(point)
            else:
                self.agenda.add(self.planner.point(point))
        known = [(point.defense, point.params) for point in self._ledger.points.values()]
        for defense, params in self._study.fixed:
            if (defense, params) not in known:
                self._open(Point(self._next_number, defense, params), {})
        self.close_points()
        for point in stopped:
            plan = self.planner.point(point)
            if self.outcomes.stop_again(point):
                left_out = self._ledger.outcomes[point.number].left_out
                self.agenda.workload.recall_stopped(plan.attackers.values(), left_out)
            else:
                self.agenda.add(plan)
        self.close_points()  # another study may have done all that is open again
        for point in list(self._ledger.points.values()):
            if point.defense in self._proposers and self.agenda.is_open(point):
                self._proposers[point.defense].adopt(point)
        self._warn_of_blind_proposals()

    def _warn_of_blind_proposals(self) -> None:
        unproposed, sampler = sum(self._unproposed.values()), self._study.search.sampler
        if self.planner.until is not None and unproposed > 1 and SAMPLERS[sampler].learns:
            self._say(
                f"--until {self.planner.until}: {unproposed} points are proposed before any of them is measured, "
                f"so that the sampler {sampler} learns nothing between them; search.points says how many"
            )

    def _open(self, point: Point, memory: Mapping[str, Any]) -> None:
        self._writer.asked(point, memory)  # before anything is done for it: a kill loses no point
        self._ledger.points[point.number] = point
        self._next_number = max(self._next_number, point.number + 1)
        self._asked[point.defense] += 1
        if self._unproposed.get(point.defense):
            self._unproposed[point.defense] -= 1
        self.agenda.add(self.planner.point(point))

    def _propose(self) -> None:
        # defenses take turns, so that their samplers have seen about as many points
        defense = max(self._unproposed, key=self._unproposed.__getitem__)
        before = (point for point in self._ledger.points.values() if point.defense == defense)
        number = self._next_number
        params, memory = self._proposers[defense].propose(number, self._asked[defense], before)
        self._open(Point(number, defense, params), memory)
        self.close_points()

    def _may_propose(self, slots: int) -> bool:
        """Tell whether an open point more could use what is free: proposals shall know as much as possible."""
        if not self._points_left() or len(self.agenda.open) >= slots:
            return False
        return self.foundations_done() or not self.agenda.open

    def _points_left(self) -> bool:
        """Tell whether to propose more points at some time; not on a foundation that has failed."""
        if self._before_points:
            return False
        sound = not any(self.agenda.has_failed(task) for task in self._foundations())
        return sound and any(self._unproposed.values())

    def _foundations(self) -> list[Task]:
        """List what every point depends on: victim and posteriors of each seed."""
        return [task for seed in self._study.seeds for task in self.planner.foundation(seed)]

    def _attack_fronts(self) -> None:
        """Open the plans of the attackers that wait for the end of the search (`when: front`)."""
        self._attacking_fronts = True
        self.agenda.workload.spared.clear()  # none of the clones that are still to be trained will be stopped
        if self.planner.until is not None:
            return
        for point in self.outcomes.targets():
            self._attack(point)
        self.close_points()

    def _attack_ahead(self) -> bool:
        """Attack a point that stays on its front whatever the open ones become; tell whether there was one."""
        waits = self.planner.until is None and any(not of.counts for of in self._study.attackers.values())
        if not waits or self._points_left() or not self._has_changed:
            return False
        for point in self.outcomes.certain_targets(self._of_the_search(self.agenda.open)):
            if self._attack(point):
                self.close_points()  # another study may have done all of it
                return True
        self._has_changed = False  # until then there is no other
        return False

    def _attack(self, point: Point) -> bool:
        """Open the plan of the attackers of the fronts for a point, once; tell whether it has anything to do."""
        if point.number in self._attacked:
            return False
        self._attacked.add(point.number)
        plan = self.planner.front_attack(point)
        if plan.evaluations:
            self.agenda.add(plan)
        return bool(plan.evaluations)

    def _of_the_search(self, plans: Iterable[PointPlan]) -> list[PointPlan]:
        """Leave out what the attackers of the fronts are to do."""
        return [plan for plan in plans if plan.point.number not in self._attacked]
