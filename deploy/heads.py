"""From the outputs of the action network to actions: clipped, unscaled or chosen; with noise, sampled.

A sampling head takes its noise as an input, so that a file holds no random generator and what it does can be repeated.
With zeros for noise it gives the deterministic action. Its log-probability is that of Stable-Baselines3: of the action
before it is clipped to its bounds, which clipping would make a point mass.

Shapes: N observations in the batch, A numbers in an action, L outputs of the action network (means or logits),
F latent features before them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN, SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

EPSILON = 1e-6
"""What Stable-Baselines3 adds to the variance of gSDE, and to the derivative of tanh before its logarithm."""
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Noise(NamedTuple):
    """What a sampling head draws for one observation."""

    shape: tuple[int, ...]
    distribution: str
    """"normal", "gumbel", "logistic" (each in its standard form) or "uniform" in [0, 1)."""
    hold: int = 1
    """Calls for which one draw serves; 0: until the policy is reset."""


class Bounded(nn.Module):
    """Means to actions inside a box: unscaled first if the policy squashes them to (-1, 1), then clipped."""

    low: Tensor
    high: Tensor

    def __init__(self, space: spaces.Box, *, squash: bool) -> None:
        super().__init__()
        low, high = float32_bounds(space)
        self.register_buffer("low", torch.from_numpy(low))
        self.register_buffer("high", torch.from_numpy(high))
        self.squash = squash

    def forward(self, means: Tensor) -> Tensor:
        """Return the actions. Shape: (N, A)."""
        if self.squash:
            means = self.low + 0.5 * (torch.tanh(means) + 1.0) * (self.high - self.low)
        return torch.minimum(torch.maximum(means, self.low), self.high)


class Choices(nn.Module):
    """Logits of one or several choices to the index of the largest of each, int64."""

    def __init__(self, space: spaces.Discrete[Any] | spaces.MultiDiscrete) -> None:
        super().__init__()
        self.single = isinstance(space, spaces.Discrete)
        sizes = [space.n] if isinstance(space, spaces.Discrete) else space.nvec.flatten()
        self.sizes = [int(size) for size in sizes]

    def forward(self, logits: Tensor) -> Tensor:
        """Return the indices. Shape: (N,) for one choice of a Discrete space, else (N, A)."""
        if self.single:
            return logits.argmax(dim=1)
        return torch.stack(
            [part.argmax(dim=1) for part in torch.split(logits, self.sizes, dim=1)], dim=1
        )


class Switches(nn.Module):
    """Logits of on/off switches to 0 or 1, int64."""

    def forward(self, logits: Tensor) -> Tensor:
        """Return the switches. Shape: (N, A)."""
        return (logits > 0).to(torch.int64)


class Sampled(NamedTuple):
    """What a sampling head gives."""

    outputs: Tensor
    """(N, L): outputs of the action network with the noise in them; `Bounded` and the like make actions of them."""
    log_prob: Tensor
    """(N,)."""


class Gaussian(nn.Module):
    """A Gaussian with one deviation for all observations, or one that a layer gives, squashed by tanh or not."""

    std: Tensor

    def __init__(self, std: Tensor | nn.Module, size: int, *, squash: bool) -> None:
        super().__init__()
        self.layer = std if isinstance(std, nn.Module) else None
        if isinstance(std, Tensor):
            self.register_buffer("std", std.detach().clone())
        self.squash = squash
        self.noise = Noise((size,), "normal")

    def forward(self, means: Tensor, latent: Tensor, noise: Tensor) -> Sampled:
        """Return the sample. Shapes: (N, A), (N, F), (N, A)."""
        std = self.std if self.layer is None else self._of(latent)
        log_prob = (-0.5 * noise**2 - torch.log(std) - HALF_LOG_2PI).sum(dim=1)
        return _squashed(means + std * noise, log_prob, self.squash)

    def _of(self, latent: Tensor) -> Tensor:
        assert self.layer is not None
        return torch.exp(self.layer(latent).clamp(LOG_STD_MIN, LOG_STD_MAX))


class StateDependent(nn.Module):
    """Generalised state-dependent exploration (Raffin et al. 2022, arXiv:2005.05719).

    Its noise is a matrix that is held for a while. The action's noise is the latent features times the matrix, so its
    deviation depends on the state.
    """

    std: Tensor

    def __init__(self, std: Tensor, *, squash: bool, hold: int) -> None:
        super().__init__()
        self.register_buffer("std", std.detach().clone())
        self.squash = squash
        self.noise = Noise(tuple(std.shape), "normal", hold)

    def forward(self, means: Tensor, latent: Tensor, noise: Tensor) -> Sampled:
        """Return the sample. Shapes: (N, A), (N, F), (N, F, A)."""
        offset = torch.matmul(latent[:, None, :], self.std * noise)[:, 0, :]
        std = torch.sqrt(torch.matmul(latent**2, self.std**2) + EPSILON)
        log_prob = (-0.5 * (offset / std) ** 2 - torch.log(std) - HALF_LOG_2PI).sum(dim=1)
        return _squashed(means + offset, log_prob, self.squash)


def _squashed(sample: Tensor, log_prob: Tensor, squash: bool) -> Sampled:
    if squash:
        # 1 - tanh², without the digits that the difference loses where tanh is nearly 1.
        decay = torch.exp(-2.0 * sample.abs())
        derivative = 4.0 * decay / (1.0 + decay) ** 2
        log_prob = log_prob - torch.log(derivative + EPSILON).sum(dim=1)
    return Sampled(sample, log_prob)


class Categorical(nn.Module):
    """Choices by the Gumbel-max trick (Gumbel 1954): the largest of logits plus noise has their probabilities."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.sizes = sizes
        self.noise = Noise((sum(sizes),), "gumbel")

    def forward(self, logits: Tensor, latent: Tensor, noise: Tensor) -> Sampled:
        """Return the sample. Shapes: (N, L), (N, F), (N, L)."""
        sample = logits + noise
        terms = [
            torch.log_softmax(part, dim=1).gather(1, drawn.argmax(dim=1, keepdim=True))
            for part, drawn in zip(
                torch.split(logits, self.sizes, dim=1),
                torch.split(sample, self.sizes, dim=1),
                strict=True,
            )
        ]
        return Sampled(sample, torch.cat(terms, dim=1).sum(dim=1))


