"""What of an adaptive policy never changes: what its file says, what fits it, and how a policy of it is written.

Shapes: O numbers of an observation, A of an action, T steps of an episode.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray

from metamotor.deploy.runtime.acting import ACTION, OBSERVATION, SwappablePolicy, distribution
from metamotor.deploy.runtime.adaptation_file import read_document, read_policy
from metamotor.deploy.runtime.episodes import Episode
from metamotor.deploy.runtime.methods import Weights
from metamotor.deploy.runtime.onnx_file import as_plain
from metamotor.deploy.runtime.policy import METADATA_KEY, Policy
from metamotor.deploy.runtime.session import open_session
from metamotor.meta.files import write_atomically

Array = NDArray[Any]


class AdaptiveFile:
    """A file of `deploy.export_adaptation`; `AdaptivePolicy` is to be used.

    Args:
        path: the `.onnx` file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def _describe(self, payload: bytes, threads: int) -> onnxruntime.InferenceSession:
        """Take what the file says of itself, and return its graph."""
        session = open_session(payload, threads=threads, source=str(self.path))
        entries = session.get_modelmeta().custom_metadata_map
        self._document = read_document(entries, self.path)
        self._hash = hashlib.sha256(payload).hexdigest()
        self.policy_file = read_policy(entries, self.path)
        """The policy inside, with its meta-parameters as weights that may be given anew; empty if it has none."""
        self._distribution = distribution(self._document["action"])
        self._names = tuple(str(own["name"]) for own in self._document["observations"])
        return session

    @property
    def metadata(self) -> dict[str, Any]:
        """What `deploy.export_adaptation` wrote beside the graphs."""
        return self._document

    @property
    def horizon(self) -> int:
        """Steps after which an episode is over."""
        return int(self._document["horizon"])

    @property
    def control_period(self) -> float | None:
        """Time between two actions for which the policy was trained [s], or None if the file does not say."""
        period = self._document.get("control_period")
        return None if period is None else float(period)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Names of the observation's numbers, in order."""
        return self._names

    @property
    def observation_size(self) -> int:
        """Numbers in one observation, O."""
        return len(self._names)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the action's numbers, in order."""
        return tuple(str(own["name"]) for own in self._document["policy"]["actions"])

    @property
    def action_size(self) -> int:
        """Numbers in one action, A."""
        return len(self.action_names)

    def _checked(self, observation: ArrayLike) -> Array:
        """Return an observation as float32, or refuse it."""
        try:
            values = np.asarray(observation)
            if values.dtype != np.float32:
                if values.dtype.kind not in "fiu":
                    raise TypeError
                with np.errstate(
                    over="ignore"
                ):  # too large for float32: refused with its name below
                    values = values.astype(np.float32)
        except (TypeError, ValueError):
            raise ValueError(
                f"{self.path.name} expects an observation of {len(self._names)} real numbers, got {observation!r:.80}"
            ) from None
        if values.shape != (len(self._names),):
            raise ValueError(
                f"{self.path.name} expects an observation of shape ({len(self._names)},), got {values.shape}"
            )
        if not np.isfinite(values).all():
            named = zip(self._names, values, strict=True)
            broken = [f"{name} = {value}" for name, value in named if not np.isfinite(value)]
            raise ValueError(
                f"{self.path.name} got an observation that is not finite: {', '.join(broken[:8])}"
            )
        return values

    def _recorded(self, index: int, episode: Sequence[Any]) -> Episode:
        """Return a recorded episode as one of this policy's own, or refuse it."""
        try:
            observations, actions, rewards = (np.asarray(part) for part in episode)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"episode {index} must be observations (T, O), actions (T, A) and rewards (T,): {error}"
            ) from None
        steps = len(rewards) if rewards.ndim == 1 else 0
        if not steps:
            raise ValueError(
                f"the rewards of episode {index} must be one number a step, got the shape {rewards.shape}"
            )
        if observations.shape != (steps, len(self._names)):
            raise ValueError(
                f"the observations of episode {index} must have the shape ({steps}, {len(self._names)}), one row a "
                f"reward, got {observations.shape}"
            )
        for name, part in (("observations", observations), ("rewards", rewards)):
            if part.dtype.kind not in "fiu" or not np.isfinite(part).all():
                raise ValueError(f"the {name} of episode {index} are not finite numbers")
        self._distribution.check(actions, steps)
        kind = np.int64 if actions.ndim == 1 else np.float32
        return Episode(
            observations.astype(np.float32), actions.astype(kind), rewards.astype(np.float64)
        )

    def _described(
        self, weights: Weights, updates: int, history: Mapping[str, int]
    ) -> dict[str, Any]:
        """Return the metadata of the policy with these weights."""
        own = dict(self._document["policy"])
        period = self.control_period
        return {
            **own,
            "horizon": self.horizon,
            "weights_sha256": _weights_sha256(weights),
            "adapted": {
                "updates": updates,
                **history,
                "robot_seconds": None if period is None else history["steps"] * period,
                "base_weights_sha256": own.get("weights_sha256"),
                "adaptation_sha256": self._hash,
            },
        }

    def _written_to(
        self,
        target: Path,
        weights: Weights,
        described: Mapping[str, Any],
        policy: SwappablePolicy | None,
    ) -> Path:
        """Write a policy of these weights, of which `policy` acts, as a file of its own."""
        if target.suffix != ".onnx":
            raise ValueError(f"the policy file must be called *.onnx, got {target}")
        if policy is None:
            raise ValueError(
                f"{self.path.name} acts by its memory alone (head 'rl2'): there is no policy to save apart from it"
            )
        graph = as_plain(self.policy_file, weights, (ACTION,), {})
        about = {**described, **self._checks(graph, policy)}
        metadata = {METADATA_KEY: json.dumps(about, allow_nan=False)}
        written = as_plain(graph, {}, (ACTION,), metadata)
        write_atomically(target, written, Policy)
        return target

    def _checks(self, graph: bytes, policy: SwappablePolicy) -> dict[str, Any]:
        """Return by what `deploy.verify` checks the file: what the policy inside says of itself is of other weights."""
        inputs = self._document["policy"]["reference"]["inputs"]
        observations = np.array(inputs[OBSERVATION], np.float32)
        actions = [policy(observation)[0].flatten().tolist() for observation in observations]
        return {
            "graph_sha256": hashlib.sha256(graph).hexdigest(),
            "reference": {"inputs": inputs, "outputs": {ACTION: actions}},
            "parity": None,
        }


def _weights_sha256(weights: Weights) -> str:
    """Return the hash of weights: names, types, shapes and bytes in the order of the names."""
    digest = hashlib.sha256()
    for name, values in sorted(weights.items()):
        digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
