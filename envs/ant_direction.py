"""Running: an ant must run in a direction that it is not told.

The protocol is that of the ant direction task of Rakelly et al. 2019 (PEARL, arXiv:1903.08254, section 6.1; forwards or
backwards only in MAML, Finn et al. 2017), on the full circle and without costs of control and contact. `envs.ant` has
the action and the start. The reward of a step is the torso's velocity along the heading over the control period [m/s];
standing still earns nothing and costs nothing. The heading counts from where the ant faces at the start. An episode
has 100 steps of 0.025 s and never ends early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import ClassVar

from metamotor.envs import ant
from metamotor.envs.core import Array, Interval, Parameter, RewardTerm, Task, TaskFamily


@dataclass(frozen=True)
class AntDirectionTask(Task):
    """Where to run, from where it faces at the start and to the left [rad]."""

    heading: float


class AntDirectionEnv(ant.AntEnv):
    """One ant."""

    def _begin(self) -> Array:
        heading = self.task.heading
        self._pace = (cos(heading) / self.family.dt, sin(heading) / self.family.dt)
        return super()._begin()

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        x, y = self._x, self._y
        self.robot.pose(action)
        self.robot.advance()
        observation = self._observe()
        along, left = self._pace
        return observation, (self._x - x) * along + (self._y - y) * left, False


class AntDirection(TaskFamily):
    """Run in an unknown direction; see the module's docstring for the protocol."""

    name = "AntDirection-v0"
    task_type = AntDirectionTask
    dt = ant.DT
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        # Headings fill the circle: none is out of range.
        "heading": Interval(unit="rad", train=(-pi, pi), test=(-pi, pi)),
    }
    observation_signals = ant.OBSERVATION_SIGNALS
    action_signals = ant.ACTION_SIGNALS
    reward_terms = (RewardTerm("progress", "velocity along the heading", "m/s"),)

    def make_env(self, *, render_mode: str | None = None) -> AntDirectionEnv:
        """Return one ant."""
        return AntDirectionEnv(self, render_mode)
