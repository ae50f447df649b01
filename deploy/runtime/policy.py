"""A feed-forward policy on the robot.

Shapes: N observations in the batch, O numbers in an observation, A numbers in an action.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray

from metamotor.deploy.runtime.bound import Bound
from metamotor.deploy.runtime.screening import read_model
from metamotor.deploy.runtime.session import open_session

FORMAT = 1
"""The version of the metadata that this module reads and `deploy.export` writes."""
METADATA_KEY = "metamotor"
INPUT, OUTPUT = "observation", "action"
"""Names of the graph's input and output."""


class Latency(NamedTuple):
    """Time of one call [µs]."""

    p50: float
    p99: float


class Policy:
    """A policy file written by `deploy.export`: observation in, deterministic action out.

    Normalisation, clipping and unscaling are inside the file, so the observation is what the sensors say and the
    action lies inside the action space, both in the units that `metadata` names. Calls from several threads at
    once are safe.

    Args:
        path: the `.onnx` file.
        threads: threads of one call; a policy of a robot's size is fastest with one, and leaves the other cores
            to the control loop.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, is not a policy of metamotor, or was written by a newer one.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 1) -> None:
        if not isinstance(threads, int) or threads < 1:
            raise ValueError(f"threads must be a whole number of at least 1, got {threads!r}")
        self.path = Path(path)
        self._session = open_session(_read(self.path), threads=threads, source=str(self.path))
        self._metadata = _read_metadata(self._session, self.path)
        self._observations = _names(self._metadata, "observations", self.path)
        self._actions = _names(self._metadata, "actions", self.path)
        self._size = len(self._observations)
        self._check_graph()
        self._run = self._session.run
        self._outputs = [OUTPUT]
        self._shape = (self._size,)
        example = self._run(self._outputs, {INPUT: np.zeros((1, self._size), np.float32)})[0]
        self._bound = Bound(self._session, self._size, example)
        self._warm_up()

    def __call__(self, observation: ArrayLike) -> NDArray[Any]:
        """Return the deterministic action.

        Args:
            observation: one observation (O,) or a batch (N, O), of any real number type; computed in float32.

        Returns:
            (A,) for one observation, (N, A) for a batch: float32 for continuous actions, int64 for choices. A
            policy with a single choice (`Discrete`) gives shapes () and (N,).

        Raises:
            ValueError: if the shape is wrong, or an entry is not a finite number in float32.
        """
        try:
            values = np.asarray(observation)
        except ValueError as error:  # parts of several lengths
            raise ValueError(self._not_an_array(observation)) from error
        if values.dtype != np.float32:
            values = self._to_float32(values)
        # The sum of squares is finite only if every entry is, and takes a third of the time to ask all of them.
        if values.shape == self._shape and math.isfinite(values.dot(values)):
            return self._bound(values)
        single = values.ndim == 1
        batch = values[np.newaxis] if single else values
        if batch.ndim != 2 or batch.shape[1] != self._size:
            raise ValueError(
                f"{self.path.name} expects an observation of shape ({self._size},) or a batch of shape "
                f"(N, {self._size}), got {values.shape}"
            )
        # A NaN would pass through the network and come out as a NaN for the motors.
        if not np.isfinite(batch).all():
            raise ValueError(self._not_finite(batch, np.asarray(observation)))
        action: NDArray[Any] = self._run(self._outputs, {INPUT: batch})[0]
        return action[0, ...] if single else action

    @property
    def metadata(self) -> dict[str, Any]:
        """What `deploy.export` wrote beside the network: `metamotor.deploy.metadata` lists it."""
        return self._metadata

    @property
    def observation_size(self) -> int:
        """Numbers in one observation, O."""
        return self._size

    @property
    def action_size(self) -> int:
        """Numbers in one action, A."""
        return len(self._actions)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Names of the observation's numbers, in order."""
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
        """Return the latency of `n` calls with one observation, all checks included."""
        if n < 1:
            raise ValueError(f"the number of calls must be at least 1, got {n}")
        observation = np.random.default_rng(seed).standard_normal(self._size, dtype=np.float32)
        times = np.empty(n)
        for i in range(n):
            start = time.perf_counter_ns()
            self(observation)
            times[i] = time.perf_counter_ns() - start
        p50, p99 = np.percentile(times / 1e3, [50, 99])
        return Latency(float(p50), float(p99))

    def __repr__(self) -> str:
        """Return the file, the algorithm and the sizes."""
        algorithm = self._metadata.get("algorithm")
        return f"Policy({str(self.path)!r}: {algorithm}, {self._size} -> {self.action_size})"

    def _to_float32(self, values: NDArray[Any]) -> NDArray[np.float32]:
        if values.dtype.kind not in "fiu":
            raise ValueError(
                f"{self.path.name} expects an observation of real numbers, got dtype {values.dtype}"
            )
        # What is too large for float32 becomes infinite, and is refused with its name a moment later.
        with np.errstate(over="ignore"):
            return values.astype(np.float32)

    def _not_an_array(self, observation: Any) -> str:
        said = f"{self.path.name} expects an observation of {self._size} numbers or a batch of such, got "
        if isinstance(observation, tuple) and isinstance(observation[-1], dict):
            said += f"a tuple of {len(observation)} with an info at its end: pass its first element alone, as in "
            return f"{said}`observation, info = env.reset()`"
        return f"{said}a {type(observation).__name__} of {len(observation)} parts that differ in length"

    def _not_finite(self, batch: NDArray[np.float32], given: NDArray[Any]) -> str:
        given = given.reshape(batch.shape)
        rows, columns = np.nonzero(~np.isfinite(batch))
        entries = [
            f"{self._observations[column]} = {given[row, column]}"
            + (f" (row {row})" if len(batch) > 1 else "")
            for row, column in zip(rows[:8], columns[:8], strict=True)
        ]
        more = f" and {len(rows) - 8} more" if len(rows) > 8 else ""
        return f"{self.path.name} got an observation that is not finite: {', '.join(entries)}{more}"

    def _check_graph(self) -> None:
        inputs = [(item.name, item.shape[1:], item.type) for item in self._session.get_inputs()]
        outputs = [item.name for item in self._session.get_outputs()]
        expected = [(INPUT, [self._size], "tensor(float)")]
        if inputs != expected or outputs != [OUTPUT]:
            raise ValueError(
                f"{self.path} is not consistent: its metadata names {self._size} observations, but its graph "
                f"takes {inputs} and gives {outputs}; export the policy again"
            )

    def _warm_up(self) -> None:
        observation = np.zeros(self._size, dtype=np.float32)
        for _ in range(100):
            self(observation)


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise ValueError(f"{path} is a directory; give the .onnx file that deploy.export wrote")
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no policy file {path}; write one with metamotor.deploy.export"
        )
    return read_model(path)


def _read_metadata(session: onnxruntime.InferenceSession, path: Path) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    try:
        metadata = json.loads(text) if text is not None else None
    except json.JSONDecodeError:
        metadata = None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("format"), int):
        raise ValueError(
            f"{path} is an ONNX file, but not a metamotor policy: it has no metadata {METADATA_KEY!r}; "
            "write policies with metamotor.deploy.export"
        )
    if metadata["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {metadata['format']}, this metamotor reads up to {FORMAT}; upgrade metamotor here"
        )
    return metadata


def _names(metadata: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    try:
        return tuple(str(signal["name"]) for signal in metadata[key])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} names no {key} in its metadata; export the policy again"
        ) from error
