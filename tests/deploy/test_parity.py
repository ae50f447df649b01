"""The file does what the model does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sb3_contrib
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from metamotor import deploy
from metamotor.deploy import parity
from metamotor.deploy.graph import PolicyGraph
from metamotor.deploy.observations import pipeline_of, statistics_of
from metamotor.deploy.runtime import Policy, open_policy
from metamotor.deploy.sequences import random_sequences
from metamotor.deploy.tracing import to_onnx
from tests.deploy.conftest import BOX, SIZE, Exporter, Noise, make_model, predict, sample


def assert_same_actions(
    model: Any,
    policy: Policy,
    tolerance: float = 4e-6,
    observations: NDArray[Any] | None = None,
) -> None:
    """Compare batches and single rows with `predict`, on continuous actions up to a share of half their range."""
    if observations is None:
        observations = sample(model)
    expected = predict(model, observations)
    space = model.action_space
    flat = observations.reshape(len(observations), -1)
    batch = policy(flat)
    single = np.stack([policy(row) for row in flat])
    if isinstance(space, spaces.Box):
        half = (space.high - space.low).flatten() / 2
        for actions in (batch, single):
            assert actions.dtype == np.float32
            error = np.abs(actions - expected.reshape(actions.shape)) / half
            assert error.max() <= tolerance
            assert np.all(actions >= space.low.flatten())
            assert np.all(actions <= space.high.flatten())
    else:
        assert batch.dtype == single.dtype == np.int64
        np.testing.assert_array_equal(batch, expected)
        np.testing.assert_array_equal(single, expected)
    assert len(np.unique(expected.reshape(len(expected), -1), axis=0)) > 1, (
        "a constant tests nothing"
    )


@pytest.mark.parametrize("normalize", [False, True], ids=["raw", "normalized"])
@pytest.mark.parametrize("action", ["Box", "Discrete"])
@pytest.mark.parametrize("algorithm", ["PPO", "A2C"])
def test_actions_are_those_of_predict(
    exported: Exporter, algorithm: Any, action: str, normalize: bool
) -> None:
    model = make_model(algorithm, action, normalize=normalize)
    policy = exported(model)
    assert_same_actions(model, policy)
    measured = policy.metadata["parity"]
    assert measured["max_error"] <= measured["tolerance"] < 1e-5
    assert policy.metadata["normalized"] is normalize


@pytest.mark.parametrize("action", ["MultiDiscrete", "MultiBinary"])
def test_several_choices(exported: Exporter, action: str) -> None:
    model = make_model("PPO", action)
    policy = exported(model)
    assert_same_actions(model, policy)
    assert policy.action_size == len(policy.action_names) == 3


@pytest.mark.parametrize(
    "kwargs",
    [
        {"net_arch": [], "activation_fn": torch.nn.Tanh},
        {"net_arch": {"pi": [128, 32], "vf": [8]}, "activation_fn": torch.nn.ReLU},
        {
            "net_arch": [16, 16, 16],
            "activation_fn": torch.nn.ELU,
            "share_features_extractor": False,
        },
        {"net_arch": [32], "activation_fn": torch.nn.GELU},
    ],
    ids=["linear", "relu", "elu", "gelu"],
)
def test_architectures(exported: Exporter, kwargs: dict[str, Any]) -> None:
    model = make_model("A2C", "Box", normalize=True, policy_kwargs=kwargs)
    assert_same_actions(model, exported(model), tolerance=2e-5)


@pytest.mark.parametrize("squash", [False, True])
def test_state_dependent_exploration(exported: Exporter, squash: bool) -> None:
    model = make_model("PPO", "Box", use_sde=True, policy_kwargs={"squash_output": squash})
    assert_same_actions(model, exported(model))


def test_trpo_exports_too(exported: Exporter) -> None:
    model = make_model(sb3_contrib.TRPO, "Box", normalize=True)
    assert_same_actions(model, exported(model))


@pytest.mark.parametrize("normalize", [False, True], ids=["raw", "normalized"])
@pytest.mark.parametrize(
    ("algorithm", "action"),
    [(SAC, "Box"), (TD3, "Box"), (DDPG, "Box"), (sb3_contrib.TQC, "Box"), (DQN, "Discrete")],
)
def test_off_policy_algorithms(
    exported: Exporter, algorithm: Any, action: str, normalize: bool
) -> None:
    model = make_model(algorithm, action, normalize=normalize, buffer_size=10)
    policy = exported(model)
    assert_same_actions(model, policy)
    assert policy.metadata["algorithm"] == algorithm.__name__
    size = policy.path.stat().st_size
    actor = model.q_net if algorithm is DQN else model.actor
    weights = 4 * sum(value.numel() for value in actor.parameters())
    assert size < weights + 20_000, "critics and targets stay behind"


def test_a_trained_off_policy_model_with_state_dependent_exploration(exported: Exporter) -> None:
    model = make_model(SAC, "Box", use_sde=True, learning_starts=10, buffer_size=100, batch_size=8)
    model.learn(30)
    assert_same_actions(model, exported(model))


def test_a_trained_model(exported: Exporter) -> None:
    model = make_model("PPO", "Box", normalize=True, n_steps=32, batch_size=32)
    model.get_env().training = True
    model.learn(64)
    assert_same_actions(model, exported(model))


def test_matrix_observations_are_flattened(exported: Exporter) -> None:
    model = make_model(
        "PPO", "Box", normalize=True, observation=spaces.Box(-np.inf, np.inf, (3, 4))
    )
    policy = exported(model)
    assert policy.observation_size == 12
    assert policy.metadata["observation_shape"] == [3, 4]
    assert_same_actions(model, policy)


@pytest.mark.parametrize("bounds", [(0, 255, np.uint8), (-5.0, 5.0, np.float64)], ids=str)
def test_observation_types(exported: Exporter, bounds: tuple[float, float, Any]) -> None:
    low, high, dtype = bounds
    model = make_model("PPO", "Box", observation=spaces.Box(low, high, (SIZE,), dtype))
    observations = np.random.default_rng(0).uniform(low, high, (200, SIZE)).astype(dtype)
    assert_same_actions(model, exported(model), 2e-5, observations)


def test_actions_mostly_clipped(exported: Exporter) -> None:
    model = make_model("PPO", "Box", normalize=True)
    model.policy.action_net.weight.data.mul_(100.0)
    policy = exported(model)
    actions = policy(sample(model))
    assert np.mean((actions == BOX.low) | (actions == BOX.high)) >= 0.97
    # float32 itself is no finer than this where a mean of 100 times the range is about to be clipped.
    assert 1e-6 < policy.metadata["parity"]["rounding"] < 2e-4
    assert policy.metadata["parity"]["max_error"] < 2e-4
    assert_same_actions(model, policy, tolerance=2e-4)


def test_bounds_that_float32_cannot_hold_are_rounded_inwards(exported: Exporter) -> None:
    bound = np.full(2, 0.1)
    model = make_model("PPO", spaces.Box(-bound, bound, dtype=np.float64))
    model.policy.action_net.weight.data.mul_(100.0)
    actions = exported(model)(sample(model)).astype(np.float64)
    assert actions.max() <= 0.1
    assert actions.min() >= -0.1
    assert np.abs(actions).max() == pytest.approx(0.1)


def test_a_large_mean_and_a_small_deviation_keep_their_digits(exported: Exporter) -> None:
    model = make_model("PPO", "Box", normalize=True)
    model.get_vec_normalize_env().obs_rms.mean[:] = 1234.567
    model.get_vec_normalize_env().obs_rms.var[:] = 1e-4
    assert_same_actions(model, exported(model))


def test_another_normaliser_replaces_the_model_s_own(exported: Exporter) -> None:
    model = make_model("PPO", "Box", normalize=True)
    other = make_model("PPO", "Box", normalize=True).get_vec_normalize_env()
    other.obs_rms.mean += 1.0
    policy = exported(model, normalizer=other)
    observations = sample(model)
    expected = model.predict(other.normalize_obs(observations), deterministic=True)[0]
    np.testing.assert_allclose(policy(observations), expected, atol=2e-6)
    assert np.abs(predict(model, observations) - expected).max() > 1e-2


def test_a_normaliser_that_does_not_normalise_observations_is_left_out(exported: Exporter) -> None:
    model = make_model("PPO", "Box", normalize=True)
    model.get_vec_normalize_env().norm_obs = False
    policy = exported(model)
    assert policy.metadata["normalized"] is False
    assert_same_actions(model, policy)


def test_a_policy_that_computes_actions_otherwise_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("PPO", "Box")
    original = type(model.policy)._predict
    monkeypatch.setattr(
        type(model.policy), "_predict", lambda *args, **kwargs: original(*args, **kwargs) + 1e-4
    )
    with pytest.raises(ValueError, match=r"differs from PPO\.predict by .* no file was written"):
        deploy.export(model, tmp_path / "policy.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_choice_that_differs_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("A2C", "Discrete")
    original = type(model.policy)._predict
    monkeypatch.setattr(
        type(model.policy), "_predict", lambda *args, **kwargs: (original(*args, **kwargs) + 1) % 5
    )
    with pytest.raises(ValueError, match=r"differs from A2C\.predict by 1 "):
        deploy.export(model, tmp_path / "policy.onnx")


@pytest.mark.parametrize("normalize", [False, True], ids=["raw", "normalized"])
def test_actions_between_plus_and_minus_one_agree_to_a_millionth(
    exported: Exporter, normalize: bool
) -> None:
    model = make_model("PPO", spaces.Box(-1, 1, (3,)), normalize=normalize)
    model.policy.action_net.weight.data.mul_(0.3)
    policy = exported(model)
    measured = policy.metadata["parity"]
    assert (measured["observations"], measured["tolerance"]) == (1000, 1e-6)
    assert measured["max_error"] <= 1e-6
    observations = sample(model, n=1000)
    expected = predict(model, observations)
    assert np.std(expected, axis=0).min() > 0.1
    assert np.abs(policy(observations) - expected).max() <= 1e-6


def damaged(model: Any, share: float) -> parity.Parity:
    """The parity of a file whose last weights are off by a share."""
    pipeline = pipeline_of(model, None)
    graph, wrong = PolicyGraph(model, pipeline), PolicyGraph(model, pipeline)
    wrong.get_parameter("network.action_net.weight").data.mul_(1 + share)
    return parity.measure(model, graph, pipeline, to_onnx(wrong).SerializeToString())


def test_rounding_excuses_no_more_than_torch_rounds() -> None:
    """A head whose means are far outside the range: float32 is worth 1e-5 there, and that is what is allowed."""
    model = make_model("PPO", spaces.Box(-1, 1, (3,)), normalize=True)
    model.policy.action_net.weight.data.mul_(100.0)
    right, wrong = damaged(model, 0.0), damaged(model, 1e-3)
    assert right.passed
    assert 1e-6 < right.rounding < 1e-4
    assert right.tolerance == wrong.tolerance == pytest.approx(3 * right.rounding)
    assert not wrong.passed
    assert wrong.max_error > 1e-3 / 2


def test_weights_that_are_off_by_little_are_found_out() -> None:
    model = make_model("PPO", spaces.Box(-1, 1, (3,)))
    model.policy.action_net.weight.data.mul_(0.3)
    assert damaged(model, 0.0).passed
    assert not damaged(model, 1e-5).passed


def test_torch_is_compared_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call of a function of MKL may be wrong on several threads at once."""
    model = make_model("PPO", "Box")
    pipeline, threads = pipeline_of(model, None), []
    graph = PolicyGraph(model, pipeline)
    payload, original = to_onnx(graph).SerializeToString(), model.predict

    def predict_and_count(*args: Any, **kwargs: Any) -> Any:
        threads.append(torch.get_num_threads())
        return original(*args, **kwargs)

    monkeypatch.setattr(model, "predict", predict_and_count)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert parity.measure(model, graph, pipeline, payload).passed
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1}


