"""Direct-current motors on a battery, with a position controller that sets their duty cycle.

Numbers and structure are those of the Minitaur's motor model (Tan et al. 2018, arXiv:1804.10332, as published in
`pybullet_envs`, `minitaur/envs/motor.py`):

    d = clip(kp (θ* − θ) − kd θ̇, ±1),    U = clip(d V − (K + b) θ̇, ±50 V),    I = U / R,    τ = s T(I),

V being the battery's voltage, K θ̇ the voltage that the turning motor makes itself (back-EMF), b viscous damping, and
T the torque at a current, which saturates. An empty battery thus makes a motor weaker, softer and slower at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import copysign

RESISTANCE = 0.186
"""R [ohm]."""
TORQUE_CONSTANT = 0.0954
"""K [N·m/A], or [V·s/rad]."""
MAX_VOLTAGE = 50.0
"""Net voltage at which the controller's diodes cut off [V]."""
TORQUES = (0.0, 1.0, 1.9, 2.45, 3.0, 3.25, 3.5)
"""T at 0, 10, 20, ... 60 A, measured; beyond, it stays [N·m]."""
CURRENT_STEP = 10.0
"""From one entry of `TORQUES` to the next [A]."""


def saturated_torque(current: float) -> float:
    """Return T [N·m] at a current [A], linear between what was measured."""
    place = abs(current) / CURRENT_STEP
    # NaN comes here too, when a simulation blows up: the robot's state tells, not its motors.
    if not place < len(TORQUES) - 1:
        return copysign(TORQUES[-1], current)
    below = int(place)
    torque = TORQUES[below] + (place - below) * (TORQUES[below + 1] - TORQUES[below])
    return copysign(torque, current)


class DCMotors:
    """Some motors on one battery; see the module's docstring for the formula.

    Args:
        count: how many.
        stiffness: kp [1/rad].
        damping: kd [s/rad].
        battery: V [V].
    """

    def __init__(self, *, count: int, stiffness: float, damping: float, battery: float) -> None:
        self.stiffness = stiffness
        self.damping = damping
        self.battery = battery
        self.viscous_damping = 0.0
        """b [V·s/rad]."""
        self.strengths = [1.0] * count
        """s of each motor: what share of its torque it still gives; 0 is a dead one."""

    def torques(
        self, targets: Sequence[float], angles: Sequence[float], rates: Sequence[float]
    ) -> list[float]:
        """Return the motors' torques [N·m].

        Args:
            targets: θ* [rad].
            angles: θ [rad].
            rates: θ̇ [rad/s].
        """
        stiffness, damping, battery = self.stiffness, self.damping, self.battery
        own_voltage = TORQUE_CONSTANT + self.viscous_damping
        torques = []
        for target, angle, rate, strength in zip(
            targets, angles, rates, self.strengths, strict=True
        ):
            duty = stiffness * (target - angle) - damping * rate
            duty = 1.0 if duty > 1.0 else -1.0 if duty < -1.0 else duty
            net = duty * battery - own_voltage * rate
            net = min(max(net, -MAX_VOLTAGE), MAX_VOLTAGE)
            torques.append(strength * saturated_torque(net / RESISTANCE))
        return torques
