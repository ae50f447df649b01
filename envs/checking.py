"""A check of anyone's task family: what meta-learning needs of it, and what is easily wrong without being seen."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from gymnasium import spaces

from metamotor.envs.core import SPLITS

MEMBERS = ("name", "horizon", "dt", "observation_space", "action_space", "sample", "make_env")
"""What every family has."""
DRAWS = 32
"""Training tasks among which different ones are looked for."""


def check_family(
    family: Any, *, hidden: bool = True, num_tasks: int = 4, num_steps: int = 30, seed: int = 0
) -> None:
    """Try a task family by some short episodes, and refuse it if it is not what learners take it for.

    An episode must be the same bits whenever the task, the seed and the actions are, in a new environment and in one
    that has had other tasks; tasks must differ, and make a difference.

    Args:
        family: any object with the members of a family, such as what `envs.from_gymnasium` returns.
        hidden: whether the first observation must not tell the task, as it must not where adaptation shall find it.
        num_tasks: how many training tasks are tried.
        num_steps: the length of an episode here, by random actions; more for tasks that show late.
        seed: of tasks, episodes and actions.

    Raises:
        ValueError: saying what is wrong, and where to look.
    """
    if missing := [name for name in MEMBERS if not hasattr(family, name)]:
        raise ValueError(
            f"a family has {', '.join(MEMBERS)}; {family!r} lacks {', '.join(missing)}"
        )
    for setting, count in (("num_tasks", num_tasks), ("num_steps", num_steps)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{setting} must be a whole number of at least 1, got {count!r}")
    tasks = _different_tasks(family, num_tasks, seed)
    # Training alone would not find out for hours that no test task can be drawn.
    for split in SPLITS:
        try:
            family.sample(1, split=split, seed=seed)
        except Exception as error:
            raise ValueError(
                f"{family.name}: no task of the split {split!r} can be drawn: {type(error).__name__}: {error}"
            ) from error
    env = family.make_env()
    try:
        episodes = [_episode(env, family, task, num_steps, seed) for task in tasks]
        _check_repetition(env, family, tasks, episodes, num_steps, seed)
    finally:
        env.close()
    if all(episode == episodes[0] for episode in episodes):
        raise ValueError(
            f"{family.name}: {len(tasks)} tasks make no difference in {num_steps} steps of random actions: is the task "
            "applied, does reset() draw it anew (after_reset=True), or does it show later (num_steps=)?"
        )
    if hidden and any(episode[0] != episodes[0][0] for episode in episodes):
        raise ValueError(
            f"{family.name}: the first observation differs from task to task at the same seed, so that a policy is "
            "told the task instead of having to find it: take it out of the observation, or pass hidden=False"
        )


def _different_tasks(family: Any, count: int, seed: int) -> list[Any]:
    drawn = family.sample(DRAWS, split="train", seed=seed)
    if list(drawn) != list(family.sample(DRAWS, split="train", seed=seed)):
        raise ValueError(
            f"{family.name}: sample() gave other tasks for the same seed: draw them from the generator that is given"
        )
    tasks = list(dict.fromkeys(drawn))[: max(count, 2)]
    if len(tasks) < 2:
        raise ValueError(f"{family.name}: {DRAWS} training tasks are all {drawn[0]!r}")
    return tasks


def _check_repetition(
    env: Any, family: Any, tasks: list[Any], episodes: list[list[bytes]], steps: int, seed: int
) -> None:
    """Refuse an environment in which an episode depends on what was before it."""
    if _episode(env, family, tasks[-1], steps, seed) != episodes[-1]:
        raise ValueError(
            f"{family.name}: an episode of {tasks[-1]} came out differently the second time: what is random must come "
            "from the environment's np_random, reset() must restore all of its state, and applying a task must set "
            "numbers, not multiply or add to them"
        )
    new = family.make_env()
    if getattr(new, "unwrapped", new) is getattr(env, "unwrapped", env):
        raise ValueError(
            f"{family.name}: make_env gave the same environment twice, and two that learn would disturb each other: "
            "make a new one in it"
        )
    try:
        for task, expected in zip(reversed(tasks), reversed(episodes), strict=True):
            if _episode(new, family, task, steps, seed) != expected:
                raise ValueError(
                    f"{family.name}: an episode of {task} came out differently in another environment, after other "
                    "tasks: applying a task must set all that any task sets"
                )
    finally:
        new.close()


def _episode(env: Any, family: Any, task: Any, steps: int, seed: int) -> list[bytes]:
    """Return the bits of an episode, step by step, the first observation at the start."""
    actions: spaces.Space[Any] = copy.deepcopy(family.action_space)
    actions.seed(seed)
    observation, _ = env.reset(seed=seed, options={"task": task})
    bits = [_checked(observation, family)]
    for _ in range(min(steps, family.horizon)):
        observation, reward, terminated, truncated, _ = env.step(actions.sample())
        if np.ndim(reward) or not isinstance(reward, int | float | np.number | np.ndarray):
            raise ValueError(f"{family.name}: a reward is one number, got {reward!r}")
        if not np.isfinite(float(reward)):
            raise ValueError(f"{family.name}: a step of {task} was rewarded with {reward}")
        bits.append(_checked(observation, family) + np.float64(reward).tobytes())
        if terminated or truncated:
            break
    return bits


def _checked(observation: Any, family: Any) -> bytes:
    """Return the bits of an observation that has the right shape and is finite."""
    numbers = np.asarray(observation)
    shape = family.observation_space.shape
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise ValueError(
            f"{family.name}: observations are finite numbers of shape {shape}, got {observation!r}"
        )
    return numbers.tobytes()
