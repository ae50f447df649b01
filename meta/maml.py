"""Model-agnostic meta-learning of a policy (Finn et al. 2017, arXiv:1703.03400, algorithm 3).

    θ: the policy's parameters; α: the step sizes, one per tensor and inner step
    repeat:
        draw a meta-batch of tasks
        for each task:
            collect episodes with θ;  θ′ ← θ − α ∘ ∇L(θ)        # adaptation, `inner_steps` times
            collect episodes with θ′
        improve θ and α on the mean over tasks of the return of θ′, differentiating through the adaptation:
            "ppo": epochs of Adam on the clipped surrogate (ProMP, Rothfuss et al. 2019, arXiv:1810.06784)
            "trust_region": one natural-gradient step within a KL bound, as in the MAML paper

With `inner_steps=0` nothing is adapted: the same optimiser trains one policy for all tasks (domain randomisation), or,
on a family that reveals its task, the oracle.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from metamotor.meta.actors import Actor
from metamotor.meta.adam import adam_places, adam_state, load_adam
from metamotor.meta.base_learner import Recipe
from metamotor.meta.checkpoints import fitting
from metamotor.meta.checks import (
    check_algorithm,
    check_choice,
    check_finite,
    check_flag,
    check_number,
    check_whole,
)
from metamotor.meta.context import folded, is_context, is_foldable, with_context
from metamotor.meta.experience import Experience, prepare
from metamotor.meta.functional.inner_step import Params, inner_step
from metamotor.meta.functional.trust_region import trust_region_step
from metamotor.meta.learner import MetaLearner
from metamotor.meta.meta_gradient import Leaves, MetaObjective, TaskData, meta_gradient
from metamotor.meta.on_policy import OnPolicyAdapter
from metamotor.meta.rollouts import EpisodeBatch, RolloutJob, check_batch, derive_seed

Array = NDArray[Any]
InnerLoss = Literal["likelihood_ratio", "dice", "log_prob", "base"]
Outer = Literal["ppo", "trust_region"]
Adapts = Literal["all", "head", "context"]


@dataclass(frozen=True, kw_only=True)
class MAMLConfig:
    """Hyper-parameters of MAML."""

    inner_lr: float = 0.1
    """α, the step size of adaptation; where it starts if it is learned."""
    learn_inner_lr: bool = True
    """Learn the step sizes, one per parameter tensor and inner step."""
    inner_lr_per_parameter: bool = False
    """Have one step size for every single parameter (Meta-SGD, Li et al. 2017, arXiv:1707.09835)."""
    adapted: Adapts = "all"
    """What adaptation changes; "head": the last layer and the standard deviation (ANIL, Raghu et al. 2020,
    arXiv:1909.09157); "context": the context alone (CAVIA, Zintgraf et al. 2019, arXiv:1810.03642)."""
    context_size: int = 0
    """Numbers that are appended to the observation, the same at every step, for adaptation to write."""
    inner_normalize: bool = False
    """Divide each tensor's gradient of adaptation by its norm: α is then how far the tensor moves, whatever its
    episodes' returns."""
    inner_gamma: float | None = None
    """Discount in adaptation, if other than the base learner's: a short horizon makes for less noise in a gradient that
    only has to tell the task."""
    inner_gae_lambda: float | None = None
    """λ of the generalised advantages in adaptation, if other than the base learner's."""
    inner_steps: int = 1
    """Updates of adaptation in training; 0 trains one policy for all tasks."""
    inner_loss: InnerLoss = "likelihood_ratio"
    """What adaptation descends; "base" is the algorithm's own loss."""
    first_order: bool = False
    """Ignore how the adaptation's gradient depends on θ (FOMAML)."""
    later_step_decay: float = 0.5
    """Factor on the last trained step size for each update beyond `inner_steps`."""
    meta_batch_size: int = 20
    """Tasks a meta-iteration."""
    episodes_per_task: int = 10
    """Episodes of a task before each update, and after the last."""
    support_episodes: int | None = None
    """Episodes of a task before each update in training, if other than `episodes_per_task`: few, where an update needs
    little to know the task, leave more of the budget to the policy after it."""
    outer: Outer = "ppo"
    """Outer optimiser."""
    outer_lr: float = 1e-3
    """Adam's step size for θ ("ppo")."""
    inner_lr_lr: float = 1e-2
    """Adam's step size for α ("ppo")."""
    n_epochs: int = 5
    """Adam steps on one meta-batch ("ppo")."""
    clip_range: float = 0.3
    """Clipping of the outer probability ratio ("ppo")."""
    kl_coef: float = 0.0
    """Weight of KL(θ_old ‖ θ) of the policy before adaptation (ProMP's η; "ppo")."""
    exploration_coef: float = 0.0
    """Weight of E-MAML's term, by which a task's return after adaptation is credited to the actions before it (Stadie
    et al. 2018, arXiv:1803.01118, eq. 6)."""
    max_kl: float = 0.01
    """Bound on the KL of the policy after adaptation ("trust_region")."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what was received."""
        for name in ("meta_batch_size", "episodes_per_task", "n_epochs"):
            check_whole(name, getattr(self, name), 1)
        if self.support_episodes is not None:
            check_whole("support_episodes", self.support_episodes, 1)
        check_whole("inner_steps", self.inner_steps, 0)
        check_whole("context_size", self.context_size, 0)
        for name in ("inner_gamma", "inner_gae_lambda"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), low=0.0, high=1.0)
        for name in ("inner_lr", "outer_lr", "inner_lr_lr", "clip_range", "max_kl"):
            check_number(name, getattr(self, name), above=0.0)
        check_number("kl_coef", self.kl_coef, low=0.0)
        check_number("exploration_coef", self.exploration_coef, low=0.0)
        check_number("later_step_decay", self.later_step_decay, low=0.0, high=1.0)
        for name in ("learn_inner_lr", "inner_lr_per_parameter", "first_order", "inner_normalize"):
            check_flag(name, getattr(self, name))
        for name, allowed in (("inner_loss", InnerLoss), ("adapted", Adapts), ("outer", Outer)):
            check_choice(name, getattr(self, name), get_args(allowed))
        if self.adapted == "context" and not self.context_size:
            raise ValueError(
                'adapted="context" needs context_size of at least 1, got 0: there is nothing to adapt'
            )
        if self.context_size and not self.inner_steps:
            raise ValueError(
                f"context_size={self.context_size} needs inner_steps of at least 1, got 0: only adaptation writes the "
                "context"
            )
        if self.context_size and self.inner_loss == "base":
            raise ValueError(
                'inner_loss="base" does not go with a context: the loss of the critic, which sees the context too, '
                "would move it"
            )
        if self.adapted == "head" and self.context_size:
            raise ValueError(
                f'context_size={self.context_size} is of no use with adapted="head": take "context" or "all"'
            )


