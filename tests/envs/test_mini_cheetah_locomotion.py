from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.mini_cheetah_locomotion import MiniCheetahLocomotionTask
from metamotor.robots import MiniCheetah
from metamotor.robots.trot import LEGS
from tests.envs.scripted import check_that_the_heading_decides, episode, on_the_spot, walk_along

STRONG = MiniCheetahLocomotionTask(
    heading=0.0, payload=0.0, motor_strength=1.0, knee_strength=1.0, weak_leg=0.0
)


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("MiniCheetahLocomotion-v0").make_env()
    yield env
    env.close()


def test_who_knows_the_heading_walks_and_one_way_for_all_does_not(env: Any) -> None:
    check_that_the_heading_decides(env)


@pytest.mark.parametrize("heading", [0.0, np.pi / 2, np.pi])
def test_walks_every_way_with_the_greatest_load(env: Any, heading: float) -> None:
    task = MiniCheetahLocomotionTask(heading, 2.0, 1.0, 1.0, 0.0)
    there, steps = episode(env, task, walk_along(heading))
    assert steps == 80
    assert there > 24.0


def test_reward_is_the_speed_along_the_heading_less_a_cost_of_that_across(env: Any) -> None:
    env.reset(seed=0, options={"task": MiniCheetahLocomotionTask(0.7, 1.0, 0.9, 0.8, 2.0)})
    along, across = np.array([np.cos(0.7), np.sin(0.7)]), np.array([-np.sin(0.7), np.cos(0.7)])
    generator = np.random.default_rng(0)
    for _ in range(20):
        before = np.array(env.robot.trunk().position[:2])
        reward = env.step(generator.uniform(-1, 1, 5))[1]
        velocity = (np.array(env.robot.trunk().position[:2]) - before) / 0.04
        assert reward == pytest.approx(velocity @ along - 0.5 * (velocity @ across) ** 2)


def test_only_the_weak_leg_has_a_weak_knee_whatever_came_before(env: Any) -> None:
    for leg in (3, 0, 2):
        task = MiniCheetahLocomotionTask(0.0, 1.5, 0.9, 0.6, float(leg))
        env.reset(seed=0, options={"task": task})
        expected = np.full(12, 0.9)
        expected[3 * leg + 2] *= 0.6
        assert env.robot._motors.strengths == pytest.approx(expected)
        total = sum(env.robot.simulator.mass(env.robot.body, link) for link in range(-1, 13))
        assert total == pytest.approx(MiniCheetah.MASS + 1.5)


def test_a_weak_knee_lets_its_corner_sink(env: Any) -> None:
    leans = []
    for leg, (_, front, side) in enumerate(LEGS):
        task = MiniCheetahLocomotionTask(0.0, 1.0, 1.0, 0.5, float(leg))
        env.reset(seed=0, options={"task": task})
        held = []
        for _ in range(30):
            env.step(np.zeros(5))
            trunk = env.robot.trunk()
            # Nose down is a positive pitch, right side down a positive roll.
            held.append(front * trunk.pitch - side * trunk.roll)
        leans.append(np.mean(held))
    assert min(leans) > 0.005


def test_weak_motors_and_a_load_let_it_sink(env: Any) -> None:
    heights = []
    for task in (
        STRONG,
        MiniCheetahLocomotionTask(0.0, 0.0, 0.9, 1.0, 0.0),
        MiniCheetahLocomotionTask(0.0, 2.0, 1.0, 1.0, 0.0),
    ):
        episode(env, task, on_the_spot)
        heights.append(env.robot.trunk().position[2])
    assert min(heights[0] - heights[1], heights[0] - heights[2]) > 0.002


def test_rarely_falls_while_it_explores(env: Any) -> None:
    generator = np.random.default_rng(0)
    tasks = env.family.sample(8, seed=1)
    lengths = [episode(env, task, lambda _: generator.normal(0.0, 0.5, 5))[1] for task in tasks]
    assert sum(length < 80 for length in lengths) <= 1
