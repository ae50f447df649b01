"""Stable-Baselines3 algorithms as base learners: a model of the algorithm as a template, parameters out and in.

Any class that derives from Stable-Baselines3's bases will do: what its models consist of is asked of the model itself,
by the method that Stable-Baselines3 saves it with.

Shapes: as in Stable-Baselines3's policies; parameters are mappings from the names of their tensors.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
import pickle
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from sb3_contrib import ARS
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import recursive_getattr
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn

from metamotor.meta import policies
from metamotor.meta.actors import Actor
from metamotor.meta.checkpoints import fitting
from metamotor.meta.checks import (
    check_finite,
    check_model,
    check_net_arch,
    check_number,
    check_policy,
    check_same_spaces,
    check_spaces,
    check_whole,
)
from metamotor.meta.functional.inner_step import Params
from metamotor.meta.rollouts import not_finite, require_finite, task_setter
from metamotor.meta.threads import one_torch_thread


class Experienced(NamedTuple):
    """What an algorithm met while it learned."""

    num_timesteps: int
    """Steps that the environment really took."""
    episode_returns: tuple[float, ...]
    """Undiscounted returns of the episodes that ended, in order."""


@dataclass(frozen=True)
class Recipe:
    """What models of a base learner are made from; small, and can be sent to a worker.

    Args:
        algorithm: the algorithm's class, such as `PPO` or `SAC`.
        policy: as for the algorithm, such as "MlpPolicy" or a policy class.
        base_kwargs: the algorithm's own arguments (`gamma`, `policy_kwargs`, …). `action_noise` may also be a number:
            the standard deviation of normal noise, in units of half the action space.
    """

    algorithm: type[BaseAlgorithm]
    policy: str | type[BasePolicy]
    base_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse arguments that are not the user's to choose, or cannot work."""
        if refused := sorted(
            {"env", "seed", "device", "_init_setup_model"} & set(self.base_kwargs)
        ):
            raise ValueError(f"base_kwargs may not hold {refused}: the meta-learner sets these")
        check_net_arch(self.base_kwargs)
        if isinstance(noise := self.base_kwargs.get("action_noise"), int | float):
            check_number("action_noise", noise, low=0.0)

    def new_model(self, env: Any, seed: int | None, **changes: Any) -> BaseAlgorithm:
        """Return a new model of the algorithm, with its initial weights, on an environment.

        Args:
            env: a gymnasium environment.
            seed: of everything random in the model.
            changes: arguments that go before `base_kwargs`, as far as the algorithm knows them.
        """
        kwargs = copy.deepcopy(dict(self.base_kwargs))  # models change what they are given
        kwargs |= {name: value for name, value in changes.items() if self._knows(name)}
        if isinstance(noise := kwargs.get("action_noise"), int | float):
            size = env.action_space.shape
            kwargs["action_noise"] = NormalActionNoise(np.zeros(size), np.full(size, float(noise)))
        make: Any = self.algorithm  # the bases' own constructors differ
        vec_env = DummyVecEnv([lambda: Monitor(env)])
        with one_torch_thread():  # initial weights differ by the number of threads
            model: BaseAlgorithm = make(self.policy, vec_env, device="cpu", seed=seed, **kwargs)
        return model

    def obstacle_to_sending(self) -> str:
        """Return why it cannot be sent to a worker process, or "" if it can."""
        try:
            pickle.dumps(self)
        except Exception as error:  # whatever a user's own class raises
            return str(error) or type(error).__name__
        return ""

    def _knows(self, name: str) -> bool:
        parameters = inspect.signature(self.algorithm).parameters.values()
        return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)

    def make_model(
        self, params: Mapping[str, Tensor], env: Any, seed: int | None, **changes: Any
    ) -> BaseAlgorithm:
        """Return a new model with these parameters; see `new_model`."""
        model = self.new_model(env, seed, **changes)
        set_params(model, params)
        return model

    def learn(
        self,
        params: Mapping[str, Tensor],
        env: gymnasium.Env[Any, Any],
        total_timesteps: int,
        seed: int,
        *,
        horizon: int,
        task: Any = None,
        updates: int | None = None,
    ) -> tuple[Params, Experienced]:
        """Return the parameters after the algorithm's own `learn`; see `BaseLearner.learn`.

        Args:
            params: where it starts.
            env: an environment, which is used and stays open.
            total_timesteps: environment steps.
            seed: of everything random.
            horizon: steps after which an episode ends.
            task: given to the environment; None leaves it as it is.
            updates: of an on-policy algorithm.
        """
        check_whole("total_timesteps", total_timesteps, 1)
        watched = _Watched(env, task, horizon)
        changes = self._sized(total_timesteps, updates)
        total_timesteps = changes.get("n_steps", 0) * (updates or 0) or total_timesteps
        with one_torch_thread(), _sized_later():
            model = self.make_model(params, watched, seed, **changes)
            model.set_logger(Logger(folder=None, output_formats=[]))
            # Again: making the model has drawn numbers for weights, as many as its libraries like.
            model.set_random_seed(seed)
            diverged = (
                f"{self.algorithm.__name__} diverged while it learned, lower its learning_rate"
            )
            try:
                model.learn(total_timesteps)
            except ValueError as error:
                if str(error).startswith("Expected parameter"):  # of one of torch's distributions
                    raise ValueError(f"{diverged}: {error}") from error
                raise
        learned = params_of(model)
        check_finite(learned.items(), diverged)
        return learned, Experienced(watched.num_timesteps, tuple(watched.returns))

    def _sized(self, total_timesteps: int, updates: int | None) -> dict[str, int]:
        """Return the arguments that follow from the amount of experience."""
        if issubclass(self.algorithm, OnPolicyAlgorithm) and updates is not None:
            n_steps = total_timesteps // updates
            if n_steps < 2:
                raise ValueError(
                    f"{total_timesteps} steps are too few for {updates} updates of "
                    f"{self.algorithm.__name__}, which take at least 2 each"
                )
            return {"n_steps": n_steps}
        if issubclass(self.algorithm, OffPolicyAlgorithm) and "buffer_size" not in self.base_kwargs:
            return {"buffer_size": total_timesteps}
        return {}


