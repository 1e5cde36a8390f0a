"""The optimizer takes the very steps of PyTorch's own, and imports no compiler."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch

from emma_tune.training.sgd import SGD


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.9, 5e-4), (0.5, 0.0), (0.0, 1e-3), (0.0, 0.0)])
def test_steps_are_those_of_pytorch_bit_by_bit(momentum: float, weight_decay: float) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    unused = torch.nn.Parameter(torch.ones(2))  # without a gradient: stays
    other, unmoved = copy.deepcopy(network), copy.deepcopy(unused)
    ours = SGD([*network.parameters(), unused], lr=0.1, momentum=momentum, weight_decay=weight_decay)
    theirs = torch.optim.SGD([*other.parameters(), unmoved], lr=0.1, momentum=momentum, weight_decay=weight_decay)
    for step in range(6):
        ours.lr = theirs.param_groups[0]["lr"] = 0.1 / (1 + step)
        batch = torch.randn(8, 7)
        for trained, optimizer in ((network, ours), (other, theirs)):
            optimizer.zero_grad()
            trained(batch).square().sum().backward()
            optimizer.step()
    assert all(torch.equal(w, v) for w, v in zip(network.parameters(), other.parameters(), strict=True))
    assert torch.equal(unused, torch.ones(2))
    assert len(ours.momenta) == (4 if momentum else 0)


TRAINING = """
import sys
from pathlib import Path
import torch
from emma_tune.storage import as_place
from emma_tune.storage.store import Store
from emma_tune.training.sgd import SGD
from emma_tune.tuning.workers.trainable import StageTrainable

store = Store(as_place(sys.argv[1])).to_json()
StageTrainable({"tasks": [], "store": store, "run": "", "share": {"cpu": 1, "gpu": 0}, "interval": 1.0})
assert torch.are_deterministic_algorithms_enabled()
layer = torch.nn.Linear(2, 2)
optimizer = SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.0)
layer(torch.ones(1, 2)).sum().backward()
optimizer.step()
print(*(name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules))
"""


def test_a_worker_that_trains_imports_no_compiler(tmp_path) -> None:
    command = [sys.executable, "-c", TRAINING, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert not ended.stdout.split()
