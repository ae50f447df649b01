"""A recurrent context encoder that writes the weights of a policy and of its critic, in torch.

    h_t = GRU([o_t, a_{t−1}, r_{t−1}, end_{t−1}], h_{t−1})      # RL²'s memory: Duan et al. 2016, arXiv:1611.02779
    c_t = tanh(W h_t) / √C                                      # the context
    φ_t = φ_0 + Φ c_t                                           # the weights of the policy of o_t

(Beck et al. 2022, arXiv:2210.11348; Beck et al. 2023, arXiv:2309.14970.) Bias-HyperInit: Φ starts at 0 and φ_0 as an
ordinary policy, so that at first every context gives that policy. `metamotor.meta.trials` is the same in numpy.

Shapes: B trials, T steps, S steps that were taken, O numbers of an observation, I of an input, U units of memory, C
numbers of a context.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from metamotor.meta.trials import Array, Head, Layers, Writer

ACTIVATIONS = {"Tanh": torch.tanh, "ReLU": torch.relu}


class WrittenMLP(nn.Module):
    """A multilayer perceptron with weights that depend on a context; see `trials.Writer` for the kinds.

    Args:
        kind: how they depend on it.
        layers: its (weight (outputs, inputs), bias (outputs,)) for a context of zero.
        activation: "Tanh" or "ReLU".
        context_size: C.
    """

    def __init__(
        self,
        kind: Head,
        layers: Sequence[tuple[Tensor, Tensor]],
        activation: str,
        context_size: int,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.activation = activation
        self.weights = nn.ParameterList([weight.detach().clone() for weight, _ in layers])
        self.biases = nn.ParameterList([bias.detach().clone() for _, bias in layers])
        if kind == "hypernetwork":
            size = sum(weight.numel() + bias.numel() for weight, bias in layers)
        elif kind == "film":
            size = sum(2 * len(bias) for _, bias in layers[:-1])
        else:
            size = len(layers[0][1]) if kind == "recurrent_state" else 0
        self.modulation = nn.Parameter(torch.zeros(context_size, size))
        if kind == "recurrent_state":
            # An ordinary layer of a wider input. c is small (1/√C a number), and so has weights of a standard normal.
            nn.init.normal_(self.modulation)

    def forward(self, observations: Tensor, contexts: Tensor) -> Tensor:
        """Return the outputs (S, outputs) for observations (S, O) and contexts (S, C)."""
        hidden = contexts if self.kind == "rl2" else observations
        last, start = len(self.weights) - 1, 0
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            inputs = hidden
            hidden = nn.functional.linear(inputs, weight, bias)
            if self.kind == "hypernetwork":
                middle, end = start + weight.numel(), start + weight.numel() + bias.numel()
                # Σ_c c (Φ_c x): the weights of each step are never written down, which would take the most memory.
                products = (contexts.unsqueeze(2) * inputs.unsqueeze(1)).flatten(1)
                hidden = hidden + products @ self.modulation[:, start:middle].reshape(
                    -1, weight.shape[0]
                )
                hidden = hidden + contexts @ self.modulation[:, middle:end]
                start = end
            elif self.kind == "recurrent_state" and i == 0:
                hidden = hidden + contexts @ self.modulation
            elif self.kind == "film" and i < last:
                size = len(bias)
                added = contexts @ self.modulation[:, start : start + 2 * size]
                hidden = hidden * (1 + added[:, :size]) + added[:, size:]
                start += 2 * size
            if i < last:
                hidden = ACTIVATIONS[self.activation](hidden)
        return hidden

    def to_numpy(self) -> Writer:
        """Return the same for rollout workers."""
        layers: Layers = tuple(
            (_copy(weight.T), _copy(bias))
            for weight, bias in zip(self.weights, self.biases, strict=True)
        )
        return Writer(self.kind, layers, _copy(self.modulation), self.activation)


class ContextNetwork(nn.Module):
    """The context encoder with policy and critic, and if wanted a prediction of the task.

    Args:
        kind: how the policy depends on the context.
        input_size: I.
        hidden_size: U.
        context_size: C; "rl2" takes the memory itself for a context.
        policy: the policy's layers for a context of zero, as in `WrittenMLP`.
        critic: the critic's.
        activation: of their hidden layers.
        log_std: (A,) of a Gaussian, or None.
        num_task_parameters: to be predicted; 0 predicts none.
    """

    def __init__(
        self,
        kind: Head,
        *,
        input_size: int,
        hidden_size: int,
        context_size: int,
        policy: Sequence[tuple[Tensor, Tensor]],
        critic: Sequence[tuple[Tensor, Tensor]],
        activation: str,
        log_std: Tensor | None,
        num_task_parameters: int = 0,
    ) -> None:
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True)
        for name, parameter in self.gru.named_parameters():
            # One orthogonal matrix a gate keeps what is remembered from fading over hundreds of steps.
            if name.startswith("weight_hh"):
                for gate in parameter.data.chunk(3):
                    nn.init.orthogonal_(gate)
        self.embedding = None if kind == "rl2" else nn.Linear(hidden_size, context_size)
        size = hidden_size if self.embedding is None else context_size
        self.policy = WrittenMLP(kind, policy, activation, size)
        self.critic = WrittenMLP(kind, critic, activation, size)
        self.log_std = None if log_std is None else nn.Parameter(log_std.detach().clone())
        self.task = nn.Linear(hidden_size, num_task_parameters) if num_task_parameters else None

    def remember(self, inputs: Tensor) -> Tensor:
        """Return the memory (B, T, U) along trials from inputs (B, T, I)."""
        hidden: Tensor = self.gru(inputs)[0]
        return hidden

    def contexts(self, hidden: Tensor) -> Tensor:
        """Return contexts (..., C) of memories (..., U)."""
        if self.embedding is None:
            return hidden
        return torch.tanh(self.embedding(hidden)) / math.sqrt(self.embedding.out_features)

    def forward(
        self, inputs: Tensor, observations: Tensor, sources: Tensor, taken: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the policy's outputs (S, outputs), values (S,) and memories (S, U) of the steps taken.

        Args:
            inputs: (B, T, I).
            observations: (B, T, O).
            sources: (B, T) int64, the step whose context wrote the policy of each step.
            taken: (B, T) bool.
        """
        hidden = self.remember(inputs)
        index = sources.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        contexts = self.contexts(hidden.gather(1, index)[taken])
        seen = observations[taken]
        return (
            self.policy(seen, contexts),
            self.critic(seen, contexts).squeeze(-1),
            hidden[taken],
        )

    def gru_to_numpy(self) -> tuple[Array, Array, Array, Array]:
        """Return the encoder's weights as `trials.ContextPolicy` has them."""
        own = dict(self.gru.named_parameters())
        return (
            _copy(own["weight_ih_l0"].T),
            _copy(own["bias_ih_l0"]),
            _copy(own["weight_hh_l0"].T),
            _copy(own["bias_hh_l0"]),
        )

    def embedding_to_numpy(self) -> tuple[Array, Array] | None:
        """Return the context's weights as `trials.ContextPolicy` has them."""
        if self.embedding is None:
            return None
        return _copy(self.embedding.weight.T), _copy(self.embedding.bias)


def _copy(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().numpy()).copy()
