"""What export refuses, and what it writes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
import sb3_contrib
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper, VecNormalize

from metamotor import deploy
from metamotor.deploy import exporter, tracing
from metamotor.deploy.parity import Parity
from metamotor.deploy.runtime import Policy
from tests.deploy.conftest import (
    ACTION_SPACES,
    BOX,
    SIZE,
    Noise,
    make_model,
)


def test_one_file_that_the_checker_accepts(
    tmp_path: Path, ppo: PPO, capfd: pytest.CaptureFixture[str]
) -> None:
    path = deploy.export(ppo, str(tmp_path / "policy.onnx"))
    assert list(tmp_path.iterdir()) == [path]
    assert capfd.readouterr().out == ""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", tracing.OPSET)]
    assert [item.name for item in model.graph.input] == ["observation"]
    assert [item.name for item in model.graph.output] == ["action"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert all(not node.metadata_props and not node.doc_string for node in model.graph.node)
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_file_holds_no_path_of_this_machine(policy: Policy) -> None:
    content = policy.path.read_bytes()
    assert sys.prefix.encode() not in content
    assert b".py" not in content


def test_the_value_network_is_not_in_the_file(policy: Policy, ppo: PPO) -> None:
    initializers = onnx.load(policy.path).graph.initializer
    stored = sum(np.prod(item.dims) for item in initializers if item.data_type == 1 and item.dims)
    actor = [*ppo.policy.mlp_extractor.policy_net.parameters(), *ppo.policy.action_net.parameters()]
    bounds = 2 * BOX.low.size
    # Biases that are zero are left out.
    assert 0 < stored <= sum(value.numel() for value in actor) + bounds


def test_export_leaves_the_model_and_the_random_numbers_alone(tmp_path: Path) -> None:
    model = make_model("PPO", "Box", normalize=True)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    statistics = model.get_vec_normalize_env().obs_rms.mean.copy()
    torch.manual_seed(3)
    np.random.seed(3)
    deploy.export(model, tmp_path / "policy.onnx")
    drawn = torch.rand(1), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    assert drawn == (torch.rand(1), np.random.rand())
    assert all(
        torch.equal(before[name], value) for name, value in model.policy.state_dict().items()
    )
    assert all(value.requires_grad for value in model.policy.parameters())
    np.testing.assert_array_equal(statistics, model.get_vec_normalize_env().obs_rms.mean)


def test_the_same_model_gives_the_same_file(tmp_path: Path, ppo: PPO, policy: Policy) -> None:
    again = deploy.export(ppo, tmp_path / "new" / "policy.onnx")  # in a folder that it makes
    assert again.read_bytes() == policy.path.read_bytes()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is a directory"),
        ("policy.pt", r"must be called \*\.onnx, got .*policy\.pt"),
    ],
)
def test_paths_refused_before_any_work(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deploy.export(cast(Any, None), tmp_path / name)


def test_algorithms_with_policies_of_another_kind_are_refused(tmp_path: Path) -> None:
    env = DummyVecEnv([lambda: Noise(ACTION_SPACES["Discrete"])])
    for algorithm in (sb3_contrib.QRDQN, sb3_contrib.ARS):
        model = algorithm("MlpPolicy", env, device="cpu")
        message = f"cannot export {algorithm.__name__} .*this release exports PPO, A2C, TRPO, Rec"
        with pytest.raises(ValueError, match=message):
            deploy.export(model, tmp_path / "policy.onnx")
    assert list(tmp_path.iterdir()) == []


def test_masked_policies_are_refused(tmp_path: Path) -> None:
    env = DummyVecEnv([lambda: Noise(ACTION_SPACES["Discrete"])])
    masked = sb3_contrib.MaskablePPO("MlpPolicy", env, device="cpu")
    with pytest.raises(ValueError, match="cannot export MaskablePPO with a MaskableActorCritic"):
        deploy.export(masked, tmp_path / "policy.onnx")


@pytest.mark.parametrize("path", ["runs/ppo.zip", Path("runs/ppo.zip")])
def test_a_path_in_place_of_a_model_is_told_apart(tmp_path: Path, path: Any) -> None:
    with pytest.raises(ValueError, match=r"takes a model, got the path 'runs/ppo\.zip' for one"):
        deploy.export(path, tmp_path / "policy.onnx")


@pytest.mark.parametrize("thing", [None, 3, torch.nn.Linear(2, 2)], ids=str)
def test_what_is_no_model_is_refused(tmp_path: Path, thing: Any) -> None:
    with pytest.raises(ValueError, match=f"cannot export {type(thing).__name__}; this release"):
        deploy.export(thing, tmp_path / "policy.onnx")


def test_weights_and_statistics_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = make_model("PPO", "Box", normalize=True)
    model.get_vec_normalize_env().obs_rms.mean[2] = np.nan
    with pytest.raises(ValueError, match="statistics are not finite"):
        deploy.export(model, tmp_path / "policy.onnx")
    model.policy.action_net.bias.data[1] = np.inf
    with pytest.raises(ValueError, match=r"not finite: action_net\.bias"):
        deploy.export(model, tmp_path / "policy.onnx")


class Unknown(VecEnvWrapper):
    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()


def test_a_normaliser_inside_of_an_unknown_wrapper_is_refused(tmp_path: Path) -> None:
    env = Unknown(VecNormalize(DummyVecEnv([lambda: Noise(ACTION_SPACES["Box"])])))
    model = PPO("MlpPolicy", env, device="cpu")
    with pytest.raises(ValueError, match="a VecNormalize stands inside of a Unknown"):
        deploy.export(model, tmp_path / "policy.onnx")


def test_a_key_that_the_graph_needs_itself_is_refused(tmp_path: Path) -> None:
    space = spaces.Dict({"action": spaces.Box(-1, 1, (2,)), "b": spaces.Box(-1, 1, (2,))})
    env = DummyVecEnv([lambda: Noise(ACTION_SPACES["Box"], space)])
    model = PPO("MultiInputPolicy", env, device="cpu")
    with pytest.raises(ValueError, match="an observation with the keys action"):
        deploy.export(model, tmp_path / "policy.onnx")


def test_a_normaliser_of_another_size_is_refused(tmp_path: Path, ppo: PPO) -> None:
    space = spaces.Box(-1, 1, (SIZE + 1,))
    other = VecNormalize(DummyVecEnv([lambda: Noise(ACTION_SPACES["Box"], space)]))
    with pytest.raises(ValueError, match=r"statistics of shape \(8,\).*shape \(7,\)"):
        deploy.export(ppo, tmp_path / "policy.onnx", normalizer=other)


class Unexportable(BaseFeaturesExtractor):
    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, SIZE)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return observations if float(observations.sum()) > 0 else -observations


def test_a_module_that_onnx_cannot_express_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = make_model("PPO", "Box", policy_kwargs={"features_extractor_class": Unexportable})
    with pytest.raises(ValueError, match=r"cannot express this policy in ONNX.*Unexportable"):
        deploy.export(model, tmp_path / "policy.onnx")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""


@pytest.fixture
def exported_before(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the second that torch takes to export the same model once more."""
    monkeypatch.setattr(exporter, "to_onnx", lambda graph: onnx.load(policy.path))


