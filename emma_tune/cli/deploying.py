"""The verb that leaves the laboratory: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emma_tune import terminal
from emma_tune.cli.app import Folder, app, user_errors


@app.command()
def export(
    folder: Folder,
    point: Annotated[int, typer.Option(help="The number of a point.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write; an earlier export is replaced.")],
    seed: Annotated[int | None, typer.Option(help="Of the victim. [default: the study's first]")] = None,
) -> None:
    """Write a point's victim with its defence as one model: PyTorch, ONNX, weights, and a model card."""
    with user_errors():
        from emma_tune.export import export_point
        from emma_tune.results import StudyView

        view = StudyView(folder)
        exported = export_point(view, point, seed, out)
    agreement = exported.settings["agreement"]
    largest = max(value for name, value in agreement.items() if name.startswith("mod"))
    typer.echo(f"answers are the study's on {agreement['images']} test images: within {largest:.1e}")
    for row in exported.latencies:
        typer.echo(
            f"batch of {row.batch}: {1000 * row.undefended:.2f} ms undefended, "
            f"{1000 * row.defended:.2f} ms with the defence"
        )
    beating = [thief.name for thief in exported.thieves if thief.beats]
    if beating:
        typer.echo(f"beaten by: {', '.join(beating)}; read MODEL_CARD.md")
    for name in exported.files:
        typer.echo(f"{out / name}")
    terminal.show_problems(view.problems)
