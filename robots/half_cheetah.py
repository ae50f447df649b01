"""The half-cheetah: a planar runner with a back and a front leg; `half_cheetah_model` says what it is made of."""

from __future__ import annotations

from typing import ClassVar

from metamotor.robots.half_cheetah_model import HALF_CHEETAH
from metamotor.robots.planar_runner import PlanarRunner
from metamotor.robots.runner import runner_properties
from metamotor.robots.simulator import Camera


class HalfCheetah(PlanarRunner):
    """A half-cheetah on level ground, facing +x."""

    MODEL = HALF_CHEETAH
    JOINTS = tuple(link.name for link in MODEL.links)
    LOWER: ClassVar[tuple[float, ...]] = tuple(link.lower for link in MODEL.links)
    """Lower joint limits [rad]."""
    UPPER: ClassVar[tuple[float, ...]] = tuple(link.upper for link in MODEL.links)
    """Upper joint limits [rad]."""
    DAMPING = tuple(link.damping for link in MODEL.links)
    MAX_TORQUE = tuple(link.torque / 2 for link in MODEL.links)
    """Greatest joint torques [N·m]: half of MuJoCo's, because the rotors' inertia, ten times that of a foot, is
    missing, and at full torque the legs would be quicker than MuJoCo's are."""
    NEUTRAL = (0.1, 0.0, 0.1, -0.1, 0.0, -0.7)
    REACH = (0.6, 0.75, 0.5, 0.7, 0.8, 0.4)
    REST = (0.0, -0.149, 0.097)
    FRICTION: ClassVar[float] = 0.5
    """Friction coefficient between the links and the ground: not MuJoCo's 0.8 but the engine's own, which the published
    policies were trained with."""
    PROPERTIES = runner_properties(JOINTS, FRICTION, lightest=0.7, most_damping=1.0)
    """Its legs are as light as they can be at their damping: at half its mass they swing at 50 rad/s and more."""

    SUBSTEPS = 4
    SOLVER_ITERATIONS = 20
    """Over the first 20 periods of random motion 20 sweeps stay within 1 mm and 1 mrad of 500, 10 within 26; later
    the contacts make chaos of any difference. 50 would take a quarter longer."""
    CAMERA = Camera(target=(0.0, 0.0, 0.5), distance=2.5, yaw=0.0, pitch=-10.0)
