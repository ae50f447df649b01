"""Meta-policy optimisation: a policy that writes the policy of each task from what it remembers of it.

Not to be mistaken for maximum a posteriori policy optimisation (Abdolmaleki et al. 2018), which has the same initials.

    θ: a recurrent context encoder, and the map from its context to the weights of a task's policy and critic
    repeat:
        draw a meta-batch of tasks
        for each: run trials, several episodes in a row, the encoder's memory kept from one episode to the next
        improve θ by PPO, a trial being what PPO takes for an episode: what is found out in one episode is credited with
            what it is worth in the next (RL², Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016, arXiv:1611.05763)

The written policy is that of the base learner and observes by itself: memory has to hold the task, not the state
(Beck et al. 2022, arXiv:2210.11348). The map starts as one ordinary policy for all contexts, without which it trains
badly (Bias-HyperInit, ibid.; Beck et al. 2023, arXiv:2309.14970). While a trial explores, the policy is written anew at
each step; in its last `frozen_episodes` only at their starts. So each trial in training ends with what is deployed: a
plain policy, written once from the experience before it.

Other heads on the same encoder show what the writing is worth: see `MPOConfig.head`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor
from torch.nn.functional import mse_loss

from metamotor.meta.actors import MLP, Actor
from metamotor.meta.adam import adam_places, adam_state, load_adam
from metamotor.meta.checkpoints import fitting
from metamotor.meta.checks import check_choice, check_number, check_whole
from metamotor.meta.functional import distributions
from metamotor.meta.functional.inner_step import Params
from metamotor.meta.functional.moments import Moments
from metamotor.meta.functional.returns import generalized_advantages
from metamotor.meta.hypernetwork import ContextNetwork
from metamotor.meta.learner import MetaLearner
from metamotor.meta.on_policy import OnPolicyAdapter
from metamotor.meta.rollouts import EpisodeBatch, OwnRunner, derive_seed
from metamotor.meta.trials import (
    ActionEncoder,
    Array,
    ContextPolicy,
    Head,
    Layers,
    Memory,
    TrialActor,
    TrialJob,
)
from metamotor.meta.workers import Sampler

SMALLEST_DEVIATION = 1e-2
"""Observations that vary by less are not blown up any further."""
VALUE_MEMORY = 10.0
"""Meta-iterations after which the scale of returns is forgotten: they grow as training goes on."""


@dataclass(frozen=True, kw_only=True)
class MPOConfig:
    """Hyper-parameters of meta-policy optimisation."""

    head: Head = "hypernetwork"
    """How the policy depends on memory. "hypernetwork": all its weights are written; "film": units of its hidden layers
    are scaled and shifted (Perez et al. 2018, arXiv:1709.07871); "recurrent_state": memory is a further input; "rl2":
    memory is the only input, as in RL², and there is no policy without it."""
    hidden_size: int = 64
    """Units of the encoder's memory."""
    context_size: int = 8
    """Numbers that the memory is compressed to before weights are written; not for "rl2"."""
    meta_batch_size: int = 40
    """Tasks a meta-iteration."""
    trials_per_task: int = 1
    """Trials of each task."""
    episodes_per_trial: int = 2
    """Episodes of a trial."""
    frozen_episodes: int = 1
    """The last episodes of a trial, that run on weights written at their starts; none with "rl2"."""
    trial_gamma: float = 0.97
    """Discount along a trial, over the ends of its episodes; PPO's `gamma` serves the model that is handed out."""
    trial_gae_lambda: float = 0.95
    """λ of the advantages along a trial, likewise."""
    outer_lr: float = 1e-3
    """Adam's step size."""
    n_epochs: int = 5
    """Passes over the trials of a meta-iteration."""
    n_minibatches: int = 4
    """Parts of a pass, each of whole trials."""
    clip_range: float = 0.2
    """Clipping of the probability ratio."""
    vf_coef: float = 0.5
    """Weight of the critic's loss."""
    max_grad_norm: float = 1.0
    """Bound on the norm of the gradient."""
    task_loss_coef: float = 0.0
    """Weight of predicting the task's parameters from memory; the family must reveal them in training."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what was received."""
        check_choice("head", self.head, get_args(Head))
        for name in (
            "hidden_size",
            "context_size",
            "meta_batch_size",
            "trials_per_task",
            "episodes_per_trial",
            "n_epochs",
            "n_minibatches",
        ):
            check_whole(name, getattr(self, name), 1)
        check_whole("frozen_episodes", self.frozen_episodes, 0)
        if self.frozen_episodes > self.episodes_per_trial:
            raise ValueError(
                f"frozen_episodes must be at most episodes_per_trial={self.episodes_per_trial}, "
                f"got {self.frozen_episodes}"
            )
        for name in ("outer_lr", "clip_range", "max_grad_norm"):
            check_number(name, getattr(self, name), above=0.0)
        for name in ("trial_gamma", "trial_gae_lambda"):
            check_number(name, getattr(self, name), low=0.0, high=1.0)
        for name in ("vf_coef", "task_loss_coef"):
            check_number(name, getattr(self, name), low=0.0)


