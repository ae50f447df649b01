"""Whether a policy file still does what it did when it was written, and what its model does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from metamotor.deploy import runtime, stored
from metamotor.deploy.exporter import check_model, recorded_sequence, require, simulated
from metamotor.deploy.graph import PolicyGraph
from metamotor.deploy.metadata import weights_sha256
from metamotor.deploy.observations import pipeline_of
from metamotor.deploy.parity import Parity, measure
from metamotor.deploy.tracing import check_axes


class Verified(NamedTuple):
    """What was found."""

    steps: int
    """Stored steps that were repeated."""
    stored_error: float
    """Largest relative difference from the stored ones."""
    parity: Parity | None
    """How far it is from its model, if there was one."""


def verify(
    path: str | os.PathLike[str],
    model: BaseAlgorithm | None = None,
    *,
    normalizer: VecNormalize | None = None,
    observations: Any = None,
    simulate: bool | Callable[[], Any] = True,
) -> Verified:
    """Return how far a policy file is from the steps stored in it and, given its model, from that.

    The stored steps are repeated one by one and in batches of two. They show that the file was not damaged and that
    this machine computes what the one did that wrote it; only the model shows that it was right.

    Args:
        path: the `.onnx` file.
        model: the model that it was made of.
        normalizer: the model's observation statistics, as for `deploy.export`.
        observations: recorded ones to compare on, likewise.
        simulate: where to run an episode, likewise.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, was changed, is of another model, or does something else.
    """
    policy = runtime.open_policy(path)  # which compares the hash of its graph, if it has one
    if "graph_sha256" not in policy.metadata:
        raise ValueError(f"{path} has no hash of its graph to check it by; export it again")
    error = stored.repeat(policy)
    if not error <= stored.TOLERANCE:
        raise ValueError(
            f"{path} does not repeat what is stored in it: it differs by {error:.3g} (allowed: {stored.TOLERANCE:g}); "
            "this machine computes otherwise than the one that wrote it"
        )
    steps = len(policy.metadata["reference"]["outputs"][runtime.OUTPUT])
    if model is None:
        return Verified(steps, error, None)
    check_model(model)
    if policy.metadata.get("weights_sha256") != weights_sha256(model.policy):
        raise ValueError(
            f"{path} is of another model: it was made of weights with the hash "
            f"{policy.metadata.get('weights_sha256')}, this {type(model).__name__} has {weights_sha256(model.policy)}"
        )
    pipeline = pipeline_of(model, normalizer)
    graph = PolicyGraph(model, pipeline, stochastic=policy.stochastic)
    check_axes(onnx.load(Path(path)), graph)
    parity = measure(
        model,
        graph,
        pipeline,
        Path(path).read_bytes(),
        recorded=recorded_sequence(observations, graph),
        episode=simulated(model, graph, pipeline, simulate),
    )
    require(parity, model, str(path))
    return Verified(steps, error, parity)
