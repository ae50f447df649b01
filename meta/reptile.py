"""Reptile (Nichol et al. 2018, arXiv:1803.02999, algorithms 1 and 2): first-order meta-learning with any base learner.

    θ: all that the base learner learns: policy, critics, target networks, entropy coefficient
    repeat:
        draw a meta-batch of tasks
        for each task:
            θ′ ← what the base learner's own `learn` makes of θ    # `inner_steps` updates, new optimisers
        θ ← θ + ε · mean(θ′ − θ)                                   # ε is annealed

With `meta_batch_size=1` this is the serial algorithm 1, else the batched algorithm 2. Adapting to a task is the same
inner learning without the last line.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from metamotor.meta.actors import Actor
from metamotor.meta.base_learner import BaseLearner, Experienced, Recipe
from metamotor.meta.checkpoints import fitting
from metamotor.meta.checks import check_number, check_whole
from metamotor.meta.functional.inner_step import Params
from metamotor.meta.functional.reptile import annealed, interpolate
from metamotor.meta.learner import MetaLearner
from metamotor.meta.rollouts import Workplace, derive_seed
from metamotor.meta.workers import Sampler

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ReptileConfig:
    """Hyper-parameters of Reptile."""

    inner_steps: int = 10
    """k, the updates of the base learner in one adaptation. An on-policy algorithm's `n_steps` is set so that its k
    rollouts, each followed by training, share the experience; one in `base_kwargs` is that of the models handed out.
    Off-policy algorithms train as often as their own arguments say, whatever k is."""
    episodes_per_task: int = 10
    """Experience of one adaptation, in episodes of the family's horizon."""
    meta_batch_size: int = 5
    """Tasks a meta-iteration."""
    outer_lr: float = 0.5
    """ε at the start: how far θ goes towards the mean of what the base learner made of it."""
    outer_lr_final: float = 0.0
    """ε when `anneal_timesteps` have been taken, and from then on."""
    anneal_timesteps: int = 0
    """Environment steps over which ε goes linearly to `outer_lr_final`; 0 leaves it at `outer_lr`."""
    query_episodes: int = 1
    """Episodes of each task before and after learning, which are logged and not learned from; 0 logs neither."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what was received."""
        for name in ("inner_steps", "episodes_per_task", "meta_batch_size"):
            check_whole(name, getattr(self, name), 1)
        for name in ("anneal_timesteps", "query_episodes"):
            check_whole(name, getattr(self, name), 0)
        check_number("outer_lr", self.outer_lr, above=0.0)
        check_number("outer_lr_final", self.outer_lr_final, low=0.0)


@dataclass(frozen=True)
class LearnJob:
    """Inner learning on one task: what a worker does."""

    task: Any
    recipe: Recipe
    params: Mapping[str, Array]
    """As arrays: sent as tensors, they would take torch's shared memory to reach a worker."""
    total_timesteps: int
    updates: int
    seed: int

    def run(self, workplace: Workplace) -> tuple[dict[str, Array], Experienced]:
        """Return the parameters learned and what was met."""
        learned, met = self.recipe.learn(
            {name: torch.as_tensor(value) for name, value in self.params.items()},
            workplace.env,
            self.total_timesteps,
            self.seed,
            horizon=workplace.horizon,
            task=self.task,
            updates=self.updates,
        )
        return {name: value.numpy() for name, value in learned.items()}, met


