"""Stable-Baselines3's on-policy algorithms as base learners: PPO, A2C, TRPO and what derives from them.

The adapter holds one model of the algorithm as a template: its policy class, hyper-parameters and initial weights. All
it answers is a pure function of parameters by name, so that a meta-learner can differentiate through an update; the
template itself is never changed.

Shapes: ... any batch shape, O numbers of an observation, A of an action, N choices, S steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    DiagGaussianDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from metamotor.meta.actors import Actor, CategoricalActor, GaussianActor
from metamotor.meta.base_learner import BaseLearner
from metamotor.meta.checks import check_algorithm
from metamotor.meta.functional import distributions
from metamotor.meta.functional.inner_step import Params
from metamotor.meta.functional.returns import discounted_returns
from metamotor.meta.policies import numpy_actor
from metamotor.meta.rollouts import EpisodeBatch

Array = NDArray[Any]


class OnPolicyAdapter(BaseLearner):
    """What a gradient-based meta-learner needs of PPO, A2C or TRPO; see `BaseLearner` for the arguments.

    Raises:
        ValueError: if the algorithm is another one, or a space or an option is not supported.
        TypeError: if the family's environment does not take a task.
    """

    fitting: ClassVar[tuple[type[BaseAlgorithm], ...]] = (PPO, A2C, TRPO)
    """Algorithms that fit: they share one class of policies."""
    with_loss: ClassVar[tuple[type[BaseAlgorithm], ...]] = (PPO, A2C)
    """Those of them whose `loss` is known."""

    def __init__(
        self,
        algorithm: type[BaseAlgorithm],
        policy: str | type[BasePolicy],
        family: Any,
        base_kwargs: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        check_algorithm(algorithm, self.fitting, "this adapter")
        super().__init__(algorithm, policy, family, base_kwargs, seed)
        distribution = self.template.policy.action_dist
        if type(distribution) not in (DiagGaussianDistribution, CategoricalDistribution):
            raise ValueError(
                f"the policy's distribution must be a diagonal Gaussian or categorical, got "
                f"{type(distribution).__name__} (gSDE is not supported)"
            )
        self.discrete = isinstance(distribution, CategoricalDistribution)
        self.head = _PolicyHead(self.template.policy)
        actor_modules = {id(p) for p in self.head.parameters()}
        self._names = [name for name, _ in self.template.policy.named_parameters()]
        self.actor_names = [
            name
            for name, parameter in self.template.policy.named_parameters()
            if id(parameter) in actor_modules or name == "log_std"
        ]
        self._check_distribution()

    def _check_distribution(self) -> None:
        """Refuse a policy class whose actions are not those of its networks as they are known here."""
        observations = torch.rand(
            (8, self.family.observation_space.shape[0]),
            generator=torch.Generator().manual_seed(0),
        )
        with torch.no_grad():
            own = self.template.policy.get_distribution(observations).distribution
            known = self.outputs(self.initial_params(), observations)
        if self.discrete:
            alike = torch.allclose(own.probs, known.softmax(-1), atol=1e-5)
        else:
            std = self.initial_params()["log_std"].exp().expand_as(known)
            alike = torch.allclose(own.mean, known, atol=1e-5) and torch.allclose(own.stddev, std)
        if not alike:
            raise ValueError(
                f"{type(self.template.policy).__name__} makes its distribution of actions in a way of "
                "its own (get_distribution), which cannot be differentiated through here: change its "
                "networks instead, or take Reptile, which uses the policy as it is"
            )

    # Parameters out and in -----------------------------------------------------------------------

    def make_actor(self, params: Mapping[str, Tensor]) -> Actor:
        """Return the policy as rollout workers run it: in numpy where it is a plain MLP, else in torch."""
        if (actor := numpy_actor(self.template.policy, params)) is not None:
            return actor
        network = _TorchNetwork(self.head, params)
        if self.discrete:
            return CategoricalActor(network, int(self.family.action_space.n))
        return GaussianActor(network, params["log_std"].detach().exp().numpy())

    # The policy as a pure function of its parameters ----------------------------------------------

    def outputs(self, params: Mapping[str, Tensor], observations: Tensor) -> Tensor:
        """Return the mean (..., A) or the logits (..., N) for observations (..., O)."""
        named = {f"policy.{name}": params[name] for name in self.actor_names if name != "log_std"}
        flat = observations.reshape(-1, observations.shape[-1])
        outputs: Tensor = torch.func.functional_call(self.head, named, (flat,))
        return outputs.reshape(*observations.shape[:-1], -1)

    def log_prob(
        self, params: Mapping[str, Tensor], observations: Tensor, actions: Tensor
    ) -> Tensor:
        """Return log π(a|s). Shapes: observations (..., O), actions (..., A) or (...); result (...)."""
        return self.log_prob_of(params, self.outputs(params, observations), actions)

    def log_prob_of(self, params: Mapping[str, Tensor], outputs: Tensor, actions: Tensor) -> Tensor:
        """Return log π(a|s) from the policy's outputs."""
        if self.discrete:
            return distributions.categorical_log_prob(outputs, actions)
        return distributions.gaussian_log_prob(outputs, params["log_std"], actions)

    def log_probs_of(self, params: Mapping[str, Tensor], batch: EpisodeBatch) -> Array:
        """Return log π(a|s) of recorded steps. Shape: (E, H)."""
        with torch.no_grad():
            found = self.log_prob(
                params, torch.as_tensor(batch.observations), torch.as_tensor(batch.actions)
            )
        return np.asarray(found, dtype=np.float64)

    def entropy_of(self, params: Mapping[str, Tensor], outputs: Tensor) -> Tensor:
        """Return the entropy of π(·|s) from the policy's outputs. Shape: (...)."""
        if self.discrete:
            return distributions.categorical_entropy(outputs)
        return distributions.gaussian_entropy(outputs, params["log_std"])

    def kl(
        self, old_params: Mapping[str, Tensor], params: Mapping[str, Tensor], observations: Tensor
    ) -> Tensor:
        """Return KL(π_old(·|s) ‖ π(·|s)), the old one without a gradient. Shape: (...)."""
        with torch.no_grad():
            old = self.outputs(old_params, observations)
        new = self.outputs(params, observations)
        if self.discrete:
            return distributions.categorical_kl(old, new)
        return distributions.gaussian_kl(
            old, old_params["log_std"].detach(), new, params["log_std"]
        )

    def values(self, params: Mapping[str, Tensor], observations: Tensor) -> Tensor:
        """Return the critic's V(s). Shapes: observations (S, O); result (S,)."""
        named = {f"policy.{name}": params[name] for name in self._names}
        critic = _CriticHead(self.template.policy)
        values: Tensor = torch.func.functional_call(critic, named, (observations,))
        return values.squeeze(-1)

    # The algorithm's own loss ---------------------------------------------------------------------

    def loss(
        self,
        params: Mapping[str, Tensor],
        observations: Tensor,
        actions: Tensor,
        old_log_probs: Tensor,
        old_values: Tensor,
        advantages: Tensor,
        returns: Tensor,
    ) -> Tensor:
        """Return what the algorithm's `train` minimises on one minibatch (SB3's ppo.py and a2c.py; TRPO has no such).

        PPO: the clipped surrogate; A2C: −log π Â; both with `vf_coef` times the squared error of the critic and
        `ent_coef` times the negative entropy, advantages normalised if the algorithm does so.

        Args:
            params: all parameters by name.
            observations: (S, O).
            actions: (S, A) or (S,).
            old_log_probs: (S,), of the policy that sampled.
            old_values: (S,), of the critic at sampling, for `clip_range_vf`.
            advantages: (S,).
            returns: (S,), what the critic is fitted to.
        """
        model = self.template
        outputs = self.outputs(params, observations)
        log_probs = self.log_prob_of(params, outputs, actions)
        values = self.values(params, observations)
        if model.normalize_advantage and len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        if issubclass(self.algorithm, PPO):
            clip_range = model.clip_range(1.0)
            ratios = torch.exp(log_probs - old_log_probs)
            bounded = torch.clamp(ratios, 1 - clip_range, 1 + clip_range)
            policy_loss = -torch.minimum(advantages * ratios, advantages * bounded).mean()
            if model.clip_range_vf is not None:
                limit = model.clip_range_vf(1.0)
                values = old_values + torch.clamp(values - old_values, -limit, limit)
        else:
            policy_loss = -(advantages * log_probs).mean()
        entropy_loss = -self.entropy_of(params, outputs).mean()
        value_loss = mse_loss(returns, values)
        loss: Tensor = policy_loss + model.ent_coef * entropy_loss + model.vf_coef * value_loss
        return loss

    def fit_critic(
        self,
        params: Mapping[str, Tensor],
        observations: Tensor,
        returns: Tensor,
        ridge: float = 1e-3,
    ) -> Params:
        """Return the parameters with the critic's last layer solved for these returns.

        Meta-learning uses a linear baseline, so the critic has learnt nothing when a task has been adapted to; a
        ridge regression on its own features gives a model that goes on learning a critic that knows the task.

        Args:
            params: all parameters by name.
            observations: (S, O).
            returns: (S,).
            ridge: relative to the mean square of the features.
        """
        with torch.no_grad():
            named = {f"policy.{name}": params[name] for name in self._names}
            critic = _CriticHead(self.template.policy, features_only=True)
            features = torch.func.functional_call(critic, named, (observations,)).double()
            design = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
            gram = design.T @ design
            gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
            weights = torch.linalg.solve(gram, design.T @ returns.double()).float()
        fitted = dict(params)
        fitted["value_net.weight"] = weights[:-1].reshape(1, -1)
        fitted["value_net.bias"] = weights[-1:]
        return fitted

    def fit_critic_to(self, params: Mapping[str, Tensor], batch: EpisodeBatch) -> Params:
        """Return the parameters with the critic fitted to the discounted returns of a batch."""
        returns = discounted_returns(batch.rewards, batch.mask, self.template.gamma)
        taken = batch.mask > 0
        return self.fit_critic(
            params,
            torch.as_tensor(batch.observations[taken]),
            torch.as_tensor(returns[taken]),
        )


