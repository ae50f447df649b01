"""`metamotor adapt`: adapt a checkpoint to one task by its own experience, and keep the model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from metamotor.meta.checkpoints import write_atomically
from metamotor.meta.learner import MetaLearner
from metamotor.meta.rollouts import RolloutJob, derive_seed
from metamotor.meta.workers import LocalSampler
from metamotor.scripts.checkpoints import load_adaptable
from metamotor.scripts.options import TaskChoice, parse, writable

_PURPOSE = 104_729
"""Sets the seeds of the measurement apart from those of adaptation."""


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """How a checkpoint is adapted."""

    episodes: int = 10
    """Episodes of experience before each update."""
    updates: int = 1
    """Updates."""
    seed: int = 0
    """Of the episodes and actions."""


@dataclass(frozen=True, kw_only=True)
class Adapt:
    """Adapt a checkpoint to one task, print its returns before and after, and save the Stable-Baselines3 model.

    The file is Stable-Baselines3's own; `PPO.load` unpickles parts of it, so load only files that you trust.
    """

    checkpoint: Positional[Path]
    """A checkpoint (*.safetensors), or a run folder, which stands for its best one."""
    task: TaskChoice = field(default_factory=TaskChoice)
    adaptation: Adaptation = field(default_factory=Adaptation)
    measured_episodes: int = 10
    """Episodes that measure each policy."""
    out: Path = Path("adapted.zip")
    """Where the model goes."""


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    options: Adapt = parse(Adapt, argv, "adapt")
    if options.measured_episodes < 1:
        raise ValueError(f"measured_episodes must be at least 1, got {options.measured_episodes}")
    out = writable(options.out, ".zip")
    learner = load_adaptable(options.checkpoint)
    task = options.task.of(learner.family)
    adapted = learner.adapt_state(
        task,
        options.adaptation.episodes,
        updates=options.adaptation.updates,
        seed=options.adaptation.seed,
    )
    before = measure(learner, learner.initial_state(), task, options.measured_episodes)
    after = measure(learner, adapted, task, options.measured_episodes)
    model = learner.model_of(adapted, task)
    console = Console()
    console.print(f"{learner.family.name}, {task}", soft_wrap=True)
    console.print(_table(before, after, options.adaptation))
    _save(model, out)
    console.print(f"Saved {out}", soft_wrap=True)


def _save(model: Any, out: Path) -> None:
    """Write a model, whole or not at all."""
    file = io.BytesIO()
    model.save(file)
    write_atomically(out, file.getvalue())


def adapted_model(learner: MetaLearner, task: Any, adaptation: Adaptation) -> Any:
    """Return the learner's model for a task."""
    return learner.adapt(
        task, adaptation.episodes, updates=adaptation.updates, seed=adaptation.seed
    )


def measure(
    learner: MetaLearner, state: Any, task: Any, episodes: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the returns of a state's policy, stochastic and deterministic."""
    sampler = LocalSampler(learner.family)
    actor = learner.make_actor(state)
    seed = derive_seed(learner.seed, _PURPOSE)
    try:
        return {
            name: sampler.collect([RolloutJob(task, actor, episodes, seed, mode)])[
                0
            ].episode_returns
            for name, mode in (("stochastic", False), ("deterministic", True))
        }
    finally:
        sampler.close()


def _table(before: Any, after: Any, adaptation: Adaptation) -> Table:
    updates = f"{adaptation.updates} update{'s' if adaptation.updates != 1 else ''}"
    episodes = adaptation.updates * adaptation.episodes
    title = f"return, mean ± standard deviation, {len(before['stochastic'])} episodes"
    table = Table("policy", "before", f"after {updates}, {episodes} episodes", title=title)
    for name in before:
        cells = [
            f"{returns[name].mean():.1f} ± {returns[name].std():.1f}" for returns in (before, after)
        ]
        table.add_row(name, *cells)
    return table
