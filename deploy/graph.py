"""A policy of Stable-Baselines3 as one module: from what the sensors say to actions.

Shapes: N observations in the batch, A numbers in an action, L outputs of the action network (means or logits), F latent
features before them.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, cast

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from metamotor.deploy.heads import Bounded, Noise, action_module, sampling_head
from metamotor.deploy.lstm import LSTMStep
from metamotor.deploy.observations import (
    Normalize,
    Pipeline,
    Port,
    Preprocess,
    Stack,
    Tensors,
    Transpose,
    by_key,
    observation_port,
)
from metamotor.deploy.runtime import LOG_PROB, NOISE, OUTPUT, RAW_OUTPUT


class Result(NamedTuple):
    """One step of a policy."""

    outputs: tuple[Tensor, ...]
    """In the order of `PolicyGraph.output_ports`."""
    logits: Tensor
    """(N, L): outputs of the action network, with the noise if there is any: what the action is made of."""


class PolicyGraph(nn.Module):
    """Observation to action: wrappers, features, network, then clip, unscale or choose.

    `torch.distributions` is not in it: it validates its arguments, which `torch.export` cannot trace.

    Args:
        model: a model whose policy and spaces are known here; its weights are copied to the CPU.
        pipeline: the wrappers to fold in.
        stochastic: whether noise is an input, and the log-probability an output.

    Raises:
        ValueError: if the policy, or one of its spaces, is of a kind that is not known here.
    """

    def __init__(
        self, model: BaseAlgorithm, pipeline: Pipeline, *, stochastic: bool = False
    ) -> None:
        super().__init__()
        policy = model.policy
        self.shapes = {
            key: cast(Any, part.shape)
            for key, part in by_key(pipeline.space).items()
            if not isinstance(part, spaces.Discrete | spaces.MultiDiscrete)
        }
        self.wrappers = nn.ModuleList(step.module for step in pipeline.steps)
        self.preprocess = Preprocess(
            policy.observation_space, normalize_images=policy.normalize_images
        )
        # The parts and not the policy: after training its distribution holds tensors that cannot be copied.
        features, network = parts_of(policy)
        try:
            self.features, self.network = copy.deepcopy(features), copy.deepcopy(network)
        except RuntimeError as error:
            # A tensor that is computed of others, as torch.nn.utils.weight_norm leaves them.
            raise ValueError(
                f"cannot copy the network of this {type(policy).__name__}, as one of its tensors is computed of "
                "others: take torch.nn.utils.parametrizations in place of hooks, or remove them"
            ) from error
        self.lstm = (
            LSTMStep(policy.lstm_actor) if isinstance(policy, RecurrentActorCriticPolicy) else None
        )
        self.act = action_module(policy)
        self.head = copy.deepcopy(sampling_head(model, self.act)) if stochastic else None
        self.observation_ports = [
            observation_port(key, part, exact=key in pipeline.exact)
            for key, part in by_key(pipeline.space).items()
        ]
        self.state_ports = _state_ports(pipeline, policy)
        self.action_port = _action_port(policy.action_space)
        self._check_names()
        self.dtype = torch.float32
        self.cpu().requires_grad_(False).eval()

    @property
    def noise(self) -> Noise | None:
        """What is drawn for one observation, if anything."""
        return None if self.head is None else self.head.noise

    @property
    def input_ports(self) -> list[Port]:
        """Observations, states and noise, in the order that `forward` takes them."""
        ports = [
            *self.observation_ports,
            *(port._replace(name=f"{port.name}_in") for port in self.state_ports),
        ]
        if self.noise is not None:
            ports.append(Port(NOISE, "float32", (None, *self.noise.shape)))
        return ports

    @property
    def output_ports(self) -> list[Port]:
        """The action, what belongs to a sample, and the next states."""
        ports = [self.action_port]
        if self.head is not None:
            ports.append(Port(LOG_PROB, "float32", (None,)))
            if self.action_port.dtype == "float32":
                ports.append(self.action_port._replace(name=RAW_OUTPUT))
        return [*ports, *(port._replace(name=f"{port.name}_out") for port in self.state_ports)]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of `output_ports` for those of `input_ports`."""
        return self.step(*tensors).outputs

    def step(self, *tensors: Tensor) -> Result:
        """Return what `forward` returns, and the outputs of the action network."""
        given = {port.name: tensor for port, tensor in zip(self.input_ports, tensors, strict=True)}
        states = {port.name: given[f"{port.name}_in"] for port in self.state_ports}
        observations = {
            port.name: self._shaped(port.name, given[port.name]) for port in self.observation_ports
        }
        observations, following = self._wrapped(observations, states)
        features = self.features(self.preprocess(observations, self.dtype))
        if self.lstm is not None:
            memory = states["h"].to(self.dtype), states["c"].to(self.dtype)
            features, following["h"], following["c"] = self.lstm(features, *memory)
        latent = self.network.latent(features)
        logits = self.network.outputs(latent)
        if self.head is None:
            results = [self.act(logits)]
        else:
            logits, log_prob = self.head(logits, latent, given[NOISE].to(self.dtype))
            results = [self.act(logits), log_prob]
            if isinstance(self.act, Bounded):
                results.append(torch.tanh(logits) if self.act.squash else logits)
        return Result((*results, *(following[port.name] for port in self.state_ports)), logits)

    def in_float64(self) -> PolicyGraph:
        """Return a copy that computes in float64, to tell rounding from error."""
        double = copy.deepcopy(self).double()
        double.dtype = torch.float64
        return double

    def _check_names(self) -> None:
        """Refuse a key of the observation that the graph has another use for."""
        names = [port.name for port in (*self.input_ports, *self.output_ports)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"cannot export an observation with the keys {', '.join(twice)}: the file has inputs or outputs of "
                "these names; give the keys other ones"
            )

    def _shaped(self, key: str, tensor: Tensor) -> Tensor:
        """Return an observation in the shape of its space, without the batch if that is a vector's."""
        shape = self.shapes.get(key)
        if shape is None or len(shape) != 2:
            return tensor
        return tensor.reshape(-1, *shape)

    def _wrapped(self, observations: Tensors, states: Tensors) -> tuple[Tensors, Tensors]:
        following: Tensors = {}
        for wrapper in self.wrappers:
            if isinstance(wrapper, Stack):
                observations, stacked = wrapper(observations, states)
                following |= stacked
            else:
                assert isinstance(wrapper, Normalize | Transpose)
                observations = wrapper(observations)
        return observations, following


