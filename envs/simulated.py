"""What environments that simulate a robot have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from metamotor.envs.core import TaskEnv, TaskFamily
from metamotor.robots import Property, Robot
from metamotor.robots.physics import PYBULLET

RobotT = TypeVar("RobotT", bound=Robot)


class SimulatedEnv(TaskEnv, Generic[RobotT]):
    """An environment with one robot in a simulator of its own.

    Args:
        family: the family that it belongs to.
        robot_type: what to simulate.
        render_mode: "rgb_array" for `render` to return frames; "human" for a window, where time passes as on a robot.

    Raises:
        ValueError: if the family's physics opens no window, and one is asked for.
        ImportError: if the family's physics is not installed.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"]}  # noqa: RUF012
    robot: RobotT

    def __init__(
        self, family: TaskFamily, robot_type: type[RobotT], render_mode: str | None = None
    ) -> None:
        self._robot_type = robot_type
        self._closed = False
        super().__init__(family, render_mode)
        self.metadata = {**self.metadata, "render_fps": round(1 / family.dt)}
        self._build()

    @property
    def properties(self) -> Mapping[str, Property]:
        """What of the robot and its world may be varied, by name."""
        return self._robot_type.PROPERTIES

    def render(self) -> NDArray[np.uint8] | None:
        """Return a frame, or None if none was asked for: a window draws itself. Shape: (240, 320, 3)."""
        return self.robot.render() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the simulator; afterwards only `close` may be called."""
        self.robot.close()
        self._closed, self._elapsed = True, -1

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be pickled or copied: the copy would drive this one's simulator.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"an environment of {self.family.name} holds a simulator and cannot be copied or pickled: send the family, "
            "and call its make_env() there"
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode; see `TaskEnv.reset`.

        Raises:
            RuntimeError: if the environment is closed.
            TypeError: if `options` hold a task that is not of this family.
            ValueError: if `options` hold anything else than a task.
        """
        if self._closed:
            raise RuntimeError(
                f"this environment of {self.family.name} is closed: make another by the family's make_env()"
            )
        return super().reset(seed=seed, options=options)

    def set_task(self, task: Any) -> None:
        """Make `task` the one that the next `reset` starts; the robot gets the properties that it says at once.

        Raises:
            TypeError: if it is not a task of this family.
            ValueError: if the robot cannot be so.
        """
        before = self.task
        super().set_task(task)
        try:
            self._configure(self._task_properties())
        except (ValueError, TypeError):
            self.task = before
            if before is not None:
                super().set_task(before)
            raise

    def _configure(self, values: Mapping[str, float]) -> None:
        self.robot.configure(**values)

    def _build(self) -> None:
        gui, physics = self.render_mode == "human", self.family.physics
        # A robot that runs in one physics only has no argument for it.
        chosen = {} if physics == PYBULLET else {"physics": physics}
        self.robot = self._robot_type(gui=gui, **chosen)

    def _recover(self) -> None:
        # The engine switches off for good a body that it once saw at NaN; only a new one moves again.
        self.robot.close()
        self._build()
        self._configure(self._task_properties())
