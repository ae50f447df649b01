"""Swinging up a pendulum whose weight, length and motor are not known, and holding it upright.

Mass of the bob, length of the rod, and strength and sign of the motor are hidden. RLlib's `PendulumMassEnv` hides the
mass alone, between half and twice the nominal one; a policy that turns with the swing copes with all of these, so that
the mass needs company: which way the motor turns. Two policies that know it are each other's negative, and one that
does not can neither pump nor hold.

The action is the motor's command in ±1; the torque is sign × strength × 1 N·m × command, too little to lift the bob
without swinging. The reward of a step is h exp(−(ω / Ω)²), h being 0 when the pendulum hangs and 1 when it is upright,
ω its angular velocity, and Ω 4 rad/s: factors, as in the DeepMind Control Suite (Tassa et al. 2018, arXiv:1801.00690).
The last one is for a pendulum that only spins. Hanging still earns nothing. An episode has 100 steps of 0.04 s and
never ends early. It starts anywhere on the circle, turning by up to 2 rad/s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, exp, pi, sin
from typing import ClassVar

import numpy as np

from metamotor.envs.core import (
    FLOAT32,
    Array,
    Choice,
    Interval,
    Parameter,
    RewardTerm,
    Signal,
    Task,
    TaskFamily,
)
from metamotor.envs.simulated import SimulatedEnv
from metamotor.robots.pendulum import Pendulum

REWARDED_RATE = 4.0
"""Ω, the angular velocity at which 1/e of the reward is left [rad/s]."""
START_RATE = 2.0
"""Largest angular velocity at the start [rad/s]."""
RATE_UNIT = 8.0
"""Unit of the observed angular velocity [rad/s], about that of a pendulum that has fallen from upright."""


@dataclass(frozen=True)
class PendulumMassTask(Task):
    """What the pendulum is made of, and which way its motor turns."""

    bob_mass: float
    length: float
    motor_strength: float
    motor_sign: float


class PendulumMassEnv(SimulatedEnv[Pendulum]):
    """One pendulum; it is drawn 0.5 m long."""

    def __init__(self, family: PendulumMass, render_mode: str | None = None) -> None:
        super().__init__(family, Pendulum, render_mode)

    def _begin(self) -> Array:
        angle, rate = self.np_random.uniform(-1.0, 1.0, size=2).tolist()
        self.robot.reset(pi * angle, START_RATE * rate)
        return self._observe()[0]

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        self.robot.drive(self.task.motor_sign * action[0])
        return *self._observe(), False

    def _observe(self) -> tuple[Array, float]:
        """Return the observation, and what being there earns."""
        angle, rate, *_ = self.robot.read()
        height, turning = cos(angle), rate / REWARDED_RATE
        observation = np.array((height, sin(angle), rate / RATE_UNIT), dtype=FLOAT32)
        return observation, (1.0 + height) / 2 * exp(-turning * turning)


class PendulumMass(TaskFamily):
    """Swing an unknown pendulum up with an unknown motor; see the module's docstring for the protocol."""

    name = "PendulumMass-v0"
    task_type = PendulumMassTask
    dt = Pendulum.TIME_STEP * Pendulum.SUBSTEPS
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "bob_mass": Interval(
            unit="kg",
            train=(0.3, 0.9),
            test=(0.35, 0.85),
            out_of_range=((0.2, 0.3), (0.9, 1.2)),
        ),
        "length": Interval(
            unit="m", train=(0.4, 0.6), test=(0.42, 0.58), out_of_range=((0.3, 0.4), (0.6, 0.7))
        ),
        "motor_strength": Interval(
            unit="1", train=(0.8, 1.2), test=(0.85, 1.15), out_of_range=((0.6, 0.8), (1.2, 1.4))
        ),
        "motor_sign": Choice(unit="1", values=(-1.0, 1.0)),
    }
    observation_signals = (
        Signal("pendulum.cos", "1", -1.0, 1.0),
        Signal("pendulum.sin", "1", -1.0, 1.0),
        Signal("pendulum.rate", f"{RATE_UNIT:g} rad/s", -100.0, 100.0),
    )
    action_signals = (Signal("motor", "greatest torque", -1.0, 1.0),)
    reward_terms = (RewardTerm("upright", f"h exp(−(ω / {REWARDED_RATE:g} rad/s)²)", "1"),)

    def make_env(self, *, render_mode: str | None = None) -> PendulumMassEnv:
        """Return one pendulum."""
        return PendulumMassEnv(self, render_mode)
