"""The planar walker: a runner with two legs side by side; `walker2d_model` says what it is made of."""

from __future__ import annotations

from typing import ClassVar

from metamotor.robots.planar_runner import PlanarRunner
from metamotor.robots.runner import runner_properties
from metamotor.robots.simulator import Camera
from metamotor.robots.walker2d_model import WALKER2D


class Walker2d(PlanarRunner):
    """A planar walker on level ground, facing +x."""

    MODEL = WALKER2D
    JOINTS = tuple(link.name for link in MODEL.links)
    DAMPING = tuple(link.damping for link in MODEL.links)
    MAX_TORQUE = tuple(link.torque for link in MODEL.links)
    """Greatest joint torques, MuJoCo's [N·m]."""
    NEUTRAL = (-0.4, -0.6, 0.4) * 2
    REACH = (0.4, 0.55, 0.38) * 2
    REST = (0.0, -0.123, -0.6)
    FRICTION: ClassVar[float] = 0.8
    """Friction coefficient between the links and the ground, MuJoCo's."""
    PROPERTIES = runner_properties(JOINTS, FRICTION, lightest=0.1, most_damping=10.0)

    SUBSTEPS = 5
    SOLVER_ITERATIONS = 20
    """Over the first 20 periods of random motion 20 sweeps stay within 33 mm and 33 mrad of 500, and 50, which take a
    quarter longer, within 9: two feet on the ground make chaos of any difference sooner than one."""
    CAMERA = Camera(target=(0.0, 0.0, 0.7), distance=2.5, yaw=0.0, pitch=-10.0)
