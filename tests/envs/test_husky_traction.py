from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import atan2, exp
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.husky_traction import HuskyTractionTask
from metamotor.robots import Husky
from tests.envs.scripted import Policy, episode, mean_return

EASY = HuskyTractionTask(
    steering_sign=1.0,
    steering_offset=0.0,
    left_friction=0.8,
    right_friction=0.8,
    weak_wheel=0.0,
    weak_strength=0.8,
    slope=0.0,
    slope_heading=0.0,
)


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("HuskyTraction-v0").make_env()
    yield env
    env.close()


def keep_lane(sign: float) -> Policy:
    """Full speed, steering towards the middle, for one who knows which way the steering works."""

    def policy(observation: Any) -> Any:
        wanted = -np.clip(observation[0], -0.8, 0.8)
        turn = 2.5 * sign * (wanted - atan2(observation[1], observation[2]))
        return np.array([1.0, np.clip(turn, -1.0, 1.0)])

    return policy


def test_one_must_know_which_way_it_is_steered(env: Any) -> None:
    told = mean_return(env, lambda task: keep_lane(task.steering_sign), 10)
    ignorant = mean_return(env, lambda _: keep_lane(1.0), 10)
    straight = mean_return(env, lambda _: lambda _: np.array([1.0, 0.0]), 10)
    assert told > 70.0
    assert max(ignorant, straight) < told - 20.0


def test_standing_still_earns_next_to_nothing(env: Any) -> None:
    assert abs(mean_return(env, lambda _: lambda _: np.zeros(2), 10)) < 4.0
    assert abs(episode(env, EASY, lambda _: np.zeros(2))[0]) < 0.5


def test_reward_is_the_speed_along_the_lane_less_beside_it(env: Any) -> None:
    env.reset(seed=1, options={"task": EASY})
    generator = np.random.default_rng(0)
    for _ in range(40):
        before = env.robot.planar().x
        reward = env.step(np.array([1.0, generator.uniform(-1, 1)]))[1]
        here = env.robot.planar()
        expected = (here.x - before) / 0.04 * exp(-((here.y / 0.5) ** 2))
        assert reward == pytest.approx(expected)


def after(env: Any, task: HuskyTractionTask, action: tuple[float, float]) -> Any:
    """Where it is after a second from the middle of the lane."""
    env.reset(seed=0, options={"task": task})
    env.robot.reset()
    for _ in range(25):
        env.step(np.array(action))
    return env.robot.planar()


def test_sign_and_offset_change_the_steering(env: Any) -> None:
    left = after(env, EASY, (0.5, 0.6)).yaw
    assert left > 0.2
    assert after(env, replace(EASY, steering_sign=-1.0), (0.5, -0.6)).yaw == pytest.approx(left)
    offset = replace(EASY, steering_offset=0.3)
    assert after(env, offset, (0.5, 0.3)).yaw == pytest.approx(left)
    crossed = replace(EASY, steering_sign=-1.0, steering_offset=0.3)
    assert after(env, crossed, (0.5, -0.9)).yaw == pytest.approx(left)


@pytest.mark.parametrize(
    ("change", "side"),
    [
        ({"left_friction": 0.2}, 1.0),
        ({"right_friction": 0.2}, -1.0),
        # Those in the rear bear most of the weight.
        ({"weak_wheel": 2.0, "weak_strength": 0.0}, 1.0),
        ({"weak_wheel": 3.0, "weak_strength": 0.0}, -1.0),
    ],
)
def test_it_veers_to_the_side_that_drives_less(
    env: Any, change: dict[str, float], side: float
) -> None:
    straight = after(env, replace(EASY, weak_strength=1.0), (1.0, 0.0)).yaw
    veered = after(env, replace(EASY, **{"weak_strength": 1.0, **change}), (1.0, 0.0)).yaw
    assert side * (veered - straight) > 0.02


@pytest.mark.parametrize("number", range(4))
def test_the_weak_wheel_alone_is_weak(env: Any, number: int) -> None:
    env.reset(seed=0, options={"task": replace(EASY, weak_wheel=float(number), weak_strength=0.3)})
    strengths = [env.robot.properties[f"{wheel}.strength"] for wheel in Husky.WHEELS]
    assert strengths == [0.3 if wheel == number else 1.0 for wheel in range(4)]


def test_slope_slows_it(env: Any) -> None:
    level, up = (after(env, replace(EASY, slope=slope), (1.0, 0.0)).x for slope in (0.0, 0.15))
    assert up < level - 0.02


def test_observation_is_scaled_as_documented(env: Any) -> None:
    env.reset(seed=0, options={"task": EASY})
    for _ in range(10):
        observation = env.step(np.array([0.7, 0.4]))[0]
    here = env.robot.planar()
    assert observation[0] == pytest.approx(here.y / 0.5)
    assert observation[1:3] == pytest.approx([np.sin(here.yaw), np.cos(here.yaw)])
    assert observation[3:6] == pytest.approx(here[3:])
    speeds = np.array([state[1] for state in env.robot.wheels.read()])
    assert observation[6:] == pytest.approx(speeds * 0.17775, abs=1e-6)


def test_does_not_observe_how_far_it_has_come(env: Any) -> None:
    env.reset(seed=0, options={"task": EASY})
    here = env._observe()
    base = env.robot._base.base()
    env.robot._base.place(base._replace(position=(7.0, *base.position[1:])))
    np.testing.assert_array_equal(env._observe(), here)
