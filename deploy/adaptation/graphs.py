"""What each learner does to adapt, as functions of tensors: the policy, its inner step, a perturbation, the encoder.

Shapes: E episodes, H steps, N observations, O numbers of one, A of an action, U units of memory, d searched weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metamotor.deploy.adaptation.tracing import Input, unlike
from metamotor.deploy.graph import float32_bounds
from metamotor.deploy.runtime.acting import ACTION, LOG_STD, OBSERVATION, OUTPUTS
from metamotor.deploy.runtime.methods import ADAPTED, SCALE, STEP
from metamotor.meta.es import ES
from metamotor.meta.experience import Experience, surrogate_loss
from metamotor.meta.functional.inner_step import Params, inner_step
from metamotor.meta.hypernetwork import ACTIVATIONS
from metamotor.meta.maml import MAML
from metamotor.meta.on_policy import OnPolicyAdapter
from metamotor.meta.search import Normalizer
from metamotor.meta.trials import ContextPolicy, Writer

Function = Callable[..., dict[str, Tensor]]


def policy(
    adapter: OnPolicyAdapter, weights: Params, normalizer: Normalizer | None
) -> tuple[Function, list[Input]]:
    """Return the policy as a function of an observation and of its weights, with examples of both."""
    names = [name for name in weights if name != LOG_STD]
    normalized = _normalized(normalizer)
    bounded = _bounded(adapter.family.action_space)

    def act(observation: Tensor, *values: Tensor) -> dict[str, Tensor]:
        given = dict(zip(names, values, strict=True))
        outputs = adapter.outputs(given, normalized(observation))
        return {ACTION: bounded(outputs), OUTPUTS: outputs + 0.0}

    (size,) = adapter.family.observation_space.shape
    (count,) = unlike(_sizes(weights, size), 1)
    example = Input(OBSERVATION, torch.zeros(count, size), ("N",))
    return act, [example, *(Input(name, weights[name]) for name in names)]


def gradient_step(learner: MAML | ES, weights: Params) -> tuple[Function, list[Input]]:
    """Return the inner step as a function of experience and weights, with examples of both."""
    adapter = learner.adapter
    names = list(weights)
    others = {
        name: value for name, value in adapter.initial_params().items() if name not in weights
    }
    sizes, first = step_sizes(learner)
    decay = float(learner.config.later_step_decay)
    normalized = _normalized(learner.normalizer if isinstance(learner, ES) else None)
    kind = "log_prob" if isinstance(learner, ES) else learner.config.inner_loss
    normalizes = isinstance(learner, MAML) and learner.config.inner_normalize

    def adapt(
        observations: Tensor,
        actions: Tensor,
        advantages: Tensor,
        returns: Tensor,
        weighting: Tensor,
        step: Tensor,
        scale: Tensor,
        *values: Tensor,
    ) -> dict[str, Tensor]:
        params = {**others, **dict(zip(names, values, strict=True))}
        observed = normalized(observations)
        taken = (weighting > 0).to(observed.dtype)
        old = (adapter.log_prob(params, observed, actions) * taken).detach()
        experience = Experience(observed, actions, advantages, returns, weighting, old)
        own = {name: _of_step(value, step, first, decay) * scale for name, value in sizes.items()}

        def loss(wanted: Params) -> Tensor:
            if kind == "base":
                return _own_loss(adapter, wanted, experience)
            return surrogate_loss(kind, adapter, wanted, experience)

        found = inner_step(loss, params, own, normalize=normalizes, vectorised=True)
        return {f"{ADAPTED}{name}": found[name] for name in sizes}

    (observed_size,) = adapter.family.observation_space.shape
    space = adapter.family.action_space
    taken = [*_sizes({**weights, **others}, observed_size), *_action_sizes(space)]
    episodes, steps = unlike(taken, 2)
    shape, axes = (episodes, steps), ("E", "H")
    discrete = isinstance(space, spaces.Discrete)
    actions = (
        torch.zeros(shape, dtype=torch.int64) if discrete else torch.zeros(*shape, *space.shape)
    )
    floats = ("advantages", "returns", "weights")
    return adapt, [
        Input("observations", torch.zeros(*shape, observed_size), axes),
        Input("actions", actions, axes),
        *(Input(name, torch.full(shape, 1 / (episodes * steps)), axes) for name in floats),
        *_number_inputs(),
        *(Input(name, weights[name]) for name in names),
    ]


def perturbation(learner: ES, weights: Params) -> tuple[Function, list[Input]]:
    """Return hill climbing's candidate as a function of weights and noise (d,), with examples of both."""
    names = list(learner.layout.names)
    sizes, first = step_sizes(learner)
    decay = float(learner.config.later_step_decay)
    lengths = list(learner.layout.sizes)

    def perturb(noise: Tensor, step: Tensor, scale: Tensor, *values: Tensor) -> dict[str, Tensor]:
        pieces = zip(names, values, torch.split(noise, lengths), strict=True)
        return {
            f"{ADAPTED}{name}": value
            + _of_step(sizes[name], step, first, decay) * scale * piece.reshape(value.shape)
            for name, value, piece in pieces
        }

    noise = Input("noise", torch.zeros(sum(lengths)))
    return perturb, [noise, *_number_inputs(), *(Input(name, weights[name]) for name in names)]


