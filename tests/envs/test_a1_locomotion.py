from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor import envs
from metamotor.envs.a1_locomotion import A1LocomotionTask
from metamotor.robots import A1
from metamotor.robots.simulator import BaseState
from metamotor.robots.trot import LEGS
from tests.envs.scripted import Policy, episode

Array = NDArray[Any]
HEADINGS = tuple((np.arange(8) * np.pi / 4 - np.pi).tolist())
AHEAD = A1LocomotionTask(heading=0.0, payload=2.0)


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("A1Locomotion-v0").make_env()
    yield env
    env.close()


def idle(_: Array) -> Array:
    return np.zeros(5)


def steadily(action: Array) -> Policy:
    return lambda _: action


def walk_along(task: A1LocomotionTask, sign: float = 1.0) -> Policy:
    """Full speed along the heading (or against it), facing ahead, the legs taking their part of the load."""

    def policy(observation: Array) -> Array:
        yaw = observation[2]
        angle = task.heading - yaw
        support = task.payload * 9.81 / 2 / 30.0
        return np.array([sign * np.cos(angle), sign * np.sin(angle), -2.0 * yaw, 0.0, support])

    return policy


@pytest.mark.parametrize("payload", [0.0, 2.5, 5.0, 7.0])
def test_one_who_knows_the_task_walks_every_way_with_every_load(env: Any, payload: float) -> None:
    for heading in HEADINGS:
        task = A1LocomotionTask(heading, payload)
        there, steps = episode(env, task, walk_along(task))
        assert steps == 80
        assert there > 22.0
        assert env.robot.trunk().uprightness > 0.95
        back, _ = episode(env, task, walk_along(task, sign=-1.0))
        assert back < -22.0
        assert abs(episode(env, task, idle)[0]) < 7.0


def test_trotting_on_the_spot_earns_nothing_on_the_average(env: Any) -> None:
    tasks = env.family.sample(20, seed=0)
    assert abs(np.mean([episode(env, task, idle)[0] for task in tasks])) < 1.5


def test_mirrored_headings_are_walked_by_mirrored_actions(env: Any) -> None:
    """The robot is its own mirror image but for 2 mm of the trunk's centre of mass."""
    generator = np.random.default_rng(0)
    mirror = np.array([1.0, -1.0, -1.0, 1.0, 1.0])
    for heading in (0.5, 1.5, 2.5):
        action = np.array([np.cos(heading), np.sin(heading), 0.1, 0.0, 0.0])
        jitter = 0.1 * generator.standard_normal((80, 5))
        totals = []
        for sign, phase in ((1.0, 0.0), (-1.0, 0.5)):
            env.reset(seed=0, options={"task": A1LocomotionTask(sign * heading, 2.0)})
            env.robot.reset(A1.STANCE)
            env.robot.trot.phase = phase
            env._observe()
            actions = action + jitter if sign > 0 else (action + jitter) * mirror
            totals.append(sum(env.step(one)[1] for one in actions))
        assert totals[0] == pytest.approx(totals[1], rel=0.07)
        assert totals[0] > 20.0


def test_reward_is_the_speed_along_the_heading_less_a_cost_of_that_across(env: Any) -> None:
    task = A1LocomotionTask(heading=0.7, payload=1.0)
    env.reset(seed=0, options={"task": task})
    along, across = np.array([np.cos(0.7), np.sin(0.7)]), np.array([-np.sin(0.7), np.cos(0.7)])
    generator = np.random.default_rng(0)
    for _ in range(40):
        before = np.array(env.robot.trunk().position[:2])
        reward = env.step(generator.uniform(-1, 1, 5))[1]
        velocity = (np.array(env.robot.trunk().position[:2]) - before) / 0.04
        assert reward == pytest.approx(velocity @ along - 0.5 * (velocity @ across) ** 2)


@pytest.mark.parametrize(
    ("height", "roll", "falls"), [(0.28, 0.0, False), (0.11, 0.0, True), (0.4, 1.0, True)]
)
def test_falling_ends_the_episode_at_a_cost(
    env: Any, height: float, roll: float, falls: bool
) -> None:
    env.reset(seed=0, options={"task": AHEAD})
    turn = (np.sin(roll / 2), 0.0, 0.0, np.cos(roll / 2))
    env.robot._base.place(BaseState((0.0, 0.0, height), turn, (0.0, 0.0, -0.3), (0.0,) * 3))
    if height < 0.25:
        # Crouching, for the toes not to be in the ground.
        crouch = [
            A1.LEG.joints(0.0, side * A1.LEG.abduction, 0.02 - height, side) for _, _, side in LEGS
        ]
        env.robot.joints.reset([angle for leg in crouch for angle in leg])
    _, reward, terminated, truncated, _ = env.step(np.zeros(5))
    assert (terminated, truncated) == (falls, False)
    assert (reward < -9.0) == falls
    assert reward > -12.0


