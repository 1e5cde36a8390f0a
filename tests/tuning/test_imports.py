"""What takes seconds to import is imported by whoever needs it, and not before Ray has begun to start."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "ray", "pandas", "scipy", "matplotlib"}


@pytest.mark.parametrize(("modules", "heavy"), [
    ("emma_tune.tuning.launch, emma_tune.plan.materials, emma_tune.search.proposals", set()),
    ("emma_tune.tuning.workers.trainable, emma_tune.stages.runtime", {"torch"}),
])  # fmt: skip
def test_driver_and_workers_import_no_more_than_they_need(modules, heavy):
    code = f"import sys, {modules}; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert HEAVY & set(ended.stdout.split()) == heavy
