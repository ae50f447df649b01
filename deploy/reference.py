"""What a model of Stable-Baselines3 does, by Stable-Baselines3's own code: `predict`, wrappers and distributions.

Shapes: T steps, N episodes beside each other, A numbers in an action.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    MultiCategoricalDistribution,
    SquashedDiagGaussianDistribution,
    StateDependentNoiseDistribution,
)
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from torch import Tensor

from metamotor.deploy.observations import Arrays, Pipeline, Wrappers
from metamotor.deploy.sequences import Sequence, raw

Memory = tuple[NDArray[Any], ...] | None


class Drawn(NamedTuple):
    """Actions of given noise."""

    actions: NDArray[Any]
    """(T, N, A)."""
    log_probs: NDArray[np.float64]
    """(T, N)."""


class Player:
    """A model in N episodes beside each other, from the observations of its innermost environment.

    Args:
        model: the model.
        pipeline: its wrappers.
        num: N.
    """

    def __init__(self, model: BaseAlgorithm, pipeline: Pipeline, num: int) -> None:
        self.model = model
        self._pipeline = pipeline
        self._wrappers = Wrappers(pipeline, num)
        self._memory: Memory = None

    def observe(self, inputs: Arrays, starts: NDArray[np.bool_]) -> Any:
        """Return what the policy takes, for inputs (N, ...) and starts (N,)."""
        return self._wrappers(raw(inputs, self._pipeline.space), starts)

    def predict(self, inputs: Arrays, starts: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the deterministic actions, in the shape of the action space. Shape: (N, ...)."""
        actions, self._memory = self.model.predict(
            self.observe(inputs, starts), self._memory, starts, deterministic=True
        )
        return actions

    def draw(
        self, inputs: Arrays, starts: NDArray[np.bool_], noise: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Return the actions of given noise (N, ...) and their log-probabilities (N,), computed in float64."""
        policy: Any = self.model.policy
        policy.set_training_mode(False)
        observation, _ = policy.obs_to_tensor(self.observe(inputs, starts))
        given = torch.from_numpy(noise).double()
        with torch.no_grad():
            if isinstance(policy, DQNPolicy):
                return self._greedy(policy.q_net(observation).double(), given)
            distribution = self._distribution(policy, observation, starts)
            if isinstance(distribution, StateDependentNoiseDistribution):
                owner = policy.actor if isinstance(policy, SACPolicy | TQCPolicy) else policy
                matrices = distribution.get_std(owner.log_std.double()) * given
                distribution.exploration_matrices = matrices
                distribution.exploration_mat = matrices[0]
            actions, log_probs = _drawn(distribution, given)
        numbers = actions.numpy()
        space = self.model.action_space
        if isinstance(space, spaces.Box):
            shaped = numbers.reshape(-1, *space.shape)
            numbers = (
                policy.unscale_action(shaped)
                if policy.squash_output
                else np.clip(shaped, space.low, space.high)
            )
        return numbers, log_probs.numpy()

    def _distribution(self, policy: Any, observation: Any, starts: NDArray[np.bool_]) -> Any:
        """Return the policy's distribution in float64, not the object that the policy goes on using."""
        found: Any
        if isinstance(policy, SACPolicy | TQCPolicy):
            mean, log_std, others = policy.actor.get_action_dist_params(observation)
            others = {key: value.double() for key, value in others.items()}
            own = copy.copy(policy.actor.action_dist)
            return own.proba_distribution(mean.double(), log_std.double(), **others)
        if isinstance(policy, RecurrentActorCriticPolicy):
            layers, _, size = policy.lstm_hidden_state_shape
            if self._memory is None:
                self._memory = (np.zeros((layers, len(starts), size), np.float32),) * 2
            h, c = (torch.from_numpy(value) for value in self._memory)
            begun = torch.from_numpy(starts).float()
            found, states = policy.get_distribution(observation, (h, c), begun)
            self._memory = tuple(state.numpy() for state in states)
        else:
            found = policy.get_distribution(observation)
        own = copy.copy(found)
        if isinstance(own, MultiCategoricalDistribution):
            logits = torch.cat([part.logits for part in own.distribution], dim=1)
            return own.proba_distribution(logits.double())
        if isinstance(own, CategoricalDistribution | BernoulliDistribution):
            return own.proba_distribution(own.distribution.logits.double())
        mean, log_std = own.distribution.mean.double(), policy.log_std.double()
        if isinstance(own, StateDependentNoiseDistribution):
            return own.proba_distribution(mean, log_std, own._latent_sde.double())
        return own.proba_distribution(mean, log_std)

    def _greedy(self, values: Tensor, noise: Tensor) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Return ε-greedy actions, as `DQN.predict` draws them."""
        epsilon, choices = float(cast(Any, self.model).exploration_rate), values.shape[1]
        best = values.argmax(1)
        actions = torch.where(noise[:, 0] >= 1 - epsilon, noise[:, 1:].argmax(1), best)
        chances = torch.full_like(values, epsilon / choices)
        chances[torch.arange(len(best)), best] += 1 - epsilon
        return actions.numpy(), chances[torch.arange(len(best)), actions].log().numpy()


def _drawn(distribution: Any, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a distribution of Stable-Baselines3 makes of noise, and its log-probability."""
    if isinstance(distribution, MultiCategoricalDistribution):
        sizes = [part.logits.shape[1] for part in distribution.distribution]
        actions = torch.stack(
            [
                (part.logits + own).argmax(1)
                for part, own in zip(
                    distribution.distribution, torch.split(noise, sizes, dim=1), strict=True
                )
            ],
            dim=1,
        )
    elif isinstance(distribution, CategoricalDistribution):
        actions = (distribution.distribution.logits + noise).argmax(1)
    elif isinstance(distribution, BernoulliDistribution):
        actions = (distribution.distribution.logits + noise > 0).double()
    elif isinstance(distribution, StateDependentNoiseDistribution):
        actions = distribution.sample()  # with the matrices that it was given
    else:
        assert isinstance(distribution, DiagGaussianDistribution)
        actions = distribution.distribution.mean + distribution.distribution.stddev * noise
        if isinstance(distribution, SquashedDiagGaussianDistribution):
            squashed = torch.tanh(actions)
            return squashed, distribution.log_prob(squashed, actions)
    return actions, distribution.log_prob(actions)


def predicted(model: BaseAlgorithm, pipeline: Pipeline, sequence: Sequence) -> NDArray[Any]:
    """Return the model's deterministic actions. Shape: (T, N, A)."""
    player = Player(model, pipeline, sequence.starts.shape[1])
    steps = [
        player.predict({key: value[t] for key, value in sequence.observations.items()}, starts)
        for t, starts in enumerate(sequence.starts)
    ]
    return np.stack(steps).reshape(*sequence.starts.shape, -1)


def drawn(
    model: BaseAlgorithm, pipeline: Pipeline, sequence: Sequence, noise: NDArray[Any]
) -> Drawn:
    """Return the model's actions of given noise (T, N, ...)."""
    player = Player(model, pipeline, sequence.starts.shape[1])
    steps = [
        player.draw(
            {key: value[t] for key, value in sequence.observations.items()}, starts, noise[t]
        )
        for t, starts in enumerate(sequence.starts)
    ]
    actions = np.stack([action for action, _ in steps]).reshape(*sequence.starts.shape, -1)
    return Drawn(actions, np.stack([log_prob for _, log_prob in steps]))