def test_falling_is_worse_than_idling(env: Any) -> None:
    # On its side at once: the fewest steps that an episode can have.
    env.reset(seed=0, options={"task": AHEAD})
    env.robot._base.place(BaseState((0.0, 0.0, 0.2), (1.0, 0.0, 0.0, 0.0), (0.0,) * 3, (0.0,) * 3))
    fallen = env.step(np.zeros(5))[1]
    assert fallen < episode(env, AHEAD, idle)[0] - 5.0


def test_rarely_falls_while_it_explores(env: Any) -> None:
    generator = np.random.default_rng(0)
    tasks = env.family.sample(20, seed=1)
    lengths = [episode(env, task, lambda _: generator.normal(0.0, 0.5, 5))[1] for task in tasks]
    assert sum(length < 80 for length in lengths) <= 1


def test_carries_exactly_the_payload_whatever_came_before(env: Any) -> None:
    robot = env.robot
    links = (-1, *range(13))
    for payload in (3.0, 0.0, 6.5, 0.25):
        env.reset(seed=0, options={"task": A1LocomotionTask(0.0, payload)})
        total = sum(robot.simulator.mass(robot.body, link) for link in links)
        assert total == pytest.approx(A1.MASS + payload, abs=1e-12)
        env.step(np.ones(5))


def test_payload_weighs(env: Any) -> None:
    heights = []
    for payload in (0.0, 5.0):
        episode(env, A1LocomotionTask(0.0, payload), idle)
        heights.append(env.robot.trunk().position[2])
    assert 0.005 < heights[0] - heights[1] < 0.05


def test_support_carries_the_payload(env: Any) -> None:
    """What the robot is told of its load in the last action keeps it from sinking and drifting back."""
    task = A1LocomotionTask(0.0, 5.0)
    states = []
    for support in (0.0, 5.0 * 9.81 / 2 / 30.0):
        action = np.array([0.0, 0.0, 0.0, 0.0, support])
        episode(env, task, steadily(action))
        states.append(env.robot.trunk().position)
    assert states[1][2] > states[0][2] + 0.005
    assert abs(states[1][0]) < 0.5 * abs(states[0][0])


def test_observation_is_scaled_as_documented(env: Any) -> None:
    env.reset(seed=0, options={"task": AHEAD})
    for _ in range(13):
        observation = env.step(np.array([0.6, -0.3, 0.5, 0.2, 0.1]))[0]
    trunk = env.robot.trunk()
    assert observation[:3] == pytest.approx([trunk.roll / 0.2, trunk.pitch / 0.2, trunk.yaw])
    assert observation[3:6] == pytest.approx(np.array(trunk.angular_velocity) / 2.0)
    assert observation[6:9] == pytest.approx(np.array(trunk.velocity) / 0.5)
    # 13 periods of 0.04 s are 1.3 cycles of 0.4 s.
    angle = 2 * np.pi * 0.3
    assert observation[9:11] == pytest.approx([np.sin(angle), np.cos(angle)], abs=1e-5)
    joints = np.array([state[0] for state in env.robot.joints.read()])
    assert observation[11:] == pytest.approx((joints - A1.STANCE) / 0.5, abs=1e-6)


def test_observes_neither_task_nor_place(env: Any) -> None:
    env.reset(seed=0, options={"task": AHEAD})
    here = env._observe()[0]
    base = env.robot._base.base()
    x, y, z = base.position
    env.robot._base.place(base._replace(position=(x + 5.0, y - 3.0, z)))
    np.testing.assert_array_equal(env._observe()[0], here)
    env.reset(seed=0, options={"task": A1LocomotionTask(2.0, 4.0)})
    np.testing.assert_array_equal(env._observe()[0], here)


def test_headings_fill_the_circle_in_every_split(env: Any) -> None:
    for split in envs.SPLITS:
        headings = np.array([task.heading for task in env.family.sample(400, split=split, seed=0)])
        counts, _ = np.histogram(headings, bins=8, range=(-np.pi, np.pi))
        assert counts.sum() == 400
        assert counts.min() > 25
