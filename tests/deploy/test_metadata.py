"""What a policy file says about itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.wrappers import RescaleAction
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from metamotor import deploy, envs
from metamotor.deploy.graph import PolicyGraph
from metamotor.deploy.metadata import describe, weights_sha256
from metamotor.deploy.observations import pipeline_of
from metamotor.deploy.runtime import Policy
from metamotor.envs import TaskFamily
from tests.deploy.conftest import (
    BOX,
    SIZE,
    Exporter,
    make_model,
    predict,
    sample,
)


@pytest.fixture(scope="module")
def family() -> TaskFamily:
    return envs.make("PointNavigation-v0")


def ppo_on(make_envs: list[Callable[[], Any]]) -> Any:
    return PPO("MlpPolicy", DummyVecEnv(make_envs), device="cpu", seed=0)


def described(model: Any, task: Any = None) -> dict[str, Any]:
    pipeline = pipeline_of(model, None)
    return describe(model, PolicyGraph(model, pipeline), pipeline, task=task, extra={})


def test_metadata_of_a_task_family(exported: Exporter, family: TaskFamily) -> None:
    model = ppo_on([family.make_env])
    task = family.sample(1, split="test", seed=7)[0]
    model.get_env().envs[0].unwrapped.set_task(task)
    metadata = exported(model).metadata
    assert metadata["format"] == 2
    assert metadata["algorithm"] == "PPO"
    assert metadata["family"] == "PointNavigation-v0"
    assert metadata["control_period"] == family.dt
    assert type(task).from_json(json.dumps(metadata["task"])) == task
    names = [(s.name, s.unit, s.low, s.high) for s in family.signals]
    assert [tuple(s.values()) for s in metadata["observations"]] == names
    names = [(s.name, s.unit, s.low, s.high) for s in family.action_signals]
    assert [tuple(s.values()) for s in metadata["actions"]] == names
    assert metadata["action_space"]["low"] == family.action_space.low.tolist()
    assert set(metadata["versions"]) == {"metamotor", "torch", "stable_baselines3", "onnx"}
    assert metadata["parity"]["observations"] == 1000


def test_names_reach_through_the_normaliser_and_with_the_task_revealed(family: TaskFamily) -> None:
    oracle = family.replace(reveal_task=True)
    env = VecNormalize(DummyVecEnv([oracle.make_env]))
    model = PPO("MlpPolicy", env, device="cpu")
    task = family.sample(1, seed=1)[0]
    metadata = described(model, task)
    assert [s["name"] for s in metadata["observations"]] == [s.name for s in oracle.signals]
    assert metadata["control_period"] == family.dt
    assert metadata["task"] == {"goal_x": task.goal_x, "goal_y": task.goal_y}


def test_a_wrapper_that_changes_a_space_loses_the_names(family: TaskFamily) -> None:
    model = ppo_on([lambda: RescaleAction(family.make_env(), np.float32(-2.0), np.float32(2.0))])
    metadata = described(model)
    assert metadata["observations"][0]["name"] == family.signals[0].name
    assert metadata["actions"][0] == {"name": "action.0", "unit": None, "low": -2.0, "high": 2.0}


def test_environments_with_tasks_of_their_own_give_none(family: TaskFamily) -> None:
    model = ppo_on([family.make_env, family.make_env])
    tasks = family.sample(2, seed=0)
    for env, task in zip(model.get_env().envs, tasks, strict=True):
        env.unwrapped.set_task(task)
    assert described(model)["task"] is None


def test_generic_names_and_unbounded_signals(policy: Policy) -> None:
    metadata = policy.metadata
    assert policy.observation_names == tuple(f"obs.{i}" for i in range(SIZE))
    assert policy.action_names == ("action.0", "action.1", "action.2")
    assert metadata["observations"][0] == {"name": "obs.0", "unit": None, "low": None, "high": None}
    # Full precision: the float32 bound comes back bit for bit.
    assert [np.float32(action["low"]) for action in metadata["actions"]] == BOX.low.tolist()
    assert metadata["task"] is metadata["family"] is policy.control_period is None


def test_a_model_without_environment(exported: Exporter, ppo: PPO, tmp_path: Path) -> None:
    ppo.save(tmp_path / "ppo.zip")
    loaded = PPO.load(tmp_path / "ppo.zip", device="cpu")
    policy = exported(loaded, normalizer=ppo.get_vec_normalize_env())
    observations = sample(ppo)
    np.testing.assert_allclose(policy(observations), predict(ppo, observations), atol=2e-6)
    assert policy.metadata["weights_sha256"] == weights_sha256(ppo.policy)


def test_the_hash_follows_the_weights() -> None:
    model = make_model("PPO", "Box")
    first = weights_sha256(model.policy)
    assert first == weights_sha256(make_model("PPO", "Box").policy)
    model.policy.action_net.bias.data[0] += 1e-3
    assert first != weights_sha256(model.policy)


def test_metadata_of_the_caller(exported: Exporter, ppo: PPO) -> None:
    actions = [{"name": f"joint.{i}", "unit": "rad", "low": -1.0, "high": 1.0} for i in range(3)]
    extra = {"actions": actions, "control_period": 0.02, "joint_names": ["a", "b", "c"]}
    policy = exported(ppo, metadata=extra, task={"mass": 1 / 3})
    assert policy.action_names == ("joint.0", "joint.1", "joint.2")
    assert policy.control_period == 0.02
    assert policy.metadata["joint_names"] == ["a", "b", "c"]
    assert policy.metadata["task"] == {"mass": 1 / 3}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"metadata": {"parity": 0, "format": 2}}, "must not set format, parity"),
        ({"metadata": {"actions": [{"name": "a"}]}}, "must list 3 signals"),
        ({"metadata": {"observations": "abc"}}, "must list 7 signals"),
        ({"metadata": {"mass": float("nan")}}, "finite numbers only"),
        ({"metadata": {"control_period": -0.1}}, "control_period"),
        ({"metadata": {"robot": object()}}, "what JSON can"),
        ({"task": {"mass": float("inf")}}, "finite numbers only"),
        ({"task": 3}, "task must have to_json"),
    ],
)
def test_metadata_refused(tmp_path: Path, ppo: PPO, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deploy.export(ppo, tmp_path / "policy.onnx", **kwargs)
    assert list(tmp_path.iterdir()) == []
