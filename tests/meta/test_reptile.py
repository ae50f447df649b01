"""Reptile: what its outer step is in closed form, that tasks do not leak, and that any algorithm may be inside."""

import functools
import hashlib
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO, SAC, TD3
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise

from metamotor import envs, meta
from metamotor.meta.functional.reptile import annealed, interpolate
from metamotor.meta.reptile import LearnJob
from metamotor.meta.rollouts import RolloutJob, derive_seed
from metamotor.meta.workers import LocalSampler
from tests.meta.toys import Bandit, BestArm, Faulty, Line, Target, other_threads

POINT = envs.make("PointNavigation-v0", horizon=20)
SMALL = {"policy_kwargs": {"net_arch": [16]}}
OFF_POLICY = SMALL | {"learning_starts": 5, "batch_size": 16}


def make_learner(algorithm=PPO, family=POINT, base_kwargs=SMALL, **changes):
    settings = {"meta_batch_size": 3, "episodes_per_task": 2, "inner_steps": 2, **changes}
    return meta.Reptile(algorithm, "MlpPolicy", family, base_kwargs=base_kwargs, **settings)


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def differ(left, right):
    return any(not torch.equal(left[name], right[name]) for name in left)


# The outer step ---------------------------------------------------------------------------------


RATE = 0.05


def loss_of(params, task):
    """Return a quadratic with its own minimum and curvature for each task."""
    curvature = 1.0 + task.place
    return sum(0.5 * curvature * (value - task.place).square().sum() for value in params.values())


class OneStep(PPO):
    """One plain gradient step on the task's quadratic; a few episodes would give an estimate of such a step."""

    def learn(self, *_, **__):
        assert self.env is not None
        (task,) = self.env.get_attr("task")
        params = dict(self.policy.named_parameters())
        gradients = torch.autograd.grad(loss_of(params, task), list(params.values()))
        with torch.no_grad():
            for value, gradient in zip(params.values(), gradients, strict=True):
                value.sub_(RATE * gradient)
        return self


@pytest.mark.parametrize("tasks", [1, 5])
def test_with_one_gradient_step_it_is_joint_training(tasks):
    learner = make_learner(OneStep, Line(), meta_batch_size=tasks, outer_lr=0.7)
    before = {key: value.clone().requires_grad_() for key, value in learner.params.items()}
    drawn = Line().sample(tasks, seed=derive_seed(0, 0, 0))
    loss = torch.stack([loss_of(before, task) for task in drawn]).mean()
    gradients = torch.autograd.grad(loss, list(before.values()))
    learner._meta_iteration()
    for (name, value), gradient in zip(before.items(), gradients, strict=True):
        expected = value.detach() - 0.7 * RATE * gradient
        torch.testing.assert_close(learner.params[name], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("algorithm", "family"), [(PPO, POINT), (SAC, Line()), ("DQN", Bandit())])
def test_a_whole_step_on_one_task_is_what_the_base_learner_made_of_it(algorithm, family):
    kwargs = SMALL if algorithm is PPO else OFF_POLICY
    learner = make_learner(algorithm, family, kwargs, meta_batch_size=1, outer_lr=1.0)
    start, steps = learner.params, 2 * family.horizon
    task = family.sample(1, split="train", seed=derive_seed(0, 0, 0))[0]
    learner._meta_iteration()
    env = family.make_env()
    env.set_task(task)
    seed = derive_seed(0, 0, 1, 0)
    expected, _ = learner.base.learn(start, env, steps, seed, updates=2)
    assert_equal(learner.params, expected)
    assert differ(expected, start)


def test_the_outer_step_goes_part_of_the_way_and_counts_are_copied():
    params = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}
    ends = [
        {"w": torch.tensor([3.0, 2.0]), "n": torch.tensor(5)},
        {"w": torch.tensor([5.0, 0.0]), "n": torch.tensor(5)},
    ]
    moved = interpolate(params, ends, 0.5)
    assert moved["w"].tolist() == [2.5, 1.5]
    assert moved["n"].item() == 5
    assert params["w"].tolist() == [1.0, 2.0]


