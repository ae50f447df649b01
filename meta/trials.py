"""Trials: several episodes of one task that a recurrent policy remembers from the first to the last, in numpy only.

A gated recurrent unit reads what is observed together with the action, the reward and the end of an episode before it;
its state is kept over the ends of episodes and starts anew with a trial (RL², Duan et al. 2016, arXiv:1611.02779;
Wang et al. 2016, arXiv:1611.05763). From that state the weights of an ordinary policy are written, which observes again
(Beck et al. 2022, arXiv:2210.11348). `metamotor.meta.hypernetwork` is the same in torch, for training.

Shapes: O numbers of an observation, A of an action as it is remembered, U units of memory, C numbers of a context;
... the trials (N,), or nothing: one trial alone takes half the time of a batch of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from metamotor.envs import BatchEnv, TaskEnv
from metamotor.meta.actors import ACTIVATIONS, MLP, CategoricalActor, GaussianActor, Network
from metamotor.meta.rollouts import (
    EpisodeBatch,
    RolloutJob,
    Workplace,
    as_seen,
    check_step,
    empty_batch,
    not_finite,
    require_finite,
    task_setter,
)

Array = NDArray[Any]
Head = Literal["hypernetwork", "film", "recurrent_state", "rl2"]
Layers = tuple[tuple[Array, Array], ...]
"""(weight (..., inputs, outputs), bias (..., outputs)) of each layer."""


@dataclass(frozen=True)
class Memory:
    """What a trial is remembered by between two steps."""

    hidden: Array
    """(..., U)."""
    action: Array
    """(..., A): the last one, inside the space and scaled to ±1; a choice as one of N."""
    reward: Array
    """(...): the last one."""
    done: Array
    """(...): 1 if an episode has just ended."""


@dataclass(frozen=True)
class ActionEncoder:
    """Actions as they are remembered: numbers clipped to the space and scaled to ±1, choices as one of N.

    Args:
        low: (A,) of a Box, or None.
        high: (A,) of a Box, or None.
        num_choices: N of a Discrete space, or 0.
    """

    low: Array | None
    high: Array | None
    num_choices: int = 0

    @classmethod
    def of(cls, space: gymnasium.Space[Any]) -> ActionEncoder:
        """Return the encoder of a space."""
        if isinstance(space, gymnasium.spaces.Discrete):
            return cls(None, None, int(space.n))
        assert isinstance(space, gymnasium.spaces.Box)
        return cls(space.low.astype(np.float32), space.high.astype(np.float32))

    @property
    def size(self) -> int:
        """A."""
        return self.num_choices if self.low is None else len(self.low)

    @cached_property
    def _choices(self) -> Array:
        return np.eye(self.num_choices, dtype=np.float32)

    @cached_property
    def _scale(self) -> tuple[Array, Array]:
        assert self.low is not None
        assert self.high is not None
        half = (self.high - self.low) / 2
        return (self.high + self.low) / 2, (1 / np.where(half > 0, half, 1)).astype(np.float32)

    def __call__(self, actions: Array) -> Array:
        """Return actions (..., A) or choices (...) as they are remembered, (..., A)."""
        if self.low is None:
            encoded: Array = self._choices[actions]
            return encoded
        assert self.high is not None
        middle, scale = self._scale
        encoded = (np.minimum(np.maximum(actions, self.low), self.high) - middle) * scale
        return encoded


@dataclass(frozen=True)
class Writer:
    """How a context becomes the weights of a network.

    "hypernetwork": all weights are linear in the context. "film": units of the hidden layers are scaled and shifted.
    "recurrent_state": the context is a further input, which shifts the biases of the first layer. "rl2": the context is
    the only input.
    """

    kind: Head
    layers: Layers
    """For a context of zero."""
    modulation: Array
    """(C, P): what a context adds, P numbers a context by the order of `layers`; (C, 0) for "rl2"."""
    activation: str

    def write(self, context: Array) -> Layers:
        """Return the weights for contexts (..., C)."""
        if self.kind == "rl2":
            return self.layers
        added = context.dot(self.modulation)
        if self.kind == "recurrent_state":
            (weight, bias), *others = self.layers
            return ((weight, bias + added), *others)
        written, start = [], 0
        if self.kind == "film":
            for weight, bias in self.layers[:-1]:
                size = len(bias)
                scale = 1 + added[..., start : start + size]
                shift = added[..., start + size : start + 2 * size]
                written.append((weight * scale[..., None, :], bias * scale + shift))
                start += 2 * size
            return (*written, self.layers[-1])
        for weight, bias in self.layers:
            middle, end = start + weight.size, start + weight.size + bias.size
            own = added[..., start:middle].reshape(*added.shape[:-1], *weight.shape)
            own += weight
            written.append((own, added[..., middle:end] + bias))
            start = end
        return tuple(written)

    def apply(self, layers: Layers, inputs: Array) -> Array:
        """Return the outputs of written weights. Shapes: inputs (..., I); result (..., outputs)."""
        activation, last = ACTIVATIONS[self.activation], len(layers) - 1
        hidden = inputs
        for i, (weight, bias) in enumerate(layers):
            shared = weight.ndim == 2
            hidden = (
                hidden.dot(weight) if shared else np.matmul(hidden[..., None, :], weight)[..., 0, :]
            )
            hidden = hidden + bias
            if i < last:
                hidden = activation(hidden)
        return hidden


@dataclass(frozen=True)
class ContextPolicy:
    """A recurrent context encoder and the policy that it writes."""

    input_weight: Array
    """(O + A + 2, 3·U): reset, update and new gate, in torch's order."""
    input_bias: Array
    """(3·U,)."""
    hidden_weight: Array
    """(U, 3·U)."""
    hidden_bias: Array
    """(3·U,)."""
    embedding: tuple[Array, Array] | None
    """(U, C) and (C,): context = tanh(embedding of memory) / √C; None: the memory itself."""
    policy: Writer
    critic: Writer
    std: Array | None
    """(A,) of a Gaussian, or None for a choice."""
    encoder: ActionEncoder
    observation_mean: Array
    """(O,)."""
    observation_scale: Array
    """(O,): 1 / standard deviation."""
    reward_scale: float
    """1 / root mean square."""
    start_observation: Array
    """(O,): where episodes start, on average; stands for the first observation of an episode that has not started."""

    def start(self) -> Memory:
        """Return the memory with which a trial starts."""
        zero = np.zeros((), dtype=np.float32)
        units = len(self.hidden_weight)
        size = self.encoder.size
        return Memory(np.zeros(units, np.float32), np.zeros(size, np.float32), zero, zero)

    def normalize(self, observations: Array) -> Array:
        """Return observations with zero mean and unit variance."""
        normalized: Array = (observations - self.observation_mean) * self.observation_scale
        return normalized

    def read(self, memory: Memory, normalized: Array) -> Array:
        """Return the memory's next hidden state (..., U) on the next observations (..., O)."""
        hidden = memory.hidden
        inputs = np.concatenate(
            [
                normalized,
                memory.action,
                (memory.reward * self.reward_scale)[..., None],
                memory.done[..., None],
            ],
            axis=-1,
            dtype=np.float32,
        )
        units = hidden.shape[-1]
        given = inputs.dot(self.input_weight)
        given += self.input_bias
        kept = hidden.dot(self.hidden_weight)
        kept += self.hidden_bias
        gates = given[..., : 2 * units] + kept[..., : 2 * units]
        gates *= 0.5  # σ(x) = (1 + tanh(x/2)) / 2
        np.tanh(gates, gates)
        gates += 1.0
        gates *= 0.5
        new = kept[..., 2 * units :] * gates[..., :units]
        new += given[..., 2 * units :]
        np.tanh(new, new)
        result: Array = new + gates[..., units:] * (hidden - new)
        return result

    def context(self, hidden: Array) -> Array:
        """Return the contexts (..., C) of hidden states (..., U)."""
        if self.embedding is None:
            return hidden
        weight, bias = self.embedding
        embedded: Array = hidden.dot(weight)
        embedded += bias
        np.tanh(embedded, embedded)
        embedded *= 1 / math.sqrt(len(bias))
        return embedded

    def outputs(self, layers: Layers, context: Array, normalized: Array) -> Array:
        """Return the mean or the logits of the policy with these weights."""
        return self.policy.apply(layers, context if self.policy.kind == "rl2" else normalized)

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return what turns outputs into actions; see `GaussianActor` and `CategoricalActor`."""
        return self._chooser.draw_noise(rng, shape)

    def choose(self, outputs: Array, noise: Array | None) -> Array:
        """Return actions from the policy's outputs, the most likely ones where there is no noise."""
        return self._chooser.act(outputs, noise)

    @cached_property
    def _chooser(self) -> GaussianActor | CategoricalActor:
        return self._actor(_identity)

    def _actor(self, network: Network) -> GaussianActor | CategoricalActor:
        if self.std is None:
            return CategoricalActor(network, self.encoder.num_choices)
        return GaussianActor(network, self.std)

    def encode(self, memory: Memory, batch: EpisodeBatch) -> Memory:
        """Return what is remembered after these episodes, one after the other as they were recorded."""
        one, zero = np.ones((), np.float32), np.zeros((), np.float32)
        for episode in range(len(batch.mask)):
            taken = batch.mask[episode] > 0
            normalized = self.normalize(batch.observations[episode][taken])
            actions = self.encoder(batch.actions[episode][taken])
            rewards = batch.rewards[episode][taken].astype(np.float32)
            for observation, action, reward in zip(normalized, actions, rewards, strict=True):
                memory = Memory(self.read(memory, observation), action, reward, zero)
            memory = replace(memory, done=one)
        return memory

    def outputs_along(self, memory: Memory, batch: EpisodeBatch) -> Array:
        """Return what the policy gave at each recorded step, written anew at each. Shape: (E, H, outputs)."""
        one, zero = np.ones((), np.float32), np.zeros((), np.float32)
        found: Array | None = None
        for episode in range(len(batch.mask)):
            for t in range(int(batch.mask[episode].sum())):
                normalized = self.normalize(batch.observations[episode, t])
                hidden = self.read(memory, normalized)
                context = self.context(hidden)
                outputs = self.outputs(self.policy.write(context), context, normalized)
                if found is None:
                    found = np.zeros((*batch.mask.shape, *outputs.shape), outputs.dtype)
                found[episode, t] = outputs
                action = self.encoder(batch.actions[episode, t])
                reward = batch.rewards[episode, t].astype(np.float32)
                memory = Memory(hidden, action, reward, zero)
            memory = replace(memory, done=one)
        assert found is not None
        return found

    def written(self, memory: Memory) -> tuple[Layers, Layers]:
        """Return policy and critic as plain networks of raw observations, as of the start of the next episode.

        They are what the policy is in that episode if nothing of it is remembered.
        """
        start = self.normalize(self.start_observation)
        context = self.context(self.read(memory, start))
        return self._unnormalized(self.policy, context), self._unnormalized(self.critic, context)

    def _unnormalized(self, writer: Writer, context: Array) -> Layers:
        (weight, bias), *others = writer.write(context)
        weight = weight * self.observation_scale[:, None]
        return ((weight, bias - self.observation_mean.dot(weight)), *others)

    def frozen(self, layers: Layers) -> GaussianActor | CategoricalActor:
        """Return written weights as an actor without memory."""
        return self._actor(MLP(layers, self.policy.activation))


