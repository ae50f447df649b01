"""MAML as its users meet it: it learns, adapts without leaking, saves, goes on, and refuses what cannot work."""

import contextlib
import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.policies import ActorCriticPolicy

from metamotor import envs, meta
from metamotor.meta import meta_gradient
from metamotor.meta.checkpoints import read_checkpoint, write_checkpoint
from metamotor.meta.rollouts import RolloutJob, derive_seed
from metamotor.meta.workers import LocalSampler
from tests.meta.toys import Bandit, Faulty, objective_of, other_threads

POINT = envs.make("PointNavigation-v0", horizon=20)
KWARGS = {"gae_lambda": 1.0, "policy_kwargs": {"log_std_init": -0.7}}


def make_learner(family: Any = POINT, algorithm: Any = PPO, **changes: Any) -> Any:
    settings = {"meta_batch_size": 4, "episodes_per_task": 4, "outer_lr": 2e-3, **changes}
    return meta.MAML(algorithm, "MlpPolicy", family, base_kwargs=KWARGS, **settings)


def with_layers(net_arch: Any) -> Any:
    return meta.MAML(PPO, "MlpPolicy", POINT, base_kwargs={"policy_kwargs": {"net_arch": net_arch}})


def weights(model: Any) -> Any:
    return {name: value.detach().clone() for name, value in model.policy.state_dict().items()}


def assert_equal(left: Any, right: Any) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


@pytest.mark.slow
def test_it_learns_to_find_hidden_goals() -> None:
    family = envs.make("PointNavigation-v0")
    learner: Any = meta.MAML(
        PPO,
        "MlpPolicy",
        family,
        base_kwargs=KWARGS,
        meta_batch_size=20,
        episodes_per_task=20,
        outer_lr=1.5e-3,
    )
    lines = []
    learner._log = lambda scalars, _: lines.append(dict(scalars))
    learner.learn(600_000)
    assert lines[-1]["rollout/post_1"] > -25  # standing still: -38
    assert lines[-1]["rollout/gain"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_a_users_own_discrete_family_learns(algorithm: Any) -> None:
    learner = make_learner(
        Bandit(), algorithm, meta_batch_size=12, episodes_per_task=10, inner_lr=1
    )
    lines = []
    learner._log = lambda scalars, _: lines.append(dict(scalars))
    learner.learn(20_000)
    before = np.mean([line["rollout/pre"] for line in lines[-5:]])
    after = np.mean([line["rollout/post_1"] for line in lines[-5:]])
    assert before < 2.5  # 5 pulls, 3 arms: without knowing, 1.7
    assert after > 4


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"first_order": True},
        {"inner_steps": 2, "inner_loss": "dice"},
        {"outer": "trust_region"},
        {"outer": "trust_region", "learn_inner_lr": False, "inner_steps": 2},
        {"inner_steps": 0},
        {"inner_loss": "base", "kl_coef": 0.1},
        {"support_episodes": 2, "inner_steps": 2},
        {"algorithm": A2C, "inner_loss": "log_prob"},
        {"algorithm": TRPO},
    ],
    ids=str,
)
def test_every_variant_trains_and_resumes_to_the_same_bits(tmp_path: Path, changes: Any) -> None:
    through = make_learner(**changes).learn(2000)
    assert through.num_timesteps >= 2000
    moved = through.params["action_net.bias"] - make_learner(**changes).params["action_net.bias"]
    assert moved.abs().max() > 0
    half = make_learner(**changes).learn(1000)
    path = half.save(tmp_path / "half")
    loaded = meta.MAML.load(path).learn(2000)
    assert loaded.iteration == through.iteration
    assert_equal(loaded._state(), through._state())


@pytest.mark.parametrize("vectorised", [True, False])
def test_workers_do_not_change_the_result(vectorised: bool, monkeypatch: Any) -> None:
    """Neither where they only sample, nor where they take the gradients of large tasks."""
    if not vectorised:
        monkeypatch.setattr(meta_gradient, "MAX_VECTORISED", 0)
    changes: dict[str, Any] = {"kl_coef": 0.1, "exploration_coef": 0.1}
    alone = make_learner(**changes).learn(1500)
    together = make_learner(num_workers=2, **changes)
    together.learn(1500)
    together.close()
    assert_equal(alone._state(), together._state())


