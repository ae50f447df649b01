"""Log-probability, entropy and divergence of the two action distributions, from the policy's raw outputs.

Shapes: `...` any batch shape, A action numbers, N choices. Written out rather than taken from `torch.distributions`,
whose argument checks depend on data and so break under `torch.func` transforms and export.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gaussian_log_prob(mean: Tensor, log_std: Tensor, actions: Tensor) -> Tensor:
    """Return log N(a; μ, diag σ²). Shapes: mean and actions (..., A), log_std (A,); result (...)."""
    scaled = (actions - mean) * torch.exp(-log_std)
    constant = 0.5 * math.log(2 * math.pi) * mean.shape[-1]
    return -0.5 * scaled.square().sum(-1) - log_std.sum(-1) - constant


def gaussian_entropy(mean: Tensor, log_std: Tensor) -> Tensor:
    """Return the entropy of N(μ, diag σ²). Shapes: mean (..., A), log_std (A,); result (...)."""
    entropy = log_std.sum(-1) + 0.5 * (1 + math.log(2 * math.pi)) * log_std.shape[-1]
    return entropy.expand(mean.shape[:-1])


def gaussian_kl(mean_p: Tensor, log_std_p: Tensor, mean_q: Tensor, log_std_q: Tensor) -> Tensor:
    """Return KL(p ‖ q) of two diagonal Gaussians. Shapes: means (..., A), log_stds (A,); result (...)."""
    variance_ratio = torch.exp(2 * (log_std_p - log_std_q))
    distance = ((mean_p - mean_q) * torch.exp(-log_std_q)).square()
    return 0.5 * (variance_ratio + distance - 1 - 2 * (log_std_p - log_std_q)).sum(-1)


def categorical_log_prob(logits: Tensor, actions: Tensor) -> Tensor:
    """Return log softmax(logits)[a]. Shapes: logits (..., N), actions (...) int64; result (...)."""
    return torch.log_softmax(logits, dim=-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def categorical_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of softmax(logits). Shapes: (..., N); result (...)."""
    log_probs = torch.log_softmax(logits, dim=-1)
    return -(log_probs.exp() * log_probs).sum(-1)


def categorical_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """Return KL(p ‖ q) of two softmax distributions. Shapes: (..., N); result (...)."""
    log_p, log_q = torch.log_softmax(logits_p, dim=-1), torch.log_softmax(logits_q, dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)
