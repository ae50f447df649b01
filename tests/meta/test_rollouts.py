"""Episodes: what the policy is shown, and what is said of numbers that are not finite."""

import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from metamotor import meta
from metamotor.meta.actors import ConstantActor
from metamotor.meta.rollouts import RolloutJob, check_batch, run_job
from tests.meta.toys import Bandit

JOB = RolloutJob("TASK", ConstantActor(np.zeros(1, dtype=np.float32)), 2, seed=0)


class Script(gymnasium.Env):
    """Observes a list of numbers, one after another, as a user's environment might: in float64."""

    def __init__(self, observations: Any, reward: Any = 0.0) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.observations, self.reward = observations, reward

    def set_task(self, task: Any) -> None:
        assert task == "TASK"

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.rest = iter(self.observations)
        return np.array([1.0, next(self.rest)]), {}

    def step(self, action: Any) -> Any:
        return np.array([1.0, next(self.rest)]), self.reward, False, False, {}


class Together:
    """Two such episodes at once; the first ends at its first step, whatever it shows afterwards."""

    def __init__(self, observations: Any, reward: Any = 0.0) -> None:
        self.observations, self.reward = observations, reward

    def reset(self, task: Any, seeds: Any) -> Any:
        self.rest = iter(self.observations)
        return np.full((2, 2), next(self.rest))

    def step(self, actions: Any) -> Any:
        first = float("nan") if hasattr(self, "ended") else 0.0
        self.ended = True
        observation = np.array([[first, 0.0], [1.0, next(self.rest)]])
        return observation, np.array([0.0, self.reward]), np.array([True, False])


class Chooser(Script):
    """Draws a task of its own at every reset, unless its options name one: whom `set_task` alone would not bind."""

    def set_task(self, task: Any) -> None:
        self.task = task

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.task = (options or {}).get("task", "ANOTHER")
        return super().reset()

    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return observation, float(self.task == "TASK"), *rest


class Setter(Chooser):
    """Takes its task from `set_task` alone."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return Script.reset(self)


@pytest.mark.parametrize("kind", [Chooser, Setter])
@pytest.mark.parametrize("wrap", [lambda env: env, gymnasium.wrappers.OrderEnforcing])
def test_every_episode_is_of_the_jobs_task(kind: Any, wrap: Any) -> None:
    batch = run_job(JOB, wrap(kind([0.0, 0.0, 0.0])), None, horizon=2)
    np.testing.assert_array_equal(batch.rewards, np.ones((2, 2)))


def test_an_environment_that_takes_no_task_is_refused() -> None:
    class Deaf(Script):
        set_task = property()

    with pytest.raises(TypeError, match=r"has no set_task\(task\), by which it is given its task"):
        run_job(JOB, Deaf([0.0, 0.0]), None, horizon=1)
    # As it is, a robot for instance, it may run.
    job = dataclasses.replace(JOB, task=None)
    assert run_job(job, Deaf([0.0, 0.0]), None, horizon=1).num_steps == 2


def run(kind: Any, observations: Any, **kwargs: Any) -> Any:
    horizon = len(observations) - 1
    if kind is Together:
        return run_job(JOB, None, Together(observations, **kwargs), horizon=horizon)
    return run_job(JOB, Script(observations, **kwargs), None, horizon=horizon)


class Recorder(ConstantActor):
    """Remembers the types of what it was shown."""

    def act(self, observations: Any, noise: Any) -> Any:
        assert observations.dtype == np.float32
        return super().act(observations, noise)


@pytest.mark.parametrize("kind", [Script, Together])
def test_the_policy_is_shown_float32(kind: Any) -> None:
    job = RolloutJob("TASK", Recorder(np.zeros(1, dtype=np.float32)), 2, seed=0)
    numbers = [0.1, 0.2, 0.3]
    env, together = (Script(numbers), None) if kind is Script else (None, Together(numbers))
    batch = run_job(job, env, together, horizon=2)
    assert batch.observations.dtype == np.float32
    np.testing.assert_array_equal(batch.observations[1, :, 1], np.array([0.1, 0.2], np.float32))


@pytest.mark.parametrize("kind", [Script, Together])
def test_large_numbers_are_finite(kind: Any) -> None:
    batch = run(kind, [0.0, 1e20, -1e30, 0.0], reward=1e200)
    assert batch.observations[1, 2, 1] == np.float32(-1e30)


@pytest.mark.parametrize("kind", [Script, Together])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("step", [0, 1, 3])
def test_every_observation_is_looked_at_the_last_one_too(kind: Any, bad: float, step: int) -> None:
    numbers = [0.0] * 4
    numbers[step] = bad
    with pytest.raises(ValueError, match=rf"the observation of TASK at step {step} is array"):
        run(kind, numbers)


@pytest.mark.parametrize("kind", [Script, Together])
def test_a_reward_that_is_not_finite_is_told_with_its_step(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"the reward of TASK at step 0 is .*nan.*, not finite"):
        run(kind, [0.0, 0.0], reward=np.nan)


class Odd(Script):
    """Gives what its spaces do not promise."""

    def __init__(self, first: Any = None, later: Any = None, reward: Any = 0.0) -> None:
        super().__init__([0.0, 0.0, 0.0], reward)
        self.first, self.later = first, later

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        given, info = super().reset()
        return (given if self.first is None else self.first), info

    def step(self, action: Any) -> Any:
        given, *rest = super().step(action)
        return (given if self.later is None else self.later), *rest


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (Odd(first=np.zeros(3)), r"observation of shape \(3,\), its observation_space says \(2,\)"),
        (Odd(later=np.zeros((1, 2))), r"observation of shape \(1, 2\)"),
        (Odd(reward=np.zeros(1)), r"the reward array\(\[0.\]\), expected one number"),
        (Odd(reward="1"), "the reward '1', expected one number"),
        (Odd(reward=None), "the reward None, expected one number"),
    ],
    ids=["first", "later", "list", "text", "nothing"],
)
def test_an_environment_that_breaks_its_word_is_told(env: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"the environment of TASK gave .*{message}"):
        run_job(JOB, env, None, horizon=2)


@pytest.mark.parametrize("name", ["observations", "actions", "rewards"])
def test_recorded_numbers_that_are_not_finite_are_refused_where_a_step_was_taken(name: str) -> None:
    batch = run_job(JOB, Script([0.0, 0.0, 0.0]), None, horizon=2)
    values = getattr(batch, name).copy()
    values[1, 1] = np.nan
    broken = batch._replace(**{name: values})
    with pytest.raises(ValueError, match=f"the {name} of the recorded episodes are not finite"):
        check_batch(broken)
    mask = batch.mask.copy()
    mask[1, 1] = 0.0
    check_batch(broken._replace(mask=mask))
    learner = meta.MAML("PPO", "MlpPolicy", Bandit())
    with pytest.raises(ValueError, match="not finite"):
        learner.adapt_from([broken])
