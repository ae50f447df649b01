"""Whole episodes of one task under one policy: what a rollout worker does, and what it hands back.

Everything random in a job comes from the job's own seed, and an episode does not depend on what its environment did
before, so a job gives the same bits in whatever process and order it runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import gymnasium
import numpy as np
from numpy.typing import NDArray

from metamotor.envs import BatchEnv, TaskEnv
from metamotor.meta.actors import Actor
from metamotor.meta.functional.seeds import derive_seed as derive_seed

Array = NDArray[Any]
Result_co = TypeVar("Result_co", covariant=True)


class EpisodeBatch(NamedTuple):
    """Episodes of one task, padded with zeros to one length.

    E episodes, H steps, O numbers of an observation, A of an action.
    """

    observations: Array
    """(E, H, O) float32: what the policy saw."""
    actions: Array
    """(E, H, A) float32 or (E, H) int64: what it chose, before clipping to the action space."""
    rewards: Array
    """(E, H) float64."""
    mask: Array
    """(E, H) float64: 1 where a step was taken."""
    terminated: Array
    """(E,) bool: the episode ended before its horizon."""

    @property
    def num_steps(self) -> int:
        """Steps taken."""
        return int(self.mask.sum())

    @property
    def episode_returns(self) -> Array:
        """Undiscounted return of each episode. Shape: (E,)."""
        return np.asarray((self.rewards * self.mask).sum(axis=1))


class Workplace:
    """What a worker keeps from job to job: the environments of its family, made when first needed.

    Args:
        family: the task family; or
        env: an environment that is used as it is, for instance a robot.
    """

    def __init__(self, family: Any, env: gymnasium.Env[Any, Any] | None = None) -> None:
        self.family = family
        self.horizon = int(family.horizon)
        self.kept: dict[Any, Any] = {}
        """What jobs keep for their like, such as a policy that is costly to make; under keys of their own."""
        self._env = env
        self._owns_env = env is None
        make_batch_env = getattr(family, "make_batch_env", None)
        self.batch_env: BatchEnv | None = (
            make_batch_env() if env is None and make_batch_env else None
        )

    @property
    def env(self) -> gymnasium.Env[Any, Any]:
        """One environment, to be reset with the task wanted."""
        if self._env is None:
            self._env = self.family.make_env()
        return self._env

    def close(self) -> None:
        """Close the environment, if it was made here."""
        if self._env is not None and self._owns_env:
            self._env.close()
        self.kept.clear()


class Job(Protocol[Result_co]):
    """A piece of work that a worker does: it can be pickled, and gives the same bits in whatever process it runs."""

    @property
    def task(self) -> Any:
        """The task that it is about, for error messages."""
        ...

    def run(self, workplace: Workplace) -> Result_co:
        """Do it."""
        ...


@runtime_checkable
class OwnRunner(Protocol):
    """An actor that runs its episodes itself, since it must see more than the observations."""

    def run(self, job: RolloutJob, workplace: Workplace) -> EpisodeBatch:
        """Run a job's episodes."""
        ...


@dataclass(frozen=True)
class RolloutJob:
    """Episodes to be run: one task, one policy, one seed."""

    task: Any
    actor: Actor | OwnRunner
    num_episodes: int
    seed: int
    deterministic: bool = False

    def run(self, workplace: Workplace) -> EpisodeBatch:
        """Run the episodes."""
        if isinstance(self.actor, OwnRunner):
            return self.actor.run(self, workplace)
        env = workplace.env if workplace.batch_env is None else None
        return run_job(self, env, workplace.batch_env, horizon=workplace.horizon)


def task_setter(env: gymnasium.Env[Any, Any]) -> Callable[[Any], object]:
    """Return the `set_task` of an environment, wrapped or not.

    Raises:
        TypeError: if the environment has no `set_task`, and so would run whatever task it likes.
    """
    try:
        setter: Callable[[Any], object] = env.get_wrapper_attr("set_task")
    except AttributeError:
        raise TypeError(
            f"the environment {env} has no set_task(task), by which it is given its task: add the method, "
            "or have the family's make_env() return another environment"
        ) from None
    return setter


def run_job(
    job: RolloutJob,
    env: gymnasium.Env[Any, Any] | None,
    batch_env: BatchEnv | None,
    *,
    horizon: int,
) -> EpisodeBatch:
    """Run one job, all episodes at once where the family can, else one after another.

    Raises:
        ValueError: if the environment gives an observation or a reward that is not finite.
        TypeError: if the environment does not take a task, or the actor runs its episodes itself.
    """
    actor = job.actor
    if isinstance(actor, OwnRunner):
        raise TypeError(f"{type(actor).__name__} runs its episodes itself: call the job's run")
    rng = np.random.default_rng(job.seed)
    seeds = rng.integers(2**31, size=job.num_episodes).tolist()
    noise = None
    if not job.deterministic:
        noise = actor.draw_noise(rng, (job.num_episodes, horizon))
    if batch_env is not None:
        return _run_together(job, actor, batch_env, seeds, noise, horizon)
    assert env is not None
    return _run_one_by_one(job, actor, env, seeds, noise, horizon)


