"""Which attacker of a point comes first: the one whose clone will probably be the worst case.

A point is stopped once its worst clone is as good as that of a cheaper point. What the others have trained by then
is lost, so they begin when the first one has ended; earlier only where a slot would stand idle.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from emma_tune.plan import Point, PointPlan, Task
from emma_tune.study import Study


class AttackOrder:
    """Holds back the attackers of searched points, one after the other.

    First comes the attacker that was the worst case most often among the finished points of the same defense; the
    study's order decides between equals.
    """

    def __init__(self, study: Study, searched: Collection[str], is_done: Callable[[Task], bool]) -> None:
        self._searched = searched if study.search.stop != "none" else ()
        self._is_done = is_done
        self._worst: dict[str, Counter[str]] = defaultdict(Counter)
        self._attacking: dict[int, str] = {}  # by point: the attacker that is not held

    def add_finished(self, plan: PointPlan, validation: Mapping[str, Any]) -> None:
        """Learn from a finished point which attacker was the worst case."""
        clones = validation["attackers"]
        worst = max(clones.values())
        self._worst[plan.point.defense].update(name for name in clones if clones[name] == worst)

    def forget(self, point: Point) -> None:
        """Forget a point that is no longer open."""
        self._attacking.pop(point.number, None)

    def held(self, plan: PointPlan) -> frozenset[str]:
        """Return the keys of the attacks that wait for others of the same point, and of what they alone need."""
        if plan.point.defense not in self._searched:
            return frozenset()
        left = {name for place, task in plan.evaluations.items() if not self._is_done(task) for name in place[1:]}
        if not left:
            return frozenset()
        first = self._attacking.get(plan.point.number)
        # not before all its costs are known: a point beyond the limits is not attacked
        if first not in left and all(map(self._is_done, plan.responses.values())):
            first = self._attacking[plan.point.number] = self._first(plan, left)
        waiting = [task for (_, name), task in plan.attackers.items() if name in left - {first}]
        others = [task for (_, name), task in plan.attackers.items() if name not in left - {first}]
        needed = _upstream(plan, [*plan.responses.values(), *plan.measures.values(), *others])
        return _upstream(plan, waiting) - needed

    def _first(self, plan: PointPlan, left: Collection[str]) -> str:
        worst = self._worst[plan.point.defense]
        return max((name for _, name in plan.attackers if name in left), key=worst.__getitem__)


def _upstream(plan: PointPlan, tasks: Iterable[Task]) -> frozenset[str]:
    """Return the keys of tasks, and of all that they need."""
    return frozenset(before.key for task in tasks for before in plan.upstream(task))
