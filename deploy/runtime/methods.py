"""How a policy is adapted on the robot: by its gradient, by hill climbing, or by memory; each runs its learner's graph.

Shapes: d weights in all, O numbers of an observation, A of an action, U units of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from metamotor.deploy.runtime.acting import OUTPUTS
from metamotor.deploy.runtime.episodes import Episode, experience
from metamotor.meta.functional.evolution import climb, direction
from metamotor.meta.functional.seeds import derive_seed

Array = NDArray[Any]
Weights = Mapping[str, Array]

ADAPTED = "adapted."
"""Stands before the name of a weight where a graph returns it."""
STEP, SCALE = "step", "scale"
"""Inputs of a graph: how many updates went before, and a factor on the step size."""


@dataclass(frozen=True)
class Leg:
    """Episodes that one policy is to run."""

    weights: Weights
    episodes: int
    seed: int
    deterministic: bool


Search = Generator[Leg, Sequence[Episode], Weights]
"""What an update wants to be run; it is sent the episodes of each leg, and returns the weights after the update."""


class Gradient:
    """A step along the policy gradient (MAML, and ES by a gradient step).

    Args:
        session: of the learner's inner step.
        document: the file's metadata.
    """

    def __init__(self, session: onnxruntime.InferenceSession, document: Mapping[str, Any]) -> None:
        self._session = session
        self._inputs = [item.name for item in session.get_inputs()]
        self._outputs = [item.name for item in session.get_outputs()]
        self._options = dict(document["gradient"])

    def adapted(
        self, weights: Weights, episodes: Sequence[Episode], step: int, scale: float = 1.0
    ) -> dict[str, Array]:
        """Return the weights after update number `step` on these episodes, its step size times `scale`."""
        feed: dict[str, Any] = {
            **experience(episodes, **self._options),
            **weights,
            **_numbers(step, scale),
        }
        found = self._session.run(self._outputs, {name: feed[name] for name in self._inputs})
        return _replaced(weights, dict(zip(self._outputs, found, strict=True)))


class HillClimbing:
    """Perturb, measure, keep what is better (ES on the robot); needs no gradient and no noise in the actions.

    Args:
        session: of the perturbation.
        document: the file's metadata.
    """

    def __init__(self, session: onnxruntime.InferenceSession, document: Mapping[str, Any]) -> None:
        self._session = session
        options = document["hill_climbing"]
        self._mode, self._repeats = options["mode"], int(options["repeats"])
        self._deterministic = bool(options["deterministic"])
        self._outputs = [item.name for item in session.get_outputs()]
        self._names = [name.removeprefix(ADAPTED) for name in self._outputs]

    def search(self, weights: Weights, step: int, seed: int, episodes: int) -> Search:
        """Return a leg for the weights as they are and one for each candidate, and the best of them."""
        shapes = [weights[name].shape for name in self._names]
        cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

        def split(vector: Array) -> dict[str, Array]:
            parts = zip(self._names, shapes, np.split(vector, cuts), strict=True)
            return {name: part.reshape(shape) for name, shape, part in parts}

        tried = 0

        def perturb(centre: Array) -> Array:
            nonlocal tried
            noise = direction(derive_seed(seed, 1, tried), len(centre))
            tried += 1
            feed = {**split(centre), "noise": noise, **_numbers(step, 1.0)}
            return np.concatenate(
                [part.reshape(-1) for part in self._session.run(self._outputs, feed)]
            )

        start = np.concatenate([weights[name].reshape(-1) for name in self._names])
        climbing = climb(start, perturb, episodes=episodes, mode=self._mode, repeats=self._repeats)
        evaluations = 0
        vector, count = next(climbing)
        while True:
            collected = yield Leg(
                {**weights, **split(vector)},
                count,
                derive_seed(seed, 0, evaluations),
                self._deterministic,
            )
            evaluations += 1
            value = float(np.mean([own.rewards.sum() for own in collected]))
            try:
                vector, count = climbing.send(value)
            except StopIteration as end:
                return {**weights, **split(end.value.params)}


@dataclass(frozen=True)
class Memory:
    """What a trial is remembered by between two steps: the recurrent state, and what the next step reads with it."""

    hidden: Array
    """(1, U)."""
    action: Array
    """(1, A) or (1,): the last one."""
    reward: float = 0.0
    """The last one."""
    done: float = 0.0
    """1 if an episode has just ended."""
    began: float = 0.0
    """0 before the first action."""


class Remembering:
    """A recurrent encoder that writes the policy (MPO and its variants).

    Args:
        session: of one step of the encoder.
        document: the file's metadata.
    """

    def __init__(self, session: onnxruntime.InferenceSession, document: Mapping[str, Any]) -> None:
        options = document["memory"]
        self._session = session
        self._written = [
            item.name for item in session.get_outputs() if item.name.startswith(ADAPTED)
        ]
        self._start_observation = np.array(options["start_observation"], np.float32)
        self._units = int(options["units"])
        self.rewrites = bool(options["rewrites"])
        """Whether the policy is written at each step of an episode that explores, or only at its start."""
        self.is_written = bool(self._written)
        """Whether there is a policy apart from the memory."""
        self._first_action = _first_action(document["action"])

    def start(self) -> Memory:
        """Return the memory with which a trial starts."""
        return Memory(np.zeros((1, self._units), np.float32), self._first_action)

    def read(self, memory: Memory, observation: Array) -> tuple[Array, Array]:
        """Return the next hidden state (1, U), and the mean (A,) or the logits (N,) of what is written from it."""
        hidden, outputs = self._session.run(
            ["next_hidden", OUTPUTS], self._feed(memory, observation)
        )
        return hidden, outputs[0]

    def write(self, memory: Memory, weights: Weights, observation: Array | None = None) -> Weights:
        """Return the policy that is written on an observation; None stands for where episodes start on average."""
        if observation is None:
            observation = self._start_observation
        found = self._session.run(self._written, self._feed(memory, observation))
        return _replaced(weights, dict(zip(self._written, found, strict=True)))

    def remember(self, memory: Memory, hidden: Array, action: Array, reward: float) -> Memory:
        """Return the memory behind a step."""
        return Memory(hidden, np.asarray(action)[np.newaxis], reward, 0.0, 1.0)

    def end(self, memory: Memory) -> Memory:
        """Return the memory behind an episode."""
        return replace(memory, done=1.0)

    def encode(self, memory: Memory, episodes: Sequence[Episode]) -> Memory:
        """Return what is remembered after these episodes, one after the other."""
        for episode in episodes:
            for observation, action, reward in zip(*episode, strict=True):
                (hidden,) = self._session.run(["next_hidden"], self._feed(memory, observation))
                memory = self.remember(memory, hidden, action, float(reward))
            memory = self.end(memory)
        return memory

    def _feed(self, memory: Memory, observation: Array) -> dict[str, Array]:
        return {
            "observation": observation[np.newaxis].astype(np.float32, copy=False),
            "hidden": memory.hidden,
            "last_action": memory.action,
            **{
                name: np.array([value], np.float32)
                for name, value in (
                    ("last_reward", memory.reward),
                    ("last_done", memory.done),
                    ("began", memory.began),
                )
            },
        }


def _first_action(described: Mapping[str, Any]) -> Array:
    if described["kind"] == "categorical":
        return np.zeros(1, np.int64)
    return np.zeros((1, len(described["low"])), np.float32)


def _numbers(step: int, scale: float) -> dict[str, Array]:
    return {STEP: np.array(step, np.int64), SCALE: np.array(scale, np.float32)}


def _replaced(weights: Weights, found: Mapping[str, Array]) -> dict[str, Array]:
    """Return weights with those that a graph returned, refused if one of them is not finite."""
    fresh = {name.removeprefix(ADAPTED): value for name, value in found.items()}
    broken = [name for name, value in fresh.items() if not np.isfinite(value).all()]
    if broken:
        raise ValueError(
            f"the adapted weights are not finite: {', '.join(broken)}; they stay as they were. Look for rewards or "
            "observations that are far from those of the training"
        )
    return {**weights, **fresh}


Method = Gradient | HillClimbing | Remembering
METHODS: dict[str, Callable[..., Method]] = {
    "gradient": Gradient,
    "hill_climbing": HillClimbing,
    "memory": Remembering,
}
"""By the name that a file gives them."""
