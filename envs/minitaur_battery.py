"""Walking on what is left: a Minitaur must walk fast and straight, its battery and the load on its side unknown.

The anchor is the experiment of ES-MAML on the real robot (Song et al. 2020, arXiv:2003.01239): there, policies
trained in simulation adapted to a battery that had fallen from 16.8 to 10 V together with a load of 500 g on one
side, in 50 episodes of 3 s. Here both are drawn from ranges that end there.

The robot trots by itself (`robots.minitaur`); the action is five numbers in ±1 that say how: frequency, how far legs
swing and how much they are lifted, and how much the left and the right legs are folded. All zeros walk ahead, at
about 0.5 m/s, and earn 10 to 25, since a load turns them away. The reward of a step is v − 6 |y|: v is the trunk's
velocity along +x over the control period [m/s], and y how far it has come off the line on which it started [m]. An
episode has 120 steps of 0.025 s. It ends, at a cost of 50, when the robot falls: when the trunk leans by more than
53°, or its middle is lower than 9 cm. It starts standing, each leg folded by up to 0.05 rad more or less.

What is observed is what an inertial unit tells, and the gait's phase: neither position, velocity nor heading, and no
state of a motor. A load turns the robot to its own side, and an empty battery shortens its steps and lets the legs
sag. Among constant actions the best one for each of six tasks (10 and 16.8 V; 500 g on the left, nothing, on the
right) earns 87 on average, and the best single one for all 60: of 20 constant actions, on two episodes a task, so that
the best of many flatters a little; a policy that feels its turning may do better than one action for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import ClassVar

import numpy as np

from metamotor.envs.core import (
    FLOAT32,
    Array,
    Interval,
    Parameter,
    RewardTerm,
    Signal,
    Task,
    TaskFamily,
)
from metamotor.envs.simulated import SimulatedEnv
from metamotor.robots.minitaur import Gait, Minitaur
from metamotor.robots.minitaur_model import PAYLOAD_Y

FREQUENCY, FREQUENCY_CHANGE = 4.0, 1.5
"""Of the trot at an action of 0, and how much more at 1 [Hz]."""
SWING, SWING_CHANGE = 0.35, 0.2
"""How far a leg swings [rad]."""
LIFT, LIFT_CHANGE = 0.25, 0.1
"""How much legs are folded in a step [rad]."""
FOLD_CHANGE = 0.25
"""How much more a side's legs are folded at an action of 1 [rad]."""
DRIFT_COST = 6.0
"""Cost of a step for the distance from the line [1/s]."""
FALL_COST = 50.0
"""What a fall costs: as much as half of a good walk earns."""
LOWEST = 0.09
"""Height of the trunk's middle below which it has fallen [m]; 0.17 when it stands."""
LEAST_UPRIGHT = 0.6
"""Cosine of the trunk's lean beyond which it has fallen."""
START_NOISE = 0.05
"""Largest offset of a leg's fold from standing at the start [rad]."""
START_LIFT = 0.01
"""Height from which it drops at the start, for no foot to start in the ground [m]."""
TILT_UNIT = 0.2
"""Unit of the observed roll and pitch [rad]."""
RATE_UNIT = 2.0
"""Unit of the observed angular velocities [rad/s]."""


@dataclass(frozen=True)
class MinitaurBatteryTask(Task):
    """What is left in the battery [V], and the load on the left [kg]; a negative one is on the right."""

    battery: float
    side_load: float


class MinitaurBatteryEnv(SimulatedEnv[Minitaur]):
    """One Minitaur."""

    def __init__(self, family: MinitaurBattery, render_mode: str | None = None) -> None:
        super().__init__(family, Minitaur, render_mode)
        self._x = 0.0

    def _task_properties(self) -> Mapping[str, float]:
        load = self.task.side_load
        side = PAYLOAD_Y if load > 0 else -PAYLOAD_Y
        return {**super()._task_properties(), "payload": abs(load), "payload_y": side}

    def _begin(self) -> Array:
        noise = self.np_random.uniform(-START_NOISE, START_NOISE, size=len(Minitaur.LEGS))
        self.robot.reset((noise + Minitaur.STANCE).tolist(), START_LIFT)
        return self._observe()[0]

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        start = self._x
        frequency, swing, lift, fold_left, fold_right = action
        self.robot.walk(
            Gait(
                frequency=FREQUENCY + FREQUENCY_CHANGE * frequency,
                swing=SWING + SWING_CHANGE * swing,
                lift=LIFT + LIFT_CHANGE * lift,
                fold_left=FOLD_CHANGE * fold_left,
                fold_right=FOLD_CHANGE * fold_right,
            )
        )
        observation, drift, fallen = self._observe()
        velocity = (self._x - start) / self.family.dt
        reward = self._sum(velocity, -DRIFT_COST * drift, -FALL_COST if fallen else 0.0)
        return observation, reward, fallen

    def _observe(self) -> tuple[Array, float, bool]:
        trunk = self.robot.trunk()
        self._x, y, height = trunk.position
        phase = 2 * pi * self.robot.phase
        numbers = [trunk.roll / TILT_UNIT, trunk.pitch / TILT_UNIT]
        numbers += [rate / RATE_UNIT for rate in trunk.angular_velocity]
        numbers += [sin(phase), cos(phase)]
        fallen = height < LOWEST or trunk.uprightness < LEAST_UPRIGHT
        return np.array(numbers, dtype=FLOAT32), abs(y), fallen


class MinitaurBattery(TaskFamily):
    """Walk straight on an unknown battery with an unknown load; see the module's docstring for the protocol."""

    name = "MinitaurBattery-v0"
    task_type = MinitaurBatteryTask
    dt = Minitaur.TIME_STEP * Minitaur.SUBSTEPS
    default_horizon = 120
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "battery": Interval(
            unit="V", train=(10.0, 16.8), test=(10.3, 16.5), out_of_range=((9.0, 10.0),)
        ),
        "side_load": Interval(
            unit="kg",
            train=(-0.5, 0.5),
            test=(-0.47, 0.47),
            out_of_range=((-0.7, -0.5), (0.5, 0.7)),
        ),
    }
    observation_signals = (
        Signal("trunk.roll", f"{TILT_UNIT} rad", -20.0, 20.0),
        Signal("trunk.pitch", f"{TILT_UNIT} rad", -20.0, 20.0),
        *(
            Signal(f"trunk.{axis}_rate", f"{RATE_UNIT} rad/s", -100.0, 100.0)
            for axis in ("roll", "pitch", "yaw")
        ),
        Signal("gait.sin", "1", -1.0, 1.0),
        Signal("gait.cos", "1", -1.0, 1.0),
    )
    action_signals = (
        Signal("frequency", f"{FREQUENCY_CHANGE} Hz", -1.0, 1.0),
        Signal("swing", f"{SWING_CHANGE} rad", -1.0, 1.0),
        Signal("lift", f"{LIFT_CHANGE} rad", -1.0, 1.0),
        Signal("fold.left", f"{FOLD_CHANGE} rad", -1.0, 1.0),
        Signal("fold.right", f"{FOLD_CHANGE} rad", -1.0, 1.0),
    )
    reward_terms = (
        RewardTerm("velocity", "v", "m/s"),
        RewardTerm("drift", "|y|", "m", -DRIFT_COST),
        RewardTerm("fall", "1 if it has fallen, else 0", "1", -FALL_COST),
    )

    def make_env(self, *, render_mode: str | None = None) -> MinitaurBatteryEnv:
        """Return one Minitaur."""
        return MinitaurBatteryEnv(self, render_mode)
