"""The page: one file that opens without a network, with everything in it."""

from __future__ import annotations

import os
import time
import uuid
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from emma_tune.outputs.report import sections
from emma_tune.outputs.report.content import Content, content_of
from emma_tune.outputs.report.markup import embedded, paragraphs
from emma_tune.outputs.words import plural
from emma_tune.results import StudyView
from emma_tune.results.folder import PAGE
from emma_tune.storage import Place, is_local
from emma_tune.study.file import StudyError


def write_report(folder: Place, out: Path | None = None) -> tuple[Path, list[str]]:
    """Write the page of a study, running, finished or interrupted.

    Args:
        folder: of the study; nothing in it changes but its `report` and `report.html`.
        out: where to write; the study's `report/index.html` if None.

    Returns:
        Where it lies, and what could not be read.

    Raises:
        StudyError: if it is not the folder of a study, or the page would lie among a study's own files.
    """
    view = StudyView(folder)
    path = check_place(view, out, "report", "index.html")
    if path.is_dir():
        raise StudyError(f"--out: expected a file, found the folder {path}")
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


def check_place(view: StudyView, out: Path | None, own: str, name: str = "") -> Path:
    """Decide where to write, and check that it is not among a study's own files.

    Args:
        view: the study.
        out: what the user asked for.
        own: the subfolder of the study that is meant for it.
        name: the file in it, if it is one.

    Raises:
        StudyError: if it is among a study's own files, or the study is in an object store and `out` is missing.
    """
    root = view.folder.root
    meant = (root / own).resolve() if is_local(root) else None
    if out is None:
        if meant is None:
            raise StudyError(f"--out: expected a place on a disk, found none, and {root} is an object store")
        return meant / name
    place = out.resolve()
    among = [folder.resolve() for folder in (root, view.store.root) if is_local(folder)]
    allowed = meant is not None and place.is_relative_to(meant)
    left = meant is not None and name and place == meant.parent / PAGE  # by a run that has ended
    if not (allowed or left) and any(place.is_relative_to(folder) for folder in among):
        raise StudyError(f"--out: expected a place in {meant} or outside of the study, found {out}")
    return out


def page(content: Content) -> str:
    """Write the page as HTML."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    status = content.facts.status
    return Template(_part("page.html")).substitute(
        name=escape(content.facts.study.name),
        state=escape(
            f"{status['state']}, {plural(status['points']['asked'], 'point')}; written "
            f"{time.strftime('%F %H:%M', time.localtime(content.written))}"
        ),
        style=_part("page.css"),
        question=paragraphs(content.question),
        attackers=sections.attackers(content),
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
    return files("emma_tune.outputs.report").joinpath(name).read_text(encoding="utf-8")
