"""Every family has a preset that a learner can be made from, and whose validation is cheap."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from metamotor import envs, meta
from metamotor.meta.base_learner import BaseLearner
from metamotor.meta.maml import MAML
from metamotor.meta.records import ALGORITHMS
from metamotor.scripts.options import AlgorithmName, LearnerName
from metamotor.scripts.options import BaseLearner as Base
from metamotor.scripts.presets import PRESETS, preset
from metamotor.scripts.validation import distinct_tasks
from tests.meta.toys import Bandit

each_family = pytest.mark.parametrize("name", envs.FAMILIES)


@each_family
def test_a_learner_can_be_made(name: str) -> None:
    preset = PRESETS[name, "MAML"]
    family = envs.make(name)
    learner = MAML("PPO", "MlpPolicy", family, preset.config, base_kwargs=preset.base.kwargs())
    episodes = preset.config.meta_batch_size * preset.config.episodes_per_task
    assert preset.total_timesteps >= 10 * episodes * family.horizon
    assert learner.adapter.template.gamma == preset.base.gamma
    learner.close()


@each_family
def test_validation_takes_at_most_a_fifth_of_the_samples(name: str) -> None:
    # Of the time it is less: the outer step is no part of validation.
    preset = PRESETS[name, "MAML"]
    config, options = preset.config, preset.validation
    tasks = len(distinct_tasks(envs.make(name), options.validation_tasks, seed=0))
    stage = config.meta_batch_size * config.episodes_per_task * options.validation_interval
    robust = tasks * options.validation_episodes
    adapted = robust + config.inner_steps * tasks * config.episodes_per_task
    assert robust <= 0.2 * stage
    assert adapted <= 0.2 * (config.inner_steps + 1) * stage


def test_no_preset_is_left_behind() -> None:
    assert {family for family, _ in PRESETS} == set(envs.FAMILIES)
    assert {learner for _, learner in PRESETS} <= set(meta.LEARNERS)


@pytest.mark.parametrize("learner", ["MAML", "Reptile", "ES", "MPO"])
def test_every_learner_has_settings_of_its_own_kind(learner: str) -> None:
    for family in [*envs.FAMILIES, "Mine-v0"]:
        assert type(preset(family, learner).config) is meta.LEARNERS[learner].Config
    assert learner in get_args(LearnerName)


def test_the_command_line_names_the_learners_and_algorithms_that_there_are() -> None:
    assert set(get_args(LearnerName)) == set(meta.LEARNERS)
    assert set(get_args(AlgorithmName)) <= set(ALGORITHMS)


@pytest.mark.parametrize("algorithm", get_args(AlgorithmName))
def test_an_algorithm_gets_the_options_that_it_has(algorithm: Any) -> None:
    family = envs.make("CartPole-v0") if algorithm != "DQN" else Bandit()
    policy = "MlpLstmPolicy" if algorithm == "RecurrentPPO" else "MlpPolicy"
    base = Base(algorithm=algorithm, gamma=0.9, net_arch=(8,), base_kwargs='{"learning_rate": 0.5}')
    made = BaseLearner(ALGORITHMS[algorithm], policy, family, base.kwargs())
    assert made.template.gamma == 0.9
    assert made.template.learning_rate == 0.5


def test_a_family_of_two_tasks_is_validated_on_both() -> None:
    tasks = distinct_tasks(envs.make("HalfCheetahDirection-v0"), 10, seed=3)
    assert sorted(task.direction for task in tasks) == [-1.0, 1.0]
    assert len(distinct_tasks(envs.make("PointNavigation-v0"), 10, seed=3)) == 10
