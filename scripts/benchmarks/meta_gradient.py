"""What a meta-iteration of MAML costs, and how it splits between sampling and optimising."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from stable_baselines3.common.logger import KVWriter, Logger

from metamotor import envs, meta
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.options import FamilyIds
from metamotor.scripts.presets import preset


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
        about=f"One meta-iteration of MAML with the family's preset on one core: medians of {options.iterations}.",
        header=["family", "tasks × episodes × steps", "CPU [s]", "sampling [s]", "optimising [s]"],
        rows=rows,
        numbers={"families": numbers},
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
