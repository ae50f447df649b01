"""Running: a half-cheetah must run forwards or backwards, and is not told which.

The protocol is that of the half-cheetah direction task of Finn et al. 2017 (MAML, arXiv:1703.03400, section 5.3), with
position motors in place of torques. `envs.planar_runner` has the action and the start. The reward of a step is the
distance covered in the wanted direction over the control period, as a velocity [m/s]; standing still earns nothing
and costs nothing. An episode has 100 steps of 4/240 s and never ends early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from metamotor.envs import planar_runner
from metamotor.envs.core import Array, Choice, Parameter, RewardTerm, Task, TaskFamily
from metamotor.robots.half_cheetah import HalfCheetah


@dataclass(frozen=True)
class HalfCheetahDirectionTask(Task):
    """Where to run: 1 is forwards, -1 backwards."""

    direction: float


class HalfCheetahDirectionEnv(planar_runner.PlanarRunnerEnv):
    """One half-cheetah."""

    def _begin(self) -> Array:
        self._pace = self.task.direction / self.family.dt
        return super()._begin()

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        observation, distance = self._run(action)
        return observation, distance * self._pace, False


class HalfCheetahDirection(TaskFamily):
    """Run forwards or backwards; see the module's docstring for the protocol."""

    name = "HalfCheetahDirection-v0"
    task_type = HalfCheetahDirectionTask
    dt = planar_runner.period(HalfCheetah)
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "direction": Choice(unit="1", values=(-1.0, 1.0))
    }
    observation_signals = planar_runner.observation_signals(HalfCheetah)
    action_signals = planar_runner.action_signals(HalfCheetah)
    reward_terms = (RewardTerm("progress", "velocity in the wanted direction", "m/s"),)

    def make_env(self, *, render_mode: str | None = None) -> HalfCheetahDirectionEnv:
        """Return one half-cheetah."""
        return HalfCheetahDirectionEnv(self, HalfCheetah, render_mode)
