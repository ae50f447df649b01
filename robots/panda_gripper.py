"""A Panda bolted to a table with a brick on it, which its two fingers take hold of by friction alone.

The brick is longer one way than the other, so that turned by a right angle it is wider between the fingers, and no
higher. It is made here; fingers and hand are the Panda's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import ClassVar

import numpy as np

from metamotor.robots.boxes import box_inertia
from metamotor.robots.panda import Panda
from metamotor.robots.properties import Property
from metamotor.robots.simulator import BaseState, Camera, Vector, data_path


class PandaGripper(Panda):
    """A Panda over a table, facing +x, its hand pointing down and open."""

    GAIN = 0.106
    """As much in a period as the Panda's."""
    BRICK_WIDTHS: ClassVar[tuple[float, float]] = (0.04, 0.055)
    """Of the brick, along and across [m]; panda-gym's cube has 4 cm."""
    BRICK_HEIGHT: ClassVar[float] = 0.05
    """[m]."""
    OPENING: ClassVar[float] = 0.08
    """Between the fingers when they are open, the most that Franka's hand does [m]."""
    FINGER_FRICTION: ClassVar[float] = 1.0
    """Friction coefficient of the fingertips, panda-gym's; the engine multiplies it by the brick's."""
    ABOVE: ClassVar[tuple[float, ...]] = (0.0, 0.1937, 0.0, -2.5643, 0.0, 2.758, 0.785)
    """Joint positions of the pose above the brick, the hand 0.45 m in front of the base and 9 cm high [rad]."""
    PROPERTIES: ClassVar[Mapping[str, Property]] = {
        **Panda.PROPERTIES,
        "gain": Property("1", GAIN, 0.01, 1.0),
        "brick_mass": Property("kg", 0.3, 0.02, 3.0),
        "brick_friction": Property("1", 0.7, 0.0, 2.0),
        "brick_width": Property("m", 0.04, 0.04, 0.055),
    }
    """As the Panda's; mass of the brick, friction coefficient between it and the table, and its side between the
    fingers, one of `BRICK_WIDTHS`, from the next reset on."""
    TIME_STEP = 1 / 240
    """[s]. As for the puck's: what is pushed sinks less into what it stands on."""
    SUBSTEPS = 8
    CAMERA = Camera(target=(0.45, 0.0, 0.15), distance=1.3, yaw=50.0, pitch=-30.0)

    def _furnish(self) -> None:
        simulator = self.simulator
        table = simulator.load_urdf(data_path("plane_implicit.urdf"), fixed_base=True)
        # The engine multiplies the coefficients of the two sides.
        simulator.set_dynamics(table, -1, lateralFriction=1.0)
        self._brick = simulator.load_urdf_text(_brick((*self.BRICK_WIDTHS, self.BRICK_HEIGHT)))
        simulator.set_dynamics(self._brick, -1, linearDamping=0.0, angularDamping=0.0)
        self._brick_base = simulator.body(self._brick)
        for link in simulator.joints(self.body, self.FINGERS).links:
            simulator.set_dynamics(self.body, link, lateralFriction=self.FINGER_FRICTION)

    def _configured(self, changed: Mapping[str, float]) -> None:
        now = self.properties
        if now["brick_width"] not in self.BRICK_WIDTHS:
            raise ValueError(
                f"brick_width must be one of {self.BRICK_WIDTHS} m, got {now['brick_width']!r}"
            )
        super()._configured(changed)
        if "brick_mass" in changed:
            mass = now["brick_mass"]
            moments = box_inertia(mass, (*self.BRICK_WIDTHS, self.BRICK_HEIGHT))
            self.simulator.set_dynamics(self._brick, -1, mass=mass, localInertiaDiagonal=moments)
        if "brick_friction" in changed:
            self.simulator.set_dynamics(self._brick, -1, lateralFriction=now["brick_friction"])

    def reset(
        self, joint_positions: Sequence[float], brick: tuple[float, float] = (0.45, 0.0)
    ) -> None:
        """Put the arm at rest in a pose, its hand open, and the brick on the table.

        Args:
            joint_positions: [rad].
            brick: where its middle is [m].
        """
        super().reset(joint_positions)
        half = self.OPENING / 2
        self._fingers.reset([half, half])
        self.grip(self.OPENING)
        # The fingers close along y; the brick's first side lies along it when it is turned.
        turned = self.properties["brick_width"] == self.BRICK_WIDTHS[0]
        orientation = (0.0, 0.0, sqrt(0.5), sqrt(0.5)) if turned else (0.0, 0.0, 0.0, 1.0)
        x, y = brick
        place = (x, y, self.BRICK_HEIGHT / 2)
        self._brick_base.place(BaseState(place, orientation, _STILL, _STILL))

    def grip(self, opening: float) -> None:
        """Let the fingers' motors drive them to a distance from each other [m]."""
        self._fingers.command([opening / 2, opening / 2])

    def opening(self) -> float:
        """Return the distance between the fingers [m]."""
        left, right = self._fingers.read()
        return left[0] + right[0]

    def brick(self) -> tuple[Vector, Vector]:
        """Return where the brick's middle is [m], and its velocity [m/s]."""
        position, _, velocity, _ = self._brick_base.base()
        return position, velocity

    def excite(self, generator: np.random.Generator) -> None:
        """Send the arm somewhere about the brick, and close or open the fingers."""
        offsets = generator.uniform(-0.1, 0.1, size=len(self.ABOVE))
        self.command((offsets + self.ABOVE).tolist())
        self.grip(float(generator.uniform(0.0, self.OPENING)))


_STILL = (0.0, 0.0, 0.0)


def _brick(size: Vector) -> str:
    """Return the brick as the text of a URDF; what it weighs is set later."""
    x, y, z = size
    shape = f'<geometry><box size="{x} {y} {z}"/></geometry>'
    return (
        '<robot name="brick"><link name="brick"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" '
        f'ixy="0" ixz="0" iyz="0"/></inertial><collision>{shape}</collision><visual>{shape}<material name="blue">'
        '<color rgba="0.2 0.4 0.8 1"/></material></visual></link></robot>'
    )
