"""The policy gradient of a multilayer perceptron in numpy, for rollout workers that run without torch.

The same surrogate at the policy that sampled as `functional.surrogates`, differentiated by hand: Σ w Â ∇ log π(a|s).

Shapes: S steps, O numbers of an observation, A of an action, N choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Layer = tuple[Array, Array]


def forward(layers: Sequence[Layer], activation: str, observations: Array) -> list[Array]:
    """Return what enters each layer, and the outputs of the last one.

    Args:
        layers: (weight, bias) each, weights of shape (inputs, outputs) as in `actors.MLP`.
        activation: "Tanh", "ReLU" or "Identity", behind every layer but the last.
        observations: (S, O).
    """
    values = [observations]
    for index, (weight, bias) in enumerate(layers):
        hidden = values[-1] @ weight + bias
        if index < len(layers) - 1:
            hidden = _ACTIVATIONS[activation](hidden)
        values.append(hidden)
    return values


def backward(
    layers: Sequence[Layer], activation: str, values: Sequence[Array], gradient: Array
) -> list[Layer]:
    """Return the gradients of each layer's weight and bias.

    Args:
        layers: as for `forward`.
        activation: as for `forward`.
        values: what `forward` returned.
        gradient: of the objective in the outputs, (S, outputs).
    """
    gradients: list[Layer] = []
    for index in reversed(range(len(layers))):
        gradients.append((values[index].T @ gradient, gradient.sum(axis=0)))
        if index:
            gradient = (gradient @ layers[index][0].T) * _SLOPES[activation](values[index])
    return gradients[::-1]


def gaussian_score(
    mean: Array, log_std: Array, actions: Array, weights: Array
) -> tuple[Array, Array]:
    """Return the gradients of Σ w log N(a; μ, diag σ²) in μ and log σ.

    Args:
        mean: (S, A).
        log_std: (A,).
        actions: (S, A).
        weights: (S,).

    Returns:
        (S, A) and (A,).
    """
    scaled = (actions - mean) * np.exp(-log_std)
    weighted = weights[:, None]
    return weighted * scaled * np.exp(-log_std), (weighted * (scaled**2 - 1)).sum(axis=0)


def categorical_score(logits: Array, actions: Array, weights: Array) -> Array:
    """Return the gradient of Σ w log softmax(logits)[a] in the logits. Shapes: (S, N), (S,), (S,); result (S, N)."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    score = -odds / odds.sum(axis=1, keepdims=True)
    score[np.arange(len(actions)), actions] += 1
    return np.asarray(weights[:, None] * score)


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0.0),
    "Identity": lambda x: x,
}
_SLOPES: dict[str, Callable[[Array], Array]] = {
    "Tanh": lambda h: 1 - h**2,
    "ReLU": lambda h: (h > 0).astype(h.dtype),
    "Identity": lambda h: np.ones_like(h),
}
"""Of the activations' results, not of what went into them."""
