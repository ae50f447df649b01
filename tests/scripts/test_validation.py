"""Validation knows the best checkpoint and changes nothing about the training."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.logger import KVWriter, Logger

from metamotor import envs, meta
from metamotor.scripts.options import ValidationOptions
from metamotor.scripts.training import Execution
from metamotor.scripts.validation import Standing, Validation

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


class Saved:
    """Keeps what is saved, when, and how validation stood."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[tuple[int, Standing]] = []

    def __call__(self, learner: Any, standing: Standing) -> None:
        self.calls.append((learner.iteration, standing))
        learner.save(self.folder / str(learner.num_timesteps))


def trained(
    folder: Path, steps: int, options: ValidationOptions = OPTIONS, **changes: Any
) -> tuple[Any, Validation, list[Any], Saved]:
    saved, lines, made = Saved(folder), Lines(), learner(**changes)
    validation = Validation(options, saved)
    made.set_logger(Logger(folder=None, output_formats=[lines]))
    made.learn(steps, validation)
    return made, validation, lines.lines, saved


def test_validation_does_not_touch_the_training(tmp_path: Path) -> None:
    validated, *_ = trained(tmp_path, 300)
    alone = learner().learn(300)
    assert validated.num_timesteps == alone.num_timesteps
    for name, value in alone.params.items():
        assert torch.equal(value, validated.params[name])


def test_it_is_known_which_one_was_best(tmp_path: Path) -> None:
    made, validation, lines, saved = trained(
        tmp_path, 400, outer_lr=0.5
    )  # so large that it gets worse
    measured = {
        line["time/total_timesteps"]: line["eval/post_1"] for line in lines if "eval/post_1" in line
    }
    assert len(measured) == 3  # after iterations 2 and 4, and at the end
    assert [iteration for iteration, _ in saved.calls] == [2, 4, 5]
    steps = max(measured, key=lambda step: measured[step])
    standing = validation.standing
    assert (standing.best_return, standing.best_num_timesteps) == (measured[steps], steps)
    assert standing.validated == made.num_timesteps
    assert standing.stale == sum(step > steps for step in measured)
    assert saved.calls[-1][1] == standing


def test_a_checkpoint_measures_the_same_again(tmp_path: Path) -> None:
    made, validation, _, saved = trained(tmp_path, 200)
    again = Validation(OPTIONS, saved)
    again.init_callback(meta.MAML.load(tmp_path / str(made.num_timesteps)))  # type: ignore[arg-type]
    again._on_training_start()
    assert again.measure() == validation.measure()


def test_a_policy_that_does_not_adapt_is_measured_as_it_is(tmp_path: Path) -> None:
    _, validation, lines, _ = trained(tmp_path, 100, inner_steps=0)
    evaluated = [line for line in lines if "eval/pre" in line]
    assert evaluated
    assert not any("eval/post_1" in line for line in evaluated)
    assert validation.standing.best_return == max(line["eval/pre"] for line in evaluated)


def test_rewinding_goes_back_to_the_last_whole_iteration(tmp_path: Path) -> None:
    made, validation, _, saved = trained(tmp_path, 200)
    expected = {name: value.detach().clone() for name, value in made.params.items()}
    iteration, steps = made.iteration, made.num_timesteps
    made._meta_iteration()  # an iteration that is interrupted at its end
    validation.rewind()
    assert (made.iteration, made.num_timesteps) == (iteration, steps)
    for name, value in expected.items():
        assert torch.equal(value, made.params[name])
    assert saved.calls[-1] == saved.calls[-2]


def test_it_is_saved_between_validations_too(tmp_path: Path) -> None:
    saved, made = Saved(tmp_path), learner()
    made.learn(400, Validation(OPTIONS, saved, save_interval=3))
    assert [iteration for iteration, _ in saved.calls] == [2, 3, 4, 5]
    assert saved.calls[1][1] == saved.calls[0][1], "nothing was measured in between"


def test_the_gap_closed_is_logged_where_its_ends_are_known(tmp_path: Path) -> None:
    lines, made = Lines(), learner()
    made.set_logger(Logger(folder=None, output_formats=[lines]))
    made.learn(200, Validation(OPTIONS, Saved(tmp_path), gap=(-6.0, -1.0)))
    found = [line for line in lines.lines if "eval/post_1" in line]
    assert found
    for line in found:
        assert line["eval/gap_closed"] == pytest.approx((line["eval/post_1"] + 6.0) / 5.0)
    _, _, without, _ = trained(tmp_path, 100)
    assert not any("eval/gap_closed" in line for line in without)


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ({"best_other_return": 1.0}, "needs both --best-other-return and --oracle-return"),
        ({"best_other_return": 1.0, "oracle_return": 1.0}, "there is no gap: got 1.0 and 1.0"),
        ({"best_other_return": 1.0, "oracle_return": float("nan")}, "there is no gap: got nan"),
    ],
)
def test_a_gap_that_there_is_not_is_refused(ends: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Execution(**ends)


def test_patience_ends(tmp_path: Path) -> None:
    options = dataclasses.replace(OPTIONS, validation_interval=1, patience=2)
    made, validation, lines, _ = trained(tmp_path, 4000, options, outer_lr=0.5)
    returns = [line["eval/post_1"] for line in lines if "eval/post_1" in line]
    assert made.num_timesteps < 4000
    assert validation.standing.stale == 2
    best = returns.index(max(returns))
    assert len(returns) == best + 3, "two more after the best"
    with pytest.raises(ValueError, match="patience must not be negative, got -1"):
        dataclasses.replace(OPTIONS, patience=-1)


def test_how_validation_stands() -> None:
    standing = Standing()
    assert not standing.is_over(1)
    for step, value in enumerate([-3.0, -2.0, -2.0, -4.0], start=1):
        standing = standing.after(value, step)
    assert standing == Standing(best_return=-2.0, best_num_timesteps=2, validated=4, stale=2)
    assert [standing.is_over(patience) for patience in (0, 1, 2, 3)] == [False, True, True, False]
    assert Standing.of(json.loads(json.dumps(standing.notes()))) == standing


@pytest.mark.parametrize("name", ["interval", "tasks", "episodes"])
def test_a_validation_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"validation_{name} must be at least 1, got 0"):
        ValidationOptions(**{f"validation_{name}": 0})
