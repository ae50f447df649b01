"""A Panda bolted to a table with a puck on it; puck and fork are made here of cylinders.

The fork, two pegs that reach down beside the closed fingers, does the pushing: off the fingers alone, which are narrow,
a round puck slips. The puck passes through the fingers, which would keep it from lying against both pegs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np

from metamotor.robots.panda import Panda
from metamotor.robots.properties import Property
from metamotor.robots.simulator import BaseState, Camera, Simulator, Vector, data_path


class PandaTable(Panda):
    """A Panda that pushes a puck on a table with a fork, its hand kept at one height."""

    GAIN = 0.106
    """As much in a period as the Panda's."""
    PEG_RADIUS: ClassVar[float] = 0.012
    """[m]."""
    PEG_LENGTH: ClassVar[float] = 0.06
    """[m]."""
    PEG_OFFSET: ClassVar[float] = 0.045
    """Of each peg from the middle of the hand, sideways; the puck is wider and lies against both [m]."""
    PUCK_RADIUS: ClassVar[float] = 0.05
    """[m]."""
    PUCK_HEIGHT: ClassVar[float] = 0.04
    """[m]."""
    HAND_HEIGHT: ClassVar[float] = 0.02
    """Height that the hand is kept at [m]; the pegs end 1 cm lower."""
    PUSHING: ClassVar[tuple[float, ...]] = (0.0, 0.3278, 0.0, -2.6161, 0.0, 2.7425, 0.785)
    """Joint positions of the pose before the puck, the hand 0.38 m in front of the base [rad]."""
    PROPERTIES: ClassVar[Mapping[str, Property]] = {
        **Panda.PROPERTIES,
        "gain": Property("1", GAIN, 0.01, 1.0),
        "puck_mass": Property("kg", 0.3, 0.05, 3.0),
        "puck_friction": Property("1", 0.4, 0.0, 2.0),
    }
    """As the Panda's; mass of the puck, and friction coefficient between it and the table."""
    TIME_STEP = 1 / 240
    """[s]. At twice that a puck that is pushed sinks 8 mm into the table, now 1 mm."""
    SUBSTEPS = 8
    CAMERA = Camera(target=(0.45, 0.0, 0.15), distance=1.3, yaw=50.0, pitch=-35.0)

    SEAT: ClassVar[float] = 0.0427
    """How far before the hand's point the puck's middle is when it lies against both pegs [m]."""

    def _urdf(self) -> str:
        robot = ElementTree.fromstring(super()._urdf())
        hand = next(link for link in robot.iter("link") if link.get("name") == self.LAST_LINK)
        middle = self.HAND + 0.01 - self.PEG_LENGTH / 2
        for y in (self.PEG_OFFSET, -self.PEG_OFFSET):
            shape = f'<cylinder radius="{self.PEG_RADIUS}" length="{self.PEG_LENGTH}"/>'
            hand.extend(_shapes(shape, (0.0, y, middle), "0.3 0.3 0.3 1"))
        return ElementTree.tostring(robot, encoding="unicode")

    def _furnish(self) -> None:
        simulator = self.simulator
        table = simulator.load_urdf(data_path("plane_implicit.urdf"), fixed_base=True)
        # The engine multiplies the coefficients of the two sides.
        simulator.set_dynamics(table, -1, lateralFriction=1.0)
        self._puck = simulator.load_urdf_text(
            _body(
                "puck",
                f'<cylinder radius="{self.PUCK_RADIUS}" length="{self.PUCK_HEIGHT}"/>',
                (0.0, 0.0, 0.0),
                "0.2 0.4 0.8 1",
            )
        )
        simulator.set_dynamics(self._puck, -1, linearDamping=0.0, angularDamping=0.0)
        self._puck_base = simulator.body(self._puck)
        assert isinstance(simulator, Simulator)  # at a table there is PyBullet only
        for link in simulator.joints(self.body, self.FINGERS).links:
            simulator.let_pass(self.body, link, self._puck)

    def _configured(self, changed: Mapping[str, float]) -> None:
        super()._configured(changed)
        if "puck_mass" in changed:
            mass = self.properties["puck_mass"]
            along = mass * self.PUCK_RADIUS**2 / 2
            across = mass * (3 * self.PUCK_RADIUS**2 + self.PUCK_HEIGHT**2) / 12
            # The engine would take it for a box.
            self.simulator.set_dynamics(
                self._puck, -1, mass=mass, localInertiaDiagonal=(across, across, along)
            )
        if "puck_friction" in changed:
            friction = self.properties["puck_friction"]
            self.simulator.set_dynamics(self._puck, -1, lateralFriction=friction)

    def reset(
        self, joint_positions: Sequence[float], puck: tuple[float, float] = (0.5, 0.0)
    ) -> None:
        """Put the arm at rest in a pose, and the puck on the table.

        Args:
            joint_positions: [rad].
            puck: where its middle is [m].
        """
        x, y = puck
        height = self.PUCK_HEIGHT / 2
        super().reset(joint_positions)
        self._puck_base.place(BaseState((x, y, height), (0.0, 0.0, 0.0, 1.0), _STILL, _STILL))

    def puck(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return where the puck's middle is over the table [m], and how fast it moves there [m/s]."""
        (x, y, _), _, (vx, vy, _), _ = self._puck_base.base()
        return (x, y), (vx, vy)

    def push(self, x: float, y: float) -> None:
        """Let the motors move the hand over the table by a displacement [m], keeping its height."""
        self.move_hand((x, y, self.HAND_HEIGHT - self.hand_position[2]))

    def excite(self, generator: np.random.Generator) -> None:
        """Push somewhere ahead; a puck that is out of reach is put back first."""
        x, y = generator.uniform(-0.03, 0.03, size=2).tolist()
        (puck_x, puck_y), _ = self.puck()
        if not (0.4 < puck_x < 0.7 and abs(puck_y) < 0.2):
            self.reset(self.PUSHING, (0.43, 0.0))
        self.sense()
        self.push(x + 0.05, y)


_STILL = (0.0, 0.0, 0.0)


def _body(name: str, shape: str, at: Vector, color: str) -> str:
    """Return a body of one shape as the text of a URDF; what it weighs is set later."""
    robot = ElementTree.fromstring(
        f'<robot name="{name}"><link name="{name}"><inertial><mass value="1"/><inertia ixx="1" iyy="1" '
        'izz="1" ixy="0" ixz="0" iyz="0"/></inertial></link></robot>'
    )
    robot[0].extend(_shapes(shape, at, color))
    return ElementTree.tostring(robot, encoding="unicode")


def _shapes(shape: str, at: Vector, color: str) -> list[ElementTree.Element]:
    """Return a shape that collides and is drawn, at a place in its link's frame [m]."""
    x, y, z = at
    place = f'<origin xyz="{x} {y} {z}"/><geometry>{shape}</geometry>'
    return list(
        ElementTree.fromstring(
            f'<link><collision>{place}</collision><visual>{place}<material name="{color}">'
            f'<color rgba="{color}"/></material></visual></link>'
        )
    )
