"""What environments with an arm have in common: a start near home, what is sensed, and a ball that shows the goal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from metamotor.envs.core import Signal, TaskFamily
from metamotor.envs.simulated import SimulatedEnv
from metamotor.robots.arm import Arm

MAX_DISPLACEMENT = 0.03
"""Displacement of the hand along one axis that an action of 1 aims at in one control period [m]."""
START_NOISE = 0.02
"""Largest offset of a joint from the home pose at the start [rad]."""
POSITION_UNIT = 0.3
"""Unit of the observed hand position [m], about the size of the workspace used."""
VELOCITY_UNIT = 0.5
"""Unit of the observed hand velocity [m/s], about the speed at full action."""
MARKER_RADIUS = 0.02
"""Of the ball that shows the goal in frames [m]."""
MARKER_COLOR = (0.9, 0.1, 0.1, 1.0)
"""Red, green, blue and opacity."""

AXES = ("x", "y", "z")

ArmT = TypeVar("ArmT", bound=Arm)


def sensed_signals(robot: type[Arm]) -> tuple[Signal, ...]:
    """Return what `ArmEnv.sensed` holds: position and velocity of the hand, and the joints."""
    return (
        *(Signal(f"hand_position.{axis}", f"{POSITION_UNIT} m", -10.0, 10.0) for axis in AXES),
        *(Signal(f"hand_velocity.{axis}", f"{VELOCITY_UNIT} m/s", -50.0, 50.0) for axis in AXES),
        *(Signal(f"{joint}.position", "half range", -2.0, 2.0) for joint in robot.JOINTS),
    )


HAND_ACTIONS = tuple(
    Signal(f"hand_displacement.{axis}", f"{MAX_DISPLACEMENT} m/period", -1.0, 1.0) for axis in AXES
)
"""The action that moves the hand."""


class ArmEnv(SimulatedEnv[ArmT]):
    """One arm; a red ball shows the goal where frames are drawn."""

    def __init__(
        self, family: TaskFamily, robot_type: type[ArmT], render_mode: str | None = None
    ) -> None:
        self._home = robot_type.hand_position_and_jacobian(robot_type.HOME)[0]
        self._scales = [
            ((low + high) / 2, 2 / (high - low))
            for low, high in zip(robot_type.LOWER, robot_type.UPPER, strict=True)
        ]
        super().__init__(family, robot_type, render_mode)

    def _build(self) -> None:
        super()._build()
        self._marker: int | None = None
        if self.render_mode is not None:
            self._marker = self.robot.simulator.add_marker(MARKER_RADIUS, MARKER_COLOR)

    def show_goal(self, position: Sequence[float]) -> None:
        """Put the ball there [m], where there is one."""
        if self._marker is not None:
            self.robot.simulator.move_marker(self._marker, position)

    def start(self) -> None:
        """Put the arm at rest near its home pose."""
        home = self.robot.HOME
        noise = self.np_random.uniform(-START_NOISE, START_NOISE, size=len(home))
        self.robot.reset((noise + home).tolist())

    def sensed(self) -> list[float]:
        """Return the hand's position from home and its velocity, and the joints, each in its unit."""
        # Scaled one by one: on so few numbers each numpy call costs more than all the arithmetic.
        robot = self.robot
        x, y, z = robot.hand_position
        home_x, home_y, home_z = self._home
        vx, vy, vz = robot.hand_velocity
        numbers = [
            (x - home_x) / POSITION_UNIT,
            (y - home_y) / POSITION_UNIT,
            (z - home_z) / POSITION_UNIT,
            vx / VELOCITY_UNIT,
            vy / VELOCITY_UNIT,
            vz / VELOCITY_UNIT,
        ]
        for position, (middle, scale) in zip(robot.joint_positions, self._scales, strict=True):
            numbers.append((position - middle) * scale)
        return numbers
