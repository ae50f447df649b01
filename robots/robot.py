"""What all simulated robots have in common."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from metamotor.robots.physics import PYBULLET, open_physics
from metamotor.robots.properties import Property, checked
from metamotor.robots.simulator import Camera, Closing, Physics


class Robot(Closing):
    """A robot in a simulator of its own: its model is loaded once, and a reset only sets states.

    Args:
        gui: open a window to watch it, in which time passes as on a robot.
        physics: the engine; robots that take no such argument run on PyBullet alone.
    """

    TIME_STEP: ClassVar[float]
    """Length of a physics step [s]."""
    SUBSTEPS: ClassVar[int]
    """Physics steps in a control period."""
    SOLVER_ITERATIONS: ClassVar[int]
    """Most sweeps of the constraint solver in a physics step."""
    DIRECT_SOLVER: ClassVar[bool] = False
    """Whether constraints are solved exactly; see `Simulator`."""
    CAMERA: ClassVar[Camera]
    """Where frames are taken from, unless the camera follows the robot."""
    PROPERTIES: ClassVar[Mapping[str, Property]] = {}
    """What may be changed about it and its world by `configure`."""

    properties: dict[str, float]
    """What each property is now."""

    simulator: Physics

    def __init__(self, *, gui: bool = False, physics: str = PYBULLET) -> None:
        self.simulator = open_physics(
            physics,
            time_step=self.TIME_STEP,
            solver_iterations=self.SOLVER_ITERATIONS,
            direct_solver=self.DIRECT_SOLVER,
            gui=gui,
        )
        self.properties = {name: own.nominal for name, own in self.PROPERTIES.items()}

    def configure(self, **values: float) -> None:
        """Change properties; those that are not named stay as they are, from reset to reset.

        Raises:
            TypeError: if the robot lacks one of them.
            ValueError: if a value is not finite, or outside the property's limits; then none is changed.
        """
        found = checked(type(self).__name__, self.PROPERTIES, values)
        changed = {name: value for name, value in found.items() if self.properties[name] != value}
        before = dict(self.properties)
        self.properties.update(changed)
        try:
            self._configured(changed)
        except ValueError:
            self.properties = before
            raise

    def _configured(self, changed: Mapping[str, float]) -> None:
        """Take `self.properties` over into engine and motors; only these have changed, or none.

        Raises:
            ValueError: if they do not go together; nothing is taken over then.
        """

    def advance(self) -> None:
        """Let one control period pass."""
        self.simulator.step(self.SUBSTEPS)

    @abstractmethod
    def excite(self, generator: np.random.Generator) -> None:
        """Give the motors some random command."""

    def render(self, width: int = 320, height: int = 240) -> NDArray[np.uint8]:
        """Return a frame from the robot's camera. Shape: (height, width, 3)."""
        return self.simulator.render(width, height, self.camera())

    def camera(self) -> Camera:
        """Return where the next frame is taken from."""
        return self.CAMERA

    def close(self) -> None:
        """Free the simulator."""
        self.simulator.close()


def raw_periods_per_second(robot: Robot, seconds: float = 0.5, *, seed: int = 0) -> float:
    """Return how many control periods of a robot the engine simulates in a second, and next to nothing else.

    No state is read and no policy runs: it is what an environment's speed is measured against. Every tenth period the
    motors get a new command, because a robot at rest is easier to simulate than one that moves.

    Args:
        robot: its state afterwards is anything.
        seconds: how long to measure [s].
        seed: of the commands.
    """
    generator = np.random.default_rng(seed)
    count, start = 0, time.perf_counter()
    while True:
        robot.excite(generator)
        for _ in range(10):
            robot.advance()
        count += 10
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return count / elapsed
