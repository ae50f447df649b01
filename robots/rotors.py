"""What flies a quadrotor: its rotors, and the inner loops of an autopilot, in plain floats.

An autopilot is asked for a thrust, roll, pitch and yaw rate. Its two inner loops are proportional, without integrators:

    p* = K_a (φ* − φ),  q* = K_a (θ* − θ),        τ = J K_r (ω* − ω),

J being the nominal moments of inertia and ω* = (p*, q*, r*) the rates that are wanted. A mixer makes four thrusts of
the thrust and τ, cut off at [0, T_max]; each rotor's speed Ω follows the one that gives its thrust with a lag of first
order, and never beyond what the battery allows. A rotor gives the thrust s k_f Ω² and the torque s k_m Ω² about the
vertical, s being its strength. Rotors that turn in moving air are dragged sideways, −k_d ΣΩ v, v being the air's speed
across them (the linear rotor drag of Faessler et al. 2018, arXiv:1712.02402); the body adds −c |v| v. The gyroscopic
moments of the rotors and what they lose in climbing are left out.

Without integrators a payload to one side or a weak rotor holds the vehicle at a wrong angle, and extra mass or weakness
lets it sink: whoever flies it must find that out.
"""

from __future__ import annotations

from math import exp, sqrt
from typing import NamedTuple

from metamotor.robots.attitude import Attitude
from metamotor.robots.delay import Delay
from metamotor.robots.quadrotor_model import REACH, ROTORS, inertia
from metamotor.robots.simulator import Vector

THRUST_FACTOR = 5.57e-6
"""k_f [N·s²/rad²]; this, k_m and k_d are those that RotorPy (the simulator of the University of Pennsylvania) lists for
the AscTec Hummingbird."""
TORQUE_FACTOR = 1.36e-7
"""k_m [N·m·s²/rad²]."""
_TORQUE_ARM = TORQUE_FACTOR / THRUST_FACTOR
MAX_SPEED = 800.0
"""Of a rotor at full battery [rad/s]: the four thrusts are 2.9 times the weight."""
MAX_THRUST = THRUST_FACTOR * MAX_SPEED**2
"""T_max of a rotor [N]."""
MOTOR_LAG = 0.025
"""Time constant of a motor [s]."""
ROTOR_DRAG = 1.19e-4
"""k_d [N·s²/(m·rad)]: 0.22 N at 1 m/s when it hovers."""
BODY_DRAG = 0.009
"""c [N·s²/m²]: half the density of air times 0.015 m²."""
RATE_GAIN = (18.0, 18.0, 5.0)
"""K_r about the three axes [1/s]; with the motors' lag, roll and pitch are damped at 0.75 of the critical."""
ANGLE_GAIN = 6.0
"""K_a [1/s]."""


class Wanted(NamedTuple):
    """What an autopilot is asked for."""

    thrust: float
    """Of all rotors together [N]."""
    roll: float
    """To the right [rad]."""
    pitch: float
    """Nose down [rad]."""
    yaw_rate: float
    """To the left [rad/s]."""


class Autopilot:
    """The inner loops and the rotors.

    Args:
        time_step: of the physics [s].
    """

    def __init__(self, time_step: float) -> None:
        self._time_step = time_step
        self._left_behind = exp(-time_step / MOTOR_LAG)
        moments = inertia()
        self._stiffness = [moment * gain for moment, gain in zip(moments, RATE_GAIN, strict=True)]
        self.strengths = [1.0] * len(ROTORS)
        """s of each rotor; 0 is a dead one."""
        self.speed_scale = 1.0
        """How fast the rotors turn at the same command, for what the battery has lost."""
        self.drag_scale = 1.0
        """Of both drags."""
        self.speeds = [0.0] * len(ROTORS)
        """Ω of each rotor [rad/s]."""
        self._sent = Wanted(0.0, 0.0, 0.0, 0.0)
        self._line = Delay(self._sent)

    @property
    def latency(self) -> float:
        """How late commands arrive [s], in whole physics steps."""
        return self._line.steps * self._time_step

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._line.steps = round(seconds / self._time_step)

    def hold(self, wanted: Wanted) -> None:
        """Start anew, as if it had been asked for this for ever, at a level attitude."""
        self._sent = wanted
        self._line.restart(wanted)
        speed = self.speed_scale * sqrt(wanted.thrust / len(ROTORS) / THRUST_FACTOR)
        self.speeds = [speed] * len(ROTORS)

    def aim(self, wanted: Wanted) -> None:
        """Send a command."""
        self._sent = wanted

    def act(self, now: Attitude) -> tuple[Vector, Vector]:
        """Return force [N] and torque [N·m] on the body in the next physics step; to be asked once for each.

        Args:
            now: how the body is held; its velocity is that against the air.
        """
        wanted = self._line.send(self._sent)
        p, q, r = now.angular_velocity
        about_x, about_y, about_z = self._stiffness
        # As shares of the four rotors' thrusts.
        lift = wanted.thrust / 4
        roll = about_x * (ANGLE_GAIN * (wanted.roll - now.roll) - p) / (4 * REACH)
        pitch = about_y * (ANGLE_GAIN * (wanted.pitch - now.pitch) - q) / (4 * REACH)
        yaw = about_z * (wanted.yaw_rate - r) / (4 * _TORQUE_ARM)
        speeds, kept, scale = self.speeds, self._left_behind, self.speed_scale
        thrusts, turning = [], 0.0
        commands = (
            lift + roll - pitch + yaw,
            lift - roll - pitch - yaw,
            lift + roll + pitch - yaw,
            lift - roll + pitch + yaw,
        )
        for rotor, (thrust, strength) in enumerate(zip(commands, self.strengths, strict=True)):
            thrust = 0.0 if thrust < 0.0 else MAX_THRUST if thrust > MAX_THRUST else thrust
            target = scale * sqrt(thrust / THRUST_FACTOR)
            speed = speeds[rotor] = target + kept * (speeds[rotor] - target)
            turning += speed
            thrusts.append(strength * THRUST_FACTOR * speed * speed)
        front_left, front_right, rear_left, rear_right = thrusts
        x, y, z = now.velocity
        body = BODY_DRAG * sqrt(x * x + y * y + z * z)
        across = self.drag_scale * (body + ROTOR_DRAG * turning)
        return (
            (
                -across * x,
                -across * y,
                front_left + front_right + rear_left + rear_right - self.drag_scale * body * z,
            ),
            (
                REACH * (front_left - front_right + rear_left - rear_right),
                REACH * (rear_left + rear_right - front_left - front_right),
                _TORQUE_ARM * (front_left - front_right - rear_left + rear_right),
            ),
        )
