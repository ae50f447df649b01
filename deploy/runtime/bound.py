"""A session's input and output, bound once to memory of ours: what is left of a call is the network."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class Bound(threading.local):
    """One row in, one row out, without onnxruntime's own bookkeeping of a call; threads get memory of their own.

    `InferenceSession.run` makes a value of each input and an array of each output in every call, which takes as long
    as a network of 2×64 (docs/results/latency.md).

    Args:
        session: with one input and one output, both with a batch axis in front.
        size: numbers in a row of the input.
        dtype: of the input.
        example: (1, ...) an output of one row, for its shape and type.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, size: int, dtype: str, example: NDArray[Any]
    ) -> None:
        # A subclass of threading.local is initialised once in each thread that uses it.
        source, target = np.zeros((1, size), dtype), np.zeros_like(example)
        self._row, self._result = source[0], target[0, ...]
        self._binding = session.io_binding()
        for bind, item, array in (
            (self._binding.bind_input, session.get_inputs()[0], source),
            (self._binding.bind_output, session.get_outputs()[0], target),
        ):
            bind(item.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self._run = session.run_with_iobinding

    def __call__(self, row: NDArray[Any]) -> NDArray[Any]:
        """Return the output for one row (size,), in an array of the caller's own."""
        self._row[:] = row
        self._run(self._binding)
        return self._result.copy()