class Float32Only(BaseFeaturesExtractor):
    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, SIZE)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return 0.5 * observations.float()


def test_a_features_extractor_of_one_s_own(exported: Exporter) -> None:
    kwargs = {"features_extractor_class": Float32Only}
    model = make_model("PPO", "Discrete", normalize=True, policy_kwargs=kwargs)
    assert_same_actions(model, exported(model))


def test_ties_between_choices_are_no_difference(exported: Exporter) -> None:
    model = make_model("PPO", "Discrete")
    model.policy.action_net.weight.data[1] = model.policy.action_net.weight.data[0]
    assert exported(model).metadata["parity"]["max_error"] == 0.0


def test_sampled_observations_lie_in_the_space_and_repeat() -> None:
    space = spaces.Box(
        np.array([-1, 0, -np.inf, -1e30], np.float32),
        np.array([1, np.inf, np.inf, 1e30], np.float32),
    )
    model = make_model("PPO", "Box", observation=space)
    pipeline = pipeline_of(model, None)
    graph = PolicyGraph(model, pipeline)
    (sequence,) = random_sequences(graph, pipeline)
    observations = sequence.observations["observation"][0]
    assert observations.shape == (1000, 4)
    assert all(space.contains(row) for row in observations)
    assert np.all(observations.std(axis=0) > 0.3)
    (again,) = random_sequences(graph, pipeline)
    np.testing.assert_array_equal(observations, again.observations["observation"][0])


