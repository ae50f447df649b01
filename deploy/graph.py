"""The deterministic part of an SB3 policy as one module, and that module as an ONNX model.

Shapes: N observations in the batch, O numbers in an observation, A numbers in an action, L outputs of the action
network (means or logits). Observations and actions of more than one dimension are flattened in C order.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import onnx
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from metamotor.deploy.runtime import INPUT, OUTPUT

OPSET = 18
"""The ONNX operator set of the files: read by onnxruntime 1.18 and newer."""
IR_VERSION = 10


class Normalizer(nn.Module):
    """The observation statistics of a `VecNormalize`.

    They stay float64, as in `VecNormalize`: a signal with a large mean and a small deviation loses its digits in
    float32, and the file would disagree with the training.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, normalizer: VecNormalize) -> None:
        super().__init__()
        statistics = cast(RunningMeanStd, normalizer.obs_rms)
        std = np.sqrt(statistics.var + normalizer.epsilon)
        self.register_buffer("mean", torch.tensor(statistics.mean, dtype=torch.float64).flatten())
        self.register_buffer("std", torch.tensor(std, dtype=torch.float64).flatten())
        self.clip = float(normalizer.clip_obs)

    def forward(self, observation: Tensor) -> Tensor:
        """Return the normalised and clipped observation, float32. Shape: (N, O)."""
        scaled = (observation.to(torch.float64) - self.mean) / self.std
        return scaled.clamp(-self.clip, self.clip).to(torch.float32)


class Bounded(nn.Module):
    """Means to actions inside a box: unscaled first if the policy squashes them to (-1, 1), then clipped."""

    low: Tensor
    high: Tensor

    def __init__(self, space: spaces.Box, *, squash: bool) -> None:
        super().__init__()
        low, high = float32_bounds(space)
        self.register_buffer("low", torch.from_numpy(low))
        self.register_buffer("high", torch.from_numpy(high))
        self.squash = squash

    def forward(self, means: Tensor) -> Tensor:
        """Return the actions. Shape: (N, A)."""
        if self.squash:
            means = self.low + 0.5 * (torch.tanh(means) + 1.0) * (self.high - self.low)
        return torch.minimum(torch.maximum(means, self.low), self.high)


class Choices(nn.Module):
    """Logits of one or several choices to the index of the largest of each, int64."""

    def __init__(self, space: spaces.Discrete[Any] | spaces.MultiDiscrete) -> None:
        super().__init__()
        self.single = isinstance(space, spaces.Discrete)
        sizes = [space.n] if isinstance(space, spaces.Discrete) else space.nvec.flatten()
        self.sizes = [int(size) for size in sizes]

    def forward(self, logits: Tensor) -> Tensor:
        """Return the indices. Shape: (N,) for one choice of a Discrete space, else (N, A)."""
        if self.single:
            return logits.argmax(dim=1)
        return torch.stack(
            [part.argmax(dim=1) for part in torch.split(logits, self.sizes, dim=1)], dim=1
        )


class Switches(nn.Module):
    """Logits of on/off switches to 0 or 1, int64."""

    def forward(self, logits: Tensor) -> Tensor:
        """Return the switches. Shape: (N, A)."""
        return (logits > 0).to(torch.int64)


class PolicyGraph(nn.Module):
    """Observation to deterministic action: normalise, network, then clip, unscale or choose.

    Only the mean path of the policy is here: `torch.distributions` validates its arguments, which
    `torch.export` cannot trace, and a deterministic action needs none of it.

    Args:
        policy: a policy whose action space `action_module` knows; its weights are copied to the CPU.
        normalizer: the observation statistics to fold in, if any.
    """

    act: Bounded | Choices | Switches

    def __init__(self, policy: BasePolicy, normalizer: VecNormalize | None) -> None:
        super().__init__()
        self.normalize = nn.Identity() if normalizer is None else Normalizer(normalizer)
        # The parts and not the policy: after training its distribution holds tensors that cannot be copied.
        features, network = parts_of(policy)
        self.features, self.network = copy.deepcopy(features), copy.deepcopy(network)
        self.act = action_module(policy)
        self.shape = cast(tuple[int, ...], policy.observation_space.shape)
        self.dtype = torch.float32
        self.cpu().requires_grad_(False).eval()

    def outputs(self, observation: Tensor) -> Tensor:
        """Return the action network's outputs: means or logits. Shape: (N, L)."""
        normalized = self.normalize(observation).to(self.dtype)
        if len(self.shape) > 1:
            normalized = normalized.reshape(-1, *self.shape)
        return cast(Tensor, self.network(self.features(normalized)))

    def forward(self, observation: Tensor) -> Tensor:
        """Return the deterministic actions for observations of shape (N, O)."""
        return cast(Tensor, self.act(self.outputs(observation)))

    def in_float64(self) -> PolicyGraph:
        """Return a copy that computes in float64, to tell rounding from error."""
        double = copy.deepcopy(self).double()
        double.dtype = torch.float64
        return double


