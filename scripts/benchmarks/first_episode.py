"""What MPO does within its first episode, where the policy is written anew at each step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from metamotor.meta import zoo
from metamotor.meta.evaluation import Evaluator, Protocol
from metamotor.meta.mpo import MPO
from metamotor.meta.statistics import iqm
from metamotor.meta.trials import TrialJob
from metamotor.meta.workers import make_sampler
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.checkpoints import load
from metamotor.scripts.wording import counted


@dataclass(frozen=True, kw_only=True)
class FirstEpisode:
    """Measure MPO's checkpoints of the zoo in the first episode on a task, written once and written anew at each step.

    The other tables' returns before adaptation are those of the policy that is written before anything has happened.
    """

    checkpoints: tuple[str, ...] = (
        "PointNavigation/mpo",
        "PandaReach/mpo",
        "HalfCheetahDirection/mpo",
        "CartPoleSwingUp/mpo",
        "A1Locomotion/mpo",
    )
    """Names in the zoo, of MPO."""
    num_tasks: int = 40
    """Test tasks."""
    trials: int = 5
    """First episodes on each, each with a memory of its own."""
    seed: int = 1
    """Of tasks, episodes and actions."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""


def run(options: FirstEpisode, command: str, console: Console) -> None:
    """Measure and write the results.

    Raises:
        ValueError: if a checkpoint is unknown, or not of MPO.
    """
    out = place(options, "first-episode")
    learners = {name: _learner(name) for name in options.checkpoints}
    numbers: dict[str, Any] = {}
    rows = []
    for name, learner in learners.items():
        with console.status(name):
            once, anew = (_first(learner, options, rewrites=rewrites) for rewrites in (False, True))
        entry = zoo.entries()[name]
        numbers[name] = {"once": once, "anew": anew}
        cells = (once, anew, entry.returns[1], entry.best_other, entry.oracle)
        rows.append([name, *(f"{number:.1f}".replace("-", "−") for number in cells)])
    write_results(
        out,
        "first-episode",
        command=command,
        about=f"Return of the first episode on {counted(options.num_tasks, 'test task')}, "
        f"{counted(options.trials, 'trial')} each, interquartile means, stochastic; behind them what the zoo's "
        "index says of the checkpoint after one update, of the best other then, and of the oracle.",
        header=[
            "zoo:",
            "written once",
            "anew at each step",
            "after one update",
            "best other",
            "oracle",
        ],
        rows=rows,
        numbers={"returns": numbers},
        console=console,
    )


def _first(learner: MPO, options: FirstEpisode, *, rewrites: bool) -> float:
    """Return the interquartile mean over tasks of the returns of first episodes."""
    tasks = Evaluator(
        learner.family, Protocol(num_tasks=options.num_tasks, seed=options.seed)
    ).tasks
    policy = learner.context_policy()
    jobs = [
        TrialJob(task, policy, policy.start(), options.trials, (rewrites,), number)
        for number, task in enumerate(tasks)
    ]
    found = make_sampler(learner.family, 0).collect(jobs)
    return iqm(np.array([[trial.episode_returns[0] for trial in task] for task in found]).mean(1))


def _learner(name: str) -> MPO:
    learner = load(Path(f"{zoo.PREFIX}{name}"))
    if not isinstance(learner, MPO):
        raise ValueError(f"zoo:{name} is of {type(learner).__name__}; it must be one of MPO")
    return learner
