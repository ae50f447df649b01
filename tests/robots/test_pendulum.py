from __future__ import annotations

from collections.abc import Iterator
from math import cos, pi, sin

import numpy as np
import pytest

from metamotor.robots import Pendulum

MADE = [
    {"bob_mass": 0.5, "length": 0.5},
    {"bob_mass": 1.2, "length": 0.7, "joint_damping": 0.05},
    {"bob_mass": 0.2, "length": 0.3, "motor_strength": 0.5},
]


@pytest.fixture
def robot() -> Iterator[Pendulum]:
    with Pendulum() as robot:
        yield robot


def swing(
    made: dict[str, float], angle: float, command: float, seconds: float
) -> tuple[float, float]:
    """Angle and rate of a rod of 0.1 kg with a ball of 5 cm at its end, by Runge and Kutta."""
    made = {"joint_damping": 0.005, "motor_strength": 1.0, **made}
    bob, length = made["bob_mass"], made["length"]
    moment = 0.1 * length**2 / 3 + bob * (length**2 + 2 / 5 * 0.05**2)
    weight = 9.81 * (0.1 * length / 2 + bob * length)

    def slope(state: np.ndarray) -> np.ndarray:
        torque = made["motor_strength"] * command - made["joint_damping"] * state[1]
        return np.array([state[1], (weight * sin(state[0]) + torque) / moment])

    state, h = np.array([angle, 0.0]), seconds / 1000
    for _ in range(1000):
        a = slope(state)
        b = slope(state + h / 2 * a)
        c = slope(state + h / 2 * b)
        d = slope(state + h * c)
        state = state + h / 6 * (a + 2 * b + 2 * c + d)
    return float(state[0]), float(state[1])


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize(("angle", "command"), [(0.3, 0.0), (-2.0, 1.0), (3.0, -0.6)])
def test_moves_as_rod_and_bob_do(made: dict[str, float], angle: float, command: float) -> None:
    class Fine(Pendulum):
        TIME_STEP = 1 / 8000
        SUBSTEPS = 320

    with Fine() as robot:
        robot.configure(**made)
        robot.reset(angle)
        for _ in range(20):
            robot.drive(command)
        assert robot.read()[:2] == pytest.approx(swing(made, angle, command, 0.8), abs=0.02)


def test_coarse_steps_stay_close(robot: Pendulum) -> None:
    robot.reset(-2.0)
    for _ in range(20):
        robot.drive(1.0)
    assert robot.read()[:2] == pytest.approx(swing({**MADE[0]}, -2.0, 1.0, 0.8), abs=0.15)


@pytest.mark.parametrize("made", MADE)
def test_keeps_its_energy(robot: Pendulum, made: dict[str, float]) -> None:
    robot.configure(**{**made, "joint_damping": 0.0})
    bob, length = made["bob_mass"], made["length"]
    moment = 0.1 * length**2 / 3 + bob * (length**2 + 2 / 5 * 0.05**2)
    weight = 9.81 * (0.1 * length / 2 + bob * length)
    robot.reset(1.0)
    for _ in range(100):
        robot.drive(0.0)
        angle, rate, *_ = robot.read()
        energy = moment * rate**2 / 2 + weight * cos(angle)
        assert energy == pytest.approx(weight * cos(1.0), abs=0.02 * 2 * weight)


def test_hinge_is_not_limited(robot: Pendulum) -> None:
    robot.configure(joint_damping=0.0)
    robot.reset(0.0, 10.0)
    for _ in range(50):
        robot.drive(1.0)
    assert robot.joints.names == ("hinge",)
    assert robot.read()[0] > 4 * pi


def test_motor_is_too_weak_to_hold_it_level_and_its_torque_is_limited(robot: Pendulum) -> None:
    for command in (1.0, 50.0):
        robot.reset(pi)
        reached = []
        for _ in range(50):
            robot.drive(command)
            reached.append(robot.read()[0])
        # Twice the angle at which 1 N·m holds it: it swings about that.
        assert pi + 0.6 < max(reached) < pi + pi / 2
    with pytest.raises(ValueError, match="length of Pendulum"):
        robot.configure(length=0.2)


def test_friction_slows_it(robot: Pendulum) -> None:
    heights = []
    for damping in (0.005, 0.3):
        robot.configure(joint_damping=damping)
        robot.reset(pi / 2)
        for _ in range(100):
            robot.drive(0.0)
        heights.append(abs(robot.read()[0] - pi) + abs(robot.read()[1]))
    assert heights[1] < 0.1 * heights[0]
