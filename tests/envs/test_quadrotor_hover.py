from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.quadrotor_flight import QuadrotorTask
from tests.envs.quadrotor_pilot import IGNORANT, pilot

SOUND = QuadrotorTask(0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Nothing is wrong."""


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("QuadrotorHover-v0").make_env()
    yield env
    env.close()


def fly(
    env: Any, task: QuadrotorTask, policy: Callable[[Any], Any], seed: int = 0
) -> tuple[float, int]:
    """Return of an episode, and its length."""
    observation, _ = env.reset(seed=seed, options={"task": task})
    total, steps, ended = 0.0, 0, False
    while not ended:
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        total, steps, ended = total + reward, steps + 1, terminated or truncated
    return total, steps


def rest(env: Any, task: QuadrotorTask, believed: QuadrotorTask) -> Any:
    """Where a pilot comes to rest, from where it should be [m]."""
    fly(env, task, lambda observation: pilot(observation, believed, np.zeros(3)))
    return np.array(env.robot.read().position) - [0.0, 0.0, 2.0]


def test_reward_is_a_half_at_thirty_centimetres(env: Any) -> None:
    env.reset(seed=3, options={"task": SOUND})
    for _ in range(5):
        _, reward, _, _, _ = env.step(np.array([0.1, 0.2, 0.0, 0.0]))
        away = np.linalg.norm(np.array(env.robot.read().position) - [0.0, 0.0, 2.0])
        assert reward == pytest.approx(0.09 / (0.09 + away**2))


def test_starts_near_the_goal_at_rest(env: Any) -> None:
    starts = []
    for seed in range(50):
        observation, _ = env.reset(seed=seed, options={"task": SOUND})
        starts.append(observation[:3] * 0.5)
        assert (observation[3:] == 0.0).all()
    assert np.abs(starts).max() <= 0.3 + 1e-6
    assert np.ptp(starts, axis=0).min() > 0.5


def test_zero_actions_earn_what_is_said(env: Any) -> None:
    tasks = env.family.sample(30, split="test", seed=0)
    returns, lengths = zip(
        *(fly(env, task, lambda _: np.zeros(4), seed) for seed, task in enumerate(tasks)),
        strict=True,
    )
    assert np.mean(returns) == pytest.approx(10.0, abs=1.0)  # as documented
    assert np.mean(np.array(lengths) < 100) > 0.7


@pytest.mark.parametrize(
    ("action", "why"),
    [([0, 1, 0, 0], "lost"), ([0, 0, -1, 0], "on the ground")],
)
def test_ends_when_it_has_crashed(env: Any, action: list[float], why: str) -> None:
    _, steps = fly(env, SOUND, lambda _: np.array(action, float))
    now = env.robot.read()
    away = np.linalg.norm(np.array(now.position) - [0.0, 0.0, 2.0])
    assert steps < 100
    assert (away > 3.0) == (why == "lost")
    assert (now.position[2] < 0.1) == (why == "on the ground")


def test_observes_in_axes_that_turn_with_it(env: Any) -> None:
    env.reset(seed=1, options={"task": SOUND})
    for _ in range(25):
        observation = env.step(np.array([0.1, 0.2, 0.3, 1.0]))[0]
    now = env.robot.read()
    assert observation[8] == pytest.approx(now.yaw, abs=1e-6)
    assert now.yaw > 0.8
    turn = np.exp(-1j * now.yaw)
    x, y, z = np.array([0.0, 0.0, 2.0]) - now.position
    to_go, along = (x + 1j * y) * turn, complex(*now.world_velocity[:2]) * turn
    assert observation[:3] * 0.5 == pytest.approx([to_go.real, to_go.imag, z], abs=1e-6)
    assert observation[3:5] == pytest.approx([along.real, along.imag], abs=1e-6)
    assert observation[6:8] * 0.3 == pytest.approx([now.roll, now.pitch], abs=1e-6)
    assert observation[9:] * 2.0 == pytest.approx(now.angular_velocity, abs=1e-6)


def test_the_estimate_is_off_and_the_reward_is_not(env: Any) -> None:
    starts = []
    for error in (0.0, 0.4):
        task = replace(SOUND, error_x=error, error_y=-error / 2)
        starts.append(env.reset(seed=1, options={"task": task})[0])
        for _ in range(15):
            observation, reward, _, _, _ = env.step(np.array([0.1, 0.0, 0.2, 1.0]))
            now = env.robot.read()
            x, y, z = np.array([0.0, 0.0, 2.0]) - now.position
            assert reward == pytest.approx(0.09 / (0.09 + x**2 + y**2 + z**2))
            estimate = complex(x - error, y + error / 2) * np.exp(-1j * now.yaw)
            assert complex(*observation[:2]) * 0.5 == pytest.approx(estimate, abs=1e-6)
        assert abs(now.yaw) > 0.2
    np.testing.assert_allclose(starts[1], starts[0], atol=1e-7)


class TestHidden:
    """Each parameter moves where a pilot rests that does not know it; one that knows is moved much less."""

    @pytest.mark.parametrize(
        ("change", "way"),
        [
            ({"payload": 0.2}, (0, 0, -1)),
            ({"error_x": 0.6}, (-1, 0, 0)),
            ({"error_y": -0.6}, (0, 1, 0)),
            ({"wind_x": 4.0}, (1, 0, 0)),
            ({"wind_y": -4.0}, (0, -1, 0)),
            ({"payload": 0.2, "payload_x": 0.03}, (1, 0, -1)),
            ({"payload": 0.2, "payload_y": 0.03}, (0, 1, -1)),
            ({"strength": 0.6, "weak_x": 1.0, "weak_y": 1.0}, (1, 1, -1)),
            ({"strength": 0.6, "weak_x": -1.0, "weak_y": -1.0}, (-1, -1, -1)),
            ({"strength": 0.6, "weak_x": -1.0, "weak_y": 1.0}, (-1, 1, -1)),
        ],
    )
    def test_leaves_a_lasting_error(
        self, env: Any, change: dict[str, float], way: tuple[int, ...]
    ) -> None:
        task = replace(SOUND, **change)
        moved = rest(env, task, SOUND)
        for axis, sense in enumerate(way):
            if sense:
                assert sense * moved[axis] > 0.08
        assert np.linalg.norm(rest(env, task, task)) < 0.6 * np.linalg.norm(moved)

    def test_latency_makes_it_overshoot(self, env: Any) -> None:
        def hard(observation: Any) -> Any:
            return pilot(observation, SOUND, np.zeros(3), kp=16.0, kd=7.0)

        prompt, late = (
            fly(env, replace(SOUND, latency=latency), hard)[0] for latency in (0.0, 0.06)
        )
        assert late < prompt - 3.0

    def test_knowing_it_pays(self, env: Any) -> None:
        returns = []
        for seed, task in enumerate(env.family.sample(20, split="test", seed=0)):
            for believed in (IGNORANT, task):

                def policy(observation: Any, believed: QuadrotorTask = believed) -> Any:
                    return pilot(observation, believed, np.zeros(3), kp=12.0, kd=6.0)

                returns.append(fly(env, task, policy, seed)[0])
        ignorant, knowing = np.mean(returns[::2]), np.mean(returns[1::2])
        assert (ignorant, knowing) == pytest.approx((41.0, 88.0), abs=1.5)  # as documented


class TestVelocityLoop:
    """What an action asks for."""

    @pytest.mark.parametrize("axis", [0, 1, 2])
    @pytest.mark.parametrize("sense", [1.0, -1.0])
    def test_a_sound_vehicle_gets_the_velocity_it_is_asked_for(
        self, env: Any, axis: int, sense: float
    ) -> None:
        env.reset(seed=0, options={"task": SOUND})
        action = np.zeros(4)
        action[axis] = 0.5 * sense
        for _ in range(30):
            observation, _, _, _, _ = env.step(action)
        wanted = 1.5 * action[:3]
        # Drag has to be made up for by an error of the velocity.
        assert observation[3:6] == pytest.approx(wanted, abs=0.15)

    def test_commands_are_the_documented_ones(
        self, env: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[dict[str, float]] = []
        monkeypatch.setattr(env.robot, "command", lambda **command: asked.append(command))
        task = replace(SOUND, wind_x=1.0, wind_y=-2.0)
        observation, _ = env.reset(seed=0, options={"task": task})
        generator = np.random.default_rng(0)
        for _ in range(20):
            velocity, action = observation[3:6], generator.uniform(-1.0, 1.0, size=4)
            observation = env.step(action)[0]
            ax, ay, az = 4.0 * (1.5 * action[:3] - velocity) / 9.81
            expected = {
                "thrust": 0.5 * 9.81 * (1.0 + np.clip(az, -0.7, 0.7)),
                "roll": np.clip(-ay, -0.6, 0.6),
                "pitch": np.clip(ax, -0.6, 0.6),
                "yaw_rate": 1.5 * action[3],
            }
            assert asked[-1] == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("sense", [1.0, -1.0])
    def test_thrust_and_angles_have_limits(
        self, env: Any, monkeypatch: pytest.MonkeyPatch, sense: float
    ) -> None:
        env.reset(seed=0, options={"task": SOUND})
        speed = -2.5 * sense
        env.robot.reset((0.0, 0.0, 2.0), (speed, speed, speed))
        env._observe(env.robot.read())
        asked: dict[str, float] = {}
        monkeypatch.setattr(env.robot, "command", lambda **command: asked.update(command))
        env.step(np.zeros(4))
        expected = {
            "thrust": 0.5 * 9.81 * (1.0 + 0.7 * sense),
            "roll": -0.6 * sense,
            "pitch": 0.6 * sense,
            "yaw_rate": 0.0,
        }
        assert asked == pytest.approx(expected)
