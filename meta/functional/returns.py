"""Returns, advantages and the linear feature baseline, on episodes padded to one length.

Shapes: E episodes, H steps, O numbers of an observation. `mask` is 1 where a step was taken and 0 behind an
episode's end. Episodes end for good: a horizon is part of the task, as in the meta-RL protocols this serves,
so nothing is bootstrapped behind the last step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

OBSERVATION_LIMIT = 10.0
"""Observations are clipped to this before they become features, so that one outlier cannot own the fit."""
ROUNDING = 1e-13
"""A ridge below this share of the features' squares could be lost in float64."""


def discounted_returns(rewards: Array, mask: Array, gamma: float) -> Array:
    """Return Gₜ = rₜ + γ Gₜ₊₁ of every step.

    Args:
        rewards: (E, H).
        mask: (E, H).
        gamma: discount.

    Returns:
        (E, H) float64, 0 where the mask is 0.
    """
    return generalized_advantages(rewards, np.zeros_like(rewards), mask, gamma, 1.0)


def generalized_advantages(
    rewards: Array, values: Array, mask: Array, gamma: float, gae_lambda: float
) -> Array:
    """Return generalised advantage estimates (Schulman et al. 2016, arXiv:1506.02438, eq. 16).

    Âₜ = δₜ + γλ Âₜ₊₁ with δₜ = rₜ + γ V(sₜ₊₁) − V(sₜ) and V = 0 behind the end.

    Args:
        rewards: (E, H).
        values: (E, H), the baseline's prediction of the return at each step.
        mask: (E, H).
        gamma: discount.
        gae_lambda: λ; 1 gives the return minus the baseline, 0 the one-step error.

    Returns:
        (E, H) float64, 0 where the mask is 0.
    """
    values = np.asarray(values, dtype=np.float64) * mask
    next_values = np.concatenate([values[:, 1:], np.zeros_like(values[:, :1])], axis=1)
    deltas = (rewards + gamma * next_values - values) * mask
    advantages = np.zeros_like(deltas)
    tail = np.zeros(len(deltas))
    for t in reversed(range(deltas.shape[1])):
        tail = deltas[:, t] + gamma * gae_lambda * tail
        advantages[:, t] = tail
    return advantages * mask


def normalize(values: Array, mask: Array) -> Array:
    """Return (x − mean) / standard deviation over the steps that were taken, 0 elsewhere. Shape: (E, H)."""
    count = mask.sum()
    mean = (values * mask).sum() / count
    deviation = np.sqrt((((values - mean) * mask) ** 2).sum() / count)
    return np.asarray((values - mean) / (deviation + 1e-8) * mask)


def baseline_features(observations: Array) -> Array:
    """Return the features o, o², t/100, (t/100)², (t/100)³, 1 (Duan et al. 2016, arXiv:1604.06778, appendix).

    Args:
        observations: (E, H, O).

    Returns:
        (E, H, 2·O + 4) float64.
    """
    clipped = np.clip(observations.astype(np.float64), -OBSERVATION_LIMIT, OBSERVATION_LIMIT)
    episodes, horizon, _ = clipped.shape
    time = np.broadcast_to((np.arange(horizon) / 100.0)[None, :, None], (episodes, horizon, 1))
    return np.concatenate(
        [clipped, clipped**2, time, time**2, time**3, np.ones_like(time)], axis=-1
    )


def linear_baseline(observations: Array, returns: Array, mask: Array, ridge: float = 1e-5) -> Array:
    """Fit the returns of one batch by ridge regression on `baseline_features`; return the predictions.

    A batch is one task under one policy: the fit is done anew for every task and every inner step.

    Args:
        observations: (E, H, O).
        returns: (E, H).
        mask: (E, H); steps with 0 neither enter the fit nor get a value.
        ridge: added to the diagonal; more where rounding would swallow it, so that the system can be solved whatever
            the features are.

    Returns:
        (E, H) float64 values.

    Raises:
        ValueError: if the returns are too large to be fitted.
    """
    features = baseline_features(observations) * mask[..., None]
    flat = features.reshape(-1, features.shape[-1])
    gram, target = flat.T @ flat, flat.T @ (returns * mask).reshape(-1)
    ridge = max(ridge, ROUNDING * np.trace(gram))
    weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), target)
    if not np.isfinite(weights).all():
        raise ValueError(
            f"no linear baseline can be fitted to returns of up to {np.abs(returns * mask).max():g}: "
            "rewards must be numbers of moderate size"
        )
    return np.asarray(features @ weights)
