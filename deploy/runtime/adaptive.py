"""A policy that adapts on the robot, with numpy and onnxruntime alone.

    policy = AdaptivePolicy("adapt.onnx")
    for _ in range(policy.episodes):
        observation, over = robot.reset(), False
        while not over:
            observation, reward, fallen = robot.step(policy.act(observation))
            over = policy.observe(reward, terminated=fallen)
    policy.adapt()
    action = policy(observation)
    policy.save("adapted.onnx")                 # which `deploy.runtime.Policy` runs

Shapes: O numbers of an observation, A of an action, T steps of an episode.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metamotor.deploy.runtime.acting import LOG_STD, Categorical, SwappablePolicy
from metamotor.deploy.runtime.adaptation_file import read
from metamotor.deploy.runtime.adaptive_file import AdaptiveFile
from metamotor.deploy.runtime.episodes import Episode
from metamotor.deploy.runtime.methods import (
    METHODS,
    Gradient,
    HillClimbing,
    Leg,
    Memory,
    Method,
    Remembering,
    Search,
    Weights,
)
from metamotor.deploy.runtime.onnx_file import initializers
from metamotor.deploy.runtime.policy import Sample
from metamotor.deploy.runtime.session import open_session
from metamotor.meta.functional.seeds import derive_seed

Array = NDArray[Any]


class Adapted(NamedTuple):
    """What an update was made from, and what it took."""

    updates: int
    """Updates since the meta-parameters, this one included."""
    episodes: int
    """That it was made from."""
    steps: int
    """In all of them."""
    mean_return: float
    """Of these episodes: before the update, or along the climb."""
    milliseconds: float
    """That the update itself took."""


class AdaptivePolicy(AdaptiveFile):
    """A policy file written by `deploy.export_adaptation`: it acts, collects episodes and adapts to its robot.

    `act` explores as the learner does when it collects experience, and is followed by `observe`; a call acts without
    noise by the weights of the last update and is not recorded, as with `Policy`. With the same seed, actions and
    updates are those of the learner's own `adapt` up to rounding. One thread at a time may use it.

    Args:
        path: the `.onnx` file.
        episodes: of each update; those of the training by default.
        seed: of the actions' noise.
        threads: of one call.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, is not a file of `deploy.export_adaptation`, or was written by a newer metamotor.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        episodes: int | None = None,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        super().__init__(Path(path))
        try:
            self._open(read(self.path), episodes, seed, threads)
        except (OSError, ValueError):
            raise
        # Whatever else comes of a description that does not fit the graph; onnxruntime's own errors share no base.
        except Exception as error:
            raise ValueError(
                f"{self.path} is not consistent ({type(error).__name__}: {error}); export the learner again"
            ) from error

    def _open(self, payload: bytes, episodes: int | None, seed: int, threads: int) -> None:
        session = self._describe(payload, threads)
        self.episodes = _whole("episodes", episodes, self._document["episodes"], 1)
        self.seed = _whole("seed", seed, 0, 0)
        kind = METHODS[self._document["method"]]
        self._method: Method = kind(session, self._document)
        self._pending: tuple[Array, Array, Array] | None = None
        self._memory = self._memory_before = self._memory_of_update = Memory(
            np.zeros(0), np.zeros(0)
        )
        # Screened before anything is read out of it.
        written = (
            open_session(self.policy_file, threads=threads, source=str(self.path))
            if self.policy_file
            else None
        )
        held = initializers(self.policy_file) if self.policy_file else {}
        self._meta: Weights = {name: held[name] for name in self._document["weights"]}
        fixed = self._document[self._document["method"]].get(LOG_STD, ())
        self._log_std = self._meta.get(LOG_STD, np.array(fixed, np.float32))
        self._policy: SwappablePolicy | None = None
        self._explorer: SwappablePolicy | None = None
        if written is not None:
            self._policy, self._explorer = (SwappablePolicy(written, self._meta) for _ in range(2))
        self.forget()

    # Acting ---------------------------------------------------------------------------------------

    def __call__(self, observation: ArrayLike) -> Array:
        """Return the deterministic action (A,) by the weights of the last update; it is not recorded.

        Raises:
            ValueError: if the observation is not (O,) finite numbers, or this policy is nothing without its memory.
        """
        if self._policy is None:
            raise ValueError(
                f"{self.path.name} acts by its memory alone (head 'rl2'), which a call does not have: use "
                "act(observation, deterministic=True) and observe(...)"
            )
        return self._policy(self._checked(observation))[0]

    def outputs(self, observation: ArrayLike) -> Array:
        """Return the mean (A,) or the logits (N,) by the weights of the last update, or by memory if that is all.

        Raises:
            ValueError: as for a call.
        """
        observed = self._checked(observation)
        if self._policy is not None:
            return self._policy(observed)[1]
        assert isinstance(self._method, Remembering)
        return self._method.read(self._memory, observed)[1]

    def act(self, observation: ArrayLike, *, deterministic: bool = False) -> Array:
        """Return an action inside the action space that explores, and remember it until `observe`.

        Args:
            observation: (O,), what the sensors say.
            deterministic: without noise, by memory. Gradients and hill climbing learn from what noise brings: there, a
                call `policy(observation)` acts without it, and is not recorded.

        Raises:
            ValueError: if the observation is not (O,) finite numbers, the action before this one was not followed by
                `observe`, the episodes of this update are complete, or there is no memory to act by deterministically.
        """
        if deterministic and not isinstance(self._method, Remembering):
            raise ValueError(
                "an update would be made of episodes without noise, which teach it nothing: to act without noise, call "
                "policy(observation), which is not recorded"
            )
        # A copy: drivers fill one array again and again, and it is learned from when the episode is long over.
        observed = np.array(self._checked(observation))
        if self._pending is not None:
            raise ValueError(
                "the action before this one has no reward yet: call observe(reward, …)"
            )
        if self._leg is None:
            raise ValueError(
                f"the {len(self._collected)} episodes of this update are complete: call adapt()"
            )
        if not self._steps:
            self._begin_episode()
        outputs = self._outputs(observed)
        quiet = deterministic or self._noise is None
        noise = None if quiet else self._noise[len(self._steps)]  # type: ignore[index]
        action = self._distribution.choose(outputs, noise)
        self._pending = observed, action, outputs
        return self._distribution.applied(action)

    def sample(self, observation: ArrayLike) -> Sample:
        """Do as `act`, and return the action as a `Sample`: with its log-probability, and as it was drawn.

        Raises:
            ValueError: as for `act`.
        """
        action = self.act(observation)
        assert self._pending is not None
        drawn = None if isinstance(self._distribution, Categorical) else self._pending[1]
        return Sample(action, np.asarray(self.log_prob, np.float32), drawn)

    def observe(self, reward: float, terminated: bool = False, truncated: bool = False) -> bool:
        """Take what came of the last action; return whether the episode is over.

        Args:
            reward: of the step.
            terminated: the episode ended by itself, such as by a fall.
            truncated: it was cut off. It is over after `horizon` steps anyway.

        Raises:
            ValueError: if there was no action, or the reward is not finite; nothing is recorded then.
        """
        if self._pending is None:
            raise ValueError(
                "there is no action that this reward is of: call act(observation) first"
            )
        value = float(reward)
        if not np.isfinite(value):
            raise ValueError(f"the reward must be a finite number, got {reward!r}")
        observed, action, _ = self._pending
        self._pending = None
        self._steps.append((observed, action, value))
        if isinstance(self._method, Remembering):
            self._memory = self._method.remember(self._memory, self._hidden, action, value)
        over = bool(terminated or truncated or len(self._steps) >= self.horizon)
        if over:
            self._end_episode()
        return over

    def abandon(self) -> None:
        """Forget the running episode, such as one in which someone had to step in."""
        self._steps.clear()
        self._pending = None
        if isinstance(self._method, Remembering):
            self._memory = self._memory_before

    @property
    def log_prob(self) -> float:
        """The log-probability of the action that `observe` is waited for, before it was brought inside the space."""
        if self._pending is None:
            raise ValueError("there is no action: call act(observation) first")
        _, action, outputs = self._pending
        return self._distribution.log_prob(outputs, action, self._weights_of_leg[LOG_STD])

    # Adapting -------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the episodes of this update are complete."""
        return self._leg is None

    @property
    def collected(self) -> tuple[Episode, ...]:
        """The whole episodes of this update so far."""
        return tuple(self._collected)

    @property
    def episode_seeds(self) -> list[int]:
        """The seeds that the learner's own `adapt` would reset its environment with in the present leg of episodes."""
        return list(self._episode_seeds)

    def adapt(self) -> Adapted:
        """Update the policy by the episodes that were collected, and begin to collect for the next update.

        With fewer episodes than `episodes` a gradient has more noise, and memory knows less; hill climbing needs all.

        Raises:
            ValueError: if an episode is running, none was collected, too few were for hill climbing, or what comes out
                is not finite; the weights stay as they were.
        """
        if self._steps or self._pending is not None:
            raise ValueError(
                "an episode is running: end it by observe(…, truncated=True), or abandon()"
            )
        if not self._collected:
            raise ValueError("there is nothing to adapt to: no episode was collected")
        start = time.perf_counter_ns()
        if isinstance(self._method, Remembering):
            weights = self._written()
        elif isinstance(self._method, Gradient):
            weights = self._method.adapted(self._weights, self._collected, self.updates)
        elif self._found is not None:
            weights = self._found
        else:
            raise ValueError(
                f"hill climbing compares {self.episodes} episodes in all, and has {len(self._collected)}: "
                "go on with act(observation)"
            )
        taken = time.perf_counter_ns() - start + self._searching
        return self._take(weights, self._collected, taken / 1e6)

    def adapt_from(self, episodes: Iterable[Sequence[Any]]) -> Adapted:
        """Update the policy by recorded episodes; those that were being collected are forgotten.

        Args:
            episodes: each with its observations (T, O), actions (T, A) or (T,) before they were brought inside the
                action space, and rewards (T,), in this order, such as an `Episode`.

        Raises:
            ValueError: if there are none, or an array has the wrong shape or is not finite.
            TypeError: if this policy adapts by trying things out.
        """
        if isinstance(self._method, HillClimbing):
            raise TypeError(
                f"{self.path.name} adapts by hill climbing, which has to try candidates itself, and cannot learn "
                "from recorded episodes"
            )
        recorded = [self._recorded(index, own) for index, own in enumerate(episodes)]
        if not recorded:
            raise ValueError("adapt_from needs at least one episode, got none")
        start = time.perf_counter_ns()
        if isinstance(self._method, Remembering):
            self._memory = self._method.encode(self._memory_of_update, recorded)
            weights = self._written()
        else:
            weights = self._method.adapted(self._weights, recorded, self.updates)
        return self._take(weights, recorded, (time.perf_counter_ns() - start) / 1e6)

    def forget(self) -> None:
        """Go back to the meta-parameters, and forget all episodes.

        Not called `reset`, which of other policies begins an episode: a `Guard` calls that before each one.
        """
        self.updates = 0
        self._history = {"episodes": 0, "steps": 0}
        self._weights = self._meta
        if isinstance(self._method, Remembering):
            self._memory = self._method.start()
            self._weights = self._written()
        if self._policy is not None:
            self._policy.load(self._weights)
        self._start_update()

    # What it is -----------------------------------------------------------------------------------

    @property
    def weights(self) -> dict[str, Array]:
        """Copies of the weights of the last update, by name."""
        return {name: value.copy() for name, value in self._weights.items()}

    @property
    def memory(self) -> Memory:
        """What is remembered of the task; empty for a policy without memory."""
        return self._memory

    @property
    def acting_metadata(self) -> dict[str, Any]:
        """The metadata of the policy as it is adapted: what `save` writes."""
        return self._described(self._weights, self.updates, self._history)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the policy of the last update as a plain file for `Policy`, whole or not at all; return where.

        A file that is there is replaced; folders that are missing are made.
        Its metadata says which file it was adapted from, and on how much experience.

        Raises:
            ValueError: if the path does not end in ".onnx", or this policy is nothing without its memory.
        """
        return self._written_to(Path(path), self._weights, self.acting_metadata, self._policy)

    def __repr__(self) -> str:
        """Return the file, how it adapts, and how far it has."""
        return (
            f"AdaptivePolicy({str(self.path)!r}: {self._document['learner']} by {self._document['method']}, "
            f"{self.updates} updates)"
        )

    # Episodes -------------------------------------------------------------------------------------

    def _start_update(self) -> None:
        self._collected: list[Episode] = []
        self._steps: list[tuple[Array, Array, float]] = []
        self._pending = None
        self._found: Weights | None = None
        self._searching = 0
        if isinstance(self._method, Remembering):
            self._memory_of_update = self._memory_before = self._memory
        seed = derive_seed(self.seed, self.updates)
        self._search: Search | None = None
        if isinstance(self._method, HillClimbing):
            self._search = self._method.search(self._weights, self.updates, seed, self.episodes)
            self._start_leg(next(self._search))
        else:
            self._start_leg(Leg(self._weights, self.episodes, seed, deterministic=False))

    def _start_leg(self, leg: Leg) -> None:
        self._leg: Leg | None = leg
        self._left = leg.episodes
        self._weights_of_leg = {LOG_STD: self._log_std, **leg.weights}
        self._rng = np.random.default_rng(leg.seed)
        self._episode_seeds = self._rng.integers(2**31, size=leg.episodes).tolist()
        if self._explorer is not None:
            self._explorer.load(leg.weights)

    def _begin_episode(self) -> None:
        assert self._leg is not None
        self._noise = None
        if not self._leg.deterministic:
            log_std = self._weights_of_leg[LOG_STD]
            self._noise = self._distribution.draw_noise(self._rng, self.horizon, log_std)

    def _outputs(self, observed: Array) -> Array:
        if not isinstance(self._method, Remembering):
            assert self._explorer is not None
            return self._explorer(observed)[1]
        self._hidden, outputs = self._method.read(self._memory, observed)
        if self._method.rewrites or not self._method.is_written:
            return np.asarray(outputs)
        assert self._explorer is not None
        if not self._steps:
            self._explorer.load(self._method.write(self._memory, self._weights, observed))
        return self._explorer(observed)[1]

    def _end_episode(self) -> None:
        observations, actions, rewards = zip(*self._steps, strict=True)
        self._collected.append(
            Episode(np.stack(observations), np.stack(actions), np.array(rewards))
        )
        self._steps.clear()
        if isinstance(self._method, Remembering):
            self._memory = self._memory_before = self._method.end(self._memory)
        assert self._leg is not None
        self._left -= 1
        if self._left:
            return
        count, self._leg = self._leg.episodes, None
        if self._search is not None:
            start = time.perf_counter_ns()
            try:
                self._start_leg(self._search.send(self._collected[-count:]))
            except StopIteration as end:
                self._found = end.value
            self._searching += time.perf_counter_ns() - start

    def _written(self) -> Weights:
        assert isinstance(self._method, Remembering)
        if not self._method.is_written:
            return self._weights
        return self._method.write(self._memory, self._weights)

    def _take(self, weights: Weights, episodes: Sequence[Episode], milliseconds: float) -> Adapted:
        self._weights = weights
        if self._policy is not None:
            self._policy.load(weights)
        self.updates += 1
        steps = sum(len(own.rewards) for own in episodes)
        self._history["episodes"] += len(episodes)
        self._history["steps"] += steps
        mean_return = float(np.mean([own.rewards.sum() for own in episodes]))
        told = Adapted(self.updates, len(episodes), steps, mean_return, milliseconds)
        self._start_update()
        return told


def _whole(name: str, given: Any, default: Any, least: int) -> int:
    value = default if given is None else given
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)
