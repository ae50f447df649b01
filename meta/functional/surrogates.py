"""Policy-gradient objectives to be maximised, on episodes padded to one length.

Shapes: E episodes, H steps. All functions share the arguments

    log_probs (E, H): of the policy to be differentiated;
    old_log_probs (E, H): of the policy that sampled, without a gradient;
    advantages (E, H);
    weights (E, H): 0 behind an episode's end, summing to 1 over what was sampled, or to the probability of each
        trajectory where an expectation is enumerated: an objective is Σ weights · term.

The first derivative of all of them at the sampling policy is the policy gradient. They differ in the second one,
which is what the meta-gradient through an inner step sees (Rothfuss et al. 2019, ProMP, arXiv:1810.06784, section 4):
the plain log-probability misses how the policy's own sampling changes, the likelihood ratio (LVC) has it within a
step, DiCE has it whole at a higher variance.
"""

from __future__ import annotations

import torch
from torch import Tensor


def log_probability(log_probs: Tensor, advantages: Tensor, weights: Tensor) -> Tensor:
    """Return Σ log π(aₜ|sₜ) Âₜ, REINFORCE's objective (the biased meta-gradient, ProMP eq. 3)."""
    return (weights * log_probs * advantages).sum()


def likelihood_ratio(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, weights: Tensor
) -> Tensor:
    """Return Σ π(aₜ|sₜ) / π_old(aₜ|sₜ) Âₜ, the low-variance curvature objective (ProMP eq. 10 and 12)."""
    return (weights * torch.exp(log_probs - old_log_probs) * advantages).sum()


def dice(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, weights: Tensor) -> Tensor:
    """Return the DiCE objective with a baseline (Foerster et al. 2018, arXiv:1802.05098, eq. 6 and 10).

    Σₜ (∏_{t'≤t} π/π_old − ∏_{t'<t} π/π_old) · Âₜ: the probability of all that led to a step multiplies its advantage,
    the baseline's part of it counted without the step's own action. With Â = G − b and G the return to go this is
    Loaded DiCE at λ = 1 (Farquhar et al. 2019, arXiv:1909.10549, eq. 9): derivatives of every order are unbiased.

    The log-probabilities, which are summed up along the steps, must be 0 behind an episode's end.
    """
    log_ratios = log_probs - old_log_probs
    through = torch.cumsum(log_ratios, dim=-1)
    before = through - log_ratios
    return (weights * (torch.exp(through) - torch.exp(before)) * advantages).sum()


def clipped(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    clip_range: float,
) -> Tensor:
    """Return PPO's objective, whose ratio earns nothing beyond 1 ± `clip_range` (Schulman et al. 2017, eq. 7).

    The paper is arXiv:1707.06347.
    """
    ratios = torch.exp(log_probs - old_log_probs)
    bounded = torch.clamp(ratios, 1 - clip_range, 1 + clip_range)
    return (weights * torch.minimum(ratios * advantages, bounded * advantages)).sum()
