"""What a meta-iteration of MAML costs: sampling, optimising, and what working on all tasks at once saves."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from stable_baselines3.common.logger import KVWriter, Logger

from metamotor import envs, meta
from metamotor.meta import meta_gradient
from metamotor.meta.threads import one_torch_thread
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.options import FamilyIds
from metamotor.scripts.presets import preset

SAMPLES = (50, 200, 1000)
"""Samples of a task at which vectorising is measured."""
TASKS, EPISODES, REPEATS = 20, 2, 5


@dataclass(frozen=True, kw_only=True)
class MetaGradient:
    """CPU seconds of a meta-iteration with a family's preset: sampling twice, and the second-order outer step."""

    families: FamilyIds = ("PointNavigation-v0",)
    """The families."""
    iterations: int = 10
    """Meta-iterations measured, after one that is not."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""


class _Recorder(KVWriter):
    """Keeps what is logged, with the processor time at which it was."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.lines.append({**key_values, "cpu": time.process_time()})

    def close(self) -> None:
        """There is nothing to close."""


def run(options: MetaGradient, command: str, console: Console) -> None:
    """Measure and write the results."""
    if options.iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {options.iterations}")
    out = place(options, "meta-gradient")
    numbers = {name: measure(name, options.iterations) for name in options.families}
    compared = {samples: vectorised(samples) for samples in SAMPLES}
    rows = [
        [
            name,
            f"{found['tasks']} × {found['episodes']} × {found['horizon']}",
            *(f"{found[key]:.2f}" for key in ("cpu", "sampling", "optimising")),
        ]
        for name, found in numbers.items()
    ]
    write_results(
        out,
        "meta-gradient",
        command=command,
        about=f"One meta-iteration of MAML with the family's preset on one core: medians of {options.iterations}. "
        f"The gradient of {TASKS} tasks of the half-cheetah in one computation against one task after another, CPU "
        "milliseconds: "
        + "; ".join(
            f"{samples} samples a task {1e3 * found['together']:.0f} against {1e3 * found['apart']:.0f}"
            for samples, found in compared.items()
        )
        + f". Up to {meta_gradient.MAX_VECTORISED} samples the first is taken.",
        header=["family", "tasks × episodes × steps", "CPU [s]", "sampling [s]", "optimising [s]"],
        rows=rows,
        numbers={"families": numbers, "vectorised_cpu_seconds": compared},
        console=console,
    )


def measure(name: str, iterations: int) -> dict[str, Any]:
    """Return the medians of one family."""
    settings, family = preset(name), envs.make(name)
    learner = meta.MAML(
        "PPO", "MlpPolicy", family, settings.config, base_kwargs=settings.base.kwargs(), seed=0
    )
    recorder = _Recorder()
    learner.set_logger(Logger(folder=None, output_formats=[recorder]))
    while learner.iteration <= iterations:
        learner.learn(learner.num_timesteps + 1)
    learner.close()
    lines = recorder.lines
    cpu = [after["cpu"] - before["cpu"] for before, after in itertools.pairwise(lines)]
    return {
        "tasks": settings.config.meta_batch_size,
        "episodes": settings.config.episodes_per_task,
        "horizon": family.horizon,
        "cpu": median(cpu),
        "sampling": median(line["time/sampling_seconds"] for line in lines[1:]),
        "optimising": median(line["time/optimising_seconds"] for line in lines[1:]),
    }


def vectorised(samples: int) -> dict[str, float]:
    """Return the CPU seconds of a gradient of all tasks at once, and of one task after another."""
    family = envs.make("HalfCheetahDirection-v0", horizon=samples // EPISODES)
    learner = meta.MAML("PPO", "MlpPolicy", family, episodes_per_task=EPISODES, seed=0)
    data, _ = learner._collect(family.sample(TASKS, seed=0))
    names = list(learner._leaves())
    at = meta_gradient.Leaves(learner.params, tuple(learner.inner_lrs), learner.params)
    learner.close()

    def together() -> None:
        learner.objective.gradient_of_all(at, names, data)

    def apart() -> None:
        for own in data:
            learner.objective.gradient_of_one(at, names, own)

    return {"together": _seconds(together), "apart": _seconds(apart)}


@one_torch_thread()
def _seconds(work: Callable[[], None]) -> float:
    """Return the least CPU seconds of a few calls, after one that is not measured."""
    work()
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)
