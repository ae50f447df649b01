"""Validation during training: returns on tasks held out for it, and the checkpoint that was best on them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from metamotor.meta.learner import MetaLearner
from metamotor.meta.rollouts import EpisodeBatch, derive_seed
from metamotor.scripts.options import ValidationOptions

_PURPOSE = 7_919
"""Sets the seeds of validation apart from those of training."""


class Validation(BaseCallback):
    """Measures on validation tasks, logs, and saves the best and the last checkpoint.

    The tasks, episodes and random numbers are the same every time, and do not count as steps of training. What is
    compared is the return of the stochastic policy after as many updates as training uses: none for a robust
    policy and an oracle.

    Args:
        folder: where `best.safetensors` and `last.safetensors` go.
        options: when and how much.
        support_episodes: experience before each update.
    """

    def __init__(self, folder: Path, options: ValidationOptions, support_episodes: int) -> None:
        super().__init__()
        self.folder = folder
        self.options = options
        self.support_episodes = support_episodes
        self.best_return = -float("inf")
        self.best_timesteps = 0
        self.seconds = 0.0
        self._validated = -1

    @property
    def learner(self) -> MetaLearner:
        """What is being trained."""
        return cast(MetaLearner, self.model)

    def _on_training_start(self) -> None:
        self.tasks = distinct_tasks(
            self.learner.family,
            self.options.validation_tasks,
            derive_seed(self.learner.seed, _PURPOSE),
        )
        self._keep()

    def _on_step(self) -> bool:
        if self.learner.iteration % self.options.validation_interval == 0:
            self._validate()
        self._keep()
        return True

    def _on_training_end(self) -> None:
        if self._validated != self.learner.iteration:
            self._validate()

    def rewind(self) -> None:
        """Take the learner back to the end of its last whole iteration, and save it: after an interruption."""
        tensors, self.learner.iteration, self.learner.num_timesteps = self._kept
        self.learner.restore(tensors)
        self.learner.save(self.folder / "last")

    def _keep(self) -> None:
        self._kept = (
            self.learner.snapshot(),
            self.learner.iteration,
            self.learner.num_timesteps,
        )

    def _validate(self) -> None:
        start = time.perf_counter()
        returns = self.measure()
        self._validated = self.learner.iteration
        for updates, value in enumerate(returns):
            self.logger.record("eval/pre" if updates == 0 else f"eval/post_{updates}", value)
        if returns[-1] > self.best_return:
            self.best_return, self.best_timesteps = returns[-1], self.learner.num_timesteps
            self.learner.save(self.folder / "best")
        self.learner.save(self.folder / "last")
        self.seconds += time.perf_counter() - start
        self.logger.record("time/validation_seconds", time.perf_counter() - start)
        self.logger.record("time/total_timesteps", self.learner.num_timesteps)
        self.logger.dump(step=self.learner.num_timesteps)

    def measure(self) -> list[float]:
        """Return the mean return before adaptation and after each trained update."""
        learner = self.learner
        states = [learner.initial_state()] * len(self.tasks)
        returns = []
        for step in range(learner.trained_updates + 1):
            batches = learner.collect(
                states,
                self.tasks,
                episodes=self.options.validation_episodes,
                seeds=self._seeds(1, step),
                sampler=learner.sampler,
            )
            returns.append(_mean_return(batches))
            if step < learner.trained_updates:
                states = learner.adapt_states(
                    states,
                    self.tasks,
                    step=step,
                    episodes=self.support_episodes,
                    seeds=self._seeds(0, step),
                    sampler=learner.sampler,
                )
        return returns

    def _seeds(self, *purpose: int) -> list[int]:
        seed = self.learner.seed
        return [derive_seed(seed, _PURPOSE, *purpose, index) for index in range(len(self.tasks))]


def distinct_tasks(family: Any, n: int, seed: int) -> list[Any]:
    """Return up to `n` validation tasks, no two alike: a family of a few tasks gives each of them once."""
    return list(dict.fromkeys(family.sample(8 * n, split="validation", seed=seed)))[:n]


def _mean_return(batches: Sequence[EpisodeBatch]) -> float:
    return float(np.mean([batch.episode_returns.mean() for batch in batches]))
