"""Observations to compare a file with its model on: drawn at random, recorded, or met in a simulated episode.

Shapes: T steps, N episodes beside each other, then the shape of an input of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor

from metamotor.deploy.graph import PolicyGraph
from metamotor.deploy.observations import (
    Arrays,
    Normalize,
    Normalizer,
    Pipeline,
    Port,
    Stack,
    by_key,
)
from metamotor.deploy.runtime import INPUT

NUM_OBSERVATIONS = 1000
"""Random observations for a policy without memory; fewer if they are large."""
MOST_NUMBERS = 2_000_000
"""Numbers in all random observations together."""
MEMORY_LENGTHS = ((20, 7), (60, 1))
"""Steps and episodes beside each other of the random sequences for a policy with memory."""
RESTART = 0.1
"""How often an episode of a random sequence starts anew."""
LONGEST_EPISODE = 1000
FAR = 20.0
"""Standard deviations by which one in ten random observations leaves a normaliser's range."""


class Sequence(NamedTuple):
    """What goes into a policy, step after step."""

    observations: Arrays
    """(T, N, ...) by input."""
    starts: NDArray[np.bool_]
    """(T, N): whether an episode starts with the step."""

    @property
    def steps(self) -> int:
        """T · N."""
        return int(self.starts.size)

    def flat(self) -> Sequence:
        """Return all steps as one batch, for a policy to which their order means nothing."""
        observations = {
            key: value.reshape(1, self.steps, *value.shape[2:])
            for key, value in self.observations.items()
        }
        return Sequence(observations, np.ones((1, self.steps), dtype=bool))

    def single(self) -> Sequence:
        """Return all steps one by one."""
        observations = {
            key: value.reshape(self.steps, 1, *value.shape[2:])
            for key, value in self.observations.items()
        }
        return Sequence(observations, np.ones((self.steps, 1), dtype=bool))


def raw(observations: Mapping[str, NDArray[Any]], space: spaces.Space[Any]) -> Any:
    """Return inputs of the graph (N, ...) as an environment with this space would have given them."""
    parts = by_key(space)
    shaped = {
        key: value.reshape(len(value), *cast(Any, parts[key].shape)).astype(
            cast(Any, parts[key].dtype)
        )
        for key, value in observations.items()
    }
    return shaped if isinstance(space, spaces.Dict) else shaped[INPUT]


