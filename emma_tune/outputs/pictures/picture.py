"""A picture with the tables behind it, and how both are written."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from emma_tune.outputs import palette
from emma_tune.outputs.files import output_file
from emma_tune.outputs.pictures import style
from emma_tune.results import StudyView
from emma_tune.study.file import StudyError


class Picture(NamedTuple):
    """A picture with the tables behind it: the first under an empty name, others by their part.

    Attributes:
        missing: why there is nothing to see; empty if there is something.
    """

    figure: Figure
    tables: Mapping[str, pd.DataFrame]
    missing: str = ""

    def png(self) -> bytes:
        """Render the picture alone."""
        drawn = BytesIO()
        with mpl.rc_context(style.RC):
            self.figure.savefig(drawn, format="png")
        return drawn.getvalue()

    def save(self, folder: Path, name: str) -> Path:
        """Write NAME.png, NAME.pdf, NAME.csv, and further tables as NAME-PART.csv; each file at once.

        Returns:
            The PNG file.

        Raises:
            StudyError: if the folder cannot be written to.
        """
        metadata = {"png": None, "pdf": {"CreationDate": None}}  # the same study gives the same bytes
        try:
            with mpl.rc_context(style.RC):
                for suffix, of in metadata.items():
                    with output_file(folder / f"{name}.{suffix}") as file:
                        self.figure.savefig(file, format=suffix, metadata=of)
            for part, table in self.tables.items():
                with output_file(folder / (f"{name}-{part}.csv" if part else f"{name}.csv")) as file:
                    table.to_csv(file, index=False)
        except OSError as error:
            raise StudyError(f"{folder}: expected a folder to write to, found {error.strerror}") from error
        return folder / f"{name}.png"


def nothing(view: StudyView, missing: str, tables: Mapping[str, pd.DataFrame]) -> Picture:
    """Say on a picture why there is nothing to see."""
    figure = style.Figure(figsize=(7, 3), layout="constrained")
    figure.suptitle(style.heading(view))
    figure.text(0.5, 0.45, missing, ha="center", va="center", fontsize=11, color=palette.GRAY)
    return Picture(figure, tables, missing)
