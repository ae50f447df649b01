"""Policies as rollout workers run them: numpy only, so that a worker process starts without torch.

What they do is what the model's `predict` does before it clips to the action space; the environment, or who runs the
episodes, clips.

Shapes: O numbers of an observation, A of an action, N choices; ... the episodes (E,), or nothing: one observation alone
takes half the time of a batch of one; H steps of an episode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "Tanh": lambda x: np.tanh(x, x),
    "ReLU": lambda x: np.maximum(x, 0.0, out=x),
    "Identity": lambda x: x,
}
"""In place: on so few numbers a new array costs as much as the arithmetic."""


class Actor(Protocol):
    """A policy."""

    def begin(self) -> None:
        """Forget the episodes before, as new ones begin."""
        ...

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return the noise that `act` turns into actions, for all steps of all episodes at once.

        Args:
            rng: where it is drawn from.
            shape: of the draws; the last axis is that of the steps.

        Returns:
            One row a draw. Shape: (*shape, numbers that `act` needs).
        """
        ...

    def act(self, observations: Array, noise: Array | None) -> Array:
        """Return actions for observations (..., O) and noise (..., its numbers); deterministic ones without noise."""
        ...


class Memoryless:
    """Base of actors whose action depends on the observation alone."""

    def begin(self) -> None:
        """Do nothing: there is nothing to forget."""


class Network(Protocol):
    """What maps observations (..., O) to the mean (..., A) or the logits (..., N)."""

    def __call__(self, observations: Array) -> Array:
        """Return the outputs."""
        ...


@dataclass(frozen=True)
class MLP:
    """A multilayer perceptron: one (weight, bias) a layer, weights of shape (inputs, outputs)."""

    layers: tuple[tuple[Array, Array], ...]
    activation: str

    def __call__(self, observations: Array) -> Array:
        """Return the outputs."""
        activation = ACTIVATIONS[self.activation]
        outputs, last = observations, len(self.layers) - 1
        for layer, (weight, bias) in enumerate(self.layers):
            outputs = outputs.dot(weight)  # does what @ does, in two thirds of the time
            outputs += bias
            if layer < last:
                outputs = activation(outputs)
        return outputs


@dataclass(frozen=True)
class GaussianActor(Memoryless):
    """A diagonal Gaussian over actions (..., A) of a Box space."""

    network: Network
    std: Array

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return the noise that `act` turns into actions. Shape: (*shape, A)."""
        return rng.standard_normal((*shape, len(self.std)), dtype=np.float32) * self.std

    def act(self, observations: Array, noise: Array | None) -> Array:
        """Return actions, the mean where there is no noise."""
        mean = self.network(observations)
        return mean if noise is None else mean + noise


@dataclass(frozen=True)
class CategoricalActor(Memoryless):
    """A softmax over the choices of a Discrete space; actions have the shape (...)."""

    network: Network
    num_choices: int

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return Gumbel noise: the largest of logits + noise is a draw from the softmax. Shape: (*shape, N)."""
        return rng.gumbel(size=(*shape, self.num_choices)).astype(np.float32)

    def act(self, observations: Array, noise: Array | None) -> Array:
        """Return choices, the most likely one where there is no noise."""
        logits = self.network(observations)
        return np.asarray(np.argmax(logits if noise is None else logits + noise, axis=-1))


