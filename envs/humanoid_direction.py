"""Walking upright: a humanoid must walk in a direction that it is not told.

The protocol is that of the humanoid direction task of Rakelly et al. 2019 (PEARL, arXiv:1903.08254, section 6.1) and of
Rothfuss et al. 2019 (ProMP, arXiv:1810.06784): a heading on the full circle, and a reward of velocity along it, of
being alive, and of little control. The robot steps on the spot by itself (`robots.stepping`), facing +x. The action is
an offset for each joint target of waist and legs, in ±1, of up to 0.1 to 0.3 rad (`OFFSETS`); the arms are held. The
reward of a step is v + 1 − 0.1 a², v being the torso's velocity along the heading over the control period [m/s], 1 for
not having fallen, and a² the mean square of the action's numbers. An episode has 120 steps of 0.025 s. It ends, with v
− 0.1 a² − 20, when the robot falls: when the torso leans by more than 45° or sinks to 0.9 m. Stepping on the spot earns
about 120. The heading counts from where the robot faces at the start, where it stands at rest, each joint off by up to
0.05 rad.
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
from metamotor.robots.humanoid import Humanoid

OFFSETS = (0.2,) * 3 + (0.1, 0.2, 0.3, 0.3) * 2
"""How far an action of 1 moves the targets of waist and legs [rad]."""
DRIVEN = Humanoid.JOINTS[: len(OFFSETS)]
"""The joints that the action moves."""
ALIVE = 1.0
"""Reward of each step at whose end it has not fallen."""
CONTROL_COST = 0.1
"""Cost of a step for the mean square of the action."""
FALL_COST = 20.0
"""What a fall costs besides what is not earned any more."""
LOWEST = 0.9
"""Height of the torso below which it has fallen [m]."""
LEAST_UPRIGHT = 0.7
"""Cosine of the torso's lean beyond which it has fallen."""
START_NOISE = 0.05
"""Largest offset of a joint from the neutral stance at the start [rad]."""
START_LIFT = 0.005
"""Height from which it drops at the start, for no foot to start in the ground [m]."""
HEIGHT_UNIT = 0.1
"""Unit of the observed torso height, from that in the neutral stance [m]."""
TILT_UNIT = 0.2
"""Unit of the observed roll and pitch [rad]."""
RATE_UNIT = 2.0
"""Unit of the observed angular velocities [rad/s]."""
SPEED_UNIT = 5.0
"""Unit of the observed joint velocities [rad/s]."""


@dataclass(frozen=True)
class HumanoidDirectionTask(Task):
    """Where to walk, from where it faces at the start and to the left [rad]."""

    heading: float


class HumanoidDirectionEnv(SimulatedEnv[Humanoid]):
    """One humanoid."""

    def __init__(self, family: TaskFamily, render_mode: str | None = None) -> None:
        self._x = self._y = 0.0
        self._pace = (0.0, 0.0)
        self._held = (0.0,) * (len(Humanoid.JOINTS) - len(OFFSETS))
        self._shares = [
            offset / reach for offset, reach in zip(OFFSETS, Humanoid.REACH, strict=False)
        ]
        super().__init__(family, Humanoid, render_mode)

    def _begin(self) -> Array:
        heading = self.task.heading
        self._pace = (cos(heading) / self.family.dt, sin(heading) / self.family.dt)
        noise = self.np_random.uniform(-START_NOISE, START_NOISE, size=len(Humanoid.NEUTRAL))
        self.robot.reset((noise + Humanoid.NEUTRAL).tolist(), START_LIFT)
        return self._observe()[0]

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        x, y = self._x, self._y
        robot = self.robot
        offsets = [share * part for share, part in zip(self._shares, action, strict=True)]
        robot.step([*offsets, *self._held])
        robot.advance()
        observation, fallen = self._observe()
        along, left = self._pace
        reward = self._sum(
            (self._x - x) * along + (self._y - y) * left,
            -CONTROL_COST * sum(part * part for part in action) / len(OFFSETS),
            0.0 if fallen else ALIVE,
            -FALL_COST if fallen else 0.0,
        )
        return observation, reward, fallen

    def _observe(self) -> tuple[Array, bool]:
        robot = self.robot
        trunk = robot.trunk()
        self._x, self._y, height = trunk.position
        phase = 2 * pi * robot.stepping.phase
        numbers = [(height - Humanoid.HEIGHT) / HEIGHT_UNIT]
        numbers += [trunk.roll / TILT_UNIT, trunk.pitch / TILT_UNIT, trunk.yaw]
        numbers += trunk.velocity
        numbers += [rate / RATE_UNIT for rate in trunk.angular_velocity]
        numbers += [sin(phase), cos(phase)]
        joints = robot.joints.read()[: len(OFFSETS)]
        for state, neutral, reach in zip(joints, Humanoid.NEUTRAL, Humanoid.REACH, strict=False):
            numbers.append((state[0] - neutral) / reach)
        numbers += [state[1] / SPEED_UNIT for state in joints]
        fallen = height < LOWEST or trunk.uprightness < LEAST_UPRIGHT
        return np.array(numbers, dtype=FLOAT32), fallen


class HumanoidDirection(TaskFamily):
    """Walk in an unknown direction; see the module's docstring for the protocol."""

    name = "HumanoidDirection-v0"
    task_type = HumanoidDirectionTask
    dt = Humanoid.TIME_STEP * Humanoid.SUBSTEPS
    default_horizon = 120
    parameters: ClassVar[Mapping[str, Parameter]] = {
        # Headings fill the circle: none is out of range.
        "heading": Interval(unit="rad", train=(-pi, pi), test=(-pi, pi)),
    }
    observation_signals = (
        Signal("torso.height", f"{HEIGHT_UNIT} m", -1000.0, 1000.0),
        Signal("torso.roll", f"{TILT_UNIT} rad", -20.0, 20.0),
        Signal("torso.pitch", f"{TILT_UNIT} rad", -20.0, 20.0),
        Signal("torso.yaw", "rad", -4.0, 4.0),
        *(Signal(f"torso.velocity.{axis}", "m/s", -100.0, 100.0) for axis in ("x", "y", "z")),
        *(
            Signal(f"torso.{axis}_rate", f"{RATE_UNIT} rad/s", -100.0, 100.0)
            for axis in ("roll", "pitch", "yaw")
        ),
        Signal("gait.sine", "1", -1.0, 1.0),
        Signal("gait.cosine", "1", -1.0, 1.0),
        *(Signal(f"{joint}.position", "reach", -100.0, 100.0) for joint in DRIVEN),
        *(Signal(f"{joint}.velocity", f"{SPEED_UNIT} rad/s", -100.0, 100.0) for joint in DRIVEN),
    )
    action_signals = tuple(
        Signal(f"{joint}.offset", f"{offset} rad", -1.0, 1.0)
        for joint, offset in zip(DRIVEN, OFFSETS, strict=True)
    )
    reward_terms = (
        RewardTerm("velocity", "v", "m/s"),
        RewardTerm("control", "a²", "1", -CONTROL_COST),
        RewardTerm("alive", "1 if it has not fallen, else 0", "1", ALIVE),
        RewardTerm("fall", "1 if it has fallen, else 0", "1", -FALL_COST),
    )

    def make_env(self, *, render_mode: str | None = None) -> HumanoidDirectionEnv:
        """Return one humanoid."""
        return HumanoidDirectionEnv(self, render_mode)
