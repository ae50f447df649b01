"""Walking over rough slopes: an A1 must walk in a direction that it is not told, on ground that it is not told either.

Action, reward, start and fall are those of `quadruped_locomotion`, with the A1's numbers; the robot bears no load. An
episode has 80 steps of 0.04 s. The ground slopes, rises towards an unknown heading, and is rough: heights at random
every 0.2 m, other ones in each episode. Where the robot is and how it is held is told from the slope's plane, not from
the vertical: it is not told how steep the ground is, and feels it as what pulls at it.

The kind of ground is that of the sloping rough terrain of legged_gym (Rudin et al. 2021, arXiv:2109.11978), which goes
up to a slope of 0.4 and 0.1 m from the lowest to the highest point; a trot without a plan for its feet falls there, so
that both are less here. By scripted policies on 24 test tasks, trotting on the spot earns 1, walking straight ahead −2,
walking where one is told 34, and 37 if one is told the slope too and asks for a velocity farther down it, by which the
feet are put down there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from typing import ClassVar

from metamotor.envs.a1_locomotion import A1Locomotion
from metamotor.envs.core import Interval, Parameter
from metamotor.envs.quadruped_locomotion import QuadrupedLocomotion, QuadrupedTask
from metamotor.robots.a1 import A1
from metamotor.robots.physics import PYBULLET


@dataclass(frozen=True)
class A1TerrainTask(QuadrupedTask):
    """Where to walk, and on what: slope and where it rises [rad], and from the lowest to the highest point [m]."""

    slope: float
    slope_heading: float
    roughness: float


class A1Terrain(QuadrupedLocomotion):
    """Walk in an unknown direction on an unknown slope; see the module's docstring for the protocol."""

    name = "A1Terrain-v0"
    engines = (PYBULLET,)
    task_type = A1TerrainTask
    robot_type = A1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        # Headings fill the circle: none is out of range.
        "heading": Interval(unit="rad", train=(-pi, pi), test=(-pi, pi)),
        "slope": Interval(
            unit="rad", train=(0.0, 0.2), test=(0.01, 0.19), out_of_range=((0.2, 0.25),)
        ),
        "slope_heading": Interval(unit="rad", train=(-pi, pi), test=(-pi, pi)),
        "roughness": Interval(
            unit="m", train=(0.0, 0.03), test=(0.002, 0.028), out_of_range=((0.03, 0.04),)
        ),
    }
    support_change = A1Locomotion.support_change
    lowest = A1Locomotion.lowest
    action_signals = A1Locomotion.action_signals