@dataclass(frozen=True)
class Adapted:
    """A policy on its way to one task."""

    params: Params
    """Of actor and critic, by name; they carry no gradient."""
    batch: EpisodeBatch | None = None
    """What it was last updated on; its critic is fitted to it in the end."""


class MAML(MetaLearner):
    """MAML over the policies of PPO, A2C or TRPO; see `MetaLearner` for the arguments and what a learner can do."""

    Config = MAMLConfig
    fitting = OnPolicyAdapter.fitting
    config: MAMLConfig
    scales = (2.0, 1.0, 0.5, 0.25, 0.0)
    adapter: OnPolicyAdapter
    params: Params
    policy: str | type[ActorCriticPolicy]

    def _setup(self) -> None:
        if self.config.inner_loss == "base":
            check_algorithm(self.algorithm, OnPolicyAdapter.with_loss, 'inner_loss="base"')
        base_kwargs = with_context(self.base_kwargs, self.config.context_size)
        self.adapter = OnPolicyAdapter(
            self.algorithm, self.policy, self.family, base_kwargs, self.seed
        )
        self.objective = MetaObjective(self.adapter, self.config)
        self._is_sendable = not self.adapter.recipe.obstacle_to_sending()
        self.params = self.adapter.initial_params()
        for name in self.adapter.actor_names:
            self.params[name].requires_grad_()
        self.inner_lrs = [
            {name: self._initial_step_size(name) for name in self._adapted_names}
            for _ in range(self.config.inner_steps)
        ]
        groups = [
            {"params": list(self._policy_leaves().values()), "lr": self.config.outer_lr},
            {"params": list(self._step_size_leaves().values()), "lr": self.config.inner_lr_lr},
        ]
        self.optimizer = torch.optim.Adam([group for group in groups if group["params"]], eps=1e-5)

    @property
    def _adapted_names(self) -> list[str]:
        """The parameters that adaptation changes."""
        names = self.adapter.actor_names
        if self.config.adapted == "all":
            return names
        if self.config.adapted == "context":
            return [name for name in names if is_context(name)]
        return [name for name in names if name == "log_std" or name.startswith("action_net.")]

    def _initial_step_size(self, name: str) -> Tensor:
        shape = self.params[name].shape if self.config.inner_lr_per_parameter else ()
        size = torch.full(shape, float(self.config.inner_lr))
        return size.requires_grad_(self.config.learn_inner_lr)

    def _policy_leaves(self) -> Params:
        return {name: self.params[name] for name in self.adapter.actor_names}

    def _step_size_leaves(self) -> Params:
        if not self.config.learn_inner_lr:
            return {}
        return {
            f"inner_lr.{step}.{name}": value
            for step, sizes in enumerate(self.inner_lrs)
            for name, value in sizes.items()
        }

    # Adaptation -----------------------------------------------------------------------------------

    def step_sizes(self, step: int) -> Mapping[str, Tensor]:
        """Return α of an update by name; beyond the trained ones, the last one times a decay."""
        trained = len(self.inner_lrs)
        if trained == 0:
            size = torch.tensor(self.config.inner_lr * self.config.later_step_decay**step)
            return dict.fromkeys(self._adapted_names, size)
        decay = self.config.later_step_decay ** max(0, step - trained + 1)
        last = self.inner_lrs[min(step, trained - 1)]
        return {name: size * decay for name, size in last.items()}

    @property
    def trained_updates(self) -> int:
        """Updates of adaptation whose step sizes were trained."""
        return self.config.inner_steps

    @property
    def trained_episodes(self) -> int:
        """Episodes before each update that training uses."""
        return self._episodes(0)

    def initial_state(self) -> Adapted:
        """Return the meta-parameters as the policy of a task of which nothing is known."""
        return self.state_of(self.params)

    def state_of(self, params: Params) -> Adapted:
        """Return parameters as the policy of a task of which nothing is known."""
        return Adapted({name: value.detach() for name, value in params.items()})

    def make_actor(self, state: Adapted) -> Actor:
        """Return the policy as rollout workers run it."""
        return self.adapter.make_actor(state.params)

    def make_model(self, state: Adapted, env: Any) -> BaseAlgorithm:
        """Return a model of the base learner, its critic fitted to what was experienced.

        The context becomes part of the first layers' biases, except in a policy class of the user's own.
        """
        params = state.params
        if state.batch is not None:
            params = self.adapter.fit_critic_to(params, state.batch)
        check_finite(params.items(), "the adapted model is not finite")
        if self.config.context_size and is_foldable(self.adapter.template.policy):
            plain = Recipe(self.algorithm, self.policy, self.base_kwargs)
            return plain.make_model(folded(params), env, self.seed)
        return self.adapter.make_model(params, env)

    def log_probs(self, state: Adapted, batch: EpisodeBatch) -> list[Array]:
        """Return log π(a|s) of recorded steps; see `MetaLearner.log_probs`."""
        return [self.adapter.log_probs_of(state.params, batch)]

    def update(
        self,
        state: Adapted,
        batch: EpisodeBatch,
        step: int,
        scale: float = 1.0,
        ratios: Array | None = None,
    ) -> Adapted:
        """Return the policy after one update on one task's episodes; see `MetaLearner.update`."""
        check_batch(batch)
        if ratios is not None and self.config.inner_loss == "base":
            raise ValueError(
                'the steps of another policy cannot be weighted with inner_loss="base", which is the algorithm\'s own '
                "loss and takes them as they are: record with the policy of this checkpoint"
            )
        experience = self._support(batch, state.params, ratios)
        sizes = {name: scale * size.detach() for name, size in self.step_sizes(step).items()}
        return Adapted(self._inner_step(experience, state.params, sizes), batch)

    def _support(
        self, batch: EpisodeBatch, params: Params, ratios: Array | None = None
    ) -> Experience:
        """Return a batch as adaptation takes it."""
        return prepare(
            batch,
            self.adapter,
            params,
            normalize=bool(self.adapter.template.normalize_advantage),
            gamma=self.config.inner_gamma,
            gae_lambda=self.config.inner_gae_lambda,
            ratios=ratios,
        )

    def _query(self, batch: EpisodeBatch, params: Params) -> Experience:
        """Return a batch as the outer loss takes it, which weighs all tasks alike."""
        return prepare(batch, self.adapter, params, normalize=True)

    def _inner_step(
        self, experience: Experience, params: Params, sizes: Mapping[str, Tensor]
    ) -> Params:
        """Return the parameters after one update, without a graph."""
        loss = self.objective.inner_loss(experience)
        return inner_step(loss, params, sizes, normalize=self.config.inner_normalize)

    # Meta-training --------------------------------------------------------------------------------

    def _meta_iteration(self) -> dict[str, float]:
        tasks = self.family.sample(
            self.config.meta_batch_size,
            split="train",
            seed=derive_seed(self.seed, self.iteration, 0),
        )
        start = time.perf_counter()
        data, scalars = self._collect(tasks)
        sampled = time.perf_counter()
        scalars |= self._outer_step(data)
        scalars["time/sampling_seconds"] = sampled - start
        scalars["time/optimising_seconds"] = time.perf_counter() - sampled
        return scalars

    def _collect(self, tasks: Sequence[Any]) -> tuple[list[TaskData], dict[str, float]]:
        """Sample, adapt and sample again; all tasks abreast, so that workers are kept busy."""
        current = [{name: value.detach() for name, value in self.params.items()} for _ in tasks]
        stages: list[list[Experience]] = []
        returns = np.zeros(len(tasks))
        scalars: dict[str, float] = {}
        for step in range(self.config.inner_steps + 1):
            batches = self._sample(tasks, current, step, self._episodes(step))
            label = "pre" if step == 0 else f"post_{step}"
            returns = np.array([batch.episode_returns.mean() for batch in batches])
            scalars[f"rollout/{label}"] = float(returns.mean())
            prepared = self._query if step == self.config.inner_steps else self._support
            stages.append(
                [prepared(batch, own) for batch, own in zip(batches, current, strict=True)]
            )
            if step < self.config.inner_steps:
                sizes = {name: size.detach() for name, size in self.inner_lrs[step].items()}
                current = [
                    self._inner_step(experience, params, sizes)
                    for experience, params in zip(stages[-1], current, strict=True)
                ]
        if self.config.inner_steps:
            scalars["train/adaptation_kl"] = self._adaptation_kl(stages[0], current)
            scalars["rollout/gain"] = (
                scalars[f"rollout/post_{self.config.inner_steps}"] - scalars["rollout/pre"]
            )
        *support, query = stages
        scores = (returns - returns.mean()) / (returns.std() + 1e-8)
        data = [
            TaskData(tuple(stage[i] for stage in support), query[i], float(scores[i]))
            for i in range(len(tasks))
        ]
        return data, scalars

    def _adaptation_kl(self, support: Sequence[Experience], adapted: Sequence[Params]) -> float:
        """Return KL(θ ‖ θ′) on what θ observed, the mean over tasks: how far adaptation goes."""
        with torch.no_grad():
            divergences = [
                (self.adapter.kl(self.params, own, data.observations) * data.weights).sum()
                for data, own in zip(support, adapted, strict=True)
            ]
        return float(torch.stack(divergences).mean())

    def _episodes(self, step: int) -> int:
        """Return how many episodes of a task are sampled after so many updates of adaptation."""
        support = self.config.support_episodes
        if support is None or step == self.config.inner_steps:
            return self.config.episodes_per_task
        return support

    def _sample(
        self, tasks: Sequence[Any], params: Sequence[Params], step: int, episodes: int
    ) -> list[EpisodeBatch]:
        jobs = [
            RolloutJob(
                task,
                self.adapter.make_actor(own),
                episodes,
                derive_seed(self.seed, self.iteration, 1 + step, i),
            )
            for i, (task, own) in enumerate(zip(tasks, params, strict=True))
        ]
        batches = self.sampler.collect(jobs)
        self.num_timesteps += sum(batch.num_steps for batch in batches)
        return batches

    # The outer step -------------------------------------------------------------------------------

    def _outer_step(self, data: Sequence[TaskData]) -> dict[str, float]:
        if self.config.outer == "ppo":
            return self._ppo_step(data)
        return self._trust_region_step(data)

    def _ppo_step(self, data: Sequence[TaskData]) -> dict[str, float]:
        old = {name: value.detach().clone() for name, value in self.params.items()}
        leaves = self._leaves()
        sampler = self.sampler if self.num_workers and self._is_sendable else None
        objective = 0.0
        for _ in range(self.config.n_epochs):
            at = Leaves(self.params, tuple(self.inner_lrs), old)
            found = meta_gradient(self.objective, at, list(leaves), data, sampler)
            for name, leaf in leaves.items():
                leaf.grad = -found.tensors[name]
            self.optimizer.step()
            objective = found.objective
        return {"train/objective": objective, **self._step_size_scalars()}

    def _trust_region_step(self, data: Sequence[TaskData]) -> dict[str, float]:
        # All tasks share one graph here: the products with the KL's Hessian need it whole.
        fixed = {name: value.detach() for name, value in self.params.items()}
        leaves = self._leaves()
        adapted = [
            {name: value.detach() for name, value in own.items()}
            for own in (self.objective.adapted(fixed, self._frozen_lrs(), d.support) for d in data)
        ]

        def split(flat: Params) -> tuple[Params, list[Mapping[str, Tensor]]]:
            params = {name: flat.get(name, value) for name, value in fixed.items()}
            lrs: list[Mapping[str, Tensor]] = [
                {name: flat.get(f"inner_lr.{k}.{name}", size) for name, size in sizes.items()}
                for k, sizes in enumerate(self.inner_lrs)
            ]
            return params, lrs

        def objective(flat: Params) -> Tensor:
            values = [
                self.objective.of_task(*split(flat), d.support, d.query, d.score) for d in data
            ]
            return torch.stack(values).mean()

        def divergence(flat: Params) -> Tensor:
            values = [
                (
                    self.adapter.kl(
                        old, self.objective.adapted(*split(flat), d.support), d.query.observations
                    )
                    * d.query.weights
                ).sum()
                for old, d in zip(adapted, data, strict=True)
            ]
            return torch.stack(values).mean()

        step = trust_region_step(objective, divergence, leaves, max_kl=self.config.max_kl)
        with torch.no_grad():
            for name, value in step.params.items():
                leaves[name].copy_(value)
        return {
            "train/objective": step.improvement,
            "train/kl": step.divergence,
            "train/step_accepted": float(step.accepted),
            **self._step_size_scalars(),
        }

    def _frozen_lrs(self) -> list[Mapping[str, Tensor]]:
        return [{name: size.detach() for name, size in sizes.items()} for sizes in self.inner_lrs]

    def _step_size_scalars(self) -> dict[str, float]:
        return {
            f"train/inner_lr_{step + 1}": float(
                np.mean([float(size.detach().mean()) for size in sizes.values()])
            )
            for step, sizes in enumerate(self.inner_lrs)
        }

    # State ----------------------------------------------------------------------------------------

    def _state(self) -> Params:
        return self._meta_parameters() | adam_state(self.optimizer, self._leaves())

    def _leaves(self) -> Params:
        return {**self._policy_leaves(), **self._step_size_leaves()}

    def _meta_parameters(self) -> Params:
        tensors = {f"params.{name}": value for name, value in self.params.items()}
        for step, sizes in enumerate(self.inner_lrs):
            tensors |= {f"inner_lr.{step}.{name}": size for name, size in sizes.items()}
        return {name: value.detach() for name, value in tensors.items()}

    def _load_state(self, tensors: Mapping[str, Tensor]) -> None:
        own, leaves = self._meta_parameters(), self._leaves()
        found = fitting(tensors, own | adam_places(leaves, tensors))
        for name, value in own.items():
            value.copy_(found[name])  # what it shares its memory with is meant
        load_adam(self.optimizer, leaves, found)
