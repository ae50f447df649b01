"""The trust-region step: the best step whose divergence stays within a bound (Schulman et al. 2015, arXiv:1502.05477).

Parameters are one flat vector here; `flatten` and `unflatten` translate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from metamotor.meta.functional.inner_step import Params


class TrustRegionStep(NamedTuple):
    """The new parameters and what became of the step."""

    params: Params
    accepted: bool
    improvement: float
    divergence: float


def flatten(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return all tensors as one vector, in the mapping's order."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors.values()])


def unflatten(vector: Tensor, like: Mapping[str, Tensor]) -> Params:
    """Return the vector cut into tensors of the names and shapes of `like`."""
    pieces = torch.split(vector, [tensor.numel() for tensor in like.values()])
    return {
        name: piece.view_as(tensor)
        for (name, tensor), piece in zip(like.items(), pieces, strict=True)
    }


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], target: Tensor, *, iterations: int = 10
) -> Tensor:
    """Return x with A x ≈ target for a positive definite A given by its products.

    Args:
        product: v ↦ A v.
        target: (D,).
        iterations: at most this many; D of them are exact in exact arithmetic.
    """
    solution = torch.zeros_like(target)
    residual = target.clone()
    direction = target.clone()
    squared = residual.dot(residual)
    for _ in range(iterations):
        if squared < 1e-20:
            break
        image = product(direction)
        step = squared / direction.dot(image)
        solution = solution + step * direction
        residual = residual - step * image
        previous, squared = squared, residual.dot(residual)
        direction = residual + squared / previous * direction
    return solution


def trust_region_step(
    objective: Callable[[Params], Tensor],
    divergence: Callable[[Params], Tensor],
    params: Params,
    *,
    max_kl: float = 0.01,
    damping: float = 1e-5,
    cg_iterations: int = 10,
    line_search_steps: int = 15,
    backtrack: float = 0.8,
) -> TrustRegionStep:
    """Maximise `objective` under `divergence` ≤ `max_kl` by a natural-gradient step and a backtracking line search.

    Args:
        objective: to be maximised.
        divergence: 0 with zero gradient at `params`.
        params: where to start; returned unchanged if no step of the line search is better.
        max_kl: the bound on the divergence.
        damping: added to the diagonal of the divergence's Hessian.
        cg_iterations: of the conjugate gradient.
        line_search_steps: steps tried, each `backtrack` times the one before.
        backtrack: see above.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    values = list(leaves.values())
    before = objective(leaves)
    gradient = _flat_gradient(before, values)
    slope = _flat_gradient(divergence(leaves), values, create_graph=True)

    def hessian_product(vector: Tensor) -> Tensor:
        product = _flat_gradient(slope.dot(vector), values, retain_graph=True)
        return product + damping * vector

    direction = conjugate_gradient(hessian_product, gradient, iterations=cg_iterations)
    curvature = direction.dot(hessian_product(direction))
    if not curvature > 0:
        return TrustRegionStep(params, False, 0.0, 0.0)
    full_step = direction * torch.sqrt(2 * max_kl / curvature)
    start = flatten({name: value.detach() for name, value in params.items()})
    for attempt in range(line_search_steps):
        candidate = unflatten(start + backtrack**attempt * full_step, params)
        # Not under no_grad: an objective that holds inner steps takes gradients itself.
        gain = float(objective(candidate).detach() - before.detach())
        distance = float(divergence(candidate).detach())
        if gain > 0 and distance <= max_kl:
            return TrustRegionStep(candidate, True, gain, distance)
    return TrustRegionStep(params, False, 0.0, 0.0)


def _flat_gradient(
    value: Tensor,
    inputs: list[Tensor],
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Tensor:
    gradients = torch.autograd.grad(
        value, inputs, create_graph=create_graph, retain_graph=retain_graph, allow_unused=True
    )
    return torch.cat(
        [
            (torch.zeros_like(given) if gradient is None else gradient).reshape(-1)
            for gradient, given in zip(gradients, inputs, strict=True)
        ]
    )
