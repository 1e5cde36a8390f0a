"""A defense that is a matrix as lines of Python: what a card shows, and what needs PyTorch alone."""

from __future__ import annotations

from collections.abc import Mapping

from emma_tune.defenses.around import GATE, OF_STEPS, TEMPERATURE, THEN, around_params

NORMALIZED = "answers = answers / answers.sum(1, keepdim=True)"
TOP = "top = torch.nn.functional.one_hot(answers.argmax(1), answers.shape[1]).to(p.dtype)"

STEPS = {
    "argmax": (TOP, "answers = top"),
    "top_k": ("rest = answers.argsort(dim=1, descending=True, stable=True)[:, {:g}:]",
              "answers = answers.scatter(1, rest, 0)", NORMALIZED),
    "rounding": (TOP, "rounded = answers.round(decimals={:g})",
                 "answers = torch.where(rounded.sum(1, keepdim=True) > 0, rounded, top)", NORMALIZED),
}  # fmt: skip
"""What a second step makes of the answers, with its number."""


def matrix_code(params: Mapping[str, float | str]) -> list[str]:
    """Write p' of p, (N, K), and `tensors["matrix"]`, T, behind the gate and before the second step of a point.

    Args:
        params: of the point.
    """
    given = around_params(params)
    lines = ['answers = (p @ tensors["matrix"]).clamp(1e-12, 1)', NORMALIZED]
    if GATE.name in given:
        sure = "p"
        if TEMPERATURE.name in given:
            lines.append(f"flat = (p.clamp(min=1e-12).log() / {given[TEMPERATURE.name]!r}).softmax(1)")
            sure = "flat"
        acts = f"{sure}.amax(1, keepdim=True) < {given[GATE.name]!r}"
        lines.append(f"answers = torch.where({acts}, answers, p)")
    if THEN in given:
        values = [given[name] for name in OF_STEPS if name in given]
        unknown = (f"# then {given[THEN]}, as emma_tune.defenses has it",)
        lines += [line.format(*values) for line in STEPS.get(str(given[THEN]), unknown)]
    return lines
