"""How things are said on the screen: plurals, next steps, and what the words of a table mean."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rich.console import Console

REWARDS = {
    "PointNavigation-v0": "−distance to the goal [m]",
    "PointNavigationSparse-v0": "1 − distance to the goal [m] within 0.2 m of it, 0 elsewhere",
    "PandaReach-v0": "−(distance of the hand to the goal / 25 cm)²",
    "KukaReach-v0": "−(distance of the hand to the goal / 25 cm)²",
    "PandaActuators-v0": "−(distance of the hand to the goal / 25 cm)²",
    "PandaPush-v0": "−(distance of the puck to the goal / 10 cm)²",
    "PandaPickAndPlace-v0": "−(distance of the brick to the goal / 10 cm)² − (to the hand / 10 cm)²",
    "XArmPayload-v0": "−(distance of the hand from where it should be / 5 cm)²",
    "HalfCheetahDirection-v0": "velocity in the wanted direction [m/s]",
    "HalfCheetahVelocity-v0": "−distance of the velocity from the wanted one [m/s]",
    "HopperDynamics-v0": "velocity in the wanted direction [m/s] + 1; −50 for a fall",
    "Walker2dDynamics-v0": "velocity in the wanted direction [m/s] + 1; −50 for a fall",
    "AntDirection-v0": "velocity along the heading [m/s]",
    "AntGoal-v0": "−distance to the goal [m]",
    "HumanoidDirection-v0": "velocity along the heading [m/s] + 1 − 0.1 × mean square of the action; −20 for a fall",
    "CartPole-v0": "1 while the pole is upright",
    "CartPoleSwingUp-v0": "0 (hanging) to 1 (upright and at rest), less for a cart off the middle",
    "PendulumMass-v0": "0 (hanging) to 1 (upright), less for turning",
    "HuskyTraction-v0": "velocity along the lane [m/s] × 1 (in its middle) to 0 (beside it)",
    "RacecarDrift-v0": "velocity along the circle [m/s] × 1 (on it) to 0 (beside it)",
    "A1Locomotion-v0": "v − 0.5 u², v along the heading, u across it [m/s]; −10 for a fall",
    "LaikagoLocomotion-v0": "v − 0.5 u², v along the heading, u across it [m/s]; −10 for a fall",
    "MiniCheetahLocomotion-v0": "v − 0.5 u², v along the heading, u across it [m/s]; −10 for a fall",
    "A1Terrain-v0": "v − 0.5 u², v along the heading, u across it [m/s]; −10 for a fall",
    "MinitaurBattery-v0": "v − 6 |y|, v ahead [m/s], y off the line [m]; −50 for a fall",
    "QuadrotorHover-v0": "1 / (1 + (distance to a point / 30 cm)²)",
    "QuadrotorTrack-v0": "1 / (1 + (distance to a moving point / 30 cm)²)",
}
"""The reward of one step, by family."""

METHODS = {
    "idle": "the zero action",
    "robust": "one policy trained on all tasks, not updated",
    "fine-tuned": "robust, updated on the task",
    "scratch": "an untrained policy, updated on the task",
    "untrained": "the meta-learner before training, updated (not for MAML)",
    "adapted": "meta-trained, updated on the task",
    "oracle": "a policy that is told its task",
}
"""What the rows of a table are."""

GAP_CLOSED = "(adapted − best other) / (oracle − best other); other: the rows before adapted"


def new_console() -> Console:
    """Return a console that prints brackets as they are: units and intervals stand in them."""
    return Console(markup=False)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it belongs.

    >>> counted(1, "episode"), counted(2000, "episode")
    ('1 episode', '2,000 episodes')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def legend(family: str) -> str:
    """Return what the words of a table mean, a line each for returns, rows and the gap."""
    reward = f"; a step's reward here: {REWARDS[family]}" if family in REWARDS else ""
    rows = "; ".join(f"{name}: {what}" for name, what in METHODS.items())
    return (
        f"Return: sum of an episode's rewards, more is better{reward}.\n"
        f"{rows}.\n"
        f"Gap closed: {GAP_CLOSED}. 0: worth nothing, 1: as good as the oracle, –: no gap, as the oracle is not "
        "surely better than the best other.\n"
        "All of it: docs/evaluation.md"
    )


def placed(family: Any) -> str:
    """Return a family's id, with its physics if that is not the usual one."""
    return named(family.name, family.config.get("physics"))


def named(family: str, physics: str | None) -> str:
    """Return a family's id with its physics; None is the usual one.

    >>> named("PandaReach-v0", "mujoco")
    'PandaReach-v0 in mujoco'
    """
    return family if physics is None else f"{family} in {physics}"


def next_step(why: str, *words: str | Path) -> str:
    """Return a line with the command to type next.

    >>> next_step("run it", "run", Path("my policy.onnx"))
    "Next, run it: metamotor run 'my policy.onnx'"
    """
    return f"Next, {why}: {shlex.join(['metamotor', *map(str, words)])}"
