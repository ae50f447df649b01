"""Evolution strategies on the return after adaptation (ES-MAML, Song et al. 2020, arXiv:1910.01215).

    θ: the policy's parameters; α: the step sizes of adaptation, one per tensor
    repeat:
        draw tasks, and directions ε
        for each direction, on one task and with the same random numbers for both signs:
            adapt the policy θ ± σε to the task                 # `adaptation`
                "gradient": steps along the policy gradient, as in MAML
                "hill_climbing": perturb by α, keep what was measured to be better
                "none": nothing is adapted, one policy is trained for all tasks
            F± = the return of the adapted policy
        step along g = 1/(2nσ) Σ (F⁺ − F⁻) ε, F replaced by its centred rank (Salimans et al. 2017, arXiv:1703.03864)

No derivative goes through the adaptation, so it may be anything, and the policy may be deterministic. α is searched for
with θ. "cmaes" and "sepcmaes" replace the last line by CMA-ES (Hansen 2016, arXiv:1604.00772), with every candidate
measured on the same tasks.
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
from torch import Tensor

from metamotor.meta.actors import MLP, Actor, CategoricalActor
from metamotor.meta.adam import adam_places, adam_state, load_adam
from metamotor.meta.checkpoints import fitting
from metamotor.meta.checks import check_choice, check_flag, check_number, check_whole
from metamotor.meta.functional import evolution
from metamotor.meta.functional.evolution import ClimbMode
from metamotor.meta.functional.inner_step import Params
from metamotor.meta.functional.moments import Moments
from metamotor.meta.learner import MetaLearner
from metamotor.meta.on_policy import OnPolicyAdapter
from metamotor.meta.rollouts import EpisodeBatch, derive_seed
from metamotor.meta.search import (
    Adaptation,
    AdaptJob,
    Fitness,
    FitnessJob,
    GradientStep,
    HillClimb,
    Layout,
    MLPLayout,
    Normalizer,
    TorchLayout,
)
from metamotor.meta.workers import Sampler

Array = NDArray[Any]
AdaptationKind = Literal["gradient", "hill_climbing", "none"]
Outer = Literal["adam", "cmaes", "sepcmaes"]

SMALLEST_DEVIATION = 1e-2
"""Observations that vary by less are not blown up any further."""
MAX_CMA_PARAMETERS = 400
"""Up to which full CMA-ES is taken: each candidate costs d² numbers and d³ operations."""


@dataclass(frozen=True, kw_only=True)
class ESConfig:
    """Hyper-parameters of ES."""

    adaptation: AdaptationKind = "gradient"
    """How a policy is adapted to a task."""
    updates: int = 1
    """Updates of adaptation in training."""
    episodes_per_task: int = 10
    """Episodes of a task before each update."""
    inner_lr: float = 0.1
    """α, the step size of "gradient"; where it starts if it is learned."""
    climb_sigma: float = 0.05
    """α, the standard deviation of "hill_climbing"'s perturbations; where it starts if it is learned."""
    climb_mode: ClimbMode = "batch"
    """"average" measures a candidate over `climb_repeats` episodes; "batch" takes the best of as many candidates, one
    episode each."""
    climb_repeats: int = 1
    """P of "hill_climbing"; 1 takes every improvement at once."""
    learn_step_sizes: bool = True
    """Search for one α per parameter tensor, on a logarithmic scale."""
    later_step_decay: float = 0.5
    """Factor on α for each update beyond the trained ones."""
    outer: Outer = "adam"
    """Outer optimiser."""
    population: int = 40
    """Policies a meta-iteration; "adam" takes them in antithetic pairs."""
    meta_batch_size: int = 20
    """Tasks a meta-iteration. With "adam" each pair meets one of them, in turn; with CMA-ES each policy meets all."""
    episodes_per_evaluation: int = 2
    """Episodes that measure a policy on a task."""
    deterministic: bool | None = None
    """Measure the policy without noise; None does so unless adaptation is "gradient", which needs the noise."""
    sigma: float = 0.05
    """σ of the search; where CMA-ES starts from."""
    outer_lr: float = 0.02
    """Adam's step size ("adam")."""
    weight_decay: float = 0.0
    """L2 decay of θ ("adam")."""
    search_log_std: bool = False
    """Search for the policy's own noise too, which only matters where it is measured with noise."""
    normalize_observations: bool = False
    """Give observations zero mean and unit variance, by statistics of all episodes so far."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what was received."""
        check_choice("adaptation", self.adaptation, get_args(AdaptationKind))
        check_choice("climb_mode", self.climb_mode, get_args(ClimbMode))
        check_choice("outer", self.outer, get_args(Outer))
        for name in (
            "updates",
            "episodes_per_task",
            "climb_repeats",
            "meta_batch_size",
            "episodes_per_evaluation",
        ):
            check_whole(name, getattr(self, name), 1)
        check_whole("population", self.population, 2)
        for name in ("inner_lr", "climb_sigma", "sigma", "outer_lr"):
            check_number(name, getattr(self, name), above=0.0)
        check_number("weight_decay", self.weight_decay, low=0.0)
        check_number("later_step_decay", self.later_step_decay, low=0.0, high=1.0)
        for name in ("learn_step_sizes", "search_log_std", "normalize_observations"):
            check_flag(name, getattr(self, name))
        check_choice("deterministic", self.deterministic, (True, False, None))
        if self.outer == "adam":
            self._check_pairs()
        least = 2 * (self.climb_repeats if self.climb_mode == "average" else 1)
        if self.adaptation == "hill_climbing" and self.episodes_per_task < least:
            raise ValueError(
                f"climb_mode={self.climb_mode!r} with climb_repeats={self.climb_repeats} needs episodes_per_task of "
                f"at least {least}, got {self.episodes_per_task}"
            )

    def _check_pairs(self) -> None:
        if self.population % 2:
            raise ValueError(
                f"population must be even, as antithetic pairs make it up, got {self.population}"
            )
        if self.meta_batch_size > self.population // 2:
            raise ValueError(
                f"meta_batch_size must not exceed the {self.population // 2} pairs of the population, each of which "
                f"meets one task, got {self.meta_batch_size}"
            )

    @property
    def measured_without_noise(self) -> bool:
        """Whether policies are measured without noise."""
        return self.adaptation != "gradient" if self.deterministic is None else self.deterministic


