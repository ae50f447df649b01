"""Options that several subcommands share."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from metamotor import envs, meta
from metamotor.deploy.runtime import Policy
from metamotor.scripts.adapt import Adapt, Adaptation
from metamotor.scripts.benchmarks.learning import Learning
from metamotor.scripts.checkpoints import load_arms
from metamotor.scripts.evaluate import Evaluate
from metamotor.scripts.export import export_model
from metamotor.scripts.options import BaseLearner, TaskChoice, merged, parse
from metamotor.scripts.presets import PRESETS
from metamotor.scripts.run import Run, RunTask, family_of
from metamotor.scripts.train import Train, build, parse_train


@pytest.mark.parametrize(
    ("family", "task", "message"),
    [
        (
            "PandaReach-v0",
            '{"goal_x": 1e200, "goal_y": 0.0, "goal_z": 0.4}',
            r"goal_x of PandaReach-v0 must be in \[0.25, 0.7\] m, got 1e\+200",
        ),
        ("PandaReach-v0", '{"goal_x": 0.4, "goal_y": 0.0, "goal_z": 0.0}', r"\[0.1, 0.7\] m"),
        (
            "HalfCheetahDirection-v0",
            '{"direction": 0.5}',
            "direction of HalfCheetahDirection-v0 must be -1 or 1, got 0.5",
        ),
    ],
)
def test_a_task_outside_of_everything_is_refused(family: str, task: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TaskChoice(task=task).of(envs.make(family))


@pytest.mark.parametrize("name", envs.FAMILIES)
@pytest.mark.parametrize("split", envs.SPLITS)
def test_every_task_of_a_family_is_accepted(name: str, split: envs.Split) -> None:
    family = envs.make(name)
    for task in family.sample(50, split=split, seed=1):
        assert TaskChoice(task=task.to_json()).of(family) == task


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (Adapt, ("--from", "x", "--task-seed", "-1")),
        (Adapt, ("--from", "x", "--seed", "-1")),
        (Run, ("x", "--seed", str(2**32))),
        (Evaluate, ("--adapted", "x", "--robust", "x", "--oracle", "x", "--seed", "-1")),
        (Learning, ("--seeds", "0", "-1")),
    ],
)
def test_a_seed_that_no_generator_takes_is_refused(command: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"seeds? must be .*, got (-1|4294967296)"):
        parse(command, words, "test")


def test_what_was_chosen_can_be_typed_again() -> None:
    choices: list[Any] = [
        TaskChoice(task_seed=7),
        TaskChoice(split="train", task_seed=1),
        TaskChoice(task='{"goal_x": 0.1, "goal_y": 0.3}'),
        Adaptation(episodes=5, updates=2, seed=3),
        Adaptation(),
    ]
    for choice in choices:
        assert parse(type(choice), choice.words(), "test") == choice


def test_a_file_names_its_task_unless_another_is_asked_for() -> None:
    assert RunTask().choice is None
    assert RunTask(task_seed=0).choice == TaskChoice(task_seed=0)
    assert RunTask(split="train").choice == TaskChoice(split="train")
    assert RunTask(task="{}").choice == TaskChoice(task="{}")


def test_arguments_are_merged_entry_by_entry() -> None:
    values: dict[str, Any] = {"a": 1, "b": {"c": 2, "d": {"e": 3}}}
    assert merged(values, {"b": {"d": {"f": 4}}}) == {"a": 1, "b": {"c": 2, "d": {"e": 3, "f": 4}}}
    assert values == {"a": 1, "b": {"c": 2, "d": {"e": 3}}}
    base = BaseLearner(net_arch=(8,), base_kwargs='{"policy_kwargs": {"ortho_init": false}}')
    assert base.kwargs()["policy_kwargs"] == {
        "net_arch": [8],
        "activation_fn": torch.nn.Tanh,
        "log_std_init": 0.0,
        "ortho_init": False,
    }


@pytest.mark.parametrize(
    "words",
    [
        ("--out", "PandaReach-v0", "PointNavigation-v0"),
        ("PointNavigation-v0", "--out", "PandaReach-v0"),
        ("--net-arch", "8", "8", "--policy", "CartPole-v0", "PointNavigation-v0"),
    ],
)
def test_the_preset_is_that_of_the_family(words: tuple[str, ...]) -> None:
    options, preset = parse_train(words), PRESETS["PointNavigation-v0", "MAML"]
    assert options.family == "PointNavigation-v0"
    assert options.total_timesteps == preset.total_timesteps
    assert options.config == preset.config


def test_arguments_of_the_presets_algorithm_are_not_given_to_another() -> None:
    words = ["PointNavigation-v0", "--learner", "Reptile"]
    preset = PRESETS["PointNavigation-v0", "Reptile"]
    assert parse_train(words).base.base_kwargs == preset.base.base_kwargs
    assert parse_train([*words, "--algorithm", "DQN"]).base.base_kwargs is None
    given = [*words, "--algorithm", "DQN", "--base-kwargs", '{"tau": 0.1}']
    assert parse_train(given).base.base_kwargs == '{"tau": 0.1}'


class TestAction:
    def test_is_a_setting_of_the_families_that_have_it(self) -> None:
        learner = build(parse_train(["LaikagoLocomotion-v0", "--action", "joints"]))
        assert learner.family.config["action"] == "joints"
        learner.close()
        with pytest.raises(TypeError, match="CartPole-v0 does not know action; it takes horizon"):
            build(parse_train(["CartPole-v0", "--action", "joints"]))
        with pytest.raises(ValueError, match="must be one of trot, residual, joints, got 'walk'"):
            build(parse_train(["A1Locomotion-v0", "--action", "walk"]))

    def test_arms_of_different_actions_are_not_compared(self, tmp_path: Path) -> None:
        plain, joints = (envs.make("A1Locomotion-v0", action=kind) for kind in ("trot", "joints"))
        for name, learner in (
            ("adapted", meta.MAML("PPO", "MlpPolicy", joints)),
            ("robust", meta.MAML("PPO", "MlpPolicy", plain, inner_steps=0)),
            ("oracle", meta.MAML("PPO", "MlpPolicy", joints, inner_steps=0)),
        ):
            learner.save(tmp_path / name)
            learner.close()
        files = [[tmp_path / f"{name}.safetensors"] for name in ("adapted", "robust", "oracle")]
        with pytest.raises(
            ValueError, match=r"robust.*other actions than .*: the usual and joints"
        ):
            load_arms(*files)

    def test_an_exported_policy_runs_with_its_own(self, tmp_path: Path) -> None:
        family = envs.make("A1Locomotion-v0", action="joints", horizon=5)
        learner = meta.MAML("PPO", "MlpPolicy", family)
        learner.save(tmp_path / "joints")
        model = learner.model_of(learner.initial_state(), family.sample(1, seed=0)[0])
        out = tmp_path / "policy.onnx"
        export_model(learner, model, tmp_path / "joints.safetensors", Adaptation(), out)
        learner.close()
        found = family_of(Policy(out), Run(policy=out))
        assert found.config == family.config


class TestRandomization:
    def family(self, *words: str) -> Any:
        learner = build(parse_train(["A1Locomotion-v0", "--randomization", *words]))
        learner.close()
        return learner.family

    def test_is_a_name_or_json(self) -> None:
        assert self.family("rma-2021").config["randomization"] == "rma-2021"
        text = '{"friction": {"distribution": "uniform", "numbers": [0.5, 1.25]}}'
        assert self.family(text).randomization == {"friction": envs.uniform(0.5, 1.25)}

    def test_mistakes_are_told(self) -> None:
        replaced = '{"payload": {"distribution": "uniform", "numbers": [0, 6]}}'
        for word, message in (
            ("tan", "there are tan-2018"),
            ("{a}", "a name or a JSON object"),
            (replaced, "payload is part of the task"),
        ):
            with pytest.raises(ValueError, match=message):
                self.family(word)

    def test_published_sets_are_named_in_the_help(self) -> None:
        text = inspect.getsource(Train)
        assert all(name in text for name in envs.PUBLISHED)

    def test_arms_of_different_worlds_are_not_compared(self, tmp_path: Path) -> None:
        varied = envs.make("CartPole-v0", randomization={"sensor_noise": envs.choice(0.1)})
        plain = envs.make("CartPole-v0")
        arms = {
            "adapted": meta.MAML("PPO", "MlpPolicy", varied),
            "robust": meta.MAML("PPO", "MlpPolicy", plain, inner_steps=0),
            "oracle": meta.MAML(
                "PPO", "MlpPolicy", varied.replace(reveal_task=True), inner_steps=0
            ),
        }
        for name, learner in arms.items():
            learner.save(tmp_path / name)
        files = {name: [tmp_path / f"{name}.safetensors"] for name in arms}
        with pytest.raises(ValueError, match=r"robust.*was trained with another randomization"):
            load_arms(files["adapted"], files["robust"], files["oracle"])
