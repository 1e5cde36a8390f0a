"""What of a store no study needs any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from emma_tune.plan import Task
from emma_tune.results.folder import StudyFolder
from emma_tune.results.ledger import read_ledger
from emma_tune.results.studies import study_folders
from emma_tune.results.view import StudyView
from emma_tune.stages import STAGES
from emma_tune.storage import Place, is_local
from emma_tune.storage.storage import SIGHT
from emma_tune.storage.store import PARTIAL, Store
from emma_tune.study.file import StudyError

MORE = "nothing is removed, since this study may use anything"


@dataclass(frozen=True)
class Garbage:
    """What can be removed from a store.

    Attributes:
        artifacts: stage and key of each that no study uses.
        states: keys of unfinished tasks that no open point wants.
        bytes: of all of them.
        studies: folders of the studies that use the store.
    """

    artifacts: list[tuple[str, str]]
    states: list[str]
    bytes: int
    studies: list[Place]


@dataclass
class _Needs:
    """What the studies of a store need.

    Attributes:
        studies: their folders.
        used: keys of every task that is planned for a point of a ledger, or for all points.
        wanted: tasks that have still to be finished, by key.
    """

    studies: list[Place] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    wanted: dict[str, Task] = field(default_factory=dict)

    def add(self, view: StudyView) -> None:
        """Add what a study needs."""
        groundwork = view.planner.groundwork().tasks
        self.studies.append(view.folder.root)
        self.used |= groundwork.keys()
        self.wanted |= groundwork
        for point in view.ledger.points.values():
            self.used |= view.planner.whole(point).tasks.keys()
            outcome = view.outcomes.get(point.number)
            if outcome is None or outcome.reason:
                self.wanted |= view.planner.point(point).tasks
        for point in view.targets():
            self.wanted |= view.planner.verdict(point).tasks


def collect(store: Store, folder: Place, *, dry_run: bool = False) -> Garbage:
    """Remove artifacts that no study below a folder uses, and states that none of their open points wants.

    Decoded images and weights stay. While it removes, no run of these studies can start.

    Args:
        store: the store.
        folder: where the studies are that may use it.
        dry_run: only find them.

    Returns:
        What was removed.

    Raises:
        StudyError: if this is not a store, no study uses it, one that does is running, or one cannot be read.
        OSError: if a folder cannot be read.
    """
    with ExitStack() as held:
        needs = _Needs()
        for study in _users(store, folder):
            if not dry_run:
                held.enter_context(study.drive(wait=0))
            needs.add(_whole_view(study))
        if not needs.studies:
            raise StudyError(
                f"{store.root}: expected a store of studies below {folder}, found none that uses it; name the "
                "folder of its studies, or remove the whole store yourself if it has none"
            )
        garbage = _garbage(store, needs)
        if not dry_run:
            for stage, key in garbage.artifacts:
                store.discard(stage, key)
            for key in garbage.states:
                store.discard(PARTIAL, key)
    return garbage


def _users(store: Store, folder: Place) -> Iterator[StudyFolder]:
    """Find the studies that use a store.

    Raises:
        StudyError: if one is running, or it cannot be told what one uses.
    """
    for place in study_folders(folder):
        study = StudyFolder(place)
        driver = study.driver()
        if not study.begun:
            if driver:
                raise StudyError(f"{place}: a run is starting here ({driver}); nothing is removed while it runs")
            if read_ledger(study.ledger).points:
                raise StudyError(f"{place}: expected study.json beside the ledger, found none; {MORE}")
            continue
        started = study.read()
        if not _is_same(store, Store(started.store)):
            continue
        if driver:
            raise StudyError(
                f"{place}: this study is running ({driver}) and uses {store.root}; nothing is removed "
                "while it runs"
            )
        yield study


def _whole_view(study: StudyFolder) -> StudyView:
    """Read a study of which no point is missing.

    Raises:
        StudyError: if one is.
    """
    view = StudyView(study.root)
    if view.ledger.problems:
        raise StudyError("\n".join([*view.ledger.problems, f"{study.root}: {MORE}"]))
    return view


def _garbage(store: Store, needs: _Needs) -> Garbage:
    artifacts = [(stage, key) for stage in STAGES for key in store.keys(stage) if key not in needs.used]
    wanted = needs.wanted
    states = [key for key in store.keys(PARTIAL) if key not in wanted or store.has(wanted[key].stage, key)]
    size = sum(store.size(*place) for place in [*artifacts, *((PARTIAL, key) for key in states)])
    return Garbage(artifacts, states, size, needs.studies)


def _is_same(store: Store, other: Store) -> bool:
    """Whether two stores are one, also where it is reached by another path."""
    if is_local(store.root) != is_local(other.root):
        return False
    if is_local(store.root) and is_local(other.root) and store.root.resolve() == other.root.resolve():
        return True
    return str(store.root) == str(other.root) or None is not _identity(store) == _identity(other)


def _identity(store: Store) -> bytes | None:
    try:
        return store.storage.read(SIGHT)
    except (FileNotFoundError, NotADirectoryError):
        return None
