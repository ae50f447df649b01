"""Every family has a preset that a learner can be made from, and whose validation is cheap."""

from __future__ import annotations

import pytest

from metamotor import envs
from metamotor.meta.maml import MAML
from metamotor.scripts.presets import PRESETS
from metamotor.scripts.validation import distinct_tasks

each_family = pytest.mark.parametrize("name", envs.FAMILIES)


@each_family
def test_a_learner_can_be_made(name: str) -> None:
    preset = PRESETS[name]
    family = envs.make(name)
    learner = MAML("PPO", "MlpPolicy", family, preset.config, base_kwargs=preset.base.kwargs())
    episodes = preset.config.meta_batch_size * preset.config.episodes_per_task
    assert preset.total_timesteps >= 10 * episodes * family.horizon
    assert learner.adapter.template.gamma == preset.base.gamma
    learner.close()


@each_family
def test_validation_takes_at_most_a_fifth_of_the_samples(name: str) -> None:
    # Of the time it is less: the outer step is no part of validation.
    preset = PRESETS[name]
    config, options = preset.config, preset.validation
    tasks = len(distinct_tasks(envs.make(name), options.validation_tasks, seed=0))
    stage = config.meta_batch_size * config.episodes_per_task * options.validation_interval
    robust = tasks * options.validation_episodes
    adapted = robust + config.inner_steps * tasks * config.episodes_per_task
    assert robust <= 0.2 * stage
    assert adapted <= 0.2 * (config.inner_steps + 1) * stage


def test_no_preset_is_left_behind() -> None:
    assert set(PRESETS) == set(envs.FAMILIES)


def test_a_family_of_two_tasks_is_validated_on_both() -> None:
    tasks = distinct_tasks(envs.make("HalfCheetahDirection-v0"), 10, seed=3)
    assert sorted(task.direction for task in tasks) == [-1.0, 1.0]
    assert len(distinct_tasks(envs.make("PointNavigation-v0"), 10, seed=3)) == 10
