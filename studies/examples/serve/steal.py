"""Steal the model behind an endpoint: python steal.py http://127.0.0.1:8000 runs/digits.

The attacker sends the study's query pool and trains a clone on the answers, as the study's attacker `soft` does.
"""

import io
import json
import sys
from urllib.request import Request, urlopen

import numpy as np

import emma_tune
from emma_tune.data.batches import Images
from emma_tune.results.intervals import wilson
from emma_tune.training.settings import Training


def ask(url, images):
    """Query the endpoint with images (B, C, h, w)."""
    body = io.BytesIO()
    np.save(body, images)
    with urlopen(Request(url, body.getvalue()), timeout=60) as answer:
        return json.load(answer)["posteriors"]


url, folder = sys.argv[1:]
view = emma_tune.load_study(folder).data
sets = {**view.images("victim"), **view.images("queries")}
pixels = {part: np.concatenate(list(Images(of).plain(64))) for part, of in sets.items()}
queries, test, labels = pixels["queries"], pixels["test"], sets["test"].labels
answers = np.concatenate([ask(url, queries[start : start + 64]) for start in range(0, len(queries), 64)])
settings = view.study.attackers["soft"].model_dump(include=Training.model_fields.keys() - {"weights"})
chosen = {"validation_images": pixels["validation"], "validation_labels": sets["validation"].labels}
accuracy = emma_tune.steal(queries, answers, test, labels, **chosen, seed=view.run_of(None), **settings)
low, high = wilson(accuracy, len(test))
reach = f"{accuracy:.1%} ({low:.1%} … {high:.1%})"
print(f"{len(answers)} answers; the clone's accuracy on {len(test)} test images: {reach}")
