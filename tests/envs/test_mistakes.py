"""Mistakes with tasks, actions, settings and lifetimes, each of which is refused where it is made."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from metamotor import envs

REACH: Any = envs.FAMILIES["PandaReach-v0"].task_type


@pytest.fixture
def env() -> Iterator[envs.TaskEnv]:
    made = envs.make("CartPole-v0").make_env()
    yield made
    made.close()


@pytest.mark.parametrize(
    "bad", [np.nan, np.inf, "0.3", None, np.array([0.3]), True, 10**400, 3 + 1j, np.float32("nan")]
)
def test_a_task_is_made_of_finite_numbers(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"ReachTask\.goal_x must be a finite number, got"):
        REACH(bad, 0.0, 0.2)
    with pytest.raises(ValueError, match=r"ReachTask\.goal_x must be a finite number, got"):
        envs.make_env("PandaReach-v0", task={"goal_x": bad, "goal_y": 0.0, "goal_z": 0.2})


def test_a_task_of_numpy_numbers_survives_json() -> None:
    task = REACH(np.float32(0.5), np.int64(0), np.float64(0.25))
    assert REACH.from_json(task.to_json()) == task == REACH(0.5, 0.0, 0.25)


@pytest.mark.parametrize("text", [None, "[]", '{"goal_x": 1}', '{"goal_x": 1' + 400 * "0" + "}"])
def test_what_is_no_task_in_json_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="ReachTask"):
        REACH.from_json(text)


@pytest.mark.parametrize(
    "action", [["a"], [1j], [None], np.zeros(1, "datetime64[s]"), np.zeros(1, [("a", float)])]
)
def test_an_action_that_is_no_number_is_refused(env: envs.TaskEnv, action: Any) -> None:
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"expects finite actions of shape \(1,\)"):
        env.step(action)


@pytest.mark.parametrize("options", ["task", [1], 3])
def test_options_that_are_no_mapping_are_refused(env: envs.TaskEnv, options: Any) -> None:
    with pytest.raises(ValueError, match=r'takes reset\(options={"task": task}\), got'):
        env.reset(options=options)


def test_a_reward_that_is_nan_ends_the_episode(
    env: envs.TaskEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.reset(seed=0)
    first = np.zeros(env.observation_space.shape or (), np.float32)
    with monkeypatch.context() as patched:
        patched.setattr(env, "_advance", lambda _: (first, float("nan"), False))
        with pytest.raises(FloatingPointError, match=r"blew up in step 1 of .* rewarded with nan"):
            env.step(np.zeros(1))
    env.reset(seed=0)
    env.step(np.zeros(1))


def test_a_reset_that_fails_begins_no_episode(
    env: envs.TaskEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.reset(seed=0)
    with monkeypatch.context() as patched:
        patched.setattr(env, "_begin", Mock(side_effect=OSError("no sensor")))
        with pytest.raises(OSError, match="no sensor"):
            env.reset(seed=0)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(np.zeros(1))


def test_an_environment_with_a_simulator_is_not_copied(env: envs.TaskEnv) -> None:
    for make_copy in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"cannot be copied or pickled: send the family"):
            make_copy(env)


def test_a_closed_environment_says_so() -> None:
    env = envs.make("CartPole-v0").make_env()
    env.reset(seed=0)
    env.close()
    env.close()
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(1))
    with pytest.raises(RuntimeError, match=r"CartPole-v0 is closed: make another"):
        env.reset(seed=0)


def test_an_id_that_is_no_string_is_unknown() -> None:
    unhashable: Any = ["CartPole-v0"]
    with pytest.raises(ValueError, match="unknown task family"):
        envs.make(unhashable)


class TestNumbersOfNumpy:
    def test_are_a_horizon(self) -> None:
        assert type(envs.make("PointNavigation-v0", horizon=np.int64(7)).horizon) is int

    def test_are_an_interval_and_a_probability_that_json_has(self) -> None:
        drawn = envs.uniform(0.5, 1, when="interval", interval=np.int64(3))
        often = envs.uniform(0, 1, when="step", probability=np.float32(0.5))
        for how in (drawn, often):
            assert envs.Vary(**json.loads(json.dumps(how.as_json()))) == how


class TestRandomization:
    def test_a_misspelt_keyword_is_named_with_those_there_are(self) -> None:
        with pytest.raises(
            TypeError, match=r"uniform does not know opration; .* operation, when, interval"
        ):
            envs.uniform(0.0, 1.0, opration="scale")

    def test_a_property_is_named_by_a_string(self) -> None:
        with pytest.raises(TypeError, match="names properties by strings, got 3"):
            envs.make("CartPole-v0", randomization={3: envs.uniform(0, 1)})


# Environments of others ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Shift(envs.Task):
    x: float


class Point(gymnasium.Env[Any, Any]):
    """A point that is to find where."""

    observation_space = spaces.Box(-9, 9, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)
    goal = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at = np.zeros(2, np.float32)
        return self.at.copy(), {}

    def step(self, action: Any) -> Any:
        self.at = self.at + 0.1 * np.asarray(action, np.float32)
        return self.at.copy(), -float(abs(self.at - self.goal).sum()), False, False, {}


class OldPoint(Point):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed)[0]


class WordyPoint(Point):
    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return observation, "good", *rest


class Actionless(Point):
    action_space: Any = None


ONE = Point()


def draw(rng: np.random.Generator, split: str) -> Shift:
    return Shift(float(rng.uniform(-1, 1)))


def apply(env: Any, task: Shift) -> None:
    env.unwrapped.goal = task.x


def family(make_env: Any = Point, sample: Any = draw, **settings: Any) -> envs.GymnasiumFamily:
    given: dict[str, Any] = {"name": "Point-v0", "horizon": 10, "dt": 0.1, **settings}
    return envs.from_gymnasium(make_env, sample, apply, **given)


class TestFromGymnasium:
    @pytest.mark.parametrize(
        ("settings", "error", "words"),
        [
            ({"name": None}, ValueError, "name= must be a string such as"),
            ({"name": ""}, ValueError, "name= must be a string such as"),
            ({"dt": np.inf}, ValueError, "must be a finite number above 0, got inf"),
            ({"after_reset": "no"}, ValueError, "after_reset must be True or False, got 'no'"),
            ({"reveal_task": "no"}, ValueError, "reveal_task must be True or False, got 'no'"),
            ({"reveal": 3}, TypeError, "reveal= takes a function of a task, got 3"),
            ({"make_env": lambda: None}, TypeError, "must return a gymnasium.Env, got None"),
            ({"make_env": lambda: Point}, TypeError, "must return a gymnasium.Env, got <class"),
            ({"make_env": Actionless}, TypeError, "action_space of .* must be a gymnasium space"),
        ],
    )
    def test_refuses(self, settings: dict[str, Any], error: Any, words: str) -> None:
        with pytest.raises(error, match=words):
            family(**settings)

    @pytest.mark.parametrize("told", ["abc", None, [np.nan], np.zeros((2, 2))])
    def test_refuses_to_reveal_what_is_no_list_of_numbers(self, told: Any) -> None:
        with pytest.raises(ValueError, match="must return finite numbers, a list of them, got"):
            family(reveal=lambda task: told, reveal_task=True)

    def test_names_a_misspelt_change(self) -> None:
        with pytest.raises(TypeError, match=r"does not know horzon; it takes name, horizon"):
            family().replace(horzon=3)

    def test_wants_another_reset_after_one_that_failed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        env: Any = family().make_env()
        env.reset(seed=0)
        with monkeypatch.context() as patched:
            patched.setattr(env.env, "reset", Mock(side_effect=OSError("no sensor")))
            with pytest.raises(OSError, match="no sensor"):
                env.reset(seed=0)
        with pytest.raises(RuntimeError, match="call reset"):
            env.step(np.zeros(2))

    def test_wants_a_reset_before_the_first_step_and_after_a_task(self) -> None:
        env: Any = family().make_env()
        with pytest.raises(RuntimeError, match=r"call reset\(\) before step\(\)"):
            env.step(np.zeros(2))
        env.reset(seed=0)
        env.step(np.zeros(2))
        env.set_task(Shift(0.5))
        with pytest.raises(RuntimeError, match=r"after set_task\(\)"):
            env.step(np.zeros(2))


class TestCheckFamily:
    def test_passes_what_is_right(self) -> None:
        envs.check_family(family())

    @pytest.mark.parametrize(
        ("make_env", "words"),
        [
            (lambda: ONE, "gave the same environment twice"),
            (OldPoint, r"reset\(\) of .* must return \(observation, info\), got"),
            (WordyPoint, "a reward is one number, got 'good'"),
        ],
    )
    def test_refuses_an_environment(self, make_env: Any, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            envs.check_family(family(make_env))

    def test_tries_every_split(self) -> None:
        def only_training(rng: np.random.Generator, split: str) -> Shift:
            return {"train": Shift(float(rng.uniform()))}[split]

        with pytest.raises(ValueError, match="no task of the split 'validation' can be drawn"):
            envs.check_family(family(sample=only_training))

    @pytest.mark.parametrize("settings", [{"num_tasks": "3"}, {"num_steps": 0}])
    def test_refuses_an_absurd_extent(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="must be a whole number of at least 1"):
            envs.check_family(family(), **settings)
