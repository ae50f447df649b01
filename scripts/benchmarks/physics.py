"""What another physics costs: checkpoints adapted and measured in every physics that their family runs in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from metamotor.meta import zoo
from metamotor.meta.evaluation import Curve, Evaluator, Protocol
from metamotor.meta.learner import MetaLearner
from metamotor.meta.statistics import iqm
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.checkpoints import load
from metamotor.scripts.wording import counted

MODES = ("stochastic", "deterministic")


@dataclass(frozen=True, kw_only=True)
class Physics:
    """Adapt checkpoints of the zoo in each physics of their family, on the same tasks, and compare the returns.

    They were trained in one of them; what they lose in the other says how far they adapt beyond their simulator.
    """

    checkpoints: tuple[str, ...] = (
        "PandaReach/maml",
        "PandaReach/mpo",
        "A1Locomotion/maml",
        "A1Locomotion/mpo",
    )
    """Names in the zoo, of families with more than one physics."""
    num_tasks: int = 40
    """Test tasks."""
    query_episodes: int = 5
    """Episodes that measure a policy on a task, stochastic and deterministic each."""
    seed: int = 1
    """Of tasks, episodes and actions."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""


def run(options: Physics, command: str, console: Console) -> None:
    """Measure and write the results.

    Raises:
        ValueError: if a checkpoint is unknown, or its family has one physics only.
        ImportError: if a physics is not installed.
    """
    out = place(options, "physics")
    learners = {name: _learner(name) for name in options.checkpoints}
    numbers: dict[str, Any] = {}
    rows = []
    for name, learner in learners.items():
        with console.status(name):
            numbers[name] = measured = measure(name, learner, options)
        for mode in MODES:
            told = [
                f"{found[mode][0]:.1f} → {found[mode][1]:.1f}".replace("-", "−")
                for found in measured.values()
            ]
            rows.append([name, mode, learner.family.physics, *told])
    engines = list(next(iter(numbers.values())))
    write_results(
        out,
        "physics",
        command=command,
        about=f"Return before → after one update on {counted(options.num_tasks, 'test task')}, adapted by experience "
        f"in the physics that it is measured in; interquartile means, "
        f"{counted(options.query_episodes, 'episode')} to measure. As much experience as in the zoo.",
        header=["zoo:", "policy", "trained in", *(f"in {engine}" for engine in engines)],
        rows=rows,
        numbers={"returns": numbers},
        console=console,
    )


def measure(name: str, learner: MetaLearner, options: Physics) -> dict[str, Any]:
    """Return the returns before and after one update, by physics and kind of policy."""
    protocol = Protocol(
        num_tasks=options.num_tasks,
        num_updates=1,
        support_episodes=zoo.entries()[name].support_episodes,
        query_episodes=options.query_episodes,
        seed=options.seed,
    )
    home = learner.family
    found = {}
    for engine in home.engines:
        there = home.replace(physics=engine)
        learner.move_to(there)
        found[engine] = _returns(Evaluator(there, protocol).adapted(learner))
    learner.move_to(home)
    return found


def _returns(curve: Curve) -> dict[str, list[float]]:
    return {mode: [iqm(np.asarray(point)) for point in getattr(curve, mode).T] for mode in MODES}


def _learner(name: str) -> MetaLearner:
    learner = load(Path(f"{zoo.PREFIX}{name}"))
    engines = learner.family.engines
    if len(engines) < 2:
        raise ValueError(f"{learner.family.name} has one physics only, {', '.join(engines)}")
    return learner
