"""Context: numbers appended to a policy's observation, which adaptation writes (CAVIA).

A policy of an observation and a context becomes another policy by a change of the context alone (Zintgraf et al. 2019,
arXiv:1810.03642, section 3). An update then has to find a few numbers in its episodes instead of thousands of weights:
what is noise in a policy gradient mostly points elsewhere.

Shapes: N observations, O numbers in one, C numbers in the context.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from torch import Tensor, nn

NAME = "context"
"""Of the parameter in the extractor; a policy's name for it ends in this."""


class ContextExtractor(BaseFeaturesExtractor):
    """The flattened observation with the context behind it, the same for every observation.

    Args:
        observation_space: of the family.
        context_size: C.
    """

    def __init__(self, observation_space: gymnasium.Space[Any], context_size: int) -> None:
        super().__init__(observation_space, get_flattened_obs_dim(observation_space) + context_size)
        self.context = nn.Parameter(torch.zeros(context_size))

    def forward(self, observations: Tensor) -> Tensor:
        """Return observations (N, O) as features (N, O + C)."""
        flat = observations.flatten(1)
        return torch.cat([flat, self.context.expand(flat.shape[0], -1)], dim=1)


def with_context(base_kwargs: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Return a base learner's arguments with a context of this size in its policy; 0 leaves them as they are.

    Raises:
        ValueError: if the policy has another features extractor already.
    """
    if size == 0:
        return dict(base_kwargs)
    policy_kwargs = dict(base_kwargs.get("policy_kwargs") or {})
    for name in ("features_extractor_class", "features_extractor_kwargs"):
        if (own := policy_kwargs.get(name)) is not None:
            raise ValueError(
                f"context_size={size} appends to the flat observation, but policy_kwargs has "
                f"{name}={getattr(own, '__name__', own)}: leave one of them out"
            )
    policy_kwargs |= {
        "features_extractor_class": ContextExtractor,
        "features_extractor_kwargs": {"context_size": size},
    }
    return {**base_kwargs, "policy_kwargs": policy_kwargs}


def is_foldable(policy: Any) -> bool:
    """Say whether a policy with a context is one of Stable-Baselines3's own, whose first layers are known."""
    return type(policy) is ActorCriticPolicy and type(policy.mlp_extractor) is MlpExtractor


def folded(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters of the same policy without a context: what is constant is part of a bias.

    Args:
        params: of a policy with a context that `is_foldable`, by name.
    """
    found = {name: value for name, value in params.items() if not is_context(name)}
    for own, head in (("policy_net", "action_net"), ("value_net", "value_net")):
        # One context for both, or one each (share_features_extractor=False).
        kind = "pi_" if own == "policy_net" else "vf_"
        context = params.get(f"{kind}features_extractor.{NAME}")
        if context is None:
            context = params[f"features_extractor.{NAME}"]
        hidden = f"mlp_extractor.{own}.0"
        first = hidden if f"{hidden}.weight" in params else head
        weight, bias = params[f"{first}.weight"], params[f"{first}.bias"]
        size = weight.shape[1] - len(context)
        found[f"{first}.weight"] = weight[:, :size].clone()
        found[f"{first}.bias"] = bias + weight[:, size:] @ context
    return found


def is_context(name: str) -> bool:
    """Say whether a policy's parameter of this name is a context."""
    return name.endswith(f"features_extractor.{NAME}")
