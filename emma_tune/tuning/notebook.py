"""A live table in the output of a notebook's cell, as rich's `Live` is one in a terminal.

Rich's own needs ipywidgets, and leaves nothing to see where a notebook is opened without its kernel.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console, RenderableType

WIDTH = 100
"""Characters of a line."""

FORMAT = '<pre style="line-height: 1.25">{code}</pre>'


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@contextmanager
def widgets_unmentioned() -> Iterator[None]:
    """Silence what Ray and tqdm say, as they are imported in a notebook, of ipywidgets: nothing here uses it."""
    with suppress(ImportError), warnings.catch_warnings():  # now, while no other thread changes the filters
        warnings.simplefilter("ignore")
        import tqdm.auto  # noqa: F401 - as Optuna does
    logger = logging.getLogger("ray.widgets.util")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class LiveOutput:
    """Output of the cell that is run, replaced by each update and empty at the end."""

    def __init__(self) -> None:
        self._handle: Any = None

    def start(self) -> None:
        """Show the output, still empty."""
        from IPython.display import display

        self._handle = display(_nothing(), raw=True, display_id=True)

    def update(self, renderable: RenderableType, *, refresh: bool) -> None:
        """Replace what is shown."""
        console = Console(file=io.StringIO(), record=True, width=WIDTH, force_jupyter=False)
        console.print(renderable)
        html = console.export_html(code_format=FORMAT, inline_styles=True, clear=False)
        self._handle.update({"text/html": html, "text/plain": console.export_text()}, raw=True)

    def stop(self) -> None:
        """Remove what is shown."""
        self._handle.update(_nothing(), raw=True)


def _nothing() -> dict[str, str]:
    return {"text/html": "", "text/plain": ""}
