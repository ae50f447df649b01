"""Running: a half-cheetah must run forwards at a speed that it is not told.

The protocol is that of the half-cheetah velocity task of Finn et al. 2017 (MAML, arXiv:1703.03400, section 5.3), with
position motors in place of torques, no cost of control, and speeds up to 1.5 m/s instead of 2: over an episode from
rest this robot's best gaits come to 1.6 m/s (`HalfCheetahDirection-v0`). `envs.planar_runner` has the action and the
start. The reward of a step is −|v − v*| [m/s], v being the velocity forwards over the control period and v* the wanted
one; standing still costs v* a step. An episode has 100 steps of 4/240 s and never ends early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from metamotor.envs import planar_runner
from metamotor.envs.core import Array, Interval, Parameter, RewardTerm, Task, TaskFamily
from metamotor.robots.half_cheetah import HalfCheetah


@dataclass(frozen=True)
class HalfCheetahVelocityTask(Task):
    """How fast to run forwards [m/s]."""

    velocity: float


class HalfCheetahVelocityEnv(planar_runner.PlanarRunnerEnv):
    """One half-cheetah."""

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        observation, distance = self._run(action)
        return observation, -abs(distance / self.family.dt - self.task.velocity), False


class HalfCheetahVelocity(TaskFamily):
    """Run at an unknown speed; see the module's docstring for the protocol."""

    name = "HalfCheetahVelocity-v0"
    task_type = HalfCheetahVelocityTask
    dt = planar_runner.period(HalfCheetah)
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "velocity": Interval(
            unit="m/s",
            train=(0.0, 1.5),
            test=(0.1, 1.4),
            out_of_range=((-0.5, 0.0), (1.5, 2.0)),
        )
    }
    observation_signals = planar_runner.observation_signals(HalfCheetah)
    action_signals = planar_runner.action_signals(HalfCheetah)
    reward_terms = (RewardTerm("error", "|v − v*|", "m/s", -1.0),)

    def make_env(self, *, render_mode: str | None = None) -> HalfCheetahVelocityEnv:
        """Return one half-cheetah."""
        return HalfCheetahVelocityEnv(self, HalfCheetah, render_mode)
