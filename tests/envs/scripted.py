"""Scripted policies in an environment: what one earns who knows the task, and what one who does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Policy = Callable[[Any], Any]


def episode(env: Any, task: Any, policy: Policy, seed: int = 0) -> tuple[float, int]:
    """Return and length of an episode."""
    observation, _ = env.reset(seed=seed, options={"task": task})
    total, steps, ended = 0.0, 0, False
    while not ended:
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        total, steps, ended = total + reward, steps + 1, terminated or truncated
    return total, steps


def mean_return(env: Any, policy: Callable[[Any], Policy], count: int) -> float:
    """Mean return over test tasks of the policies made for them."""
    tasks = env.family.sample(count, split="test", seed=0)
    returns = [episode(env, task, policy(task), seed)[0] for seed, task in enumerate(tasks)]
    return float(np.mean(returns))
