"""Every meta-learner goes the whole way on the command line: train, adapt, export, run, evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest

from metamotor.scripts.presets import preset
from metamotor.scripts.train import build, parse_train
from tests.scripts.conftest import Program

COMMON = (
    *("PointNavigation-v0", "--total-timesteps", "400", "--horizon", "20", "--quiet"),
    *("--meta-batch-size", "2", "--net-arch", "8"),
    *("--validation-interval", "1", "--validation-tasks", "2", "--validation-episodes", "2"),
)
OWN = {
    "MAML": ("--episodes-per-task", "3"),
    "Reptile": ("--episodes-per-task", "3", "--inner-steps", "2"),
    "ES": ("--episodes-per-task", "3", "--population", "4"),
    "MPO": ("--episodes-per-trial", "2", "--hidden-size", "8"),
}
each_learner = pytest.mark.parametrize("learner", OWN)


@each_learner
def test_options_start_from_the_preset(learner: str) -> None:
    options = parse_train(["PandaReach-v0", "--learner", learner])
    start = preset("PandaReach-v0", learner)
    assert (options.config, options.base) == (start.config, start.base)
    assert parse_train([f"--learner={learner}", "PandaReach-v0"]) == options


@each_learner
def test_options_reach_the_learner(learner: str) -> None:
    made = build(parse_train([*COMMON, "--learner", learner, *OWN[learner], "--gamma", "0.8"]))
    assert type(made).__name__ == learner
    assert made.config.meta_batch_size == 2
    assert made.base_kwargs["gamma"] == 0.8


@pytest.mark.slow
@each_learner
def test_from_training_to_the_policy_file(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path, learner: str
) -> None:
    run, file = tmp_path / "run", tmp_path / "policy.onnx"
    done = metamotor("train", *COMMON, "--learner", learner, *OWN[learner], "--out", run)
    assert done.code == 0, done.err
    done = metamotor("adapt", "--from", run, "--episodes", "2", "--out", tmp_path / "adapted.zip")
    assert done.code == 0, done.err
    assert "deterministic" in done.out
    done = metamotor("export", "--from", run, "--episodes", "2", "--out", file)
    assert done.code == 0, done.err
    done = metamotor("run", file, "--episodes", "1", "--fast")
    assert done.code == 0, done.err
    assert "returns of 1 episode" in done.out
    done = metamotor(
        *("evaluate", "--adapted", run, "--robust", arms["robust"], "--oracle", arms["oracle"]),
        *("--num-tasks", "4", "--validation-tasks", "2", "--support-episodes", "2"),
        *("--query-episodes", "2", "--out", tmp_path / "evaluation"),
    )
    assert done.code == 0, done.err
    assert f"PointNavigation-v0, {learner}: returns on 4 test tasks" in done.out
