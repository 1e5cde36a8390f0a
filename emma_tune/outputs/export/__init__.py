"""A defended model to deploy: victim and defense as one module, in files that do not need this package.

`card.py` writes the model card; `agreement.py` checks the files against the answers that the study has stored.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import emma_tune
from emma_tune.models.onnx_graph import IMAGES, POSTERIORS
from emma_tune.outputs.export.agreement import COMPARED, check
from emma_tune.outputs.export.card import AttackerResult, Export, attackers_at, model_card
from emma_tune.outputs.export.defended_model import DefendedModel, defense_of, victim_of
from emma_tune.outputs.export.defended_point import DefendedPoint, defended_point, refusal
from emma_tune.outputs.export.folder import MARK, SETTINGS, check_free, in_place
from emma_tune.outputs.export.formats import (
    NEEDED,
    ONNX,
    PROGRAM,
    Answering,
    check_installed,
    examples,
    fixed_batch,
    load_onnx,
    load_program,
    write_merged,
    write_programs,
    write_weights,
)
from emma_tune.outputs.export.latency import Latency, time_batches
from emma_tune.outputs.export.merging import BATCH, CLEAN
from emma_tune.plan.materials.methods import execute_plugins
from emma_tune.results import StudyView
from emma_tune.study.file import StudyError

__all__ = ["AttackerResult", "Export", "Latency", "attackers_at", "export_point", "refusal"]

CARD = "MODEL_CARD.md"
OF_CLONES = ("attacker", "evaluation")  # stages that no answer depends on


def export_point(
    view: StudyView, number: int, seed: int | None, out: Path, *, force: bool = False, trusted: bool = False
) -> Export:
    """Write the defended victim of a point, checked against the study's stored answers.

    Args:
        view: the study.
        number: of the point.
        seed: of the victim; the study's first if None.
        out: the folder; an earlier export in it is replaced.
        force: whether to export a point whose clones were not measured.
        trusted: whether plug-ins that this user has never run are executed, where the answers need them.

    Returns:
        What was written: `model.pt2` (torch.export), `model.onnx`, `victim.safetensors`, `defense.safetensors`
        where the defense has tensors, `settings.json` and `MODEL_CARD.md`. Of a victim that is given in ONNX only
        `model.onnx` has its graph, with the defense behind it; where only answers of a victim are known, the
        programs are the defense alone, p to p'.

    Raises:
        StudyError: if there is no such point or seed, it cannot be exported or is not finished, the packages of
            the extra `export` are missing, the folder is not free, or the answers are not the study's. Then
            nothing is written.
    """
    check_installed()
    check_free(out)
    exported = defended_point(view, number, seed, force=force)
    execute_plugins(view.study, trusted=trusted, names=exported.computed_by)
    defense, victim = defense_of(exported), victim_of(exported)
    module = DefendedModel(victim, defense).eval() if victim else defense
    inputs = examples(exported)
    with in_place(out) as folder, torch.no_grad():
        write_weights(exported, folder)
        if exported.onnx is None:
            with _traceable(exported):
                write_programs(module, inputs, folder)
            files = {PROGRAM: load_program(folder), ONNX: load_onnx(folder)}
            timed: tuple[Answering, dict[str, Answering]] = (module, files)
        else:
            with _traceable(exported):
                write_merged(exported, defense, folder)
            files = {ONNX: load_onnx(folder)}
            timed = (files[ONNX], {})
        settings = _settings(exported, folder, check(exported, defense, {"module": module, **files}))
        latencies = time_batches(victim, *timed, next(iter(inputs.values())))
        (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n")
        names = sorted({*(file.name for file in folder.iterdir()), CARD})
        export = Export(names, settings, latencies, attackers_at(view, exported.point), exported.measured)
        text = model_card(exported, export, machine=_machine(), threads=torch.get_num_threads())
        (folder / CARD).write_text(text, encoding="utf-8")
    return export


@contextmanager
def _traceable(exported: DefendedPoint) -> Iterator[None]:
    """Say that what a plug-in computes cannot be made a program, if that fails."""
    try:
        yield
    except Exception as error:
        names = [name for name in exported.computed_by if name in exported.view.study.plugged]
        if not names or isinstance(error, OSError | StudyError):
            raise
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StudyError(
            f"point {exported.point.number}: expected what torch.export can trace, found {', '.join(names)} of a "
            f"plug-in ({why})"
        ) from error


def _settings(exported: DefendedPoint, folder: Path, agreement: dict[str, float]) -> dict[str, Any]:
    victim, rows = exported.view.study.victim, fixed_batch(folder) or BATCH
    made_on = exported.made_on("posteriors")
    return {
        "made_by": MARK,
        "study": exported.view.study.name,
        "point": exported.point.number,
        "defense": exported.point.defense,
        "params": dict(exported.point.params),
        "seed": exported.seed,
        "run": exported.run,
        "artifacts": {stage: task.key for stage, task in exported.tasks.items() if stage not in OF_CLONES},
        "images": exported.view.planner.images["victim"],
        "victim": victim.file[0] if victim.file else "trained",
        "model": victim.network,
        "classes": exported.classes,
        "input": _input(exported, rows),
        "output": {
            "name": POSTERIORS,
            "dtype": "float32",
            "shape": [rows, exported.classes],
        },
        "agreement": {
            **agreement,
            "images": min(COMPARED, len(exported.queries("test"))),
            "made_on": None if made_on == platform.machine() else made_on,
        },
        "versions": {
            "emma_tune": emma_tune.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: version(name) for name in NEEDED},
        },
    }


def _input(exported: DefendedPoint, rows: int | str) -> dict[str, Any]:
    if exported.answers_alone:
        return {"name": CLEAN, "dtype": "float32", "shape": [BATCH, exported.classes]}
    return {
        "name": IMAGES,
        "dtype": "uint8",
        "shape": [rows, *exported.shape],
        "kept": asdict(exported.images["test"].shape),
    }


def _machine() -> str:
    """Name the processor, as well as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