class _Actor(nn.Module):
    """The layers of an actor-critic policy that act, a user's own extractor included."""

    def __init__(self, extractor: Any, action_net: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor
        self.action_net = action_net

    def forward(self, features: Tensor) -> Tensor:
        """Return the means or the logits. Shape: (N, L)."""
        return cast(Tensor, self.action_net(self.extractor.forward_actor(features)))


def parts_of(policy: BasePolicy) -> tuple[nn.Module, nn.Module]:
    """Return a policy's features extractor and the network behind it, up to means (before any tanh) or logits.

    Raises:
        ValueError: if the policy is of a kind that is not known here.
    """
    if isinstance(policy, ActorCriticPolicy):
        return policy.pi_features_extractor, _Actor(policy.mlp_extractor, policy.action_net)
    if isinstance(policy, TD3Policy):
        *layers, squash = policy.actor.mu
        assert isinstance(squash, nn.Tanh)
        return policy.actor.features_extractor, nn.Sequential(*layers)
    if isinstance(policy, SACPolicy | TQCPolicy):
        actor = policy.actor
        return actor.features_extractor, nn.Sequential(actor.latent_pi, actor.mu)
    if isinstance(policy, DQNPolicy):
        return policy.q_net.features_extractor, policy.q_net.q_net
    raise ValueError(f"cannot export a {type(policy).__name__}")


def action_module(policy: BasePolicy) -> Bounded | Choices | Switches:
    """Return the module that turns the action network's outputs into actions of the policy's space.

    Raises:
        ValueError: if there is none for this action space.
    """
    space = policy.action_space
    if isinstance(space, spaces.Box):
        return Bounded(space, squash=policy.squash_output)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return Choices(space)
    if isinstance(space, spaces.MultiBinary):
        return Switches()
    raise ValueError(
        f"cannot export the action space {space}; supported: Box, Discrete, MultiDiscrete, MultiBinary"
    )


def float32_bounds(space: spaces.Box) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the box's bounds as float32, rounded inwards so that no action leaves the box. Shapes: (A,)."""
    exact_low, exact_high = space.low.flatten(), space.high.flatten()
    low, high = exact_low.astype(np.float32), exact_high.astype(np.float32)
    low = np.where(low < exact_low, np.nextafter(low, np.float32(np.inf)), low)
    high = np.where(high > exact_high, np.nextafter(high, np.float32(-np.inf)), high)
    return low, high


def to_onnx(graph: PolicyGraph) -> onnx.ModelProto:
    """Return the graph as an ONNX model with a dynamic batch and the weights inside.

    Raises:
        ValueError: if a module of the policy cannot be expressed in ONNX.
    """
    example = torch.zeros(2, int(np.prod(graph.shape)))
    try:
        with _quiet():
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        parts = ", ".join(sorted({type(module).__name__ for module in graph.modules()}))
        raise ValueError(
            f"torch cannot express this policy in ONNX; its modules: {parts}"
        ) from error
    assert program is not None
    return _tidy(program.model_proto)


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's notes, which hold source paths of this machine, and check what is left."""
    for item in [
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ]:
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for field in ("value_info", "metadata_props", "doc_string"):
        model.graph.ClearField(cast(Any, field))
    model.ClearField("metadata_props")
    model.graph.name = "policy"
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch's exporter says about itself; warnings about the user's modules still come through."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registry.level
    with warnings.catch_warnings():
        # torch 2.13 copies its own tree specifications in a way that it deprecates itself.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        # It also says which torchvision operators are missing when torchvision is not installed.
        registry.setLevel(logging.ERROR)
        try:
            yield
        finally:
            registry.setLevel(level)
