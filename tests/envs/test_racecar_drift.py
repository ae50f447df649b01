from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import atan2, cos, exp, hypot, pi, sin, sqrt
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.racecar_drift import RacecarDriftTask
from metamotor.robots import Racecar
from tests.envs.scripted import Policy, mean_return

EASY = RacecarDriftTask(
    steering_sign=1.0,
    steering_gain=1.0,
    steering_offset=0.0,
    front_friction=0.8,
    rear_friction=0.8,
    motor_strength=1.0,
)


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("RacecarDrift-v0").make_env()
    yield env
    env.close()


def circle(task: RacecarDriftTask, share: float = 0.8) -> Policy:
    """Steer to the circle, at a share of the speed at which the tyres would let go, for one who knows this task."""
    grip = min(task.front_friction, task.rear_friction)
    speed = share * sqrt(9.81 * 1.5 * grip) / 5.0

    def policy(observation: Any) -> Any:
        wanted = np.clip(1.2 * 0.4 * observation[0], -0.7, 0.7)
        angle = 0.213 / 0.4 + wanted - atan2(observation[1], observation[2])
        steer = task.steering_sign * angle / task.steering_gain - task.steering_offset
        return np.array([speed, np.clip(steer, -1.0, 1.0)])

    return policy


def test_one_must_know_servo_and_tyres(env: Any) -> None:
    told = mean_return(env, circle, 8)
    told_the_sign = mean_return(
        env, lambda task: circle(replace(EASY, steering_sign=task.steering_sign)), 8
    )
    ignorant = mean_return(env, lambda _: circle(replace(EASY, front_friction=0.5)), 8)
    assert told > 165.0
    assert told_the_sign < told - 15.0
    assert ignorant < told - 60.0


def test_standing_still_earns_nothing(env: Any) -> None:
    assert abs(mean_return(env, lambda _: lambda _: np.zeros(2), 8)) < 0.5


def test_reward_is_the_speed_along_the_circle_less_beside_it(env: Any) -> None:
    env.reset(seed=1, options={"task": EASY})
    generator = np.random.default_rng(0)
    for _ in range(50):
        before = env.robot.planar()
        observation, reward, *_ = env.step(np.array([0.4, generator.uniform(-0.5, 1.0)]))
        here = env.robot.planar()
        way = np.array([here.x - before.x, here.y - before.y])
        angle = atan2(before.y, before.x)
        beside = hypot(here.x, here.y) - 1.5
        along = way @ [-sin(angle), cos(angle)] / 0.04
        assert reward == pytest.approx(along * exp(-((beside / 0.4) ** 2)), abs=1e-6)
        assert observation[0] == pytest.approx(beside / 0.4, abs=1e-5)
        facing = here.yaw - (atan2(here.y, here.x) + pi / 2)
        assert observation[1:3] == pytest.approx([sin(facing), cos(facing)], abs=1e-5)
        assert observation[3:6] == pytest.approx(np.array(here[3:]) / 2.0, abs=1e-5)
        speeds = np.array([state[1] for state in env.robot.wheels.read()])
        assert observation[6:] == pytest.approx(speeds * 0.05 / 2.0, abs=1e-5)


def test_looks_the_same_all_around_the_circle(env: Any) -> None:
    seen = []
    for angle in (0.0, 2.0, -3.0):
        env.robot.reset(1.7 * cos(angle), 1.7 * sin(angle), angle + pi / 2 + 0.3)
        seen.append(env._observe())
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-6)
    np.testing.assert_allclose(seen[0], seen[2], atol=1e-6)
    assert seen[0][:3] == pytest.approx([0.5, sin(0.3), cos(0.3)], abs=1e-6)


def after(env: Any, task: RacecarDriftTask, steer: float) -> float:
    """How far it has turned in a second, slowly."""
    env.reset(seed=0, options={"task": task})
    env.robot.reset()
    for _ in range(25):
        env.step(np.array([0.2, steer]))
    return float(env.robot.planar().yaw)


def test_sign_gain_and_offset_change_the_steering(env: Any) -> None:
    left = after(env, EASY, 0.6)
    assert left > 0.3
    assert after(env, replace(EASY, steering_sign=-1.0), -0.6) == pytest.approx(left)
    assert after(env, replace(EASY, steering_gain=1.2), 0.5) == pytest.approx(left)
    assert after(env, replace(EASY, steering_offset=0.2), 0.4) == pytest.approx(left)


def test_tyres_are_those_of_the_task(env: Any) -> None:
    env.reset(seed=0, options={"task": replace(EASY, front_friction=0.4, motor_strength=0.6)})
    properties = env.robot.properties
    frictions = [
        properties["friction"] * properties[f"{wheel}.friction"] for wheel in Racecar.WHEELS
    ]
    assert frictions == pytest.approx([0.4, 0.4, 0.8, 0.8])
    assert properties["motor_strength"] == 0.6
