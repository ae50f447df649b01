"""Stable-Baselines3's policies as rollout workers run them: in numpy where one is a plain MLP, else in torch.

Shapes: as in `metamotor.meta.actors`.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.tqc.policies import Actor as TQCActor
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    DiagGaussianDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import CloudpickleWrapper
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN, SACPolicy
from stable_baselines3.sac.policies import Actor as SACActor
from stable_baselines3.td3.policies import Actor as TD3Actor
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from metamotor.meta.actors import (
    MLP,
    Actor,
    Bounds,
    CategoricalActor,
    EpsilonGreedyActor,
    GaussianActor,
    NoisyActor,
    SquashedActor,
    SquashedGaussianActor,
)
from metamotor.meta.context import ContextExtractor

Array = NDArray[Any]


def make_actor(model: BaseAlgorithm, params: Mapping[str, Tensor]) -> Actor:
    """Return a model's policy with these parameters, exploring as its algorithm does when it learns.

    Without noise its actions are those of `model.predict(…, deterministic=True)` before they are clipped; with noise
    they are drawn as the algorithm draws them after its warm-up: from the policy's distribution, with the
    `action_noise` it was given, or ε-greedily with DQN's final ε.

    Args:
        model: of the algorithm; only its architecture and its settings are used.
        params: of the policy at least, by the names that `policy.state_dict()` gives them.
    """
    actor = numpy_actor(model.policy, params) or PredictingActor.of(model.policy, params)
    noise = getattr(model, "action_noise", None)
    if noise is not None and isinstance(model.action_space, spaces.Box):
        actor = NoisyActor(actor, noise, bounds_of(model.action_space))
    epsilon = getattr(model, "exploration_final_eps", None)
    if epsilon is not None and isinstance(model.action_space, spaces.Discrete):
        actor = EpsilonGreedyActor(actor, int(model.action_space.n), float(epsilon))
    return actor


def bounds_of(space: spaces.Box) -> Bounds:
    """Return a Box as actors know it."""
    return Bounds(space.low, space.high)


# Plain MLPs, in numpy ---------------------------------------------------------------------------


def numpy_actor(policy: BasePolicy, params: Mapping[str, Tensor]) -> Actor | None:
    """Return a policy in numpy; None if it is not one of Stable-Baselines3's own with a plain MLP.

    A class derived from them may do anything, and is run in torch.
    """
    kind: Any = type(policy)
    found: Any = policy
    read = _Reader(policy, params)
    if kind is ActorCriticPolicy:
        return _actor_critic(found, params, read)
    if kind is DQNPolicy:
        network = read.mlp(found.q_net, [*found.q_net.q_net])
        return None if network is None else CategoricalActor(network, int(found.action_space.n))
    if kind is TD3Policy and type(found.actor) is TD3Actor:
        *modules, squashing = found.actor.mu
        network = read.mlp(found.actor, modules) if type(squashing) is nn.Tanh else None
        return None if network is None else SquashedActor(network, bounds_of(found.action_space))
    if (kind, type(getattr(found, "actor", None))) in (
        (SACPolicy, SACActor),
        (TQCPolicy, TQCActor),
    ):
        if found.actor.use_sde:
            return None
        heads = (found.actor.mu, found.actor.log_std)
        network = read.mlp(found.actor, [*found.actor.latent_pi], heads)
        if network is None:
            return None
        limits = (LOG_STD_MIN, LOG_STD_MAX)
        return SquashedGaussianActor(network, bounds_of(found.action_space), limits)
    return None


def _actor_critic(policy: Any, params: Mapping[str, Tensor], read: _Reader) -> Actor | None:
    network = read.mlp(policy, [*policy.mlp_extractor.policy_net], (policy.action_net,))
    if network is None:
        return None
    if type(policy.action_dist) is CategoricalDistribution:
        return CategoricalActor(network, int(policy.action_space.n))
    if type(policy.action_dist) is DiagGaussianDistribution:
        return GaussianActor(network, params["log_std"].detach().exp().numpy())
    return None


class _Reader:
    """Reads layers out of parameters by the names that a policy gives them."""

    def __init__(self, policy: nn.Module, params: Mapping[str, Tensor]) -> None:
        self._names = {id(parameter): name for name, parameter in policy.named_parameters()}
        self._params = params

    def mlp(
        self, owner: Any, modules: Sequence[nn.Module], heads: Sequence[nn.Module] = ()
    ) -> MLP | None:
        """Return linear layers with one kind of activation between them, or None if they are anything else.

        Args:
            owner: has the features extractor, which must do nothing but flatten, and append a context.
            modules: a linear layer and an activation in turn.
            heads: linear layers that are all fed by the last activation; their outputs stand side by side.
        """
        extractor = owner.features_extractor
        if type(extractor) not in (FlattenExtractor, ContextExtractor):
            return None
        linears, activations = [*modules[0::2]], modules[1::2]
        if not heads:
            heads = [linears.pop()]
        kinds = {type(module) for module in activations} or {nn.Identity}
        if len(kinds) > 1 or not kinds <= {nn.Tanh, nn.ReLU, nn.Identity}:
            return None
        if len(activations) != len(linears) or not all(
            type(module) is nn.Linear and module.bias is not None for module in (*linears, *heads)
        ):
            return None
        layers = [*(self._layer([linear]) for linear in linears), self._layer(heads)]
        if type(extractor) is ContextExtractor:
            layers[0] = self._given(layers[0], self._read(extractor.context))
        return MLP(tuple(layers), kinds.pop().__name__)

    @staticmethod
    def _given(layer: tuple[Array, Array], context: Array) -> tuple[Array, Array]:
        """Return a layer over observation and context as one over the observation: what is constant is a bias."""
        weight, bias = layer
        size = len(weight) - len(context)
        return np.ascontiguousarray(weight[:size]), bias + context @ weight[size:]

    def _layer(self, linears: Sequence[Any]) -> tuple[Array, Array]:
        weight = np.concatenate([self._read(linear.weight) for linear in linears])
        bias = np.concatenate([self._read(linear.bias) for linear in linears])
        return np.ascontiguousarray(weight.T), bias

    def _read(self, parameter: Tensor) -> Array:
        return self._params[self._names[id(parameter)]].detach().numpy()


# Anything else, in torch ------------------------------------------------------------------------


class PredictingActor:
    """Any Stable-Baselines3 policy, by its own `predict`: slower than numpy, and right for every architecture.

    A recurrent policy's state is kept from step to step and forgotten where episodes begin; a policy with
    state-dependent exploration (gSDE) draws a new exploration matrix there.

    Args:
        policy: not shared with anyone.
    """

    def __init__(self, policy: BasePolicy) -> None:
        self._policy = policy
        self.begin()

    @classmethod
    def of(cls, policy: BasePolicy, params: Mapping[str, Tensor]) -> PredictingActor:
        """Return a copy of a policy with other parameters."""
        own = _unpacked(_packed(policy))
        own.load_state_dict(
            {name: params[name] for name in own.state_dict() if name in params}, strict=False
        )
        return cls(own)

    def begin(self) -> None:
        """Forget the state."""
        self._state: Any = None
        self._begins = True

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return seeds for torch's generator, from which the policy draws. Shape: (*shape, 1)."""
        return rng.integers(2**32, size=(*shape, 1))

    def act(self, observations: Array, noise: Array | None) -> Array:
        """Return actions, clipped to their space as `predict` does."""
        if noise is None:
            return self._predict(observations, deterministic=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(noise.flat[0]))
            if self._begins:
                self._draw_exploration(1 if observations.ndim == 1 else len(observations))
            return self._predict(observations, deterministic=False)

    def _predict(self, observations: Array, *, deterministic: bool) -> Array:
        begins = np.full(1 if observations.ndim == 1 else len(observations), self._begins)
        actions, self._state = self._policy.predict(
            observations, self._state, begins, deterministic
        )
        self._begins = False
        return np.asarray(actions)

    def _draw_exploration(self, episodes: int) -> None:
        module: Any
        for module in self._policy.modules():
            if getattr(module, "use_sde", False) and hasattr(module, "reset_noise"):
                module.reset_noise(episodes)

    def __getstate__(self) -> dict[str, Any]:
        """Return the actor as bytes: sent as tensors, it would take torch's shared memory to reach a worker."""
        return {"policy": _packed(self._policy)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__` returned; episodes begin."""
        self._policy = _unpacked(state["policy"])
        self.begin()


def _packed(policy: BasePolicy) -> bytes:
    # A user's policy may hold a lambda, such as a schedule, which takes more than pickle alone.
    return pickle.dumps(CloudpickleWrapper(policy))


def _unpacked(content: bytes) -> BasePolicy:
    policy: BasePolicy = pickle.loads(content).var
    return policy
