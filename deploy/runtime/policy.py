"""A policy on the robot, without memory: observation in, action out. `recurrent` has those with memory.

Shapes: N observations in the batch, O numbers in an observation, A numbers in an action.
"""

from __future__ import annotations

import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray

from metamotor.deploy.runtime.bound import Bound
from metamotor.deploy.runtime.inputs import inputs_of
from metamotor.deploy.runtime.onnx_file import graph_sha256
from metamotor.deploy.runtime.screening import read_model
from metamotor.deploy.runtime.session import open_session

FORMAT = 2
"""The version of the metadata that this module reads and `deploy.export` writes."""
METADATA_KEY = "metamotor"
ADAPTATION_KEY = "metamotor_adaptation"
"""Of the metadata of files that adapt, which are read by `adaptation_file`."""
INPUT, OUTPUT = "observation", "action"
"""Names of the graph's input, if the observation is no dictionary, and of its output."""
NOISE, LOG_PROB, RAW_OUTPUT = "noise", "log_prob", "raw_action"
"""Names of what a stochastic policy's graph takes and gives besides."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int64)": "int64",
}
"""What numpy calls onnxruntime's types."""

Observation = ArrayLike | Mapping[str, ArrayLike]
Feed = dict[str, NDArray[Any]]


class Latency(NamedTuple):
    """Time of one call [µs]."""

    p50: float
    p99: float


class Sample(NamedTuple):
    """What a stochastic policy did."""

    action: NDArray[Any]
    """Inside the action space."""
    log_prob: NDArray[np.float32]
    """() or (N,): logarithm of its probability, or of the density of `raw_action`."""
    raw_action: NDArray[np.float32] | None
    """What `log_prob` is of, for continuous actions: the sample before it is clipped; between -1 and 1 if the policy
    squashes. None for choices."""


