"""2-D point navigation, the protocol of Finn et al. 2017 (MAML, arXiv:1703.03400, section 5.3).

A point starts at the origin and must reach a hidden goal drawn from [-0.5, 0.5]². The action is a velocity clipped to
±0.1 m per step (the action space is ±1, scaled by 0.1); the reward is the negative distance to the goal after the
move; an episode ends early when both coordinates are within 0.01 m of the goal, or after 100 steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metamotor.envs.core import (
    Array,
    Interval,
    Parameter,
    RewardTerm,
    Signal,
    Task,
    TaskEnv,
    TaskFamily,
)

MAX_STEP = 0.1
"""Longest move along one axis in one step [m]."""
GOAL_TOLERANCE = 0.01
"""Distance to the goal along each axis at which an episode ends [m]."""


@dataclass(frozen=True)
class PointTask(Task):
    """Where the point must go."""

    goal_x: float
    goal_y: float


class PointBatchEnv:
    """Many points at once: the family's whole dynamics, which the single environment uses too."""

    def __init__(self, family: PointNavigation) -> None:
        self._family = family

    def reset(self, task: Any, seeds: Sequence[int]) -> Array:
        """Put one point per seed at the origin (the start is fixed, so the seeds change nothing)."""
        self._goal = self._family.goal(task)
        self._revealed = self._family.reveal(task)
        self._positions = np.zeros((len(seeds), 2))
        return self._observe()

    def step(self, actions: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Move every point; see `BatchEnv.step`."""
        moves = np.clip(MAX_STEP * actions.astype(np.float64), -MAX_STEP, MAX_STEP)
        self._positions = self._positions + moves
        rewards, terminated = self._family.judge(self._positions - self._goal)
        return self._observe(), rewards, terminated

    def _observe(self) -> Array:
        if not self._family.reveal_task:
            return self._positions.astype(np.float32)
        shape = len(self._positions), len(self._revealed)
        revealed = np.broadcast_to(self._revealed, shape)
        return np.concatenate([self._positions, revealed], axis=-1).astype(np.float32)


class PointEnv(TaskEnv):
    """One point, stepped by the same code as many."""

    def __init__(self, family: PointNavigation, render_mode: str | None = None) -> None:
        super().__init__(family, render_mode)
        self._points = PointBatchEnv(family.replace(reveal_task=False, randomization=None))

    def _begin(self) -> Array:
        return np.asarray(self._points.reset(self.task, seeds=[0])[0])

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        observations, rewards, terminated = self._points.step(np.array([action]))
        return observations[0], float(rewards[0]), bool(terminated[0])


class PointNavigation(TaskFamily):
    """Reach a hidden goal in the plane; see the module's docstring for the protocol."""

    name = "PointNavigation-v0"
    engines = ("numpy",)
    task_type: ClassVar[type[Task]] = PointTask
    dt = 1.0
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        axis: Interval(
            unit="m", train=(-0.5, 0.5), test=(-0.5, 0.5), out_of_range=((-0.75, -0.5), (0.5, 0.75))
        )
        for axis in ("goal_x", "goal_y")
    }
    observation_signals = (
        Signal("position.x", "m", -10.0, 10.0),
        Signal("position.y", "m", -10.0, 10.0),
    )
    action_signals = (
        Signal("velocity.x", "0.1 m/step", -1.0, 1.0),
        Signal("velocity.y", "0.1 m/step", -1.0, 1.0),
    )
    reward_terms = (RewardTerm("distance", "distance to the goal", "m", -1.0),)

    def goal(self, task: Any) -> Array:
        """Return where the goal of a task is [m]. Shape: (2,)."""
        position: Array = task.as_array()
        return position

    def judge(self, offsets: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return reward and end of a step for points at these offsets from the goal (E, 2) [m]. Shapes: (E,)."""
        terminated = np.all(np.abs(offsets) < GOAL_TOLERANCE, axis=-1)
        return -np.sqrt(np.sum(offsets**2, axis=-1)), terminated

    def make_env(self, *, render_mode: str | None = None) -> PointEnv:
        """Return one point, which is not drawn."""
        return PointEnv(self, render_mode)

    def make_batch_env(self) -> PointBatchEnv | None:
        """Return many points, stepped at once; None where something varies from point to point."""
        return None if self.randomization else PointBatchEnv(self)