def test_a_nan_never_passes() -> None:
    nan, inf = float("nan"), float("inf")
    assert parity.Parity(1, 9e-4, 9e-4, 3e-4).passed
    # The last: float32 may round as it likes, a robot's action must be what was trained.
    for error, tolerance in ((nan, 1e-6), (inf, inf), (0.0, nan), (nan, nan), (2e-3, 1e-2)):
        assert not parity.Parity(1, error, tolerance, 0.0).passed
    assert parity.Parity(1, 1e-6, 1e-6, 0.0).passed


FAR_OFF = 1e6
"""Numbers of float32 lie 0.06 apart there, which is much to a deviation of 1."""


def far_off(space: spaces.Space[Any], *, frames: int = 1, inside: bool = False) -> Any:
    """A model of observations with a large offset, its normaliser behind the stack of frames or inside of it."""
    env: Any = DummyVecEnv([lambda: Noise(BOX, space)])
    if frames > 1 and not inside:
        env = VecFrameStack(env, frames)
    keys = [key for key, part in getattr(space, "spaces", {}).items() if part.dtype != np.uint8]
    env = VecNormalize(env, norm_obs_keys=keys or None)
    for statistics in statistics_of(env).values():
        statistics.mean[:] = FAR_OFF
    if frames > 1 and inside:
        env = VecFrameStack(env, frames)
    kind = "MultiInputPolicy" if keys else "MlpPolicy"
    model: Any = PPO(kind, env, seed=0, device="cpu", policy_kwargs={"net_arch": [8]})
    model.policy.action_net.weight.data.mul_(100.0)
    return model


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.float32])
def test_digits_that_a_normaliser_needs_are_not_rounded_away(exported: Exporter, kind: Any) -> None:
    model = far_off(spaces.Box(-(2**60), 2**60, (SIZE,), kind))
    policy = exported(model)
    exact = kind != np.float32
    assert policy.metadata["inputs"][0]["dtype"] == ("float64" if exact else "float32")
    rng = np.random.default_rng(0)
    observations = (FAR_OFF + 3 * rng.normal(size=(100, SIZE))).astype(kind)
    assert_same_actions(model, policy, observations=observations)
    if exact:  # by the short way and the long one
        row = np.asarray(observations[0], np.float64)
        np.testing.assert_array_equal(policy(row), policy(row.tolist()))
        narrow = row.astype(np.float32)
        np.testing.assert_array_equal(policy(narrow), policy(np.asarray(narrow, np.float64)))
        with pytest.raises(ValueError, match=r"not finite: obs\.2 = nan"):
            policy(np.where(np.arange(SIZE) == 2, np.nan, row))