@dataclass(frozen=True)
class Context:
    """What is remembered of a task, and the policy that it gives."""

    memory: Memory
    policy: Layers
    """Written from the memory, for raw observations."""
    critic: Layers
    batch: EpisodeBatch | None = None
    """What was last experienced; the critic is fitted to it in the end."""


@dataclass(frozen=True)
class Trials:
    """Trials, each with its episodes one behind the other, padded with zeros to one length.

    B trials, T steps, O numbers of an observation, I of an encoder's input, A of an action.
    """

    inputs: Tensor
    """(B, T, I)."""
    observations: Tensor
    """(B, T, O), normalised."""
    sources: Tensor
    """(B, T) int64: the step at which the policy of each step was written."""
    actions: Tensor
    """(B, T, A) or (B, T)."""
    rewards: Array
    """(B, T) float64."""
    taken: Tensor
    """(B, T) bool."""
    tasks: Tensor
    """(B, P), what the family reveals; P = 0 if that is not trained."""

    def rows(self, index: Tensor) -> Trials:
        """Return some of the trials."""
        length = int(self.taken[index].sum(1).max())
        return Trials(
            self.inputs[index, :length],
            self.observations[index, :length],
            self.sources[index, :length],
            self.actions[index, :length],
            self.rewards[index.numpy(), :length],
            self.taken[index, :length],
            self.tasks[index],
        )


