"""`metamotor run`: an ONNX policy in a closed loop with the simulated robot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from metamotor.deploy.runtime import Policy
from metamotor.envs import Split, TaskFamily
from metamotor.scripts.episodes import watch, write_gif
from metamotor.scripts.options import (
    OptionalFamilyId,
    PhysicsName,
    TaskChoice,
    make_family,
    parse,
)
from metamotor.scripts.outputs import writable
from metamotor.scripts.wording import counted, placed


@dataclass(frozen=True, kw_only=True)
class RunTask:
    """Which task: without any of these options, the one that the policy was adapted to and its file names."""

    task: str | None = None
    """Another task: its parameters as a JSON object, such as '{"direction": -1}' for HalfCheetahDirection-v0."""
    split: Split | None = None
    """Draw another task at random, from this split ("test" with --task-seed alone)."""
    task_seed: int | None = None
    """Draw another task at random: the same number draws the same task (0 with --split alone)."""

    @property
    def choice(self) -> TaskChoice | None:
        """The task that is asked for, or None for that of the file."""
        if self == RunTask():
            return None
        return TaskChoice(task=self.task, split=self.split or "test", task_seed=self.task_seed or 0)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Run a policy file in a closed loop with the simulated robot; print returns and the policy's latency.

    The policy acts deterministically. The file names the family, the horizon, the physics and the task that the policy
    was adapted to; all of them can be changed.
    """

    policy: Positional[Path]
    """The ONNX file."""
    family: OptionalFamilyId = None
    """Id of the task family; without it, the one in the file."""
    horizon: int | None = None
    """Steps of an episode; without it, those of training."""
    physics: PhysicsName | None = None
    """The physics engine; without it, the one that the policy was adapted in."""
    task: RunTask = field(default_factory=RunTask)
    episodes: int = 3
    """Episodes to run."""
    seed: int = 0
    """Of the first episode's start; the next ones count on from it."""
    gif: Path | None = None
    """Where to write a film (*.gif)."""
    overwrite: bool = False
    """Replace the film if it is there already."""
    gui: bool = False
    """Open a window and run at the robot's speed."""


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    options: Run = parse(Run, argv, "run")
    if options.episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {options.episodes}")
    if options.gui and options.gif is not None:
        raise ValueError("--gui and --gif exclude each other: a window's frames are not kept")
    gif = (
        None if options.gif is None else writable(options.gif, ".gif", overwrite=options.overwrite)
    )
    policy = Policy(options.policy)
    family = family_of(policy, options)
    task = task_of(policy, family, options.task.choice)
    mode = "human" if options.gui else "rgb_array" if gif else None
    env = family.make_env(render_mode=mode)
    seeds = [options.seed + index for index in range(options.episodes)]
    print(f"{placed(family)}, {task}")
    watched = watch(env, policy, task=task, seeds=seeds, frames=gif is not None)
    env.close()
    returns = np.array(watched.returns)
    listed = ", ".join(f"{value:.2f}" for value in returns)
    print(f"returns of {counted(len(returns), 'episode')}: {listed} (mean {returns.mean():.2f})")
    p50, p99 = np.percentile(watched.microseconds, [50, 99])
    calls = counted(len(watched.microseconds), "call")
    print(f"time of the policy: median {p50:.1f} µs, p99 {p99:.1f} µs over {calls}")
    if gif is not None:
        print(f"Wrote {write_gif(gif, watched.frames)}")


def family_of(policy: Policy, options: Run) -> TaskFamily:
    """Return the family to run in, checked to fit the policy.

    Raises:
        ValueError: if none is named, or its spaces do not match the policy's.
    """
    named = policy.metadata.get("family")
    name = options.family or named
    if not name:
        raise ValueError(f"{policy.path} does not say which family it is for; give --family")
    horizon, physics = options.horizon, options.physics
    if name == named:
        horizon = policy.metadata.get("horizon") if horizon is None else horizon
        physics = policy.metadata.get("physics") if physics is None else physics
    settings = policy.metadata if name == named else {}
    family = make_family(
        str(name),
        horizon=horizon,
        physics=physics,
        randomization=settings.get("randomization"),
        action=settings.get("action"),
    )
    sizes = (policy.observation_size, policy.action_size)
    expected = (len(family.signals), len(family.action_signals))
    if sizes != expected:
        raise ValueError(
            f"{policy.path} takes {sizes[0]} observations and gives {sizes[1]} actions, but "
            f"{family.name} has {expected[0]} and {expected[1]}; it was exported for {named}"
        )
    return family


def task_of(policy: Policy, family: TaskFamily, choice: TaskChoice | None) -> Any:
    """Return the task that is asked for, else the one in the file, else one that is drawn."""
    stored = policy.metadata.get("task")
    if choice is not None or stored is None or policy.metadata.get("family") != family.name:
        return (choice or TaskChoice()).of(family)
    return family.task_type.from_json(json.dumps(stored))
