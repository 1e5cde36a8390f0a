"""WRN-40-2 compared with its published size and a plain restatement of its forward pass."""

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.models import build_model


def test_wrn40_2_has_its_published_size():
    def block(narrow: int, wide: int) -> int:
        """Two norms, two 3×3 convolutions, and a 1×1 shortcut where the width changes."""
        return 2 * narrow + 9 * narrow * wide + 2 * wide + 9 * wide**2 + (narrow * wide if narrow != wide else 0)

    stages = sum(block(narrow, wide) + 5 * block(wide, wide) for narrow, wide in ((16, 32), (32, 64), (64, 128)))
    counted = 27 * 16 + stages + 2 * 128 + 128 * 10 + 10
    model = build_model("wrn40_2", channels=3, classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == counted == 2_243_546


def test_wrn40_2_is_norm_and_relu_before_each_convolution():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = build_model("wrn40_2", channels=3, classes=10).double().eval()
        for name, value in model.state_dict().items():
            if "norm" in name and "num" not in name:
                value.copy_(torch.rand_like(value) + 0.5)  # nothing is the identity
    state, images = model.state_dict(), torch.rand(2, 3, 16, 16, dtype=torch.float64)

    def activated(x: Tensor, norm: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{norm}.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (var + 1e-5).sqrt() * weight + bias).clamp(min=0)

    x = F.conv2d(images, state["stem.weight"], padding=1)
    for number in range(18):
        place, stride = f"stages.{number}", 2 if number in (6, 12) else 1
        h = activated(x, f"{place}.norm1")
        if number in (0, 6, 12):
            x = F.conv2d(h, state[f"{place}.shortcut.weight"], stride=stride)
        h = F.conv2d(h, state[f"{place}.conv1.weight"], stride=stride, padding=1)
        x = x + F.conv2d(activated(h, f"{place}.norm2"), state[f"{place}.conv2.weight"], padding=1)
    expected = activated(x, "norm").mean(dim=(2, 3)) @ state["head.weight"].T + state["head.bias"]
    with torch.no_grad():
        torch.testing.assert_close(model(images), expected, rtol=1e-9, atol=1e-9)
