"""Whether an ONNX model does what the SB3 model does: compared before a file is written.

They are compared on random observations, on recorded ones and along a simulated episode, at two sizes of the batch
and, with memory, over two lengths with episodes that begin inside. Continuous actions must agree to 1e-6 of half the
action's range: for actions in ±1, to 1e-6. A network whose outputs go far beyond the range loses more digits than that
in float32, in torch as much as in ONNX. How many is measured, by evaluating the same network in float64: then ONNX may
be as far from that as torch is, give or take a factor of two.

Shapes: T steps, N episodes beside each other, A numbers in an action, L outputs of the action network.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Several
from typing import Any, NamedTuple, cast

import numpy as np
import onnxruntime
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from metamotor.deploy.graph import PolicyGraph
from metamotor.deploy.heads import Bounded, Choices, Switches
from metamotor.deploy.observations import Arrays, Pipeline
from metamotor.deploy.reference import drawn, predicted
from metamotor.deploy.runtime import LOG_PROB, NOISE, OUTPUT, open_session
from metamotor.deploy.sequences import Sequence, random_sequences
from metamotor.meta.threads import one_torch_thread

TOLERANCE = 1e-6
"""Largest allowed difference of an action, as a share of half its range."""
MOST_TOLERANCE = 1e-3
"""However float32 rounds, no larger difference of an action is allowed, as a share of half its range."""
LOG_PROB_TOLERANCE = 1e-5
"""Largest allowed difference of a log-probability, as a share of its size or of 1."""
ONNX_FACTOR = 2.0
"""How many times as far from float64 as torch ONNX may be: its kernels round in another order. So does the LSTM of
`predict`, which is not the graph's."""


class Parity(NamedTuple):
    """How far the ONNX model is from `model.predict(observation, deterministic=True)`, its samples from the model's.

    For continuous actions all errors are shares of half the action's range; for choices `max_error` is the share of
    observations with another choice, those aside where the best two are equal to within rounding. They are those of
    the comparison that came nearest to what was allowed, or went furthest beyond.
    """

    observations: int
    """Random observations."""
    max_error: float
    tolerance: float
    rounding: float
    """How far the model's own outputs in float32 are from those in float64: of actions, or the logits of choices."""
    recorded: int = 0
    """Recorded observations."""
    episode_steps: int = 0
    """Steps of the simulated episode."""
    log_prob_error: float = 0.0
    """Of a stochastic policy: as a share of the log-probability's size, or of 1; 0 if the policy draws nothing."""
    log_prob_tolerance: float = LOG_PROB_TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed; a NaN or an infinity is not."""
        return (
            self.max_error <= min(self.tolerance, MOST_TOLERANCE)
            and not np.isnan(self.tolerance)
            and self.log_prob_error <= self.log_prob_tolerance < np.inf
        )


class _Found(NamedTuple):
    """One comparison."""

    error: float
    tolerance: float
    rounding: float


# On one thread: of several that call a function of MKL for the first time in a process, one may get its low-precision
# version, which is wrong by 1e-4 (https://github.com/pytorch/pytorch/issues/188792).
@one_torch_thread()
def measure(
    model: BaseAlgorithm,
    graph: PolicyGraph,
    pipeline: Pipeline,
    payload: bytes,
    *,
    recorded: Sequence | None = None,
    episode: Sequence | None = None,
) -> Parity:
    """Return how far the ONNX model in `payload` is from the SB3 model.

    Without memory, observations go in as one batch and one by one, because onnxruntime uses other kernels for a
    single row, and the robot sends single rows.
    """
    session = open_session(payload, threads=1, source="the exported policy")
    random = random_sequences(graph, pipeline)
    given = [sequence for sequence in (recorded, episode) if sequence is not None]
    actions: list[_Found] = []
    log_probs: list[_Found] = []
    for sequence in [*random, *given]:
        ways = [sequence]
        if not graph.state_ports:
            sequence = sequence.flat()
            ways = [sequence, sequence.single()]
        for noise in _noises(graph, sequence):
            found = _compare(model, graph, pipeline, session, sequence, ways, noise)
            actions += found[0]
            log_probs += found[1]
    worst = _worst(actions, MOST_TOLERANCE)
    likely = _worst(log_probs, np.inf) if log_probs else _Found(0.0, LOG_PROB_TOLERANCE, 0.0)
    return Parity(
        sum(sequence.steps for sequence in random),
        *worst,
        recorded=0 if recorded is None else recorded.steps,
        episode_steps=0 if episode is None else episode.steps,
        log_prob_error=likely.error,
        log_prob_tolerance=likely.tolerance,
    )


def run_session(
    session: onnxruntime.InferenceSession,
    graph: PolicyGraph,
    sequence: Sequence,
    noise: NDArray[np.float32] | None,
) -> dict[str, NDArray[Any]]:
    """Return the outputs of an ONNX model by name. Shapes: (T, N, ...)."""
    names = [port.name for port in graph.output_ports[: -len(graph.state_ports) or None]]
    wanted = [*names, *(f"{port.name}_out" for port in graph.state_ports)]
    memory: Arrays = {}
    steps = []
    for t, starts in enumerate(sequence.starts):
        feed = {key: value[t] for key, value in sequence.observations.items()}
        for port in graph.state_ports:
            kept = memory.get(port.name)
            feed[f"{port.name}_in"] = _begun(
                port.zeros(len(starts)).numpy() if kept is None else kept, starts, port.batch_axis
            )
        if noise is not None:
            feed[NOISE] = noise[t]
        results = session.run(wanted, feed)
        steps.append(results[: len(names)])
        memory = dict(
            zip([port.name for port in graph.state_ports], results[len(names) :], strict=True)
        )
    return {name: np.stack([step[i] for step in steps]) for i, name in enumerate(names)}


def run_torch(
    graph: PolicyGraph, sequence: Sequence, noise: NDArray[np.float32] | None
) -> dict[str, NDArray[Any]]:
    """Return the outputs of the graph in torch, and as "logits" those of the action network with the noise in them."""
    names = [port.name for port in graph.output_ports[: -len(graph.state_ports) or None]]
    memory: dict[str, torch.Tensor] = {}
    steps = []
    for t, starts in enumerate(sequence.starts):
        tensors = [
            torch.from_numpy(sequence.observations[port.name][t])
            for port in graph.observation_ports
        ]
        for port in graph.state_ports:
            kept = memory.get(port.name, port.zeros(len(starts)))
            tensors.append(torch.from_numpy(_begun(kept.numpy(), starts, port.batch_axis)))
        if noise is not None:
            tensors.append(torch.from_numpy(noise[t]))
        outputs, logits = graph.step(*tensors)
        steps.append([value.numpy() for value in (*outputs[: len(names)], logits)])
        memory = dict(
            zip([port.name for port in graph.state_ports], outputs[len(names) :], strict=True)
        )
    return {
        name: np.stack([step[i] for step in steps]) for i, name in enumerate([*names, "logits"])
    }


def _begun(memory: NDArray[Any], starts: NDArray[np.bool_], axis: int) -> NDArray[Any]:
    """Return the memory with zeros where an episode starts."""
    if not starts.any():
        return memory
    begun = memory.copy()
    np.moveaxis(begun, axis, 0)[starts] = 0
    return begun


def _noises(graph: PolicyGraph, sequence: Sequence) -> list[NDArray[np.float32] | None]:
    """Return what noise to compare with: none, or zeros, as for a deterministic action, and drawn."""
    if graph.noise is None:
        return [None]
    shape = (*sequence.starts.shape, *graph.noise.shape)
    return [np.zeros(shape, np.float32), draw_noise(graph, shape, np.random.default_rng(1))]


def draw_noise(
    graph: PolicyGraph, shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return noise of the kind that a graph takes."""
    assert graph.noise is not None
    draws: dict[str, Callable[[], NDArray[Any]]] = {
        "normal": lambda: rng.standard_normal(shape),
        "gumbel": lambda: rng.gumbel(size=shape),
        "logistic": lambda: rng.logistic(size=shape),
        "uniform": lambda: rng.random(shape, dtype=np.float32),
    }
    return draws[graph.noise.distribution]().astype(np.float32)


def _compare(
    model: BaseAlgorithm,
    graph: PolicyGraph,
    pipeline: Pipeline,
    session: onnxruntime.InferenceSession,
    sequence: Sequence,
    ways: Several[Sequence],
    noise: NDArray[np.float32] | None,
) -> tuple[list[_Found], list[_Found]]:
    """Compare actions and log-probabilities on one sequence, gone through in several ways."""
    rounded, exact = run_torch(graph, sequence, noise), _exact(graph, sequence, noise)
    sampled = noise is not None and bool(noise.any())
    log_probs: NDArray[Any] | None = None
    if noise is not None:
        expected, log_probs = drawn(model, pipeline, sequence, noise)
    wanted = [expected] if sampled else []
    while (
        not sampled and len(wanted) < 2
    ):  # again, as what a module counts in Python is no part of the graph
        wanted.append(predicted(model, pipeline, sequence))
    compare = _continuous if isinstance(model.action_space, spaces.Box) else _choices
    actions, likely = [], []
    for way in ways:
        own = None if noise is None else noise.reshape(*way.starts.shape, *noise.shape[2:])
        given = run_session(session, graph, way, own)
        found = given[OUTPUT].reshape(wanted[0].shape)
        actions += [compare(graph, rounded, exact, expected, found) for expected in wanted]
        if log_probs is not None:
            same = (found == wanted[0]).all(-1) if compare is _choices else np.isfinite(log_probs)
            likely.append(
                _likely(
                    _factor(graph),
                    rounded[LOG_PROB],
                    exact[LOG_PROB],
                    log_probs,
                    given[LOG_PROB].reshape(log_probs.shape),
                    same,
                )
            )
    return actions, likely


def _continuous(
    graph: PolicyGraph,
    rounded: dict[str, NDArray[Any]],
    exact: dict[str, NDArray[Any]],
    expected: NDArray[Any],
    actions: NDArray[Any],
) -> _Found:
    """Return the largest error, the tolerance and torch's rounding error.

    The last is measured on the graph and not on `predict`, so that a policy whose `predict` does something else is
    still found out.
    """
    assert isinstance(graph.act, Bounded)
    low = graph.act.low.numpy().astype(np.float64)
    high = graph.act.high.numpy().astype(np.float64)
    bounded = (high > low) & (high - low <= 1e6)
    largest = np.abs(expected).reshape(-1, expected.shape[-1]).max(axis=0)
    unit = np.where(bounded, (high - low) / 2, np.maximum(1.0, largest))
    rounding = float((np.abs(rounded[OUTPUT] - exact[OUTPUT]) / unit).max())
    error = float((np.abs(actions - expected) / unit).max())
    if np.any(actions < low) or np.any(actions > high):
        error = float("inf")
    # As far from `predict` as both together are from float64.
    return _Found(error, max(TOLERANCE, _factor(graph) * rounding), rounding)


def _factor(graph: PolicyGraph) -> float:
    return ONNX_FACTOR + (1.0 if graph.lstm is None else ONNX_FACTOR)


def _choices(
    graph: PolicyGraph,
    rounded: dict[str, NDArray[Any]],
    exact: dict[str, NDArray[Any]],
    expected: NDArray[Any],
    actions: NDArray[Any],
) -> _Found:
    """Return the share of observations with another choice, ties aside, the tolerance, which is none, and rounding."""
    rounding = float(np.abs(rounded["logits"] - exact["logits"]).max())
    wanted = expected.reshape(-1, expected.shape[-1]).astype(np.int64)
    given = actions.reshape(wanted.shape)
    logits = exact["logits"].reshape(len(wanted), -1)
    differs = np.zeros(len(wanted), dtype=bool)
    for index, part in enumerate(_split(graph, logits)):
        rows = np.arange(len(part))
        # Two logits are compared, and each may be wrong. `not <=` and not `>`: a NaN must count as different.
        tied = (
            np.abs(part[rows, given[:, index]] - part[rows, wanted[:, index]])
            <= 2 * ONNX_FACTOR * rounding
        )
        differs |= (given[:, index] != wanted[:, index]) & ~tied
    return _Found(float(differs.mean()), 0.0, rounding)


def _likely(
    factor: float,
    rounded: NDArray[Any],
    exact: NDArray[Any],
    expected: NDArray[np.float64],
    given: NDArray[Any],
    same: NDArray[np.bool_],
) -> _Found:
    """Compare log-probabilities of the same actions."""
    unit = np.maximum(1.0, np.abs(expected))[same]
    if not len(unit):
        return _Found(0.0, LOG_PROB_TOLERANCE, 0.0)
    rounding = float((np.abs(rounded - exact)[same] / unit).max())
    error = float((np.abs(given - expected)[same] / unit).max())
    return _Found(error, max(LOG_PROB_TOLERANCE, factor * rounding), rounding)


def _worst(found: Several[_Found], most: float) -> _Found:
    """Return the comparison that is furthest beyond what is allowed; one that is no number before all others.

    However large its tolerance, no comparison is allowed more than `most`.
    """

    def beyond(one: _Found) -> float:
        allowed = min(one.tolerance, most)
        share = one.error / allowed if allowed else np.inf if one.error else 0.0
        return float(share) if np.isfinite(share) else np.inf

    return max(found, key=beyond)


def _exact(
    graph: PolicyGraph, sequence: Sequence, noise: NDArray[np.float32] | None
) -> dict[str, NDArray[Any]]:
    """Return the outputs computed in float64."""
    try:
        return run_torch(graph.in_float64(), sequence, noise)
    except RuntimeError:
        # A features extractor of the user's own that insists on float32: no rounding is allowed for then.
        return run_torch(graph, sequence, noise)


def _split(graph: PolicyGraph, outputs: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the logits of each choice: A arrays of shape (N, options)."""
    if isinstance(graph.act, Switches):
        return [np.stack([np.zeros_like(logit), logit], axis=1) for logit in outputs.T]
    return np.split(outputs, np.cumsum(cast(Choices, graph.act).sizes)[:-1], axis=1)
