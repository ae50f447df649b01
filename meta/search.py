"""What a rollout worker does for evolution strategies: perturb a policy, adapt it to a task, measure it. Without torch.

A policy is a flat vector here; a layout says how it becomes an actor. Everything random in a job comes from its seeds,
and both members of an antithetic pair meet the same task with the same seeds (common random numbers).

Shapes: d parameters in k tensors, O numbers of an observation, A of an action.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from metamotor.meta.actors import MLP, Actor, CategoricalActor, GaussianActor
from metamotor.meta.functional import policy_gradient, returns
from metamotor.meta.functional.evolution import ClimbMode, direction, fold_normalizer, hill_climb
from metamotor.meta.functional.moments import Moments
from metamotor.meta.rollouts import EpisodeBatch, RolloutJob, Workplace, derive_seed

Array = NDArray[Any]


class Normalizer(NamedTuple):
    """What a policy subtracts from an observation, and divides it by."""

    mean: Array
    """(O,)."""
    std: Array
    """(O,)."""


# Vectors and policies -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout(ABC):
    """How a flat vector becomes a policy: the names and shapes of its tensors, one after another."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Parameters of each tensor. Shape: (k,)."""
        return tuple(int(np.prod(shape)) for shape in self.shapes)

    @property
    def size(self) -> int:
        """Parameters in all, d."""
        return sum(self.sizes)

    def split(self, vector: Array) -> dict[str, Array]:
        """Return the tensors of a vector (d,) by name."""
        parts = np.split(vector, np.cumsum(self.sizes)[:-1])
        return {
            name: part.reshape(shape)
            for name, shape, part in zip(self.names, self.shapes, parts, strict=True)
        }

    def join(self, tensors: Mapping[str, Array]) -> Array:
        """Return the vector of tensors by name. Shape: (d,)."""
        return np.concatenate([np.asarray(tensors[name]).reshape(-1) for name in self.names])

    def spread(self, values: Array) -> Array:
        """Return one value a tensor (k,) as one a parameter (d,)."""
        return np.repeat(values, self.sizes)

    @abstractmethod
    def make_actor(
        self, vector: Array, normalizer: Normalizer | None, workplace: Workplace
    ) -> Actor:
        """Return the policy of a vector (d,) as it takes observations that are not normalised."""


@dataclass(frozen=True)
class MLPLayout(Layout):
    """A plain multilayer perceptron, run and differentiated in numpy."""

    activation: str
    num_choices: int | None = None
    """Of a softmax; None for a Gaussian."""
    fixed_log_std: Array | None = None
    """(A,), of a Gaussian whose log σ is not among the tensors."""

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Prefixes of each layer's weight and bias."""
        ends = ".weight"
        return tuple(name.removesuffix(ends) for name in self.names if name.endswith(ends))

    def layers(self, tensors: Mapping[str, Array]) -> tuple[policy_gradient.Layer, ...]:
        """Return each layer's weight, of shape (inputs, outputs), and bias."""
        return tuple(
            (np.ascontiguousarray(tensors[f"{name}.weight"].T), tensors[f"{name}.bias"])
            for name in self.layer_names
        )

    def log_std(self, tensors: Mapping[str, Array]) -> Array:
        """Return a Gaussian's log σ. Shape: (A,)."""
        log_std = tensors.get("log_std", self.fixed_log_std)
        assert log_std is not None
        return log_std

    def folded(self, vector: Array, normalizer: Normalizer | None) -> dict[str, Array]:
        """Return the tensors by name, with the normaliser in the first layer."""
        tensors = self.split(vector)
        if normalizer is not None:
            weight, bias = f"{self.layer_names[0]}.weight", f"{self.layer_names[0]}.bias"
            tensors[weight], tensors[bias] = fold_normalizer(
                tensors[weight], tensors[bias], *normalizer
            )
        return tensors

    def make_actor(
        self, vector: Array, normalizer: Normalizer | None, workplace: Workplace | None = None
    ) -> Actor:
        """Return the policy of a vector (d,); see `Layout`."""
        tensors = self.folded(vector, normalizer)
        network = MLP(self.layers(tensors), self.activation)
        if self.num_choices is not None:
            return CategoricalActor(network, self.num_choices)
        return GaussianActor(network, np.exp(self.log_std(tensors)))


@dataclass(frozen=True)
class TorchLayout(Layout):
    """Any policy of an on-policy algorithm, run in torch by an adapter that the worker keeps."""

    algorithm: type[Any]
    policy: Any
    base_kwargs: Mapping[str, Any]
    seed: int

    def make_actor(
        self, vector: Array, normalizer: Normalizer | None, workplace: Workplace
    ) -> Actor:
        """Return the policy of a vector (d,); see `Layout`."""
        import torch

        key = (TorchLayout, pickle.dumps(self))
        if key not in workplace.kept:
            from metamotor.meta.on_policy import OnPolicyAdapter

            workplace.kept[key] = OnPolicyAdapter(
                self.algorithm, self.policy, workplace.family, self.base_kwargs, self.seed
            )
        adapter = workplace.kept[key]
        tensors = {name: torch.tensor(value) for name, value in self.split(vector).items()}
        actor: Actor = adapter.make_actor({**adapter.initial_params(), **tensors})
        return actor


