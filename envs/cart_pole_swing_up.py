"""Swinging up: bring a hanging pole upright on a cart whose parts and motor are not known, and keep it there.

Robot and hidden task are those of `CartPole-v0`: length and mass of the pole, mass of the cart, strength and sign of
the motor. The action is the motor's command in ±1; the force is sign × strength × command. The reward of a step is
h (1 − ½ (x / X)²) (1 − u² / 10), h being 0 when the pole hangs and 1 when it is upright, x the cart's distance from
the middle, X where the track ends, and u the command: factors, as in the DeepMind Control Suite (Tassa et al. 2018,
arXiv:1801.00690), not terms. No step costs anything, so that an early end never pays. An episode has 200 steps of
0.04 s, or ends with reward 0 when the cart is farther than 3 m from the middle. It starts at rest in the middle, the
pole hanging, off by up to 0.1 rad.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin
from typing import ClassVar

import numpy as np

from metamotor.envs.cart_pole import CartPole, CartPoleTask
from metamotor.envs.core import Array, Signal, TaskFamily
from metamotor.envs.simulated import SimulatedEnv
from metamotor.robots import Camera, cart_pole

MAX_POSITION = 3.0
"""Distance from the middle at which an episode ends [m]."""
POSITION_COST = 0.5
"""Share of the reward that is lost there."""
COMMAND_COST = 0.1
"""Share of the reward that is lost at full command."""
START_ANGLE = 0.1
"""Largest angle from hanging at the start [rad]."""
SPEED_UNIT = 3.0
"""Unit of the observed velocity [m/s]."""
RATE_UNIT = 6.0
"""Unit of the observed angular velocity [rad/s], about that of a pole that has fallen from upright."""


class SwingUpRobot(cart_pole.CartPole):
    """The cart-pole, commanded half as often as for balancing alone: a swing takes seconds."""

    SUBSTEPS = 4
    RAIL_DAMPING: ClassVar[float] = 2.0
    """Viscous friction of the rail [N·s/m]: without it, exploration carries the cart off."""

    CAMERA = Camera(target=(0.0, 0.0, 0.0), distance=5.2, yaw=0.0, pitch=-10.0)
    """Far enough for the whole track."""

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        self.simulator.set_dynamics(self.body, self.joints.links[0], jointDamping=self.RAIL_DAMPING)


class CartPoleSwingUpEnv(SimulatedEnv[SwingUpRobot]):
    """One cart-pole; its pole is drawn 1 m long."""

    def __init__(self, family: CartPoleSwingUp, render_mode: str | None = None) -> None:
        super().__init__(family, SwingUpRobot, render_mode)
        self._force = 0.0

    def _begin(self) -> Array:
        task = self.task
        self._force = task.motor_sign * task.motor_strength
        self.robot.build(
            pole_length=task.pole_length, pole_mass=task.pole_mass, cart_mass=task.cart_mass
        )
        self.robot.reset(0.0, pi + float(self.np_random.uniform(-START_ANGLE, START_ANGLE)))
        return self._observe()[0]

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        command = action[0]
        self.robot.push(self._force * command)
        observation, place, height = self._observe()
        if abs(place) > 1.0:
            return observation, 0.0, True
        centred = 1.0 - POSITION_COST * place * place
        return observation, height * centred * (1.0 - COMMAND_COST * command * command), False

    def _observe(self) -> tuple[Array, float, float]:
        """Return the observation, the cart's place in units of the track, and the pole's height in [0, 1]."""
        (position, velocity, *_), (angle, rate, *_) = self.robot.read()
        place, cosine = position / MAX_POSITION, cos(angle)
        numbers = (place, velocity / SPEED_UNIT, cosine, sin(angle), rate / RATE_UNIT)
        return np.array(numbers, dtype=np.float32), place, (1.0 + cosine) / 2


class CartPoleSwingUp(TaskFamily):
    """Swing an unknown pole up with an unknown motor; see the module's docstring for the protocol."""

    name = "CartPoleSwingUp-v0"
    task_type = CartPoleTask
    dt = SwingUpRobot.TIME_STEP * SwingUpRobot.SUBSTEPS
    default_horizon = 200
    parameters = CartPole.parameters
    observation_signals = (
        Signal("cart.position", f"{MAX_POSITION:g} m", -10.0, 10.0),
        Signal("cart.velocity", f"{SPEED_UNIT:g} m/s", -100.0, 100.0),
        Signal("pole.cos", "1", -1.0, 1.0),
        Signal("pole.sin", "1", -1.0, 1.0),
        Signal("pole.rate", f"{RATE_UNIT:g} rad/s", -100.0, 100.0),
    )
    action_signals: ClassVar[tuple[Signal, ...]] = (Signal("motor", "motor_strength", -1.0, 1.0),)

    def make_env(self, *, render_mode: str | None = None) -> CartPoleSwingUpEnv:
        """Return one cart-pole."""
        return CartPoleSwingUpEnv(self, render_mode)