def test_every_tensor_that_is_learned_is_moved():
    learner = make_learner(SAC, Line(), OFF_POLICY, episodes_per_task=6)
    start = learner.params
    learner._meta_iteration()
    still = {name for name, value in learner.params.items() if torch.equal(value, start[name])}
    assert not still
    assert {"log_ent_coef", "critic_target.qf1.0.weight"} <= start.keys()


def test_the_step_size_is_annealed_by_steps_taken():
    assert [annealed(1.0, 0.2, p) for p in (0.0, 0.5, 1.0, 7.0)] == pytest.approx(
        [1, 0.6, 0.2, 0.2]
    )
    learner = make_learner(outer_lr=0.8, anneal_timesteps=1000)
    lines = []
    learner._log = lambda scalars, _: lines.append((learner.num_timesteps, dict(scalars)))
    learner.learn(1300)
    taken = [0] + [steps for steps, _ in lines]
    for before, (_, line) in zip(taken, lines, strict=False):
        assert line["train/outer_lr"] == pytest.approx(0.8 * max(0.0, 1 - before / 1000))
    frozen = dict(learner.params)
    learner._meta_iteration()  # annealed to nothing
    assert_equal(learner.params, frozen)
    assert make_learner(outer_lr=0.8).learn(500).outer_lr == 0.8


# Nothing leaks ----------------------------------------------------------------------------------


SEEN: list[tuple[int, int]] = []
"""Of each inner learning: the entries in the optimisers and in the replay buffer when it began."""


class SpyPPO(PPO):
    def learn(self, *args, **kwargs):
        SEEN.append((len(self.policy.optimizer.state), 0))
        return super().learn(*args, **kwargs)


class SpySAC(SAC):
    def learn(self, *args, **kwargs):
        assert self.replay_buffer is not None
        state = [self.actor.optimizer, self.critic.optimizer, self.ent_coef_optimizer]
        SEEN.append((sum(len(o.state) for o in state if o), self.replay_buffer.size()))
        return super().learn(*args, **kwargs)


@pytest.mark.parametrize(("algorithm", "kwargs"), [(SpyPPO, SMALL), (SpySAC, OFF_POLICY)])
def test_optimisers_and_replay_buffers_are_new_for_each_task(algorithm, kwargs):
    SEEN.clear()
    learner = make_learner(algorithm, Line(), kwargs, query_episodes=0)
    learner._meta_iteration()
    learner.adapt_state(Target(0.6), episodes=2, updates=2)
    assert SEEN == [(0, 0)] * 5


@pytest.mark.parametrize(("algorithm", "kwargs"), [(PPO, SMALL), (TD3, OFF_POLICY)])
def test_permuting_the_tasks_permutes_what_is_learned(algorithm, kwargs):
    learner = make_learner(
        algorithm, Line(), kwargs | {"action_noise": 0.1} if algorithm is TD3 else kwargs
    )
    tasks, seeds = [Target(-0.6), Target(0.6), Target(0.1)], [5, 6, 7]
    sampler = LocalSampler(Line())

    def learned(order):
        found = learner.adapt_states(
            [learner.initial_state()] * 3,
            [tasks[i] for i in order],
            step=0,
            episodes=2,
            seeds=[seeds[i] for i in order],
            sampler=sampler,
        )
        return {i: state for i, state in zip(order, found, strict=True)}

    straight, permuted = learned([0, 1, 2]), learned([2, 0, 1])
    for index in range(3):
        assert_equal(straight[index], permuted[index])
    assert differ(straight[0], straight[1])


def test_adapting_leaves_the_learner_alone():
    learner = make_learner()
    learner.learn(300)
    before = learner.snapshot()
    first, second = POINT.sample(2, split="test", seed=0)
    alone = learner.adapt_state(second, episodes=3)
    learner.adapt(first, episodes=3)
    assert_equal(learner.adapt_state(second, episodes=3), alone)
    assert_equal(learner.snapshot(), before)


