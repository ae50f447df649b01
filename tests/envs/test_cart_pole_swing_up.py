from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import pi
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor import envs
from metamotor.envs.cart_pole import CartPoleTask
from metamotor.envs.cart_pole_swing_up import SwingUpRobot

Array = NDArray[Any]
Policy = Callable[[Array], Array]
PLAIN = CartPoleTask(
    pole_length=1.0, pole_mass=0.1, cart_mass=1.0, motor_strength=10.0, motor_sign=1.0
)
DAMPING, DT = 2.0, 0.05


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("CartPoleSwingUp-v0").make_env()
    yield env
    env.close()


def state_of(observation: Array) -> tuple[float, float, float, float]:
    """Cart position and velocity, angle from upright and angular velocity."""
    x, v, cosine, sine, rate = observation.tolist()
    return 3.0 * x, 3.0 * v, np.arctan2(sine, cosine), 6.0 * rate


def balancing_gains(task: CartPoleTask) -> Array:
    """The linear-quadratic regulator of the upright pole, for the state (x, θ, ẋ, θ̇)."""
    first = task.pole_mass * task.pole_length / 2
    inertia = np.array(
        [
            [task.cart_mass + task.pole_mass, first],
            [first, task.pole_mass * task.pole_length**2 / 3],
        ]
    )
    inverse = np.linalg.inv(inertia)
    joint = np.zeros((5, 5))
    joint[0, 2] = joint[1, 3] = 1.0
    joint[2:4, 1] = inverse[:, 1] * first * 9.81
    joint[2:4, 2] = -DAMPING * inverse[:, 0]
    joint[2:4, 4] = inverse[:, 0]
    # The force is held for a period: the matrix exponential, by its series.
    term: Array = np.eye(5)
    held: Array = np.eye(5)
    for order in range(1, 20):
        term = term @ joint * DT / order
        held = held + term
    a, b = held[:4, :4], held[:4, 4:]
    cost: Array = np.diag([1.0, 10.0, 0.1, 0.1])
    value = cost
    gains: Array = np.zeros((1, 4))
    for _ in range(300):
        gains = np.linalg.solve(0.05 + b.T @ value @ b, b.T @ value @ a)
        value = cost + a.T @ value @ (a - b @ gains)
    row: Array = gains[0]
    return row


def swing_up(task: CartPoleTask) -> Policy:
    """Shape the pole's energy (Åström and Furuta 2000, Automatica 36) and catch it with the regulator."""
    half, mass, cart = task.pole_length / 2, task.pole_mass, task.cart_mass
    moment, weight = mass * task.pole_length**2 / 3, mass * 9.81 * half
    gains, strongest = balancing_gains(task), task.motor_strength / (cart + mass)
    frequency = np.sqrt(9.81 / task.pole_length)

    def policy(observation: Array) -> Array:
        x, speed, angle, rate = state_of(observation)
        cosine, sine = np.cos(angle), np.sin(angle)
        if abs(angle) < 0.6 and abs(rate) < 3.0:
            force = -gains @ np.array([x, angle, speed, rate])
        else:
            # 0 is the energy of standing upright, -2 that of hanging.
            energy = moment * rate**2 / 2 / weight + cosine - 1.0
            pump = np.clip(4.0 * energy * np.tanh(4.0 * rate * cosine / frequency), -1.0, 1.0)
            wanted = strongest * (pump - 0.4 * x - 0.25 * speed)
            turning = (weight * sine - mass * half * cosine * wanted) / moment
            force = (cart + mass) * wanted + mass * half * (cosine * turning - sine * rate**2)
            force += DAMPING * speed
        return np.array([force / (task.motor_sign * task.motor_strength)])

    return policy


def episode(env: Any, task: CartPoleTask, policy: Policy, seed: int = 0) -> tuple[float, Array]:
    """Return, and the cosine of the pole's angle after each step."""
    observation, _ = env.reset(seed=seed, options={"task": task})
    total, heights, ended = 0.0, [], False
    while not ended:
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        heights.append(observation[2])
        total, ended = total + reward, terminated or truncated
    return total, np.array(heights)


def steadily(action: float) -> Policy:
    return lambda _: np.array([action])


