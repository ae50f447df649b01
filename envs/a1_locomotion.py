"""Walking: an A1 must walk in a direction that it is not told, with a load on its back that it is not told either.

Action, reward, start and fall are those of `quadruped_locomotion`; 30 N of support are a foot's share of 6.1 kg, and
lower than 0.15 m, of 0.27 when it stands, it has fallen. An episode has 80 steps of 0.04 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from typing import ClassVar

from metamotor.envs.core import Interval, Parameter
from metamotor.envs.quadruped_locomotion import QuadrupedLocomotion, QuadrupedTask
from metamotor.robots.a1 import A1
from metamotor.robots.physics import MUJOCO, PYBULLET


@dataclass(frozen=True)
class A1LocomotionTask(QuadrupedTask):
    """Where to walk, and with what load [kg]."""

    payload: float


class A1Locomotion(QuadrupedLocomotion):
    """Walk in an unknown direction with an unknown load; see the module's docstring for the protocol."""

    name = "A1Locomotion-v0"
    engines = (PYBULLET, MUJOCO)
    task_type = A1LocomotionTask
    robot_type = A1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        # Headings fill the circle: none is out of range.
        "heading": Interval(unit="rad", train=(-pi, pi), test=(-pi, pi)),
        "payload": Interval(
            unit="kg", train=(0.0, 5.0), test=(0.5, 4.5), out_of_range=((5.0, 7.0),)
        ),
    }
    support_change = 30.0
    """A foot's share of 6.1 kg."""
    lowest = 0.15
    """0.27 when it stands."""
    action_signals = QuadrupedLocomotion.trot_signals(support_change)
