"""The differentiable inner step of gradient-based meta-learning (Finn et al. 2017, arXiv:1703.03400, eq. 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Params = dict[str, Tensor]


def inner_step(
    loss_fn: Callable[[Params], Tensor],
    params: Mapping[str, Tensor],
    step_sizes: Mapping[str, Tensor],
    *,
    first_order: bool = False,
) -> Params:
    """Return θ′ = θ − α ∘ ∇L(θ).

    Args:
        loss_fn: L, a function of all parameters.
        params: θ by name.
        step_sizes: α by name, each a scalar or of its parameter's shape (Meta-SGD, Li et al. 2017,
            arXiv:1707.09835, eq. 2). Parameters that are not named here stay as they are.
        first_order: treat ∇L as a constant, so that dθ′/dθ = 1 (FOMAML).

    Returns:
        All parameters by name, attached to the graph of `params` and `step_sizes`.
    """
    params = dict(params)
    names = [name for name in params if name in step_sizes]
    if not any(params[name].requires_grad for name in names):
        # Nothing outside differentiates through this step; only its own gradient is needed.
        detached = {name: params[name].detach().requires_grad_() for name in names}
        loss = loss_fn({**params, **detached})
        gradients = torch.autograd.grad(loss, list(detached.values()))
    else:
        loss = loss_fn(params)
        gradients = torch.autograd.grad(
            loss, [params[name] for name in names], create_graph=not first_order
        )
    for name, gradient in zip(names, gradients, strict=True):
        params[name] = params[name] - step_sizes[name] * gradient
    return params
