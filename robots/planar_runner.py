"""What planar runners have in common: a torso in the plane, and hinges driven by position motors of limited torque."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from metamotor.robots.planar_model import PlanarModel
from metamotor.robots.properties import Property
from metamotor.robots.robot import Robot
from metamotor.robots.simulator import Camera, JointState, data_path


def runner_properties(
    joints: Sequence[str], friction: float, most_damping: float
) -> dict[str, Property]:
    """Return what may be changed about a runner.

    Masses, moments of inertia, joint damping and friction are what studies of randomised dynamics vary, by factors
    from 1.5⁻³ to 1.5³ (ProMP, Rothfuss et al. 2019, arXiv:1810.06784; PEARL, Rakelly et al. 2019, arXiv:1903.08254);
    the limits leave room beyond them. `motor_strength` is what share of its torque every motor still gives, and
    `<joint>.strength` each by itself. `<joint>.gain` is what share of the commanded way a joint is told to go: 0 is
    one that stays where it was, −1 one that is wired the wrong way round.

    Args:
        joints: its hinges.
        friction: its own, on the ground.
        most_damping: greatest `damping_scale`. The engine takes a joint's damping from the speed before a physics
            step, so that a light link that is damped too much swings ever faster.
    """
    return {
        "mass_scale": Property("1", 1.0, 0.1, 10.0),
        "inertia_scale": Property("1", 1.0, 0.1, 10.0),
        "friction": Property("1", friction),
        "damping_scale": Property("1", 1.0, 0.0, most_damping),
        "motor_strength": Property("1", 1.0),
        **{f"{joint}.strength": Property("1", 1.0) for joint in joints},
        **{f"{joint}.gain": Property("1", 1.0, -1.0, 1.0) for joint in joints},
    }


class PlanarRunner(Robot):
    """A planar robot on level ground, facing +x."""

    MODEL: ClassVar[PlanarModel]
    ROOT: ClassVar[tuple[str, ...]] = ("rootx", "rootz", "rooty")
    """Where the torso is: forwards [m], upwards from the model's root height [m], pitch, nose down [rad]."""
    JOINTS: ClassVar[tuple[str, ...]]
    """The hinges."""
    MAX_TORQUE: ClassVar[tuple[float, ...]]
    """Greatest joint torques [N·m]."""
    NEUTRAL: ClassVar[tuple[float, ...]]
    """Joint positions of the neutral stance [rad]."""
    REACH: ClassVar[tuple[float, ...]]
    """How far a command of ±1 goes from the neutral stance; inside the joint limits [rad]."""
    REST: ClassVar[tuple[float, ...]]
    """Root joints when it stands in the neutral stance [m, m, rad]."""
    FRICTION: ClassVar[float] = 0.8
    """Friction coefficient between the links and the ground, MuJoCo's."""
    GAIN: ClassVar[float] = 0.1
    """Share of a joint's position error that its motor removes in a physics step."""

    TIME_STEP = 1 / 240

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        simulator = self.simulator
        ground = simulator.load_urdf(data_path("plane_implicit.urdf"), fixed_base=True)
        # The engine multiplies the coefficients of the two sides.
        simulator.set_dynamics(ground, -1, lateralFriction=1.0)
        self.body = simulator.load_urdf_text(self.MODEL.urdf(), fixed_base=True, own_inertia=True)
        simulator.joints(self.body, self.ROOT).use_forces()
        self._legs = simulator.joints(self.body, self.JOINTS)
        self.joints = simulator.joints(self.body, (*self.ROOT, *self.JOINTS))
        for link in self.joints.links:
            simulator.set_dynamics(self.body, link, linearDamping=0.0, angularDamping=0.0)
        # The root's sliders carry massless links.
        self._masses = [
            (link, simulator.mass(self.body, link), simulator.inertia(self.body, link))
            for link in self.joints.links[2:]
        ]
        self._configured(self.properties)
        self.reset((*self.REST, *self.NEUTRAL))

    def _configured(self, changed: Mapping[str, float]) -> None:
        now, simulator, body = self.properties, self.simulator, self.body
        if not changed.keys().isdisjoint(("mass_scale", "inertia_scale")):
            scale = now["mass_scale"]
            for link, mass, moments in self._masses:
                x, y, z = (scale * now["inertia_scale"] * moment for moment in moments)
                simulator.set_dynamics(
                    body, link, mass=scale * mass, localInertiaDiagonal=(x, y, z)
                )
        if "friction" in changed:
            for link in self.joints.links:
                simulator.set_dynamics(body, link, lateralFriction=now["friction"])
        if "damping_scale" in changed:
            for link, own in zip(self._legs.links, self.MODEL.links, strict=True):
                damping = now["damping_scale"] * own.damping
                simulator.set_dynamics(body, link, jointDamping=damping)
        self._legs.use_position_motors(
            gains=[self.GAIN] * len(self.JOINTS),
            max_forces=[
                now["motor_strength"] * now[f"{joint}.strength"] * torque
                for joint, torque in zip(self.JOINTS, self.MAX_TORQUE, strict=True)
            ],
        )
        self._reach = [
            now[f"{joint}.gain"] * reach
            for joint, reach in zip(self.JOINTS, self.REACH, strict=True)
        ]

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
                for neutral, reach, target in zip(self.NEUTRAL, self._reach, targets, strict=True)
            ]
        )

    def camera(self) -> Camera:
        """Return a camera beside the torso."""
        _, y, z = self.CAMERA.target
        return replace(self.CAMERA, target=(self.read()[0][0], y, z))

    def excite(self, generator: np.random.Generator) -> None:
        """Send the hinges to random targets."""
        self.pose(generator.uniform(-1.0, 1.0, size=len(self.JOINTS)).tolist())
