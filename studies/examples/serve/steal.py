"""Steal the model behind an endpoint: python steal.py http://127.0.0.1:8000 runs/digits.

The attacker sends the study's query pool and trains a clone on the answers, as the study's attacker `soft` does.
"""

import io
import json
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import torch

from emma_tune.data.batches import Images
from emma_tune.results import StudyView
from emma_tune.results.intervals import wilson
from emma_tune.stages import STAGES
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, run_through


def ask(url: str, images: torch.Tensor) -> list[list[float]]:
    """Query the endpoint with images (B, C, h, w)."""
    body = io.BytesIO()
    np.save(body, images.numpy())
    with urlopen(Request(url, body.getvalue()), timeout=60) as answer:
        return json.load(answer)["posteriors"]


url, folder = sys.argv[1:]
view = StudyView(Path(folder))
pool, victim = view.images("queries")["queries"], view.images("victim")
answers = torch.tensor([row for batch in Images(pool).plain(64) for row in ask(url, batch)])
clone = run_through(
    STAGES["attacker"].start(
        view.tasks_of(0, attacker="soft")["attacker"].config,
        inputs={"responses": Artifact({"queries": answers})},
        runtime=Runtime(torch.device("cpu"), victim, pool),
    )
)
accuracy, count = clone.metrics["best.test.accuracy"], len(victim["test"])
low, high = wilson(accuracy, count)
reach = f"{accuracy:.1%} ({low:.1%} … {high:.1%})"
print(f"{len(answers)} answers; the clone's accuracy on {count} test images: {reach}")
