"""Running: a planar walker must run, told neither what it is made of nor which way.

`envs.legged_dynamics` has what is hidden, the reward and the end of an episode, and why; `envs.planar_runner` the
action and the start.
"""

from __future__ import annotations

from dataclasses import dataclass

from metamotor.envs import planar_runner
from metamotor.envs.legged_dynamics import LeggedDynamics, LeggedDynamicsTask
from metamotor.robots.walker2d import Walker2d


@dataclass(frozen=True)
class Walker2dDynamicsTask(LeggedDynamicsTask):
    """What the robot and its world are."""


class Walker2dDynamics(LeggedDynamics):
    """Run an unknown way with an unknown body; see the module's docstring for the protocol."""

    name = "Walker2dDynamics-v0"
    task_type = Walker2dDynamicsTask
    robot_type = Walker2d
    dt = planar_runner.period(Walker2d)
    observation_signals = planar_runner.observation_signals(Walker2d)
    action_signals = planar_runner.action_signals(Walker2d)