class PolicyFile(ABC):
    """What all policies on the robot share; `Policy` and `RecurrentPolicy` are to be used.

    Args:
        path: the `.onnx` file.
        threads: threads of one call; a policy of a robot's size is fastest with one, and leaves the other cores
            to the control loop.
        seed: of the noise of a stochastic policy; None draws a new one.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, threads: int = 1, seed: int | None = None
    ) -> None:
        self._open(Path(path), *read_policy(path, threads=threads), seed)

    @classmethod
    def of_session(
        cls,
        path: Path,
        session: onnxruntime.InferenceSession,
        metadata: dict[str, Any],
        seed: int | None,
    ) -> Self:
        """Return the policy of a file that `read_policy` has opened."""
        policy = cls.__new__(cls)
        policy._open(path, session, metadata, seed)
        return policy

    def _open(
        self,
        path: Path,
        session: onnxruntime.InferenceSession,
        metadata: dict[str, Any],
        seed: int | None,
    ) -> None:
        self.path = path
        self._metadata = metadata
        self._session = session
        self._observations = _names(metadata, "observations", path)
        self._actions = _names(metadata, "actions", path)
        try:
            self._inputs = inputs_of(metadata, path.name)
            self._states: list[dict[str, Any]] = [dict(state) for state in metadata["state"]]
            noise = metadata["noise"]
            self._noise: dict[str, Any] | None = None if noise is None else dict(noise)
            self._size = sum(item.size for item in self._inputs)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} does not say what its graph takes ({error}); export the policy again"
            ) from error
        # A dictionary has no shape, even one whose only key is "observation".
        alone = metadata.get("observation_shape") is not None
        self._only = self._inputs[0] if alone else None
        self._check_seed(seed)
        self._check_kind()
        self._check_graph()
        self._rng = np.random.default_rng(seed)
        self._held: NDArray[np.float32] | None = None
        self._left = 0
        self._run = session.run
        self._outputs = [OUTPUT, *(state["output"] for state in self._states)]
        self._sample_outputs = [
            OUTPUT,
            LOG_PROB,
            *([RAW_OUTPUT] if self._has_raw else []),
            *(state["output"] for state in self._states),
        ]
        self._warm_up()

    @property
    def metadata(self) -> dict[str, Any]:
        """What `deploy.export` wrote beside the network: `metamotor.deploy.metadata` lists it."""
        return self._metadata

    @property
    def stochastic(self) -> bool:
        """Whether the policy draws its actions."""
        return self._noise is not None

    @property
    def dictionary(self) -> bool:
        """Whether an observation is a mapping of its parts."""
        return self._only is None

    @property
    def observation_size(self) -> int:
        """Numbers in one observation, O; of a dictionary, in all of its parts."""
        return self._size

    @property
    def observation_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each part of one observation; one that is no dictionary is called "observation"."""
        return {item.name: item.shape for item in self._inputs}

    @property
    def action_size(self) -> int:
        """Numbers in one action, A."""
        return len(self._actions)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Names of the observation's numbers, in order; an image is one name."""
        return self._observations

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the action's numbers, in order."""
        return self._actions

    @property
    def control_period(self) -> float | None:
        """Time between two calls for which the policy was trained [s], or None if the file does not say."""
        period = self._metadata.get("control_period")
        return None if period is None else float(period)

    def benchmark(self, n: int = 20_000, *, seed: int = 0) -> Latency:
        """Return the latency of `n` calls with one observation, all checks included; the memory is reset."""
        if n < 1:
            raise ValueError(f"the number of calls must be at least 1, got {n}")
        rng = np.random.default_rng(seed)
        drawn = {item.name: item.draw(rng) for item in self._inputs}
        observation: Any = drawn if self._only is None else drawn[INPUT]
        times = np.empty(n)
        self.reset()
        for i in range(n):
            start = time.perf_counter_ns()
            self(observation)
            times[i] = time.perf_counter_ns() - start
        self.reset()
        p50, p99 = np.percentile(times / 1e3, [50, 99])
        return Latency(float(p50), float(p99))

    def __call__(self, observation: Observation, *, deterministic: bool = False) -> NDArray[Any]:
        """Return the action.

        Args:
            observation: one observation or a batch of them. A vector (O,) or (N, O) of any real number type, rounded
                to that of the file (`metadata["inputs"]`: float32, or float64 where its normaliser needs the digits);
                an image in the shape and type of its space; a choice as a whole number; for a dictionary, a mapping of
                these.
            deterministic: for a stochastic policy: give the most likely action, as without noise.

        Returns:
            (A,) for one observation, (N, A) for a batch: float32 for continuous actions, int64 for choices. A
            policy with a single choice (`Discrete`) gives shapes () and (N,).

        Raises:
            ValueError: if the shape is wrong, or an entry is not a finite number in the type of the file.
        """
        feed, n, single = self._feed(observation)
        if self._noise is not None:
            feed[NOISE] = self._zero_noise(n) if deterministic else self._draw(n)
        action: NDArray[Any] = self._advance(feed, n, self._outputs)[0]
        return action[0, ...] if single else action

    def sample(self, observation: Observation, *, noise: ArrayLike | None = None) -> Sample:
        """Return an action of a stochastic policy with its log-probability.

        Args:
            observation: as for a call.
            noise: what to use in place of newly drawn noise, in the shape of `metadata["noise"]`, for a batch with N
                in front.

        Raises:
            ValueError: if the policy is deterministic, or something has the wrong shape.
        """
        if self._noise is None:
            raise ValueError(
                f"{self.path.name} acts deterministically, and no action of it has a log-probability; export it with "
                "stochastic=True"
            )
        feed, n, single = self._feed(observation)
        feed[NOISE] = self._draw(n) if noise is None else self._given(noise, n, single)
        action, log_prob, *others = self._advance(feed, n, self._sample_outputs)
        raw = others[0] if self._has_raw else None
        if not single:
            return Sample(action, log_prob, raw)
        return Sample(action[0, ...], log_prob[0, ...], None if raw is None else raw[0])

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Begin an episode: what is remembered goes back to its start, and noise that is held is drawn anew.

        Args:
            rows: of a batch, those that begin one (indices, or a mask of N); None: all.
        """
        if rows is None:
            self._held = None
        elif self._held is not None:
            begins = np.zeros(len(self._held), dtype=bool)
            begins[np.asarray(rows)] = True
            self._held[begins] = self._noise_of(int(begins.sum()))

    def __repr__(self) -> str:
        """Return the file, the algorithm and the sizes."""
        algorithm = self._metadata.get("algorithm")
        return f"{type(self).__name__}({str(self.path)!r}: {algorithm}, {self._size} -> {self.action_size})"

    @property
    def _has_raw(self) -> bool:
        space = self._metadata.get("action_space")
        return isinstance(space, dict) and space.get("type") == "Box"

    @abstractmethod
    def _advance(self, feed: Feed, n: int, outputs: list[str]) -> list[NDArray[Any]]:
        """Return the outputs, without those that are remembered."""

    def _feed(self, observation: Observation) -> tuple[Feed, int, bool]:
        """Return what the graph takes, the size of the batch, and whether there was only one observation."""
        if self._only is not None:
            batch, single = self._only.batch(observation)
            return {INPUT: batch}, len(batch), single
        if not isinstance(observation, Mapping):
            raise ValueError(
                f"{self.path.name} expects a dictionary of {', '.join(self.observation_shapes)}, got "
                f"{type(observation).__name__}"
            )
        if set(observation) != set(self.observation_shapes):
            raise ValueError(
                f"{self.path.name} expects a dictionary of {', '.join(self.observation_shapes)}, got "
                f"{', '.join(map(str, observation)) or 'an empty one'}"
            )
        feed, sizes = {}, {}
        for item in self._inputs:
            feed[item.name], single = item.batch(observation[item.name])
            sizes[item.name] = None if single else len(feed[item.name])
        if len(set(sizes.values())) > 1:
            said = {name: "one" if size is None else size for name, size in sizes.items()}
            raise ValueError(f"{self.path.name} got batches of several sizes: {said}")
        (size,) = set(sizes.values())
        return feed, 1 if size is None else size, size is None

    def _draw(self, n: int) -> NDArray[np.float32]:
        assert self._noise is not None
        hold = self._noise["hold"]
        if self._held is not None and len(self._held) == n and (hold == 0 or self._left > 0):
            self._left -= 1
            return self._held
        drawn = self._noise_of(n)
        if hold != 1:
            self._held, self._left = drawn, hold - 1
        return drawn

    def _noise_of(self, n: int) -> NDArray[np.float32]:
        assert self._noise is not None
        shape = (n, *self._noise["shape"])
        match self._noise["distribution"]:
            case "normal":
                return self._rng.standard_normal(shape, dtype=np.float32)
            case "gumbel":
                return self._rng.gumbel(size=shape).astype(np.float32)
            case "logistic":
                return self._rng.logistic(size=shape).astype(np.float32)
            case _:
                return self._rng.random(shape, dtype=np.float32)

    def _zero_noise(self, n: int) -> NDArray[np.float32]:
        assert self._noise is not None
        return np.zeros((n, *self._noise["shape"]), np.float32)

    def _given(self, noise: ArrayLike, n: int, single: bool) -> NDArray[np.float32]:
        assert self._noise is not None
        values, shape = np.asarray(noise, np.float32), tuple(self._noise["shape"])
        wanted = shape if single else (n, *shape)
        if values.shape != wanted or not np.isfinite(values).all():
            raise ValueError(
                f"{self.path.name} expects finite noise of shape {wanted}, got shape {values.shape}"
            )
        return values.reshape(n, *shape)

    @abstractmethod
    def _check_kind(self) -> None:
        """Refuse a file that another class is for."""

    def _check_seed(self, seed: int | None) -> None:
        if seed is None:
            return
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
        if self._noise is None:
            raise ValueError(
                f"{self.path.name} acts deterministically, so seed={seed} would change nothing; export it with "
                "stochastic=True, or give no seed"
            )

    def _check_graph(self) -> None:
        found = {
            item.name: (
                _DTYPES.get(item.type, item.type),
                [size if isinstance(size, int) else None for size in item.shape],
            )
            for item in self._session.get_inputs()
        }
        expected = {item.name: (item.dtype, [None, *item.shape]) for item in self._inputs}
        try:
            for state in self._states:
                expected[state["input"]] = (state["dtype"], list(state["shape"]))
            outputs = {OUTPUT, *(state["output"] for state in self._states)}
            if self._noise is not None:
                expected[NOISE] = ("float32", [None, *self._noise["shape"]])
                outputs |= {LOG_PROB} | ({RAW_OUTPUT} if self._has_raw else set())
                int(self._noise["hold"]), str(self._noise["distribution"])
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path} does not say what its state and its noise are; export the policy again"
            ) from error
        given = {item.name for item in self._session.get_outputs()}
        sizes = sum(item.num_names for item in self._inputs)
        if found != expected or given != outputs or sizes != len(self._observations):
            raise ValueError(
                f"{self.path} is not consistent: its metadata names {len(self._observations)} observations and the "
                f"inputs {expected}, but its graph takes {found} and gives {sorted(given)}; export the policy again"
            )

    def _warm_up(self) -> None:
        zeros = {item.name: item.zero() for item in self._inputs}
        observation: Any = zeros if self._only is None else zeros[INPUT]
        state = self._rng.bit_generator.state
        # Fewer for an image, whose network takes milliseconds.
        for _ in range(100 if self._size < 1000 else 5):
            self(observation)
        self._rng.bit_generator.state = state
        self.reset()


class Policy(PolicyFile):
    """A policy file written by `deploy.export`: observation in, action out, nothing remembered in between.

    Normalisation, clipping and unscaling are inside the file, so the observation is what the sensors say and the
    action lies inside the action space, both in the units that `metadata` names. Calls from several threads at
    once are safe; those of a stochastic policy share its noise.

    Args:
        path: the `.onnx` file.
        threads: threads of one call; a policy of a robot's size is fastest with one, and leaves the other cores
            to the control loop.
        seed: of the noise of a stochastic policy; None draws a new one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, is not a policy of metamotor, was written by a newer one, or has a memory.
    """

    _bound: Bound | None = None
    _shape: tuple[int, ...] = ()
    _dtypes: tuple[Any, ...] = ()

    def __call__(self, observation: Observation, *, deterministic: bool = False) -> NDArray[Any]:
        """Return the action; arguments, result and errors are those of `PolicyFile`."""
        # What a control loop does all the time. The sum of squares is finite only if every entry is, and takes a third
        # of the time to ask all of them; if it is not, the other way finds out why.
        if (
            self._bound is not None
            and isinstance(observation, np.ndarray)
            and observation.shape == self._shape
            and observation.dtype in self._dtypes
            and math.isfinite(observation.dot(observation))
        ):
            return self._bound(observation)
        return super().__call__(observation, deterministic=deterministic)

    def _advance(self, feed: Feed, n: int, outputs: list[str]) -> list[NDArray[Any]]:
        results: list[NDArray[Any]] = self._run(outputs, feed)
        return results

    def _warm_up(self) -> None:
        item = self._only
        if (
            item is not None
            and self._noise is None
            and item.dtype in ("float32", "float64")
            and len(item.shape) == 1
        ):
            example = self._run(self._outputs, {INPUT: item.zero()[np.newaxis]})[0]
            self._shape = item.shape
            self._bound = Bound(self._session, item.size, item.dtype, example)
            # Those that go in as they are; of another type, what is too large has to be found first.
            self._dtypes = (np.dtype(item.dtype), np.dtype(np.float32))
        super()._warm_up()

    def _check_kind(self) -> None:
        if self._states:
            names = ", ".join(str(state.get("input")) for state in self._states)
            raise ValueError(
                f"{self.path} has a memory ({names}), which a Policy does not keep: open it with "
                "deploy.runtime.RecurrentPolicy, or with deploy.runtime.open_policy, which opens both kinds"
            )


def read_policy(
    path: str | os.PathLike[str], *, threads: int
) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Return the session and the metadata of a policy file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged or was changed, is not a policy of metamotor, or was written by a newer one.
    """
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a whole number of at least 1, got {threads!r}")
    file = Path(path)
    payload = _read(file)
    session = open_session(payload, threads=threads, source=str(file))
    metadata = _read_metadata(session, file)
    # A weight with a bit turned is as good a weight as any: nothing else would tell.
    if metadata.get("graph_sha256", (found := graph_sha256(payload))) != found:
        raise ValueError(
            f"{path} was changed after it was written: its graph is not the one that its metadata has the hash of; "
            "copy or export it again"
        )
    return session, metadata


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise ValueError(f"{path} is a directory; give the .onnx file that deploy.export wrote")
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no policy file {path}; write one with metamotor.deploy.export"
        )
    return read_model(path)


def _read_metadata(session: onnxruntime.InferenceSession, path: Path) -> dict[str, Any]:
    entries = session.get_modelmeta().custom_metadata_map
    text = entries.get(METADATA_KEY)
    if text is None and ADAPTATION_KEY in entries:
        raise ValueError(
            f"{path} adapts, and is no policy for one task: open it with deploy.runtime.AdaptivePolicy, whose save() "
            "writes a policy of what it adapted to"
        )
    try:
        metadata = json.loads(text) if text is not None else None
    except json.JSONDecodeError:
        metadata = None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("format"), int):
        raise ValueError(
            f"{path} is an ONNX file, but not a metamotor policy: it has no metadata {METADATA_KEY!r}; "
            "write policies with metamotor.deploy.export"
        )
    if metadata["format"] != FORMAT:
        remedy = "upgrade metamotor here" if metadata["format"] > FORMAT else "export it again"
        raise ValueError(
            f"{path} has format {metadata['format']}, this metamotor reads format {FORMAT}; {remedy}"
        )
    return metadata


def _names(metadata: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    try:
        return tuple(str(signal["name"]) for signal in metadata[key])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} names no {key} in its metadata; export the policy again"
        ) from error
