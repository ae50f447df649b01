"""Running: a hopper must run, told neither what it is made of nor which way.

`envs.legged_dynamics` has what is hidden, the reward and the end of an episode, and why; `envs.planar_runner` the
action and the start.
"""

from __future__ import annotations

from dataclasses import dataclass

from metamotor.envs import planar_runner
from metamotor.envs.legged_dynamics import LeggedDynamics, LeggedDynamicsTask
from metamotor.robots.hopper import Hopper


@dataclass(frozen=True)
class HopperDynamicsTask(LeggedDynamicsTask):
    """What the robot and its world are."""


class HopperDynamics(LeggedDynamics):
    """Run an unknown way with an unknown body; see the module's docstring for the protocol."""

    name = "HopperDynamics-v0"
    task_type = HopperDynamicsTask
    robot_type = Hopper
    dt = planar_runner.period(Hopper)
    observation_signals = planar_runner.observation_signals(Hopper)
    action_signals = planar_runner.action_signals(Hopper)