def test_classes_that_cannot_be_sent_keep_the_gradients_here(monkeypatch: Any) -> None:
    monkeypatch.setattr(meta_gradient, "MAX_VECTORISED", 0)

    class Local(PPO):
        """Not at the top level of its module."""

    learners = [make_learner(algorithm=Local, num_workers=workers) for workers in (0, 2)]
    for learner in learners:
        learner.learn(500)
        learner.close()
    assert_equal(learners[0]._state(), learners[1]._state())


def test_a_new_process_of_other_threads_gives_the_same_bits() -> None:
    """On a robot in contact with the ground, after this process has simulated other things."""
    script = """
        import hashlib
        from stable_baselines3 import PPO
        from metamotor import envs, meta
        family = envs.make("HalfCheetahDirection-v0", horizon=30)
        learner = meta.MAML(PPO, "MlpPolicy", family, meta_batch_size=2, episodes_per_task=2)
        learner.learn(400)
        state = b"".join(value.numpy().tobytes() for value in learner._state().values())
        print(hashlib.sha256(state).hexdigest())
    """
    code = textwrap.dedent(script)
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": other_threads()},
    ).stdout.split()[-1]
    here = io.StringIO()
    with contextlib.redirect_stdout(here):
        exec(code, {})
    assert here.getvalue().split()[-1] == other


def test_seeds_change_the_result() -> None:
    one, other = make_learner(seed=0).learn(500), make_learner(seed=1).learn(500)
    assert not torch.equal(one.params["action_net.weight"], other.params["action_net.weight"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [5, 5, 5]),
        ({"support_episodes": 2}, [2, 2, 5]),
        ({"support_episodes": 7}, [7, 7, 5]),
        ({"support_episodes": 2, "inner_steps": 0}, [5]),
    ],
    ids=str,
)
def test_support_and_query_have_as_many_episodes_as_they_are_given(
    changes: Any, expected: Any
) -> None:
    learner = make_learner(**{"episodes_per_task": 5, "inner_steps": 2, **changes})
    data, _ = learner._collect(POINT.sample(3, seed=0))
    stages = [[*one.support, one.query] for one in data]
    for of_task in stages:
        assert [len(stage.observations) for stage in of_task] == expected
    taken = sum(int((stage.weights > 0).sum()) for of_task in stages for stage in of_task)
    assert learner.num_timesteps == taken


def test_naming_the_default_number_of_support_episodes_changes_nothing() -> None:
    default, named = make_learner().learn(700), make_learner(support_episodes=4).learn(700)
    assert_equal(default._state(), named._state())