class _PolicyHead(nn.Module):
    """Observations to mean or logits: the part of SB3's policy that acts, for `functional_call`."""

    def __init__(self, policy: ActorCriticPolicy) -> None:
        super().__init__()
        self.policy = policy

    def parameters(self, recurse: bool = True) -> Any:
        # Only those that act; the wrapper holds the whole policy to keep its parameters' names.
        policy = self.policy
        yield from policy.pi_features_extractor.parameters()
        yield from policy.mlp_extractor.policy_net.parameters()
        yield from policy.action_net.parameters()

    def forward(self, observations: Tensor) -> Tensor:
        policy = self.policy
        # SB3's own preprocessing of a flat Box is a cast to float32, which would undo a float64 check.
        latent = policy.mlp_extractor.forward_actor(policy.pi_features_extractor(observations))
        outputs: Tensor = policy.action_net(latent)
        return outputs


class _CriticHead(nn.Module):
    """Observations to values, or to the features that the last layer weighs."""

    def __init__(self, policy: ActorCriticPolicy, *, features_only: bool = False) -> None:
        super().__init__()
        self.policy = policy
        self.features_only = features_only

    def forward(self, observations: Tensor) -> Tensor:
        policy = self.policy
        latent = policy.mlp_extractor.forward_critic(policy.vf_features_extractor(observations))
        outputs: Tensor = latent if self.features_only else policy.value_net(latent)
        return outputs


class _TorchNetwork:
    """Any SB3 actor in a rollout worker: slower than numpy, and right for every architecture."""

    def __init__(self, head: _PolicyHead, params: Mapping[str, Tensor]) -> None:
        self._head = head
        self._params = {
            f"policy.{name}": value.detach() for name, value in params.items() if name != "log_std"
        }

    def __call__(self, observations: Array) -> Array:
        with torch.no_grad():
            flat = torch.as_tensor(observations).reshape(-1, observations.shape[-1])
            outputs = torch.func.functional_call(self._head, self._params, (flat,))
            return np.asarray(outputs.reshape(*observations.shape[:-1], -1))
