"""Whether an ONNX model does what the SB3 model does: compared on sampled observations before a file is written.

Continuous actions must agree to 1e-6 of half the action's range: for actions in ±1, to 1e-6. A network whose outputs go
far beyond the range loses more digits than that in float32, in torch as much as in ONNX. How many is measured, by
evaluating the same network in float64: then ONNX may be as far from that as torch is, give or take a factor of two.

Shapes: N observations, O numbers in an observation, A numbers in an action, L outputs of the action network.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from metamotor.deploy.graph import Bounded, Choices, Normalizer, PolicyGraph, Switches
from metamotor.deploy.runtime import INPUT, OUTPUT, open_session
from metamotor.meta.threads import one_torch_thread

NUM_OBSERVATIONS = 1000
TOLERANCE = 1e-6
"""Largest allowed difference of an action, as a share of half its range."""
ONNX_FACTOR = 2.0
"""How many times as far from float64 as torch ONNX may be: its kernels round in another order."""


class Parity(NamedTuple):
    """How far the ONNX model is from `model.predict(observation, deterministic=True)`.

    For continuous actions all errors are shares of half the action's range; for choices `max_error` is the share of
    observations with another choice, those aside where the best two are equal to within rounding.
    """

    observations: int
    max_error: float
    tolerance: float
    rounding: float
    """How far the model's own outputs in float32 are from those in float64: of actions, or the logits of choices."""

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed; a NaN or an infinity is not."""
        return self.max_error <= self.tolerance < np.inf


# On one thread: of several that call a function of MKL for the first time in a process, one may get its low-precision
# version, which is wrong by 1e-4 (https://github.com/pytorch/pytorch/issues/188792).
@one_torch_thread()
def measure(
    model: BaseAlgorithm, graph: PolicyGraph, normalizer: VecNormalize | None, payload: bytes
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
    inputs = torch.from_numpy(observations)
    outputs, exact = graph.outputs(inputs), _exact_outputs(graph, inputs)
    results = [
        compare(graph, outputs, exact, expected, actions.reshape(expected.shape))
        for actions in (batched, single)
    ]
    # Not max(): it drops a NaN that does not come first.
    worst = float(np.max([error for error, *_ in results]))
    return Parity(len(observations), worst, *results[0][1:])


def sample_observations(
    model: BaseAlgorithm, graph: PolicyGraph, *, seed: int = 0
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
    outputs: torch.Tensor,
    exact: torch.Tensor,
    expected: NDArray[Any],
    actions: NDArray[np.float32],
) -> tuple[float, float, float]:
    """Return the largest error, the tolerance and torch's rounding error.

    The last is measured on the graph and not on `predict`, so that a policy whose `predict` does something else is
    still found out.
    """
    assert isinstance(graph.act, Bounded)
    low = graph.act.low.numpy().astype(np.float64)
    high = graph.act.high.numpy().astype(np.float64)
    bounded = (high > low) & (high - low <= 1e6)
    unit = np.where(bounded, (high - low) / 2, np.maximum(1.0, np.abs(expected).max(axis=0)))
    rounding = float((np.abs((graph.act(outputs) - graph.act(exact)).numpy()) / unit).max())
    error = float((np.abs(actions - expected) / unit).max())
    if np.any(actions < low) or np.any(actions > high):
        error = float("inf")
    # As far from `predict` as both together are from float64.
    return error, max(TOLERANCE, (1 + ONNX_FACTOR) * rounding), rounding


def _choices(
    graph: PolicyGraph,
    outputs: torch.Tensor,
    exact: torch.Tensor,
    expected: NDArray[Any],
    actions: NDArray[np.int64],
) -> tuple[float, float, float]:
    """Return the share of observations with another choice, ties aside, the tolerance, which is none, and rounding."""
    rounding = float((outputs - exact).abs().max())
    differs = np.zeros(len(expected), dtype=bool)
    for index, logits in enumerate(_split(graph, exact.numpy())):
        rows = np.arange(len(logits))
        chosen = logits[rows, actions[:, index]]
        other = logits[rows, expected[:, index].astype(np.int64)]
        # Two logits are compared, and each may be wrong. `not <=` and not `>`: a NaN must count as different.
        tied = np.abs(chosen - other) <= 2 * ONNX_FACTOR * rounding
        differs |= (actions[:, index] != expected[:, index]) & ~tied
    return float(differs.mean()), 0.0, rounding


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
