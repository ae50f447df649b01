"""The planar walker: a runner with two legs side by side; `walker2d_model` says what it is made of."""

from __future__ import annotations

from metamotor.robots.planar_runner import PlanarRunner, runner_properties
from metamotor.robots.simulator import Camera
from metamotor.robots.walker2d_model import WALKER2D


class Walker2d(PlanarRunner):
    """A planar walker on level ground, facing +x."""

    MODEL = WALKER2D
    JOINTS = tuple(link.name for link in MODEL.links)
    MAX_TORQUE = tuple(link.torque for link in MODEL.links)
    """MuJoCo's [N·m]."""
    NEUTRAL = (-0.4, -0.6, 0.4) * 2
    REACH = (0.4, 0.55, 0.38) * 2
    REST = (0.0, -0.123, -0.6)
    PROPERTIES = runner_properties(JOINTS, PlanarRunner.FRICTION, most_damping=10.0)

    SUBSTEPS = 5
    SOLVER_ITERATIONS = 20
    CAMERA = Camera(target=(0.0, 0.0, 0.7), distance=2.5, yaw=0.0, pitch=-10.0)