def _identity(observations: Array) -> Array:
    return observations


@dataclass(frozen=True)
class TrialJob:
    """Trials of one task to be run, each from the same memory; all at once where the family can."""

    task: Any
    policy: ContextPolicy
    memory: Memory
    num_trials: int
    rewrites: tuple[bool, ...]
    """One an episode: whether the weights are written anew at each step of it, or only at its start."""
    seed: int
    deterministic: bool = False

    def run(self, workplace: Workplace) -> list[EpisodeBatch]:
        """Run them; return the episodes of each trial in their order.

        Raises:
            ValueError: if the environment gives an observation or a reward that is not finite.
        """
        rng = np.random.default_rng(self.seed)
        shape = (self.num_trials, len(self.rewrites))
        seeds = rng.integers(2**31, size=shape)
        noise = None
        if not self.deterministic:
            noise = self.policy.draw_noise(rng, (*shape, workplace.horizon))
        if workplace.batch_env is not None:
            return _run_abreast(self, workplace.batch_env, seeds, noise, workplace.horizon)
        return [
            _run_trial(self, workplace.env, seeds[i].tolist(), own, workplace.horizon)
            for i, own in enumerate([None] * self.num_trials if noise is None else noise)
        ]


@dataclass(frozen=True)
class TrialActor:
    """A policy that has no memoryless form: each of its episodes goes on with the trial from one memory."""

    policy: ContextPolicy
    memory: Memory

    def run(self, job: RolloutJob, workplace: Workplace) -> EpisodeBatch:
        """Run a job's episodes, as trials of one episode each."""
        trial = TrialJob(
            job.task,
            self.policy,
            self.memory,
            job.num_episodes,
            (True,),
            job.seed,
            job.deterministic,
        )
        episodes = trial.run(workplace)
        return EpisodeBatch(*(np.concatenate(parts) for parts in zip(*episodes, strict=True)))


