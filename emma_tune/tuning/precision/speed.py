"""Time a convolution and a matrix product in fp32 and in bf16; executed as a script, it prints the seconds.

A CPU without instructions for bf16 emulates it, and then takes about ten times as long, whatever the size: with
AVX2 only, 11 to 13 times for convolutions of ResNet-8 at 8×8 to ResNet-18 at 32×32, 7 to 10 for a training step.
"""

from __future__ import annotations

import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDS = 3
B, C, SIDE, D = 8, 32, 16, 256
"""Images and channels as in the middle of a small network, and features; 0.1 s in all where bf16 is slow."""


def main() -> None:
    """Time both in turn on one thread, as a task of one CPU has it, after a round that does not count."""
    torch.set_num_threads(1)
    x = torch.randn(B, C, SIDE, SIDE).contiguous(memory_format=torch.channels_last).requires_grad_()
    kernel = torch.randn(C, C, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    features, weights = torch.randn(D // 2, D, requires_grad=True), torch.randn(D, D, requires_grad=True)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(ROUNDS + 1):
        for in_bf16, taken in seconds.items():
            began = time.perf_counter()
            _step(x, kernel, features, weights, in_bf16)
            taken.append(time.perf_counter() - began)
    fp32, bf16 = (statistics.median(taken[1:]) for taken in seconds.values())
    print(json.dumps({"fp32": fp32, "bf16": bf16}))


def _step(x: Tensor, kernel: Tensor, features: Tensor, weights: Tensor, in_bf16: bool) -> None:
    """Go forward and backward, in the precision that `forward` of `classifier.py` would choose."""
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
        convolved, product = F.conv2d(x, kernel, padding=1), features @ weights
    torch.autograd.grad((convolved.sum(), product.sum()), (x, kernel, features, weights))


if __name__ == "__main__":
    main()
