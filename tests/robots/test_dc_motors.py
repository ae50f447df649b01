from __future__ import annotations

import numpy as np
import pytest

from metamotor.robots.dc_motors import DCMotors, saturated_torque

AMPERES = np.arange(0.0, 70.0, 10.0)
MEASURED = (0.0, 1.0, 1.9, 2.45, 3.0, 3.25, 3.5)


@pytest.fixture
def motor() -> DCMotors:
    return DCMotors(count=1, stiffness=1.0, damping=0.0, battery=16.0)


def torque(motor: DCMotors, target: float, rate: float = 0.0) -> float:
    return motor.torques([target], [0.0], [rate])[0]


@pytest.mark.parametrize("current", [0.0, 3.0, -17.0, 29.9, 44.0, -60.0, 300.0])
def test_torque_at_a_current_is_interpolated(current: float) -> None:
    expected = np.sign(current) * np.interp(abs(current), AMPERES, MEASURED)
    assert saturated_torque(current) == pytest.approx(expected)


def test_torque_at_rest_goes_with_battery_and_error(motor: DCMotors) -> None:
    # 0.1 rad are a duty of 0.1: 1.6 V, 8.6 A.
    assert torque(motor, 0.1) == pytest.approx(0.1 * 1.6 / 0.186)
    assert torque(motor, -0.1) == pytest.approx(-0.1 * 1.6 / 0.186)
    motor.battery = 8.0
    assert torque(motor, 0.1) == pytest.approx(0.1 * 0.8 / 0.186)


def test_the_battery_bounds_the_speed(motor: DCMotors) -> None:
    free = 16.0 / 0.0954
    assert torque(motor, 5.0, free) == pytest.approx(0.0, abs=1e-9)
    assert torque(motor, 5.0, 0.9 * free) > 0.0 > torque(motor, 5.0, 1.1 * free)


def test_viscous_damping_adds_to_what_the_motor_brakes(motor: DCMotors) -> None:
    motor.viscous_damping = 0.01
    assert torque(motor, 0.0, 5.0) == pytest.approx(-0.1 * 0.1054 * 5.0 / 0.186)


def test_damping_acts_through_the_duty(motor: DCMotors) -> None:
    motor.damping = 0.02
    assert torque(motor, 0.0, 2.0) == pytest.approx(-0.1 * (0.04 * 16 + 0.0954 * 2) / 0.186)


def test_duty_and_torque_are_bounded(motor: DCMotors) -> None:
    # At rest a duty of 0.8 gives 69 A, beyond what the torque grows with; at 100 rad/s full duty gives 35 A.
    assert torque(motor, 0.8) == torque(motor, 1.0) == torque(motor, 50.0) == 3.5
    assert torque(motor, 0.8, 100.0) < torque(motor, 1.0, 100.0) == torque(motor, 50.0, 100.0)


def test_a_weak_motor_gives_its_share() -> None:
    motors = DCMotors(count=2, stiffness=1.0, damping=0.0, battery=16.0)
    motors.strengths = [1.0, 0.25]
    strong, weak = motors.torques([0.1, 0.1], [0.0, 0.0], [0.0, 0.0])
    assert weak == pytest.approx(strong / 4)
