from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.minitaur_battery import MinitaurBatteryTask
from metamotor.robots import Minitaur

FULL = MinitaurBatteryTask(16.8, 0.0)


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("MinitaurBattery-v0").make_env()
    yield env
    env.close()


def walk(env: Any, task: MinitaurBatteryTask, action: list[float], seed: int = 0) -> float:
    """Return of an episode under one action."""
    env.reset(seed=seed, options={"task": task})
    total, ended = 0.0, False
    while not ended:
        _, reward, terminated, truncated, _ = env.step(np.array(action))
        total, ended = total + reward, terminated or truncated
    return total


def lean(fold: float) -> list[float]:
    """The action that folds the right legs and stretches the left ones."""
    return [0.0, 0.0, -0.8, -fold, fold]


def test_reward_is_speed_ahead_less_the_distance_from_the_line(env: Any) -> None:
    env.reset(seed=0, options={"task": MinitaurBatteryTask(14.0, 0.4)})
    for _ in range(30):
        before = env.robot.trunk().position
        _, reward, _, _, _ = env.step(np.array([0.5, 1.0, 0.0, 0.3, -0.3]))
        after = env.robot.trunk().position
        speed = (after[0] - before[0]) / 0.025
        assert reward == pytest.approx(speed - 6.0 * abs(after[1]))
    assert abs(after[1]) > 0.005


def test_zero_actions_walk_and_earn_what_it_says(env: Any) -> None:
    walk(env, FULL, [0.0] * 5)
    assert 0.3 < env.robot.trunk().position[0] / 3.0 < 0.8
    tasks = env.family.sample(12, split="test", seed=0)
    returns = [walk(env, task, [0.0] * 5, seed) for seed, task in enumerate(tasks)]
    assert 15.0 < np.mean(returns) < 45.0


def test_a_fall_costs_and_ends(env: Any) -> None:
    env.reset(seed=0, options={"task": FULL})
    robot = env.robot
    base = robot._base.base()
    robot._base.place(base._replace(orientation=(1.0, 0.0, 0.0, 0.0)))
    _, reward, terminated, _, _ = env.step(np.zeros(5))
    assert terminated
    assert reward < -45.0


def test_observes_the_inertial_unit_and_the_phase(env: Any) -> None:
    env.reset(seed=0, options={"task": FULL})
    for _ in range(13):
        observation = env.step(np.array([0.2, 0.4, 0.0, 0.5, -0.5]))[0]
    trunk = env.robot.trunk()
    phase = 2 * np.pi * (13 * 0.025 * 4.3)
    assert observation[:2] * 0.2 == pytest.approx([trunk.roll, trunk.pitch], abs=1e-6)
    assert observation[2:5] * 2.0 == pytest.approx(trunk.angular_velocity, abs=1e-5)
    assert observation[5:] == pytest.approx([np.sin(phase), np.cos(phase)], abs=1e-5)


def test_heading_and_place_do_not_show(env: Any) -> None:
    env.reset(seed=0, options={"task": FULL})
    before = env._observe()[0]
    half = 0.5
    turned = (0.0, 0.0, float(np.sin(half)), float(np.cos(half)))
    base = env.robot._base.base()
    env.robot._base.place(base._replace(position=(3.0, -2.0, base.position[2]), orientation=turned))
    assert env._observe()[0] == pytest.approx(before, abs=1e-6)


class TestHidden:
    def test_load_lies_on_its_side(self, env: Any) -> None:
        for load, place in ((0.3, 0.15), (-0.3, -0.15)):
            env.set_task(MinitaurBatteryTask(12.0, load))
            assert env.robot.properties["payload"] == pytest.approx(0.3)
            assert env.robot.properties["payload_y"] == place
            assert env.robot.properties["battery"] == 12.0

    def test_an_empty_battery_costs_speed(self, env: Any) -> None:
        quick = [0.0, 0.0, -0.8, 0.0, 0.0]
        ways = []
        for battery in (16.8, 10.0):
            walk(env, MinitaurBatteryTask(battery, 0.0), quick)
            ways.append(env.robot.trunk().position[0])
        assert ways[1] < 0.85 * ways[0]

    def test_each_load_wants_a_posture_of_its_own(self, env: Any) -> None:
        """The crux: what is right for a load on the left is wrong for one on the right, and level is neither."""
        returns = {
            (load, fold): np.mean(
                [
                    walk(env, MinitaurBatteryTask(battery, load), lean(fold), seed)
                    for battery in (10.0, 16.8)
                    for seed in range(2)
                ]
            )
            for load in (-0.5, 0.5)
            for fold in (-0.3, 0.0, 0.3)
        }
        for load, right in ((0.5, 0.3), (-0.5, -0.3)):
            assert returns[load, right] > returns[load, 0.0] + 5.0
            assert returns[load, 0.0] > returns[load, -right] + 5.0


def test_starts_standing_and_still(env: Any) -> None:
    folds = []
    for seed in range(20):
        observation, _ = env.reset(seed=seed, options={"task": FULL})
        assert observation == pytest.approx([0.0] * 6 + [1.0])
        folds += [fold for _, fold in env.robot.legs()]
    offsets = np.array(folds) - Minitaur.STANCE
    assert np.abs(offsets).max() <= 0.05 + 1e-9
    assert np.ptp(offsets) > 0.08
