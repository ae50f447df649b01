"""An observation, or a part of one, on its way into a graph: its type, shape and values are checked here.

Shapes: N observations in the batch, O numbers in an observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Input:
    """One input of a policy's graph.

    Args:
        name: of the input.
        dtype: "float32", "float64", "uint8" or "int64".
        shape: of one observation.
        names: of its numbers; a single one for an image.
        limits: number of choices of each number, for int64.
        source: the file, for messages.
        alone: whether it is the whole observation.
    """

    def __init__(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        names: Sequence[str],
        limits: Sequence[int],
        *,
        source: str,
        alone: bool,
    ) -> None:
        if dtype not in ("float32", "float64", "uint8", "int64"):
            raise ValueError(f"an input of type {dtype!r}")
        self.name, self.dtype, self.shape = name, dtype, shape
        self.size = int(np.prod(shape))
        self.num_names = 1 if len(shape) >= 3 else self.size
        self._names = names
        self._limits = np.array(limits, np.int64).reshape(shape) if dtype == "int64" else None
        self._what = "an observation" if alone else f"{name!r}"
        self._source = source
        self._is_real = dtype in ("float32", "float64")
        self._dims = len(shape)

    def batch(self, observation: Any) -> tuple[NDArray[Any], bool]:
        """Return a batch (N, ...), and whether there was only one observation.

        Raises:
            ValueError: if the type or shape is wrong, or a number is not finite or no choice.
        """
        try:
            values = np.asarray(observation)
        except ValueError as error:  # parts of several lengths
            raise ValueError(self._not_an_array(observation)) from error
        if values.dtype != self.dtype:
            values = self._converted(values)
        single = values.ndim == self._dims
        batch = values[np.newaxis] if single else values
        if batch.shape[1:] != self.shape or batch.ndim == 0:
            several = f"(N, {', '.join(map(str, self.shape))})" if self.shape else "(N,)"
            raise ValueError(
                f"{self._source} expects {self._what} of shape {self.shape} or a batch of shape {several}, got "
                f"{values.shape}"
            )
        # A NaN would pass through the network and come out as a NaN for the motors.
        if self._is_real and not np.isfinite(batch).all():
            raise ValueError(self._not_finite(batch, np.asarray(observation)))
        if self._limits is not None and not ((batch >= 0) & (batch < self._limits)).all():
            raise ValueError(
                f"{self._source} expects {self._what} from 0 to {(self._limits - 1).tolist()}, got {values.tolist()}"
            )
        return batch, single

    def zero(self) -> NDArray[Any]:
        """Return an observation of zeros."""
        return np.zeros(self.shape, self.dtype)

    def draw(self, rng: np.random.Generator) -> NDArray[Any]:
        """Return a random observation."""
        if self._is_real:
            return rng.standard_normal(self.shape).astype(self.dtype)
        high = 256 if self._limits is None else self._limits
        return np.asarray(rng.integers(0, high, self.shape)).astype(self.dtype)

    def _converted(self, values: NDArray[Any]) -> NDArray[Any]:
        kinds = {"int64": "iu", "uint8": ""}.get(self.dtype, "fiu")
        if values.dtype.kind not in kinds:
            wanted = "real numbers" if self._is_real else self.dtype
            raise ValueError(
                f"{self._source} expects {self._what} of {wanted}, got dtype {values.dtype}"
            )
        # What is too large for float32 becomes infinite, and is refused with its name a moment later.
        with np.errstate(over="ignore"):
            return values.astype(self.dtype)

    def _not_an_array(self, observation: Any) -> str:
        said = (
            f"{self._source} expects {self._what} of {self.size} numbers or a batch of such, got "
        )
        if isinstance(observation, tuple) and isinstance(observation[-1], dict):
            said += f"a tuple of {len(observation)} with an info at its end: pass its first element alone, as in "
            return f"{said}`observation, info = env.reset()`"
        return f"{said}a {type(observation).__name__} of {len(observation)} parts that differ in length"

    def _not_finite(self, batch: NDArray[Any], given: NDArray[Any]) -> str:
        flat, given = batch.reshape(len(batch), -1), given.reshape(len(batch), -1)
        rows, columns = np.nonzero(~np.isfinite(flat))
        entries = [
            f"{self._named(column)} = {given[row, column]}"
            + (f" (row {row})" if len(batch) > 1 else "")
            for row, column in zip(rows[:8], columns[:8], strict=True)
        ]
        more = f" and {len(rows) - 8} more" if len(rows) > 8 else ""
        return f"{self._source} got an observation that is not finite: {', '.join(entries)}{more}"

    def _named(self, column: int) -> str:
        if len(self._names) == self.size:
            return self._names[column]
        return f"{self.name}[{column}]"


def inputs_of(metadata: dict[str, Any], source: str) -> list[Input]:
    """Return the inputs that a file's metadata lists.

    Raises:
        KeyError: if an entry is missing.
        TypeError: if one is of another type.
        ValueError: if one cannot be.
    """
    listed, signals = metadata["inputs"], metadata["observations"]
    found, start = [], 0
    for entry in listed:
        shape = tuple(int(size) for size in entry["shape"][1:])
        image = len(shape) >= 3
        count = 1 if image else int(np.prod(shape))
        own = signals[start : start + count]
        start += count
        names = [str(signal["name"]) for signal in own]
        limits = [int(signal["high"]) + 1 for signal in own] if entry["dtype"] == "int64" else []
        found.append(
            Input(
                str(entry["name"]),
                str(entry["dtype"]),
                shape,
                names,
                limits,
                source=source,
                alone=len(listed) == 1,
            )
        )
    if not found:
        raise ValueError("no inputs")
    return found
