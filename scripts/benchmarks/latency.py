"""How long a policy file takes for an action, and how far it is from the model it came from."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np
import torch
from rich.console import Console
from stable_baselines3 import PPO
from torch import nn

from metamotor import deploy, envs
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.options import FamilyIds
from metamotor.scripts.wording import counted

WEIGHT_SCALE = 50.0
"""Factor on the last layer's weights, so that actions fill their space."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Latency of deploy.runtime.Policy for a 2×64 policy on one thread, and its distance to the model."""

    families: FamilyIds = ("CartPole-v0", "PandaReach-v0", "HalfCheetahDirection-v0")
    """Families whose spaces are used."""
    calls: int = 20_000
    """Calls in a round."""
    rounds: int = 7
    """Rounds; the table shows medians."""
    observations: int = 10_000
    """Observations on which file and model are compared."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""


def run(options: Latency, command: str, console: Console) -> None:
    """Measure and write the results."""
    for name in ("calls", "rounds", "observations"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(options, name)}")
    out = place(options, "latency")
    numbers = {name: measure(name, options) for name in options.families}
    rows = [
        [
            name,
            f"{found['observation_size']} → {found['action_size']}",
            f"{found['p50']:.1f}",
            f"{found['p99']:.1f}",
            f"{found['max_error']:.1e}",
        ]
        for name, found in numbers.items()
    ]
    write_results(
        out,
        "latency",
        command=command,
        about=f"One action of a 2×64 policy, checks included, on one thread: medians of "
        f"{counted(options.rounds, 'round')} of {counted(options.calls, 'call')}; largest difference to the model's "
        f"actions on {counted(options.observations, 'observation')}.",
        header=["family", "sizes", "p50 [µs]", "p99 [µs]", "largest difference"],
        rows=rows,
        numbers={"families": numbers},
        console=console,
    )


def measure(name: str, options: Latency) -> dict[str, float]:
    """Return latency and error of a policy on one family's spaces."""
    family = envs.make(name)
    model = PPO("MlpPolicy", family.make_env(), seed=0, device="cpu", n_steps=64)
    with torch.no_grad():  # an untrained policy hardly acts, and an error would not show
        cast(nn.Linear, model.policy.action_net).weight.mul_(WEIGHT_SCALE)
    with tempfile.TemporaryDirectory() as folder:
        policy = deploy.runtime.Policy(deploy.export(model, Path(folder) / "policy.onnx"))
    latencies = [policy.benchmark(options.calls) for _ in range(options.rounds)]
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((options.observations, policy.observation_size))
    observations = observations.astype(np.float32)
    expected, _ = model.predict(observations, deterministic=True)
    return {
        "observation_size": policy.observation_size,
        "action_size": policy.action_size,
        "p50": median(latency.p50 for latency in latencies),
        "p99": median(latency.p99 for latency in latencies),
        "max_error": float(np.abs(policy(observations) - expected).max()),
    }
