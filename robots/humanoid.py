"""The humanoid: a torso with head, two arms and two legs; `humanoid_model` says what it is made of.

It stands by itself, and steps on the spot by itself (`stepping`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from metamotor.robots.attitude import Attitude, attitude
from metamotor.robots.humanoid_model import HINGES, urdf
from metamotor.robots.runner import Runner, runner_properties
from metamotor.robots.simulator import BaseState, Camera
from metamotor.robots.stepping import Gait, Stepping


class Humanoid(Runner):
    """A humanoid on level ground, facing +x."""

    JOINTS = (
        *("abdomen_y", "abdomen_z", "abdomen_x"),
        *("right_hip_x", "right_hip_z", "right_hip_y", "right_knee"),
        *("left_hip_x", "left_hip_z", "left_hip_y", "left_knee"),
        *("right_shoulder1", "right_shoulder2", "right_elbow"),
        *("left_shoulder1", "left_shoulder2", "left_elbow"),
    )
    """In the order of MuJoCo's motors."""
    DAMPING = tuple(HINGES[joint].damping for joint in JOINTS)
    MAX_TORQUE = tuple(HINGES[joint].torque for joint in JOINTS)
    """Greatest joint torques, MuJoCo's: its gears times its greatest control, 0.4 [N·m]."""
    NEUTRAL = (0.0,) * 3 + (-0.05, 0.0, -0.25, -0.5) * 2 + (0.0, 0.0, -0.5) * 2
    REACH = (0.3,) * 3 + (0.13, 0.3, 0.55, 0.45) * 2 + (0.5,) * 6
    HEIGHT: ClassVar[float] = 1.268
    """Of the torso's middle when it stands in the neutral stance [m]."""
    FRICTION: ClassVar[float] = 1.0
    """Friction coefficient between the soles and the ground, MuJoCo's."""
    TORSIONAL_FRICTION: ClassVar[float] = 0.1
    """What torque, per force that presses a ball of a sole to the ground, resists its turning there [m]: that of
    MuJoCo's file, whose contacts do not use it. Without it a foot that touches with its toes turns on them, and the
    robot with it, by a radian in 4 s."""
    GAIT: ClassVar[Gait] = Gait(
        period=0.47,
        crouch=0.25,
        lift=0.6,
        share=0.5,
        abduction=0.06,
        ahead=0.35,
        aside=0.4,
        pitch=0.75,
        pitch_rate=0.07,
        roll=0.45,
        roll_rate=0.1,
        yaw=0.5,
        yaw_rate=0.05,
    )
    """With it the robot stays up when it is pushed by 0.7 m/s, and under targets off by 0.1 rad at random; standing, it
    falls when pushed by 0.5 m/s."""
    PROPERTIES = runner_properties(JOINTS, FRICTION, lightest=0.1, most_damping=4.0)

    SUBSTEPS = 6
    SOLVER_ITERATIONS = 20
    CAMERA = Camera(target=(0.0, 0.0, 0.8), distance=2.8, yaw=40.0, pitch=-15.0)

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        self.stepping = Stepping(self.GAIT)
        self._bounds = tuple(zip(self._hinges.lower, self._hinges.upper, strict=True))
        self.reset(self.NEUTRAL)

    def _load(self) -> tuple[int, Sequence[int]]:
        simulator = self.simulator
        body = simulator.load_urdf_text(urdf(), own_inertia=True)
        self._base = simulator.body(body)
        self.joints = simulator.joints(body, self.JOINTS)
        # The links of joints that share a body with the next one weigh nothing.
        links = [link for link in self.joints.links if simulator.mass(body, link) > 0]
        for knee in ("right_knee", "left_knee"):
            simulator.set_dynamics(
                body, simulator.link(body, knee), spinningFriction=self.TORSIONAL_FRICTION
            )
        fixed = [simulator.link(body, name) for name in ("head", "upper_waist")]
        return body, (-1, *fixed, *links)

    def reset(self, joint_positions: Sequence[float], lift: float = 0.0) -> None:
        """Put it at rest, the torso level and above the origin, its motors holding the pose.

        Args:
            joint_positions: [rad].
            lift: how high the feet are above the ground in the neutral stance [m].
        """
        self.simulator.forget_contacts()
        place = (0.0, 0.0, self.HEIGHT + lift)
        self._base.place(BaseState(place, (0.0, 0.0, 0.0, 1.0), _STILL, _STILL))
        self.joints.reset(joint_positions)
        self._hinges.command(joint_positions)
        self.stepping.phase = 0.0

    def trunk(self) -> Attitude:
        """Return how the torso is held and moves."""
        return attitude(self._base.base())

    def step(self, offsets: Sequence[float]) -> None:
        """Let the motors drive the hinges to the next targets of stepping.

        Args:
            offsets: of the targets, in units of `REACH`; what lies beyond the joint limits is cut off.
        """
        period = self.TIME_STEP * self.SUBSTEPS
        right, left = self.stepping.advance(period, self.trunk())
        legs = [-angle for leg in (right, left) for angle in leg]
        targets = [*self.NEUTRAL[:3], *legs, *self.NEUTRAL[11:]]
        commands = []
        for target, reach, offset, (lower, upper) in zip(
            targets, self._reach, offsets, self._bounds, strict=True
        ):
            target += reach * offset
            commands.append(lower if target < lower else upper if target > upper else target)
        self._hinges.command(commands)

    def camera(self) -> Camera:
        """Return a camera that follows the torso."""
        x, y, _ = self._base.base().position
        return replace(self.CAMERA, target=(x, y, self.CAMERA.target[2]))


_STILL = (0.0, 0.0, 0.0)