def as_inputs(observation: Any, graph: PolicyGraph, *, source: str) -> Arrays:
    """Return observations of an environment, (N, ...) or dictionaries of these, as inputs of the graph.

    Raises:
        ValueError: if they do not have the shape of the space, or hold what is not finite; `source` names them.
    """
    parts = observation if isinstance(observation, Mapping) else {INPUT: observation}
    names = [port.name for port in graph.observation_ports]
    if set(parts) != set(names):
        raise ValueError(
            f"{source} must be of {', '.join(names)}, got {', '.join(map(str, parts))}"
        )
    inputs, lengths = {}, {}
    for port in graph.observation_ports:
        values = np.asarray(parts[port.name])
        length = len(values) if values.ndim else 0
        wanted = int(np.prod(port.sizes))
        if length == 0 or values.size != length * wanted or values.dtype.kind not in "fiub":
            raise ValueError(
                f"{source} must be numbers of shape (N, {', '.join(map(str, port.sizes))}), got "
                f"{values.dtype} of shape {values.shape}"
                + ("" if port.name == INPUT else f" for {port.name!r}")
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{source} must be finite, got {values[~np.isfinite(values)][0]}")
        inputs[port.name] = values.reshape(length, *port.sizes).astype(port.dtype)
        lengths[port.name] = length
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{source} must be as many for every input, got {lengths}")
    return inputs


def in_a_row(inputs: Arrays) -> Sequence:
    """Return inputs (T, ...) as one episode."""
    length = len(next(iter(inputs.values())))
    starts = np.zeros((length, 1), dtype=bool)
    starts[0] = True
    return Sequence({key: value[:, None] for key, value in inputs.items()}, starts)


def random_sequences(graph: PolicyGraph, pipeline: Pipeline, *, seed: int = 0) -> list[Sequence]:
    """Return observations like those of the training, inside the observation space.

    With statistics they follow these, one in ten rows far outside so that the normaliser clips. Without, they are
    uniform where the space has bounds of moderate size and Gaussian elsewhere. With memory, episodes start anew
    inside the sequences, and there are two of different length and number.
    """
    rng = np.random.default_rng(seed)
    size = sum(int(np.prod(port.sizes)) for port in graph.observation_ports)
    most = max(8, min(NUM_OBSERVATIONS, MOST_NUMBERS // size))
    lengths = MEMORY_LENGTHS if graph.state_ports else ((1, most),)
    sequences = []
    for steps, rows in lengths:
        starts = rng.random((steps, rows)) < RESTART
        starts[0] = True
        # The middle of the longer one, whatever was drawn.
        starts[steps // 2, 0] = True
        observations = {
            port.name: _draw(port, pipeline, (steps, rows), rng) for port in graph.observation_ports
        }
        sequences.append(Sequence(observations, starts))
    return sequences


def _draw(
    port: Port, pipeline: Pipeline, lead: tuple[int, int], rng: np.random.Generator
) -> NDArray[Any]:
    """Return random values for one input. Shape: (T, N, ...)."""
    space = by_key(pipeline.space)[port.name]
    count, shape = lead[0] * lead[1], (*lead, *port.sizes)
    if isinstance(space, spaces.Discrete):
        drawn = rng.integers(0, int(space.n), count)
    elif isinstance(space, spaces.MultiDiscrete):
        drawn = rng.integers(0, space.nvec, (count, len(space.nvec)))
    elif isinstance(space, spaces.MultiBinary):
        drawn = rng.integers(0, 2, (count, *cast(Any, space.shape)))
    else:
        drawn = _numbers(cast(spaces.Box, space), statistics(port.name, pipeline), count, rng)
    return drawn.reshape(shape).astype(port.dtype)


def _numbers(
    space: spaces.Box,
    moments: tuple[NDArray[Any], NDArray[Any]] | None,
    count: int,
    rng: np.random.Generator,
) -> NDArray[Any]:
    low, high = space.low.flatten().astype(np.float64), space.high.flatten().astype(np.float64)
    gaussian = rng.standard_normal((count, low.size))
    if moments is not None:
        gaussian[::10] *= FAR
        mean, std = moments
        drawn = mean.flatten() + std.flatten() * gaussian
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            moderate = (np.abs(low) <= 1e3) & (np.abs(high) <= 1e3)
        edges = np.where(moderate, low, 0.0), np.where(moderate, high, 1.0)
        drawn = np.where(moderate, rng.uniform(*edges, size=gaussian.shape), gaussian)
    if np.issubdtype(space.dtype, np.integer):
        drawn = np.rint(drawn)
    # A float64 bound may round outwards in float32; the policies do not mind.
    return np.clip(drawn, low, high)


def statistics(key: str, pipeline: Pipeline) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return mean and standard deviation of what the sensors say, as the normaliser knows them.

    Of stacked frames it is the newest that counts.
    """
    size: tuple[int, int] | None = None
    for step in pipeline.steps:
        module = step.module
        if isinstance(module, Stack):
            size = module.axes[key], module.sizes[key]
        elif isinstance(module, Normalize) and key in module.keys:
            normalizer = cast(Normalizer, module.normalizers[module.keys.index(key)])
            mean, std = normalizer.mean.numpy(), normalizer.std.numpy()
            if size is not None:
                newest = range(mean.shape[size[0]] - size[1], mean.shape[size[0]])
                mean, std = (np.take(values, newest, axis=size[0]) for values in (mean, std))
            same = mean.shape == by_key(pipeline.space)[key].shape
            return (mean, std) if same else None
    return None


def of_family(env: Any) -> Any:
    """Return the outermost layer of an environment that belongs to a task family, or else what is in all of them."""
    while isinstance(env, gymnasium.Wrapper) and not hasattr(env, "family"):
        env = env.env
    return env


def simulation_of(model: BaseAlgorithm) -> Callable[[], Any] | None:
    """Return what makes a new environment like the model's own, or None if nothing is known that does.

    The model's own is never stepped: it may be in the middle of an episode, or a robot.
    """
    envs = getattr(model.get_env(), "envs", None) or []
    env = envs[0] if envs else None
    while isinstance(env, Monitor):
        env = env.env
    own = of_family(env)
    family = getattr(own, "family", None)
    if family is not None and hasattr(family, "make_env"):
        task = getattr(own, "task", None)

        def make() -> Any:
            simulation = family.make_env()
            if task is not None:
                of_family(simulation).set_task(task)
            return simulation

        return make
    spec = getattr(env, "spec", None)
    return None if spec is None else lambda: gymnasium.make(spec, render_mode=None)


def episode(
    act: Callable[[Arrays, NDArray[np.bool_]], NDArray[Any]],
    env: Any,
    graph: PolicyGraph,
    pipeline: Pipeline,
    *,
    seed: int = 0,
) -> Sequence | None:
    """Return what is observed in an episode, or None if the environment has other spaces than the policy.

    Args:
        act: inputs (1, ...) and whether an episode starts (1,), to the action in the action space.
        env: a Gymnasium environment, stepped to the end of the episode or for 1,000 steps.
        graph: what the inputs are for.
        pipeline: its wrappers.
        seed: of the episode.
    """
    if env.observation_space != pipeline.space:
        return None
    observation, _ = env.reset(seed=seed)
    met, start = [], True
    for _ in range(LONGEST_EPISODE):
        inputs = as_inputs(_batch(observation), graph, source="the environment's observations")
        met.append(inputs)
        observation, _, terminated, truncated, _ = env.step(act(inputs, np.array([start])))
        start = False
        if terminated or truncated:
            break
    return in_a_row({key: np.concatenate([inputs[key] for inputs in met]) for key in met[0]})


def _batch(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {key: np.asarray(value)[None] for key, value in observation.items()}
    return np.asarray(observation)[None]