def test_one_who_knows_the_robot_swings_every_pole_up(env: Any) -> None:
    returns, delays = [], []
    for seed, task in enumerate(env.family.sample(30, split="test", seed=0)):
        total, heights = episode(env, task, swing_up(task), seed)
        returns.append(total)
        assert len(heights) == 100
        assert (heights[-20:] > 0.95).all()
        delays.append(100 - int(np.argmin(np.append(heights[::-1] > 0.9, False))))
    assert np.mean(returns) > 80.0
    assert min(returns) > 55.0
    # Well before the middle of the episode it is up for good.
    assert np.median(delays) < 40
    assert max(delays) < 70


def test_one_who_takes_the_motor_the_wrong_way_round_does_not(env: Any) -> None:
    returns = []
    for seed, task in enumerate(env.family.sample(20, split="test", seed=0)):
        wrong = replace(task, motor_sign=-task.motor_sign)
        returns.append(episode(env, task, swing_up(wrong), seed)[0])
    assert np.mean(returns) < 5.0
    assert max(returns) < 20.0


def test_hanging_earns_nothing(env: Any) -> None:
    env.reset(seed=0, options={"task": PLAIN})
    env.robot.reset(0.0, pi)
    assert sum(env.step(np.zeros(1))[1] for _ in range(100)) < 1e-6


def test_standing_upright_earns_almost_one_a_step(env: Any) -> None:
    env.reset(seed=0, options={"task": PLAIN})
    env.robot.reset(0.0, 0.0)
    assert env.step(np.zeros(1))[1] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("rate", [10.0, 12.0, 15.0])
def test_spinning_earns_little(env: Any, rate: float) -> None:
    """A spinning pole is at half the height on average, whichever way the motor that spins it pushes."""
    env.reset(seed=0, options={"task": PLAIN})
    env.robot.reset(0.0, pi, rate=rate)
    total, heights = 0.0, []
    for _ in range(100):
        observation, reward, terminated, *_ = env.step(np.zeros(1))
        total += reward
        heights.append((1 + observation[2]) / 2)
        assert not terminated
    assert np.mean(heights) > 0.4
    assert total < 8.0


def test_reward_is_the_product_that_is_documented(env: Any) -> None:
    generator = np.random.default_rng(0)
    env.reset(seed=0, options={"task": PLAIN})
    for _ in range(20):
        position, angle = generator.uniform(-2.5, 2.5), generator.uniform(-pi, pi)
        env.robot.reset(position, angle, rate=generator.uniform(-5.0, 5.0))
        observation, reward, _, _, _ = env.step(np.array([generator.uniform(-1.0, 1.0)]))
        x, _, angle, rate = state_of(observation)
        height = (1 + np.cos(angle)) / 2
        expected = height * (1 - 0.5 * (x / 3.0) ** 2) * np.exp(-((rate / 3.3) ** 2))
        assert reward == pytest.approx(expected, abs=1e-6)


def test_an_early_end_never_pays(env: Any) -> None:
    """No reward is negative, and the one that ends the episode is zero, whichever way it is left."""
    for side in (-1.0, 1.0):
        env.reset(seed=0, options={"task": PLAIN})
        env.robot.reset(2.5 * side, 0.3)
        rewards, ended = [], False
        while not ended:
            _, reward, ended, truncated, _ = env.step(np.array([side]))
            rewards.append(reward)
            assert not truncated
        assert rewards[-1] == 0.0
        assert min(rewards) >= 0.0
        assert abs(env.robot.read()[0][0]) > 3.0


def test_exploring_rarely_leaves_the_track(env: Any) -> None:
    generator = np.random.default_rng(0)
    lengths = [
        len(episode(env, task, lambda _: generator.normal(0.0, 0.6, 1), seed)[1])
        for seed, task in enumerate(env.family.sample(20, seed=1))
    ]
    assert sum(length < 100 for length in lengths) <= 3