# The same bits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "family", "kwargs"),
    [(PPO, POINT, SMALL), (SAC, Line(), OFF_POLICY), ("DQN", Bandit(), OFF_POLICY)],
    ids=["PPO", "SAC", "DQN"],
)
def test_training_resumes_to_the_same_bits(tmp_path, algorithm, family, kwargs):
    make = functools.partial(make_learner, algorithm, family, kwargs, anneal_timesteps=2000)
    through = make().learn(700)
    path = make().learn(300).save(tmp_path / "half")
    loaded = meta.Reptile.load(path, family=family)
    assert loaded.num_timesteps < 700
    loaded.learn(700)
    assert loaded.iteration == through.iteration
    assert_equal(loaded._state(), through._state())
    assert differ(loaded.params, make().params)


@pytest.mark.parametrize(
    ("algorithm", "family", "kwargs"),
    [(PPO, POINT, SMALL), (SAC, Line(), OFF_POLICY)],
    ids=["PPO", "SAC"],
)
def test_workers_do_not_change_the_result(algorithm, family, kwargs):
    results = []
    for num_workers in (0, 2):
        learner = make_learner(algorithm, family, kwargs, num_workers=num_workers)
        learner.learn(300)
        learner.close()
        results.append(learner._state())
    assert_equal(results[0], results[1])


def test_a_new_process_of_other_threads_gives_the_same_bits():
    script = "from tests.meta.test_reptile import digest; print(digest())"
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": other_threads()},
    ).stdout.split()[-1]
    assert found == digest()


def digest():
    """Return what is learned on a robot in contact with the ground, in short."""
    family = envs.make("HalfCheetahDirection-v0", horizon=30)
    learner = make_learner(PPO, family, meta_batch_size=2).learn(200)
    state = b"".join(value.numpy().tobytes() for value in learner._state().values())
    return hashlib.sha256(state).hexdigest()


