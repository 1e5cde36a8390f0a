"""Images small enough to try every stage on, clean answers to them, and networks that have learned a little."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from emma_tune.data.augmentation import augment
from emma_tune.data.images import ImageSet
from emma_tune.defenses import BASELINES
from emma_tune.stages import STAGES, ResponsesSettings, Views
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, StageRun, State, run_through
from emma_tune.storage.store import Store
from emma_tune.training.classifier import Classifier, new_classifier
from emma_tune.training.fields import Frozen
from emma_tune.training.learner import Learner, restore_classifier
from emma_tune.training.seeds import generator
from emma_tune.training.settings import Training

K = 3
TRAINING = Training(model="resnet8", epochs=3, batch_size=8, augmentation="none")
VIEWS = Views(count=3, augmentation="shift_flip", smallest_crop=0.08, seed=5)
PLAIN_VIEWS = VIEWS.model_copy(update={"augmentation": "none"})
EVERY_PART = ("queries", "labeled", "validation", "test")


def draw(N: int, seed: int) -> ImageSet:
    """Noise in which a bright row tells the class."""
    chance = np.random.default_rng(seed)
    labels = np.arange(N) % K
    images = chance.integers(0, 200, (N, 1, 8, 8), dtype=np.uint8)
    images[np.arange(N), :, labels * 2] += 40
    return ImageSet(images, labels)


def small_runtime(queries: int = 18) -> Runtime:
    """Images of the victim, 21, 14 and 13 by part, and a number of queries."""
    victim = {"train": draw(21, 1), "validation": draw(14, 2), "test": draw(13, 3)}
    return Runtime(torch.device("cpu"), victim, ImageSet(draw(queries, 4).images))


def pixels(runtime: Runtime) -> dict[str, Tensor]:
    """All that a victim is asked without views, by part, each (N, 1, 8, 8) uint8."""
    sets = {part: runtime.victim[part] for part in ("validation", "test")}
    assert runtime.queries is not None
    return {part: torch.from_numpy(of.images) for part, of in sets.items()} | {
        "queries": torch.from_numpy(runtime.queries.images),
        "labeled": torch.from_numpy(runtime.labeled.images),
    }


def views_by_hand(images: Tensor, views: Views) -> Tensor:
    """Every first view in order of the images, then every second one, …: (M·N, C, h, w), for N ≤ 128."""
    assert len(images) <= 128, "views are drawn for 128 images at a time"
    drawn = [
        augment(
            images,
            views.augmentation,
            generator(views.seed, "attacker", "view", number),
            size=(images.shape[2], images.shape[3]),
            smallest_crop=views.smallest_crop,
        )
        for number in range(views.count)
    ]
    return torch.cat(drawn)


def clean(asked: dict[str, int], seed: int = 0) -> Artifact:
    """Posteriors drawn by chance, some of them one-hot, for a number of images of each part."""
    chance = np.random.default_rng(seed)
    drawn = {part: torch.from_numpy(chance.dirichlet(np.full(K, 0.5), N)).float() for part, N in asked.items()}
    for p in drawn.values():
        p[::7] = torch.eye(K)[p[::7].argmax(dim=1)]
    return Artifact(drawn)


def clean_answers(runtime: Runtime, seed: int = 0) -> Artifact:
    """To all that a victim is asked without views."""
    sizes = {part: len(images) for part, images in pixels(runtime).items()}
    return clean({part: sizes[part] for part in EVERY_PART}, seed)


def asked_by_hand(runtime: Runtime, views: Views | None) -> dict[str, Tensor]:
    """All images that are asked, by part."""
    return pixels(runtime) if views is None else {"queries": views_by_hand(pixels(runtime)["queries"], views)}


def answers_to(runtime: Runtime, views: Views | None) -> Artifact:
    """Clean answers drawn by chance."""
    assert runtime.queries is not None
    return clean_answers(runtime) if views is None else clean({"queries": views.count * len(runtime.queries)})


def network(runtime: Runtime, role: str, seed: int = 1) -> tuple[Classifier, Artifact]:
    """Trained for two epochs on the victim's images, so that batch norm has seen something; and as an artifact."""
    images = runtime.victim_images("train")
    classifier = new_classifier("resnet8", images, classes=K, seed=seed, role=role)
    learner = Learner(classifier, TRAINING, seed=seed, role=role)
    for epoch in range(2):
        learner.epoch(images, torch.eye(K)[runtime.victim_labels("train")], epoch)
    artifact = Artifact(learner.state())
    restored = new_classifier("resnet8", images, classes=K, seed=99, role="victim")
    restore_classifier(restored, artifact.tensors)
    return restored.eval(), artifact


def start(
    stage: str, config: Frozen, runtime: Runtime, state: State | None = None, **inputs: Artifact
) -> StageRun:
    """Begin a stage, or go on with it."""
    return STAGES[stage].start(config, inputs=inputs, runtime=runtime, state=state)


def interrupted(begin: Callable[[State | None], StageRun], pauses: set[int], folder: Path) -> tuple[Artifact, int]:
    """Run a stage; at each report counted in `pauses` drop it, and begin it again from its saved state.

    Returns:
        The artifact, and how many reports there were.
    """
    store, run, reports = Store(folder), begin(None), 0
    while True:
        try:
            progress = next(run)
        except StopIteration as finished:
            return finished.value, reports
        reports += 1
        if reports in pauses:
            store.save_state("task", progress.state(), seconds=1.0)
            run.close()
            saved = store.load_state("task")
            assert saved is not None
            run = begin(saved[0])


def content(artifact: Artifact) -> tuple[bytes, str]:
    """All of an artifact, byte by byte."""
    return save(dict(artifact.tensors)), json.dumps([artifact.metrics, artifact.history])


def top(rows: Iterable[list[float]]) -> list[int]:
    """The first of the largest of each row."""
    return [row.index(max(row)) for row in rows]


def parameters(kind: str) -> dict[str, float]:
    """A budget of its grid, and its settings."""
    baseline = BASELINES[kind]
    place = 0 if kind == "top_k" else 1  # three of three classes would be all
    budget = {baseline.budget.name: float(baseline.budget.grid[place])} if baseline.budget else {}
    return {**budget, **baseline.settings}


def configured(kind: str, **changes: object) -> ResponsesSettings:
    draws = BASELINES[kind].randomized or BASELINES[kind].linear
    return ResponsesSettings(
        **{"defense": kind, "params": parameters(kind), "seed": 3 if draws else None, **changes}
    )


def answered(config: ResponsesSettings, runtime: Runtime, posteriors: Artifact, **inputs: Artifact) -> Artifact:
    return run_through(start("responses", config, runtime, posteriors=posteriors, **inputs))
