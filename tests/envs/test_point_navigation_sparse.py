from __future__ import annotations

from math import cos, hypot, pi, sin
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.point_navigation_sparse import SparsePointTask


def total(angle: float, heading: float) -> float:
    """Return of one who goes straight in a direction until 1 m away, and stays there."""
    env = envs.make("PointNavigationSparse-v0").make_env()
    position, _ = env.reset(options={"task": SparsePointTask(angle)})
    earned, ended = 0.0, False
    while not ended:
        to_go = np.array([cos(heading), sin(heading)]) - position
        position, reward, terminated, truncated, _ = env.step(
            to_go / max(0.1, float(np.abs(to_go).max()))
        )
        earned, ended = earned + reward, terminated or truncated
    return earned


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0, pi])
def test_only_who_knows_the_angle_earns(angle: float) -> None:
    assert total(angle, angle) > 10.0
    assert total(angle, angle + 0.5 * (1 if angle < 2 else -1)) == 0.0


@pytest.mark.parametrize(
    ("x", "y"), [(0.9, 0.0), (1.0, 0.15), (0.85, 0.1), (0.75, 0.0), (0.0, 0.0)]
)
def test_reward_is_one_less_the_distance_near_the_goal(x: float, y: float) -> None:
    batch: Any = envs.make("PointNavigationSparse-v0").make_batch_env()
    batch.reset(SparsePointTask(0.0), seeds=[0])
    moves = np.array([[x, y]]) / 10 / 0.1
    for _ in range(10):
        _, rewards, terminated = batch.step(moves)
    distance = hypot(x - 1.0, y)
    assert rewards[0] == pytest.approx(1.0 - distance if distance < 0.2 else 0.0)
    assert not terminated[0]


def test_one_episode_is_too_short_to_search_the_half_circle() -> None:
    """A walk along the arc, from one end, has not seen the other end when time is up."""
    env = envs.make("PointNavigationSparse-v0").make_env()
    env.reset(options={"task": SparsePointTask(pi)})
    found = 0.0
    for step in range(20):
        along = 0.0 if step < 10 else (step - 9) * 0.1
        move = (1.0, 0.0) if step < 10 else (-sin(along), cos(along))
        found += env.step(np.array(move))[1]
    assert found == 0.0


def test_a_goal_is_one_metre_away_and_ahead() -> None:
    family: Any = envs.make("PointNavigationSparse-v0")
    for task in family.sample(50, split="test", seed=0):
        x, y = family.goal(task)
        assert hypot(x, y) == pytest.approx(1.0)
        assert y >= 0.0
