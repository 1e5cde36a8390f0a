"""The page: one file that opens without a network, with everything in it."""

from __future__ import annotations

import re
import time
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from emma_tune.outputs import words
from emma_tune.outputs.files import output_file, output_path
from emma_tune.outputs.report import sections, sentences
from emma_tune.outputs.report.content import Content, content_of
from emma_tune.results import StudyView
from emma_tune.storage import Place
from emma_tune.study.file import StudyError

STRONG = re.compile(r"(?:\d+\.\d to )?\d+\.\d (?:%|points\b)|l1 \d\.\d+")
"""Numbers that stand out in a sentence: shares, differences, budgets."""


def write_report(folder: Place, out: Path | None = None) -> tuple[Path, list[str]]:
    """Write the page of a study, running, finished or interrupted: to `out`, or `report/index.html` in its folder.

    Returns:
        Where it lies, and what could not be read.

    Raises:
        StudyError: if it is not the folder of a study, or the page would lie among a study's own files.
    """
    view = StudyView(folder)
    path = output_path(view, out, "report", "index.html")
    if path.is_dir():
        raise StudyError(f"--out: expected a file, found the folder {path}")
    page = render(content_of(view))
    with output_file(path) as file:
        file.write(page.encode())
    return path, view.problems


def render(content: Content) -> str:
    """Render the page as HTML. The template escapes every text of a study."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    page, plotly = environment().get_template("page.html"), Markup(get_plotlyjs())
    return page.render(content=content, written=time.strftime("%F %H:%M"), plotly=plotly)


def environment() -> Environment:
    """Set up the templates: they escape, and fail on what does not exist."""
    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=PackageLoader("emma_tune.outputs", "report"),
    )
    made.policies["json.dumps_kwargs"] = {"allow_nan": False, "ensure_ascii": False, "separators": (",", ":")}
    made.filters["strong"] = strong
    made.globals |= {"sections": sections, "sentences": sentences, "words": words, "part": _part}
    return made


def strong(sentence: str) -> Markup:
    """Escape a sentence and make its numbers stand out."""
    return Markup(STRONG.sub(r"<strong>\g<0></strong>", str(escape(sentence))))


def _part(name: str) -> Markup:
    """Read a part of the page that is no template: styles and script."""
    return Markup((Path(__file__).parent / name).read_text(encoding="utf-8"))
