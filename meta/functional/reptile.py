"""Reptile's outer step and its annealing (Nichol et al. 2018, arXiv:1803.02999, algorithms 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metamotor.meta.functional.inner_step import Params


def interpolate(
    params: Mapping[str, Tensor], learned: Sequence[Mapping[str, Tensor]], step_size: float
) -> Params:
    """Return θ + ε · mean(θ′ − θ).

    Args:
        params: θ by name.
        learned: θ′ of each task.
        step_size: ε; with 1 and a single task the result is θ′ to the last bit.

    Returns:
        New tensors. What is not a float, such as a batch norm's count, is that of the first task.
    """
    result = {}
    for name, start in params.items():
        ends = [own[name].detach() for own in learned]
        if start.is_floating_point():
            result[name] = torch.lerp(start.detach(), torch.stack(ends).mean(dim=0), step_size)
        else:
            result[name] = ends[0].clone()
    return result


def annealed(first: float, last: float, progress: float) -> float:
    """Return a step size between its first value and its last, linear in `progress`, which counts from 0 to 1."""
    progress = min(max(progress, 0.0), 1.0)
    return first + (last - first) * progress
