"""Carrying: an xArm must follow a path with a load that it is not told.

How heavy the load is, and how far from the tool's axis it hangs, is hidden. The joints are soft, lightly damped springs
without an integral part (`robots.xarm6`), and what is sent to them arrives 0.1 s late, as over a network, so that
feedback is either weak or unstable: a single policy leaves the hand some centimetres low or high, and one who knows the
load does not.

The action is three torques in ±1, on top of what the springs and the torques that hold the bare arm do, at the joints
that bear weight: 2 (30 N·m), 3 (20 N·m) and 5 (8 N·m). The path is observed: from the start to a random pose, in joints
1, 2, 3 and 5, in 1.5 s and without a jerk, where the arm then stays. The reward of a step is −(d / 0.05 m)², d being
the distance of the hand from where it should be after it: −1 a step at 5 cm. All zeros cost about 160 an episode; the
torques that bear the load, worked out from it, about 2; the best feedback that was found by hand, around half of the
greatest load, 20. An episode has 60 steps of 1/30 s and never ends early; it starts at rest in the home pose, each
joint off by up to 0.02 rad, held by brakes until the first command arrives.

UFACTORY allows 5 kg, less where it hangs far from the flange: loads end at 4.5 kg and 65 mm, where the motors of the
stretched arm reach their limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import dist
from typing import ClassVar

import numpy as np

from metamotor.envs.arms import ArmEnv
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
from metamotor.robots.xarm6 import XArm6

LATENCY = 0.1
"""How late commands arrive [s]."""
DAMPING = 6.0
"""Kd of the joints of shoulder and elbow: a quarter of critical [N·m·s/rad]."""
TORQUES = {"joint2": 30.0, "joint3": 20.0, "joint5": 8.0}
"""Torque that an action of 1 adds to a joint [N·m]."""
SPANS = {"joint1": 0.8, "joint2": 0.2, "joint3": 0.3, "joint5": 0.3}
"""How far the end of the path is from home at most [rad]."""
TRAVEL_TIME = 1.5
"""How long the path takes [s]."""
DISTANCE_UNIT = 0.05
"""Distance of the hand from where it should be at which a step costs 1 [m]."""
ERROR_UNIT = 0.1
"""Unit of the observed joint errors [rad]."""
SPEED_UNIT = 0.5
"""Unit of the observed joint velocities [rad/s]."""

_BEARING = [XArm6.JOINTS.index(joint) for joint in TORQUES]
_UNITS = list(TORQUES.values())
_TRAVELLING = [XArm6.JOINTS.index(joint) for joint in SPANS]
_SPANS = list(SPANS.values())
_AHEAD = LATENCY + XArm6.SUBSTEPS * XArm6.TIME_STEP / 2
"""A command is meant for the middle of the period in which it acts [s]."""
_DAMPINGS = [share * DAMPING for share in XArm6.SHARES]


@dataclass(frozen=True)
class XArmPayloadTask(Task):
    """What is carried [kg], and how far in front of the flange's axis its centre of mass is [m]."""

    payload: float
    payload_offset: float