def test_how_far_adaptation_goes_is_logged() -> None:
    learner = make_learner(inner_lr=0.1, learn_inner_lr=False)
    tasks = POINT.sample(3, seed=0)
    data, scalars = learner._collect(tasks)
    adapted = [
        learner.objective.adapted(learner.params, learner.inner_lrs, own.support) for own in data
    ]
    # Gaussians of nearly the same spread: (difference of means / standard deviation)² / 2.
    expected = []
    for own, params in zip(data, adapted, strict=True):
        observations, weights = own.support[0].observations, own.support[0].weights
        before, after = (
            torch.distributions.Normal(learner.adapter.outputs(p, observations), p["log_std"].exp())
            for p in (learner.params, params)
        )
        kl = torch.distributions.kl_divergence(before, after).sum(-1)
        expected.append(float((kl * weights).sum().detach()))
    assert scalars["train/adaptation_kl"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert scalars["train/adaptation_kl"] > 0


def test_tasks_do_not_leak_into_each_other() -> None:
    learner = make_learner()
    learner.learn(700)
    before = learner.snapshot()
    first, second = POINT.sample(2, split="test", seed=0)
    alone = weights(learner.adapt(second, episodes=3))
    learner.adapt(first, episodes=3)
    assert_equal(weights(learner.adapt(second, episodes=3)), alone)
    assert_equal(learner.snapshot(), before)


def test_permuting_the_tasks_permutes_their_gradients() -> None:
    learner, tasks = make_learner(), POINT.sample(3, seed=0)
    data, _ = learner._collect(tasks)

    def gradients(order: Any) -> Any:
        found = {}
        for index in order:
            value = objective_of(learner, learner.params, learner.inner_lrs, data[index])
            leaf = learner.params["action_net.weight"]
            found[index] = torch.autograd.grad(value, leaf)[0]
        return found

    straight, reversed_ = gradients([0, 1, 2]), gradients([2, 1, 0])
    assert all(torch.equal(straight[i], reversed_[i]) for i in range(3))
    assert not torch.equal(straight[0], straight[1])


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_permuting_a_meta_batch_permutes_what_is_collected(
    inner_steps: int, monkeypatch: Any
) -> None:
    learner, tasks, order = (
        make_learner(inner_steps=inner_steps),
        POINT.sample(3, seed=0),
        [2, 0, 1],
    )
    # Seeds go by the place in the meta-batch: here they go with the task.
    current: list[Any] = []
    monkeypatch.setattr(
        "metamotor.meta.maml.derive_seed",
        lambda seed, iteration, stage, place: derive_seed(7, stage, tasks.index(current[place])),
    )

    def collected(own: Any) -> tuple[Any, Any]:
        current[:] = own
        data, _ = learner._collect(own)
        at = meta_gradient.Leaves(learner.params, tuple(learner.inner_lrs), learner.params)
        names = list(learner._leaves())
        return data, meta_gradient.meta_gradient(learner.objective, at, names, data)

    straight, gradient = collected(tasks)
    permuted, same = collected([tasks[i] for i in order])
    for place, index in enumerate(order):
        for one, other in zip(
            [*straight[index].support, straight[index].query],
            [*permuted[place].support, permuted[place].query],
            strict=True,
        ):
            assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    for name, value in gradient.tensors.items():
        torch.testing.assert_close(value, same.tensors[name], rtol=1e-4, atol=1e-6)
    # The ratios of each task's query are taken to its own adapted policy.
    for own in straight:
        query, taken = own.query, own.query.weights > 0
        adapted = learner.objective.adapted(learner.params, learner._frozen_lrs(), own.support)
        log_probs = learner.adapter.log_prob(adapted, query.observations, query.actions)
        torch.testing.assert_close(log_probs[taken], query.old_log_probs[taken])


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_adaptation_gives_the_own_loss_what_it_asks_for(algorithm: Any) -> None:
    learner = make_learner(algorithm=algorithm, inner_loss="base")
    data, _ = learner._collect(POINT.sample(1, seed=0))
    (first,), params, adapter = data[0].support, learner.params, learner.adapter
    taken = first.weights > 0
    expected = adapter.loss(
        params,
        observations=first.observations[taken],
        actions=first.actions[taken],
        old_log_probs=first.old_log_probs[taken],
        old_values=adapter.values(params, first.observations[taken]).detach(),
        advantages=first.advantages[taken],
        returns=first.returns[taken],
    )
    torch.testing.assert_close(learner.objective.inner_loss(first)(params), expected)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_the_adapted_model_is_a_plain_sb3_model(tmp_path: Path, algorithm: Any) -> None:
    learner = make_learner(algorithm=algorithm)
    task = POINT.sample(1, split="test", seed=0)[0]
    model = learner.adapt(task, episodes=2, updates=2)
    assert type(model) is algorithm
    assert model.get_env().get_attr("task") == [task]
    mean, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=2)
    assert np.isfinite(mean)
    model.save(tmp_path / "model.zip")
    loaded = algorithm.load(tmp_path / "model.zip", device="cpu")
    assert_equal(weights(loaded), weights(model))
    model.learn(50)
    assert model.num_timesteps >= 50


def test_adapting_by_hand_gives_what_adapt_gives() -> None:
    learner = make_learner()
    task = POINT.sample(1, split="test", seed=0)[0]
    model = learner.adapt(task, episodes=3, seed=5)
    job = RolloutJob(task, learner.adapter.make_actor(learner.params), 3, derive_seed(5, 0))
    batch = LocalSampler(POINT).collect([job])[0]
    assert_equal(weights(learner.adapt_from([batch])), weights(model))


def test_adapting_on_an_environment_keeps_its_task() -> None:
    learner = make_learner()
    env = POINT.make_env()
    task = POINT.sample(1, split="test", seed=0)[0]
    env.set_task(task)
    model = learner.adapt(env, episodes=2)
    assert env.task == task
    assert model.get_env().envs[0].unwrapped is env


def test_later_updates_are_smaller() -> None:
    learner = make_learner(inner_steps=2, inner_lr=0.4)
    sizes = [learner.step_sizes(step)["action_net.bias"].item() for step in range(4)]
    np.testing.assert_allclose(sizes, [0.4, 0.4, 0.2, 0.1])


