"""Balancing: keep a pole upright on a cart whose parts and motor are not known.

Length and mass of the pole, mass of the cart, and strength and sign of the motor are hidden. The action is the motor's
command in ±1; the force is sign × strength × command. The reward is 1 for each step that ends upright; an episode has
100 steps of 0.02 s, or ends with reward 0 when the pole leans by more than 0.35 rad or the cart is farther than 2.4 m
from the middle. It starts at rest in the middle, the pole leaning by up to 0.05 rad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from metamotor.robots import cart_pole

MAX_ANGLE = 0.35
"""Lean at which an episode ends [rad]."""
MAX_POSITION = 2.4
"""Distance from the middle at which an episode ends [m]."""
START_ANGLE = 0.05
"""Largest lean at the start [rad]."""
SPEED_UNIT = 2.0
"""Unit of the observed velocities [m/s], [rad/s]."""


@dataclass(frozen=True)
class CartPoleTask(Task):
    """What the robot is made of."""

    pole_length: float
    pole_mass: float
    cart_mass: float
    motor_strength: float
    motor_sign: float


class CartPoleEnv(SimulatedEnv[cart_pole.CartPole]):
    """One cart-pole; its pole is drawn 1 m long."""

    def __init__(self, family: CartPole, render_mode: str | None = None) -> None:
        super().__init__(family, cart_pole.CartPole, render_mode)
        self._force = 0.0

    def _begin(self) -> Array:
        task = self.task
        self._force = task.motor_sign * task.motor_strength
        self.robot.reset(0.0, float(self.np_random.uniform(-START_ANGLE, START_ANGLE)))
        return self._observe()[0]

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        self.robot.push(self._force * action[0])
        observation, fallen = self._observe()
        return observation, 0.0 if fallen else 1.0, fallen

    def _observe(self) -> tuple[Array, bool]:
        cart, pole = self.robot.read()
        position, velocity, angle, rate = cart[0], cart[1], pole[0], pole[1]
        numbers = (
            position / MAX_POSITION,
            velocity / SPEED_UNIT,
            angle / MAX_ANGLE,
            rate / SPEED_UNIT,
        )
        fallen = abs(angle) > MAX_ANGLE or abs(position) > MAX_POSITION
        return np.array(numbers, dtype=FLOAT32), fallen


class CartPole(TaskFamily):
    """Balance an unknown pole with an unknown motor; see the module's docstring for the protocol."""

    name = "CartPole-v0"
    task_type = CartPoleTask
    dt = cart_pole.CartPole.TIME_STEP * cart_pole.CartPole.SUBSTEPS
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "pole_length": Interval(
            unit="m", train=(0.9, 1.6), test=(1.0, 1.5), out_of_range=((0.8, 0.9), (1.6, 2.0))
        ),
        "pole_mass": Interval(
            unit="kg",
            train=(0.05, 0.3),
            test=(0.08, 0.25),
            out_of_range=((0.03, 0.05), (0.3, 0.45)),
        ),
        "cart_mass": Interval(
            unit="kg", train=(0.7, 1.5), test=(0.8, 1.4), out_of_range=((0.5, 0.7), (1.5, 2.0))
        ),
        "motor_strength": Interval(
            unit="N", train=(6.0, 14.0), test=(7.0, 13.0), out_of_range=((4.0, 6.0), (14.0, 20.0))
        ),
        "motor_sign": Choice(unit="1", values=(-1.0, 1.0)),
    }
    observation_signals = (
        Signal("cart.position", f"{MAX_POSITION} m", -10.0, 10.0),
        Signal("cart.velocity", f"{SPEED_UNIT} m/s", -100.0, 100.0),
        Signal("pole.angle", f"{MAX_ANGLE} rad", -100.0, 100.0),
        Signal("pole.rate", f"{SPEED_UNIT} rad/s", -100.0, 100.0),
    )
    action_signals = (Signal("motor", "motor_strength", -1.0, 1.0),)
    reward_terms = (RewardTerm("upright", "1 if it has not fallen, else 0", "1"),)

    def make_env(self, *, render_mode: str | None = None) -> CartPoleEnv:
        """Return one cart-pole."""
        return CartPoleEnv(self, render_mode)
