"""A study on disk as a notebook shows it: tables, pictures, arrays."""

from __future__ import annotations

import html
import os
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emma_tune.api.best import BestPoint
from emma_tune.api.plots import Plots
from emma_tune.outputs.front_table import LEGEND, TEXT, FrontTable, front_table
from emma_tune.outputs.words import point_counts, state_of
from emma_tune.plan import named
from emma_tune.results import StudyView as Data
from emma_tune.results import tables
from emma_tune.results.best import best_point, check_bounds, check_found
from emma_tune.results.status import status_of
from emma_tune.storage import as_place, is_local
from emma_tune.storage.artifact import Artifact
from emma_tune.storage.redaction import printable
from emma_tune.study import Study
from emma_tune.study.file import StudyError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from upath import UPath

    from emma_tune.data.images import ImageSet


class StudyView:
    """A study on disk, as it was when it was opened, whether running, finished or interrupted.

    Tables have the same columns and types whatever of the study is finished; accuracies are in [0, 1].

    Args:
        folder: of the study, a path or a URL.
        failures: of a run that has just ended, by point.

    Attributes:
        data: the same study as plain data: what the command line prints as JSON, and everything else.
        plot: its pictures: `plot.tradeoff()`, …

    Raises:
        StudyError: if it is not the folder of a study.
    """

    def __init__(self, folder: str | os.PathLike[str] | UPath, failures: Mapping[int, str] | None = None) -> None:
        try:
            self.data = Data(as_place(folder))
        except StudyError:
            raise
        except ValueError as error:  # a URL that is unusable
            raise StudyError(str(error)) from error
        self.plot = Plots(self.data)
        self._failures = dict(failures or {})

    @property
    def study(self) -> Study:
        """The study, complete."""
        return self.data.study

    # --- how far it is ------------------------------------------------------------------------------------

    @cached_property
    def _status(self) -> dict[str, Any]:
        return status_of(self.data)

    @property
    def state(self) -> str:
        """Running, finished, interrupted, or finished as far as a stage."""
        return state_of(self._status)

    @property
    def failures(self) -> dict[int, str]:
        """Why points failed, by number; -1 is what all points share. Running the study again retries them."""
        return {**{of["point"]: of["reason"] for of in self._status["failures"]}, **self._failures}

    @property
    def problems(self) -> list[str]:
        """What of the study could not be read, a line each."""
        return self.data.problems

    # --- tables -------------------------------------------------------------------------------------------

    def front(self, *, attacker: str | None = None, defenses: Collection[str] | None = None) -> pd.DataFrame:
        """Return the points of each searched defense's front, by budget, then the references.

        They are chosen by validation figures (columns `validation.…`) and shown with test figures. The columns are
        those of `points`; `on_front` marks the joint front, `on_own_front` that of the point's own defense.

        Args:
            attacker: to defend against; the worst one if None.
            defenses: only points of these; all if None.
        """
        from emma_tune.api.frames import point_columns, typed

        self.data.check_names(attacker, defenses, ("attacker", "defenses"))
        content = self.data.front(attacker=attacker, defenses=defenses)
        return typed(tables.front_table(self.data, content), point_columns(self.study))

    def points(self) -> pd.DataFrame:
        """Return one row a point.

        Columns: `point`, `defense`, `state` (finished, failed, unfinished; of a stopped point dominated or
        excluded), `reason`, `lambda`, `lr_gamma`, `st_epoch`, `within_limits`, `on_front` (of all defenses),
        `on_own_front`, every measure of test (plain name) and validation (`validation.` + name), clone accuracies
        as `attackers.NAME`; of a stopped point its costs, the point it is `dominated_by`, and as
        `validation.attacker_accuracy_at_least` what its clones had reached; then the parameters of baselines.
        """
        from emma_tune.api.frames import point_columns, typed

        return typed(self.data.points(), point_columns(self.study))

    def tasks(self) -> pd.DataFrame:
        """Return one row a finished task: its stage and key, where it is first needed, seconds, host, uses."""
        from emma_tune.api.frames import TASKS, typed

        return typed(self.data.tasks(), TASKS)

    def curves(self) -> pd.DataFrame:
        """Return one row an epoch of a finished task: losses, accuracies, traces."""
        from emma_tune.api.frames import CURVES, typed

        return typed(self.data.curves(), CURVES)

    def measures(self) -> pd.DataFrame:
        """Return one row a measured value: by point, seed, attacker and part of the images."""
        from emma_tune.api.frames import MEASURED, typed

        return typed(self.data.measures(), MEASURED)

    # --- points -------------------------------------------------------------------------------------------

    def best(self, **largest: float) -> BestPoint:
        """Find the finished point at which attackers get least, within the study's limits and these bounds.

        Args:
            **largest: the largest accepted value of a measure: `best(l1=0.8, accuracy_drop=0.01)`.

        Raises:
            StudyError: if no finished point keeps the bounds; it names the closest.
        """
        check_bounds(self.study, largest, "best")
        found = best_point(self.data, {**self.study.limits.bounds, **largest})
        check_found(self.data, found)
        return BestPoint(found)

    def responses(self, point: int, *, seed: int | None = None) -> dict[str, NDArray[Any]]:
        """Return what the defended victim answers at a point, as the arrays of `emma-tune responses`.

        Args:
            point: its number.
            seed: of the victim; the study's first if None.

        Returns:
            For the parts `queries`, `validation` and `test`, in the order of the images, `PART_posteriors` (N, K)
            and `PART_names`; `validation_labels` and `test_labels` (N,); of a defense that is a matrix `matrix`.
        """
        from emma_tune.outputs.answers import answers_of

        return answers_of(self.data, point, seed)

    def artifact(
        self, point: int, stage: str, *, seed: int | None = None, attacker: str | None = None
    ) -> Artifact:
        """Load what a stage left for a point: tensors, metrics, history."""
        return self.data.artifact(point, stage, seed=seed, attacker=attacker)

    def images(self, part: str) -> NDArray[np.uint8]:
        """Return the images of a part, `train`, `validation`, `test` or `queries`: (N, C, H, W)."""
        return self._part(part).images

    def labels(self, part: str) -> NDArray[np.int64]:
        """Return the labels of a part of the victim's images, `train`, `validation` or `test`: (N,)."""
        labels = self._part(part).labels
        if labels is None:
            raise StudyError(f"expected train, validation or test, found {part}, which has no labels here")
        return labels

    def _part(self, part: str) -> ImageSet:
        parts = {**self.data.images("victim"), **self.data.images("queries")}
        if part not in parts:
            raise StudyError(f"expected one of {', '.join(parts)}, found {part!r}")
        return parts[part]

    # --- as a notebook shows it ---------------------------------------------------------------------------

    @cached_property
    def _front_table(self) -> FrontTable:
        return front_table(self.data.front())

    def _heading(self) -> list[str]:
        lines = [f"{self.study.name}: {self.state}; {point_counts(self._status['points'])}"]
        failed = [f"{named(point)} failed: {reason}" for point, reason in self.failures.items()]
        return [printable(line) for line in (*lines, *failed, *self.problems)]

    def __repr__(self) -> str:
        lines, shown = self._heading(), self._front_table
        rows = [shown.columns, *(row for group in shown.groups for row in group)]
        if len(rows) > 1:
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            sides = ["<" if name in TEXT else ">" for name in shown.columns]
            lines += [_padded(row, widths, sides) for row in rows]
        root, here = self.data.folder.root, Path.cwd()
        folder = root.relative_to(here) if is_local(root) and root.is_relative_to(here) else root
        return "\n".join([*lines, f"folder: {folder}"])

    def _repr_html_(self) -> str:
        first, *others = map(html.escape, self._heading())
        shown, above = self._front_table, f"<p><b>{first}</b>{''.join(f'<br>{line}' for line in others)}</p>"
        if not any(shown.groups):
            return above
        head = "".join(_cell("th", name, name) for name in shown.columns)
        body = "".join(
            f"<tr>{''.join(map(_cell, ['td'] * len(row), shown.columns, row))}</tr>"
            for group in shown.groups
            for row in group
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"{above}{table}<p><small>Fronts: {LEGEND}</small></p>"


def load_study(folder: str | os.PathLike[str] | UPath) -> StudyView:
    """Open a study on disk, whether it is running, finished or interrupted; needs no Ray.

    Args:
        folder: of the study, a path or a URL, as `emma-tune run` names it at its end.

    Raises:
        StudyError: if it is not the folder of a study.
    """
    return StudyView(folder)


def _padded(row: tuple[str, ...], widths: list[int], sides: list[str]) -> str:
    cells = (f"{text:{side}{width}}" for text, width, side in zip(row, widths, sides, strict=True))
    return "  ".join(cells).rstrip()


def _cell(tag: str, column: str, text: str) -> str:
    side = "left" if column in TEXT else "right"
    return f'<{tag} style="text-align: {side}">{html.escape(text)}</{tag}>'
