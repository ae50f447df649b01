"""A policy on the robot: what it takes, what it refuses, and what it says."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from metamotor.deploy.runtime import Policy, RecurrentPolicy, open_policy
from tests.deploy.conftest import ACTION_SPACES, SIZE, Exporter, Noise, make_model, sample

Change = Callable[[dict[str, Any]], Any]


def test_batch_and_single_agree(policy: Policy, ppo: PPO) -> None:
    observations = sample(ppo, n=50)
    batch = policy(observations)
    assert batch.shape == (50, 3)
    for row, action in zip(observations, batch, strict=True):
        assert policy(row).shape == (3,)
        np.testing.assert_allclose(policy(row), action, atol=2e-6)
    assert policy(observations[:0]).shape == (0, 3)


def test_a_single_choice_is_one_number(exported: Exporter) -> None:
    policy = exported(make_model("PPO", "Discrete"))
    action = policy(np.zeros(SIZE))
    assert action.shape == ()
    assert isinstance(int(action), int)
    assert policy(np.zeros((4, SIZE))).shape == (4,)
    assert policy.action_size == 1
    assert policy.metadata["actions"] == [
        {"name": "action.0", "unit": "index", "low": 0.0, "high": 4.0}
    ]


def test_number_types_are_converted(policy: Policy) -> None:
    values = np.arange(SIZE)
    expected = policy(values.astype(np.float32))
    for given in (values, values.astype(np.float64), values.tolist(), values.astype(np.float16)):
        np.testing.assert_array_equal(policy(given), expected)
    strided = np.arange(2 * SIZE, dtype=np.float32)[::2] / 2
    np.testing.assert_array_equal(policy(strided), expected)


def test_the_action_is_the_caller_s_own(policy: Policy) -> None:
    first = policy(np.zeros(SIZE))
    kept = first.copy()
    first += 100.0
    policy(np.ones(SIZE))
    np.testing.assert_array_equal(policy(np.zeros(SIZE)), kept)


@pytest.mark.parametrize(
    "shape", [(), (SIZE - 1,), (SIZE + 1,), (2, SIZE - 1), (1, 1, SIZE), (0,)], ids=str
)
def test_wrong_shapes_are_refused(policy: Policy, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(7,\) or a batch of shape \(N, 7\), got \("):
        policy(np.zeros(shape))


def test_what_reset_returns_is_told_apart(policy: Policy) -> None:
    observation = np.zeros(SIZE, dtype=np.float32)
    with pytest.raises(
        ValueError, match=r"a tuple of 2 with an info .*`observation, info = env\.reset"
    ):
        policy((observation, {}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got a list of 2 parts that differ in length"):
        policy([observation, observation[1:]])


@pytest.mark.parametrize("dtype", [bool, complex, "U3", object])
def test_wrong_types_are_refused(policy: Policy, dtype: Any) -> None:
    with pytest.raises(ValueError, match="expects an observation of real numbers, got dtype"):
        policy(np.zeros(SIZE, dtype=dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_entries_that_are_not_finite_are_named(policy: Policy, value: float) -> None:
    observation = np.zeros(SIZE)
    observation[[2, 5]] = value
    with pytest.raises(ValueError, match=r"not finite: obs\.2 = .*, obs\.5 = ") as refusal:
        policy(observation)
    assert str(value) in str(refusal.value)
    with pytest.raises(ValueError, match=r"obs\.5 = \S+ \(row 1\)$"):
        policy(np.stack([np.zeros(SIZE), observation]))
    with pytest.raises(ValueError, match=r"obs\.0 = nan \(row 1\) and 6 more"):
        policy(np.full((2, SIZE), np.nan))


def test_threads_may_share_a_policy(policy: Policy, ppo: PPO) -> None:
    observations = sample(ppo, n=200)
    expected = [policy(row) for row in observations]
    with ThreadPoolExecutor(4) as pool:
        for action, alone in zip(pool.map(policy, observations), expected, strict=True):
            np.testing.assert_array_equal(action, alone)


def test_what_it_says(policy: Policy) -> None:
    assert policy.observation_size == SIZE
    assert policy.action_size == 3
    assert repr(policy) == f"Policy({str(policy.path)!r}: PPO, 7 -> 3)"


def test_benchmark(policy: Policy) -> None:
    latency = policy.benchmark(200)
    assert 0 < latency.p50 <= latency.p99
    with pytest.raises(ValueError, match="at least 1, got 0"):
        policy.benchmark(0)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_threads_are_checked(policy: Policy, threads: Any) -> None:
    with pytest.raises(ValueError, match="threads must be a whole number"):
        Policy(policy.path, threads=threads)
    Policy(policy.path, threads=2)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no policy file .*absent\.onnx"):
        Policy(tmp_path / "absent.onnx")
    with pytest.raises(ValueError, match="is a directory"):
        Policy(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_truncated_files_are_refused(
    policy: Policy, tmp_path: Path, capfd: pytest.CaptureFixture[str], share: float
) -> None:
    content = policy.path.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"cut\.onnx") as refusal:
        Policy(path)
    assert type(refusal.value) is ValueError
    assert capfd.readouterr() == ("", "")


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.onnx"
    path.write_text("not a model")
    with pytest.raises(ValueError, match=r"\(11 bytes\) is damaged, is not an ONNX file"):
        Policy(path)


def test_a_damaged_name_is_refused_in_silence(
    policy: Policy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "damaged.onnx"
    # Not UTF-8, upon which onnxruntime would print and try the same again.
    path.write_bytes(policy.path.read_bytes().replace(b"observation", b"observ\xfftion"))
    with pytest.raises(ValueError, match=r"damaged\.onnx"):
        Policy(path)
    assert capfd.readouterr() == ("", "")


def resave(policy: Policy, path: Path, change: Change) -> Path:
    """Save the policy with its metadata changed by `change`; None drops it."""
    model = onnx.load(policy.path)
    metadata = change(dict(policy.metadata))
    model.ClearField("metadata_props")
    if metadata is not None:
        text = metadata if isinstance(metadata, str) else json.dumps(metadata)
        onnx.helper.set_model_props(model, {"metamotor": text})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda metadata: None, "not a metamotor policy: it has no metadata"),
        (lambda metadata: "{", "not a metamotor policy"),
        (lambda metadata: [1], "not a metamotor policy"),
        (lambda metadata: metadata | {"format": 3}, "has format 3, .* format 2; upgrade"),
        (lambda metadata: metadata | {"format": 1}, "has format 1, .* format 2; export it again"),
        (lambda metadata: metadata | {"inputs": None}, "does not say what its graph takes"),
        (lambda metadata: metadata | {"state": [{"input": "h"}]}, "has a memory"),
        (lambda metadata: metadata | {"noise": {"shape": [3]}}, "what its state and its noise are"),
        (lambda metadata: metadata | {"actions": None}, "names no actions"),
        (
            lambda metadata: metadata | {"observations": metadata["observations"][1:]},
            "not consistent: its metadata names 6 observations",
        ),
    ],
)
def test_files_of_others_are_refused(
    policy: Policy, tmp_path: Path, change: Change, message: str
) -> None:
    path = resave(policy, tmp_path / "changed.onnx", change)
    with pytest.raises(ValueError, match=message):
        Policy(path)


def test_an_unchanged_copy_opens(policy: Policy, tmp_path: Path) -> None:
    copy = Policy(resave(policy, tmp_path / "copy.onnx", lambda metadata: metadata))
    assert copy.metadata == policy.metadata


def test_a_file_without_memory_is_told_apart(policy: Policy) -> None:
    assert type(open_policy(policy.path)) is Policy
    with pytest.raises(ValueError, match=r"has no memory: open it with deploy\.runtime\.Policy"):
        RecurrentPolicy(policy.path)


@pytest.fixture(scope="module")
def seeing(exported: Exporter) -> Policy:
    """A policy that observes an image, a vector and a choice."""
    space = spaces.Dict(
        {
            "camera": spaces.Box(0, 255, (36, 36, 3), np.uint8),
            "cat": spaces.Box(-1, 1, (4,)),  # as the exporter calls what it concatenates
            "mode": spaces.Discrete(3),
        }
    )
    env = DummyVecEnv([lambda: Noise(ACTION_SPACES["Box"], space)])
    return exported(PPO("MultiInputPolicy", env, seed=0, device="cpu"))


def seen(**changes: Any) -> dict[str, Any]:
    camera = np.zeros((36, 36, 3), np.uint8)
    return {"camera": camera, "cat": np.zeros(4), "mode": 2} | changes


def test_a_dictionary_is_observed_by_its_keys(seeing: Policy) -> None:
    assert seeing.observation_shapes == {"camera": (36, 36, 3), "cat": (4,), "mode": ()}
    assert seeing.observation_names == ("camera", *(f"cat.{i}" for i in range(4)), "mode.0")
    single = seeing(seen())
    batch = {name: np.stack([value] * 2) for name, value in seen().items()}
    np.testing.assert_allclose(seeing(batch), [single, single], atol=1e-6)
    assert np.abs(seeing(seen(mode=0)) - single).max() > 0


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (np.zeros(4), "expects a dictionary of camera, cat, mode, got ndarray"),
        ({"cat": np.zeros(4)}, "expects a dictionary of camera, cat, mode, got cat"),
        (seen(camera=np.zeros((36, 36, 3))), "expects 'camera' of uint8, got dtype float64"),
        (seen(camera=np.zeros((3, 36, 36), np.uint8)), r"shape \(36, 36, 3\) or a batch"),
        (seen(cat=np.full(4, np.nan)), r"not finite: cat\.0 = nan"),
        (seen(mode=3), "expects 'mode' from 0 to 2, got 3"),
        (seen(mode=1.0), "expects 'mode' of int64, got dtype float64"),
        (seen(mode=np.zeros(2, np.int64)), "got batches of several sizes"),
    ],
)
def test_parts_that_are_wrong_are_named(seeing: Policy, observation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seeing(observation)


def test_a_weight_with_a_bit_turned_is_found_out(policy: Policy, tmp_path: Path) -> None:
    """onnxruntime takes any number for a weight."""
    content = bytearray(policy.path.read_bytes())
    model = onnx.load_from_string(bytes(content))
    weights = max(model.graph.initializer, key=lambda own: len(own.raw_data)).raw_data
    content[content.index(weights) + 1001] ^= 4
    path = tmp_path / "policy.onnx"
    path.write_bytes(content)
    for opened in (Policy, open_policy):
        with pytest.raises(ValueError, match="was changed after it was written: its graph is not"):
            opened(path)