# Adaptation as its users meet it ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "kwargs"),
    [
        (PPO, SMALL | {"n_steps": 32, "batch_size": 16}),
        (A2C, SMALL),
        (TRPO, SMALL | {"n_steps": 32, "batch_size": 16}),
        (SAC, OFF_POLICY),
    ],
)
def test_the_adapted_model_is_a_plain_sb3_model(tmp_path, algorithm, kwargs):
    learner = make_learner(algorithm, POINT, kwargs)
    task = POINT.sample(1, split="test", seed=0)[0]
    model = learner.adapt(task, episodes=2, updates=2)
    assert type(model) is algorithm
    assert model.get_env().get_attr("task") == [task]
    mean, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=2)
    assert np.isfinite(mean)
    state = learner.adapt_state(task, episodes=2, updates=2)
    for name, value in model.policy.state_dict().items():
        assert torch.equal(value, state[name])
    model.save(tmp_path / "model.zip")
    loaded = algorithm.load(tmp_path / "model.zip", device="cpu")
    seen = np.zeros(2, dtype=np.float32)
    assert np.array_equal(
        loaded.predict(seen, deterministic=True)[0], model.predict(seen, deterministic=True)[0]
    )
    model.learn(50)
    assert model.num_timesteps >= 50


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_adaptation_uses_the_experience_it_is_given_and_no_more(inner_steps):
    taken: list[int] = []

    class Counting(LocalSampler):
        def collect(self, jobs):
            results = super().collect(jobs)
            taken.extend(met.num_timesteps for _, met in results)
            return results

    learner = make_learner(PPO, POINT, SMALL | {"n_steps": 2048}, inner_steps=inner_steps)
    learner.adapt_states(
        [learner.initial_state()],
        POINT.sample(1, seed=0),
        step=0,
        episodes=5,
        seeds=[0],
        sampler=Counting(POINT),
    )
    assert taken == [100 // inner_steps * inner_steps]


def test_a_part_of_an_update_goes_that_part_of_the_way():
    learner = make_learner()
    adapt = functools.partial(
        learner.adapt_states,
        [learner.initial_state()],
        POINT.sample(1, seed=0),
        step=0,
        episodes=2,
        seeds=[0],
        sampler=LocalSampler(POINT),
    )
    whole, half, none = (adapt(scale=scale)[0] for scale in (1.0, 0.5, 0.0))
    assert_equal(none, learner.initial_state())
    for name, start in learner.params.items():
        torch.testing.assert_close(half[name], (start + whole[name]) / 2)


def test_adapting_on_an_environment_keeps_its_task():
    learner = make_learner()
    env = POINT.make_env()
    task = POINT.sample(1, split="test", seed=0)[0]
    env.set_task(task)
    model = learner.adapt(env, episodes=2)
    assert env.task == task
    assert model.get_env().envs[0].unwrapped is env
    assert_equal(learner.adapt_state(env, episodes=2), learner.adapt_state(task, episodes=2))


def test_recorded_episodes_are_refused_since_it_adapts_by_trying():
    learner = make_learner()
    job = RolloutJob(POINT.sample(1, seed=0)[0], learner.make_actor(learner.initial_state()), 2, 0)
    batch = LocalSampler(POINT).collect([job])[0]
    with pytest.raises(TypeError, match="Reptile over PPO adapts by interacting"):
        learner.adapt_from([batch])


def test_the_log_says_what_learning_on_a_task_is_worth():
    learner = make_learner(OneStep, Line(), query_episodes=2)
    lines = []
    learner._log = lambda scalars, _: lines.append(dict(scalars))
    learner.learn(60)
    assert (
        learner.num_timesteps == 60
    )  # 3 tasks, 2 × 2 episodes of 5 steps: OneStep itself takes none
    line = lines[0]
    assert line["rollout/gain"] == line["rollout/post_1"] - line["rollout/pre"]
    assert line["train/step_norm"] > 0
    silent = make_learner(query_episodes=0)
    silent._log = lambda scalars, _: lines.append(dict(scalars))
    silent.learn(100)
    assert silent.num_timesteps == 3 * 2 * 20
    assert "rollout/pre" not in lines[-1]


def test_action_noise_is_saved_as_a_number_and_passed_again_as_an_object(tmp_path):
    kwargs: dict[str, Any] = OFF_POLICY | {"action_noise": 0.2}
    path = make_learner(TD3, POINT, kwargs).save(tmp_path / "number")
    assert meta.Reptile.load(path).base_kwargs["action_noise"] == 0.2
    kwargs["action_noise"] = NormalActionNoise(np.zeros(2), np.ones(2))
    path = make_learner(TD3, POINT, kwargs).save(tmp_path / "object")
    with pytest.raises(ValueError, match=r"NormalActionNoise in base_kwargs: pass base_kwargs="):
        meta.Reptile.load(path)
    assert meta.Reptile.load(path, base_kwargs=kwargs).algorithm is TD3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_learner("SACK"), "unknown algorithm 'SACK'"),
        (lambda: make_learner(SAC, Bandit()), "cannot make SAC.*action spaces"),
        (lambda: make_learner(inner_lr=1), "does not know inner_lr; it takes inner_steps"),
        (lambda: make_learner(inner_steps=0), "inner_steps must be at least 1, got 0"),
        (lambda: make_learner(meta_batch_size=1.5), "meta_batch_size must be a whole number"),
        (lambda: make_learner(episodes_per_task=0), "episodes_per_task must be at least 1"),
        (lambda: make_learner(query_episodes=-1), "query_episodes must be at least 0, got -1"),
        (lambda: make_learner(anneal_timesteps=-1), "anneal_timesteps must be at least 0"),
        (lambda: make_learner(outer_lr=0.0), "outer_lr must be above 0, got 0.0"),
        (lambda: make_learner(outer_lr=np.nan), "outer_lr must be above 0, got nan"),
        (lambda: make_learner(outer_lr_final=-0.1), "outer_lr_final must be at least 0, got -0.1"),
        (lambda: make_learner(inner_steps=30).learn(10), "40 steps are too few for 30 updates"),
        (lambda: make_learner(PPO, Faulty("reward")).learn(10), "reward of BestArm"),
        (lambda: make_learner(base_kwargs={"learning_rate": 1e30}).learn(100), "PPO diverged"),
        (
            lambda: make_learner(base_kwargs={"learning_rate": lambda _: 1e-3}, num_workers=1),
            "cannot be sent to worker processes.*num_workers=0",
        ),
    ],
)
def test_mistakes_are_told_at_once(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path):
    path = make_learner().save(tmp_path / "point")
    with pytest.raises(ValueError, match="do not fit PointNavigation-v0"):
        meta.Reptile.load(path, family=POINT.replace(reveal_task=True))
    with pytest.raises(ValueError, match="was saved by Reptile, not by MAML"):
        meta.MAML.load(path)
    learner = make_learner()
    with pytest.raises(ValueError, match=r"there is no place for params\.more"):
        learner._load_state(learner._state() | {"params.more": torch.zeros(1)})


