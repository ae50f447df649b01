"""A file is checked against what it stores, against its model, on recorded observations and in an episode."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from stable_baselines3 import PPO

from metamotor import deploy, envs
from metamotor.deploy.metadata import graph_sha256
from metamotor.deploy.runtime import Policy
from tests.deploy.conftest import BOX, SIZE, Noise, make_model, sample


def test_a_file_repeats_itself_and_its_model(policy: Policy, ppo: PPO) -> None:
    found = deploy.verify(policy.path)
    assert (found.steps, found.parity) == (8, None)
    assert found.stored_error <= 1e-5
    found = deploy.verify(policy.path, ppo, observations=sample(ppo, 20))
    assert found.parity is not None
    assert found.parity.recorded == 20
    assert found.parity.passed


def changed(policy: Policy, path: Path, *, rehash: bool) -> Path:
    """A copy with its largest weights off by a thousandth."""
    model = onnx.load(policy.path)
    weights = max(model.graph.initializer, key=lambda item: np.prod(item.dims))
    values = numpy_helper.to_array(weights) * np.float32(1.001)
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    if rehash:
        metadata = policy.metadata | {"graph_sha256": graph_sha256(model)}
        onnx.helper.set_model_props(model, {"metamotor": json.dumps(metadata)})
    onnx.save(model, path)
    return path


def test_a_changed_file_is_found_out(policy: Policy, ppo: PPO, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="was changed after it was written"):
        deploy.verify(changed(policy, tmp_path / "a.onnx", rehash=False))
    with pytest.raises(ValueError, match="does not repeat what is stored in it: it differs by"):
        deploy.verify(changed(policy, tmp_path / "b.onnx", rehash=True))


def test_another_model_is_told_apart(policy: Policy) -> None:
    other = make_model("PPO", "Box", normalize=True, seed=1)
    with pytest.raises(ValueError, match="is of another model"):
        deploy.verify(policy.path, other)


def test_other_statistics_are_found_out(policy: Policy, ppo: Any) -> None:
    other = make_model("PPO", "Box", normalize=True).get_vec_normalize_env()
    other.obs_rms.mean += 0.5
    with pytest.raises(ValueError, match=r"policy\.onnx differs from PPO\.predict by"):
        deploy.verify(policy.path, ppo, normalizer=other)


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (np.zeros((4, SIZE + 1)), r"shape \(N, 7\), got float64 of shape \(4, 8\)"),
        (np.full((4, SIZE), np.nan), "must be finite"),
        ({"a": np.zeros((4, SIZE))}, "must be of observation, got a"),
    ],
)
def test_recorded_observations_are_checked(
    tmp_path: Path, ppo: PPO, observations: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        deploy.export(ppo, tmp_path / "policy.onnx", observations=observations)


def test_an_episode_is_simulated_in_a_new_environment(tmp_path: Path) -> None:
    family = envs.make("PointNavigation-v0")
    model = PPO("MlpPolicy", family.make_env(), seed=0, device="cpu")
    own: Any = model.get_env()

    def stepped(*args: Any) -> Any:
        raise AssertionError("the model's own environment may be a robot")

    own.step = own.reset = stepped
    own.envs[0].step = own.envs[0].reset = stepped
    policy = Policy(deploy.export(model, tmp_path / "policy.onnx"))
    assert policy.metadata["parity"]["episode_steps"] == family.horizon


def test_an_environment_that_does_not_fit_is_refused(tmp_path: Path, ppo: PPO) -> None:
    other = envs.make("PointNavigation-v0").make_env
    with pytest.raises(ValueError, match="simulate made an environment that observes"):
        deploy.export(ppo, tmp_path / "policy.onnx", simulate=other)


def test_the_model_s_own_unknown_environment_is_not_stepped(policy: Policy) -> None:
    assert policy.metadata["parity"]["episode_steps"] == 0
    assert Noise(BOX).spec is None