class BaseLearner:
    """What any meta-learner needs of an algorithm.

    The adapter holds one model of the algorithm as a template: its policy class, hyper-parameters and initial weights.
    The template itself is never changed.

    Args:
        algorithm: the algorithm's class, such as `PPO` or `SAC`.
        policy: as for the algorithm, such as "MlpPolicy" or a policy class.
        family: the task family, for its spaces and environment.
        base_kwargs: the algorithm's own arguments; see `Recipe`.
        seed: of the initial weights.

    Raises:
        ValueError: if a space or an option is not supported.
        TypeError: if the family's environment does not take a task.
    """

    def __init__(
        self,
        algorithm: type[BaseAlgorithm],
        policy: str | type[BasePolicy],
        family: Any,
        base_kwargs: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        check_spaces(family)
        check_policy(policy, family)
        self.recipe = Recipe(algorithm, policy, dict(base_kwargs or {}))
        self.algorithm = algorithm
        self.family = family
        self.seed = seed
        self.template: Any = self._new_template()
        self.template.env = None  # only its spaces were needed; a model keeps no simulator alive
        check_model(self.template)

    def _new_template(self) -> BaseAlgorithm:
        env = self.family.make_env()
        task_setter(env)  # is there, or training ends here
        check_same_spaces(env, self.family)
        changes = {"buffer_size": 1} if issubclass(self.algorithm, OffPolicyAlgorithm) else {}
        try:
            with _sized_later():
                return self.recipe.new_model(env, self.seed, **changes)
        except Exception as error:  # whatever the policy's and the algorithm's own code runs into
            known = self.algorithm.policy_aliases
            if isinstance(self.recipe.policy, str) and self.recipe.policy not in known:
                raise ValueError(
                    f"{self.algorithm.__name__} has no policy {self.recipe.policy!r}; policy must be one of "
                    f"{', '.join(known)}"
                ) from error
            raise ValueError(
                f"Stable-Baselines3 cannot make {self.algorithm.__name__} with the policy "
                f"{self.recipe.policy!r} and {dict(self.recipe.base_kwargs)}: {error}"
            ) from error

    def initial_params(self) -> Params:
        """Return copies of the template's parameters: all that `learn` changes but the optimisers; see `params_of`."""
        return params_of(self.template)

    def make_model(
        self, params: Mapping[str, Tensor], env: Any, seed: int | None = None
    ) -> BaseAlgorithm:
        """Return a new model of the algorithm with these parameters, on this environment.

        Its optimisers and its replay buffer are new.

        Args:
            params: by name.
            env: a gymnasium environment.
            seed: of everything random in the model; that of the initial weights by default.
        """
        return self.recipe.make_model(params, env, self.seed if seed is None else seed)

    def learn(
        self,
        params: Mapping[str, Tensor],
        env: gymnasium.Env[Any, Any],
        total_timesteps: int,
        seed: int,
        *,
        updates: int | None = None,
    ) -> tuple[Params, Experienced]:
        """Return the parameters after the algorithm's own `learn`, and what it met; nothing else is read or changed.

        Optimisers start anew, and so does the replay buffer, which holds the steps of this call unless `base_kwargs`
        say otherwise. Everything random, the environment included, is drawn from the seed: the same arguments give the
        same bits in whatever process. The generators of `random`, `numpy.random` and torch are seeded for it.

        Args:
            params: where it starts; they stay as they are.
            env: an environment, which is used and stays open; episodes end at the family's horizon.
            total_timesteps: environment steps; algorithms go on to the end of a rollout, or of an episode.
            seed: of everything random.
            updates: of an on-policy algorithm: `n_steps` is then set so that this many rollouts, each followed by
                training, share the steps. None leaves `n_steps` as it is. Other algorithms train as they do.

        Raises:
            ValueError: if a reward or a parameter is not finite, or the steps do not suffice for the updates.
        """
        horizon = self.family.horizon
        return self.recipe.learn(
            params, env, total_timesteps, seed, horizon=horizon, updates=updates
        )

    def make_actor(self, params: Mapping[str, Tensor]) -> Actor:
        """Return the policy as rollout workers run it; see `metamotor.meta.policies.make_actor`."""
        return policies.make_actor(self.template, params)


@contextlib.contextmanager
def _sized_later() -> Iterator[None]:
    """Leave out PPO's warning of minibatches that do not divide a rollout, whose size is not the user's choice here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
        yield


# What a model consists of -----------------------------------------------------------------------


def params_of(model: BaseAlgorithm) -> Params:
    """Return copies of the tensors that a model is saved with, its optimisers apart.

    Parameters and buffers of the policy, target networks among them, have the names of `policy.state_dict()`; those of
    other modules and variables, such as SAC's `log_ent_coef`, begin with the name of the model's attribute. A tensor
    that has several names is there under its first.
    """
    return {name: tensor.detach().clone() for name, _, _, tensor in _located(model)}


def set_params(model: BaseAlgorithm, params: Mapping[str, Tensor]) -> None:
    """Give a model what `params_of` returned; the optimisers stay as they are.

    Raises:
        ValueError: naming the first tensor that is missing or different in shape or type.
    """
    located = list(_located(model))
    found = fitting(params, {name: tensor for name, _, _, tensor in located})
    modules: dict[str, dict[str, Tensor]] = {}
    for name, attribute, own_name, tensor in located:
        if own_name:
            modules.setdefault(attribute, {})[own_name] = found[name].detach()
        else:
            tensor.data.copy_(found[name].detach())
    model.set_parameters(modules, exact_match=False)  # type: ignore[arg-type]
    if isinstance(model, ARS):  # it keeps its weights once more, out of the reach of set_parameters
        weights: Any = nn.utils.parameters_to_vector(model.policy.parameters()).detach()
        model.weights = weights


def _located(model: BaseAlgorithm) -> Iterator[tuple[str, str, str, Tensor]]:
    """Yield each tensor's name, its attribute of the model, its name there ("" for a variable), and itself."""
    seen: set[int] = set()
    modules, variables = model._get_torch_save_params()
    for attribute in (*modules, *variables):
        holder: Any = recursive_getattr(model, attribute)
        if isinstance(holder, nn.Module):
            tensors = holder.state_dict(keep_vars=True)
        elif isinstance(holder, Tensor):
            tensors = {"": holder}
        else:  # an optimiser
            continue
        prefix = "" if attribute == "policy" else attribute
        for own_name, tensor in tensors.items():
            if isinstance(tensor, Tensor) and id(tensor) not in seen:
                seen.add(id(tensor))
                yield ".".join(filter(None, (prefix, own_name))), attribute, own_name, tensor


class _Watched(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment on one task: counts its steps and adds up its rewards, ends at the horizon, refuses NaN."""

    def __init__(self, env: gymnasium.Env[Any, Any], task: Any, horizon: int) -> None:
        super().__init__(env)
        self._task, self._horizon = task, horizon
        self._options = None
        if task is not None:
            # Both: a user's own reset may do without its options, or draw another task unless they name one.
            task_setter(env)(task)
            self._options = {"task": task}
        self.num_timesteps = 0
        self.returns: list[float] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self._elapsed, self._return = 0, 0.0
        observation, info = self.env.reset(seed=seed, options=self._options)
        require_finite("observation", np.asarray(observation), self._task, 0)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        if not math.isfinite(reward):
            raise not_finite("reward", reward, self._task, self._elapsed)
        self.num_timesteps += 1
        self._elapsed += 1
        self._return += float(reward)
        truncated = truncated or self._elapsed >= self._horizon
        if terminated or truncated:
            self.returns.append(self._return)
        require_finite("observation", np.asarray(observation), self._task, self._elapsed)
        return observation, reward, terminated, truncated, info
