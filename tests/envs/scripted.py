"""Scripted policies in an environment: what one earns who knows the task, and what one who does not."""

from __future__ import annotations

import dataclasses
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


def on_the_spot(_: Any) -> Any:
    """A quadruped trots without going anywhere."""
    return np.zeros(5)


def walk_along(heading: float) -> Policy:
    """A quadruped trots at full speed along a heading, facing ahead."""

    def policy(observation: Any) -> Any:
        yaw = observation[2]
        angle = heading - yaw
        return np.array([np.cos(angle), np.sin(angle), -2.0 * yaw, 0.0, 0.0])

    return policy


def check_that_the_heading_decides(env: Any) -> None:
    """Assert that who knows the heading walks, and that no one way serves for all."""
    for told in (0.5, 2.5, -1.5):
        task = dataclasses.replace(env.family.sample(1, split="test", seed=0)[0], heading=told)
        assert episode(env, task, walk_along(told))[0] > 18.0
        assert episode(env, task, walk_along(told + np.pi))[0] < -12.0
    assert abs(episode(env, task, on_the_spot)[0]) < 9.0
