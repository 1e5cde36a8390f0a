"""emma_tune: how to protect a deployed classifier against model stealing, and how much that costs."""

__version__ = "0.1.0"