@dataclass(frozen=True)
class ConstantActor(Memoryless):
    """The same action always: the floor that any policy is measured against."""

    action: Array

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return nothing to draw: zeros of shape (*shape, 1)."""
        return np.zeros((*shape, 1), dtype=np.float32)

    def act(self, observations: Array, noise: Array | None) -> Array:
        """Return the action, once per observation."""
        return np.broadcast_to(self.action, (*observations.shape[:-1], *self.action.shape))


@dataclass(frozen=True)
class Bounds:
    """A Box of actions; numbers in ±1 are stretched to it, as Stable-Baselines3 does where a policy squashes.

    All arrays have the shape (A,).
    """

    low: Array
    high: Array

    def unscale(self, scaled: Array) -> Array:
        """Return actions (..., A) from numbers in ±1."""
        return np.asarray(self.low + 0.5 * (scaled + 1.0) * (self.high - self.low))

    def add(self, actions: Array, noise: Array) -> Array:
        """Return actions (..., A) moved by noise in units of half the Box, and kept inside."""
        moved = actions + 0.5 * noise * (self.high - self.low)
        return np.asarray(np.clip(moved, self.low, self.high))


@dataclass(frozen=True)
class SquashedGaussianActor(Memoryless):
    """A diagonal Gaussian that depends on the state in mean and deviation, squashed by tanh (SAC, TQC)."""

    network: Network
    """Its outputs are the means and then the logarithms of the standard deviations. Shape: (..., 2A)."""
    bounds: Bounds
    log_std_limits: tuple[float, float]

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return standard normal numbers. Shape: (*shape, A)."""
        return rng.standard_normal((*shape, len(self.bounds.low)), dtype=np.float32)

    def act(self, observations: Array, noise: Array | None) -> Array:
        """Return actions, the squashed mean where there is no noise."""
        outputs = self.network(observations)
        size = len(self.bounds.low)
        action = outputs[..., :size]
        if noise is not None:
            action = action + np.exp(np.clip(outputs[..., size:], *self.log_std_limits)) * noise
        return self.bounds.unscale(np.tanh(action))


@dataclass(frozen=True)
class SquashedActor(Memoryless):
    """One action for each state, squashed by tanh (TD3, DDPG)."""

    network: Network
    bounds: Bounds

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return nothing. Shape: (*shape, 0)."""
        return np.zeros((*shape, 0), dtype=np.float32)

    def act(self, observations: Array, noise: Array | None) -> Array:
        """Return the actions."""
        return self.bounds.unscale(np.tanh(self.network(observations)))


class ActionNoise(Protocol):
    """What explores for an off-policy algorithm; Stable-Baselines3's draw from numpy's global generator."""

    def reset(self) -> None:
        """Begin an episode."""
        ...

    def __call__(self) -> Array:
        """Return the noise of one step, in units of half the action space. Shape: (A,)."""
        ...


@dataclass(frozen=True)
class NoisyActor:
    """A policy with action noise on top, as off-policy algorithms explore."""

    actor: Actor
    action_noise: ActionNoise
    bounds: Bounds

    def begin(self) -> None:
        """Begin episodes."""
        self.actor.begin()

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return the policy's noise and behind it the action noise. Shape: (*shape, its numbers + A)."""
        own = self.actor.draw_noise(rng, shape)
        added = np.zeros((*shape, len(self.bounds.low)), dtype=np.float32)
        kept = np.random.get_state()
        np.random.seed(int(rng.integers(2**32)))
        try:
            for episode in np.ndindex(*shape[:-1]):
                self.action_noise.reset()
                for t in range(shape[-1]):
                    added[(*episode, t)] = self.action_noise()
        finally:
            np.random.set_state(kept)
        return np.concatenate([own, added], axis=-1)

    def act(self, observations: Array, noise: Array | None) -> Array:
        """Return actions inside the Box, without the action noise where there is no noise."""
        if noise is None:
            return self.actor.act(observations, None)
        size = len(self.bounds.low)
        action = self.actor.act(observations, noise[..., :-size])
        return self.bounds.add(action, noise[..., -size:])


@dataclass(frozen=True)
class EpsilonGreedyActor:
    """Choices of a policy, but any choice with probability ε (DQN)."""

    actor: Actor
    num_choices: int
    epsilon: float

    def begin(self) -> None:
        """Begin episodes."""
        self.actor.begin()

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return a number in [0, 1) and a choice. Shape: (*shape, 2)."""
        choices = rng.integers(self.num_choices, size=shape)
        return np.stack([rng.random(shape), choices], axis=-1)

    def act(self, observations: Array, noise: Array | None) -> Array:
        """Return choices, the policy's own where there is no noise."""
        greedy = self.actor.act(observations, None)
        if noise is None:
            return greedy
        return np.where(noise[..., 0] < self.epsilon, noise[..., 1].astype(np.int64), greedy)
