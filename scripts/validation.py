"""Validation during training: returns on tasks held out for it, and what follows from them: the best, an early end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from metamotor.meta.learner import MetaLearner
from metamotor.meta.rollouts import EpisodeBatch, derive_seed
from metamotor.scripts.options import ValidationOptions

_PURPOSE = 7_919
"""Sets the seeds of validation apart from those of training."""


@dataclass(frozen=True)
class Standing:
    """How a run stands by its validations. Every checkpoint holds it, so that a resumed run goes on from it."""

    best_return: float | None = None
    """The best so far, if there was a validation."""
    best_num_timesteps: int | None = None
    """When that was, in environment steps."""
    validated: int = 0
    """When the last one was, in environment steps."""
    stale: int = 0
    """How many there were since the best."""

    def after(self, value: float, num_timesteps: int) -> Standing:
        """Return the standing after a validation has measured a return."""
        if self.best_return is None or value > self.best_return:
            return Standing(value, num_timesteps, num_timesteps)
        return dataclasses.replace(self, validated=num_timesteps, stale=self.stale + 1)

    def is_over(self, patience: int) -> bool:
        """Say whether training stops early; it never does without patience."""
        return 0 < patience <= self.stale

    def notes(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, notes: Mapping[str, Any]) -> Self:
        """Return the standing that was noted."""
        return cls(**notes)


class Validation(BaseCallback):
    """Measures on validation tasks, logs, and says when to save.

    The tasks, episodes and random numbers are the same every time, and do not count as steps of training. What is
    compared is the return of the stochastic policy after as many updates as training uses: none for a robust
    policy and an oracle.

    Args:
        options: when and how much.
        save: called with the learner and the standing after each validation, when both are current.
        standing: of the run so far.
        save_interval: meta-iterations between two calls of `save`, besides those after validations.
        seconds: what validation has taken so far [s].
        gap: the returns between which the gap is closed, which is then logged.
    """

    def __init__(
        self,
        options: ValidationOptions,
        save: Callable[[MetaLearner, Standing], None],
        standing: Standing | None = None,
        save_interval: int | None = None,
        seconds: float = 0.0,
        gap: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        self.standing = standing or Standing()
        self.seconds = seconds
        self._gap = gap
        self._save = save
        self._save_interval = save_interval
        self._kept: tuple[Any, int, int, Standing] | None = None
        self._start: tuple[int, int] | None = None

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
        self._start = (self.learner.iteration, self.learner.num_timesteps)

    def _on_step(self) -> bool:
        iteration = self.learner.iteration
        is_due = iteration % self.options.validation_interval == 0
        if is_due:
            self._validate()
        # Before anything is saved: an interrupted saving is done again from here.
        self._keep()
        if is_due or (self._save_interval and iteration % self._save_interval == 0):
            self._save(self.learner, self.standing)
        return not self.standing.is_over(self.options.patience)

    def _on_training_end(self) -> None:
        if self.standing.validated != self.learner.num_timesteps:
            self._validate()
            self._keep()
            self._save(self.learner, self.standing)

    def rewind(self) -> None:
        """Take the learner back to the end of its last whole iteration, and save it: after an interruption.

        Without a whole iteration there is nothing to save, and only the counters go back to where they were.
        """
        if self._kept is None:
            if self._start is not None:
                self.learner.iteration, self.learner.num_timesteps = self._start
            return
        tensors, self.learner.iteration, self.learner.num_timesteps, self.standing = self._kept
        self.learner.restore(tensors)
        self._save(self.learner, self.standing)

    def _keep(self) -> None:
        self._kept = (
            self.learner.snapshot(),
            self.learner.iteration,
            self.learner.num_timesteps,
            self.standing,
        )

    def _validate(self) -> None:
        start = time.perf_counter()
        returns = self.measure()
        for updates, value in enumerate(returns):
            self.logger.record("eval/pre" if updates == 0 else f"eval/post_{updates}", value)
        if self._gap is not None:
            best_other, oracle = self._gap
            closed = (returns[-1] - best_other) / (oracle - best_other)
            self.logger.record("eval/gap_closed", closed)
        self.seconds += time.perf_counter() - start
        self.logger.record("time/validation_seconds", time.perf_counter() - start)
        self.logger.record("time/total_timesteps", self.learner.num_timesteps)
        self.logger.dump(step=self.learner.num_timesteps)
        self.standing = self.standing.after(returns[-1], self.learner.num_timesteps)

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
                    episodes=learner.trained_episodes,
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