class Bernoulli(nn.Module):
    """Switches: on if the logit plus logistic noise is positive."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.noise = Noise((size,), "logistic")

    def forward(self, logits: Tensor, latent: Tensor, noise: Tensor) -> Sampled:
        """Return the sample. Shapes: (N, A), (N, F), (N, A)."""
        sample = logits + noise
        signed = torch.where(sample > 0, logits, -logits)
        return Sampled(sample, torch.nn.functional.logsigmoid(signed).sum(dim=1))


class EpsilonGreedy(nn.Module):
    """The best choice or, with probability ε, any: the first number decides, the others draw."""

    def __init__(self, choices: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.choices = choices
        self.noise = Noise((1 + choices,), "uniform")

    def forward(self, values: Tensor, latent: Tensor, noise: Tensor) -> Sampled:
        """Return the sample. Shapes: (N, L), (N, F), (N, 1 + L)."""
        explores = noise[:, :1] >= 1.0 - self.epsilon
        sample = torch.where(explores, noise[:, 1:], values)
        greedy = values.argmax(dim=1) == sample.argmax(dim=1)
        any_of = self.epsilon / self.choices
        chance = torch.where(greedy, 1.0 - self.epsilon + any_of, any_of).to(values.dtype)
        return Sampled(sample, torch.log(chance))


Act = Bounded | Choices | Switches
Head = Gaussian | StateDependent | Categorical | Bernoulli | EpsilonGreedy


def action_module(policy: BasePolicy) -> Act:
    """Return the module that turns the action network's outputs into actions of the policy's space.

    Raises:
        ValueError: if there is none for this action space.
    """
    space = policy.action_space
    if isinstance(space, spaces.Box):
        return Bounded(space, squash=policy.squash_output)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return Choices(space)
    if isinstance(space, spaces.MultiBinary):
        return Switches()
    raise ValueError(
        f"cannot export the action space {space}; supported: Box, Discrete, MultiDiscrete, MultiBinary"
    )


def sampling_head(model: BaseAlgorithm, act: Act) -> Head:
    """Return the head that samples as the model's policy does.

    Raises:
        ValueError: if the policy is deterministic.
    """
    policy = cast(Any, model.policy)
    if isinstance(policy, TD3Policy):
        raise ValueError(
            f"cannot export {type(model).__name__} with stochastic=True: its policy is deterministic, and what it adds "
            "for exploration is no part of it; export without stochastic, and add the noise to the action"
        )
    if isinstance(policy, DQNPolicy):
        return EpsilonGreedy(
            int(cast(Any, policy.action_space).n), float(cast(Any, model).exploration_rate)
        )
    if isinstance(act, Choices):
        return Categorical(act.sizes)
    size = math.prod(policy.action_space.shape)
    if isinstance(act, Switches):
        return Bernoulli(size)
    owner = policy.actor if isinstance(policy, SACPolicy | TQCPolicy) else policy
    distribution = owner.action_dist
    if isinstance(distribution, StateDependentNoiseDistribution):
        with torch.no_grad():
            std = distribution.get_std(owner.log_std).expand(-1, size).cpu()
        # -1 is Stable-Baselines3's word for: once a rollout.
        hold = max(0, int(cast(Any, model).sde_sample_freq))
        return StateDependent(std, squash=act.squash, hold=hold)
    if isinstance(owner.log_std, nn.Module):
        return Gaussian(owner.log_std, size, squash=act.squash)
    return Gaussian(owner.log_std.exp(), size, squash=act.squash)


def float32_bounds(space: spaces.Box) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the box's bounds as float32, rounded inwards so that no action leaves the box. Shapes: (A,)."""
    exact_low, exact_high = space.low.flatten(), space.high.flatten()
    low, high = exact_low.astype(np.float32), exact_high.astype(np.float32)
    low = np.where(low < exact_low, np.nextafter(low, np.float32(np.inf)), low)
    high = np.where(high > exact_high, np.nextafter(high, np.float32(-np.inf)), high)
    return low, high
