from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.quadrotor_flight import QuadrotorTask
from metamotor.envs.quadrotor_track import place
from tests.envs.quadrotor_pilot import IGNORANT, pilot

SOUND = QuadrotorTask(0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Nothing is wrong."""
OMEGA = 2 * np.pi / 8


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("QuadrotorTrack-v0").make_env()
    yield env
    env.close()


def eight(phase: float) -> Any:
    return np.array([np.sin(phase), 0.5 * np.sin(2 * phase), 2.0])


def fly(env: Any, task: QuadrotorTask, believed: QuadrotorTask | None, seed: int = 0) -> float:
    """Return of an episode flown by a pilot, or by nobody."""
    observation, _ = env.reset(seed=seed, options={"task": task})
    total, ended = 0.0, False
    while not ended:
        action = np.zeros(4)
        if believed is not None:
            phase = env._phase
            wanted = OMEGA**2 * np.array([-np.sin(phase), -2 * np.sin(2 * phase), 0.0])
            action = pilot(observation, believed, wanted, kp=12.0, kd=6.0)
        observation, reward, terminated, truncated, _ = env.step(action)
        total, ended = total + reward, terminated or truncated
    return total


def test_the_figure_is_the_documented_one() -> None:
    for phase in np.linspace(-4, 4, 9):
        assert place(phase) == pytest.approx(eight(phase))


def test_starts_near_the_figure_and_moving_along(env: Any) -> None:
    starts, offsets = [], []
    for seed in range(20):
        observation, _ = env.reset(seed=seed, options={"task": SOUND})
        now = env.robot.read()
        phase = env._phase
        starts.append(phase)
        away = eight(phase) - now.position
        offsets.append(away[:2])
        assert observation[:12] == pytest.approx([*(away / 0.5), *[0.0] * 9], abs=1e-6)
        assert away[2] == 0.0
        later = (eight(phase + 1e-5) - eight(phase - 1e-5)) / 2e-5 * OMEGA
        assert now.world_velocity == pytest.approx(later, abs=1e-6)
        ahead = [eight(phase + OMEGA * lead) - eight(phase) for lead in (0.2, 0.4)]
        expected = np.concatenate([ahead[0][:2], ahead[1][:2]]) / 0.5
        assert observation[12:] == pytest.approx(expected, abs=1e-6)
    assert np.ptp(starts) > 4.0
    assert np.abs(offsets).max() <= 0.3
    assert np.ptp(offsets, axis=0).min() > 0.4


def test_reward_tells_how_far_it_is_from_the_moving_place(env: Any) -> None:
    env.reset(seed=0, options={"task": SOUND})
    phase = env._phase
    for step in range(1, 11):
        observation, reward, _, _, _ = env.step(np.zeros(4))
        away = eight(phase + OMEGA * 0.04 * step) - env.robot.read().position
        assert reward == pytest.approx(0.09 / (0.09 + away @ away))
        yaw = env.robot.read().yaw
        turned = complex(away[0], away[1]) * np.exp(-1j * yaw) / 0.5
        assert observation[:2] == pytest.approx([turned.real, turned.imag], abs=1e-5)


def test_nobody_flies_it_for_long(env: Any) -> None:
    tasks = env.family.sample(20, split="test", seed=0)
    returns = [fly(env, task, None, seed) for seed, task in enumerate(tasks)]
    assert np.mean(returns) == pytest.approx(10.5, abs=1.0)  # as documented


def test_knowing_what_is_hidden_pays(env: Any) -> None:
    tasks = env.family.sample(20, split="test", seed=0)
    ignorant = np.mean([fly(env, task, IGNORANT, seed) for seed, task in enumerate(tasks)])
    knowing = np.mean([fly(env, task, task, seed) for seed, task in enumerate(tasks)])
    assert (ignorant, knowing) == pytest.approx((52.0, 110.0), abs=1.5)  # as documented