# Adaptation -----------------------------------------------------------------------------------------


class Trials:
    """Runs episodes of one task, and keeps count of what that took.

    Args:
        task: what the environment is set to; None leaves it as it is.
        layout: of the policies.
        normalizer: of the policies.
        workplace: where episodes are run.
        observed: whether statistics of the observations are kept.
    """

    def __init__(
        self,
        task: Any,
        layout: Layout,
        normalizer: Normalizer | None,
        workplace: Workplace,
        *,
        observed: bool = False,
    ) -> None:
        self.task = task
        self.layout = layout
        self.normalizer = normalizer
        self.workplace = workplace
        self.observed = observed
        self.num_steps = 0
        self.moments: Moments | None = None

    def run(self, vector: Array, episodes: int, seed: int, *, deterministic: bool) -> EpisodeBatch:
        """Return episodes of the policy of a vector (d,)."""
        actor = self.layout.make_actor(vector, self.normalizer, self.workplace)
        batch = RolloutJob(self.task, actor, episodes, seed, deterministic).run(self.workplace)
        self.num_steps += batch.num_steps
        if self.observed:
            moments = Moments.of(batch.observations[batch.mask > 0])
            self.moments = moments if self.moments is None else self.moments.merged(moments)
        return batch


class Update(NamedTuple):
    """What one update of adaptation gives."""

    vector: Array
    """(d,)."""
    batch: EpisodeBatch
    """Episodes that tell the critic of the adapted model about the task."""
    start_return: float
    """Mean return measured of the policy before the update."""


class Adaptation(Protocol):
    """How a policy is updated on a task."""

    def run(
        self, vector: Array, step_sizes: Array, trials: Trials, episodes: int, seed: int
    ) -> Update:
        """Return the policy after one update.

        Args:
            vector: (d,), before it.
            step_sizes: (k,), one a tensor.
            trials: runs the episodes.
            episodes: how many may be run.
            seed: of all that is random.
        """
        ...


@dataclass(frozen=True)
class GradientStep:
    """A step along the policy gradient: θ′ = θ + α ∘ ∇ Σ w Â log π, with MAML's baseline and advantages."""

    gamma: float
    gae_lambda: float
    normalize: bool
    """Give the advantages zero mean and unit variance over the batch."""

    def run(
        self, vector: Array, step_sizes: Array, trials: Trials, episodes: int, seed: int
    ) -> Update:
        """Return the policy after one step on episodes of the stochastic policy; see `Adaptation`."""
        batch = trials.run(vector, episodes, seed, deterministic=False)
        layout = trials.layout
        assert isinstance(layout, MLPLayout)
        vector = self.step(vector, step_sizes, layout, trials.normalizer, batch)
        return Update(vector, batch, float(batch.episode_returns.mean()))

    def step(
        self,
        vector: Array,
        step_sizes: Array,
        layout: MLPLayout,
        normalizer: Normalizer | None,
        batch: EpisodeBatch,
        ratios: Array | None = None,
    ) -> Array:
        """Return the parameters (d,) after a step on a batch.

        They collected it themselves; or `ratios` (E, H) say how much each step counts.
        """
        gradient = self.gradient(vector, layout, normalizer, batch, ratios)
        updated = vector + layout.spread(step_sizes) * gradient
        return np.asarray(updated.astype(vector.dtype))

    def gradient(
        self,
        vector: Array,
        layout: MLPLayout,
        normalizer: Normalizer | None,
        batch: EpisodeBatch,
        ratios: Array | None = None,
    ) -> Array:
        """Return the policy gradient in the parameters; see `step`. Shape: (d,)."""
        taken = batch.mask > 0
        observations, weights = batch.observations[taken], self._advantages(batch)[taken]
        if ratios is not None:
            weights = weights * ratios[taken] / ratios[taken].mean()
        weights = (weights / taken.sum()).astype(vector.dtype)
        if normalizer is not None:
            observations = (observations - normalizer.mean) / normalizer.std
        tensors = layout.split(vector)
        layers = layout.layers(tensors)
        values = policy_gradient.forward(
            layers, layout.activation, observations.astype(vector.dtype)
        )
        gradients: dict[str, Array] = {}
        if layout.num_choices is not None:
            score = policy_gradient.categorical_score(values[-1], batch.actions[taken], weights)
        else:
            score, gradients["log_std"] = policy_gradient.gaussian_score(
                values[-1], layout.log_std(tensors), batch.actions[taken], weights
            )
        by_layer = policy_gradient.backward(layers, layout.activation, values, score)
        for name, (weight, bias) in zip(layout.layer_names, by_layer, strict=True):
            gradients[f"{name}.weight"], gradients[f"{name}.bias"] = weight.T, bias
        return layout.join(gradients)

    def _advantages(self, batch: EpisodeBatch) -> Array:
        discounted = returns.discounted_returns(batch.rewards, batch.mask, self.gamma)
        values = returns.linear_baseline(batch.observations, discounted, batch.mask)
        advantages = returns.generalized_advantages(
            batch.rewards, values, batch.mask, self.gamma, self.gae_lambda
        )
        return returns.normalize(advantages, batch.mask) if self.normalize else advantages