class XArmPayloadEnv(ArmEnv[XArm6]):
    """One arm; a red ball shows where its hand shall end."""

    def __init__(self, family: XArmPayload, render_mode: str | None = None) -> None:
        super().__init__(family, XArm6, render_mode)
        self._time = 0.0
        self._first: list[float] = []
        self._way: list[float] = []

    def _task_properties(self) -> Mapping[str, float]:
        return {**super()._task_properties(), "latency": LATENCY, "damping": DAMPING}

    def _begin(self) -> Array:
        self.start()
        self._time = 0.0
        self._first = list(self.robot.joint_positions)
        ends = self.np_random.uniform(-1.0, 1.0, size=len(_SPANS)).tolist()
        self._way = [0.0] * len(self._first)
        for joint, span, end in zip(_TRAVELLING, _SPANS, ends, strict=True):
            self._way[joint] = span * end + self.robot.HOME[joint] - self._first[joint]
        last = [first + way for first, way in zip(self._first, self._way, strict=True)]
        self.show_goal(self.robot.hand_position_and_jacobian(last)[0])
        return self._observe(*self._path())

    def _path(self, ahead: float = 0.0) -> tuple[list[float], list[float]]:
        """Return where the joints should be [rad] and how fast [rad/s] a time from now [s]: the path of least jerk."""
        t = min((self._time + ahead) / TRAVEL_TIME, 1.0)
        done = t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)
        speed = 30.0 * t * t * (1.0 - t) * (1.0 - t) / TRAVEL_TIME
        return (
            [first + done * way for first, way in zip(self._first, self._way, strict=True)],
            [speed * way for way in self._way],
        )

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        robot = self.robot
        # The dampers would brake the motion along the path too.
        targets, speeds = self._path(_AHEAD)
        torques = [damping * speed for damping, speed in zip(_DAMPINGS, speeds, strict=True)]
        for joint, unit, share in zip(_BEARING, _UNITS, action, strict=True):
            torques[joint] += unit * share
        robot.command(targets, torques)
        robot.advance()
        robot.sense()
        self._time += self.family.dt
        targets, speeds = self._path()
        wanted, _ = robot.hand_position_and_jacobian(targets)
        reward = -((dist(robot.hand_position, wanted) / DISTANCE_UNIT) ** 2)
        return self._observe(targets, speeds), reward, False

    def _observe(self, targets: Sequence[float], speeds: Sequence[float]) -> Array:
        robot = self.robot
        numbers = [
            (position - target) / ERROR_UNIT
            for position, target in zip(robot.joint_positions, targets, strict=True)
        ]
        numbers += [speed / SPEED_UNIT for speed in robot.joint_velocities]
        for joint, span in zip(_TRAVELLING, _SPANS, strict=True):
            numbers.append((targets[joint] - robot.HOME[joint]) / span)
        numbers += [speeds[joint] / SPEED_UNIT for joint in _TRAVELLING]
        return np.array(numbers, dtype=FLOAT32)


class XArmPayload(TaskFamily):
    """Follow a path with an unknown load; see the module's docstring for the protocol."""

    name = "XArmPayload-v0"
    task_type = XArmPayloadTask
    dt = XArm6.TIME_STEP * XArm6.SUBSTEPS
    default_horizon = 60
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "payload": Interval(
            unit="kg", train=(0.0, 4.0), test=(0.3, 3.7), out_of_range=((4.0, 4.5),)
        ),
        "payload_offset": Interval(
            unit="m",
            train=(-0.05, 0.05),
            test=(-0.045, 0.045),
            out_of_range=((-0.065, -0.05), (0.05, 0.065)),
        ),
    }
    observation_signals = (
        *(Signal(f"{joint}.error", f"{ERROR_UNIT} rad", -150.0, 150.0) for joint in XArm6.JOINTS),
        *(
            Signal(f"{joint}.velocity", f"{SPEED_UNIT} rad/s", -200.0, 200.0)
            for joint in XArm6.JOINTS
        ),
        *(Signal(f"{joint}.target", f"{span} rad", -2.0, 2.0) for joint, span in SPANS.items()),
        *(Signal(f"{joint}.target_speed", f"{SPEED_UNIT} rad/s", -20.0, 20.0) for joint in SPANS),
    )
    action_signals = tuple(
        Signal(f"{joint}.torque", f"{unit:g} N·m", -1.0, 1.0) for joint, unit in TORQUES.items()
    )
    reward_terms = (RewardTerm("distance", f"(d / {DISTANCE_UNIT} m)²", "1", -1.0),)

    def make_env(self, *, render_mode: str | None = None) -> XArmPayloadEnv:
        """Return one arm."""
        return XArmPayloadEnv(self, render_mode)