class MPO(MetaLearner):
    """Meta-policy optimisation over PPO's policies; see `MetaLearner` for the arguments and what a learner can do.

    An update of adaptation goes on with the trial: it runs episodes, rewriting the policy as in training, and remembers
    them; recorded episodes are remembered likewise. What is measured and returned is the policy as it is then written,
    which no longer changes. With the head "rl2" there is none: what is measured goes on with its trial, and cannot be
    returned as a model.
    """

    Config = MPOConfig
    config: MPOConfig
    fitting = (PPO,)
    adapter: OnPolicyAdapter

    def _setup(self) -> None:
        self.adapter = OnPolicyAdapter(
            self.algorithm, self.policy, self.family, self.base_kwargs, self.seed
        )
        if self.config.task_loss_coef and not hasattr(self.family, "reveal"):
            raise ValueError(
                f"task_loss_coef={self.config.task_loss_coef} needs a family with reveal(task), the task's "
                f"numbers scaled to ±1, which {self.family.name} lacks: use task_loss_coef=0"
            )
        params = self.adapter.initial_params()
        layers = [self._layers(params, names) for names in self._layer_names(params)]
        self._check_policy(params)
        self._encoder = ActionEncoder.of(self.family.action_space)
        (observations,) = self.family.observation_space.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, 0))
            if self.config.head == "rl2":
                layers = [self._on_memory(own) for own in layers]
            self.network = ContextNetwork(
                self.config.head,
                input_size=observations + self._encoder.size + 2,
                hidden_size=self.config.hidden_size,
                context_size=self.config.context_size,
                policy=layers[0],
                critic=layers[1],
                activation=self._activation(),
                log_std=params.get("log_std"),
                num_task_parameters=self._num_task_parameters(),
            )
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=self.config.outer_lr, eps=1e-5
        )
        self.moments = {
            "observation": Moments.empty(observations),
            "start": Moments.empty(observations),
            "squared_reward": Moments(0.0, np.ones(()), np.zeros(())),
            "value": Moments.empty(),
        }

    # The base learner's networks ------------------------------------------------------------------

    @staticmethod
    def _layer_names(params: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
        """Return the names of the policy's layers and of the critic's, the first layer first."""

        def hidden(net: str) -> list[str]:
            prefix = f"mlp_extractor.{net}."
            return [
                name.removesuffix(".weight")
                for name in params
                if name.startswith(prefix) and name.endswith(".weight")
            ]

        return (
            [*hidden("policy_net"), "action_net"],
            [*hidden("value_net"), "value_net"],
        )

    @staticmethod
    def _layers(params: Mapping[str, Tensor], names: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        return [(params[f"{name}.weight"], params[f"{name}.bias"]) for name in names]

    def _check_policy(self, params: Params) -> None:
        names = [name for net in self._layer_names(params) for name in net]
        written = {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}
        network = getattr(self.adapter.make_actor(params), "network", None)
        if not isinstance(network, MLP) or set(params) - {"log_std"} != written:
            raise ValueError(
                "MPO writes the weights of multilayer perceptrons with Tanh or ReLU: use 'MlpPolicy', with the "
                f"default features_extractor_class, not {self.policy!r} with {self.base_kwargs}"
            )

    def _activation(self) -> str:
        name: str = self.adapter.template.policy.activation_fn.__name__
        return name

    def _on_memory(self, layers: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """Return layers with the first one drawn anew, to be fed with memory."""
        (_, bias), *others = layers
        first = torch.empty(len(bias), self.config.hidden_size)
        torch.nn.init.orthogonal_(first, 2.0**0.5 if others else 0.01)
        return [(first, bias), *others]

    def _num_task_parameters(self) -> int:
        if not self.config.task_loss_coef:
            return 0
        (task,) = self.family.sample(1, split="train", seed=0)
        return len(self.family.reveal(task))

    # Adaptation -----------------------------------------------------------------------------------

    @property
    def trained_updates(self) -> int:
        """Updates of one episode each that training uses: those of a trial before its last one."""
        return self.config.episodes_per_trial - 1

    @property
    def trained_episodes(self) -> int:
        """One: each episode of a trial is followed by an update."""
        return 1

    def context_policy(self) -> ContextPolicy:
        """Return the encoder and what it writes as rollout workers run them."""
        network, observation = self.network, self.moments["observation"]
        deviation = np.maximum(np.sqrt(observation.variance), SMALLEST_DEVIATION)
        log_std = network.log_std
        return ContextPolicy(
            *network.gru_to_numpy(),
            embedding=network.embedding_to_numpy(),
            policy=network.policy.to_numpy(),
            critic=network.critic.to_numpy(),
            std=None if log_std is None else log_std.detach().exp().numpy(),
            encoder=self._encoder,
            observation_mean=observation.mean.astype(np.float32),
            observation_scale=(1 / deviation).astype(np.float32),
            reward_scale=1 / max(float(self.moments["squared_reward"].mean) ** 0.5, 1e-8),
            start_observation=self.moments["start"].mean.astype(np.float32),
        )

    def _context(
        self, policy: ContextPolicy, memory: Memory, batch: EpisodeBatch | None
    ) -> Context:
        if self.config.head == "rl2":
            return Context(memory, (), (), batch)
        return Context(memory, *policy.written(memory), batch)

    def initial_state(self) -> Context:
        """Return a trial that has not started."""
        policy = self.context_policy()
        return self._context(policy, policy.start(), None)

    def log_probs(self, state: Context, batch: EpisodeBatch) -> list[Array]:
        """Return log π(a|s) of recorded steps, of the policy that is written anew at each and of the one that is not.

        See `MetaLearner.log_probs`.
        """
        policy = self.context_policy()
        outputs = [policy.outputs_along(state.memory, batch)]
        if state.policy:
            outputs.append(policy.policy.apply(state.policy, batch.observations))
        actions = torch.as_tensor(batch.actions)
        with torch.no_grad():
            found = [self._log_probs(torch.as_tensor(own), actions) for own in outputs]
        return [np.asarray(own, dtype=np.float64) for own in found]

    def update(
        self,
        state: Context,
        batch: EpisodeBatch,
        step: int,
        scale: float = 1.0,
        ratios: Array | None = None,
    ) -> Context:
        """Return what is remembered when these episodes have followed; see `MetaLearner.update`.

        Args:
            state: before the episodes.
            batch: one task's episodes, in their order.
            step: not used: each update goes on with the same trial.
            scale: not used: there is no step size.
            ratios: refused: what is remembered is not weighted.
        """
        if ratios is not None:
            raise ValueError(
                "MPO remembers episodes as they were, and has no weights for those of another policy: record with the "
                "policy of this checkpoint"
            )
        policy = self.context_policy()
        return self._context(policy, policy.encode(state.memory, batch), batch)

    def adapt_states(
        self,
        states: Sequence[Context],
        tasks: Sequence[Any],
        *,
        step: int,
        episodes: int,
        seeds: Sequence[int],
        sampler: Sampler,
        scale: float = 1.0,
    ) -> list[Context]:
        """Return the states after further episodes of each trial; see `MetaLearner.adapt_states`."""
        policy = self.context_policy()
        rewrites = (self._rewrites[0],) * episodes
        jobs = [
            TrialJob(task, policy, state.memory, 1, rewrites, seed)
            for task, state, seed in zip(tasks, states, seeds, strict=True)
        ]
        return [
            self.update(state, batch, step, scale)
            for state, (batch,) in zip(states, sampler.collect(jobs), strict=True)
        ]

    @property
    def _rewrites(self) -> tuple[bool, ...]:
        """Whether the policy is written at each step, for each episode of a trial."""
        episodes = self.config.episodes_per_trial
        frozen = 0 if self.config.head == "rl2" else self.config.frozen_episodes
        return (True,) * (episodes - frozen) + (False,) * frozen

    def make_actor(self, state: Context) -> Actor | OwnRunner:
        """Return the written policy; with the head "rl2" the trial that goes on, which only a `RolloutJob` can run."""
        policy = self.context_policy()
        if self.config.head == "rl2":
            return TrialActor(policy, state.memory)
        return policy.frozen(state.policy)

    def make_model(self, state: Context, env: Any) -> BaseAlgorithm:
        """Return a model of the base learner with the written weights.

        Raises:
            ValueError: with the head "rl2", whose policy is nothing without its memory.
        """
        if self.config.head == "rl2":
            raise ValueError(
                "a policy with the head 'rl2' needs its memory at every step, which a model of "
                f"{self.algorithm.__name__} does not have: train with another head to get a model, such as "
                "'hypernetwork'"
            )
        params = self.adapter.initial_params()
        value = self.moments["value"]
        deviation = float(np.sqrt(value.variance))
        *hidden, (weight, bias) = state.critic
        critic = (*hidden, (weight * deviation, bias * deviation + float(value.mean)))
        for names, layers in zip(self._layer_names(params), (state.policy, critic), strict=True):
            for name, (weight, bias) in zip(names, layers, strict=True):
                params[f"{name}.weight"] = torch.as_tensor(np.ascontiguousarray(weight.T))
                params[f"{name}.bias"] = torch.as_tensor(bias)
        if self.network.log_std is not None:
            params["log_std"] = self.network.log_std.detach().clone()
        if state.batch is not None:
            params = self.adapter.fit_critic_to(params, state.batch)
        return self.adapter.make_model(params, env)

    # Meta-training --------------------------------------------------------------------------------

    def _meta_iteration(self) -> dict[str, float]:
        tasks = self.family.sample(
            self.config.meta_batch_size,
            split="train",
            seed=derive_seed(self.seed, self.iteration, 0),
        )
        start = time.perf_counter()
        policy = self.context_policy()
        batches = self._sample(tasks, policy)
        sampled = time.perf_counter()
        scalars = self._returns(batches)
        targets = [task for task in tasks for _ in range(self.config.trials_per_task)]
        scalars |= self._ppo(self.prepare(batches, targets, policy))
        # Only now: until here, inputs had to be scaled as they were when they were acted on.
        self._update_moments(batches)
        scalars["time/sampling_seconds"] = sampled - start
        scalars["time/optimising_seconds"] = time.perf_counter() - sampled
        return scalars

    def _sample(self, tasks: Sequence[Any], policy: ContextPolicy) -> list[EpisodeBatch]:
        """Return the trials of all tasks, those of one task next to each other."""
        jobs = [
            TrialJob(
                task,
                policy,
                policy.start(),
                self.config.trials_per_task,
                self._rewrites,
                derive_seed(self.seed, self.iteration, 1, i),
            )
            for i, task in enumerate(tasks)
        ]
        batches = [trial for trials in self.sampler.collect(jobs) for trial in trials]
        self.num_timesteps += sum(batch.num_steps for batch in batches)
        return batches

    def _returns(self, batches: Sequence[EpisodeBatch]) -> dict[str, float]:
        """Return the mean return of each episode of a trial; the first is "pre", number k + 1 "post_k"."""
        returns = np.stack([batch.episode_returns for batch in batches]).mean(axis=0)
        scalars = {"rollout/pre": float(returns[0])}
        scalars |= {f"rollout/post_{k}": float(returns[k]) for k in range(1, len(returns))}
        if len(returns) > 1:
            scalars["rollout/gain"] = float(returns[-1] - returns[0])
        return scalars

    def prepare(
        self, batches: Sequence[EpisodeBatch], tasks: Sequence[Any], policy: ContextPolicy
    ) -> Trials:
        """Return trials as training takes them.

        Args:
            batches: the episodes of each trial, in their order.
            tasks: of each trial.
            policy: that ran them, for its normalisation.
        """
        masks = [batch.mask > 0 for batch in batches]
        count, length = len(batches), max(int(mask.sum()) for mask in masks)
        (observed,) = batches[0].observations.shape[2:]
        inputs = np.zeros((count, length, observed + self._encoder.size + 2), np.float32)
        observations = np.zeros((count, length, observed), np.float32)
        actions = np.zeros((count, length, *batches[0].actions.shape[2:]), batches[0].actions.dtype)
        rewards = np.zeros((count, length))
        sources = np.zeros((count, length), np.int64)
        taken = np.zeros((count, length), dtype=bool)
        for row, (batch, mask) in enumerate(zip(batches, masks, strict=True)):
            steps = int(mask.sum())
            starts = np.cumsum([0, *mask.sum(axis=1)[:-1]])
            taken[row, :steps] = True
            observations[row, :steps] = policy.normalize(batch.observations[mask])
            actions[row, :steps] = batch.actions[mask]
            rewards[row, :steps] = batch.rewards[mask]
            sources[row, :steps] = np.arange(steps)
            for start, steps_own, rewrites in zip(
                starts, mask.sum(axis=1), self._rewrites, strict=True
            ):
                if not rewrites:
                    sources[row, start : start + steps_own] = start
            remembered = self._encoder(actions[row, : steps - 1])
            inputs[row, :steps, :observed] = observations[row, :steps]
            inputs[row, 1:steps, observed:-2] = remembered
            inputs[row, 1:steps, -2] = rewards[row, : steps - 1] * policy.reward_scale
            inputs[row, starts[1:], -1] = 1.0
        revealed = np.zeros((count, 0), np.float32)
        if self.network.task is not None:
            revealed = np.stack([self.family.reveal(task) for task in tasks]).astype(np.float32)
        return Trials(
            torch.as_tensor(inputs),
            torch.as_tensor(observations),
            torch.as_tensor(sources),
            torch.as_tensor(actions),
            rewards,
            torch.as_tensor(taken),
            torch.as_tensor(revealed),
        )

    def advantages(self, trials: Trials, values: Array) -> Array:
        """Return advantages (B, T), which look over the ends of episodes as far as the trial goes.

        Args:
            trials: B of them.
            values: (B, T), of the critic.
        """
        config = self.config
        mask = trials.taken.numpy().astype(np.float64)
        return generalized_advantages(
            trials.rewards, values, mask, config.trial_gamma, config.trial_gae_lambda
        )

    def _ppo(self, trials: Trials) -> dict[str, float]:
        config, taken = self.config, trials.taken
        old = torch.zeros(taken.shape)
        values = np.zeros(taken.shape)
        value = self.moments["value"]
        with torch.no_grad():
            outputs, normalized, _ = self.network(
                trials.inputs, trials.observations, trials.sources, taken
            )
            old[taken] = self._log_probs(outputs, trials.actions[taken])
            values[taken.numpy()] = normalized.numpy() * np.sqrt(value.variance) + value.mean
        advantages = self.advantages(trials, values)
        returns = (advantages + values)[taken.numpy()]
        self.moments["value"] = value.updated(returns, limit=VALUE_MEMORY * len(returns))
        targets = torch.zeros(taken.shape)
        deviation = np.sqrt(self.moments["value"].variance) + 1e-8
        scaled = (returns - self.moments["value"].mean) / deviation
        targets[taken] = torch.as_tensor(scaled).float()
        inside = advantages[taken.numpy()]
        weights = torch.zeros(taken.shape)
        weights[taken] = torch.as_tensor((inside - inside.mean()) / (inside.std() + 1e-8)).float()
        totals: dict[str, float] = {}
        steps = 0
        for epoch in range(config.n_epochs):
            rng = np.random.default_rng(derive_seed(self.seed, self.iteration, 2, epoch))
            order = rng.permutation(len(taken))
            for part in np.array_split(order, min(config.n_minibatches, len(order))):
                index = torch.as_tensor(part)
                rows = trials.rows(index)
                length = rows.taken.shape[1]
                fixed = [source[index, :length] for source in (old, weights, targets)]
                losses = self._losses(rows, *fixed)
                self.optimizer.zero_grad()
                losses["loss"].backward()
                norm = torch.nn.utils.clip_grad_norm_(
                    self.network.parameters(), config.max_grad_norm
                )
                self.optimizer.step()
                steps += 1
                for name, item in {**losses, "grad_norm": norm}.items():
                    totals[name] = totals.get(name, 0.0) + float(item.detach())
        scalars = {f"train/{name}": total / steps for name, total in totals.items()}
        unexplained = (returns - values[taken.numpy()]).var() / (returns.var() + 1e-8)
        scalars["train/explained_variance"] = float(1 - unexplained)
        if self.network.log_std is not None:
            scalars["train/std"] = float(self.network.log_std.detach().exp().mean())
        return scalars

    def _losses(
        self, trials: Trials, old_log_probs: Tensor, advantages: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        config, taken = self.config, trials.taken
        outputs, values, hidden = self.network(
            trials.inputs, trials.observations, trials.sources, taken
        )
        log_ratios = self._log_probs(outputs, trials.actions[taken]) - old_log_probs[taken]
        ratios, gains = log_ratios.exp(), advantages[taken]
        bounded = ratios.clamp(1 - config.clip_range, 1 + config.clip_range)
        losses = {
            "policy_loss": -torch.minimum(gains * ratios, gains * bounded).mean(),
            "value_loss": mse_loss(values, targets[taken]),
            "entropy_loss": -self._entropy(outputs).mean(),
        }
        loss = (
            losses["policy_loss"]
            + config.vf_coef * losses["value_loss"]
            + self.adapter.template.ent_coef * losses["entropy_loss"]
        )
        if self.network.task is not None:
            expected = trials.tasks.unsqueeze(1).expand(-1, taken.shape[1], -1)[taken]
            losses["task_loss"] = mse_loss(self.network.task(hidden), expected)
            loss = loss + config.task_loss_coef * losses["task_loss"]
        with torch.no_grad():
            losses["approx_kl"] = (ratios - 1 - log_ratios).mean()
            losses["clip_fraction"] = ((ratios - 1).abs() > config.clip_range).float().mean()
        return {**losses, "loss": loss}

    def _log_probs(self, outputs: Tensor, actions: Tensor) -> Tensor:
        if self.network.log_std is None:
            return distributions.categorical_log_prob(outputs, actions)
        return distributions.gaussian_log_prob(outputs, self.network.log_std, actions)

    def _entropy(self, outputs: Tensor) -> Tensor:
        if self.network.log_std is None:
            return distributions.categorical_entropy(outputs)
        return distributions.gaussian_entropy(outputs, self.network.log_std)

    def _update_moments(self, batches: Sequence[EpisodeBatch]) -> None:
        observations = np.concatenate([batch.observations[batch.mask > 0] for batch in batches])
        rewards = np.concatenate([batch.rewards[batch.mask > 0] for batch in batches])
        starts = np.concatenate([batch.observations[:, 0] for batch in batches])
        samples = {"observation": observations, "start": starts, "squared_reward": rewards**2}
        for name, own in samples.items():
            self.moments[name] = self.moments[name].updated(own)

    # State ----------------------------------------------------------------------------------------

    def _state(self) -> Params:
        return self._learned() | adam_state(self.optimizer, dict(self.network.named_parameters()))

    def _learned(self) -> Params:
        """Return all of the state but the optimiser's."""
        tensors = {
            f"network.{name}": parameter.detach()
            for name, parameter in self.network.named_parameters()
        }
        for name, moments in self.moments.items():
            for key in ("count", "mean", "variance"):
                value = np.array(getattr(moments, key), dtype=np.float64)
                tensors[f"moments.{name}.{key}"] = torch.as_tensor(value)
        return tensors

    def _load_state(self, tensors: Mapping[str, Tensor]) -> None:
        parameters = dict(self.network.named_parameters())
        found = fitting(tensors, self._learned() | adam_places(parameters, tensors))
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(found[f"network.{name}"])
        load_adam(self.optimizer, parameters, found)
        for name in self.moments:
            count, mean, variance = (
                found[f"moments.{name}.{key}"].numpy() for key in ("count", "mean", "variance")
            )
            self.moments[name] = Moments(float(count), mean.copy(), variance.copy())
