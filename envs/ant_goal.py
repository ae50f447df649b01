"""Navigation on legs: an ant must get to a point on the ground that it is not told.

The protocol is that of the ant goal task of Rothfuss et al. 2019 (ProMP, arXiv:1810.06784) and Rakelly et al. 2019
(PEARL, arXiv:1903.08254), nearer, as an episode is shorter, and without costs of control and contact. `envs.ant` has
the action and the start; the ant also observes how far it has come. The goal is given by its distance from the start
and its direction, from where the ant faces there. The reward of a step is −(distance of the torso from the goal after
it) [m], on the ground; standing still costs the goal's distance a step. An episode has 120 steps of 0.025 s and never
ends early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, hypot, pi, sin
from typing import ClassVar

from metamotor.envs import ant
from metamotor.envs.core import Array, Interval, Parameter, RewardTerm, Signal, Task, TaskFamily

MARKER_RADIUS = 0.1
"""Of the ball that shows the goal in frames [m]."""
MARKER_COLOR = (0.9, 0.1, 0.1, 1.0)
"""Red, green, blue and opacity."""


@dataclass(frozen=True)
class AntGoalTask(Task):
    """Where to go: to the left of where it faces at the start [rad], and how far [m]."""

    direction: float
    distance: float


class AntGoalEnv(ant.AntEnv):
    """One ant; a red ball shows the goal where frames are drawn."""

    def _build(self) -> None:
        super()._build()
        self._marker: int | None = None
        if self.render_mode is not None:
            self._marker = self.robot.simulator.add_marker(MARKER_RADIUS, MARKER_COLOR)

    def _begin(self) -> Array:
        task = self.task
        self._goal = (task.distance * cos(task.direction), task.distance * sin(task.direction))
        if self._marker is not None:
            self.robot.simulator.move_marker(self._marker, (*self._goal, MARKER_RADIUS))
        return super()._begin()

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        self.robot.pose(action)
        self.robot.advance()
        observation = self._observe()
        x, y = self._goal
        return observation, -hypot(self._x - x, self._y - y), False

    def _sense(self) -> list[float]:
        numbers = super()._sense()
        numbers += [self._x, self._y]
        return numbers


class AntGoal(TaskFamily):
    """Get to an unknown point; see the module's docstring for the protocol."""

    name = "AntGoal-v0"
    task_type = AntGoalTask
    dt = ant.DT
    default_horizon = 120
    parameters: ClassVar[Mapping[str, Parameter]] = {
        # Directions fill the circle: none is out of range.
        "direction": Interval(unit="rad", train=(-pi, pi), test=(-pi, pi)),
        "distance": Interval(
            unit="m", train=(0.5, 1.5), test=(0.6, 1.4), out_of_range=((0.3, 0.5), (1.5, 2.0))
        ),
    }
    observation_signals = (
        *ant.OBSERVATION_SIGNALS,
        *(Signal(f"torso.position.{axis}", "m", -100.0, 100.0) for axis in ("x", "y")),
    )
    action_signals = ant.ACTION_SIGNALS
    reward_terms = (RewardTerm("distance", "distance from the goal", "m", -1.0),)

    def make_env(self, *, render_mode: str | None = None) -> AntGoalEnv:
        """Return one ant."""
        return AntGoalEnv(self, render_mode)
