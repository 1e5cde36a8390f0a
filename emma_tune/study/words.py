"""Counts in words."""


def plural(count: int, noun: str) -> str:
    """Count things: 1 point, 12 points."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
