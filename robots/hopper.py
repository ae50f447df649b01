"""The hopper: a planar runner with one leg; `hopper_model` says what it is made of."""

from __future__ import annotations

from typing import ClassVar

from metamotor.robots.hopper_model import HOPPER
from metamotor.robots.planar_runner import PlanarRunner
from metamotor.robots.runner import runner_properties
from metamotor.robots.simulator import Camera


class Hopper(PlanarRunner):
    """A hopper on level ground, facing +x."""

    MODEL = HOPPER
    JOINTS = tuple(link.name for link in MODEL.links)
    DAMPING = tuple(link.damping for link in MODEL.links)
    MAX_TORQUE = tuple(link.torque / 2 for link in MODEL.links)
    """Greatest joint torques [N·m]: half of MuJoCo's, because the rotors' inertia is missing; three times what a deep
    crouch takes."""
    NEUTRAL = (-0.3, -0.6, 0.37)
    REACH = (0.3, 0.55, 0.4)
    REST = (0.0, -0.113, -0.53)
    FRICTION: ClassVar[float] = 0.8
    """Friction coefficient between the links and the ground, MuJoCo's."""
    PROPERTIES = runner_properties(JOINTS, FRICTION, lightest=0.1, most_damping=10.0)

    SUBSTEPS = 5
    SOLVER_ITERATIONS = 20
    """Over the first 20 periods of random motion 20 sweeps stay within 1 mm and 1 mrad of 500, 10 within 23."""
    CAMERA = Camera(target=(0.0, 0.0, 0.7), distance=2.5, yaw=0.0, pitch=-10.0)