class StopAtThird(BaseCallback):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def _on_training_start(self) -> None:
        self.calls.append("start")

    def _on_step(self) -> Any:
        self.calls.append(self.num_timesteps)
        return len(self.calls) < 4


def test_callbacks_and_logger_are_sb3s(tmp_path: Path) -> None:
    learner = make_learner()
    learner.set_logger(configure(str(tmp_path), ["csv"]))
    callback = StopAtThird()
    learner.learn(100_000, callback=callback)
    learner.logger.close()
    assert learner.iteration == 3
    assert callback.calls[0] == "start"
    assert callback.calls[-1] == learner.num_timesteps
    header, *rows = (tmp_path / "progress.csv").read_text().splitlines()
    assert len(rows) == 3
    for name in ("rollout/pre", "rollout/post_1", "rollout/gain", "time/fps", "train/inner_lr_1"):
        assert name in header


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_learner(algorithm=SAC), "MAML takes PPO, A2C or TRPO.*not SAC"),
        (lambda: make_learner(algorithm="SAC"), "MAML takes PPO, A2C or TRPO.*not SAC"),
        (lambda: make_learner(algorithm="TRPO", inner_loss="base"), "takes PPO or A2C.*not TRPO"),
        (lambda: make_learner(algorithm="PPOO"), "unknown algorithm 'PPOO'"),
        (lambda: make_learner(inner_lrr=1), "does not know inner_lrr; it takes inner_lr"),
        (lambda: make_learner(outer="adam"), "outer must be one of ppo, trust_region, got 'adam'"),
        (lambda: make_learner(inner_lr=-1.0), "inner_lr must be above 0, got -1.0"),
        (lambda: make_learner(inner_lr=float("nan")), "inner_lr must be above 0, got nan"),
        (lambda: make_learner(episodes_per_task=0), "episodes_per_task must be at least 1, got 0"),
        (
            lambda: make_learner(support_episodes=0),
            "support_episodes must be at least 1, got 0",
        ),
        (
            lambda: make_learner(support_episodes=2.0),
            "support_episodes must be a whole number, got 2.0",
        ),
        (lambda: make_learner(inner_lr=np.inf), "inner_lr must be finite, got inf"),
        (lambda: make_learner(outer_lr=True), "outer_lr must be a number, got True"),
        (lambda: make_learner(inner_lr_lr=0.0), "inner_lr_lr must be above 0, got 0.0"),
        (lambda: make_learner(kl_coef=-0.1), "kl_coef must be at least 0, got -0.1"),
        (lambda: make_learner(kl_coef=np.nan), "kl_coef must be at least 0, got nan"),
        (lambda: make_learner(max_kl=np.inf), "max_kl must be finite, got inf"),
        (lambda: make_learner(clip_range="0.2"), "clip_range must be a number, got '0.2'"),
        (lambda: make_learner(later_step_decay=1.1), "later_step_decay must be between 0 and 1"),
        (lambda: make_learner(inner_steps=1.0), "inner_steps must be a whole number, got 1.0"),
        (lambda: make_learner(inner_steps=-1), "inner_steps must be at least 0, got -1"),
        (lambda: make_learner(meta_batch_size=2.5), "meta_batch_size must be a whole number"),
        (lambda: make_learner(first_order="no"), "first_order must be True or False, got 'no'"),
        (lambda: make_learner(num_workers=-1), "num_workers must be"),
        (lambda: make_learner(seed=-1), "seed must be at least 0, got -1"),
        (lambda: make_learner(seed=2**32), r"seed must be below 2\*\*32, got 4294967296"),
        (lambda: make_learner(seed=None), "seed must be a whole number, got None"),
        (
            lambda: make_learner().adapt(POINT.sample(1, seed=0)[0], seed=-1),
            "seed must be at least",
        ),
        (lambda: with_layers([64, 0]), "net_arch holds the numbers of units .* got 0"),
        (lambda: with_layers({"pi": [0], "vf": [64]}), "net_arch .* at least 1, got 0"),
        (lambda: with_layers({"pi": [8.5], "vf": [64]}), "net_arch .* whole .*, got 8.5"),
        (lambda: meta.MAML.load("ppo.zip"), "ppo.zip is not a checkpoint of a metamotor learner"),
        (lambda: make_learner("CartPole-v0"), r"pass metamotor.envs.make\('CartPole-v0'\)"),
        (lambda: make_learner(Bandit), "must be an object, got the class Bandit"),
        (lambda: make_learner(POINT.make_env()), "lacks name, horizon, sample, make_env"),
        (lambda: make_learner().learn(0), "total_timesteps must be at least 1, got 0"),
        (lambda: make_learner().learn(np.nan), "total_timesteps must be a whole number, got nan"),
        (lambda: make_learner().learn(1.5), "total_timesteps must be a whole number, got 1.5"),
        (lambda: make_learner().learn(9, log_interval=0), "log_interval must be at least 1, got 0"),
        (
            lambda: make_learner().adapt(POINT.sample(1, seed=0)[0], episodes=0),
            "episodes must be at least 1, got 0",
        ),
        (lambda: make_learner().adapt_from([]), "at least one batch"),
        (lambda: make_learner().adapt_from("a.mcap"), r"pass deploy.read_log\('a.mcap'\)"),
        (lambda: make_learner().adapt_from([3]), "a list of batches of episodes .* got list"),
        (lambda: make_learner().learn(10, callback=5), r"callback \(BaseCallback\) .* got 5"),
        (lambda: make_learner().learn(10, callback=[5]), r"or a list of these, got \[5\]"),
        (lambda: make_learner().set_logger(3), "takes a Stable-Baselines3 logger.* got 3"),
        (
            lambda: meta.MAML.load(cast(Any, ["a"])),
            r"MAML.load takes the path of a checkpoint.* got \['a'\]",
        ),
        (lambda: POINT.sample(1, seed=cast(Any, 1.5)), "seed must be a whole number, got 1.5"),
        (lambda: POINT.sample(1, seed=-1), "seed must be at least 0, got -1"),
        (
            lambda: POINT.sample(cast(Any, "2"), seed=0),
            "number of tasks must be a whole number, got '2'",
        ),
        (lambda: make_learner().adapt(Bandit().make_env()), "observation_space|action_space"),
        (lambda: make_learner(Faulty("reward")).learn(10), "reward of BestArm"),
    ],
)
def test_mistakes_are_told_at_once(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("changes", [{}, {"outer": "trust_region"}, {"inner_steps": 0}], ids=str)
def test_training_that_diverges_stops_and_says_so(changes: Any) -> None:
    learner = make_learner(**changes)
    iterate = learner._meta_iteration

    def break_down() -> Any:
        scalars = iterate()
        if learner.iteration == 1:
            with torch.no_grad():
                learner.params["action_net.bias"][0] = float("nan")
        return scalars

    learner._meta_iteration = break_down
    with pytest.raises(
        ValueError, match=r"diverged at iteration 2, lower outer_lr.*action_net.bias"
    ):
        learner.learn(10_000)


class Robot(gymnasium.Env):
    """Has the spaces it is given, and must not move."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, **_: Any) -> Any:
        raise AssertionError("it moved")


def test_a_robot_with_other_spaces_does_not_move() -> None:
    observed, acts = POINT.observation_space, POINT.action_space
    learner = make_learner()
    for other in (spaces.Box(-2, 2, acts.shape), spaces.Box(-1, 1, (3,)), spaces.Discrete(2)):
        with pytest.raises(ValueError, match="the environment's action_space is"):
            learner.adapt(Robot(observed, other))
    with pytest.raises(ValueError, match="the environment's observation_space is"):
        learner.adapt(Robot(spaces.Box(-0.5, 0.5, observed.shape), acts))
    bandit = Bandit()
    with pytest.raises(ValueError, match=r"action_space is Discrete\(4\), but Bandit has"):
        make_learner(bandit).adapt(Robot(bandit.observation_space, spaces.Discrete(4)))
    with pytest.raises(AssertionError, match="it moved"):
        learner.adapt(Robot(observed, acts))


class Deaf(Bandit):
    """A family whose environment knows its task from `reset` alone, if that."""

    def make_env(self) -> Any:
        env = super().make_env()
        return gymnasium.wrappers.TransformReward(
            Robot(env.observation_space, env.action_space), float
        )


def test_an_environment_that_takes_no_task_is_refused() -> None:
    with pytest.raises(TypeError, match=r"TransformReward.* has no set_task\(task\)"):
        make_learner(Deaf())


def test_a_task_of_another_family_is_refused() -> None:
    with pytest.raises(TypeError, match="expects a PointTask, got BestArm"):
        make_learner().adapt(Bandit().sample(1, seed=0)[0])


def test_loading_into_a_family_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = make_learner().save(tmp_path / "point")
    with pytest.raises(ValueError, match="do not fit PointNavigation-v0"):
        meta.MAML.load(path, family=POINT.replace(reveal_task=True))
    mine = make_learner(Bandit()).save(tmp_path / "bandit")
    with pytest.raises(ValueError, match="'Bandit', which is not in this package: pass family="):
        meta.MAML.load(mine)
    assert meta.MAML.load(mine, family=Bandit()).num_timesteps == 0


def test_a_checkpoint_is_loaded_only_into_what_it_was_trained_on(tmp_path: Path) -> None:
    path = make_learner().save(tmp_path / "point")
    with pytest.raises(
        ValueError, match=r"trained on PointNavigation-v0, but the family .* Bandit"
    ):
        meta.MAML.load(path, family=Bandit())
    with pytest.raises(ValueError, match="with horizon=20, but the family given has horizon=30"):
        meta.MAML.load(path, family=POINT.replace(horizon=30))
    tensors, document = read_checkpoint(path)
    bias = tensors.pop("params.action_net.bias")
    write_checkpoint(path, tensors, document)
    with pytest.raises(ValueError, match=r"there is no tensor params\.action_net\.bias"):
        meta.MAML.load(path)
    # Of a shape that would be spread out over the right one.
    write_checkpoint(path, tensors | {"params.action_net.bias": bias[:1]}, document)
    with pytest.raises(ValueError, match=r"action_net\.bias has the shape \(1,\)"):
        meta.MAML.load(path)
    more = {"params.action_net.bias": bias, "params.more": bias.clone()}
    write_checkpoint(path, tensors | more, document)
    with pytest.raises(ValueError, match=r"no place for params\.more"):
        meta.MAML.load(path)
    document["config"]["inner_momentum"] = 0.9
    write_checkpoint(path, tensors, document)
    with pytest.raises(ValueError, match=r"another version of metamotor.*inner_momentum"):
        meta.MAML.load(path)


class OwnPPO(PPO):
    """A user's algorithm."""


class OwnPolicy(ActorCriticPolicy):
    """A user's policy."""


def test_own_classes_are_passed_at_load(tmp_path: Path) -> None:
    learner = meta.MAML(OwnPPO, OwnPolicy, POINT)
    path = learner.save(tmp_path / "own")
    with pytest.raises(ValueError, match=r"OwnPPO, which is not .*: pass algorithm="):
        meta.MAML.load(path)
    with pytest.raises(ValueError, match=r"OwnPolicy, which is not .*: pass policy="):
        meta.MAML.load(path, algorithm=OwnPPO)
    loaded = meta.MAML.load(path, algorithm=OwnPPO, policy=OwnPolicy)
    assert_equal(loaded._state(), learner._state())
    trusted = meta.MAML(PPO, ActorCriticPolicy, POINT).save(tmp_path / "trusted")
    assert meta.MAML.load(trusted).policy is ActorCriticPolicy


def own_schedule(progress: Any) -> Any:
    """A user's learning rate."""
    return 1e-3 * progress


def test_own_arguments_are_passed_at_load(tmp_path: Path) -> None:
    own = {"learning_rate": own_schedule, "policy_kwargs": {"log_std_init": np.float32(-1)}}
    learner = meta.MAML(PPO, "MlpPolicy", POINT, base_kwargs=own)
    path = learner.save(tmp_path / "own")
    with pytest.raises(ValueError, match=r"own_schedule in base_kwargs: pass base_kwargs= again"):
        meta.MAML.load(path)
    loaded = meta.MAML.load(path, base_kwargs=own)
    assert_equal(loaded._state(), learner._state())


def test_what_cannot_be_saved_fails_before_training() -> None:
    own = {"policy_kwargs": {"optimizer_kwargs": {"eps": 1e-5, "betas": object()}}}
    with pytest.raises(ValueError, match=r"document\.base_kwargs\.policy_kwargs.* cannot be saved"):
        meta.MAML(PPO, "MlpPolicy", POINT, base_kwargs=own)