def _run_together(
    job: RolloutJob,
    actor: Actor,
    env: BatchEnv,
    seeds: Sequence[int],
    noise: Array | None,
    horizon: int,
) -> EpisodeBatch:
    observation = as_seen(env.reset(job.task, seeds), job.task, 0)
    actor.begin()
    batch: EpisodeBatch | None = None
    running = np.ones(len(seeds), dtype=bool)
    for t in range(horizon):
        action = actor.act(observation, None if noise is None else noise[:, t])
        if batch is None:
            batch = empty_batch(len(seeds), horizon, observation[0], action[0])
        batch.observations[running, t] = observation[running]
        batch.actions[running, t] = action[running]
        batch.mask[running, t] = 1.0
        observation, reward, terminated = env.step(action)
        observation = _as_float32(observation)
        # Episodes that have ended may go on as they like: only the running ones are looked at.
        require_finite("reward", reward[running], job.task, t)
        require_finite("observation", observation[running], job.task, t + 1)
        batch.rewards[running, t] = reward[running]
        batch.terminated[running] |= terminated[running]
        running &= ~terminated
        if not running.any():
            break
    assert batch is not None
    return batch


def _run_one_by_one(
    job: RolloutJob,
    actor: Actor,
    env: gymnasium.Env[Any, Any],
    seeds: Sequence[int],
    noise: Array | None,
    horizon: int,
) -> EpisodeBatch:
    # The hot loop of the package: next to a step of physics, each numpy call on a few numbers counts.
    batch: EpisodeBatch | None = None
    space, act, step, none = env.action_space, actor.act, env.step, [None] * horizon
    # Our own environments clip actions, refuse observations that are not finite, and give a new array each time.
    checked = isinstance(env, TaskEnv)
    clips = isinstance(space, gymnasium.spaces.Box) and not checked
    options = None
    if job.task is not None:
        # Both: a user's own reset may do without its options, or draw another task unless they name one.
        task_setter(env)(job.task)
        options = {"task": job.task}
    for episode, seed in enumerate(seeds):
        first = env.reset(seed=seed, options=options)[0]
        if not checked:
            check_step(env.observation_space, first, 0.0, job.task)
        observation = as_seen(first, job.task, 0).copy()
        own_noise = none if noise is None else noise[episode]
        actor.begin()
        observations, actions, rewards = [], [], []
        for t in range(horizon):
            action = act(observation, own_noise[t])
            observations.append(observation)
            actions.append(action)
            if clips:
                action = np.clip(action, space.low, space.high)  # type: ignore[attr-defined]
            observation, reward, terminated, truncated, _ = step(action)
            if not checked:
                check_step(env.observation_space, observation, reward, job.task)
            if not math.isfinite(reward):
                raise not_finite("reward", reward, job.task, t)
            if not checked:
                observation = as_seen(observation, job.task, t + 1).copy()
            rewards.append(reward)
            if terminated or truncated:
                break
        if batch is None:
            batch = empty_batch(len(seeds), horizon, observations[0], actions[0])
        taken = len(rewards)
        batch.observations[episode, :taken] = observations
        batch.actions[episode, :taken] = actions
        batch.rewards[episode, :taken] = rewards
        batch.mask[episode, :taken] = 1.0
        batch.terminated[episode] = terminated
    assert batch is not None
    return batch


def check_batch(batch: EpisodeBatch) -> None:
    """Refuse recorded episodes with a NaN or an infinity in what was taken.

    Raises:
        ValueError: naming the array.
    """
    taken = batch.mask > 0
    for name in ("observations", "actions", "rewards"):
        if not np.isfinite(getattr(batch, name)[taken]).all():
            raise ValueError(f"the {name} of the recorded episodes are not finite")


def check_step(space: gymnasium.Space[Any], observation: Any, reward: Any, task: Any) -> None:
    """Refuse what a user's environment must not give: an observation of another shape, a reward that is no number.

    Raises:
        ValueError: naming what was given and what was expected.
    """
    if np.shape(observation) != space.shape:
        raise ValueError(
            f"the environment of {_named(task)} gave an observation of shape {np.shape(observation)}, "
            f"its observation_space says {space.shape}"
        )
    if np.ndim(reward) or not isinstance(reward, Real | np.generic | np.ndarray):
        raise ValueError(
            f"the environment of {_named(task)} gave the reward {reward!r}, expected one number"
        )


def _named(task: Any) -> str:
    return "this robot" if task is None else str(task)


def as_seen(observation: Any, task: Any, t: int) -> Array:
    """Return an observation as the policy gets it; refuse one that is not finite."""
    seen = _as_float32(observation)
    require_finite("observation", seen, task, t)
    return seen


def _as_float32(observation: Any) -> Array:
    if isinstance(observation, np.ndarray) and observation.dtype == np.float32:
        return observation
    with np.errstate(over="ignore"):  # what float32 cannot hold is told as not finite
        return np.asarray(observation, dtype=np.float32)


def require_finite(what: str, values: Array, task: Any, t: int) -> None:
    """Refuse an observation or rewards that are not finite, saying where they came from."""
    # The sum of squares is finite only if every entry is, and takes a fifth of the time of np.isfinite(…).all(); that
    # is left for sums that overflow.
    if math.isfinite(np.vdot(values, values)):
        return
    finite = np.isfinite(values)
    if not finite.all():
        row = tuple(np.argwhere(~finite)[0][: values.ndim - 1])
        raise not_finite(what, values[row] if row else values, task, t)


def not_finite(what: str, value: Any, task: Any, t: int) -> ValueError:
    """Return the error that tells of an observation or a reward that is not finite."""
    return ValueError(f"the {what} of {_named(task)} at step {t} is {value!r}, not finite")


def empty_batch(episodes: int, horizon: int, observation: Array, action: Any) -> EpisodeBatch:
    """Return a batch of zeros that holds observations and actions like these."""
    action = np.asarray(action)
    return EpisodeBatch(
        observations=np.zeros((episodes, horizon, *observation.shape), dtype=np.float32),
        actions=np.zeros((episodes, horizon, *action.shape), dtype=action.dtype),
        rewards=np.zeros((episodes, horizon)),
        mask=np.zeros((episodes, horizon)),
        terminated=np.zeros(episodes, dtype=bool),
    )