def step_sizes(learner: MAML | ES) -> tuple[dict[str, Tensor], int]:
    """Return α of all trained updates by name, stacked along a first axis, and the update from which it decays."""
    if isinstance(learner, ES):
        own = torch.exp(learner.log_step_sizes.detach().double()).float()
        found = {name: own[i : i + 1] for i, name in enumerate(learner.layout.names)}
        return found, learner.trained_updates
    trained = len(learner.inner_lrs)
    if not trained:
        return {name: size.reshape(1) for name, size in learner.step_sizes(0).items()}, 1
    stages = [learner.step_sizes(step) for step in range(trained)]
    return {
        name: torch.stack([stage[name].detach() for stage in stages]) for name in stages[0]
    }, trained


def _of_step(sizes: Tensor, step: Tensor, first: int, decay: float) -> Tensor:
    """Return α of an update; beyond the trained ones, the last one times a decay."""
    index = torch.clamp(step, max=len(sizes) - 1).reshape(1)
    beyond = torch.clamp(step - first + 1, min=0).to(torch.float32)
    return sizes.index_select(0, index).squeeze(0) * torch.pow(decay, beyond)


def _own_loss(adapter: OnPolicyAdapter, params: Params, data: Experience) -> Tensor:
    """Return the algorithm's own loss on steps without padding."""
    flat = [part.flatten(0, 1) for part in (data.observations, data.actions, data.old_log_probs)]
    observations, actions, old_log_probs = flat
    old_values = adapter.values(params, observations).detach()
    advantages, returns = data.advantages.flatten(), data.returns.flatten()
    return adapter.loss(
        params, observations, actions, old_log_probs, old_values, advantages, returns
    )


# The context encoder --------------------------------------------------------------------------------


def encoder_step(
    found: ContextPolicy, space: Any, names: Sequence[Sequence[str]]
) -> tuple[Function, list[Input]]:
    """Return one step of the encoder: what is read and remembered, what is written, and the policy's outputs.

    Args:
        found: the encoder and what it writes, in numpy.
        space: of the actions.
        names: of each layer's weight and bias; none if there is no policy apart from the memory.
    """
    own = _Encoder(found)

    def step(
        observation: Tensor,
        hidden: Tensor,
        last_action: Tensor,
        last_reward: Tensor,
        last_done: Tensor,
        began: Tensor,
    ) -> dict[str, Tensor]:
        normalized = (observation - own.mean) * own.scale
        action = own.encoded(last_action) * began.unsqueeze(-1)
        rest = [(last_reward * found.reward_scale).unsqueeze(-1), last_done.unsqueeze(-1)]
        following = own.read(torch.cat([normalized, action, *rest], dim=-1), hidden)
        context = own.context(following)
        layers = own.write(context)
        inputs = context if found.policy.kind == "rl2" else normalized
        result = {"next_hidden": following, OUTPUTS: own.apply(layers, inputs)}
        if names:
            (weight, bias), *others = layers
            weight = weight * own.scale.unsqueeze(-1)
            plain = [(weight, bias - own.mean @ weight), *others]
            for (weight_name, bias_name), (weight, bias) in zip(names, plain, strict=True):
                result[f"{ADAPTED}{weight_name}"] = weight.transpose(0, 1).contiguous()
                result[f"{ADAPTED}{bias_name}"] = bias + 0.0
        return result

    units, size = len(found.hidden_weight), len(found.observation_mean)
    discrete = isinstance(space, spaces.Discrete)
    action = torch.zeros(1, dtype=torch.int64) if discrete else torch.zeros(1, *space.shape)
    scalars = ("last_reward", "last_done", "began")
    return step, [
        Input(OBSERVATION, torch.zeros(1, size)),
        Input("hidden", torch.zeros(1, units)),
        Input("last_action", action),
        *(Input(name, torch.zeros(1)) for name in scalars),
    ]


