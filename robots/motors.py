"""Motor controllers in Python, for torques that the engine's own motors cannot give.

A controller is asked in every physics step, between reading the joints and commanding them, so that its arithmetic is
plain floats in lists: on a dozen joints numpy takes longer.
"""

from __future__ import annotations

from collections.abc import Sequence

from metamotor.robots.delay import Delay
from metamotor.robots.simulator import JointState


class PDMotors:
    """Joint motors as robots have them: τ = s clip(τ* + w (Kp (q* − q) − Kd q̇), ±τ_max).

    The target q* and the torque τ* may arrive late, as they do over a robot's bus.

    Args:
        stiffness: Kp [N·m/rad].
        damping: Kd [N·m·s/rad].
        max_torque: τ_max of each joint [N·m].
        time_step: of the physics [s].
        shares: w of each joint: what share of the gains it has; all of them by default.
    """

    stiffness: float
    damping: float
    strengths: list[float]
    """s of each joint: what share of its torque a motor still gives; 0 is a dead one."""

    def __init__(
        self,
        *,
        stiffness: float,
        damping: float,
        max_torque: Sequence[float],
        time_step: float,
        shares: Sequence[float] | None = None,
    ) -> None:
        self.stiffness = stiffness
        self.damping = damping
        self._limits = [float(limit) for limit in max_torque]
        self._time_step = time_step
        self._shares = [1.0] * len(self._limits) if shares is None else [*shares]
        self._none: Sequence[float] = [0.0] * len(self._limits)
        self.strengths = [1.0] * len(self._limits)
        self._sent: tuple[Sequence[float], Sequence[float]] = (self._none, self._none)
        self._line: Delay[tuple[Sequence[float], Sequence[float]]] = Delay(self._sent)

    @property
    def latency(self) -> float:
        """How late targets arrive [s], in whole physics steps."""
        return self._line.steps * self._time_step

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._line.steps = round(seconds / self._time_step)

    def hold(self, targets: Sequence[float], torques: Sequence[float] | None = None) -> None:
        """Start anew, holding a pose q* [rad] with torques τ* [N·m], and nothing under way."""
        self.aim(targets, torques)
        self._line.restart(self._sent)

    def aim(self, targets: Sequence[float], torques: Sequence[float] | None = None) -> None:
        """Send targets q* [rad], and torques τ* [N·m]."""
        self._sent = (targets, self._none if torques is None else torques)

    def torques(self, states: Sequence[JointState]) -> list[float]:
        """Return what the motors do in the next physics step [N·m]; to be asked once for each."""
        targets, extra = self._line.send(self._sent)
        stiffness, damping = self.stiffness, self.damping
        commands = []
        for target, torque, (position, velocity, _, _), share, strength, limit in zip(
            targets, extra, states, self._shares, self.strengths, self._limits, strict=True
        ):
            torque += share * (stiffness * (target - position) - damping * velocity)
            torque = limit if torque > limit else -limit if torque < -limit else torque
            commands.append(strength * torque)
        return commands
