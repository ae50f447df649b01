"""The state of an Adam optimiser as tensors by name, for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metamotor.meta.functional.inner_step import Params

PREFIX = "optimizer."
MOMENTS = ("exp_avg", "exp_avg_sq")


def adam_state(optimizer: torch.optim.Adam, leaves: Mapping[str, Tensor]) -> Params:
    """Return what the optimiser remembers of its parameters; nothing before its first step.

    Args:
        optimizer: of these parameters.
        leaves: the parameters, by name.
    """
    return {
        f"{PREFIX}{name}.{key}": value.detach()
        for name, leaf in leaves.items()
        for key, value in optimizer.state.get(leaf, {}).items()
    }


def adam_places(leaves: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Params:
    """Return tensors like those that `adam_state` gave, for those parameters that have any among `tensors`."""
    places: Params = {}
    for name, leaf in leaves.items():
        if f"{PREFIX}{name}.step" in tensors:
            places[f"{PREFIX}{name}.step"] = torch.tensor(0.0)
            places |= {f"{PREFIX}{name}.{key}": leaf for key in MOMENTS}
    return places


def load_adam(
    optimizer: torch.optim.Adam, leaves: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Take what `adam_state` returned; a parameter that has nothing there starts anew."""
    for name, leaf in leaves.items():
        optimizer.state.pop(leaf, None)
        if f"{PREFIX}{name}.step" in tensors:
            optimizer.state[leaf] = {
                key: tensors[f"{PREFIX}{name}.{key}"].clone() for key in ("step", *MOMENTS)
            }
