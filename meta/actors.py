"""Policies as rollout workers run them: numpy only, so that a worker process starts without torch.

Shapes: O numbers of an observation, A of an action, N choices; ... the episodes (E,), or nothing: one observation alone
takes half the time of a batch of one.
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
class GaussianActor:
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
class CategoricalActor:
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
class ConstantActor:
    """The same action always: the floor that any policy is measured against."""

    action: Array

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return nothing to draw: zeros of shape (*shape, 1)."""
        return np.zeros((*shape, 1), dtype=np.float32)

    def act(self, observations: Array, noise: Array | None) -> Array:
        """Return the action, once per observation."""
        return np.broadcast_to(self.action, (*observations.shape[:-1], *self.action.shape))


Actor = GaussianActor | CategoricalActor | ConstantActor
