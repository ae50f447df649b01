"""Adaptation on the robot against the learner's own."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO, TD3
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from metamotor import deploy, meta
from metamotor.deploy.adaptation import parity, tracing
from metamotor.deploy.adaptation.tracing import Input
from metamotor.deploy.runtime import AdaptivePolicy, Episode, Guard, Policy
from metamotor.deploy.runtime.acting import Categorical, Gaussian, SwappablePolicy
from metamotor.deploy.runtime.episodes import experience, padded
from metamotor.deploy.runtime.onnx_file import as_plain, initializers
from metamotor.meta.actors import CategoricalActor, GaussianActor
from metamotor.meta.experience import prepare
from metamotor.meta.functional import distributions
from tests.meta import toys

Array = NDArray[Any]
Bandit: Any = toys.Bandit
Line: Any = toys.Line
SMALL = {"policy_kwargs": {"net_arch": [8]}}


def maml(family: Any = None, algorithm: Any = PPO, **changes: Any) -> meta.MAML:
    kwargs = {**SMALL, **changes.pop("base_kwargs", {})}
    return meta.MAML(algorithm, "MlpPolicy", family or Line(), base_kwargs=kwargs, **changes)


def drive(policy: AdaptivePolicy, learner: Any, task: Any) -> None:
    """Run the episodes of one update in the learner's environment, with the seeds that the learner's `adapt` takes."""
    env = learner.family.make_env()
    env.set_task(task)
    while not policy.ready:
        for seed in policy.episode_seeds:
            observation, _ = env.reset(seed=seed, options={"task": task})
            over = False
            while not over:
                action = policy.act(observation)
                observation, reward, terminated, truncated, _ = env.step(action)
                over = policy.observe(reward, terminated, truncated)


def weights_at_the_desk(learner: Any, state: Any) -> Mapping[str, Array]:
    if isinstance(learner, meta.MAML):
        return {name: state.params[name].numpy() for name in learner.adapter.actor_names}
    if isinstance(learner, meta.ES):
        return learner.layout.split(state.vector)
    names, _ = learner._layer_names(learner.adapter.initial_params())
    found: dict[str, Array] = {}
    for name, (weight, bias) in zip(names, state.policy, strict=True):
        found |= {f"{name}.weight": weight.T, f"{name}.bias": bias}
    return found


def require_the_same(learner: Any, path: Path, updates: int = 2, tolerance: float = 2e-5) -> None:
    """Adapt on the robot and at the desk, with the same seeds, and compare all weights."""
    (task,) = learner.family.sample(1, split="test", seed=3)
    policy = AdaptivePolicy(path, seed=11)
    for _ in range(updates):
        drive(policy, learner, task)
        policy.adapt()
    state = learner.adapt_state(task, policy.episodes, updates=updates, seed=11)
    wanted, start = weights_at_the_desk(learner, state), AdaptivePolicy(path).weights
    moved = max(float(np.abs(start[name] - value).max()) for name, value in wanted.items())
    assert moved > 1e-4  # else nothing would be compared
    for name, value in wanted.items():
        assert np.abs(policy.weights[name] - value).max() <= tolerance * max(
            1.0, float(np.abs(value).max())
        )


# Without a file -------------------------------------------------------------------------------------


def policy_model() -> onnx.ModelProto:
    """A linear policy whose weights may be given, with a constant that may not."""
    nodes = [
        helper.make_node("Gemm", ["observation", "w", "b"], ["outputs"], transB=1),
        helper.make_node("Clip", ["outputs", "low"], ["action"]),
    ]
    rng = np.random.default_rng(0)
    held = {"w": rng.standard_normal((2, 3)), "b": rng.standard_normal(2), "low": np.array(-9.0)}
    shapes: dict[str, tuple[Any, ...]] = {
        **{"observation": ("N", 3), "w": (2, 3), "b": (2,)},
        **{"outputs": ("N", 2), "action": ("N", 2)},
    }
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    graph = helper.make_graph(
        nodes,
        "policy",
        [infos[name] for name in ("observation", "w", "b")],
        [infos["action"], infos["outputs"]],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"old": "x"})
    return model


def test_weights_are_read_and_written_without_the_onnx_package() -> None:
    model = policy_model()
    payload = model.SerializeToString()
    found = initializers(payload)
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(found[tensor.name], numpy_helper.to_array(tensor))
    new = {"w": np.full((2, 3), 0.5, np.float32), "b": np.array([1.0, 2.0], np.float32)}
    written = onnx.load_from_string(as_plain(payload, new, ("action",), {"new": "ü"}))
    onnx.checker.check_model(written, full_check=True)
    assert [item.name for item in written.graph.input] == ["observation"]
    assert [item.name for item in written.graph.output] == ["action"]
    assert [(p.key, p.value) for p in written.metadata_props] == [("new", "ü")]
    held = {t.name: numpy_helper.to_array(t) for t in written.graph.initializer}
    np.testing.assert_array_equal(held["w"], new["w"])
    assert held["low"] == -9.0
    assert written.graph.node == model.graph.node
    with pytest.raises(ValueError, match="no weights nothing"):
        as_plain(payload, {"nothing": new["b"]}, (), {})


def test_a_damaged_model_is_refused_and_not_misread() -> None:
    payload = policy_model().SerializeToString()
    for size in range(1, len(payload), 7):
        try:
            found = initializers(payload[:size])
        except ValueError:
            continue
        assert set(found) <= {"w", "b", "low"}
    with pytest.raises(ValueError, match="a field of wire type 3"):
        initializers(b"\x0b" * 20)


def test_new_weights_do_not_change_the_callers() -> None:
    payload = policy_model().SerializeToString()
    own = {name: initializers(payload)[name] for name in ("w", "b")}
    session = deploy.runtime.open_session(payload, threads=1, source="test")
    policy = SwappablePolicy(session, own)
    observation = np.array([1.0, -2.0, 0.5], np.float32)
    before = {name: value.copy() for name, value in own.items()}
    for scale in (1.0, -3.0):
        new = {name: scale * value for name, value in before.items()}
        policy.load(new)
        action, outputs = policy(observation)
        np.testing.assert_allclose(outputs, new["w"] @ observation + new["b"], rtol=1e-6)
        np.testing.assert_allclose(action, np.maximum(outputs, -9.0), rtol=1e-6)
    for name, value in before.items():
        np.testing.assert_array_equal(own[name], value)


@pytest.mark.parametrize("normalize", [False, True])
def test_experience_is_that_of_the_learner(normalize: bool) -> None:
    learner = maml()
    episodes = parity.synthetic(learner.family, 4, 12, seed=1)
    batch = parity.to_batch(episodes)
    wanted = prepare(
        batch, learner.adapter, learner.params, normalize=normalize, gamma=0.9, gae_lambda=0.8
    )
    options = {"gamma": 0.9, "gae_lambda": 0.8, "normalize": normalize}
    found = experience(episodes, **options, flat=False)  # type: ignore[arg-type]
    for name in ("observations", "actions", "advantages", "returns", "weights"):
        np.testing.assert_array_equal(found[name], getattr(wanted, name).detach().numpy())
    flat = experience(episodes, **options, flat=True)  # type: ignore[arg-type]
    taken = padded(episodes).mask > 0
    np.testing.assert_array_equal(flat["advantages"][0], found["advantages"][taken])
    np.testing.assert_allclose(flat["weights"].sum(), 1.0, rtol=1e-6)


def test_noise_is_drawn_as_by_rollout_workers() -> None:
    log_std = np.array([-0.5, 0.3], np.float32)
    bounds = np.ones(2, np.float32)
    pairs: list[tuple[Any, Any]] = [
        (GaussianActor(lambda x: x, np.exp(log_std)), Gaussian(-bounds, bounds)),
        (CategoricalActor(lambda x: x, 4), Categorical(4)),
    ]
    for actor, own in pairs:
        at_once = actor.draw_noise(np.random.default_rng(5), (3, 7))
        rng = np.random.default_rng(5)
        np.testing.assert_array_equal(
            at_once, np.stack([own.draw_noise(rng, 7, log_std) for _ in range(3)])
        )


def test_log_probabilities_are_those_of_the_learner() -> None:
    rng = np.random.default_rng(0)
    mean, action, log_std = rng.standard_normal((3, 2)).astype(np.float32)
    found = Gaussian(-np.ones(2), np.ones(2)).log_prob(mean, action, log_std)
    tensors = (torch.from_numpy(part) for part in (mean, log_std, action))
    assert found == pytest.approx(float(distributions.gaussian_log_prob(*tensors)), rel=1e-5)
    logits = rng.standard_normal(4).astype(np.float32)
    wanted = distributions.categorical_log_prob(torch.from_numpy(logits), torch.tensor(2))
    found = Categorical(4).log_prob(logits, np.asarray(2), np.zeros(0))
    assert found == pytest.approx(float(wanted), rel=1e-5)


def test_an_axis_that_the_exporter_froze_or_merged_is_refused() -> None:
    def graph(*dims: Any) -> onnx.GraphProto:
        info = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
        return helper.make_graph([], "test", [info], [])

    example = [Input("x", torch.zeros(11, 13, 2), ("E", "H"))]
    tracing._check_axes(graph("a", "b", 2), example, "test")
    for dims, told in (
        (("a", 13, 2), "froze axis 1"),
        (("a", "b", "c"), "freed axis 2"),
        (("a", "a", 2), "for one"),
    ):
        with pytest.raises(ValueError, match=told):
            tracing._check_axes(graph(*dims), example, "test")


def test_example_sizes_are_those_of_nothing_else() -> None:
    first, second = tracing.unlike([11, 13 * 17], 2)
    assert {first, second} == {13, 19}


def test_what_cannot_adapt_on_a_robot_says_why(tmp_path: Path) -> None:
    family, path = Line(), tmp_path / "adapt.onnx"
    reptile = meta.Reptile(TD3, "MlpPolicy", family, base_kwargs=SMALL)
    with pytest.raises(ValueError, match="TD3's own `learn`"):
        deploy.export_adaptation(reptile, path)
    robust = meta.ES(PPO, "MlpPolicy", family, adaptation="none", base_kwargs=SMALL)
    with pytest.raises(ValueError, match="nothing to adapt"):
        deploy.export_adaptation(robust, path)
    with pytest.raises(ValueError, match=r"must be called \*.onnx"):
        deploy.export_adaptation(reptile, tmp_path / "adapt.zip")
    model: Any = robust.adapter.template
    with pytest.raises(ValueError, match=r"takes a meta-learner.* got PPO.*deploy.export\(model"):
        deploy.export_adaptation(model, path)
    assert not path.exists()


def test_a_file_that_does_not_adapt_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    with pytest.raises(FileNotFoundError, match="export_adaptation"):
        AdaptivePolicy(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged"):
        AdaptivePolicy(path)
    model = policy_model()
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="does not adapt"):
        AdaptivePolicy(path)
    helper.set_model_props(model, {"metamotor": "{}"})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="plain policy"):
        AdaptivePolicy(path)
    for document, told in (({"format": 99}, "upgrade"), ({"format": 1}, "lacks")):
        helper.set_model_props(model, {"metamotor_adaptation": json.dumps(document)})
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ValueError, match=told):
            AdaptivePolicy(path)


# With one -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[meta.MAML, Path]:
    learner = maml(episodes_per_task=3, inner_lr=0.05)
    path = tmp_path_factory.mktemp("adaptation") / "adapt.onnx"
    return learner, deploy.export_adaptation(learner, path)


@pytest.mark.slow
def test_the_robot_adapts_to_the_desks_weights(exported: tuple[meta.MAML, Path]) -> None:
    learner, path = exported
    found = AdaptivePolicy(path).metadata["parity"]
    assert 0 < found["update_error"] <= found["allowed"]
    require_the_same(learner, path, updates=3)  # the later ones at step sizes that decay


@pytest.mark.slow
def test_what_was_adapted_is_saved_as_a_plain_policy(
    exported: tuple[meta.MAML, Path], tmp_path: Path
) -> None:
    learner, path = exported
    policy = AdaptivePolicy(path, seed=1)
    (task,) = learner.family.sample(1, seed=0)
    drive(policy, learner, task)
    told = policy.adapt()
    assert (told.updates, told.episodes) == (1, 3)
    saved = Policy(policy.save(tmp_path / "adapted.onnx"))
    observations = parity.synthetic(learner.family, 1, 20, 0)[0].observations
    np.testing.assert_allclose(
        [policy(observation) for observation in observations],
        [saved(observation) for observation in observations],
        atol=1e-6,
    )
    about = saved.metadata["adapted"]
    assert about["updates"] == 1
    assert about["steps"] == told.steps
    assert saved.metadata["weights_sha256"] != about["base_weights_sha256"]
    # What is stored for checking is of these weights, not of those that were exported.
    checked = deploy.verify(saved.path)
    assert (checked.steps, checked.parity) == (8, None)
    assert checked.stored_error <= 1e-5
    inside = saved.metadata["reference"]["outputs"]["action"]
    assert inside != policy.metadata["policy"]["reference"]["outputs"]["action"]
    onnx.checker.check_model(onnx.load(tmp_path / "adapted.onnx"), full_check=True)
    # Back at the meta-parameters, which nothing before has changed.
    policy.forget()
    fresh = AdaptivePolicy(path)
    for name, value in fresh.weights.items():
        np.testing.assert_array_equal(policy.weights[name], value)
    np.testing.assert_array_equal(policy(observations[0]), fresh(observations[0]))


def test_a_driver_may_fill_the_same_array_again(exported: tuple[meta.MAML, Path]) -> None:
    learner, path = exported
    size = learner.family.observation_space.shape[0]
    thrifty, plain = AdaptivePolicy(path, seed=4), AdaptivePolicy(path, seed=4)
    held = np.zeros(size, np.float32)
    while not plain.ready:
        observation = np.random.default_rng(len(plain.collected)).random(size).astype(np.float32)
        over = False
        while not over:
            observation = observation + np.float32(0.1)
            held[:] = observation
            assert (thrifty.act(held) == plain.act(observation)).all()
            thrifty.observe(1.0)
            over = plain.observe(1.0)
    for own, wanted in zip(thrifty.collected, plain.collected, strict=True):
        np.testing.assert_array_equal(own.observations, wanted.observations)


@pytest.mark.slow
def test_recorded_episodes_adapt_as_collected_ones(exported: tuple[meta.MAML, Path]) -> None:
    learner, path = exported
    policy, second = AdaptivePolicy(path, seed=2), AdaptivePolicy(path)
    (task,) = learner.family.sample(1, seed=0)
    drive(policy, learner, task)
    recorded = policy.collected
    policy.adapt()
    second.adapt_from(recorded)
    for name, value in policy.weights.items():
        np.testing.assert_array_equal(second.weights[name], value)


@pytest.mark.slow
def test_mistakes_are_told_and_change_nothing(exported: tuple[meta.MAML, Path]) -> None:
    _, path = exported
    policy = AdaptivePolicy(path)
    before = policy.weights
    size = len(policy.observation_names)
    good = np.zeros(size, np.float32)
    with pytest.raises(ValueError, match="call act"):
        policy.observe(1.0)
    with pytest.raises(ValueError, match="nothing to adapt to"):
        policy.adapt()
    for bad in (np.zeros(size + 1), np.full(size, np.nan), "x", np.full(size, 1e300)):
        with pytest.raises(ValueError, match=r"expects|not finite"):
            policy.act(bad)
    with pytest.raises(ValueError, match=r"which teach it nothing: .*policy\(observation\)"):
        policy.act(good, deterministic=True)
    policy.act(good)
    with pytest.raises(ValueError, match="no reward yet"):
        policy.act(good)
    with pytest.raises(ValueError, match="finite number"):
        policy.observe(float("nan"))
    policy.observe(1.0)  # the action still waits for its reward
    with pytest.raises(ValueError, match="is running"):
        policy.adapt()
    policy.abandon()
    for bad_episode, told in (
        ((good[None], np.zeros((2, 1)), np.zeros(1)), "actions"),
        ((np.zeros((2, size)), np.zeros((1, 2)), np.zeros(1)), "observations"),
        ((good[None], np.zeros((1, 2)), np.array([np.inf])), "not finite"),
        ((good[None], np.zeros((1, 1)), np.zeros(0)), "one number a step"),
        ((good[None],), "episode 0"),
    ):
        with pytest.raises(ValueError, match=told):
            policy.adapt_from([bad_episode])
    with pytest.raises(ValueError, match="at least one"):
        policy.adapt_from([])
    far = np.full((2, 2), 3e38, np.float32)
    huge = Episode(np.zeros((2, size), np.float32), far, np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match=r"not finite: .*stay as they were"):
        policy.adapt_from([huge])
    for name, value in before.items():
        np.testing.assert_array_equal(policy.weights[name], value)
    assert policy.updates == 0


def changed_description(path: Path, to: Path, changes: Mapping[str, Any]) -> Path:
    model = onnx.load(path)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    said = json.loads(entries["metamotor_adaptation"])
    entries["metamotor_adaptation"] = json.dumps({**said, **changes})
    helper.set_model_props(model, entries)
    onnx.save(model, to)
    return to


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": ["none of these"]},
        {"weights": 3},
        {"method": ["gradient"]},
        {"method": "memory"},
        {"gradient": None},
        {"action": {"kind": "gaussian"}},
        {"observations": [1, 2]},
        {"policy": 1, "action": "x"},
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_is_refused(
    exported: tuple[meta.MAML, Path], tmp_path: Path, changes: Mapping[str, Any]
) -> None:
    made_up = changed_description(exported[1], tmp_path / "a.onnx", changes)
    with pytest.raises(ValueError, match=r"a\.onnx is not consistent.*export the learner again"):
        AdaptivePolicy(made_up)


def test_a_guard_lets_nothing_be_forgotten(exported: tuple[meta.MAML, Path]) -> None:
    learner, path = exported
    policy = AdaptivePolicy(path, seed=1)
    guard = Guard(policy)  # the shape of an action and its limits are in the file
    observation = np.zeros(len(policy.observation_names), np.float32)
    (task,) = learner.family.sample(1, seed=0)
    drive(policy, learner, task)
    policy.adapt()
    wanted = policy(observation)
    guard.reset()  # as before each episode
    np.testing.assert_array_equal(guard(observation), wanted)
    assert (policy.updates, guard.counts) == (1, {})


@pytest.mark.slow
def test_an_abandoned_episode_leaves_no_trace(exported: tuple[meta.MAML, Path]) -> None:
    _, path = exported
    policy = AdaptivePolicy(path)
    observation = np.zeros(len(policy.observation_names), np.float32)
    policy.act(observation)
    policy.observe(1.0)
    policy.act(observation)
    policy.abandon()
    assert policy.collected == ()
    for _ in range(policy.horizon):
        policy.act(observation)
        over = policy.observe(0.5)
    assert over  # at the horizon, whatever is said
    assert len(policy.collected) == 1


ON_ROBOT = """
    import sys

    class Nothing:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in {blocked}:
                raise ModuleNotFoundError(f"{{name}} is not on the robot")

    sys.meta_path.insert(0, Nothing())
    import numpy as np
    from metamotor.deploy.runtime import AdaptivePolicy, Policy

    policy = AdaptivePolicy({path!r})
    observation = np.zeros(len(policy.observation_names), np.float32)
    while not policy.ready:
        action = policy.act(observation)
        policy.observe(float(action.sum()))
    before = policy.weights
    policy.adapt()
    assert any((before[name] != value).any() for name, value in policy.weights.items())
    saved = Policy(policy.save({saved!r}))
    assert np.abs(saved(observation) - policy(observation)).max() < 1e-6
