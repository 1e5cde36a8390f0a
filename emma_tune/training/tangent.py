"""Tangents along a recorded graph: `J v`, the change of an output when the leaves of its graph move along v.

Forward-mode differentiation (Griewank & Walther 2008, chapter 3) without a forward pass: what autograd has saved
for the backward pass is all that a tangent needs. So a convolution costs the two products of its tangent,
`conv(ẋ, w) + conv(x, ẇ)`, and nothing is computed again.

A node of the graph is the backward function of what was computed there; in autograd's words, its `next_functions`
lead to the inputs of the computation, and its own inputs are gradients of the outputs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

Tangents = Sequence[Tensor | None]
"""Of all inputs of a function, or of all its outputs; None is zero."""

Rule = Callable[[Any, Tangents], Tangents]
"""From a node and the tangents of its function's inputs to those of its outputs."""


@torch.no_grad()
def tangent_of(output: Tensor, directions: Mapping[Tensor, Tensor]) -> Tensor:
    """Compute the tangent of an output, of its shape, along directions of leaves of its graph.

    Args:
        output: what was computed; its graph is kept.
        directions: v by leaf; zero for those left out.

    Raises:
        ValueError: if the output does not depend on the leaves.
        NotImplementedError: if a function on the way has a backward pass that cannot be differentiated.
    """
    nodes = list(_inputs_first(output.grad_fn)) if output.grad_fn else []
    readers = Counter(edge for node in nodes for edge in node.next_functions)
    tangents: dict[tuple[Node | None, int], Tensor | None] = {}
    for node in nodes:
        if node.name() == "torch::autograd::AccumulateGrad":
            tangents[node, 0] = directions.get(node.variable)  # type: ignore[attr-defined]
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
    """Yield the nodes of a graph, each after those of its inputs."""
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
    """Apply any function whose backward pass can be differentiated: `J t` is the gradient of `u ↦ ⟨Jᵀ u, t⟩`."""
    with torch.enable_grad():
        u = [_ramp(of).requires_grad_() for of in node._input_metadata]
        found: Tangents = [None] * len(u)
        try:
            pairs = list(_transposed(node, u, given))
            connected = [(gradient, tangent) for gradient, tangent in pairs if gradient.requires_grad]
            if connected:
                gradients, tangents = zip(*connected, strict=True)
                found = torch.autograd.grad(gradients, u, tangents, allow_unused=True)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # of a few functions of PyTorch
            raise NotImplementedError(f"{node.name()}: {error}") from error
    # of a user's own, such as those that are `once_differentiable`; the gradient of `round` is zero
    dead = all(of is None for of in found)
    constant = [gradient for gradient, _ in pairs if dead or not gradient.requires_grad]
    if any(gradient.any() for gradient in constant):
        raise NotImplementedError(f"expected a backward pass that can be differentiated, found {node.name()}")
    return found


def _ramp(of: Any) -> Tensor:
    """Return a u of a gradient's shape: any will do for a linear map, but zero may run through infinities."""
    return torch.linspace(1, 2, math.prod(of.shape), dtype=of.dtype, device=of.device).view(of.shape)


def _transposed(node: Any, u: Sequence[Tensor], given: Tangents) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield Jᵀ u for each input that has a tangent, and that tangent."""
    if isinstance(node, BackwardCFunction):  # of a user's own, which also returns None for what is no tensor
        returned = _as_tuple(node.apply(*u))
        gradients = tuple(of for of, needed in zip(returned, node.needs_input_grad, strict=False) if needed)
        given = [tangent for tangent, (source, _) in zip(given, node.next_functions, strict=True) if source]
    else:
        gradients = _as_tuple(node(*u))
    for gradient, tangent in zip(gradients, given, strict=True):
        if gradient is not None and tangent is not None:
            # as broadcast and promoted: autograd's engine reduces it to the shape and type of its input
            yield gradient.sum_to_size(tangent.shape).to(tangent.dtype), tangent


def _as_tuple(returned: Any) -> tuple[Any, ...]:
    return returned if isinstance(returned, tuple) else (returned,)


def _entry_by_entry(node: Any, given: Tangents) -> Tangents:
    """Apply a function of each entry alone: its Jacobian is diagonal, and its own transpose."""
    return [node(given[0])]


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
    b = (a * along / -N if dw is None else dw - a * along / N) * per_sigma
    c = -(a * total / N + mean * b) if db is None else db - a * total / N - mean * b
    a, b, c = (of.to(x.dtype).view(1, -1, *[1] * (x.dim() - 2)) for of in (a, b, c))
    return [torch.addcmul(c, x, b).addcmul_(dx, a)]


def _add(node: Any, given: Tangents) -> Tangents:
    left, right = given
    if left is None or right is None:
        return _transposed_twice(node, given)
    # a sum in place has the type of its left side
    return [torch.add(left, right, alpha=node._saved_alpha).to(node._input_metadata[0].dtype)]


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
    "ReluBackward0": _entry_by_entry,
    "HardsigmoidBackward0": _entry_by_entry,
    "AddBackward0": _add,
    "MmBackward0": _matrix_product(torch.mm),
    "BmmBackward0": _matrix_product(torch.bmm),
}
"""Faster than `_transposed_twice`, or where it cannot be applied; by autograd's names of the functions."""