@pytest.mark.usefixtures("exported_before")
@pytest.mark.parametrize("stage", ["measure", "replace", "open"])
def test_a_failed_export_leaves_the_old_file(
    tmp_path: Path, ppo: PPO, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    path = tmp_path / "policy.onnx"
    path.write_bytes(b"old")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left")

    if stage == "measure":
        monkeypatch.setattr(exporter, "measure", lambda *a, **k: Parity(1000, 2e-6, 1e-6, 3e-7))
    elif stage == "replace":
        monkeypatch.setattr(os, "replace", fail)
    else:
        monkeypatch.setattr(deploy.runtime, "open_policy", fail)
    with pytest.raises((ValueError, OSError), match=r"no file was written|no space left"):
        deploy.export(ppo, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("exported_before")
def test_a_new_export_replaces_the_old_file(tmp_path: Path, ppo: PPO, policy: Policy) -> None:
    path = tmp_path / "policy.onnx"
    path.write_bytes(b"old")
    deploy.export(ppo, path)
    assert path.read_bytes() == policy.path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


BLOCKED = (
    "torch",
    "onnx",
    "onnxscript",
    "gymnasium",
    "pybullet",
    "stable_baselines3",
    "sb3_contrib",
)
ROBOT = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
from metamotor import deploy
policy = deploy.runtime.Policy({path!r})
print(policy([0.5] * policy.observation_size).tolist())
try:
    deploy.export
except ImportError as error:
    print(error)
print(sorted(set(sys.modules) & set({blocked!r})))
"""


def test_a_robot_needs_numpy_and_onnxruntime_only(policy: Policy) -> None:
    code = ROBOT.format(blocked=BLOCKED, path=str(policy.path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    action, refusal, loaded = done.stdout.strip().splitlines()
    assert action == str(policy([0.5] * SIZE).tolist())
    assert "deploy.export needs torch" in refusal
    assert "is not installed" in refusal
    assert loaded == "[]"


def test_the_package_has_no_other_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'exports'"):
        _ = deploy.exports
