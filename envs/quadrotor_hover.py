"""Hovering: a quadrotor must hold a position, whatever it carries, and whatever blows.

What is hidden, action, observation, reward and end are in `quadrotor_flight`. The position is 2 m above the origin. An
episode has 100 steps of 0.04 s; it starts at rest and level, up to 0.3 m away along each axis by its estimate. With all
actions at zero the vehicle drifts away or sinks: of 100 that could be earned it gets about 10.
"""

from __future__ import annotations

from typing import ClassVar

from metamotor.envs.core import Array, TaskFamily
from metamotor.envs.quadrotor_flight import (
    ACTION_SIGNALS,
    OBSERVATION_SIGNALS,
    PARAMETERS,
    REWARD_TERMS,
    QuadrotorEnv,
    QuadrotorTask,
)
from metamotor.robots.quadrotor import Quadrotor

GOAL = (0.0, 0.0, 2.0)
"""Where to hover [m]."""
START_OFFSET = 0.3
"""Farthest that it starts from there along an axis [m]."""


class QuadrotorHoverEnv(QuadrotorEnv):
    """One quadrotor that should stay where it is."""

    def __init__(self, family: QuadrotorHover, render_mode: str | None = None) -> None:
        super().__init__(family, render_mode)
        self._goal = GOAL

    def _begin(self) -> Array:
        x, y, z = self.np_random.uniform(-START_OFFSET, START_OFFSET, size=3).tolist()
        # By its estimate, so that the first observation does not tell how far off that is.
        x, y = x - self.task.error_x, y - self.task.error_y
        self.robot.reset((GOAL[0] + x, GOAL[1] + y, GOAL[2] + z))
        return self._observe(self.robot.read())

    def _aim(self) -> None:
        """It should be where it was."""


class QuadrotorHover(TaskFamily):
    """Hold a position; see the module's docstring for the protocol."""

    name = "QuadrotorHover-v0"
    task_type = QuadrotorTask
    dt = Quadrotor.TIME_STEP * Quadrotor.SUBSTEPS
    default_horizon = 100
    parameters: ClassVar = PARAMETERS
    observation_signals = OBSERVATION_SIGNALS
    action_signals = ACTION_SIGNALS
    reward_terms = REWARD_TERMS

    def make_env(self, *, render_mode: str | None = None) -> QuadrotorHoverEnv:
        """Return one quadrotor."""
        return QuadrotorHoverEnv(self, render_mode)
