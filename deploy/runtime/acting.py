"""Policies that take new weights between two steps, and actions drawn as the learners draw them.

Shapes: O numbers of an observation, A of an action, N choices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[Any]

OBSERVATION, ACTION, OUTPUTS = "observation", "action", "outputs"
"""Names of the policy's input, of its action inside the space, and of the means or logits behind it."""
LOG_STD = "log_std"
"""The weight that is the logarithm of a Gaussian's standard deviation."""


class SwappablePolicy:
    """A policy whose weights are inputs, bound once and overwritten in place.

    A new session takes 1 ms, onnxruntime's adapters 5 ms by way of a file; this takes 5 µs, and a step no more than
    with weights inside (docs/decisions.md).

    Args:
        session: of the policy.
        weights: its first ones, by name.
    """

    def __init__(self, session: onnxruntime.InferenceSession, weights: Mapping[str, Array]) -> None:
        self._session = session
        self._binding = session.io_binding()
        size = session.get_inputs()[0].shape[1]
        self._observation = _value(np.zeros((1, size), np.float32))
        self._binding.bind_ortvalue_input(OBSERVATION, self._observation)
        taken = {item.name for item in session.get_overridable_initializers()}
        self._weights = {name: _value(own) for name, own in weights.items() if name in taken}
        for name, value in self._weights.items():
            self._binding.bind_ortvalue_input(name, value)
        # Run once by name to learn the shapes; from then on outputs go to the same memory.
        first = session.run([ACTION, OUTPUTS], {OBSERVATION: np.zeros((1, size), np.float32)})
        self._action, self._outputs = (_value(own) for own in first)
        self._binding.bind_ortvalue_output(ACTION, self._action)
        self._binding.bind_ortvalue_output(OUTPUTS, self._outputs)

    def load(self, weights: Mapping[str, Array]) -> None:
        """Take other weights of the same shapes."""
        for name, value in self._weights.items():
            value.update_inplace(np.ascontiguousarray(weights[name], np.float32))

    def __call__(self, observation: Array) -> tuple[Array, Array]:
        """Return the deterministic action, and the mean (A,) or the logits (N,), for an observation (O,)."""
        self._observation.update_inplace(observation[np.newaxis])
        self._session.run_with_iobinding(self._binding)
        return self._action.numpy()[0, ...].copy(), self._outputs.numpy()[0].copy()


def _value(array: Array) -> Any:
    # A copy: the value lies in the array's own memory, and overwriting it would change the caller's weights.
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.array(array, order="C"))


@dataclass(frozen=True)
class Gaussian:
    """Actions of a Box space.

    Args:
        low: (A,) float32.
        high: (A,) float32.
    """

    low: Array
    high: Array

    def draw_noise(self, rng: np.random.Generator, steps: int, log_std: Array) -> Array:
        """Return the noise of so many steps. Shape: (steps, A)."""
        return rng.standard_normal((steps, len(self.low)), dtype=np.float32) * np.exp(log_std)

    def choose(self, outputs: Array, noise: Array | None) -> Array:
        """Return the action as it is learned from: not yet inside the space. Shape: (A,)."""
        return outputs if noise is None else outputs + noise

    def applied(self, action: Array) -> Array:
        """Return the action inside the space. Shape: (A,)."""
        return np.minimum(np.maximum(action, self.low), self.high)

    def log_prob(self, outputs: Array, action: Array, log_std: Array) -> float:
        """Return log N(a; μ, diag σ²) of an action that is not yet inside the space."""
        scaled = (action - outputs) * np.exp(-log_std)
        constant = 0.5 * math.log(2 * math.pi) * len(outputs)
        return float(-0.5 * (scaled**2).sum() - log_std.sum() - constant)

    def check(self, actions: Array, steps: int) -> None:
        """Refuse recorded actions of another shape, or that are not finite."""
        if actions.shape != (steps, len(self.low)) or not np.isfinite(actions).all():
            raise ValueError(
                f"the recorded actions must be {steps} × {len(self.low)} finite numbers, one row a step, got the "
                f"shape {actions.shape}"
            )


@dataclass(frozen=True)
class Categorical:
    """Choices of a Discrete space; an action has the shape ().

    Args:
        choices: N.
    """

    choices: int

    def draw_noise(self, rng: np.random.Generator, steps: int, log_std: Array) -> Array:
        """Return Gumbel noise of so many steps. Shape: (steps, N)."""
        return rng.gumbel(size=(steps, self.choices)).astype(np.float32)

    def choose(self, outputs: Array, noise: Array | None) -> Array:
        """Return the choice."""
        return np.asarray(np.argmax(outputs if noise is None else outputs + noise))

    def applied(self, action: Array) -> Array:
        """Return the choice as it is."""
        return action

    def log_prob(self, outputs: Array, action: Array, log_std: Array) -> float:
        """Return log softmax(logits)[a]."""
        shifted = outputs - outputs.max()
        return float(shifted[int(action)] - np.log(np.exp(shifted).sum()))

    def check(self, actions: Array, steps: int) -> None:
        """Refuse recorded choices of another shape, or that are none of this space."""
        whole = actions.dtype.kind in "iu" and actions.shape == (steps,)
        if not whole or (steps and not 0 <= actions.min() <= actions.max() < self.choices):
            raise ValueError(
                f"the recorded actions must be {steps} whole numbers from 0 to {self.choices - 1}, one a step, got "
                f"{actions.dtype} of shape {actions.shape}"
            )


def distribution(described: Mapping[str, Any]) -> Gaussian | Categorical:
    """Return the distribution of actions that a file's metadata describes."""
    if described["kind"] == "categorical":
        return Categorical(int(described["choices"]))
    low, high = (
        np.array(
            [default if bound is None else bound for bound in described[name]], dtype=np.float32
        )
        for name, default in (("low", -np.inf), ("high", np.inf))
    )
    return Gaussian(low, high)