@pytest.mark.parametrize("inside", [False, True])
def test_frames_keep_their_digits_until_they_are_normalised(tmp_path: Path, inside: bool) -> None:
    model = far_off(spaces.Box(-np.inf, np.inf, (2,), np.float64), frames=3, inside=inside)
    policy = open_policy(deploy.export(model, tmp_path / "policy.onnx"))
    assert policy.metadata["state"][0]["dtype"] == ("float32" if inside else "float64")
    env = model.get_env()
    rng = np.random.default_rng(0)
    rows = FAR_OFF + rng.normal(size=(6, 1, 2))
    for row in rows:
        stack = env if inside else env.venv
        seen = env.venv.normalize_obs(row) if inside else row
        seen, _ = stack.stacked_obs.update(seen, np.zeros(1, dtype=bool), [{}])
        observed = seen if inside else env.normalize_obs(seen)
        expected, _ = model.predict(observed, deterministic=True)
        np.testing.assert_allclose(policy(row), expected, rtol=0, atol=4e-6)


def test_only_what_is_normalised_of_a_dictionary_is_exact(tmp_path: Path) -> None:
    parts: dict[str, spaces.Space[Any]] = {
        "far": spaces.Box(-np.inf, np.inf, (2,), np.float64),
        "image": spaces.Box(0, 255, (36, 36, 1), np.uint8),
    }
    model = far_off(spaces.Dict(parts))
    policy = open_policy(deploy.export(model, tmp_path / "policy.onnx"))
    kinds = {entry["name"]: entry["dtype"] for entry in policy.metadata["inputs"]}
    assert kinds == {"far": "float64", "image": "uint8"}