def test_mirrored_robot_with_the_other_sign_moves_in_the_mirror(env: Any) -> None:
    """By the same commands: what one sign can reach, the other can as well."""
    commands = np.random.default_rng(0).uniform(-1, 1, (60, 1))
    paths = []
    for side in (1.0, -1.0):
        env.reset(seed=0, options={"task": replace(PLAIN, motor_sign=side)})
        env.robot.reset(0.5 * side, side * 3.0, -0.3 * side, 1.5 * side)
        paths.append([(*env.step(command)[:2],) for command in commands])
    mirror = np.array([-1.0, -1.0, 1.0, -1.0, -1.0])
    for (ours, reward), (theirs, same) in zip(*paths, strict=True):
        assert ours == pytest.approx(mirror * theirs, abs=1e-5)
        assert reward == pytest.approx(same, abs=1e-6)


def test_motor_turns_with_its_sign_and_strength(env: Any) -> None:
    speeds = []
    for sign, strength in ((1.0, 10.0), (-1.0, 10.0), (1.0, 5.0)):
        task = replace(PLAIN, motor_sign=sign, motor_strength=strength)
        env.reset(seed=0, options={"task": task})
        env.robot.reset(0.0, pi)
        speeds.append(env.step(np.ones(1))[0][1])
    assert speeds[0] > 0
    assert speeds[1] == pytest.approx(-speeds[0], rel=1e-5)
    assert speeds[2] == pytest.approx(speeds[0] / 2, rel=1e-2)


def test_starts_all_over_the_circle_and_about_the_middle(env: Any) -> None:
    starts = np.array([state_of(env.reset(seed=seed)[0]) for seed in range(400)])
    widths = np.array([1.0, 0.5, pi, 2.0])
    assert (np.abs(starts) <= widths + 1e-6).all()
    # Uniform, and independent of each other: three standard errors.
    assert np.abs(starts.mean(axis=0) / widths).max() < 3 / np.sqrt(3 * 400)
    assert np.abs(starts.std(axis=0) / widths - 1 / np.sqrt(3)).max() < 0.05
    assert np.abs(np.corrcoef(starts.T) - np.eye(4)).max() < 3.5 / np.sqrt(400)


def test_start_tells_nothing_of_the_task(env: Any) -> None:
    first, second = env.family.sample(2, seed=0)
    other = replace(second, motor_sign=-first.motor_sign)
    for seed in range(10):
        ours, theirs = (env.reset(seed=seed, options={"task": task})[0] for task in (first, other))
        assert ours.tobytes() == theirs.tobytes()


def test_turns_over_without_a_jump(env: Any) -> None:
    """A pole that goes over the top is the same pole."""
    env.reset(seed=0, options={"task": PLAIN})
    env.robot.reset(0.0, 0.7)
    here = env._observe()[0]
    env.robot.reset(0.0, 0.7 - 2 * pi)
    assert env._observe()[0] == pytest.approx(here, abs=1e-6)


def test_is_commanded_at_twenty_hertz_for_five_seconds(env: Any) -> None:
    assert env.family.dt == pytest.approx(0.05)
    assert env.family.horizon == 100


class TestRobot:
    def test_keeps_its_energy_without_friction(self) -> None:
        class Smooth(SwingUpRobot):
            RAIL_DAMPING = 0.0

        with Smooth() as robot:
            for length, mass, cart in ((0.8, 0.3, 0.6), (1.6, 0.05, 1.6)):
                robot.configure(pole_length=length, pole_mass=mass, cart_mass=cart)
                robot.reset(0.0, 0.3)
                energies = []
                for _ in range(200):
                    (_, v, *_), (angle, w, *_) = robot.read()
                    energies.append(
                        (cart + mass) * v**2 / 2
                        + mass * length / 2 * (v * w * np.cos(angle) + 9.81 * np.cos(angle))
                        + mass * length**2 / 6 * w**2
                    )
                    robot.push(0.0)
                # In units of what a swing from top to bottom turns over.
                drift = np.abs(np.array(energies) - energies[0]) / (mass * 9.81 * length)
                assert drift.max() < 0.1

    def test_rail_brakes_the_cart(self) -> None:
        with SwingUpRobot() as robot:
            robot.configure(pole_length=1.0, pole_mass=0.1, cart_mass=1.0)
            # The pole hangs on a cart that drifts: after a while both creep.
            robot.reset(0.0, pi)
            for _ in range(20):
                robot.push(2.0)
            speed = robot.read()[0][1]
            assert speed == pytest.approx(1.0 * (1 - np.exp(-2.0 / 1.1)), abs=0.1)
