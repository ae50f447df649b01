"""What every task family keeps to: being in `envs.FAMILIES` is being tested here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from metamotor import envs

Array = NDArray[Any]


VARIANTS = [
    (name, None if physics == family.engines[0] else physics)
    for name, family in sorted(envs.FAMILIES.items())
    for physics in family.engines
]


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join(filter(None, variant)))
def family(request: pytest.FixtureRequest) -> envs.TaskFamily:
    name, physics = request.param
    if physics == "mujoco":
        pytest.importorskip("metamotor.robots.mujoco", exc_type=ImportError)
    return envs.make(name, physics=physics)


@pytest.fixture
def env(family: envs.TaskFamily) -> Iterator[envs.TaskEnv]:
    env = family.make_env()
    yield env
    env.close()


def rollout(
    env: envs.TaskEnv, task: Any, seed: int, steps: int = 10, hold: int = 1
) -> list[tuple[bytes, float]]:
    """Observation and reward of each step under actions drawn from `seed`, each held for some steps."""
    generator = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed, options={"task": task})
    record = [(observation.tobytes(), 0.0)]
    for step in range(steps):
        if step % hold == 0:
            action = generator.uniform(-1.0, 1.0, size=env.action_space.shape).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        record.append((observation.tobytes(), reward))
        if terminated or truncated:
            break
    return record


class TestEnvironment:
    @pytest.mark.parametrize("reveal_task", [False, True])
    def test_passes_gymnasiums_checker(self, family: envs.TaskFamily, reveal_task: bool) -> None:
        env = family.replace(reveal_task=reveal_task).make_env()
        check_env(env, skip_render_check=True)
        env.close()

    @pytest.mark.filterwarnings("ignore:.*WARN")  # of gymnasium's checker, about bounds beyond ±1
    def test_gymnasium_makes_the_same_environment(
        self, family: envs.TaskFamily, env: envs.TaskEnv
    ) -> None:
        task = family.sample(1, split="test", seed=1)[0]
        for given in (task, dataclasses.asdict(task)):
            name, physics = f"metamotor/{family.name}", family.physics
            made: Any = gymnasium.make(name, task=given, physics=physics)
            assert made.get_wrapper_attr("task") == task
            assert rollout(made, task, seed=2) == rollout(env, task, seed=2)
            made.close()

    def test_space_has_a_signal_for_each_number(self, family: envs.TaskFamily) -> None:
        assert family.observation_space.shape == (len(family.observation_signals),)
        assert family.action_space.shape == (len(family.action_signals),)
        names = [signal.name for signal in (*family.signals, *family.action_signals)]
        assert len(set(names)) == len(names)
        assert (family.action_space.low == -1).all()
        assert (family.action_space.high == 1).all()

    def test_is_truncated_at_the_horizon(self, family: envs.TaskFamily) -> None:
        env = family.replace(horizon=3).make_env()
        env.reset(seed=0)
        still = np.zeros(family.action_space.shape, np.float32)
        assert [env.step(still)[3] for _ in range(3)] == [False, False, True]
        env.close()

    def test_observations_stay_inside_the_space(self, env: envs.TaskEnv) -> None:
        for task in env.family.sample(4, split="out_of_range", seed=0):
            observation, _ = env.reset(seed=0, options={"task": task})
            ended = False
            while not ended:
                assert observation.dtype == np.float32
                assert env.observation_space.contains(observation)
                observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
                ended = terminated or truncated

    def test_actions_are_clipped(self, env: envs.TaskEnv) -> None:
        task = env.family.sample(1, seed=0)[0]
        results = []
        for size in (1.0, 7.0):
            env.reset(seed=0, options={"task": task})
            action = np.full(env.family.action_space.shape, size, np.float32)
            results.append([env.step(action)[0].tobytes() for _ in range(3)])
        assert results[0] == results[1]

    def test_refuses_bad_actions(self, env: envs.TaskEnv) -> None:
        env.reset(seed=0)
        (size,) = env.family.action_space.shape
        for bad in (np.zeros(size + 1), np.zeros((1, size)), np.array(0.0)):
            with pytest.raises(ValueError, match="finite actions of shape"):
                env.step(bad)
        for value in (np.nan, np.inf, -np.inf):
            action = np.zeros(size)
            action[-1] = value
            with pytest.raises(ValueError, match="finite actions of shape"):
                env.step(action)

    def test_wants_a_reset_first(self, env: envs.TaskEnv) -> None:
        still = np.zeros(env.family.action_space.shape, np.float32)
        with pytest.raises(RuntimeError, match="reset"):
            env.step(still)
        env.reset(seed=0)
        env.set_task(env.family.sample(1, seed=1)[0])
        with pytest.raises(RuntimeError, match="reset"):
            env.step(still)

    def test_wants_a_reset_after_the_end(self, env: envs.TaskEnv) -> None:
        still = np.zeros(env.family.action_space.shape, np.float32)
        short = env.family.replace(horizon=2).make_env()
        for _ in range(2):
            short.reset(seed=0)
            short.step(still)
            assert short.step(still)[3]
            with pytest.raises(RuntimeError, match="after the end of an episode"):
                short.step(still)
        short.close()

    def test_refuses_what_is_not_its_task(self, env: envs.TaskEnv) -> None:
        with pytest.raises(TypeError, match=env.family.task_type.__name__):
            env.set_task({"goal": 1.0})
        with pytest.raises(TypeError, match=env.family.task_type.__name__):
            env.reset(options={"task": None})

    def test_refuses_a_choice_that_there_is_not(self, env: envs.TaskEnv) -> None:
        (task,) = env.family.sample(1, seed=0)
        env.set_task(task)
        for name, parameter in env.family.parameters.items():
            if isinstance(parameter, envs.Choice):
                with pytest.raises(ValueError, match=f"{name} of {env.family.name} must be one of"):
                    env.set_task(dataclasses.replace(task, **{name: 0.123}))
        assert env.task == task

    @pytest.mark.parametrize("more", [{}, {"task": None}])
    def test_refuses_unknown_options(self, env: envs.TaskEnv, more: dict[str, Any]) -> None:
        (task,) = env.family.sample(1, seed=0)
        before = env.task
        with pytest.raises(ValueError, match=r'takes reset\(options={"task": task}\), got .*tsk'):
            env.reset(options={"tsk": task, **more})
        assert env.task == before
        env.reset(options={})

    def test_keeps_its_task_from_reset_to_reset(self, env: envs.TaskEnv) -> None:
        task = env.family.sample(1, seed=3)[0]
        env.reset(seed=0, options={"task": task})
        env.reset()
        assert env.task == task

    def test_draws_a_training_task_if_it_has_none(self, family: envs.TaskFamily) -> None:
        tasks = []
        for seed in (0, 0, 1):
            env = family.make_env()
            env.reset(seed=seed)
            tasks.append(env.task)
            env.close()
        assert tasks[0] == tasks[1] != tasks[2] or len(set(tasks)) < len(tasks)
        assert isinstance(tasks[0], family.task_type)

    def test_refuses_an_unknown_render_mode(self, family: envs.TaskFamily) -> None:
        with pytest.raises(ValueError, match="render"):
            family.make_env(render_mode="ascii")

    def test_refuses_a_reveal_task_that_is_no_answer(self, family: envs.TaskFamily) -> None:
        with pytest.raises(ValueError, match="reveal_task must be True or False, got 'no'"):
            family.replace(reveal_task="no")

    @pytest.mark.parametrize("horizon", [0, -1, 1.5, "10", True])
    def test_refuses_an_absurd_horizon(self, family: envs.TaskFamily, horizon: Any) -> None:
        with pytest.raises(ValueError, match="horizon"):
            family.replace(horizon=horizon)


class TestReward:
    def test_is_the_sum_of_its_terms_to_the_last_bit(self, env: envs.TaskEnv) -> None:
        declared = {term.name: term for term in env.family.reward_terms}
        assert len(declared) == len(env.family.reward_terms) > 0
        for seed, task in enumerate(env.family.sample(4, split="out_of_range", seed=0)):
            env.action_space.seed(seed)
            env.reset(seed=seed, options={"task": task})
            ended = False
            while not ended:
                _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
                terms = env.reward_terms()
                first, *others = terms.values()
                for value in others:
                    first += value
                assert (list(terms), first) == (list(declared), reward)
                for name, value in terms.items():
                    # An indicator is all or nothing, and its weight is what the documentation says.
                    if declared[name].formula.startswith("1 if"):
                        assert value in (0.0, declared[name].weight)
                ended = terminated or truncated
            env.reset(seed=seed)
            assert env.reward_terms() == terms

    def test_terms_say_what_they_are(self, family: envs.TaskFamily) -> None:
        for term in family.reward_terms:
            assert term.name.isidentifier()
            assert term.formula
            assert term.unit
            assert term.weight

    def test_needs_a_step_first(self, family: envs.TaskFamily) -> None:
        env = family.make_env()
        env.reset(seed=0)
        with pytest.raises(RuntimeError, match=r"call step\(\) before"):
            env.reward_terms()
        env.close()


class TestHiddenTask:
    def test_does_not_show_in_the_first_observation(self, env: envs.TaskEnv) -> None:
        tasks = env.family.sample(5, seed=0)
        first = {env.reset(seed=4, options={"task": task})[0].tobytes() for task in tasks}
        assert len(first) == 1

    def test_is_appended_when_revealed(self, family: envs.TaskFamily) -> None:
        oracle = family.replace(reveal_task=True).make_env()
        hidden = family.make_env()
        for task in family.sample(3, split="out_of_range", seed=0):
            shown, _ = oracle.reset(seed=4, options={"task": task})
            plain, _ = hidden.reset(seed=4, options={"task": task})
            expected = np.concatenate([plain, family.reveal(task)]).astype(np.float32)
            np.testing.assert_array_equal(shown, expected)
            assert oracle.observation_space.contains(shown)
        oracle.close()
        hidden.close()

    def test_is_scaled_by_its_training_range_when_revealed(self, family: envs.TaskFamily) -> None:
        revealed = np.array([family.reveal(task) for task in family.sample(300, seed=0)])
        assert np.abs(revealed).max() <= 1.0
        assert (revealed.min(axis=0) < -0.9).all()
        assert (revealed.max(axis=0) > 0.9).all()

    def test_makes_a_difference(self, env: envs.TaskEnv) -> None:
        tasks = env.family.sample(4, seed=1)

        def differ(seed: int, hold: int) -> bool:
            records = [rollout(env, task, seed, steps=30, hold=hold) for task in tasks]
            return any(record != records[0] for record in records)

        # Jitter alone does not get to a goal that is not felt from afar.
        assert differ(0, hold=1) or any(differ(seed, hold=30) for seed in range(8))


class TestTasks:
    def test_survive_json(self, family: envs.TaskFamily) -> None:
        for split in envs.SPLITS:
            for task in family.sample(5, split=split, seed=0):
                assert family.task_type.from_json(task.to_json()) == task
                assert hash(task) == hash(dataclasses.replace(task))

    def test_refuse_wrong_json(self, family: envs.TaskFamily) -> None:
        good = json.loads(family.sample(1, seed=0)[0].to_json())
        name = next(iter(good))
        texts = ["", "[]", "{}", json.dumps({**good, "more": 1.0})]
        texts += [json.dumps({**good, name: bad}) for bad in (None, "1", True, float("nan"))]
        for text in texts:
            with pytest.raises(ValueError, match=family.task_type.__name__):
                family.task_type.from_json(text)

    def test_fields_are_the_parameters(self, family: envs.TaskFamily) -> None:
        fields = [field.name for field in dataclasses.fields(family.task_type)]
        assert fields == list(family.parameters)

    @pytest.mark.parametrize("split", envs.SPLITS)
    def test_lie_where_their_split_says(self, family: envs.TaskFamily, split: envs.Split) -> None:
        for task in family.sample(200, split=split, seed=0):
            for name, parameter in family.parameters.items():
                value = getattr(task, name)
                if isinstance(parameter, envs.Choice):
                    assert value in parameter.values
                    continue
                low, high = parameter.train if split == "train" else parameter.test
                if split == "out_of_range" and parameter.out_of_range:
                    assert any(a <= value <= b for a, b in parameter.out_of_range)
                    assert not parameter.train[0] < value < parameter.train[1]
                else:
                    assert low <= value <= high

    def test_are_the_same_for_the_same_seed(self, family: envs.TaskFamily) -> None:
        # A choice of two values needs many draws to tell two streams apart.
        draws = {
            (split, seed): tuple(family.sample(64, split=split, seed=seed))
            for split in envs.SPLITS
            for seed in (0, 1)
        }
        assert len(set(draws.values())) == len(draws)
        for (split, seed), tasks in draws.items():
            assert tuple(family.sample(64, split=split, seed=seed)) == tasks
            if split != "train":
                assert tuple(family.sample(10, split=split, seed=seed)) == tasks[:10]

    def test_of_training_cover_each_parameter_evenly(self, family: envs.TaskFamily) -> None:
        tasks = family.sample(20, seed=3)
        for name, parameter in family.parameters.items():
            values = sorted(getattr(task, name) for task in tasks)
            if isinstance(parameter, envs.Choice):
                assert {values.count(value) for value in parameter.values} == {
                    20 // len(parameter.values)
                }
                continue
            low, high = parameter.train
            strata = [int(20 * (value - low) / (high - low)) for value in values]
            assert strata == list(range(20))
            assert values != [getattr(task, name) for task in tasks]

    def test_refuses_an_unknown_split(self, family: envs.TaskFamily) -> None:
        with pytest.raises(ValueError, match="split"):
            family.sample(1, split="holdout", seed=0)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least 1"):
            family.sample(0, seed=0)


def test_terms_that_are_not_those_of_the_reward_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    family = envs.make("MinitaurBattery-v0")
    env = family.make_env()
    env.reset(seed=0)
    env.step(np.zeros(5))
    assert list(env.reward_terms()) == ["velocity", "drift", "fall"]
    monkeypatch.setattr(type(family), "reward_terms", family.reward_terms[:1])
    with pytest.raises(
        ValueError, match="MinitaurBattery-v0 names 1 terms of its reward, which has 3"
    ):
        env.reward_terms()
    env.close()


def test_an_unknown_family_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'Panda-v9'.*PandaReach-v0"):
        envs.make("Panda-v9")


def test_an_unknown_argument_is_named_with_those_there_are(family: envs.TaskFamily) -> None:
    message = (
        f"{family.name} does not know horizn; it takes horizon, reveal_task, randomization, physics"
    )
    with pytest.raises(TypeError, match=message):
        envs.make(family.name, horizn=3)
    with pytest.raises(TypeError, match=message):
        family.replace(horizn=3)


def test_config_makes_the_family_again(family: envs.TaskFamily) -> None:
    changed = family.replace(horizon=7, reveal_task=True)
    assert envs.make(family.name, **changed.config).config == changed.config
    assert changed.observation_space.shape == (
        len(family.observation_signals) + len(family.parameters),
    )


def test_physics_is_written_down_only_where_it_is_not_the_usual_one(
    family: envs.TaskFamily,
) -> None:
    usual = family.physics == family.engines[0]
    assert family.config.get("physics") == (None if usual else family.physics)
    assert family.replace(physics=family.engines[0]).config.keys() == {"horizon", "reveal_task"}


def test_an_unknown_physics_is_refused_with_those_there_are(family: envs.TaskFamily) -> None:
    known = " or ".join(family.engines)
    with pytest.raises(ValueError, match=f"physics of {family.name} must be {known}, got 'drake'"):
        family.replace(physics="drake")


def test_a_family_of_one_physics_says_so() -> None:
    with pytest.raises(ValueError, match="physics of CartPole-v0 must be pybullet, got 'mujoco'"):
        envs.make("CartPole-v0", physics="mujoco")