class _Encoder:
    """`trials.ContextPolicy` in torch, for one trial; see there."""

    def __init__(self, found: ContextPolicy) -> None:
        self._found = found
        self.mean, self.scale = _tensor(found.observation_mean), _tensor(found.observation_scale)
        self._gru = [
            _tensor(part)
            for part in (
                found.input_weight,
                found.input_bias,
                found.hidden_weight,
                found.hidden_bias,
            )
        ]

    def encoded(self, action: Tensor) -> Tensor:
        encoder = self._found.encoder
        if encoder.low is None or encoder.high is None:
            return torch.eye(encoder.num_choices)[action]
        low, high = _tensor(encoder.low), _tensor(encoder.high)
        half = (high - low) / 2
        scale = 1 / torch.where(half > 0, half, torch.ones_like(half))
        return (torch.minimum(torch.maximum(action, low), high) - (high + low) / 2) * scale

    def read(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        input_weight, input_bias, hidden_weight, hidden_bias = self._gru
        units = len(hidden_weight)
        given, kept = inputs @ input_weight + input_bias, hidden @ hidden_weight + hidden_bias
        gates = torch.sigmoid(given[:, : 2 * units] + kept[:, : 2 * units])
        new = torch.tanh(given[:, 2 * units :] + gates[:, :units] * kept[:, 2 * units :])
        return new + gates[:, units:] * (hidden - new)

    def context(self, hidden: Tensor) -> Tensor:
        if self._found.embedding is None:
            return hidden
        weight, bias = map(_tensor, self._found.embedding)
        return torch.tanh(hidden @ weight + bias) / math.sqrt(len(bias))

    def write(self, context: Tensor) -> list[tuple[Tensor, Tensor]]:
        writer: Writer = self._found.policy
        layers = [(_tensor(weight), _tensor(bias)) for weight, bias in writer.layers]
        if writer.kind == "rl2":
            return layers
        added = (context @ _tensor(writer.modulation)).squeeze(0)
        if writer.kind == "recurrent_state":
            (weight, bias), *others = layers
            return [(weight, bias + added), *others]
        written, start = [], 0
        for index, (weight, bias) in enumerate(layers):
            size = len(bias)
            if writer.kind == "hypernetwork":
                middle = start + weight.numel()
                own = added[start:middle].reshape(weight.shape)
                written.append((weight + own, bias + added[middle : middle + size]))
                start = middle + size
            elif index < len(layers) - 1:
                scale, shift = (
                    1 + added[start : start + size],
                    added[start + size : start + 2 * size],
                )
                written.append((weight * scale, bias * scale + shift))
                start += 2 * size
            else:
                written.append((weight, bias))
        return written

    def apply(self, layers: Sequence[tuple[Tensor, Tensor]], inputs: Tensor) -> Tensor:
        activation = ACTIVATIONS.get(self._found.policy.activation, _same)
        for index, (weight, bias) in enumerate(layers):
            inputs = inputs @ weight + bias
            if index < len(layers) - 1:
                inputs = activation(inputs)
        return inputs


# Parts ----------------------------------------------------------------------------------------------


def _same(values: Tensor) -> Tensor:
    return values


def _number_inputs() -> list[Input]:
    return [
        Input(STEP, torch.zeros((), dtype=torch.int64)),
        Input(SCALE, torch.ones(())),
    ]


def _normalized(normalizer: Normalizer | None) -> Callable[[Tensor], Tensor]:
    if normalizer is None:
        return _same
    mean, std = (torch.tensor(np.asarray(part), dtype=torch.float64) for part in normalizer)
    return lambda observations: ((observations.to(torch.float64) - mean) / std).to(torch.float32)


def _bounded(space: Any) -> Callable[[Tensor], Tensor]:
    """Return what brings means into a Box, or chooses by logits."""
    if isinstance(space, spaces.Discrete):
        return lambda logits: logits.argmax(dim=1)
    low, high = (torch.from_numpy(bound) for bound in float32_bounds(space))
    return lambda means: torch.minimum(torch.maximum(means, low), high)


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _sizes(weights: Mapping[str, Tensor], *more: int) -> list[int]:
    shapes = [size for value in weights.values() for size in value.shape]
    return [*shapes, *(value.numel() for value in weights.values()), *more]


def _action_sizes(space: Any) -> list[int]:
    return [int(space.n)] if isinstance(space, spaces.Discrete) else [*space.shape]
