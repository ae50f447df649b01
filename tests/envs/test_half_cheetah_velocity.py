from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.half_cheetah_velocity import HalfCheetahVelocityTask


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("HalfCheetahVelocity-v0").make_env()
    yield env
    env.close()


def episode(env: Any, velocity: float, amplitude: float) -> tuple[list[float], list[float]]:
    """Rewards, and velocities forwards, of a stride that swings the thighs by a share of their reach."""
    env.reset(seed=0, options={"task": HalfCheetahVelocityTask(velocity)})
    rewards, velocities = [], []
    for step in range(100):
        swing = step * 2 * np.pi / 15
        back, front = np.sin(swing), np.sin(swing + np.pi / 2)
        shins = np.cos(swing), np.cos(swing + np.pi / 2)
        before = env.robot.read()[0][0]
        action = amplitude * np.array([back, shins[0], 0.0, front, shins[1], 0.0])
        rewards.append(env.step(action)[1])
        velocities.append((env.robot.read()[0][0] - before) * 60)
    return rewards, velocities


@pytest.mark.parametrize("wanted", [-0.5, 0.0, 0.7, 2.0])
def test_reward_is_the_distance_of_the_velocity_from_the_wanted_one(
    env: Any, wanted: float
) -> None:
    rewards, velocities = episode(env, wanted, 0.8)
    assert rewards == pytest.approx([-abs(velocity - wanted) for velocity in velocities])


@pytest.mark.parametrize("wanted", [0.5, 1.5])
def test_standing_still_costs_the_wanted_velocity(env: Any, wanted: float) -> None:
    rewards, _ = episode(env, wanted, 0.0)
    assert sum(rewards) == pytest.approx(-100 * wanted, abs=6.0)


def test_no_one_speed_is_right_for_all(env: Any) -> None:
    """The best constant speed is that of the middle, which costs 0.375 m/s on the average."""
    tasks = env.family.sample(400, seed=0)
    wanted = np.array([task.velocity for task in tasks])
    costs = [np.abs(wanted - speed).mean() for speed in np.linspace(0.0, 1.5, 31)]
    assert min(costs) == pytest.approx(0.375, abs=0.01)
