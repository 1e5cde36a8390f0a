"""Decide which point to deploy: best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from emma_tune.cli.app import AsJson, Folder, answer, app, complain, named_numbers, user_errors

if TYPE_CHECKING:
    from emma_tune.results import StudyView


@app.command()
@user_errors()
def best(
    folder: Folder,
    largest: Annotated[
        list[str] | None,
        typer.Option(
            "--max",
            metavar="MEASURE=VALUE",
            help="The largest accepted value of a measure, such as l1=0.8 or accuracy_drop=0.01. Repeatable. "
            "[default: the study's limits]",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Name the point to deploy: the one with the lowest clone accuracy at an accepted cost."""
    from emma_tune.cli.printing.evidence import show_best
    from emma_tune.results import StudyView
    from emma_tune.results.best import best_point

    view = StudyView(folder)
    content = best_point(view, {**view.study.limits.bounds, **_bounds(view, largest)})
    answer(content, show_best, as_json=as_json)
    complain(*view.problems)


def _bounds(view: StudyView, given: list[str] | None) -> dict[str, float]:
    """Parse the accepted values; raise StudyError unless each is in its measure's range."""
    from emma_tune.results.best import bounded, check_bounds

    bounds = named_numbers("--max", "MEASURE=VALUE", given, bounded(view.study))
    check_bounds(view.study, bounds, "--max")
    return bounds