def _run_trial(
    job: TrialJob,
    env: gymnasium.Env[Any, Any],
    seeds: Sequence[int],
    noise: Array | None,
    horizon: int,
) -> EpisodeBatch:
    policy, memory, space = job.policy, job.memory, env.action_space
    batch: EpisodeBatch | None = None
    checked = isinstance(env, TaskEnv)
    clips = isinstance(space, gymnasium.spaces.Box) and not checked
    one, zero = np.ones((), np.float32), np.zeros((), np.float32)
    options = None
    if job.task is not None:
        task_setter(env)(job.task)
        options = {"task": job.task}
    for episode, seed in enumerate(seeds):
        first = env.reset(seed=seed, options=options)[0]
        if not checked:
            check_step(env.observation_space, first, 0.0, job.task)
        observation = as_seen(first, job.task, 0)
        rewrites = job.rewrites[episode]
        for t in range(horizon):
            normalized = policy.normalize(observation)
            hidden = policy.read(memory, normalized)
            if rewrites or t == 0:
                context = policy.context(hidden)
                layers = policy.policy.write(context)
            outputs = policy.outputs(layers, context, normalized)
            action = policy.choose(outputs, None if noise is None else noise[episode, t])
            if batch is None:
                batch = empty_batch(len(seeds), horizon, observation, action)
            batch.observations[episode, t] = observation
            batch.actions[episode, t] = action
            remembered = policy.encoder(action)
            if clips:
                action = np.clip(action, space.low, space.high)  # type: ignore[attr-defined]
            observation, reward, terminated, truncated, _ = env.step(action)
            if not checked:
                check_step(env.observation_space, observation, reward, job.task)
            if not math.isfinite(reward):
                raise not_finite("reward", reward, job.task, t)
            if not checked:
                observation = as_seen(observation, job.task, t + 1)
            batch.rewards[episode, t] = reward
            memory = Memory(hidden, remembered, np.asarray(reward, np.float32), zero)
            if terminated or truncated:
                break
        assert batch is not None
        memory = replace(memory, done=one)
        batch.mask[episode, : t + 1] = 1.0
        batch.terminated[episode] = terminated
    assert batch is not None
    return batch


