"""A scripted pilot for the quadrotor's families: feedback of position and velocity, and what it takes to be hidden."""

from __future__ import annotations

from typing import Any

import numpy as np

from metamotor.envs.quadrotor_flight import (
    MAX_SPEED,
    MAX_TURN,
    POSITION_UNIT,
    SPEED_GAIN,
    QuadrotorTask,
)
from metamotor.robots import Quadrotor
from metamotor.robots.quadrotor_model import REACH, inertia
from metamotor.robots.rotors import ANGLE_GAIN, BODY_DRAG, RATE_GAIN, ROTOR_DRAG
from metamotor.robots.simulator import GRAVITY

IGNORANT = QuadrotorTask(0.1, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.02, 0.0, 0.0)
"""What one has to take for granted who knows nothing: the mean of what may be hidden."""


def pilot(
    observation: Any,
    believed: QuadrotorTask,
    acceleration: Any,
    kp: float = 6.0,
    kd: float = 4.0,
) -> Any:
    """The action that flies a vehicle as it is believed to be.

    Args:
        observation: of any of the families.
        believed: what the pilot takes the task for.
        acceleration: that it should have, in the world's frame [m/s²].
        kp: gain of the position [1/s²].
        kd: gain of the velocity [1/s].
    """
    to_go, velocity, yaw = observation[:3] * POSITION_UNIT, observation[3:6], observation[8]
    cosine, sine = np.cos(yaw), np.sin(yaw)
    turn = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    to_go = to_go + turn @ np.array([believed.error_x, believed.error_y, 0.0])
    wanted = kp * to_go - kd * velocity + turn @ acceleration
    mass = Quadrotor.MASS + believed.payload
    wind = np.array([believed.wind_x, believed.wind_y, 0.0])
    drag = 4 * ROTOR_DRAG * 480.0 + BODY_DRAG * np.linalg.norm(wind)
    force = mass * (wanted + np.array([0.0, 0.0, GRAVITY])) - drag * (turn @ wind)
    thrust = max(1.0, float(np.linalg.norm(force)))
    # How the payload's and the weak rotor's moments lean the vehicle.
    arm = REACH * (1 - believed.strength) / 4
    lean_x = believed.payload * believed.payload_x / mass + arm * believed.weak_x
    lean_y = believed.payload * believed.payload_y / mass + arm * believed.weak_y
    per_arm = thrust / (inertia()[0] * RATE_GAIN[0] * ANGLE_GAIN)
    roll = np.arcsin(-force[1] / thrust) + lean_y * per_arm
    pitch = np.arctan2(force[0], force[2]) - lean_x * per_arm
    lifting = (3 + believed.strength) / 4
    weights = thrust / lifting / Quadrotor.WEIGHT - 1.0
    # What makes the velocity's loop ask for these.
    asked = velocity + np.array([pitch, -roll, weights]) * GRAVITY / SPEED_GAIN
    return np.array([*(asked / MAX_SPEED), -yaw / MAX_TURN]).clip(-1, 1)
