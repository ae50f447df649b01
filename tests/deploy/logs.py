"""What the tests of logs record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamotor import deploy
from metamotor.meta.rollouts import EpisodeBatch

PERIOD = 0.02
NS = int(PERIOD * 1e9)
NAMES: dict[str, Any] = {"observations": ["angle", "rate", "current"], "actions": ["left", "right"]}


def record(
    path: Path, episodes: int = 3, steps: int = 5, *, seed: int = 0, **options: Any
) -> list[dict[str, NDArray[Any]]]:
    """Record random episodes; return what was recorded."""
    rng = np.random.default_rng(seed)
    told = []
    options = {**NAMES, "control_period": PERIOD, **options}
    with deploy.Recorder(path, **options) as log:
        now = 10**9
        for _ in range(episodes):
            log.begin({"mass": float(seed)})
            observations = rng.standard_normal((steps + 1, len(options["observations"])))
            actions = rng.standard_normal((steps, len(options["actions"])))
            episode: dict[str, Any] = {
                "observation": observations.astype(np.float32),
                "action": actions.astype(np.float32),
                "applied": np.clip(actions, -1, 1).astype(np.float32),
                "reward": rng.standard_normal(steps),
                "log_prob": rng.standard_normal(steps),
            }
            for t in range(steps):
                log.step(
                    episode["observation"][t],
                    episode["action"][t],
                    episode["reward"][t],
                    observed_ns=now,
                    acted_ns=now + 1000,
                    applied=episode["applied"][t],
                    log_prob=episode["log_prob"][t],
                    truncated=t == steps - 1,
                )
                now += NS
            log.end(episode["observation"][-1], observed_ns=now)
            now += 50 * NS
            told.append(episode)
    return told


def record_batch(
    path: Path,
    task_family: Any,
    batch: EpisodeBatch,
    log_probs: NDArray[Any] | None,
    *,
    tasks: Any = None,
    policies: Any = None,
    period: float | None = None,
    **options: Any,
) -> Path:
    """Record episodes of a task_family as a control loop would; return where."""
    signals = {
        key: [{"name": one.name, "unit": one.unit, "low": one.low, "high": one.high} for one in own]
        for key, own in (
            ("observations", getattr(task_family, "signals", ())),
            ("actions", getattr(task_family, "action_signals", ())),
        )
        if own
    }
    now = 10**9
    spacing = int((period or task_family.dt) * 1e9)
    defaults = {
        "control_period": task_family.dt,
        "family": task_family.name,
        "horizon": task_family.horizon,
    }
    with deploy.Recorder(path, **{**defaults, **signals, **options}) as log:
        for episode in range(len(batch.mask)):
            if policies is not None and (not episode or policies[episode] != policies[episode - 1]):
                log.use_policy(policies[episode])
            log.begin(None if tasks is None else tasks[episode])
            count = int(batch.mask[episode].sum())
            for t in range(count):
                action = batch.actions[episode, t]
                applied = action
                if batch.actions.ndim == 3:
                    applied = np.clip(
                        action, task_family.action_space.low, task_family.action_space.high
                    )
                last = t == count - 1
                log.step(
                    batch.observations[episode, t],
                    action,
                    batch.rewards[episode, t],
                    observed_ns=now,
                    acted_ns=now + 1000,
                    applied=applied,
                    log_prob=None if log_probs is None else log_probs[episode, t],
                    terminated=last and batch.terminated[episode],
                    truncated=last and not batch.terminated[episode],
                )
                now += spacing
            log.end(batch.observations[episode, count - 1], observed_ns=now)
    return path