@dataclass(frozen=True)
class HillClimb:
    """Perturb, measure, keep what is better: needs no gradient, and no noise in the actions.

    Each evaluation has seeds of its own: on a robot, chance cannot be repeated.
    """

    mode: ClimbMode
    repeats: int
    deterministic: bool

    def run(
        self, vector: Array, step_sizes: Array, trials: Trials, episodes: int, seed: int
    ) -> Update:
        """Return the best policy met; see `Adaptation`."""
        spread = trials.layout.spread(step_sizes).astype(vector.dtype)
        best: tuple[float, EpisodeBatch] | None = None
        evaluations = candidates = 0

        def evaluate(candidate: Array, count: int) -> float:
            nonlocal best, evaluations
            batch = trials.run(
                candidate,
                count,
                derive_seed(seed, 0, evaluations),
                deterministic=self.deterministic,
            )
            evaluations += 1
            value = float(batch.episode_returns.mean())
            if best is None or value > best[0]:
                best = value, batch
            return value

        def perturb(centre: Array) -> Array:
            nonlocal candidates
            epsilon = direction(derive_seed(seed, 1, candidates), len(centre))
            candidates += 1
            return np.asarray(centre + spread * epsilon)

        climbed = hill_climb(
            vector, evaluate, perturb, episodes=episodes, mode=self.mode, repeats=self.repeats
        )
        assert best is not None
        return Update(climbed.params, best[1], climbed.start_return)


# Jobs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AdaptJob:
    """One update of a policy on a task."""

    task: Any
    layout: Layout
    adaptation: Adaptation
    vector: Array
    """(d,)."""
    step_sizes: Array
    """(k,)."""
    normalizer: Normalizer | None
    episodes: int
    seed: int

    def run(self, workplace: Workplace) -> Update:
        """Collect and update."""
        trials = Trials(self.task, self.layout, self.normalizer, workplace)
        return self.adaptation.run(self.vector, self.step_sizes, trials, self.episodes, self.seed)


class Fitness(NamedTuple):
    """What is measured of a candidate, or of an antithetic pair."""

    returns: Array
    """(members, updates + 1): mean returns before adaptation and after each update."""
    num_steps: int
    """Environment steps, adaptation's included."""
    moments: Moments | None
    """Of all observations, if they were asked for."""


@dataclass(frozen=True)
class FitnessJob:
    """A candidate, or both members of an antithetic pair, adapted to a task and measured after it."""

    task: Any
    layout: Layout
    adaptation: Adaptation | None
    centre: Array
    """(d + k,): parameters, and the logarithm of each tensor's step size."""
    noise: Array | float
    """Scale of the perturbation, of each number of the centre or of all."""
    noise_seed: int | None
    """Of the pair's direction; None measures the centre alone."""
    normalizer: Normalizer | None
    updates: int
    support_episodes: int
    """Before each update."""
    query_episodes: int
    """After the last one."""
    deterministic: bool
    """Whether the policy that is measured acts without noise."""
    observed: bool
    seed: int
    """Of everything else, the same for both members."""

    def run(self, workplace: Workplace) -> Fitness:
        """Adapt and measure."""
        trials = Trials(self.task, self.layout, self.normalizer, workplace, observed=self.observed)
        measured = [self._measure(member, trials) for member in self._members()]
        return Fitness(np.array(measured), trials.num_steps, trials.moments)

    def _members(self) -> list[Array]:
        if self.noise_seed is None:
            return [self.centre]
        step = self.noise * direction(self.noise_seed, len(self.centre))
        return [self.centre + step, self.centre - step]

    def _measure(self, member: Array, trials: Trials) -> list[float]:
        size = self.layout.size
        vector, step_sizes = member[:size].astype(np.float32), np.exp(member[size:])
        measured = []
        for step in range(self.updates):
            assert self.adaptation is not None
            update = self.adaptation.run(
                vector, step_sizes, trials, self.support_episodes, derive_seed(self.seed, step)
            )
            measured.append(update.start_return)
            vector = update.vector
        query = trials.run(
            vector,
            self.query_episodes,
            derive_seed(self.seed, self.updates),
            deterministic=self.deterministic,
        )
        return [*measured, float(query.episode_returns.mean())]
