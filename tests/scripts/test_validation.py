"""Validation picks the best checkpoint and changes nothing about the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.logger import KVWriter, Logger

from metamotor import envs, meta
from metamotor.scripts.options import ValidationOptions
from metamotor.scripts.validation import Validation

OPTIONS = ValidationOptions(validation_interval=2, validation_tasks=2, validation_episodes=2)


class Lines(KVWriter):
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.lines.append(dict(key_values))

    def close(self) -> None:
        pass


def learner(**changes: Any) -> Any:
    family = envs.make("PointNavigation-v0", horizon=10)
    settings = {"meta_batch_size": 2, "episodes_per_task": 2, **changes}
    return meta.MAML("PPO", "MlpPolicy", family, seed=1, **settings)


def trained(folder: Path, steps: int, **changes: Any) -> tuple[Any, Validation, list[Any]]:
    validation, lines, made = Validation(folder, OPTIONS, 2), Lines(), learner(**changes)
    made.set_logger(Logger(folder=None, output_formats=[lines]))
    made.learn(steps, validation)
    return made, validation, lines.lines


def test_validation_does_not_touch_the_training(tmp_path: Path) -> None:
    validated, _, _ = trained(tmp_path, 300)
    alone = learner().learn(300)
    assert validated.num_timesteps == alone.num_timesteps
    for name, value in alone.params.items():
        assert torch.equal(value, validated.params[name])


def test_the_best_checkpoint_is_the_one_that_was_best(tmp_path: Path) -> None:
    made, validation, lines = trained(tmp_path, 400, outer_lr=0.5)  # so large that it gets worse
    measured = {
        line["time/total_timesteps"]: line["eval/post_1"] for line in lines if "eval/post_1" in line
    }
    assert len(measured) == 3  # after iterations 2 and 4, and at the end
    steps = max(measured, key=lambda step: measured[step])
    assert validation.best_return == measured[steps]
    assert meta.MAML.load(tmp_path / "best").num_timesteps == steps == validation.best_timesteps
    assert meta.MAML.load(tmp_path / "last").num_timesteps == made.num_timesteps


def test_a_checkpoint_measures_the_same_again(tmp_path: Path) -> None:
    _, validation, _ = trained(tmp_path, 200)
    again = Validation(tmp_path / "again", OPTIONS, 2)
    again.init_callback(meta.MAML.load(tmp_path / "last"))  # type: ignore[arg-type]
    again._on_training_start()
    assert again.measure() == validation.measure()


def test_a_policy_that_does_not_adapt_is_measured_as_it_is(tmp_path: Path) -> None:
    _, validation, lines = trained(tmp_path, 100, inner_steps=0)
    evaluated = [line for line in lines if "eval/pre" in line]
    assert evaluated
    assert not any("eval/post_1" in line for line in evaluated)
    assert validation.best_return == max(line["eval/pre"] for line in evaluated)


def test_rewinding_goes_back_to_the_last_whole_iteration(tmp_path: Path) -> None:
    made, validation, _ = trained(tmp_path, 200)
    expected = {name: value.detach().clone() for name, value in made.params.items()}
    iteration, steps = made.iteration, made.num_timesteps
    made._meta_iteration()  # an iteration that is interrupted at its end
    validation.rewind()
    assert (made.iteration, made.num_timesteps) == (iteration, steps)
    for name, value in expected.items():
        assert torch.equal(value, made.params[name])


@pytest.mark.parametrize("name", ["interval", "tasks", "episodes"])
def test_a_validation_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"validation_{name} must be at least 1, got 0"):
        ValidationOptions(**{f"validation_{name}": 0})