@dataclass(frozen=True)
class Adapted:
    """A policy on its way to one task."""

    vector: Array
    """(d,) float32: the tensors that are searched for, of observations as they are normalised."""
    normalizer: Normalizer | None = None
    batch: EpisodeBatch | None = None
    """What was last met; the critic of a model is fitted to it."""


class ES(MetaLearner):
    """Evolution strategies over PPO's or A2C's policies; see `MetaLearner` for the arguments.

    Raises:
        ValueError: if a policy that is not a plain multilayer perceptron is to be adapted by "gradient" or to have its
            observations normalised, or if it is too large for full CMA-ES.
    """

    Config = ESConfig
    fitting = OnPolicyAdapter.fitting
    config: ESConfig
    adapter: OnPolicyAdapter

    def _setup(self) -> None:
        config = self.config
        self.adapter = OnPolicyAdapter(
            self.algorithm, self.policy, self.family, self.base_kwargs, self.seed
        )
        self.params = self.adapter.initial_params()
        self.layout = self._make_layout()
        vector = self.layout.join({name: self.params[name].numpy() for name in self.layout.names})
        self.centre = torch.tensor(vector, requires_grad=True)
        start = config.inner_lr if config.adaptation == "gradient" else config.climb_sigma
        self.log_step_sizes = torch.full(
            (len(self.layout.names),), float(np.log(start)), requires_grad=True
        )
        size = self.family.observation_space.shape[0]
        self.moments = Moments.empty(size)
        groups: list[dict[str, Any]] = [
            {"params": [self.centre], "weight_decay": config.weight_decay},
            {"params": [self.log_step_sizes]},
        ]
        self.optimizer = torch.optim.Adam(groups, lr=config.outer_lr)
        self.cma = self._make_cma()

    def _make_layout(self) -> Layout:
        adapter, config = self.adapter, self.config
        names = tuple(n for n in adapter.actor_names if n != "log_std" or config.search_log_std)
        shapes = tuple(tuple(self.params[name].shape) for name in names)
        actor: Any = adapter.make_actor(self.params)
        if isinstance(actor.network, MLP):
            log_std = self.params.get("log_std")
            return MLPLayout(
                names,
                shapes,
                actor.network.activation,
                actor.num_choices if isinstance(actor, CategoricalActor) else None,
                None if log_std is None or config.search_log_std else log_std.numpy(),
            )
        for wanted, option in (
            (config.adaptation == "gradient", "adaptation='gradient'"),
            (config.normalize_observations, "normalize_observations=True"),
        ):
            if wanted:
                raise ValueError(
                    f"{option} fits plain multilayer perceptrons (MlpPolicy with Tanh or ReLU layers, or none), not "
                    f"{self.policy!r} with {self.base_kwargs.get('policy_kwargs')}"
                )
        return TorchLayout(names, shapes, self.algorithm, self.policy, self.base_kwargs, self.seed)

    def _make_cma(self) -> Any:
        config = self.config
        if config.outer == "adam":
            return None
        searched = self._searched
        if config.outer == "cmaes" and len(searched) > MAX_CMA_PARAMETERS:
            raise ValueError(
                f"outer='cmaes' keeps a full covariance and takes up to {MAX_CMA_PARAMETERS} parameters, but there are "
                f"{len(searched)}: take outer='sepcmaes', or a smaller policy such as "
                "policy_kwargs={'net_arch': []}"
            )
        covariance: evolution.Covariance = "full" if config.outer == "cmaes" else "diagonal"
        return evolution.make_cma(searched, config.sigma, config.population, covariance)

    @property
    def _tunes_step_sizes(self) -> bool:
        return self.config.learn_step_sizes and self.config.adaptation != "none"

    @property
    def _whole(self) -> Array:
        """θ and log α. Shape: (d + k,) float64."""
        parts = (self.centre, self.log_step_sizes)
        return np.concatenate([part.detach().numpy().astype(np.float64) for part in parts])

    @property
    def _searched(self) -> Array:
        """What is searched for: θ, and log α if it is learned."""
        return self._whole if self._tunes_step_sizes else self._whole[: self.layout.size]

    # Adaptation -----------------------------------------------------------------------------------

    @property
    def adaptation(self) -> Adaptation | None:
        """What updates a policy on a task; None leaves it as it is."""
        config, model = self.config, self.adapter.template
        if config.adaptation == "gradient":
            return GradientStep(model.gamma, model.gae_lambda, bool(model.normalize_advantage))
        if config.adaptation == "hill_climbing":
            return HillClimb(config.climb_mode, config.climb_repeats, config.measured_without_noise)
        return None

    @property
    def trained_updates(self) -> int:
        """Updates of adaptation in training."""
        return 0 if self.config.adaptation == "none" else self.config.updates

    def step_sizes(self, step: int, scale: float = 1.0) -> Array:
        """Return α of an update, one a tensor; beyond the trained ones it decays. Shape: (k,)."""
        decay = self.config.later_step_decay ** max(0, step - self.trained_updates + 1)
        sizes = self.log_step_sizes.detach().numpy().astype(np.float64)
        return np.asarray(scale * decay * np.exp(sizes))

    @property
    def normalizer(self) -> Normalizer | None:
        """What observations are normalised by."""
        if not self.config.normalize_observations:
            return None
        return Normalizer(self.moments.mean, self.moments.deviation(SMALLEST_DEVIATION))

    def initial_state(self) -> Adapted:
        """Return the meta-parameters as the policy of a task of which nothing is known."""
        return Adapted(self.centre.detach().numpy().copy(), self.normalizer)

    def make_actor(self, state: Adapted) -> Actor:
        """Return the policy as rollout workers run it."""
        if isinstance(self.layout, MLPLayout):
            return self.layout.make_actor(state.vector, state.normalizer)
        return self.adapter.make_actor(self._params(state))

    def make_model(self, state: Adapted, env: Any) -> BaseAlgorithm:
        """Return a model of the base learner, normaliser folded in, its critic fitted to what was experienced."""
        params = self._params(state)
        if state.batch is not None:
            params = self.adapter.fit_critic_to(params, state.batch)
        return self.adapter.make_model(params, env)

    def _params(self, state: Adapted) -> Params:
        """Return all parameters of a policy and its critic, of observations as they are."""
        params = {name: value.clone() for name, value in self.params.items()}
        if not isinstance(self.layout, MLPLayout):
            tensors = self.layout.split(state.vector)
            return params | {name: torch.tensor(value) for name, value in tensors.items()}
        folded = self.layout.folded(state.vector, state.normalizer)
        params |= {name: torch.tensor(value) for name, value in folded.items()}
        if state.normalizer is not None:
            # The critic's features are random: they should see what they were made for.
            hidden = "mlp_extractor.value_net.0"
            first = hidden if f"{hidden}.weight" in params else "value_net"
            weight, bias = evolution.fold_normalizer(
                params[f"{first}.weight"].numpy(),
                params[f"{first}.bias"].numpy(),
                *state.normalizer,
            )
            params |= {
                f"{first}.weight": torch.tensor(weight),
                f"{first}.bias": torch.tensor(bias),
            }
        return params

    def log_probs(self, state: Adapted, batch: EpisodeBatch) -> list[Array]:
        """Return log π(a|s) of recorded steps; see `MetaLearner.log_probs`."""
        if isinstance(self.adaptation, HillClimb):
            return super().log_probs(state, batch)
        return [self.adapter.log_probs_of(self._params(state), batch)]

    def update(
        self,
        state: Adapted,
        batch: EpisodeBatch,
        step: int,
        scale: float = 1.0,
        ratios: Array | None = None,
    ) -> Adapted:
        """Return the policy after a gradient step on one task's episodes; without adaptation, as it is.

        See `MetaLearner.update`.
        """
        adaptation = self.adaptation
        if adaptation is None:
            return state
        if not isinstance(adaptation, GradientStep):
            return super().update(state, batch, step, scale, ratios)  # type: ignore[no-any-return]
        assert isinstance(self.layout, MLPLayout)
        vector = adaptation.step(
            state.vector, self.step_sizes(step, scale), self.layout, state.normalizer, batch, ratios
        )
        return Adapted(vector, state.normalizer, batch)

    def adapt_states(
        self,
        states: Sequence[Adapted],
        tasks: Sequence[Any],
        *,
        step: int,
        episodes: int,
        seeds: Sequence[int],
        sampler: Sampler,
        scale: float = 1.0,
    ) -> list[Adapted]:
        """Return the policies after one more update each; without adaptation, as they are.

        See `MetaLearner.adapt_states`. Hill climbing runs `episodes` in all, those that measure the policy as it is
        included.

        Raises:
            ValueError: if the episodes do not suffice for hill climbing.
        """
        adaptation = self.adaptation
        if adaptation is None:
            return list(states)
        jobs = [
            AdaptJob(
                task,
                self.layout,
                adaptation,
                state.vector,
                self.step_sizes(step, scale),
                state.normalizer,
                episodes,
                seed,
            )
            for state, task, seed in zip(states, tasks, seeds, strict=True)
        ]
        return [
            Adapted(update.vector, state.normalizer, update.batch)
            for state, update in zip(states, sampler.collect(jobs), strict=True)
        ]

    # Meta-training --------------------------------------------------------------------------------

    def _meta_iteration(self) -> dict[str, float]:
        tasks = self.family.sample(
            self.config.meta_batch_size,
            split="train",
            seed=derive_seed(self.seed, self.iteration, 0),
        )
        start = time.perf_counter()
        candidates = None
        if self.cma is not None:
            seed = derive_seed(self.seed, self.iteration, 1)
            candidates = list(evolution.cma_candidates(self.cma, seed))
        jobs = (
            self._pair_jobs(tasks)
            if candidates is None
            else self._candidate_jobs(tasks, candidates)
        )
        results = self.sampler.collect(jobs)
        sampled = time.perf_counter()
        self.num_timesteps += sum(result.num_steps for result in results)
        scalars = self._returns(results)
        if candidates is None:
            scalars |= self._adam_step(results, jobs)
        else:
            scalars |= self._cma_step(results, candidates)
        for result in results:
            if result.moments is not None:
                self.moments = self.moments.merged(result.moments)
        if self._tunes_step_sizes:
            scalars["train/step_size"] = float(self.step_sizes(0).mean())
        scalars["time/sampling_seconds"] = sampled - start
        scalars["time/optimising_seconds"] = time.perf_counter() - sampled
        return scalars

    def _pair_jobs(self, tasks: Sequence[Any]) -> list[FitnessJob]:
        """Return one job a pair, each on one task; a pair is sent as the seed of its direction."""
        whole = self._whole
        noise = np.full(len(whole), self.config.sigma)
        noise[len(self._searched) :] = 0.0
        return [
            self._job(
                tasks[index % len(tasks)],
                whole,
                noise,
                derive_seed(self.seed, self.iteration, 1, index),
                derive_seed(self.seed, self.iteration, 2, index),
            )
            for index in range(self.config.population // 2)
        ]

    def _candidate_jobs(
        self, tasks: Sequence[Any], candidates: Sequence[Array]
    ) -> list[FitnessJob]:
        """Return one job a candidate and task; the random numbers of a task are the same for all candidates."""
        rest = self._whole[len(self._searched) :]
        return [
            self._job(
                task,
                np.concatenate([candidate, rest]),
                0.0,
                None,
                derive_seed(self.seed, self.iteration, 2, index),
            )
            for candidate in candidates
            for index, task in enumerate(tasks)
        ]

    def _job(
        self, task: Any, centre: Array, noise: Array | float, noise_seed: int | None, seed: int
    ) -> FitnessJob:
        config = self.config
        return FitnessJob(
            task=task,
            layout=self.layout,
            adaptation=self.adaptation,
            centre=centre,
            noise=noise,
            noise_seed=noise_seed,
            normalizer=self.normalizer,
            updates=self.trained_updates,
            support_episodes=config.episodes_per_task,
            query_episodes=config.episodes_per_evaluation,
            deterministic=config.measured_without_noise,
            observed=config.normalize_observations,
            seed=seed,
        )

    def _returns(self, results: Sequence[Fitness]) -> dict[str, float]:
        """Return the mean returns of all perturbed policies, before adaptation and after each update."""
        means = np.concatenate([result.returns for result in results]).mean(axis=0)
        scalars = {"rollout/pre": float(means[0])}
        for step, value in enumerate(means[1:], start=1):
            scalars[f"rollout/post_{step}"] = float(value)
        if len(means) > 1:
            scalars["rollout/gain"] = float(means[-1] - means[0])
        return scalars

    def _adam_step(
        self, results: Sequence[Fitness], jobs: Sequence[FitnessJob]
    ) -> dict[str, float]:
        returns = np.stack([result.returns[:, -1] for result in results])
        groups = np.arange(len(jobs)) % self.config.meta_batch_size
        fitness = evolution.shaped_fitness(returns, groups)
        seeds = (derive_seed(self.seed, self.iteration, 1, i) for i in range(len(jobs)))
        size = len(self._whole)
        directions = (evolution.direction(seed, size) for seed in seeds)
        gradient = evolution.search_gradient(fitness, directions, self.config.sigma)
        gradient[len(self._searched) :] = 0.0
        ascent = torch.tensor(gradient, dtype=torch.float32)
        self.centre.grad = -ascent[: self.layout.size]
        self.log_step_sizes.grad = -ascent[self.layout.size :] if self._tunes_step_sizes else None
        self.optimizer.step()
        return {"train/gradient_norm": float(np.linalg.norm(gradient))}

    def _cma_step(
        self, results: Sequence[Fitness], candidates: Sequence[Array]
    ) -> dict[str, float]:
        returns = np.array([result.returns[0, -1] for result in results])
        evolution.cma_update(
            self.cma, candidates, returns.reshape(len(candidates), -1).mean(axis=1)
        )
        mean = torch.tensor(self.cma.mean, dtype=torch.float32)
        with torch.no_grad():
            self.centre.copy_(mean[: self.layout.size])
            if self._tunes_step_sizes:
                self.log_step_sizes.copy_(mean[self.layout.size :])
        return {"train/sigma": float(evolution.cma_state(self.cma)["sigma"])}

    # State ----------------------------------------------------------------------------------------

    def _leaves(self) -> Params:
        return {"centre": self.centre, "log_step_sizes": self.log_step_sizes}

    def _state(self) -> Params:
        tensors = self._state_of_search()
        return tensors | adam_state(self.optimizer, self._leaves())

    def _state_of_search(self) -> Params:
        """Return all of the state but the optimiser's."""
        tensors = {name: leaf.detach() for name, leaf in self._leaves().items()}
        if self.config.normalize_observations:
            for name in ("count", "mean", "variance"):
                part = getattr(self.moments, name)
                tensors[f"moments.{name}"] = torch.tensor(part, dtype=torch.float64)
        if self.cma is not None:
            for name, number in evolution.cma_state(self.cma).items():
                tensors[f"cma.{name}"] = torch.tensor(number)
        return tensors

    def _load_state(self, tensors: Mapping[str, Tensor]) -> None:
        leaves = self._leaves()
        found = fitting(tensors, self._state_of_search() | adam_places(leaves, tensors))
        with torch.no_grad():
            for name, leaf in leaves.items():
                leaf.copy_(found[name])
        load_adam(self.optimizer, leaves, found)
        if self.config.normalize_observations:
            self.moments = Moments(
                float(found["moments.count"]),
                found["moments.mean"].numpy().copy(),
                found["moments.variance"].numpy().copy(),
            )
        if self.cma is not None:
            state = {
                name.removeprefix("cma."): value.numpy()
                for name, value in found.items()
                if name.startswith("cma.")
            }
            evolution.load_cma_state(self.cma, state)
