"""A network: two convolutions, for images of any size."""

from torch import nn

from emma_tune.plugins import network


@network()
def small_cnn(channels, classes):
    """Build the network, with fresh weights.

    Args:
        channels: of the images, 1 or 3.
        classes: K.

    Returns:
        A module that maps images (B, channels, H, W) to logits (B, K).
    """
    return nn.Sequential(
        nn.Conv2d(channels, 16, kernel_size=3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 32, classes),
    )
