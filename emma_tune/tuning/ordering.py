"""From what a user asks for to what a run is given: the study's folder, its store, the last stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emma_tune.storage import Place, absolute, as_place

if TYPE_CHECKING:
    from emma_tune.results.folder import Started
    from emma_tune.study import Study
    from emma_tune.tuning.order import RunOrder

RUNS = Path("runs")
"""Where folders of studies are unless a user says otherwise."""


def last_stages() -> list[str]:
    """List the stages that a run can end with."""
    from emma_tune.stages import STAGES

    return [name for name, stage in STAGES.items() if stage.last]


def check_last(until: str | None, where: str) -> None:
    """Raise StudyError unless a run can end with this stage; `where` names the argument."""
    from emma_tune.study.file import StudyError

    if until is not None and until not in last_stages():
        raise StudyError(f"{where}: expected one of {', '.join(last_stages())}, found {until!r}")


def new_order(
    study: Study,
    out: Place | None,
    began: float,
    *,
    file: Path | None = None,
    address: str | None = None,
    until: str | None = None,
    trust: bool = False,
    embedded: bool = False,
) -> RunOrder:
    """Order a run of a study, in a folder of `runs` unless `out` says where.

    To name a plug-in is to run it; but what lies in a study's folder, its study `file` or a plug-in, may have come
    with it.
    """
    from emma_tune.results.discovery import lies_in_a_study
    from emma_tune.tuning.order import RunOrder

    folder = out or RUNS / study.name
    beside = absolute(folder).parent / "store"
    store = absolute(as_place(study.store)) if study.store else beside
    named = (*([file] if file else []), *(Path(of.file) for of in study.plugins))
    trusted = trust or not any(map(lies_in_a_study, named))
    return RunOrder(study, folder, store, began, address, until, trusted=trusted, embedded=embedded)


def resuming_order(
    started: Started,
    folder: Place,
    overrides: Sequence[str],
    began: float,
    *,
    address: str | None = None,
    until: str | None = None,
    trust: bool = False,
    embedded: bool = False,
) -> RunOrder:
    """Order that a study is continued as it was last started, or with some fields changed."""
    from emma_tune.results.folder import STARTED
    from emma_tune.study.file import changed
    from emma_tune.tuning.order import RunOrder

    study, store = started.study, started.store
    if overrides:
        study = changed(study, overrides, folder / STARTED)
        if study.store and study.store != started.study.store:
            store = as_place(study.store)
    given = () if started.given else None
    store = absolute(store)
    return RunOrder(study, folder, store, began, address, until, given, trusted=trust, embedded=embedded)


def announcement(order: RunOrder) -> list[str]:
    """Return the lines that say what a run is about to do, before anything heavy is imported."""
    from emma_tune.tuning.opening import opening, spaces

    given = _given_points(order)
    return [
        opening(order.study, order.out, order.address, given),
        *(spaces(order.study) if given is None else ()),
    ]


def _given_points(order: RunOrder) -> int | None:
    """Count the points of a run without a search: those given, or those that it is to continue with."""
    if order.given != ():
        return None if order.given is None else len(order.given)
    from emma_tune.results.folder import StudyFolder
    from emma_tune.results.ledger import read_ledger

    return len(read_ledger(StudyFolder(order.out).ledger).points)
