"""Tangents along a recorded graph: `J v`, the change of what was computed when its leaves move along v.

Forward-mode differentiation (Griewank & Walther 2008, chapter 3) without a forward pass: what autograd has kept
for the backward pass is all that a tangent needs, too. So a convolution costs the two products of its tangent,
`conv(ẋ, w) + conv(x, ẇ)`, and nothing is computed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

Tangents = Sequence[Tensor | None]
"""Of all that a function takes, or returns; None is zero."""

Rule = Callable[[Any, Tangents], Tangents]
"""From a node of the graph and the tangents of what its function takes to those of what it returns."""


@torch.no_grad()
def tangent_of(output: Tensor, directions: Mapping[Tensor, Tensor]) -> Tensor:
    """Compute the tangent of an output, of its shape, along directions of leaves of its graph.

    Args:
        output: what was computed; its graph is kept.
        directions: v by leaf; zero for those left out.

    Raises:
        ValueError: if the output depends on none of the leaves.
    """
    nodes = list(_inputs_first(output.grad_fn)) if output.grad_fn else []
    readers = Counter(edge for node in nodes for edge in node.next_functions)
    tangents: dict[tuple[Node | None, int], Tensor | None] = {}
    for node in nodes:
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            tangents[node, 0] = directions.get(leaf)
            continue
        given = [tangents.get(edge) for edge in node.next_functions]
        readers.subtract(node.next_functions)
        for edge in node.next_functions:
            if not readers[edge]:
                tangents.pop(edge, None)
        if any(tangent is not None for tangent in given):
            rule = RULES.get(node.name(), _transposed_twice)
            tangents.update(((node, number), tangent) for number, tangent in enumerate(rule(node, given)))
    found = tangents.get((output.grad_fn, output.output_nr))
    if found is None:
        raise ValueError("expected an output that depends on its leaves, found one that depends on none")
    return found


def _inputs_first(last: Node) -> Iterator[Node]:
    """Yield the nodes of a graph, each behind those that its function reads."""
    stack, done = [last], set()
    while stack:
        waiting = [node for node, _ in stack[-1].next_functions if node is not None and node not in done]
        stack.extend(waiting)
        if not waiting:
            node = stack.pop()
            if node not in done:
                done.add(node)
                yield node


def _transposed_twice(node: Any, given: Tangents) -> Tangents:
    """Apply any function whose backward can be differentiated: `J t` is the gradient of `u ↦ ⟨Jᵀ u, t⟩`."""
    with torch.enable_grad():
        like = node._input_metadata
        u = [torch.zeros(of.shape, dtype=of.dtype, device=of.device, requires_grad=True) for of in like]
        back = node(*u)
        back = back if isinstance(back, tuple) else (back,)
        # a gradient comes back as broadcast and promoted; autograd's engine reduces it to its input's shape, type
        pairs = [
            (b.sum_to_size(t.shape).to(t.dtype), t)
            for b, t in zip(back, given, strict=True)
            if b is not None and t is not None
        ]
        return torch.autograd.grad([b for b, _ in pairs], u, [t for _, t in pairs], allow_unused=True)


def _convolution(node: Any, given: Tangents) -> Tangents:
    dx, dw, db = given
    if dw is None and db is not None:
        return _transposed_twice(node, given)
    how = (
        node._saved_stride,
        node._saved_padding,
        node._saved_dilation,
        node._saved_transposed,
        node._saved_output_padding,
        node._saved_groups,
    )
    along_w = None if dw is None else torch.convolution(node._saved_input, dw, db, *how)
    along_x = None if dx is None else torch.convolution(dx, node._saved_weight, None, *how)
    return [_sum(along_w, along_x)]


def _batch_norm(node: Any, given: Tangents) -> Tangents:
    """Compute the tangent of `y = γ x̂ + β`, with `x̂ = (x − μ) / σ` over N values a channel.

    `ẏ = (γ/σ) (ẋ − mean(ẋ) − x̂ mean(ẋ x̂)) + γ̇ x̂ + β̇`, which is `a ẋ + b x + c` by channel.
    """
    dx, dw, db = given
    x, w, mean, per_sigma = node._saved_input, node._saved_weight, node._saved_result1, node._saved_result2
    if dx is None or not node._saved_training:
        return _transposed_twice(node, given)
    # the kernel of its backward pass has the two sums, of ẋ x̂ and of ẋ
    _, along, total = torch.ops.aten.native_batch_norm_backward(
        dx, x, w, None, None, mean, per_sigma, True, 0.0, [False, True, True]
    )
    N = x.numel() // x.shape[1]
    a = per_sigma if w is None else w * per_sigma
    b = a * along / -N if dw is None else dw - a * along / N
    b = b * per_sigma
    c = -(a * total / N + mean * b) if db is None else db - a * total / N - mean * b
    a, b, c = (of.to(x.dtype).view(1, -1, *[1] * (x.dim() - 2)) for of in (a, b, c))
    return [torch.addcmul(c, x, b).addcmul_(dx, a)]


def _relu(node: Any, given: Tangents) -> Tangents:
    return [torch.ops.aten.threshold_backward(given[0], node._saved_result, 0)]


def _add(node: Any, given: Tangents) -> Tangents:
    left, right = given
    if left is None or right is None:
        return _transposed_twice(node, given)
    return [torch.add(left, right, alpha=node._saved_alpha)]


def _matrix_product(product: Callable[[Tensor, Tensor], Tensor]) -> Rule:
    def rule(node: Any, given: Tangents) -> Tangents:
        dx, dw = given
        along_w = None if dw is None else product(node._saved_self, dw)
        along_x = None if dx is None else product(dx, node._saved_mat2)
        return [_sum(along_w, along_x)]

    return rule


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Add tensors that nothing else reads."""
    return one.add_(other) if one is not None and other is not None else (one if other is None else other)


RULES: Mapping[str, Rule] = {
    "ConvolutionBackward0": _convolution,
    "NativeBatchNormBackward0": _batch_norm,
    "CudnnBatchNormBackward0": _batch_norm,
    "ReluBackward0": _relu,
    "AddBackward0": _add,
    "MmBackward0": _matrix_product(torch.mm),
    "BmmBackward0": _matrix_product(torch.bmm),
}
"""Faster than `_transposed_twice`, by autograd's names of the functions."""
