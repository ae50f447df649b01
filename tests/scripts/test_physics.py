"""What was trained in one physics, adapted, exported, run and evaluated in another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metamotor import deploy, envs, meta
from metamotor.scripts.runs import read_json
from tests.scripts.conftest import Program

pytest.importorskip("metamotor.robots.mujoco", exc_type=ImportError)

ZOO = "zoo:PandaReach/maml"
FEW = ("--episodes", "2", "--physics", "mujoco")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained policies of the three arms: what they know does not matter here."""
    folder = tmp_path_factory.mktemp("checkpoints")
    family = envs.make("PandaReach-v0", horizon=5)

    def saved(name: str, of: Any, **settings: Any) -> Path:
        return meta.MAML("PPO", "MlpPolicy", of, **settings).save(folder / name)

    return {
        "adapted": saved("adapted", family),
        "robust": saved("robust", family, inner_steps=0),
        "oracle": saved("oracle", family.replace(reveal_task=True), inner_steps=0),
    }


def test_a_checkpoint_is_adapted_there(metamotor: Program, tmp_path: Path) -> None:
    tables = []
    for words in ((), ("--physics", "mujoco")):
        done = metamotor(
            *("adapt", "--from", ZOO, "--episodes", "2", "--measured-episodes", "2", *words),
            *("--overwrite", "--out", tmp_path / "adapted.zip"),
        )
        assert done.code == 0, done.err
        tables.append(done.out)
    assert "PandaReach-v0, ReachTask" in tables[0]
    assert "PandaReach-v0 in mujoco, ReachTask" in tables[1]
    rows = [next(row for row in out.splitlines() if "deterministic" in row) for out in tables]
    assert rows[0] != rows[1]
    assert "--physics mujoco" in tables[1].splitlines()[-1]


def test_a_policy_file_says_where_it_was_adapted_and_runs_there(
    metamotor: Program, tmp_path: Path
) -> None:
    file = tmp_path / "reach.onnx"
    assert metamotor("export", "--from", ZOO, *FEW, "--out", file).code == 0
    assert deploy.runtime.Policy(file).metadata["physics"] == "mujoco"
    returns = {}
    for words in ((), ("--physics", "mujoco"), ("--physics", "pybullet")):
        done = metamotor("run", file, "--episodes", "1", *words)
        assert done.code == 0, done.err
        first, second, *_ = done.out.splitlines()
        returns[words] = second
        assert first.startswith(
            "PandaReach-v0 in mujoco" if "pybullet" not in words else "PandaReach-v0,"
        )
    assert returns[()] == returns["--physics", "mujoco"] != returns["--physics", "pybullet"]


@pytest.mark.slow
def test_an_evaluation_says_where_it_was(
    metamotor: Program, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    arms = [word for name, path in checkpoints.items() for word in (f"--{name}", path)]
    small = ("--num-tasks", "2", "--validation-tasks", "2", "--support-episodes", "2")
    done = metamotor(
        *("evaluate", *arms, *small, "--query-episodes", "2", "--num-updates", "1"),
        *("--physics", "mujoco", "--out", tmp_path / "there"),
    )
    assert done.code == 0, done.err
    assert "PandaReach-v0 in mujoco, MAML" in done.out
    assert read_json(tmp_path / "there" / "report.json")["physics"] == "mujoco"
    assert read_json(tmp_path / "there" / "evaluation-0.json")["physics"] == "mujoco"


def test_a_family_of_one_physics_refuses(metamotor: Program, tmp_path: Path) -> None:
    done = metamotor(
        *("adapt", "--from", "zoo:CartPole/maml", "--physics", "mujoco"),
        *("--out", tmp_path / "adapted.zip"),
    )
    assert done.code == 2
    assert "physics of CartPole-v0 must be pybullet, got 'mujoco'" in done.err


class TestLearner:
    def test_adapts_to_an_environment_in_another_physics(self) -> None:
        learner = meta.MAML.load(ZOO)
        there = learner.family.replace(physics="mujoco")
        env = there.make_env()
        env.set_task(there.sample(1, split="test", seed=0)[0])
        model = learner.adapt(env, episodes=2)
        assert model.env is not None
        env.close()

    def test_moves_to_another_physics_and_says_so_in_its_checkpoints(self, tmp_path: Path) -> None:
        learner = meta.MAML.load(ZOO)
        learner.move_to(learner.family.replace(physics="mujoco"))
        again = meta.MAML.load(learner.save(tmp_path / "moved"))
        assert again.family.physics == "mujoco"

    def test_does_not_move_to_another_family(self) -> None:
        learner = meta.MAML.load(ZOO)
        with pytest.raises(ValueError, match="of PandaReach-v0, got KukaReach-v0"):
            learner.move_to(envs.make("KukaReach-v0"))
        with pytest.raises(ValueError, match="observation_space"):
            learner.move_to(learner.family.replace(reveal_task=True))
