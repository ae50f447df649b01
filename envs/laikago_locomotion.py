"""Walking: a Laikago must walk in a direction that it is not told, with an unknown load on its back.

Action, reward, start and fall are those of `quadruped_locomotion`, as with the A1, of which this robot is twice the
weight; 50 N of support are a foot's share of 10 kg, and lower than 0.25 m, of 0.45 when it stands, it has fallen. An
episode has 80 steps of 0.04 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from typing import ClassVar

from metamotor.envs.core import Interval, Parameter
from metamotor.envs.quadruped_locomotion import QuadrupedLocomotion, QuadrupedTask
from metamotor.robots.laikago import Laikago


@dataclass(frozen=True)
class LaikagoLocomotionTask(QuadrupedTask):
    """Where to walk, and with what load [kg]."""

    payload: float


class LaikagoLocomotion(QuadrupedLocomotion):
    """Walk in an unknown direction with an unknown load; see the module's docstring for the protocol."""

    name = "LaikagoLocomotion-v0"
    task_type = LaikagoLocomotionTask
    robot_type = Laikago
    parameters: ClassVar[Mapping[str, Parameter]] = {
        # Headings fill the circle: none is out of range.
        "heading": Interval(unit="rad", train=(-pi, pi), test=(-pi, pi)),
        "payload": Interval(
            unit="kg", train=(0.0, 8.0), test=(0.5, 7.5), out_of_range=((8.0, 10.0),)
        ),
    }
    support_change = 50.0
    """A foot's share of 10 kg."""
    lowest = 0.25
    """0.45 when it stands."""
    action_signals = QuadrupedLocomotion.trot_signals(support_change)
