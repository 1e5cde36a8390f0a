"""The agenda, which looks only at what an event changes, does what the plain one does that looks at everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from emma_tune.plan import Point, PointPlan, Task
from emma_tune.search.agenda import DEPTH, Agenda, TaskFailure
from emma_tune.stages import STAGES, StageSettings


class PlainAgenda:
    """A plain implementation of the agenda: every question walks all open points and all their tasks."""

    def __init__(self, is_done: Callable[[Task], bool]) -> None:
        self._is_done = is_done
        self._tasks: dict[str, Task] = {}
        self._first_point: dict[str, int] = {}
        self._done: set[str] = set()
        self._running: set[str] = set()
        self._failed: dict[str, str] = {}
        self._open: dict[int, PointPlan] = {}
        self._dropped: set[str] = set()
        self._held: dict[int, set[str]] = {}

    def add(self, plan: PointPlan) -> None:
        """Takes up the tasks of a point."""
        self._open[plan.point.number] = plan
        for key, task in plan.tasks.items():
            if key not in self._tasks:
                self._tasks[key] = task
                self._first_point[key] = plan.point.number
                if self._is_done(task):
                    self._done.add(key)
            else:
                self._first_point[key] = min(self._first_point[key], plan.point.number)

    def hold(self, point: Point, keys: set[str]) -> None:
        """An open point holds these tasks, and no others."""
        self._held[point.number] = keys

    def _is_held(self, task: Task) -> bool:
        users = [number for number, plan in self._open.items() if task.key in plan.tasks]
        return all(task.key in self._held.get(number, ()) for number in users)

    def next(self, *, held: bool = False) -> list[Task] | None:
        """Hands out what can run now: a task, then every cheap task that it alone makes ready.

        Returns:
            The tasks of one trial, in order, now running; None if nothing is ready.
        """
        ready = [task for task in self._wanted() if self._is_ready(task, self._done)]
        if not held:
            ready = [task for task in ready if not self._is_held(task)]
        if not ready:
            return None
        first = min(ready, key=lambda task: (self._is_held(task), self._first_point[task.key], -DEPTH[task.stage]))
        trial = [first]
        self._running.add(first.key)
        while follower := self._follower({task.key for task in trial}):
            trial.append(follower)
            self._running.add(follower.key)
        return trial

    def done(self, keys: Iterable[str]) -> None:
        """These tasks are in the store."""
        for key in keys:
            self._running.discard(key)
            self._done.add(key)

    def failed(self, trial: Iterable[Task], key: str, reason: str) -> None:
        """A task of a trial failed; what the trial had not done by then waits again."""
        self._running -= {task.key for task in trial}
        self._failed[key] = reason

    def drop(self, point: Point) -> None:
        """A point needs nothing more; what runs for it alone is no longer wanted."""
        self._dropped |= self._open.pop(point.number).tasks.keys()
        self._held.pop(point.number, None)

    def release(self, trial: Iterable[Task]) -> None:
        """A trial was stopped; what it had not done by then waits, if an open point needs it."""
        self._running -= {task.key for task in trial}

    def wants(self, trial: Iterable[Task]) -> bool:
        """Whether a point needs what a trial has not done yet: an open one, or a failed one once retried."""
        left = {task.key for task in trial} - self._done
        return not left <= self._dropped or any(not left.isdisjoint(plan.tasks) for plan in self._open.values())

    def close_plans(self) -> list[tuple[PointPlan, TaskFailure | None]]:
        """Close the points that are finished or cannot be."""
        closed = []
        for number, plan in list(self._open.items()):
            broken = next((key for key in plan.tasks if key in self._failed), None)
            if broken:
                closed.append((plan, TaskFailure(plan.tasks[broken], self._failed[broken])))
            elif all(key in self._done for key in plan.tasks):
                closed.append((plan, None))
            else:
                continue
            del self._open[number]
            self._held.pop(number, None)
        return closed

    def is_done(self, task: Task) -> bool:
        """Whether a task of some point is done."""
        return task.key in self._done

    def has_failed(self, task: Task) -> bool:
        """Whether a task of some point has failed."""
        return task.key in self._failed

    def is_open(self, point: Point) -> bool:
        """Whether a point is not settled."""
        return point.number in self._open

    @property
    def open(self) -> tuple[PointPlan, ...]:
        """The points that are not settled."""
        return tuple(self._open.values())

    def counts(self) -> dict[str, dict[str, int]]:
        """By stage, how many tasks are done, running, failed and waiting."""
        table = {stage: {"done": 0, "running": 0, "failed": 0, "waiting": 0} for stage in STAGES}
        wanted = {task.key for task in self._wanted()}
        for key, task in self._tasks.items():
            row = table[task.stage]
            if key in self._done:
                row["done"] += 1
            elif key in self._failed:
                row["failed"] += 1
            elif key in self._running:
                row["running"] += 1
            elif key in wanted:
                row["waiting"] += 1
        return table

    def _wanted(self) -> Iterable[Task]:
        """Unfinished tasks of open points, each once."""
        seen = set()
        for plan in self._open.values():
            for key, task in plan.tasks.items():
                if key not in seen and key not in self._done and key not in self._failed:
                    seen.add(key)
                    yield task

    def _is_ready(self, task: Task, reached: set[str]) -> bool:
        return task.key not in self._running and task.needs <= reached

    def _follower(self, trial: set[str]) -> Task | None:
        """A cheap task that the tasks of a trial, and they alone, make ready."""
        for task in self._wanted():
            waited_for_trial = bool(task.needs & trial)
            if not STAGES[task.stage].own_trial and waited_for_trial and self._is_ready(task, self._done | trial):
                return task
        return None


class Named(StageSettings):
    """A configuration that says nothing but which task it is."""

    name: str


def task(stage: str, name: str, *needs: Task) -> Task:
    """A task of a pipeline in which a task may need several others of its stage."""
    inputs = {f"{index}": need.key for index, need in enumerate(needs)}
    return Task(stage, Named(name=name), inputs, {})


def plan_of(number: int, weight: int, leg: int, attackers: int) -> PointPlan:
    """A point that shares its victim with all, a leg of the surrogate with some, and all with its like."""
    tasks = [task("victim", "v")]
    tasks.append(task("posteriors", "p", tasks[0]))
    for until in range(leg):
        before = tasks[-1:] if until else []
        tasks.append(task("surrogate", f"s{until}", tasks[1], *before))
    tasks.append(task("matrix", f"m{weight}", tasks[-1]))
    tasks.append(task("responses", f"r{weight}", tasks[1], tasks[-1]))
    released = tasks[-1]
    for attacker in range(attackers):
        tasks.append(task("attacker", f"a{attacker}", released))
        tasks.append(task("evaluation", f"e{attacker}", tasks[1], released, tasks[-1]))
    return PointPlan(Point(number, "emma"), {task.key: task for task in tasks}, {}, {}, {})


PLANS = st.tuples(st.integers(0, 3), st.integers(1, 2), st.integers(1, 2))
EVENTS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 7)),
    st.tuples(st.just("next"), st.just(0)),
    st.tuples(st.just("next"), st.just(1)),
    st.tuples(st.just("hold"), st.integers(0, 255)),
    st.tuples(st.just("done"), st.integers(0, 10)),
    st.tuples(st.just("part"), st.integers(0, 10)),
    st.tuples(st.just("failed"), st.integers(0, 30)),
    st.tuples(st.just("release"), st.integers(0, 10)),
    st.tuples(st.just("drop"), st.integers(0, 7)),
    st.tuples(st.just("late"), st.integers(0, 7)),
    st.tuples(st.just("close"), st.just(0)),
)


class Both:
    """Both agendas, given the same events; their answers must be the same."""

    def __init__(self, plans: list[PointPlan], in_store: set[int]) -> None:
        self.plans = plans
        every = list(dict.fromkeys(key for plan in plans for key in plan.tasks))
        stored = {key for index, key in enumerate(every) if index in in_store}
        self.asked: list[list[str]] = [[], []]

        def is_done(side: int) -> Callable[[Task], bool]:
            def ask(task: Task) -> bool:
                self.asked[side].append(task.key)
                return task.key in stored

            return ask

        self.plain, self.agenda = PlainAgenda(is_done(0)), Agenda(is_done(1))
        self.running: list[list[Task]] = []

    def tell(self, event: str, number: int) -> None:
        plan = self.plans[number % len(self.plans)]
        trial = self.running[number % len(self.running)] if self.running else []
        if event == "add" and not self.plain.is_open(plan.point):
            self.plain.add(plan)
            self.agenda.add(plan)
        elif event == "hold" and self.plain.is_open(plan.point):  # of the attacks those whose bits are set
            attacks = [task.key for task in plan.tasks.values() if task.stage == "attacker"]
            keys = {key for bit, key in enumerate(attacks) if number >> (bit + 3) & 1}
            self.plain.hold(plan.point, keys)
            self.agenda.hold(plan.point, keys)
        elif event == "next":
            handed_out, expected = self.agenda.next(held=bool(number)), self.plain.next(held=bool(number))
            assert handed_out == expected
            if expected:
                self.running.append(expected)
        elif event == "drop" and self.plain.is_open(plan.point):
            self.plain.drop(plan.point)
            self.agenda.drop(plan.point)
        elif event == "late" and not self.plain.is_open(plan.point):  # of a point that is open no longer
            self.plain.done(list(plan.tasks)[:3])
            self.agenda.done(list(plan.tasks)[:3])
        elif event == "close":
            assert self.agenda.close_plans() == self.plain.close_plans()
        elif trial and event in ("done", "part"):
            keys = [task.key for task in (trial if event == "done" else trial[:-1])]
            self.plain.done(keys)
            self.agenda.done(keys)
            if event == "done":
                self.running.remove(trial)
        elif trial and event == "failed":
            key = trial[number % len(trial)].key
            self.plain.failed(trial, key, f"{key} broke")
            self.agenda.failed(trial, key, f"{key} broke")
            self.running.remove(trial)
        elif trial and event == "release":
            self.plain.release(trial)
            self.agenda.release(trial)
            self.running.remove(trial)

    def compare(self) -> None:
        assert tuple(self.agenda.open) == self.plain.open
        assert len(self.agenda.open) == len(self.plain.open)
        assert self.agenda.counts() == self.plain.counts()
        assert self.asked[1] == self.asked[0]
        for trial in self.running:
            assert self.agenda.wants(trial) == self.plain.wants(trial)
        for plan in self.plans:
            assert self.agenda.is_open(plan.point) == self.plain.is_open(plan.point)
            for task in plan.tasks.values():
                assert self.agenda.is_done(task) == self.plain.is_done(task)
                assert self.agenda.has_failed(task) == self.plain.has_failed(task)


@settings(deadline=None, max_examples=300)
@given(
    shapes=st.lists(PLANS, min_size=1, max_size=8),
    numbers=st.permutations(range(8)),
    in_store=st.sets(st.integers(0, 40), max_size=6),
    events=st.lists(EVENTS, max_size=60),
)
def test_they_cannot_be_told_apart(shapes, numbers, in_store, events):
    both = Both([plan_of(n, *shape) for n, shape in zip(numbers, shapes, strict=False)], in_store)
    for event, number in events:
        both.tell(event, number)
        both.compare()
    for trial in iter(
        lambda: both.plain.next(held=True), None
    ):  # whatever is left is handed out in the same order
        assert both.agenda.next(held=True) == trial
    assert both.agenda.next(held=True) is None


def test_what_has_changed_is_told_once_in_the_order_of_opening():
    plans = [plan_of(number, number, 1, 1) for number in range(3)]
    agenda = Agenda(lambda task: False)
    for plan in (plans[2], plans[0], plans[1]):
        agenda.add(plan)
    assert agenda.changed() == [plans[2], plans[0], plans[1]]
    assert agenda.changed() == []
    own = [next(task for task in plan.tasks.values() if task.stage == "matrix") for plan in plans]
    agenda.done([own[1].key])
    agenda.touch(own[0].key)
    agenda.touch("a task of no open point")
    assert agenda.changed() == [plans[0], plans[1]]
    agenda.done(next(iter(plans[0].tasks)) for _ in range(1))
    agenda.drop(plans[0].point)
    assert agenda.changed() == [plans[2], plans[1]]  # who is open no longer has not changed
