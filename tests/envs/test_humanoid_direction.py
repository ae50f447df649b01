from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor import envs
from metamotor.envs.humanoid_direction import DRIVEN, HumanoidDirectionTask
from metamotor.robots import Humanoid
from metamotor.robots.simulator import BaseState

Array = NDArray[Any]


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("HumanoidDirection-v0").make_env()
    yield env
    env.close()


def leaning(heading: float) -> Array:
    """The action that leans towards a heading: waist, or knees, and hips."""
    along, left = np.cos(heading), np.sin(heading)
    offsets = {"abdomen_y": along if along > 0 else 0.5 * along}
    for side, sign in (("right", -1.0), ("left", 1.0)):
        offsets[f"{side}_hip_x"] = sign * left
        offsets[f"{side}_knee"] = min(0.0, 0.6 * along)
    return np.array([offsets.get(joint, 0.0) for joint in DRIVEN])


def episode(env: Any, heading: float, action: Array, seed: int) -> tuple[float, int]:
    """Return and length of an episode."""
    env.reset(seed=seed, options={"task": HumanoidDirectionTask(heading)})
    total, steps, ended = 0.0, 0, False
    while not ended:
        _, reward, terminated, truncated, _ = env.step(action)
        total, steps, ended = total + reward, steps + 1, terminated or truncated
    return total, steps


@pytest.mark.parametrize("heading", [-2.5, 0.0, 1.0])
def test_reward_is_the_speed_along_the_heading_and_being_alive(env: Any, heading: float) -> None:
    generator = np.random.default_rng(0)
    env.reset(seed=0, options={"task": HumanoidDirectionTask(heading)})
    along = np.array([np.cos(heading), np.sin(heading)])
    for _ in range(20):
        before = np.array(env.robot.trunk().position[:2])
        action = generator.uniform(-1, 1, 11)
        reward = env.step(action)[1]
        velocity = (np.array(env.robot.trunk().position[:2]) - before) / 0.025
        assert reward == pytest.approx(velocity @ along + 1.0 - 0.1 * np.mean(action**2))


def test_the_zero_action_stays_up(env: Any) -> None:
    """However it starts: it earns what the docstring says."""
    episodes = [episode(env, seed * 1.6, np.zeros(11), seed) for seed in range(3)]
    assert [steps for _, steps in episodes] == [120] * 3
    assert np.mean([total for total, _ in episodes]) == pytest.approx(120.0, abs=20.0)


def test_a_fall_ends_it_and_costs(env: Any) -> None:
    env.reset(seed=0, options={"task": HumanoidDirectionTask(0.0)})
    base = env.robot._base.base()
    half = np.radians(50) / 2
    env.robot._base.place(base._replace(orientation=(0.0, np.sin(half), 0.0, np.cos(half))))
    before = env._x
    _, reward, terminated, _, _ = env.step(np.zeros(11))
    assert terminated
    assert reward == pytest.approx((env._x - before) / 0.025 - 20.0)


@pytest.mark.parametrize("heading", [0.0, 1.57, 3.14, -1.57, 0.8])
def test_one_who_knows_the_heading_earns_more_than_one_who_takes_the_opposite(
    env: Any, heading: float
) -> None:
    there = episode(env, heading, leaning(heading), seed=1)[0]
    back = episode(env, heading, leaning(heading + np.pi), seed=1)[0]
    assert there > 125.0
    assert back < there - 30.0


def test_observation_is_scaled_as_documented(env: Any) -> None:
    env.reset(seed=0, options={"task": HumanoidDirectionTask(0.0)})
    for _ in range(13):
        observation = env.step(leaning(0.5))[0]
    trunk = env.robot.trunk()
    assert observation[0] * 0.1 + Humanoid.HEIGHT == pytest.approx(trunk.position[2], abs=1e-6)
    assert observation[1:4] == pytest.approx([trunk.roll / 0.2, trunk.pitch / 0.2, trunk.yaw])
    assert observation[4:7] == pytest.approx(trunk.velocity, abs=1e-6)
    assert observation[7:10] * 2.0 == pytest.approx(trunk.angular_velocity, abs=1e-5)
    phase = 13 * 0.025 / Humanoid.GAIT.period
    assert observation[10:12] == pytest.approx(
        [np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)], abs=1e-6
    )
    states = np.array([state[:2] for state in env.robot.joints.read()[:11]])
    reach, neutral = Humanoid.REACH[:11], Humanoid.NEUTRAL[:11]
    assert observation[12:23] * reach + neutral == pytest.approx(states[:, 0], abs=1e-6)
    assert observation[23:] * 5.0 == pytest.approx(states[:, 1], abs=1e-5)


def test_observes_neither_task_nor_place(env: Any) -> None:
    env.reset(seed=0, options={"task": HumanoidDirectionTask(0.0)})
    here = env._observe()[0]
    base: BaseState = env.robot._base.base()
    x, y, z = base.position
    env.robot._base.place(base._replace(position=(x + 5.0, y - 3.0, z)))
    np.testing.assert_array_equal(env._observe()[0], here)
