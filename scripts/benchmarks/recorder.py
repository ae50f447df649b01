"""How long a step of the recorder takes, and how many bytes."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console

from metamotor import deploy
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.wording import counted

SIZES = {"cart-pole": (4, 1), "arm": (13, 3), "quadruped": (48, 12), "humanoid": (400, 40)}
"""Numbers of an observation and an action."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Time of deploy.Recorder.step, its part of the writing included, and bytes a step."""

    steps: int = 30_000
    """Steps in a round."""
    rounds: int = 5
    """Rounds; the table shows medians."""
    frequency: float = 50.0
    """Of the steps, by their time stamps: a chunk is written every second of them [Hz]."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""


def run(options: Recording, command: str, console: Console) -> None:
    """Measure and write the results."""
    for name, least in (("steps", 1000), ("rounds", 1), ("frequency", 1)):
        if getattr(options, name) < least:
            raise ValueError(f"{name} must be at least {least}, got {getattr(options, name)}")
    out = place(options, "recorder")
    numbers = {name: measure(*sizes, options) for name, sizes in SIZES.items()}
    rows = [
        [
            name,
            f"{SIZES[name][0]} + {SIZES[name][1]}",
            *(f"{found[key]:.1f}" for key in ("p50", "p99", "chunk_p50")),
            f"{found['bytes']:.0f}",
        ]
        for name, found in numbers.items()
    ]
    write_results(
        out,
        "recorder",
        command=command,
        about=f"One step of `deploy.Recorder` at {options.frequency:g} Hz, checks included, in one thread: medians of "
        f"{counted(options.rounds, 'round')} of {counted(options.steps, 'step')}. One step a second ends a chunk and "
        "writes it; the last but one column is the median of these.",
        header=[
            "robot",
            "observation + action",
            "p50 [µs]",
            "p99 [µs]",
            "p50 with a chunk [µs]",
            "bytes a step",
        ],
        rows=rows,
        numbers={"robots": numbers},
        console=console,
    )


def measure(observation_size: int, action_size: int, options: Recording) -> dict[str, float]:
    """Return times [µs] and bytes of a step of these sizes."""
    rounds = [_round(observation_size, action_size, options) for _ in range(options.rounds)]
    return {name: median(found[name] for found in rounds) for name in rounds[0]}


def _round(observation_size: int, action_size: int, options: Recording) -> dict[str, float]:
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((options.steps, observation_size), dtype=np.float32)
    actions = rng.standard_normal((options.steps, action_size), dtype=np.float32)
    period = int(1e9 / options.frequency)
    times, wrote = np.empty(options.steps), np.zeros(options.steps, dtype=bool)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.mcap"
        with deploy.Recorder(
            path,
            observations=[f"obs.{i}" for i in range(observation_size)],
            actions=[f"action.{i}" for i in range(action_size)],
            control_period=1 / options.frequency,
        ) as log:
            log.begin()
            for t in range(options.steps):
                seen, held = (t + 1) * period, log.num_flushed
                start = time.perf_counter_ns()
                log.step(
                    observations[t],
                    actions[t],
                    1.0,
                    observed_ns=seen,
                    acted_ns=seen + 1000,
                    applied=actions[t],
                    log_prob=-1.0,
                )
                times[t] = time.perf_counter_ns() - start
                wrote[t] = log.num_flushed > held
        size = path.stat().st_size
    p50, p99 = np.percentile(times / 1e3, [50, 99])
    return {
        "p50": float(p50),
        "p99": float(p99),
        "chunk_p50": float(np.median(times[wrote]) / 1e3),
        "bytes": size / options.steps,
    }
