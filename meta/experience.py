"""Episodes made ready for a policy-gradient step: tensors with advantages, for one task under one policy.

Shapes: E episodes, H steps, O numbers of an observation, A of an action.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from metamotor.meta.functional import returns as functional
from metamotor.meta.functional import surrogates
from metamotor.meta.functional.inner_step import Params
from metamotor.meta.on_policy import OnPolicyAdapter
from metamotor.meta.rollouts import EpisodeBatch


class Experience(NamedTuple):
    """One batch of one task, with what a gradient needs."""

    observations: Tensor
    """(E, H, O)."""
    actions: Tensor
    """(E, H, A) or (E, H)."""
    advantages: Tensor
    """(E, H), against the baseline."""
    returns: Tensor
    """(E, H), discounted, from each step on."""
    weights: Tensor
    """(E, H), summing to 1: the same at each step that was taken, unless another policy sampled; else 0."""
    old_log_probs: Tensor
    """(E, H), of the policy that sampled, 0 behind an episode's end."""


def prepare(
    batch: EpisodeBatch,
    adapter: OnPolicyAdapter,
    params: Params,
    *,
    normalize: bool,
    gamma: float | None = None,
    gae_lambda: float | None = None,
    ratios: NDArray[Any] | None = None,
) -> Experience:
    """Return the batch with advantages against a linear baseline that is fitted to it alone.

    Args:
        batch: what was sampled.
        adapter: the base learner.
        params: of the policy that sampled.
        normalize: give the advantages zero mean and unit variance over the batch.
        gamma: discount; None takes the base learner's.
        gae_lambda: λ of the generalised advantages; None takes the base learner's.
        ratios: how much each step counts, where another policy sampled: π/μ of its action. Shape: (E, H).
    """
    model = adapter.template
    gamma = model.gamma if gamma is None else gamma
    gae_lambda = model.gae_lambda if gae_lambda is None else gae_lambda
    length = int(batch.mask.sum(axis=1).max())  # behind the longest episode there is only padding
    observations, mask = batch.observations[:, :length], batch.mask[:, :length]
    rewards = batch.rewards[:, :length]
    returns = functional.discounted_returns(rewards, mask, gamma)
    values = functional.linear_baseline(observations, returns, mask)
    advantages = functional.generalized_advantages(rewards, values, mask, gamma, gae_lambda)
    observed = torch.as_tensor(observations)
    actions = torch.as_tensor(batch.actions[:, :length])
    if normalize:
        advantages = functional.normalize(advantages, mask)
    taken = torch.as_tensor(mask).float()
    with torch.no_grad():
        old_log_probs = adapter.log_prob(params, observed, actions) * taken
    counted = taken
    if ratios is not None:
        counted = taken * torch.as_tensor(ratios[:, :length]).float()
    return Experience(
        observations=observed,
        actions=actions,
        advantages=torch.as_tensor(advantages).float(),
        returns=torch.as_tensor(returns).float(),
        weights=counted / counted.sum(),
        old_log_probs=old_log_probs,
    )


def surrogate_loss(
    kind: str, adapter: OnPolicyAdapter, params: Params, experience: Experience
) -> Tensor:
    """Return the inner loss of a kind that `meta.MAMLConfig.inner_loss` names, to be minimised.

    Args:
        kind: "likelihood_ratio", "dice", "log_prob", or "base" for the algorithm's own loss.
        adapter: the base learner.
        params: all parameters by name; the loss is differentiable in them.
        experience: one task's batch.
    """
    data = experience
    if kind == "base":
        return _own_loss(adapter, params, data)
    taken = (data.weights > 0).float()
    log_probs = adapter.log_prob(params, data.observations, data.actions) * taken
    if kind == "log_prob":
        return -surrogates.log_probability(log_probs, data.advantages, data.weights)
    objective = surrogates.dice if kind == "dice" else surrogates.likelihood_ratio
    return -objective(log_probs, data.old_log_probs, data.advantages, data.weights)


def _own_loss(adapter: OnPolicyAdapter, params: Params, data: Experience) -> Tensor:
    taken = data.weights > 0
    observations = data.observations[taken]
    with torch.no_grad():
        old_values = adapter.values(params, observations)
    return adapter.loss(
        params,
        observations,
        data.actions[taken],
        data.old_log_probs[taken],
        old_values,
        data.advantages[taken],
        data.returns[taken],
    )
