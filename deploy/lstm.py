"""One step of an LSTM in plain operations.

torch's own module would do, but its exporter warns of it, and has frozen the axis of a sequence in silence; a policy
needs a single step only.

Shapes: N observations in the batch, F features, K layers, U units.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class LSTMStep(nn.Module):
    """One step of a stack of LSTM layers (Hochreiter & Schmidhuber 1997), with torch's weights.

    Args:
        lstm: the layers; its dropout does nothing once it is trained.

    Raises:
        ValueError: if it goes in both directions or projects its state, which cannot act step by step in
            Stable-Baselines3 either.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        if lstm.bidirectional or lstm.proj_size:
            raise ValueError(
                f"cannot export an LSTM with bidirectional={lstm.bidirectional} and proj_size={lstm.proj_size}"
            )
        self.layers = nn.ModuleList(_Layer(lstm, index) for index in range(lstm.num_layers))

    def forward(self, features: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the last layer gives, and the next state. Shapes: (N, F), (K, N, U) twice; (N, U), likewise."""
        outputs, cells = [], []
        for index, layer in enumerate(self.layers):
            features, cell = layer(features, h[index], c[index])
            outputs.append(features)
            cells.append(cell)
        return features, torch.stack(outputs), torch.stack(cells)


class _Layer(nn.Module):
    """One layer; the gates stand in torch's order: input, forget, cell, output."""

    def __init__(self, lstm: nn.LSTM, index: int) -> None:
        super().__init__()
        self.units = lstm.hidden_size
        self.given = nn.Linear(1, 1)
        self.kept = nn.Linear(1, 1)
        for linear, kind in ((self.given, "ih"), (self.kept, "hh")):
            weight = cast(Tensor, getattr(lstm, f"weight_{kind}_l{index}"))
            bias = cast(Tensor | None, getattr(lstm, f"bias_{kind}_l{index}", None))
            linear.weight = nn.Parameter(weight.detach().clone())
            linear.bias = nn.Parameter(
                torch.zeros(len(weight)) if bias is None else bias.detach().clone()
            )

    def forward(self, features: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next h and c. Shapes: (N, F), (N, U) twice; (N, U) twice."""
        gates = self.given(features) + self.kept(h)
        i, f, g, o = torch.split(gates, self.units, dim=1)
        cell = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell
