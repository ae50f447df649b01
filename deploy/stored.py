"""A few steps kept in a policy file, so that it can be checked wherever it runs, without the model it came from.

Shapes: T steps of one episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from metamotor.deploy.graph import PolicyGraph
from metamotor.deploy.observations import Pipeline
from metamotor.deploy.parity import draw_noise, run_session
from metamotor.deploy.runtime import (
    INPUT,
    LOG_PROB,
    NOISE,
    OUTPUT,
    Policy,
    RecurrentPolicy,
    open_session,
)
from metamotor.deploy.sequences import in_a_row, random_sequences

MOST_STEPS = 8
MOST_NUMBERS = 20_000
"""Numbers of observations that are kept: an image counts as many as it has."""
TOLERANCE = 1e-5
"""Relative to the largest number of an output, or 1: what another processor's kernels may round otherwise."""


def record(graph: PolicyGraph, pipeline: Pipeline, payload: bytes) -> dict[str, Any]:
    """Return inputs and outputs of the first steps of an episode, as flat lists by name, one a step."""
    inputs = {
        name: value.reshape(-1, *value.shape[2:])
        for name, value in random_sequences(graph, pipeline, seed=2)[-1].observations.items()
    }
    size = sum(value[0].size for value in inputs.values())
    steps = max(1, min(MOST_STEPS, MOST_NUMBERS // size))
    sequence = in_a_row({name: value[:steps] for name, value in inputs.items()})
    noise = None
    if graph.noise is not None:
        rng = np.random.default_rng(2)
        noise = draw_noise(graph, (steps, 1, *graph.noise.shape), rng)
    session = open_session(payload, threads=1, source="the exported policy")
    outputs = run_session(session, graph, sequence, noise)
    given = {**sequence.observations, **({} if noise is None else {NOISE: noise})}
    return {
        "inputs": {name: _flat(value) for name, value in given.items()},
        "outputs": {name: _flat(value) for name, value in outputs.items()},
    }


def _flat(values: Any) -> list[list[Any]]:
    return [step.flatten().tolist() for step in values]


def repeat(policy: Policy | RecurrentPolicy) -> float:
    """Return how far a file now is from what it stores: the largest relative difference of an output.

    Choices count 1 if they differ. Each step is taken once alone and once as a batch of two.

    Raises:
        ValueError: if it stores nothing that can be repeated.
    """
    reference = policy.metadata.get("reference")
    try:
        inputs, outputs = dict(reference["inputs"]), dict(reference["outputs"])  # type: ignore[index]
        errors = [
            difference
            for rows in (1, 2)
            for difference in _differences(policy, inputs, outputs, rows)
        ]
    except (KeyError, IndexError, TypeError) as broken:
        raise ValueError(
            f"{policy.path} stores no steps that could be repeated ({broken}); export the policy again"
        ) from broken
    finally:
        policy.reset()
    # Not max(): it drops a NaN that does not come first.
    return float(np.max(errors))


def _differences(
    policy: Policy | RecurrentPolicy,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    rows: int,
) -> Iterator[float]:
    """Yield the difference of each output of each step, gone through in a batch of equal rows."""
    kinds = {entry["name"]: entry["dtype"] for entry in policy.metadata["inputs"]}
    policy.reset()
    for t in range(len(outputs[OUTPUT])):
        parts = {
            name: np.stack([np.reshape(inputs[name][t], shape)] * rows).astype(kinds[name])
            for name, shape in policy.observation_shapes.items()
        }
        observation: Any = parts if policy.dictionary else parts[INPUT]
        if policy.stochastic:
            noise = np.reshape(inputs[NOISE][t], policy.metadata["noise"]["shape"])
            sample = policy.sample(observation, noise=np.stack([noise] * rows))
            found = {OUTPUT: sample.action, LOG_PROB: sample.log_prob}
        else:
            found = {OUTPUT: policy(observation)}
        for name, values in found.items():
            wanted = np.asarray(outputs[name][t], np.float64)
            unit = np.maximum(1.0, np.abs(wanted).max())
            yield float(np.abs(values.reshape(rows, -1) - wanted).max() / unit)