class _Network(nn.Module, ABC):
    """What acts behind the features: to the latent features, and on to means (before any tanh) or logits."""

    @abstractmethod
    def latent(self, features: Tensor) -> Tensor:
        """Return the latent features. Shape: (N, F)."""

    @abstractmethod
    def outputs(self, latent: Tensor) -> Tensor:
        """Return the means or the logits. Shape: (N, L)."""


class _Actor(_Network):
    """The layers of an actor-critic policy that act, a user's own extractor included."""

    def __init__(self, extractor: Any, action_net: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor
        self.action_net = action_net

    def latent(self, features: Tensor) -> Tensor:
        return cast(Tensor, self.extractor.forward_actor(features))

    def outputs(self, latent: Tensor) -> Tensor:
        return cast(Tensor, self.action_net(latent))


class _Layers(_Network):
    """The layers of an off-policy actor or of a Q network."""

    def __init__(self, hidden: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.hidden = hidden
        self.last = last

    def latent(self, features: Tensor) -> Tensor:
        return cast(Tensor, self.hidden(features))

    def outputs(self, latent: Tensor) -> Tensor:
        return cast(Tensor, self.last(latent))


def parts_of(policy: BasePolicy) -> tuple[nn.Module, _Network]:
    """Return a policy's features extractor and the network behind it, up to means (before any tanh) or logits.

    Raises:
        ValueError: if the policy is of a kind that is not known here.
    """
    if isinstance(policy, ActorCriticPolicy):
        return policy.pi_features_extractor, _Actor(policy.mlp_extractor, policy.action_net)
    if isinstance(policy, TD3Policy):
        *hidden, last, squash = policy.actor.mu
        assert isinstance(squash, nn.Tanh)
        return policy.actor.features_extractor, _Layers(nn.Sequential(*hidden), last)
    if isinstance(policy, SACPolicy | TQCPolicy):
        actor = policy.actor
        return actor.features_extractor, _Layers(actor.latent_pi, actor.mu)
    if isinstance(policy, DQNPolicy):
        *hidden, last = policy.q_net.q_net
        return policy.q_net.features_extractor, _Layers(nn.Sequential(*hidden), last)
    raise ValueError(f"cannot export a {type(policy).__name__}")


def _state_ports(pipeline: Pipeline, policy: BasePolicy) -> list[Port]:
    ports = [
        port
        for step in pipeline.steps
        if isinstance(step.module, Stack)
        for port in step.module.ports
    ]
    if isinstance(policy, RecurrentActorCriticPolicy):
        layers, _, size = policy.lstm_hidden_state_shape
        ports += [Port(name, "float32", (layers, None, size)) for name in ("h", "c")]
    return ports


def _action_port(space: spaces.Space[Any]) -> Port:
    if isinstance(space, spaces.Discrete):
        return Port(OUTPUT, "int64", (None,))
    size = 1
    for length in cast(tuple[int, ...], space.shape):
        size *= length
    return Port(OUTPUT, "float32" if isinstance(space, spaces.Box) else "int64", (None, size))
