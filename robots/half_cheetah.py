"""The half-cheetah: a planar runner with a back and a front leg; `half_cheetah_model` says what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from metamotor.robots.half_cheetah_model import LINKS, urdf
from metamotor.robots.robot import Robot
from metamotor.robots.simulator import Camera, JointState, data_path


class HalfCheetah(Robot):
    """A half-cheetah on level ground, facing +x, its hinges driven by position motors of limited torque."""

    ROOT: ClassVar[tuple[str, ...]] = ("rootx", "rootz", "rooty")
    """Where the torso is: forwards [m], upwards from 0.7 m [m], pitch, nose down [rad]."""
    JOINTS: ClassVar[tuple[str, ...]] = tuple(link.name for link in LINKS)
    LOWER: ClassVar[tuple[float, ...]] = tuple(link.lower for link in LINKS)
    """Lower joint limits [rad]."""
    UPPER: ClassVar[tuple[float, ...]] = tuple(link.upper for link in LINKS)
    """Upper joint limits [rad]."""
    MAX_TORQUE: ClassVar[tuple[float, ...]] = tuple(link.torque / 2 for link in LINKS)
    """Greatest joint torques [N·m]: half of MuJoCo's, because the rotors' inertia, ten times that of a foot, is
    missing, and at full torque the legs would be quicker than MuJoCo's are."""
    NEUTRAL: ClassVar[tuple[float, ...]] = (0.1, 0.0, 0.1, -0.1, 0.0, -0.7)
    """Joint positions of the neutral stance [rad]."""
    REACH: ClassVar[tuple[float, ...]] = (0.6, 0.75, 0.5, 0.7, 0.8, 0.4)
    """How far a command of ±1 goes from the neutral stance; inside the joint limits [rad]."""
    REST: ClassVar[tuple[float, ...]] = (0.0, -0.149, 0.097)
    """Root joints when it stands in the neutral stance [m, m, rad]."""
    GAIN: ClassVar[float] = 0.1
    """Share of a joint's position error that its motor removes in a physics step."""
    FRICTION: ClassVar[float] = 0.8
    """Friction coefficient between the links and the ground, MuJoCo's."""

    TIME_STEP = 1 / 240
    SUBSTEPS = 4
    SOLVER_ITERATIONS = 20
    """Over the first 20 periods of random motion 20 sweeps stay within 1 mm and 1 mrad of 500, 10 within 26; later
    the contacts make chaos of any difference. 50 would take a quarter longer."""
    CAMERA = Camera(target=(0.0, 0.0, 0.5), distance=2.5, yaw=0.0, pitch=-10.0)

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        simulator = self.simulator
        ground = simulator.load_urdf(data_path("plane_implicit.urdf"), fixed_base=True)
        # The engine multiplies the coefficients of the two sides.
        simulator.set_dynamics(ground, -1, lateralFriction=1.0)
        self.body = simulator.load_urdf_text(urdf(), fixed_base=True, own_inertia=True)
        simulator.joints(self.body, self.ROOT).use_forces()
        self._legs = simulator.joints(self.body, self.JOINTS)
        self._legs.use_position_motors(
            gains=[self.GAIN] * len(self.JOINTS), max_forces=self.MAX_TORQUE
        )
        self.joints = simulator.joints(self.body, (*self.ROOT, *self.JOINTS))
        for link in self.joints.links:
            simulator.set_dynamics(
                self.body,
                link,
                lateralFriction=self.FRICTION,
                linearDamping=0.0,
                angularDamping=0.0,
            )
        self.reset((*self.REST, *self.NEUTRAL))

    def reset(self, positions: Sequence[float]) -> None:
        """Put it at rest, its motors holding the pose.

        Args:
            positions: of the root joints [m, m, rad] and the hinges [rad].
        """
        self.simulator.forget_contacts()
        self.joints.reset(positions)
        self._legs.command(positions[len(self.ROOT) :])

    def read(self) -> Sequence[JointState]:
        """Return the state of each joint, the root's first."""
        return self.joints.read()

    def pose(self, targets: Sequence[float]) -> None:
        """Let the motors drive the hinges to targets, in units of `REACH` around `NEUTRAL`."""
        self._legs.command(
            [
                neutral + reach * target
                for neutral, reach, target in zip(self.NEUTRAL, self.REACH, targets, strict=True)
            ]
        )

    def camera(self) -> Camera:
        """Return a camera beside the torso."""
        _, y, z = self.CAMERA.target
        return replace(self.CAMERA, target=(self.read()[0][0], y, z))

    def excite(self, generator: np.random.Generator) -> None:
        """Send the hinges to random targets."""
        self.pose(generator.uniform(-1.0, 1.0, size=len(self.JOINTS)).tolist())
