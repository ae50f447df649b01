"""A pendulum on a motor too weak to lift it at once: a rod with a bob at its end, hinged to a stand.

The model is our own: a uniform rod and a round bob, given to the engine as one link. What moves it are only the two
moments of mass about the hinge, so that length and masses can be changed without loading another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from metamotor.robots.properties import Property
from metamotor.robots.robot import Robot
from metamotor.robots.simulator import Camera, JointState


class Pendulum(Robot):
    """A rod that a motor turns about the y axis, with a bob at its end."""

    JOINTS: ClassVar[tuple[str, ...]] = ("hinge",)
    """Angle from upright, leaning forwards [rad]; it is not limited."""
    ROD_MASS: ClassVar[float] = 0.1
    """[kg]."""
    ROD_RADIUS: ClassVar[float] = 0.008
    """Of what is drawn [m]."""
    BOB_RADIUS: ClassVar[float] = 0.05
    """[m]."""
    LENGTH: ClassVar[float] = 0.5
    """From the hinge to the bob's middle, as drawn [m]."""
    CENTRE: ClassVar[float] = 0.15
    """Distance of the link's centre of mass from the hinge in the model [m]; see `_configured`."""
    SHORTEST: ClassVar[float] = 0.25
    """Shortest rod that can be expressed with that centre of mass, whatever the bob weighs [m]."""
    MAX_TORQUE: ClassVar[float] = 1.0
    """Greatest torque of the motor [N·m]; it takes 2.7 to hold the nominal pendulum level."""
    STAND: ClassVar[float] = 0.7
    """Height of the hinge [m]."""
    PROPERTIES: ClassVar[Mapping[str, Property]] = {
        "bob_mass": Property("kg", 0.5, 0.01),
        "length": Property("m", LENGTH, SHORTEST),
        "motor_strength": Property("1", 1.0, 0.0, 2.0),
        "joint_damping": Property("N·m·s/rad", 0.005),
    }
    """Of the bob, of the rod, what share of its torque the motor gives, and friction of the hinge."""

    TIME_STEP = 1 / 200
    """[s]. The energy of a free swing stays within 2 % of what lies between hanging and upright."""
    SUBSTEPS = 8
    SOLVER_ITERATIONS = 10
    """Nothing to solve: there are no contacts, and the motor is a torque."""
    CAMERA = Camera(target=(0.0, 0.0, STAND), distance=2.0, yaw=0.0, pitch=-10.0)

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        self.body = self.simulator.load_urdf_text(_urdf(), fixed_base=True, own_inertia=True)
        self.joints = self.simulator.joints(self.body, self.JOINTS)
        self.joints.use_forces()
        (self._link,) = self.joints.links
        self.simulator.set_dynamics(self.body, self._link, linearDamping=0.0, angularDamping=0.0)
        self._torque = 0.0
        self._configured(self.properties)

    def _configured(self, changed: Mapping[str, float]) -> None:
        """Put a rod and a bob on the hinge.

        The engine cannot move a link's centre of mass, and need not: with the first moment of mass about the hinge, f,
        and the second, s, the equation of motion is complete. A link whose centre is at c moves as they say if its mass
        is f / c and its moment of inertia s − f c, which is positive as long as c < s / f. That is the length of the
        pendulum of one point that swings alike, at least 2/3 of the rod.
        """
        now = self.properties
        bob, length = now["bob_mass"], now["length"]
        first = (self.ROD_MASS / 2 + bob) * length
        second = (self.ROD_MASS / 3 + bob) * length**2 + 0.4 * bob * self.BOB_RADIUS**2
        self.simulator.set_dynamics(
            self.body,
            self._link,
            mass=first / self.CENTRE,
            localInertiaDiagonal=(second - first * self.CENTRE,) * 3,
            jointDamping=now["joint_damping"],
        )
        self._torque = self.MAX_TORQUE * now["motor_strength"]

    def reset(self, angle: float, rate: float = 0.0) -> None:
        """Put the rod at an angle [rad], turning at a rate [rad/s]."""
        self.simulator.forget_contacts()
        self.joints.reset((angle,), (rate,))

    def read(self) -> JointState:
        """Return the state of the hinge."""
        (state,) = self.joints.read()
        return state

    def drive(self, command: float) -> None:
        """Let one control period pass with the motor at a share of its torque, in ±1; more does not exist."""
        torque = self._torque * min(max(command, -1.0), 1.0)
        self.simulator.step(self.SUBSTEPS, self.joints.command, (torque,))

    def excite(self, generator: np.random.Generator) -> None:
        """Start anew from a random angle (a torque would be gone after one step)."""
        self.reset(float(generator.uniform(-3.0, 3.0)))


def _urdf() -> str:
    """Return the model as the text of a URDF; how heavy it is, is set later."""
    robot = Pendulum
    rod = f'<cylinder radius="{robot.ROD_RADIUS}" length="{robot.LENGTH}"/>'
    return (
        '<robot name="pendulum">'
        f'<link name="stand"><visual><origin xyz="0 0.1 {robot.STAND / 2}"/><geometry>'
        f'<box size="0.1 0.05 {robot.STAND}"/></geometry></visual></link>'
        f'<joint name="hinge" type="continuous"><parent link="stand"/><child link="rod"/>'
        f'<origin xyz="0 0 {robot.STAND}"/><axis xyz="0 1 0"/></joint>'
        f'<link name="rod"><inertial><origin xyz="0 0 {robot.CENTRE}"/><mass value="1"/>'
        '<inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>'
        f'<visual><origin xyz="0 0 {robot.LENGTH / 2}"/><geometry>{rod}</geometry>'
        '<material name="grey"><color rgba="0.5 0.5 0.5 1"/></material></visual>'
        f'<visual><origin xyz="0 0 {robot.LENGTH}"/><geometry><sphere radius="{robot.BOB_RADIUS}"/>'
        '</geometry><material name="red"><color rgba="0.8 0.2 0.2 1"/></material></visual></link>'
        "</robot>"
    )
