from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import atan2, copysign, exp, sqrt
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.pendulum_mass import PendulumMassTask

Policy = Callable[[Any], float]
MIDDLE = PendulumMassTask(bob_mass=0.6, length=0.5, motor_strength=1.0, motor_sign=1.0)


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("PendulumMass-v0").make_env()
    yield env
    env.close()


def swing_up(task: PendulumMassTask) -> Policy:
    """Pump energy until it is near the top, then hold it there; for one who knows this task."""
    moment = (0.1 / 3 + task.bob_mass) * task.length**2
    weight = (0.1 / 2 + task.bob_mass) * task.length * 9.81

    def policy(observation: Any) -> float:
        cosine, sine, rate = observation[0], observation[1], 8.0 * observation[2]
        if cosine > 0.8:
            torque = -1.8 * weight * atan2(sine, cosine) - sqrt(moment * weight) * rate
        else:
            missing = weight * (1.0 - cosine) - moment * rate**2 / 2
            torque = copysign(1.5, missing) * copysign(1.0, rate)
        return float(task.motor_sign * torque / task.motor_strength)

    return policy


def episode(env: Any, task: PendulumMassTask, policy: Policy, seed: int) -> float:
    observation, _ = env.reset(seed=seed, options={"task": task})
    total, ended = 0.0, False
    while not ended:
        observation, reward, terminated, truncated, _ = env.step(np.array([policy(observation)]))
        assert not terminated
        total, ended = total + reward, truncated
    return total


def test_one_must_know_which_way_the_motor_turns(env: Any) -> None:
    tasks = env.family.sample(20, split="test", seed=0)

    def mean(policies: list[Policy]) -> float:
        pairs = zip(tasks, policies, strict=True)
        return float(np.mean([episode(env, task, one, i) for i, (task, one) in enumerate(pairs)]))

    told = mean([swing_up(task) for task in tasks])
    told_the_sign = mean([swing_up(replace(MIDDLE, motor_sign=task.motor_sign)) for task in tasks])
    ignorant = mean([swing_up(MIDDLE)] * 20)
    assert told > 55.0
    assert told_the_sign > 50.0
    assert ignorant < told - 15.0


def test_hanging_still_earns_nothing_and_standing_still_all(env: Any) -> None:
    for angle, reward in ((np.pi, 0.0), (0.0, 1.0)):
        env.reset(seed=0, options={"task": MIDDLE})
        env.robot.reset(angle)
        assert env.step(np.zeros(1))[1] == pytest.approx(reward, abs=1e-3)


def test_reward_is_height_less_for_turning(env: Any) -> None:
    env.reset(seed=2, options={"task": MIDDLE})
    for _ in range(30):
        observation, reward, *_ = env.step(np.ones(1))
        angle, rate, *_ = env.robot.read()
        assert reward == pytest.approx((1 + np.cos(angle)) / 2 * exp(-((rate / 4.0) ** 2)))
        assert observation == pytest.approx([np.cos(angle), np.sin(angle), rate / 8.0], abs=1e-6)


def test_sign_turns_the_motor_around(env: Any) -> None:
    ends = []
    for sign in (1.0, -1.0):
        env.reset(seed=0, options={"task": replace(MIDDLE, motor_sign=sign)})
        env.robot.reset(np.pi)
        for _ in range(5):
            env.step(np.full(1, 0.7))
        ends.append(env.robot.read()[0] - np.pi)
    assert ends[0] == pytest.approx(-ends[1])
    assert ends[0] > 0.01


def test_each_part_of_the_task_matters(env: Any) -> None:
    ends = set()
    for change in ({}, {"bob_mass": 0.3}, {"length": 0.4}, {"motor_strength": 1.2}):
        env.reset(seed=0, options={"task": replace(MIDDLE, **change)})
        for _ in range(10):
            env.step(np.ones(1))
        ends.add(round(env.robot.read()[0], 3))
    assert len(ends) == 4