"""


@pytest.mark.slow
def test_a_robot_needs_numpy_and_onnxruntime_only(
    exported: tuple[meta.MAML, Path], tmp_path: Path
) -> None:
    blocked = {"torch", "stable_baselines3", "sb3_contrib", "gymnasium", "pybullet", "onnx", "tyro"}
    blocked |= {"safetensors", "onnxscript", "scipy", "pandas"}
    saved = str(tmp_path / "adapted.onnx")
    program = textwrap.dedent(ON_ROBOT).format(blocked=blocked, path=str(exported[1]), saved=saved)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


# Every variant --------------------------------------------------------------------------------------

# Each export takes seconds, so that one learner stands for several options.
VARIANTS: dict[str, dict[str, Any]] = {
    "DiCE, Meta-SGD, two updates": {
        **{"inner_loss": "dice", "inner_lr_per_parameter": True},
        "inner_steps": 2,
    },
    "A2C's own loss": {
        **{"inner_loss": "base", "algorithm": A2C},
        "base_kwargs": {"ent_coef": 0.05},
    },
    "TRPO, context, normalised": {
        **{"algorithm": TRPO, "adapted": "context", "context_size": 4},
        **{"inner_normalize": True, "inner_gamma": 0.5},
    },
    "choices, head, ELU, untrained steps": {
        **{"family": Bandit(), "adapted": "head", "inner_steps": 0, "inner_loss": "log_prob"},
        "base_kwargs": {"policy_kwargs": {"net_arch": [8], "activation_fn": nn.ELU}},
    },
}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(changes, marks=pytest.mark.thorough if index > 1 else (), id=name)
        for index, (name, changes) in enumerate(VARIANTS.items())
    ],
)
@pytest.mark.slow
def test_variants_of_maml_adapt_alike(changes: dict[str, Any], tmp_path: Path) -> None:
    learner = maml(episodes_per_task=3, **changes)
    with torch.no_grad():  # step sizes and a context that training would have told apart
        for step, sizes in enumerate(learner.inner_lrs):
            for index, size in enumerate(sizes.values()):
                size.mul_(0.5 + 0.1 * index + 0.3 * step)
        for name, value in learner.params.items():
            if name.endswith("context"):
                value.copy_(torch.linspace(-0.5, 0.5, len(value)))
    require_the_same(learner, deploy.export_adaptation(learner, tmp_path / "adapt.onnx"))


@pytest.mark.parametrize(
    "changes",
    [
        {"normalize_observations": True},
        {"adaptation": "hill_climbing", "climb_mode": "batch", "climb_repeats": 2},
    ],
    ids=["gradient, normalised", "climb"],
)
@pytest.mark.slow
def test_es_adapts_alike(changes: dict[str, Any], tmp_path: Path) -> None:
    learner = meta.ES(
        *(PPO, "MlpPolicy", Line()), episodes_per_task=6, base_kwargs=SMALL, **changes
    )
    learner.moments = learner.moments.merged(
        type(learner.moments).of(
            np.random.default_rng(0).normal(2, 3, (50, len(learner.moments.mean)))
        )
    )
    path = deploy.export_adaptation(learner, tmp_path / "adapt.onnx")
    require_the_same(learner, path)
    if "adaptation" in changes:
        with pytest.raises(TypeError, match="try candidates itself"):
            AdaptivePolicy(path).adapt_from([])


@pytest.mark.parametrize(
    "head",
    [
        "hypernetwork",
        pytest.param("film", marks=pytest.mark.thorough),
        pytest.param("recurrent_state", marks=pytest.mark.thorough),
        "rl2",
    ],
)
@pytest.mark.slow
def test_memory_is_carried_over_the_episodes_of_a_trial(head: str, tmp_path: Path) -> None:
    family = Bandit() if head == "film" else Line()
    # With all episodes frozen, a policy that is written at the start of one stays for it.
    frozen = 2 if head == "recurrent_state" else 0
    learner = meta.MPO(
        *(PPO, "MlpPolicy", family), base_kwargs=SMALL, head=head, frozen_episodes=frozen
    )
    with torch.no_grad():  # untrained, it would write the same policy whatever it remembers
        for parameter in learner.network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    path = deploy.export_adaptation(learner, tmp_path / "adapt.onnx")
    if head != "rl2":
        require_the_same(learner, path)
        return
    policy = AdaptivePolicy(path, episodes=2, seed=4)
    (task,) = family.sample(1, seed=0)
    drive(policy, learner, task)
    policy.adapt()
    state = learner.adapt_state(task, 2, updates=1, seed=4)
    np.testing.assert_allclose(policy.memory.hidden[0], state.memory.hidden, atol=1e-5)
    for refused in (lambda: policy(np.zeros(1)), lambda: policy.save(tmp_path / "b.onnx")):
        with pytest.raises(ValueError, match="rl2"):
            refused()


class Convolving(BaseFeaturesExtractor):
    """A layer whose derivative has no ONNX operator."""

    def __init__(self, space: Any) -> None:
        super().__init__(space, 4)
        self.layer = nn.Conv1d(1, 4, 1)

    def forward(self, observations: Tensor) -> Tensor:
        found: Tensor = self.layer(observations[:, None]).mean(-1)
        return found


@pytest.mark.slow
def test_a_failed_export_writes_nothing_and_spoils_no_later_one(tmp_path: Path) -> None:
    path = tmp_path / "adapt.onnx"
    path.write_bytes(b"of before")
    kwargs = {"policy_kwargs": {"net_arch": [8], "features_extractor_class": Convolving}}
    with pytest.raises(ValueError, match="cannot express"):
        deploy.export_adaptation(maml(base_kwargs=kwargs), path)
    assert path.read_bytes() == b"of before"
    learner = maml(episodes_per_task=3)
    require_the_same(learner, deploy.export_adaptation(learner, path))


@pytest.mark.slow
def test_a_file_that_adapts_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metamotor.deploy.adaptation import graphs

    honest = graphs.step_sizes

    def wrong(learner: Any) -> Any:
        sizes, first = honest(learner)
        return {name: 1.001 * size for name, size in sizes.items()}, first

    monkeypatch.setattr(graphs, "step_sizes", wrong)
    with pytest.raises(ValueError, match="no file was written"):
        deploy.export_adaptation(maml(), tmp_path / "adapt.onnx")
    assert not list(tmp_path.iterdir())