class Reptile(MetaLearner):
    """Reptile over any algorithm; see `MetaLearner` for the arguments and what a learner can do.

    The state of a task is its parameters by name. Each update of adaptation starts with new optimisers and an empty
    replay buffer, as in training, so that it depends on the parameters and its own experience only.
    """

    Config = ReptileConfig
    config: ReptileConfig

    def _setup(self) -> None:
        self.base = BaseLearner(
            self.algorithm, self.policy, self.family, self.base_kwargs, self.seed
        )
        if self.num_workers and (obstacle := self.base.recipe.obstacle_to_sending()):
            raise ValueError(
                f"{self.algorithm.__name__}, its policy or its base_kwargs cannot be sent to worker processes "
                f"({obstacle}); define classes and functions at the top level of a module, or use num_workers=0"
            )
        self.params = self.base.initial_params()

    # Adaptation -----------------------------------------------------------------------------------

    @property
    def trained_updates(self) -> int:
        """One: an adaptation of `inner_steps` updates of the base learner."""
        return 1

    def initial_state(self) -> Params:
        """Return the meta-parameters."""
        return dict(self.params)

    def make_actor(self, state: Params) -> Actor:
        """Return the policy as rollout workers run it."""
        return self.base.make_actor(state)

    def make_model(self, state: Params, env: Any) -> BaseAlgorithm:
        """Return a model of the base learner, with new optimisers and an empty replay buffer."""
        return self.base.make_model(state, env)

    def adapt_states(
        self,
        states: Sequence[Params],
        tasks: Sequence[Any],
        *,
        step: int,
        episodes: int,
        seeds: Sequence[int],
        sampler: Sampler,
        scale: float = 1.0,
    ) -> list[Params]:
        """Return what the base learner's own `learn` makes of the states, as in training.

        On-policy algorithms take at most `episodes` × horizon steps; off-policy ones may go on to the end of their
        `train_freq`. `scale` goes only that part of the way; see `MetaLearner.adapt_states`.
        """
        learned = self._learn(states, tasks, episodes, seeds, sampler)
        if scale == 1.0:
            return [params for params, _ in learned]
        return [
            interpolate(state, [params], scale)
            for state, (params, _) in zip(states, learned, strict=True)
        ]

    def _learn(
        self,
        states: Sequence[Params],
        tasks: Sequence[Any],
        episodes: int,
        seeds: Sequence[int],
        sampler: Sampler,
    ) -> list[tuple[Params, Experienced]]:
        jobs = [
            LearnJob(
                task,
                self.base.recipe,
                {name: value.numpy() for name, value in state.items()},
                episodes * self.family.horizon,
                self.config.inner_steps,
                seed,
            )
            for task, state, seed in zip(tasks, states, seeds, strict=True)
        ]
        return [
            ({name: torch.as_tensor(value) for name, value in params.items()}, met)
            for params, met in sampler.collect(jobs)
        ]

    # Meta-training --------------------------------------------------------------------------------

    @property
    def outer_lr(self) -> float:
        """ε of the next meta-iteration; it depends on `num_timesteps` only, and so survives a checkpoint."""
        if not self.config.anneal_timesteps:
            return self.config.outer_lr
        progress = self.num_timesteps / self.config.anneal_timesteps
        return annealed(self.config.outer_lr, self.config.outer_lr_final, progress)

    def _meta_iteration(self) -> dict[str, float]:
        tasks = self.family.sample(
            self.config.meta_batch_size,
            split="train",
            seed=derive_seed(self.seed, self.iteration, 0),
        )
        start, step_size, before = time.perf_counter(), self.outer_lr, self.params
        learned = self._learn(
            [before] * len(tasks),
            tasks,
            self.config.episodes_per_task,
            self._seeds(tasks, 1),
            self.sampler,
        )
        ends = [params for params, _ in learned]
        scalars = self._query([before] * len(tasks), ends, tasks)
        self.params = interpolate(before, ends, step_size)
        returns = [value for _, met in learned for value in met.episode_returns]
        self.num_timesteps += sum(met.num_timesteps for _, met in learned)
        if returns:
            scalars["rollout/inner"] = float(np.mean(returns))
        scalars["train/outer_lr"] = step_size
        scalars["train/step_norm"] = _distance(before, self.params)
        scalars["time/sampling_seconds"] = time.perf_counter() - start
        return scalars

    def _query(
        self, before: Sequence[Params], after: Sequence[Params], tasks: Sequence[Any]
    ) -> dict[str, float]:
        """Return the returns before and after learning, on the same random numbers."""
        if not self.config.query_episodes:
            return {}
        scalars = {}
        for name, states in (("pre", before), ("post_1", after)):
            batches = self.collect(
                states,
                tasks,
                episodes=self.config.query_episodes,
                seeds=self._seeds(tasks, 2),
                sampler=self.sampler,
            )
            self.num_timesteps += sum(batch.num_steps for batch in batches)
            scalars[f"rollout/{name}"] = float(
                np.mean([batch.episode_returns.mean() for batch in batches])
            )
        scalars["rollout/gain"] = scalars["rollout/post_1"] - scalars["rollout/pre"]
        return scalars

    def _seeds(self, tasks: Sequence[Any], purpose: int) -> list[int]:
        return [derive_seed(self.seed, self.iteration, purpose, i) for i in range(len(tasks))]

    # State ----------------------------------------------------------------------------------------

    def _state(self) -> Params:
        return {f"params.{name}": value for name, value in self.params.items()}

    def _load_state(self, tensors: Mapping[str, Tensor]) -> None:
        found = fitting(tensors, self._state())
        self.params = {name: found[f"params.{name}"].clone() for name in self.params}


def _distance(left: Params, right: Params) -> float:
    """Return the Euclidean distance of the float parameters."""
    squares = [
        float((left[name] - right[name]).square().sum())
        for name in left
        if left[name].is_floating_point()
    ]
    return float(np.sqrt(sum(squares)))
