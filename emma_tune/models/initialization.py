"""How the weights of a fresh network are drawn, where its own code is not to decide."""

from __future__ import annotations

from typing import Literal

from torch import nn


def draw_kaiming(network: nn.Module, *, fan: Literal["fan_in", "fan_out"], linear: bool) -> None:
    """Draw the weights of convolutions from N(0, 2/fan), in place (He et al. 2015); biases and norms stay.

    Args:
        network: whose weights are drawn.
        fan: what the variance is counted by: the inputs of a weight's outputs, or the outputs of its inputs.
        linear: whether linear layers are drawn in the same way.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) or (linear and isinstance(module, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, mode=fan, nonlinearity="relu")
