"""Whether an ONNX model does what the SB3 model does: compared on sampled observations before a file is written.

Shapes: N observations, O numbers in an observation, A numbers in an action, L outputs of the action network.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from metamotor.deploy.graph import Bounded, Choices, Normalizer, PolicyGraph, Switches
from metamotor.deploy.runtime import INPUT, OUTPUT, open_session

NUM_OBSERVATIONS = 1000
TOLERANCE = 1e-6
"""Largest allowed difference of an action, as a share of its range."""
ROUNDING_FACTOR = 4.0
"""How many times float32's own rounding error the difference may be, where that is more than `TOLERANCE`."""
MAX_TOLERANCE = 1e-3
"""What no rounding excuses: such a policy's actions depend on the machine that computes them."""


class Parity(NamedTuple):
    """How far the ONNX model is from `model.predict(observation, deterministic=True)`.

    For continuous actions an error is a share of the action's range; for choices it is the share of observations
    with another choice, those aside where the best two are equal to within rounding.
    """

    observations: int
    max_error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed; a NaN is not."""
        return self.max_error <= self.tolerance


def measure(
    model: OnPolicyAlgorithm, graph: PolicyGraph, normalizer: VecNormalize | None, payload: bytes
) -> Parity:
    """Return how far the ONNX model in `payload` is from `model.predict`.

    Observations go in as one batch and one by one, because onnxruntime uses other kernels for a single row, and
    the robot sends single rows.
    """
    observations = sample_observations(model, graph)
    shaped = observations.reshape(-1, *graph.shape).astype(model.observation_space.dtype)
    if normalizer is not None:
        shaped = cast(NDArray[Any], normalizer.normalize_obs(shaped))
    expected = model.predict(shaped, deterministic=True)[0]
    expected = expected.reshape(len(observations), -1)
    session = open_session(payload, threads=1, source="the exported policy")
    rows = np.split(observations, len(observations))
    batched = session.run([OUTPUT], {INPUT: observations})[0]
    single = np.concatenate([session.run([OUTPUT], {INPUT: row})[0] for row in rows])
    compare = _continuous if isinstance(model.action_space, spaces.Box) else _choices
    results = [
        compare(graph, observations, expected, actions.reshape(expected.shape))
        for actions in (batched, single)
    ]
    # Not max(): it drops a NaN that does not come first.
    worst = float(np.max([error for error, _ in results]))
    return Parity(len(observations), worst, results[0][1])


def sample_observations(
    model: OnPolicyAlgorithm, graph: PolicyGraph, *, seed: int = 0
) -> NDArray[np.float32]:
    """Return observations like those of the training, inside the observation space. Shape: (N, O).

    With statistics they follow these, one in ten rows far outside so that the normaliser clips. Without, they are
    uniform where the space has bounds of moderate size and Gaussian elsewhere.
    """
    space = cast(spaces.Box, model.observation_space)
    low, high = space.low.flatten().astype(np.float64), space.high.flatten().astype(np.float64)
    rng = np.random.default_rng(seed)
    gaussian = rng.standard_normal((NUM_OBSERVATIONS, low.size))
    if isinstance(graph.normalize, Normalizer):
        gaussian[::10] *= 20.0
        drawn = graph.normalize.mean.numpy() + graph.normalize.std.numpy() * gaussian
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            moderate = (np.abs(low) <= 1e3) & (np.abs(high) <= 1e3)
        edges = np.where(moderate, low, 0.0), np.where(moderate, high, 1.0)
        drawn = np.where(moderate, rng.uniform(*edges, size=gaussian.shape), gaussian)
    if np.issubdtype(space.dtype, np.integer):
        drawn = np.rint(drawn)
    # A float64 bound may round outwards in float32; the policies do not mind.
    return np.clip(drawn, low, high).astype(np.float32)


def _continuous(
    graph: PolicyGraph,
    observations: NDArray[np.float32],
    expected: NDArray[Any],
    actions: NDArray[np.float32],
) -> tuple[float, float]:
    """Return the largest error, and the tolerance.

    A head whose means lie far outside the action range loses digits before they are clipped, in SB3 as much as in
    ONNX; float64 says how many. Measured on the graph and not on `predict`, so that a policy whose `predict` does
    something else is still found out.
    """
    assert isinstance(graph.act, Bounded)
    low = graph.act.low.numpy().astype(np.float64)
    high = graph.act.high.numpy().astype(np.float64)
    bounded = (high > low) & (high - low <= 1e6)
    width = np.where(bounded, high - low, np.maximum(1.0, np.abs(expected).max(axis=0)))
    if np.any(actions < low) or np.any(actions > high):
        return float("inf"), TOLERANCE
    inputs = torch.from_numpy(observations)
    exact = graph.act(_exact_outputs(graph, inputs)).numpy()
    rounding = float((np.abs(graph(inputs).numpy() - exact) / width).max())
    error = float((np.abs(actions - expected) / width).max())
    return error, min(max(TOLERANCE, ROUNDING_FACTOR * rounding), MAX_TOLERANCE)


def _choices(
    graph: PolicyGraph,
    observations: NDArray[np.float32],
    expected: NDArray[Any],
    actions: NDArray[np.int64],
) -> tuple[float, float]:
    """Return the share of observations with another choice, ties aside, and the tolerance, which is none."""
    inputs = torch.from_numpy(observations)
    exact = _exact_outputs(graph, inputs).numpy()
    rounding = ROUNDING_FACTOR * float(np.abs(graph.outputs(inputs).numpy() - exact).max())
    differs = np.zeros(len(observations), dtype=bool)
    for index, logits in enumerate(_split(graph, exact)):
        rows = np.arange(len(logits))
        chosen = logits[rows, actions[:, index]]
        other = logits[rows, expected[:, index].astype(np.int64)]
        # `not <=` and not `>`: a NaN must count as different.
        tied = np.abs(chosen - other) <= rounding
        differs |= (actions[:, index] != expected[:, index]) & ~tied
    return float(differs.mean()), 0.0


def _exact_outputs(graph: PolicyGraph, inputs: torch.Tensor) -> torch.Tensor:
    """Return the action network's outputs computed in float64. Shape: (N, L)."""
    try:
        return graph.in_float64().outputs(inputs)
    except RuntimeError:
        # A features extractor of the user's own that insists on float32: no rounding is allowed for then.
        return graph.outputs(inputs)


def _split(graph: PolicyGraph, outputs: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the logits of each choice: A arrays of shape (N, options)."""
    if isinstance(graph.act, Switches):
        return [np.stack([np.zeros_like(logit), logit], axis=1) for logit in outputs.T]
    assert isinstance(graph.act, Choices)
    return np.split(outputs, np.cumsum(graph.act.sizes)[:-1], axis=1)
