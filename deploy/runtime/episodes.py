"""Episodes as a robot meets them, and as adaptation takes them.

Shapes: E episodes, H steps, T steps of one episode, O numbers of an observation, A of an action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metamotor.meta.functional import returns as functional

Array = NDArray[Any]


class Episode(NamedTuple):
    """One whole episode."""

    observations: Array
    """(T, O): what each action was chosen on."""
    actions: Array
    """(T, A), or (T,) whole numbers: what was chosen, before it was brought inside the action space."""
    rewards: Array
    """(T,)."""


class Padded(NamedTuple):
    """Episodes, padded with zeros to one length."""

    observations: Array
    """(E, H, O) float32."""
    actions: Array
    """(E, H, A) float32 or (E, H) int64."""
    rewards: Array
    """(E, H) float64."""
    mask: Array
    """(E, H) float64: 1 where a step was taken."""


def padded(episodes: Sequence[Episode]) -> Padded:
    """Return episodes of one robot as arrays of one length."""
    length, first = max(len(own.rewards) for own in episodes), episodes[0]
    count = len(episodes)
    found = Padded(
        np.zeros((count, length, *first.observations.shape[1:]), np.float32),
        np.zeros((count, length, *first.actions.shape[1:]), first.actions.dtype),
        np.zeros((count, length)),
        np.zeros((count, length)),
    )
    for row, own in enumerate(episodes):
        steps = len(own.rewards)
        found.observations[row, :steps] = own.observations
        found.actions[row, :steps] = own.actions
        found.rewards[row, :steps] = own.rewards
        found.mask[row, :steps] = 1.0
    return found


def experience(
    episodes: Sequence[Episode],
    *,
    gamma: float,
    gae_lambda: float,
    normalize: bool,
    flat: bool,
) -> dict[str, Array]:
    """Return what a gradient step takes, by the names of the graph's inputs.

    Advantages are against the linear feature baseline that is fitted to these episodes alone, in float64, as in
    training (`metamotor.meta.experience.prepare`).

    Args:
        episodes: whole ones.
        gamma: discount.
        gae_lambda: λ of the generalised advantages.
        normalize: give the advantages zero mean and unit variance.
        flat: one row with the steps of all episodes, without padding, for a loss that does not ask where one ends.
    """
    batch = padded(episodes)
    returns = functional.discounted_returns(batch.rewards, batch.mask, gamma)
    values = functional.linear_baseline(batch.observations, returns, batch.mask)
    advantages = functional.generalized_advantages(
        batch.rewards, values, batch.mask, gamma, gae_lambda
    )
    if normalize:
        advantages = functional.normalize(advantages, batch.mask)
    taken = batch.mask.astype(np.float32)
    found = {
        "observations": batch.observations,
        "actions": batch.actions,
        "advantages": advantages.astype(np.float32),
        "returns": returns.astype(np.float32),
        "weights": taken / taken.sum(dtype=np.float32),
    }
    if not flat:
        return found
    steps = batch.mask > 0
    return {name: np.ascontiguousarray(own[steps][np.newaxis]) for name, own in found.items()}
