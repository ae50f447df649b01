"""A policy on the robot that remembers: of recurrent networks, and of observations that are stacked.

Shapes: N observations in the batch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metamotor.deploy.runtime.policy import Feed, Policy, PolicyFile, read_policy


class RecurrentPolicy(PolicyFile):
    """A policy file with a memory: call it once a control period, and `reset` it when an episode begins.

    What is remembered goes in and out of the graph by name, and starts as the file says; it is kept here. One object
    serves one robot, or a batch of N that stay in their rows. Calls from several threads are not safe.

    Args:
        path: the `.onnx` file.
        threads: threads of one call.
        seed: of the noise of a stochastic policy; None draws a new one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, is not a policy of metamotor, was written by a newer one, or has no memory.
    """

    _memory: Feed | None = None

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Begin an episode: forget all, or only the given rows of a batch (indices, or a mask of N)."""
        super().reset(rows)
        if rows is None:
            self._memory = None
        elif self._memory is not None:
            for name, axis, value in self._initial:
                memory = np.moveaxis(self._memory[name], axis, 0)
                memory[np.asarray(rows)] = value

    @property
    def memory(self) -> Feed | None:
        """What is remembered, by the names of the graph's inputs; None at the beginning of an episode."""
        if self._memory is None:
            return None
        return {name: value.copy() for name, value in self._memory.items()}

    def _advance(self, feed: Feed, n: int, outputs: list[str]) -> list[NDArray[Any]]:
        if self._memory is None:
            self._memory = self._begin(n)
        kept = next(iter(self._memory.values())).shape[self._axes[0]]
        if kept != n:
            raise ValueError(
                f"{self.path.name} remembers {kept} robots and got the observations of {n}; call reset() first"
            )
        results = self._run(outputs, {**feed, **self._memory})
        count = len(self._states)
        self._memory = dict(zip(self._memory, results[-count:], strict=True))
        return list(results[:-count])

    def _check_kind(self) -> None:
        if not self._states:
            raise ValueError(
                f"{self.path} has no memory: open it with deploy.runtime.Policy, or with deploy.runtime.open_policy, "
                "which opens both kinds"
            )
        try:
            self._axes = [state["shape"].index(None) for state in self._states]
            self._initial = [
                (str(state["input"]), axis, self._start(state, axis))
                for state, axis in zip(self._states, self._axes, strict=True)
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{self.path} does not say what its memory starts with ({error}); export the policy again"
            ) from error

    @staticmethod
    def _start(state: dict[str, Any], axis: int) -> NDArray[Any]:
        """Return what a row starts with: the shape of the state without the batch."""
        shape = [size for size in state["shape"] if size is not None]
        initial = np.asarray(state["initial"], state["dtype"])
        return np.full(shape, initial) if initial.ndim == 0 else initial.reshape(shape)

    def _begin(self, n: int) -> Feed:
        return {
            name: np.repeat(np.expand_dims(value, axis), n, axis=axis)
            for name, axis, value in self._initial
        }


def open_policy(
    path: str | os.PathLike[str], *, threads: int = 1, seed: int | None = None
) -> Policy | RecurrentPolicy:
    """Return the policy of a file, a `RecurrentPolicy` if it has a memory.

    Args:
        path: the `.onnx` file.
        threads: threads of one call.
        seed: of the noise of a stochastic policy; None draws a new one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, is not a policy of metamotor, or was written by a newer one.
    """
    session, metadata = read_policy(path, threads=threads)
    kind = RecurrentPolicy if metadata.get("state") else Policy
    return kind.of_session(Path(path), session, metadata, seed)