def _run_abreast(
    job: TrialJob, env: BatchEnv, seeds: Array, noise: Array | None, horizon: int
) -> list[EpisodeBatch]:
    policy, trials = job.policy, job.num_trials
    memory = Memory(
        *(
            np.repeat(np.asarray(part)[None], trials, axis=0)
            for part in (job.memory.hidden, job.memory.action, job.memory.reward, job.memory.done)
        )
    )
    batch: EpisodeBatch | None = None
    for episode, rewrites in enumerate(job.rewrites):
        running = np.ones(trials, dtype=bool)
        observation = as_seen(env.reset(job.task, seeds[:, episode].tolist()), job.task, 0)
        for t in range(horizon):
            normalized = policy.normalize(observation)
            hidden = policy.read(memory, normalized)
            if rewrites or t == 0:
                context = policy.context(hidden)
                layers = policy.policy.write(context)
            outputs = policy.outputs(layers, context, normalized)
            action = policy.choose(outputs, None if noise is None else noise[:, episode, t])
            if batch is None:
                count = trials * len(job.rewrites)
                batch = empty_batch(count, horizon, observation[0], action[0])
            following, reward, terminated = env.step(action)
            require_finite("reward", reward[running], job.task, t)
            rows = np.flatnonzero(running) * len(job.rewrites) + episode
            batch.observations[rows, t] = observation[running]
            batch.actions[rows, t] = action[running]
            batch.rewards[rows, t] = reward[running]
            batch.mask[rows, t] = 1.0
            batch.terminated[rows] = terminated[running]
            remembered = policy.encoder(action)
            ongoing = np.zeros(trials, np.float32)
            new = Memory(hidden, remembered, reward.astype(np.float32), ongoing)
            memory = _where(running, new, memory)
            observation = following.astype(np.float32)
            require_finite("observation", observation[running], job.task, t + 1)
            running &= ~terminated
            if not running.any():
                break
        memory = replace(memory, done=np.ones(trials, np.float32))
    assert batch is not None
    length = len(job.rewrites)
    return [
        EpisodeBatch(*(part[start : start + length] for part in batch))
        for start in range(0, trials * length, length)
    ]


def _where(running: Array, new: Memory, old: Memory) -> Memory:
    """Return the new memory of those trials whose episode is running, the old one of the others."""
    if running.all():
        return new
    chosen = running[:, None]
    return Memory(
        np.where(chosen, new.hidden, old.hidden),
        np.where(chosen, new.action, old.action),
        np.where(running, new.reward, old.reward),
        np.where(running, new.done, old.done),
    )
