from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.a1_terrain import A1TerrainTask
from metamotor.robots.ground import heights
from tests.envs.scripted import check_that_the_heading_decides, episode, walk_along


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("A1Terrain-v0").make_env()
    yield env
    env.close()


def test_who_knows_the_heading_walks_and_one_way_for_all_does_not(env: Any) -> None:
    check_that_the_heading_decides(env)


def test_uphill_is_slower_than_downhill(env: Any) -> None:
    for heading in (0.0, np.pi / 2):
        task = A1TerrainTask(heading, 0.1, heading, 0.0)
        up = episode(env, task, walk_along(heading))[0]
        down = episode(env, A1TerrainTask(heading, 0.1, heading - np.pi, 0.0), walk_along(heading))
        assert up < down[0] - 5.0


def test_rough_ground_is_drawn_anew_in_each_episode_and_from_the_own_generator(env: Any) -> None:
    task = A1TerrainTask(0.0, 0.05, 1.0, 0.03)
    grounds = []
    for seed in (1, 1, 2, None):
        env.reset(seed=seed, options={"task": task})
        grounds.append(env.robot.properties["terrain"])
    assert grounds[0] == grounds[1]
    assert len(set(grounds)) == 3
    fields = [heights(0.03, ground) for ground in grounds]
    assert (fields[1] != fields[2]).mean() > 0.99


def test_bumps_shake_it(env: Any) -> None:
    shaken = []
    for roughness in (0.0, 0.03):
        env.reset(seed=0, options={"task": A1TerrainTask(0.0, 0.0, 0.0, roughness)})
        leans = []
        for _ in range(40):
            env.step(np.array([0.8, 0.0, 0.0, 0.0, 0.0]))
            leans.append(env.robot.trunk().pitch)
        shaken.append(np.std(leans))
    assert shaken[1] > 1.5 * shaken[0]


def test_starts_above_the_highest_points(env: Any) -> None:
    for seed in range(5):
        env.reset(seed=seed, options={"task": A1TerrainTask(0.0, 0.2, 1.0, 0.03)})
        env.robot.simulator.step()
        assert env.robot.simulator.contact_count(env.robot.body) == 0


def test_the_slope_is_not_told(env: Any) -> None:
    seen = []
    for slope in (0.0, 0.2):
        seen.append(env.reset(seed=3, options={"task": A1TerrainTask(1.0, slope, 0.5, 0.02)})[0])
    np.testing.assert_array_equal(*seen)


def test_rough_ground_can_be_varied_in_other_families_and_held(env: Any) -> None:
    varied = {"roughness": envs.uniform(0.01, 0.03), "slope": envs.uniform(0.0, 0.1)}
    for name in ("A1Locomotion-v0", "LaikagoLocomotion-v0"):
        free = envs.make(name, randomization=varied).make_env()
        held = envs.make(name, randomization={**varied, "terrain": envs.choice(7.0)}).make_env()
        for one, count in ((free, 3), (held, 1)):
            robot: Any = one.robot  # type: ignore[attr-defined]
            grounds = set()
            for seed in range(3):
                one.reset(seed=seed)
                grounds.add(robot.properties["terrain"])
                assert 0.01 <= robot.properties["roughness"] <= 0.03
            assert len(grounds) == count
            one.close()


def test_mujoco_slopes_and_refuses_rough_ground() -> None:
    pytest.importorskip("mujoco")
    rough: Any = envs.make(
        "A1Locomotion-v0", physics="mujoco", randomization={"roughness": envs.choice(0.02)}
    ).make_env()
    with pytest.raises(ValueError, match="no rough ground: leave roughness at 0"):
        rough.reset(seed=0)
    rough.close()
    ends = []
    for physics in ("pybullet", "mujoco"):
        sloped: Any = envs.make(
            "A1Locomotion-v0", physics=physics, randomization={"slope": envs.choice(0.1)}
        ).make_env()
        task = sloped.family.task_type(0.0, 0.0)
        total, _ = episode(sloped, task, walk_along(0.0))
        ends.append(total)
        sloped.close()
    assert ends[1] == pytest.approx(ends[0], abs=8.0)