def test_a_job_is_arrays_only():
    """Tensors would reach a worker through shared memory, of which a machine has little."""
    learner = make_learner()
    jobs = []

    class Recorder(LocalSampler):
        def collect(self, given):
            jobs.extend(given)
            return super().collect(given)

    tasks = POINT.sample(1, seed=0)
    learner.adapt_states(
        [learner.params], tasks, step=0, episodes=1, seeds=[0], sampler=Recorder(POINT)
    )
    (job,) = jobs
    assert isinstance(job, LearnJob)
    assert all(isinstance(value, np.ndarray) for value in job.params.values())
    params, _ = job.run(LocalSampler(POINT)._workplace)
    assert all(isinstance(value, np.ndarray) for value in params.values())


# It learns --------------------------------------------------------------------------------------

ON = {"learning_rate": 1e-2, "gamma": 0.0, "policy_kwargs": {"net_arch": [32]}}
OFF = ON | {"learning_rate": 3e-3, "learning_starts": 0, "batch_size": 64}
LEARNS = {
    "PPO": ON,
    "A2C": ON | {"learning_rate": 2e-2},
    "TRPO": ON | {"target_kl": 0.1},
    "RecurrentPPO": ON | {"policy_kwargs": {"lstm_hidden_size": 16}},
    "SAC": OFF | {"tau": 0.05},
    "TD3": OFF | {"tau": 0.05, "action_noise": 0.5},
    "DDPG": OFF | {"tau": 0.05, "action_noise": 0.5},
    "TQC": OFF | {"tau": 0.05},
    "DQN": OFF | {"train_freq": 1, "exploration_final_eps": 0.2, "exploration_fraction": 0.8},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.thorough if name in ("DDPG", "TQC") else ())
        for name in LEARNS
    ],
)
def test_any_algorithm_learns_inside(name):
    """Return after adaptation, of at most 0 on the line and 5 on the bandit; without knowing the task -3 and 5/3."""
    family = Bandit() if name == "DQN" else Line()
    tasks: Any = [BestArm(0), BestArm(2)] if name == "DQN" else [Target(-0.6), Target(0.6)]
    policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy"
    learner = meta.Reptile(
        name,
        policy,
        family,
        base_kwargs=LEARNS[name],
        meta_batch_size=2,
        episodes_per_task=40,
        inner_steps=10 if name == "A2C" else 4,
    )
    learner.learn(500)

    def mean_return(updates):
        states = [learner.adapt_state(task, 40, updates=updates) for task in tasks]
        batches = learner.collect(
            states,
            tasks,
            episodes=10,
            seeds=[0, 0],
            sampler=LocalSampler(family),
            deterministic=True,
        )
        return np.mean([batch.episode_returns.mean() for batch in batches])

    before, after = mean_return(0), mean_return(1)
    assert before < (2.6 if name == "DQN" else -2.9)
    assert after > before + 1.0


@pytest.mark.slow
def test_it_learns_to_find_hidden_goals():
    family = envs.make("PointNavigation-v0")
    learner: Any = meta.Reptile(
        PPO, "MlpPolicy", family, base_kwargs={"learning_rate": 1e-3, "gae_lambda": 1.0}
    )
    lines = []
    learner._log = lambda scalars, _: lines.append(dict(scalars))
    learner.learn(60_000)
    last = lines[-5:]
    assert np.mean([line["rollout/post_1"] for line in last]) > -30  # standing still: -38
    assert np.mean([line["rollout/gain"] for line in last]) > 8
