"""Swinging up: bring a pole upright on a cart whose parts and motor are not known, and keep it there.

The robot is that of `CartPole-v0`, and so are the names of what is hidden: length and mass of the pole, mass of the
cart, strength and sign of the motor. The action is the motor's command in ±1; the force is sign × strength × command.
The reward of a step is h (1 − ½ (x / X)²) exp(−(ω / Ω)²), h being 0 when the pole hangs and 1 when it is upright, x
the cart's distance from the middle, X where the track ends, ω the pole's angular velocity, and Ω 3.3 rad/s: factors, as
in the DeepMind Control Suite (Tassa et al. 2018, arXiv:1801.00690), not terms. No step costs anything, so that an early
end never pays. The last factor falls to 0.1 at 5 rad/s: a pole that spins is at half the height on average, and one
policy can keep it spinning with a motor of either sign. An episode has 100 steps of 0.05 s, or ends with reward 0 when
the cart is farther than 3 m from the middle.

It starts with the pole anywhere on its circle and turning by up to 2 rad/s, the cart up to 1 m from the middle and
moving by up to 0.5 m/s. Where a cart is that always starts at rest in the middle tells which way the motor pushes, also
to a policy that remembers nothing; and a pole that always hangs teaches little before it is up for the first time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, exp, pi, sin
from typing import ClassVar

import numpy as np

from metamotor.envs.cart_pole import CartPoleTask
from metamotor.envs.core import (
    FLOAT32,
    Array,
    Choice,
    Interval,
    Parameter,
    RewardTerm,
    Signal,
    TaskFamily,
)
from metamotor.envs.simulated import SimulatedEnv
from metamotor.robots import Camera, cart_pole

MAX_POSITION = 3.0
"""Distance from the middle at which an episode ends [m]."""
POSITION_COST = 0.5
"""Share of the reward that is lost there."""
REWARDED_RATE = 3.3
"""Ω, the angular velocity at which 1/e of the reward is left [rad/s]."""
START_POSITION = 1.0
"""Largest distance from the middle at the start [m]."""
START_SPEED = 0.5
"""Largest speed of the cart at the start [m/s]."""
START_RATE = 2.0
"""Largest angular velocity of the pole at the start [rad/s]."""
SPEED_UNIT = 3.0
"""Unit of the observed velocity [m/s]."""
RATE_UNIT = 6.0
"""Unit of the observed angular velocity [rad/s], about that of a pole that has fallen from upright."""


class SwingUpRobot(cart_pole.CartPole):
    """The cart-pole, commanded less often than for balancing alone: a swing takes seconds."""

    TIME_STEP = 1 / 100
    SUBSTEPS = 5
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
        position, angle, speed, rate = self.np_random.uniform(-1.0, 1.0, size=4).tolist()
        self.robot.reset(
            START_POSITION * position, pi * angle, START_SPEED * speed, START_RATE * rate
        )
        return self._observe()[0]

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        self.robot.push(self._force * action[0])
        return self._observe()

    def _observe(self) -> tuple[Array, float, bool]:
        """Return the observation, what being there earns, and whether it is off the track."""
        cart, pole = self.robot.read()
        position, velocity, angle, rate = cart[0], cart[1], pole[0], pole[1]
        place, cosine = position / MAX_POSITION, cos(angle)
        numbers = (place, velocity / SPEED_UNIT, cosine, sin(angle), rate / RATE_UNIT)
        observation = np.array(numbers, dtype=FLOAT32)
        if abs(place) > 1.0:
            return observation, 0.0, True
        height = (1.0 + cosine) / 2
        turning = rate / REWARDED_RATE
        centred = 1.0 - POSITION_COST * place * place
        return observation, height * centred * exp(-turning * turning), False


class CartPoleSwingUp(TaskFamily):
    """Swing an unknown pole up with an unknown motor; see the module's docstring for the protocol."""

    name = "CartPoleSwingUp-v0"
    task_type = CartPoleTask
    dt = SwingUpRobot.TIME_STEP * SwingUpRobot.SUBSTEPS
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "pole_length": Interval(
            unit="m", train=(0.8, 1.2), test=(0.85, 1.15), out_of_range=((1.2, 1.6),)
        ),
        "pole_mass": Interval(
            unit="kg",
            train=(0.1, 0.3),
            test=(0.12, 0.28),
            out_of_range=((0.05, 0.1), (0.3, 0.5)),
        ),
        "cart_mass": Interval(
            unit="kg", train=(0.8, 1.2), test=(0.85, 1.15), out_of_range=((0.6, 0.8), (1.2, 1.6))
        ),
        "motor_strength": Interval(
            unit="N",
            train=(10.0, 16.0),
            test=(11.0, 15.0),
            out_of_range=((7.0, 10.0), (16.0, 22.0)),
        ),
        "motor_sign": Choice(unit="1", values=(-1.0, 1.0)),
    }
    observation_signals = (
        Signal("cart.position", f"{MAX_POSITION:g} m", -10.0, 10.0),
        Signal("cart.velocity", f"{SPEED_UNIT:g} m/s", -100.0, 100.0),
        Signal("pole.cos", "1", -1.0, 1.0),
        Signal("pole.sin", "1", -1.0, 1.0),
        Signal("pole.rate", f"{RATE_UNIT:g} rad/s", -100.0, 100.0),
    )
    action_signals: tuple[Signal, ...] = (Signal("motor", "motor_strength", -1.0, 1.0),)
    reward_terms = (
        RewardTerm(
            "upright",
            f"h (1 − {POSITION_COST} (x / {MAX_POSITION:g} m)²) exp(−(ω / {REWARDED_RATE} rad/s)²), 0 off the track",
            "1",
        ),
    )

    def make_env(self, *, render_mode: str | None = None) -> CartPoleSwingUpEnv:
        """Return one cart-pole."""
        return CartPoleSwingUpEnv(self, render_mode)
