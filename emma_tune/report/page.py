"""The page: one file that opens without a network, with everything in it."""

from __future__ import annotations

import os
import time
import uuid
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from emma_tune.report import sections
from emma_tune.report.answer import counted
from emma_tune.report.content import Content, content_of
from emma_tune.report.facts import Snapshot
from emma_tune.report.markup import embedded, paragraphs
from emma_tune.results import StudyView
from emma_tune.storage import Place, is_local
from emma_tune.study_file import StudyError
from emma_tune.study_folder import PAGE


def report_file(folder: Place) -> Path:
    """Where the report of a study lies unless somebody says otherwise.

    Raises:
        StudyError: if the study lies in an object store, where no page can be looked at.
    """
    if not is_local(folder):
        raise StudyError(f"--out: expected a file to write to, found none, and {folder} is on no disk")
    return folder / "report" / "index.html"


def write_report(folder: Place, out: Path | None = None) -> tuple[Path, list[str]]:
    """Writes the report of a study, running, finished or interrupted.

    Args:
        folder: of the study; nothing in it is changed but its `report` and `report.html`.
        out: where to write; `report_file` if None.

    Returns:
        Where it lies, and what could not be read.

    Raises:
        StudyError: if it is not the folder of a study, or the report would lie among a study's own files.
    """
    view = Snapshot(folder)
    path = report_file(view.folder.root) if out is None else out
    _check_place(view, path)
    content = content_of(view)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(page(content))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path, view.problems


def _check_place(view: StudyView, path: Path) -> None:
    place, root = path.resolve(), view.folder.root
    among = [own.resolve() for own in (root, view.store.root) if is_local(own)]
    report = report_file(root).parent.resolve() if is_local(root) else None
    allowed = report is not None and (place.is_relative_to(report) or place == report.parent / PAGE)
    if any(place.is_relative_to(own) for own in among) and not allowed:
        raise StudyError(f"--out: expected a file in {report} or outside of the study, found {path}")
    if path.is_dir():
        raise StudyError(f"--out: expected a file, found the folder {path}")


def page(content: Content) -> str:
    """The whole page."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    status = content.facts.status
    return Template(_part("page.html")).substitute(
        name=escape(content.facts.study.name),
        state=escape(
            f"{status['state']}, {counted(status['points']['asked'], 'point')}; written "
            f"{time.strftime('%F %H:%M', time.localtime(content.written))}"
        ),
        style=_part("page.css"),
        question=paragraphs(content.question),
        thieves=sections.thieves(content),
        answer=sections.answers(content),
        figures=sections.lead_figures(content),
        warnings=sections.warnings(content),
        choices=sections.choices(content),
        points=sections.points(content),
        matrices=sections.matrices(content),
        costs=sections.costs(content),
        confirmation=sections.confirmation(content),
        counts=sections.counts(content),
        provenance=sections.provenance(content),
        study=escape(content.study_file),
        data=embedded(sections.data(content)),
        plotly=get_plotlyjs(),
        script=_part("page.js"),
    )


def _part(name: str) -> str:
    return files("emma_tune.report").joinpath(name).read_text(encoding="utf-8")
