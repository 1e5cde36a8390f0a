"""Remove a study, and from a store what no study needs any more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from emma_tune.plan import Task
from emma_tune.results.discovery import study_folders
from emma_tune.results.folder import DRIVER, STARTED, StudyFolder
from emma_tune.results.ledger import read_ledger
from emma_tune.results.reader import StudyReader
from emma_tune.stages import STAGES
from emma_tune.storage import Place, is_local, storage_at
from emma_tune.storage.storage import IDENTITY
from emma_tune.storage.store import PARTIAL, Store
from emma_tune.study.file import StudyError

UNKNOWN_USES = "nothing is removed, since this study may use anything"


@dataclass(frozen=True)
class Garbage:
    """What can be removed from a store.

    Attributes:
        artifacts: stage and key of each that no study uses.
        states: keys of unfinished tasks that no open point needs.
        bytes: of all of them.
        studies: folders of the studies that use the store.
    """

    artifacts: list[tuple[str, str]]
    states: list[str]
    bytes: int
    studies: list[Place]


def collect(store: Store, folder: Place, *, dry_run: bool = False) -> Garbage:
    """Remove artifacts that no study below a folder uses, and states that none of their open points needs.

    Decoded images and weights stay. No run of these studies can start meanwhile. A dry run removes nothing.

    Raises:
        StudyError: if this is not a store, no study uses it, one that does is running, or one cannot be read.
        OSError: if a folder cannot be read.
    """
    with ExitStack() as held:
        studies: list[StudyReader] = []
        for study in _users(store, folder):
            if not dry_run:
                held.enter_context(study.drive(wait=0))
            studies.append(_read_whole(study))
        if not studies:
            raise StudyError(
                f"{store.root}: expected a study below {folder} that uses this store, found none; give the folder "
                f"of its studies (emma-tune gc {store.root} FOLDER), or delete the store yourself if it has none"
            )
        garbage = _garbage(store, studies)
        if not dry_run:
            for stage, key in garbage.artifacts:
                store.discard(stage, key)
            for key in garbage.states:
                store.discard(PARTIAL, key)
    return garbage


def _users(store: Store, folder: Place) -> Iterator[StudyFolder]:
    """Find the studies that use a store.

    Raises:
        StudyError: if one is running, or what one uses cannot be determined.
    """
    for place in study_folders(folder):
        study = StudyFolder(place)
        driver = study.driver()
        if not study.begun:
            if driver:
                raise StudyError(f"{place}: a run is starting here ({driver}); nothing is removed while it runs")
            if read_ledger(study.ledger).points:
                raise StudyError(f"{place}: expected study.json beside the ledger, found none; {UNKNOWN_USES}")
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


def _read_whole(study: StudyFolder) -> StudyReader:
    """Read a study; every line of its ledger must be readable, or a StudyError names those that are not."""
    reader = StudyReader(study.root)
    if reader.ledger.problems:
        raise StudyError("\n".join([*reader.ledger.problems, f"{study.root}: {UNKNOWN_USES}"]))
    return reader


def _garbage(store: Store, studies: Sequence[StudyReader]) -> Garbage:
    used: set[str] = set()
    tasks: dict[str, Task] = {}
    for study in studies:
        tasks |= study.open_tasks
        used |= study.planner.groundwork().tasks.keys()
        used.update(key for point in study.ledger.points.values() for key in study.planner.whole(point).tasks)
    artifacts = [(stage, key) for stage in STAGES for key in store.keys(stage) if key not in used]
    states = [key for key in store.keys(PARTIAL) if key not in tasks or store.has(tasks[key].stage, key)]
    size = sum(store.size(*place) for place in [*artifacts, *((PARTIAL, key) for key in states)])
    return Garbage(artifacts, states, size, [study.folder.root for study in studies])


def _is_same(store: Store, other: Store) -> bool:
    """Tell whether two stores are the same one, perhaps under different paths."""
    if is_local(store.root) != is_local(other.root):
        return False
    if is_local(store.root) and is_local(other.root) and store.root.resolve() == other.root.resolve():
        return True
    return str(store.root) == str(other.root) or None is not _identity(store) == _identity(other)


def _identity(store: Store) -> bytes | None:
    try:
        return store.storage.read(IDENTITY)
    except (FileNotFoundError, NotADirectoryError):
        return None


def check_removable(root: Place, own: Collection[Place]) -> None:
    """Make sure that a folder holds one study, with those in it that are its `own`, and that none is running.

    Raises:
        StudyError: if not.
    """
    StudyFolder(root).read()  # a folder without a readable study.json may be anything
    for place in study_folders(root):
        if place not in (root, *own):
            raise StudyError(f"{root}: expected the folder of one study, found another study in it: {place}")
        driver = StudyFolder(place).driver()
        if driver:
            raise StudyError(
                f"{place}: this study is running ({driver}); stop it there with Ctrl-C, then "
                "give the command again"
            )


def remove_study(root: Place) -> None:
    """Remove a study's folder and all in it but its store, should that lie there.

    Raises:
        StudyError: if it is not a study's folder, or the study is running.
    """
    folder, storage = StudyFolder(root), storage_at(root)
    store = folder.read().store
    with folder.drive(wait=0):
        # study.json goes last: what a crash leaves is still the folder of a study, and can be removed
        for name in storage.names(""):
            if name not in (STARTED, DRIVER) and not _leads_to(root / name, store):
                storage.remove(name)
    storage.remove(DRIVER)
    storage.remove(STARTED)
    if is_local(root) and not storage.names(""):
        root.rmdir()


def _leads_to(place: Place, other: Place) -> bool:
    if not (is_local(place) and is_local(other)):
        return f"{other}/".startswith(f"{place}/")
    return other.resolve().is_relative_to(place.resolve())
