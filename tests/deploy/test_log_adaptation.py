"""Adapting on a log gives what adapting on the same episodes gives; what does not fit, or is another's, is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO, SAC

from metamotor import deploy, envs, meta
from metamotor.meta.experience import prepare
from metamotor.meta.maml import Adapted
from metamotor.meta.recordings import importance
from metamotor.meta.rollouts import EpisodeBatch, derive_seed
from metamotor.meta.search import GradientStep, MLPLayout
from metamotor.meta.workers import LocalSampler
from metamotor.scripts.adapt import origin_of
from metamotor.scripts.cli import main
from metamotor.scripts.run import Run, family_of
from tests.deploy.logs import record_batch
from tests.meta.toys import Bandit

FAMILY = envs.make("PointNavigation-v0", horizon=12)
TASK = FAMILY.sample(1, split="test", seed=3)[0]
SMALL: dict[str, Any] = {"base_kwargs": {"policy_kwargs": {"net_arch": [8]}}}
BANDIT: dict[str, Any] = {
    "observations": ["a", "b"],
    "actions": ["arm"],
    "action_space": {"type": "Discrete"},
}


def make(kind: str, family: Any = FAMILY) -> Any:
    if kind == "ProMP":
        return meta.MAML(PPO, "MlpPolicy", family, seed=1, inner_steps=2, **SMALL)
    if kind == "CAVIA":
        return meta.MAML(
            *(PPO, "MlpPolicy", family), seed=1, adapted="context", context_size=3, **SMALL
        )
    if kind == "ES normalised":
        return meta.ES(PPO, "MlpPolicy", family, seed=1, normalize_observations=True, **SMALL)
    return getattr(meta, kind)(PPO, "MlpPolicy", family, seed=1, **SMALL)


def experienced(learner: Any, task: Any, episodes: int = 4, seed: int = 5) -> Any:
    """The state after `learner.adapt`, and the episodes that it was adapted on."""
    state = learner.adapt_state(task, episodes, seed=seed)
    return state, state.batch


def weights(model: Any) -> list[NDArray[Any]]:
    return [parameter.detach().numpy() for parameter in model.policy.parameters()]


@pytest.mark.parametrize("kind", ["MAML", "ProMP", "CAVIA", "ES", "ES normalised", "MPO"])
@pytest.mark.parametrize("family", [FAMILY, Bandit()], ids=["continuous", "choices"])
def test_adapting_on_a_log_of_the_same_episodes_gives_the_same_bits(
    tmp_path: Path, kind: str, family: Any
) -> None:
    learner = make(kind, family)
    task = family.sample(1, split="test", seed=3)[0]
    state, batch = experienced(learner, task)
    expected = learner.model_of(state, task)
    own = learner.log_probs(learner.initial_state(), batch)[0]
    options = BANDIT if family is not FAMILY else {}
    path = record_batch(tmp_path / "run.mcap", family, batch, own, **options)
    adapted = learner.adapt_from(deploy.read_log(path))
    changed = 0
    initial = learner.make_model(learner.initial_state(), family.make_env())
    for one, other, start in zip(*map(weights, (adapted, expected, initial)), strict=True):
        np.testing.assert_array_equal(one, other)
        changed += int((one != start).any())
    assert changed


def test_each_policy_of_a_log_is_an_update(tmp_path: Path) -> None:
    learner = make("ProMP")
    sampler = LocalSampler(FAMILY)
    states, log_probs, batches = [learner.initial_state()], [], []
    for step in range(2):
        (batch,) = learner.collect(
            [states[-1]], [TASK], episodes=3, seeds=[derive_seed(7, step)], sampler=sampler
        )
        log_probs.append(learner.log_probs(states[-1], batch)[0])
        batches.append(batch)
        states.append(learner.update(states[-1], batch, step))
    whole = EpisodeBatch(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))
    policies = [{"weights_sha256": str(index)} for index in (0, 0, 0, 1, 1, 1)]
    record_batch(tmp_path / "run.mcap", FAMILY, whole, np.concatenate(log_probs), policies=policies)
    adapted = learner.adapt_state_from(deploy.read_log(tmp_path / "run.mcap"))
    for name, value in states[-1].params.items():
        assert torch.equal(adapted.params[name], value), name


def test_an_mpo_log_of_the_policy_that_is_not_rewritten_is_its_own_too(tmp_path: Path) -> None:
    learner = make("MPO")
    torch.manual_seed(0)
    for parameter in learner.network.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))  # contexts now make a difference
    state = learner.initial_state()
    (batch,) = learner.collect([state], [TASK], episodes=3, seeds=[1], sampler=LocalSampler(FAMILY))
    rewritten, frozen = learner.log_probs(state, batch)
    assert np.abs(rewritten - frozen)[batch.mask > 0].max() > 0.1
    path = record_batch(tmp_path / "frozen.mcap", FAMILY, batch, frozen)
    expected = learner.update(state, batch, 0)
    adapted = learner.adapt_state_from(deploy.read_log(path))
    for own, other in zip(adapted.policy, expected.policy, strict=True):
        np.testing.assert_array_equal(own[0], other[0])
    path = record_batch(tmp_path / "other.mcap", FAMILY, batch, frozen - 0.5)
    with pytest.raises(ValueError, match="MPO remembers episodes as they were"):
        learner.adapt_from(deploy.read_log(path), off_policy="weight")


# Another policy's episodes --------------------------------------------------------------------------


def drifted(learner: Any, path: Path) -> Any:
    """A log of the policy after adaptation; that of the learner is the one before."""
    after, _ = experienced(learner, TASK)
    acting = Adapted(after.params)
    (batch,) = learner.collect(
        [acting], [TASK], episodes=4, seeds=[9], sampler=LocalSampler(FAMILY)
    )
    own = learner.log_probs(acting, batch)[0]
    return deploy.read_log(record_batch(path, FAMILY, batch, own))


def test_episodes_of_another_policy_are_refused_or_weighted(tmp_path: Path) -> None:
    learner = make("MAML")
    log = drifted(learner, tmp_path / "run.mcap")
    with pytest.raises(ValueError, match=r"under another policy.*differs by up to.*of 48 steps"):
        learner.adapt_from(log)
    ((batch, recorded),) = log.stages()
    state = learner.initial_state()
    ratios = np.exp(learner.log_probs(state, batch)[0] - recorded)
    expected = learner.update(state, batch, 0, ratios=ratios)
    adapted = learner.adapt_state_from(log, off_policy="weight")
    taken_as_own = learner.update(state, batch, 0)
    for name in learner.adapter.actor_names:
        torch.testing.assert_close(adapted.params[name], expected.params[name])
    assert any(
        not torch.allclose(adapted.params[name], taken_as_own.params[name], atol=1e-5)
        for name in learner.adapter.actor_names
    )


def test_episodes_of_a_far_policy_cannot_be_weighted() -> None:
    recorded, own = np.zeros((2, 20)), np.zeros((2, 20))
    own[0, 3] = 8.0
    with pytest.raises(ValueError, match=r"the log was .* be worth 2\.6% of as many, less than"):
        importance(recorded, own, np.ones((2, 20)), "weight", "the log")


def test_weights_are_the_ratios_of_the_probabilities() -> None:
    recorded = np.log([[0.5, 0.25, 0.25], [0.5, 0.5, 0.9]])
    own = np.log([[0.25, 0.25, 0.5], [0.5, 0.25, 0.1]])
    mask = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    found = importance(recorded, own, mask, "weight", "the log")
    ratios = np.array([[0.5, 1.0, 2.0], [1.0, 0.5, 0.0]])
    assert found is not None
    np.testing.assert_allclose(found, ratios * 5 / ratios.sum())
    assert importance(own, own + 1e-4, mask, "refuse", "the log") is None


def test_a_weighted_step_counts_in_proportion() -> None:
    learner = make("MAML")
    _, batch = experienced(learner, TASK)
    ratios = np.random.default_rng(0).uniform(0.1, 3.0, batch.mask.shape)
    params = learner.params
    plain = prepare(batch, learner.adapter, params, normalize=True)
    weighted = prepare(batch, learner.adapter, params, normalize=True, ratios=ratios)
    expected = plain.weights.numpy() * ratios
    np.testing.assert_allclose(weighted.weights, expected / expected.sum(), rtol=1e-5)
    np.testing.assert_array_equal(weighted.advantages, plain.advantages)


def test_both_gradients_weight_alike() -> None:
    """MAML differentiates by torch, ES by hand: on the same policy and weights they must agree."""
    maml, es = make("MAML"), make("ES")
    _, batch = experienced(maml, TASK)
    ratios = np.random.default_rng(0).uniform(0.1, 3.0, batch.mask.shape)
    layout = es.layout
    assert isinstance(layout, MLPLayout)
    names = [*layout.names, "log_std"] if "log_std" not in layout.names else [*layout.names]
    tensors = {name: maml.params[name].detach().numpy() for name in names}
    vector = layout.join(tensors).astype(np.float64)
    adaptation = es.adaptation
    assert isinstance(adaptation, GradientStep)
    by_hand = layout.split(adaptation.gradient(vector, layout, None, batch, ratios))
    state = maml.initial_state()
    moved = maml.update(state, batch, 0, ratios=ratios)
    for name in layout.names:
        by_torch = (moved.params[name] - state.params[name]) / maml.step_sizes(0)[name].detach()
        np.testing.assert_allclose(by_torch, by_hand[name], atol=2e-5, rtol=1e-3)


# What does not fit ----------------------------------------------------------------------------------


def batch_of(learner: Any) -> tuple[EpisodeBatch, NDArray[Any]]:
    _, batch = experienced(learner, TASK, 2)
    return batch, learner.log_probs(learner.initial_state(), batch)[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "PandaReach-v0"}, "is of PandaReach-v0, the learner is one of PointNavi"),
        ({"control_period": 0.3}, "its period is 1000 ms, 300 ms were stated"),
        ({"observations": ["y", "x"]}, "has other observations than .*: number 0 is 'y'"),
        ({"tasks": [TASK, None]}, ""),
        ({"tasks": FAMILY.sample(2, seed=0)}, r"holds episodes of 2 tasks \("),
    ],
)
def test_a_log_that_does_not_fit_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    learner = make("MAML")
    batch, own = batch_of(learner)
    log = deploy.read_log(record_batch(tmp_path / "run.mcap", FAMILY, batch, own, **options))
    if not message:
        learner.adapt_from(log)
        return
    with pytest.raises(ValueError, match=message):
        learner.adapt_from(log)


def test_another_control_period_is_refused(tmp_path: Path) -> None:
    learner = make("MAML")
    batch, own = batch_of(learner)
    path = tmp_path / "run.mcap"
    record_batch(path, FAMILY, batch, own, control_period=0.5, period=0.5)
    with pytest.raises(ValueError, match=r"control period of 0\.5 s, PointNavigation-v0 has 1 s"):
        learner.adapt_from(deploy.read_log(path))


def test_episodes_that_are_too_long_are_refused(tmp_path: Path) -> None:
    learner = make("MAML")
    batch, own = batch_of(learner)
    path = record_batch(tmp_path / "run.mcap", FAMILY, batch, own)
    short = make("MAML", envs.make("PointNavigation-v0", horizon=5))
    with pytest.raises(ValueError, match=r"an episode of 12 steps, .* ends them after 5"):
        short.adapt_from(deploy.read_log(path))


def test_faults_are_refused_and_can_be_left_out(tmp_path: Path) -> None:
    learner = make("MAML")
    _, batch = experienced(learner, TASK, 3)
    own = learner.log_probs(learner.initial_state(), batch)[0]
    broken = batch._replace(rewards=batch.rewards.copy())
    broken.rewards[1, 4] = np.nan
    log = deploy.read_log(record_batch(tmp_path / "run.mcap", FAMILY, broken, own))
    with pytest.raises(
        ValueError, match=r"episode 1: the reward is not finite at step 4.*sound\(\)"
    ):
        learner.adapt_from(log)
    expected = learner.update(
        learner.initial_state(), EpisodeBatch(*(part[[0, 2]] for part in batch)), 0
    )
    adapted = learner.adapt_state_from(log.sound())
    for name, value in expected.params.items():
        assert torch.equal(adapted.params[name], value), name


def test_actions_of_unknown_probability_are_refused(tmp_path: Path) -> None:
    learner = make("MAML")
    batch, _ = batch_of(learner)
    log = deploy.read_log(record_batch(tmp_path / "run.mcap", FAMILY, batch, None))
    for mode in ("refuse", "weight"):
        with pytest.raises(ValueError, match="24 of 24 steps have no log_prob"):
            learner.adapt_from(log, off_policy=mode)
    with pytest.raises(ValueError, match="off_policy must be one of refuse, weight"):
        learner.adapt_from(log, off_policy="ignore")


@pytest.mark.parametrize(
    "learner",
    [
        meta.Reptile(PPO, "MlpPolicy", FAMILY, **SMALL),
        meta.Reptile(SAC, "MlpPolicy", FAMILY, **SMALL),
        meta.ES(PPO, "MlpPolicy", FAMILY, adaptation="hill_climbing", **SMALL),
    ],
    ids=["Reptile over PPO", "Reptile over SAC", "hill climbing"],
)
def test_learners_that_try_things_out_say_that_they_cannot(tmp_path: Path, learner: Any) -> None:
    batch, own = batch_of(make("MAML"))
    log = deploy.read_log(record_batch(tmp_path / "run.mcap", FAMILY, batch, own))
    with pytest.raises(TypeError, match="cannot learn from recorded episodes: adapt on the robot"):
        learner.adapt_from(log)


# At the command line --------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(make("MAML").save(tmp_path / "checkpoint"))


def call(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    told = capsys.readouterr()
    return code, " ".join(told.out.split()), told.err


def test_a_file_names_all_that_its_family_is_made_by(tmp_path: Path) -> None:
    """Of as many actions, with another meaning: what is left out here would be run in another family in silence."""
    (tmp_path / "checkpoint").write_bytes(b"")
    trained: Any = envs.make("A1Locomotion-v0", action="joints", horizon=77)
    learner: Any = SimpleNamespace(family=trained)
    size = (len(trained.signals), len(trained.action_signals))
    policy: Any = SimpleNamespace(
        path="a.onnx",
        observation_size=size[0],
        action_size=size[1],
        metadata={"family": trained.name, **origin_of(learner, tmp_path / "checkpoint")},
    )
    found = family_of(policy, Run(policy=Path("a.onnx")))
    assert found.config == trained.config


@pytest.mark.slow
def test_adapt_writes_a_policy_that_names_where_it_comes_from(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learner = make("MAML")
    _, batch = experienced(learner, TASK)
    own = learner.log_probs(learner.initial_state(), batch)[0]
    path = record_batch(tmp_path / "run.mcap", FAMILY, batch, own, tasks=[TASK] * 4)
    words: Sequence[str | Path] = ("adapt", "--from", checkpoint, "--from-log", path)
    code, out, err = call(capsys, *words, "--out", tmp_path / "adapted.onnx")
    assert (code, err) == (0, "")
    assert "4 episodes, 48.00 s of the robot's time" in out
    policy = deploy.runtime.Policy(tmp_path / "adapted.onnx")
    origin = policy.metadata["adaptation"]
    assert origin["log_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert origin["robot_seconds"] == pytest.approx(48.0)
    assert (origin["episodes"], origin["off_policy"]) == (4, "refuse")
    base = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert policy.metadata["checkpoint_sha256"] == base
    assert policy.metadata["task"] == {"goal_x": TASK.goal_x, "goal_y": TASK.goal_y}
    expected = learner.adapt_from(deploy.read_log(path))
    observation = batch.observations[0, 0]
    np.testing.assert_allclose(
        policy(observation), expected.predict(observation, deterministic=True)[0], atol=1e-5
    )
    code, out, _ = call(capsys, *words, "--out", tmp_path / "adapted.zip")
    assert code == 0
    assert "Saved" in out
    for words_too_many in (("--episodes", "3"), ("--task-seed", "3")):
        code, _, err = call(capsys, *words, "--out", tmp_path / "x.zip", *words_too_many)
        assert code == 2
        assert "are those of the log" in err


def test_adapt_refuses_weighs_and_drops(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drifted(make("MAML"), tmp_path / "run.mcap")
    words = ("adapt", "--from", checkpoint, "--from-log", tmp_path / "run.mcap")
    out = ("--out", tmp_path / "adapted.zip")
    code, _, err = call(capsys, *words, *out)
    assert code == 2
    assert "--off-policy weight" in err
    assert err.count("\n") == 1
    assert call(capsys, *words, *out, "--off-policy", "weight")[0] == 0
    learner = make("MAML")
    batch, own = batch_of(learner)
    batch.rewards[1, 4] = np.nan
    record_batch(tmp_path / "broken.mcap", FAMILY, batch, own)
    words = ("adapt", "--from", checkpoint, "--from-log", tmp_path / "broken.mcap")
    code, _, err = call(capsys, *words, *out, "--overwrite")
    assert code == 2
    assert "--faulty drop" in err
    code, told, _ = call(capsys, *words, *out, "--overwrite", "--faulty", "drop")
    assert code == 0
    assert "Left out 1 episode: episode 1: the reward is not finite" in told


def test_log_shows_episodes_faults_units_and_hashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learner = make("MAML")
    batch, own = batch_of(learner)
    batch.rewards[1, 4] = np.nan
    hashes = {"sha256": "0123456789abcdef", "weights_sha256": "fedcba9876543210"}
    path = record_batch(tmp_path / "run.mcap", FAMILY, batch, own, policies=[hashes, hashes])
    code, out, _ = call(capsys, "log", "show", path)
    assert code == 0
    for part in (
        f"sha256 {deploy.read_log(path).sha256[:12]}",
        "PointNavigation-v0",
        "1000 ms",
        f"[{FAMILY.signals[0].unit}]",
        "file 0123456789ab… weights fedcba987654…",
        f"{batch.rewards[0].sum():.2f}",
        "fault: episode 1: the reward is not finite at step 4",
        "2 episodes, 24 steps, 24.00 s",
    ):
        assert part in out
    path.write_bytes(path.read_bytes()[:2500])
    code, out, _ = call(capsys, "log", "show", path)
    assert code == 0
    assert "Note: the recorder did not close it" in out
    assert call(capsys, "log", "show", tmp_path / "none.mcap")[0] == 2


def test_log_converts_to_minari_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    batch, own = batch_of(make("MAML"))
    path = record_batch(tmp_path / "run.mcap", FAMILY, batch, own, tasks=[TASK] * 2)
    assert call(capsys, "log", "to-minari", path, "--dataset", "points-v0")[0] == 0
    again = tmp_path / "again.mcap"
    assert call(capsys, "log", "from-minari", "points-v0", "--out", again)[0] == 0
    one, other = deploy.read_log(path), deploy.read_log(again)
    for own_episode, same in zip(one.episodes, other.episodes, strict=True):
        assert own_episode.steps.tobytes() == same.steps.tobytes()
        assert own_episode.task == same.task
