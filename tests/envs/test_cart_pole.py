from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.cart_pole import CartPoleTask

PLAIN = CartPoleTask(
    pole_length=1.0, pole_mass=0.1, cart_mass=1.0, motor_strength=10.0, motor_sign=1.0
)


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("CartPole-v0").make_env()
    yield env
    env.close()


def balance(env: Any, task: CartPoleTask, sign: float) -> float:
    """The return of a controller that takes the motor's sign for `sign`."""
    observation, _ = env.reset(seed=0, options={"task": task})
    total, ended = 0.0, False
    while not ended:
        push = 3.0 * observation[2] + 2.0 * observation[3] + observation[0] + observation[1]
        observation, reward, terminated, truncated, _ = env.step(np.array([sign * push]))
        total, ended = total + reward, terminated or truncated
    return total


def test_one_who_knows_the_sign_balances_every_pole(env: Any) -> None:
    for split in envs.SPLITS:
        for task in env.family.sample(10, split=split, seed=0):
            assert balance(env, task, task.motor_sign) == 100.0
            assert balance(env, task, -task.motor_sign) < 60.0


def test_idling_lets_it_fall(env: Any) -> None:
    assert balance(env, PLAIN, sign=0.0) < 100.0


def test_falling_ends_the_episode_without_reward(env: Any) -> None:
    env.reset(seed=0, options={"task": PLAIN})
    env.robot.reset(0.0, 0.36)
    _, reward, terminated, truncated, _ = env.step(np.zeros(1))
    assert (reward, terminated, truncated) == (0.0, True, False)
    with pytest.raises(RuntimeError, match="after the end of an episode"):
        env.step(np.zeros(1))


def test_leaving_the_rail_ends_the_episode(env: Any) -> None:
    env.reset(seed=0, options={"task": PLAIN})
    env.robot.reset(-2.41, 0.0)
    assert env.step(np.zeros(1))[2]


def test_motor_turns_with_its_sign(env: Any) -> None:
    speeds = []
    for sign in (1.0, -1.0):
        task = CartPoleTask(1.0, 0.1, 1.0, 10.0, sign)
        env.reset(seed=0, options={"task": task})
        speeds.append(env.step(np.ones(1))[0][1])
    assert speeds[0] > 0 > speeds[1]


def test_observation_is_scaled_as_documented(env: Any) -> None:
    env.reset(seed=0, options={"task": PLAIN})
    observation = env.step(np.ones(1))[0]
    (position, speed, *_), (angle, rate, *_) = env.robot.read()
    assert observation == pytest.approx([position / 2.4, speed / 2, angle / 0.35, rate / 2])
