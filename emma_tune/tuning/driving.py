"""The driver of a study with what it writes to: begun with what the store has, ended with the run's summary."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from emma_tune.plan import GROUNDWORK, Planner, Point
from emma_tune.results.folder import JOURNAL
from emma_tune.results.ledger import Ledger, LedgerWriter, RunSummary, read_ledger
from emma_tune.search.driver import StudyDriver, new_driver
from emma_tune.search.outcomes import SearchContext
from emma_tune.search.paces import SEVERAL
from emma_tune.search.proposals import new_proposers
from emma_tune.search.trial_shares import Capacity
from emma_tune.stages import OWN_TRIAL_STAGES
from emma_tune.storage.store import CorruptArtifactError, Record, Store
from emma_tune.study.file import StudyError
from emma_tune.tuning.idle_slots import IdleSlots
from emma_tune.tuning.order import RunResult, Session


@dataclass(frozen=True)
class Drive:
    """A run that has a driver."""

    run: str  # its id
    session: Session
    driver: StudyDriver
    writer: LedgerWriter

    def end(self, first: float, last: float, *, idle: IdleSlots | None = None, broken: bool = False) -> RunResult:
        """Write the summary of a run.

        Args:
            first: when its first trial began.
            last: when its last one ended.
            idle: of its slots; None if it had no trial.
            broken: whether it came to no end.
        """
        session, driver = self.session, self.driver
        driver.tidy()
        startup, span = round(first - session.order.began, 3), round(last - first, 3)
        interrupted, failures = session.interruption.requested, driver.outcomes.failures
        until = None if broken or interrupted or GROUNDWORK.number in failures else driver.planner.until
        idle = idle or IdleSlots()
        causes = {cause: round(seconds, 1) for cause, seconds in idle.seconds.items()}
        busy, slot_seconds = round(driver.busy, 3), round(idle.of_all, 3)
        summary = RunSummary(self.run, startup, span, driver.most_slots, busy, until, causes, slot_seconds)
        self.writer.ended(summary)
        return RunResult(interrupted, failures, session.interruption.signal)


@contextmanager
def driving(session: Session, planner: Planner, capacity: Capacity) -> Iterator[Drive]:
    """Drive a study within the block; what the store has is taken in before."""
    folder, store, given = session.folder, session.store, session.order.given
    ledger = read_ledger(folder.ledger)
    for problem in ledger.problems:
        session.say(problem)
    store.storage.sweep()
    run = uuid.uuid4().hex[:12]
    writer = LedgerWriter(folder.ledger, store.patience)
    with closing(writer), folder.nearby() as near:
        writer.run(run)
        _record_given(given or (), ledger, writer)
        proposers = new_proposers(planner.study, near / JOURNAL, store.patience) if given is None else {}
        context = SearchContext(planner, ledger, writer, proposers)
        driver = new_driver(context, store, capacity, run=run, say=session.say)
        driver.recall_paces(_some_records(store))
        yield Drive(run, session, driver, writer)


def looks_done(session: Session) -> bool:
    """Return whether an earlier run came as far as this one is to come, so that nothing may be left to do.

    Only the store can tell; but then it is worth asking before Ray is started.
    """
    order, ledger = session.order, read_ledger(session.folder.ledger)
    if not ledger.ended or ledger.runs[-1] != ledger.ended[-1].run:
        return False
    searches = {} if order.given is not None else order.study.searches
    proposed = not any(search.left(ledger.params_of(name)) for name, search in searches.items())
    if order.until is not None:
        return ledger.ended[-1].until == order.until or proposed
    return proposed and {point.number for point in order.given or ()} | set(ledger.points) <= set(ledger.outcomes)


def _some_records(store: Store) -> Iterator[tuple[str, Record]]:
    """Yield a few records of each stage that has trials of its own, of whichever study."""
    for stage in OWN_TRIAL_STAGES:
        with suppress(OSError):
            for key in store.storage.names(stage)[:SEVERAL]:
                with suppress(CorruptArtifactError):
                    if record := store.record(stage, key):
                        yield stage, record


def _record_given(points: Sequence[Point], ledger: Ledger, writer: LedgerWriter) -> None:
    """Record given points in the ledger before anything is done for them, as proposed ones are."""
    for point in points:
        known = ledger.points.get(point.number)
        if known is None:
            writer.asked(point, {})
            ledger.points[point.number] = point
        elif known != point:
            raise StudyError(
                f"point {point.number}: expected {known.defense} {dict(known.params)}, as the ledger has it, "
                f"found {point.defense} {dict(point.params)}"
            )