class Counting(BaseFeaturesExtractor):
    """Answers otherwise from call to call."""

    def __init__(self, space: Any) -> None:
        super().__init__(space, SIZE)
        self.calls = 0

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return observations * (1 + 0.1 * self.calls)


def test_what_is_counted_in_python_is_found_out(tmp_path: Path) -> None:
    kwargs = {"features_extractor_class": Counting, "net_arch": [8]}
    model = make_model("PPO", "Box", policy_kwargs=kwargs)
    with pytest.raises(ValueError, match=r"differs from PPO\.predict .* from call to call"):
        deploy.export(model, tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())


def test_a_large_tolerance_hides_nothing() -> None:
    """One comparison beyond what is ever allowed, with a tolerance far above that, beside one that nearly fails."""
    wide, near = parity._Found(0.01, 0.05, 0.02), parity._Found(9e-7, 1e-6, 0.0)
    for found in ([wide, near], [near, wide]):
        assert not parity.Parity(2, *parity._worst(found, parity.MOST_TOLERANCE)).passed


def test_weights_that_cannot_be_exported_are_told(tmp_path: Path) -> None:
    model = make_model("PPO", "Box", policy_kwargs={"net_arch": [8]})
    model.policy.double()
    with pytest.raises(ValueError, match=r"weights of torch\.float64: model\.policy\.float\(\)"):
        deploy.export(model, tmp_path / "policy.onnx")
    model.policy.float()
    layer, weight = model.policy.action_net, model.policy.action_net.weight
    del layer._parameters["weight"]
    layer.weight = 2.0 * weight
    with pytest.raises(ValueError, match="one of its tensors is computed of others"):
        deploy.export(model, tmp_path / "policy.onnx")


class Mirrored(VecFrameStack):
    """Gives other observations than the wrapper that it derives from."""

    def reset(self) -> Any:
        return -np.asarray(super().reset())


def test_a_wrapper_that_derives_from_a_known_one_is_not_taken_for_it() -> None:
    inner = DummyVecEnv([lambda: Noise(BOX)])
    model: Any = PPO("MlpPolicy", Mirrored(inner, 2), device="cpu")
    pipeline = pipeline_of(model, None)
    # The file takes what the wrapper gives, as for any wrapper of a user's own.
    assert pipeline.steps == []
    assert pipeline.space.shape == (2 * SIZE,)
    model = PPO("MlpPolicy", Mirrored(VecNormalize(inner), 2), device="cpu")
    with pytest.raises(ValueError, match="a VecNormalize stands inside of a Mirrored"):
        pipeline_of(model, None)
