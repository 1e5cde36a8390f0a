"""A defended model to deploy: victim and defence as one module, in files that need no package of this name."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import emma_tune
from emma_tune.outputs.export.agreement import COMPARED, check
from emma_tune.outputs.export.card import Contents, card
from emma_tune.outputs.export.folder import MARK, SETTINGS, check_free, in_place
from emma_tune.outputs.export.formats import (
    IMAGES,
    NEEDED,
    ONNX,
    POSTERIORS,
    PROGRAM,
    check_installed,
    load_onnx,
    load_program,
    write_programs,
    write_weights,
)
from emma_tune.outputs.export.latency import Latency, measure
from emma_tune.outputs.export.module import defended_model
from emma_tune.outputs.export.subject import Subject, choose, refusal
from emma_tune.outputs.export.thieves import Thief, thieves_at
from emma_tune.results import StudyView

__all__ = ["Exported", "Latency", "Thief", "export_point", "refusal", "thieves_at"]

CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: names, in the folder.
        settings: as in settings.json.
        latencies: of batches of 1 and 64.
        thieves: of the study, at this point.
        measured: whether the point's clones were.
    """

    files: list[str]
    settings: dict[str, Any]
    latencies: list[Latency]
    thieves: list[Thief]
    measured: bool


def export_point(view: StudyView, number: int, seed: int | None, out: Path, *, force: bool = False) -> Exported:
    """Writes the defended victim of a point, checked against the study's stored answers.

    Args:
        view: the study.
        number: of the point.
        seed: of the victim; the study's first if None.
        out: the folder; an earlier export in it is replaced.
        force: whether to export a point whose clones were not measured.

    Returns:
        What was written: `model.pt2` (torch.export), `model.onnx`, `victim.safetensors`, `defense.safetensors`
        where the defence has tensors, `settings.json` and `MODEL_CARD.md`.

    Raises:
        StudyError: if there is no such point or seed, it cannot be exported or is not finished, the packages of
            the extra `export` are missing, the folder is not free, or the answers are not the study's. Then
            nothing is written.
    """
    check_installed()
    check_free(out)
    subject = choose(view, number, seed, force=force)
    model = defended_model(subject)
    with in_place(out) as folder, torch.no_grad():
        write_weights(subject, folder)
        write_programs(model, subject.shape, folder)
        files = {PROGRAM: load_program(folder), ONNX: load_onnx(folder)}
        settings = _settings(subject, check(subject, model, files))
        latencies = measure(model, subject.shape, files)
        (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n")
        names = sorted({*(file.name for file in folder.iterdir()), CARD})
        contents = Contents(settings, latencies, torch.get_num_threads(), _machine(), names)
        (folder / CARD).write_text(card(subject, contents), encoding="utf-8")
    return Exported(names, settings, latencies, thieves_at(view, subject.point), subject.measured)


def _settings(subject: Subject, agreement: dict[str, float]) -> dict[str, Any]:
    channels, height, width = subject.shape
    made_on = subject.made_on("posteriors")
    return {
        "made_by": MARK,
        "study": subject.view.study.name,
        "point": subject.point.number,
        "defense": subject.point.defense,
        "params": dict(subject.point.params),
        "seed": subject.seed,
        "run": subject.run,
        "artifacts": {stage: task.key for stage, task in reversed([*subject.tasks.items()])},
        "images": subject.view.planner.images["victim"],
        "model": subject.view.study.victim.model,
        "classes": subject.classes,
        "input": {
            "name": IMAGES,
            "dtype": "uint8",
            "shape": ["batch", channels, height, width],
            "kept": asdict(subject.images["test"].shape),
        },
        "output": {"name": POSTERIORS, "dtype": "float32", "shape": ["batch", subject.classes]},
        "agreement": {
            **agreement,
            "images": min(COMPARED, len(subject.asked("test"))),
            "made_on": None if made_on == platform.machine() else made_on,
        },
        "versions": {
            "emma_tune": emma_tune.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: version(name) for name in NEEDED},
        },
    }


def _machine() -> str:
    """The processor, as well as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
