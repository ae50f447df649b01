"""Any algorithm as a base learner: its actors act as its models do, and its own learning gives the same bits again."""

import hashlib
import os
import pickle
import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TRPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from metamotor import envs
from metamotor.meta.actors import EpsilonGreedyActor, NoisyActor
from metamotor.meta.base_learner import BaseLearner, params_of
from metamotor.meta.policies import PredictingActor
from metamotor.meta.records import ALGORITHMS, resolve_algorithm
from metamotor.meta.rollouts import RolloutJob
from metamotor.meta.threads import one_torch_thread
from metamotor.meta.workers import LocalSampler
from tests.meta.toys import Bandit, Line, other_threads

SMALL = {"net_arch": [16]}
"""Layers small enough for tests."""
OFF_POLICY: dict[str, Any] = {"learning_starts": 10, "batch_size": 16, "policy_kwargs": SMALL}
KWARGS: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 20, "batch_size": 10, "n_epochs": 2},
    "A2C": {"n_steps": 10},
    "TRPO": {"n_steps": 20, "batch_size": 10},
    "RecurrentPPO": {"n_steps": 20, "batch_size": 10, "policy_kwargs": {"lstm_hidden_size": 8}},
    "SAC": OFF_POLICY,
    "TD3": OFF_POLICY | {"action_noise": 0.1},
    "DDPG": OFF_POLICY | {"action_noise": 0.1},
    "TQC": OFF_POLICY,
    "CrossQ": OFF_POLICY | {"policy_kwargs": SMALL | {"n_critics": 1}},
    "DQN": OFF_POLICY | {"target_update_interval": 20, "train_freq": 1},
    "QRDQN": OFF_POLICY | {"target_update_interval": 20, "train_freq": 1},
    "ARS": {"n_delta": 2},
}
"""Arguments of each algorithm with which it learns within 60 steps; MaskablePPO needs an environment with masks."""
IN_NUMPY = {"PPO", "A2C", "TRPO", "SAC", "TD3", "DDPG", "TQC", "DQN"}


def make_base(name, family=None, **kwargs):
    family = family or (Bandit(horizon=7) if name in ("DQN", "QRDQN") else Line(horizon=7))
    policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy"
    return BaseLearner(ALGORITHMS[name], policy, family, KWARGS[name] | kwargs, seed=0)


def make_env(base, index=0):
    env = base.family.make_env()
    env.set_task(base.family.sample(index + 1, seed=0)[index])
    return env


def observations(base, size):
    shape = base.family.observation_space.shape
    return np.random.default_rng(0).uniform(-1, 1, (size, *shape)).astype(np.float32)


def moved(params, seed=0):
    """Return parameters away from where they start, so that nothing is 0 by chance."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: value + 0.1 * torch.randn(value.shape, generator=generator)
        if value.is_floating_point() and "ra_var" not in name
        else value
        for name, value in params.items()
    }


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


# Parameters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KWARGS)
def test_a_model_has_the_parameters_it_is_given(name):
    base = make_base(name)
    params = moved(base.initial_params())
    model = base.make_model(params, base.family.make_env())
    assert type(model) is ALGORITHMS[name]
    assert_equal(params_of(model), params)
    state = model.policy.state_dict()
    assert all(torch.equal(value, params[n]) for n, value in state.items() if n in params)
    # Every tensor of the policy is there, under one of its names.
    held = {params[n].data_ptr() for n in state if n in params}
    own = {value.data_ptr() for value in model.policy.state_dict().values()}
    assert len(held) == len(own)


def test_target_networks_and_the_entropy_coefficient_are_among_them():
    assert {"log_ent_coef"} <= make_base("SAC").initial_params().keys()
    assert {"ent_coef_tensor"} <= make_base("SAC", ent_coef=0.2).initial_params().keys()
    for name, prefix in (("TD3", "actor_target."), ("TQC", "critic_target."), ("DQN", "q_net_t")):
        assert any(n.startswith(prefix) for n in make_base(name).initial_params())


def test_buffers_of_the_policy_are_among_them():
    base = make_base("CrossQ")
    learned, _ = base.learn(base.initial_params(), make_env(base), 60, seed=0)
    means = [name for name in learned if name.endswith("ra_mean")]
    assert means
    assert any(learned[name].abs().max() > 0 for name in means)


def test_parameters_that_do_not_fit_are_refused():
    base = make_base("SAC")
    params = base.initial_params()
    for name in ("log_ent_coef", "actor.mu.weight"):
        rest = {key: value for key, value in params.items() if key != name}
        with pytest.raises(ValueError, match=f"there is no tensor {name}"):
            base.make_model(rest, base.family.make_env())


def test_models_share_nothing_with_the_users_arguments():
    kwargs = {"policy_kwargs": {"net_arch": [8]}}
    base = BaseLearner(TD3, "MlpPolicy", Line(), kwargs, seed=0)
    base.make_model(base.initial_params(), base.family.make_env())
    assert kwargs == {"policy_kwargs": {"net_arch": [8]}}


# Learning ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KWARGS)
def test_learning_gives_the_same_bits_again(name):
    base = make_base(name)
    start, env = base.initial_params(), make_env(base)
    before = {key: value.clone() for key, value in start.items()}
    first, met = base.learn(start, env, 60, seed=3)
    assert_equal(start, before)
    assert met.num_timesteps >= 60
    assert len(met.episode_returns) == met.num_timesteps // 7
    assert any(not torch.equal(first[key], start[key]) for key in start)
    torch.manual_seed(99)  # whatever went before, in the environment and the generators
    np.random.seed(99)
    base.learn(moved(start), env, 30, seed=8)
    again, met_again = base.learn(start, make_env(base), 60, seed=3)
    assert_equal(again, first)
    assert met_again == met
    other, _ = base.learn(start, env, 60, seed=4)
    assert any(not torch.equal(first[key], other[key]) for key in start)


def test_another_process_of_other_threads_gives_the_same_bits():
    script = "from tests.meta.test_base_learner import digest; print(digest())"
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": other_threads()},
    ).stdout.split()[-1]
    assert found == digest()


def digest():
    """Return what some algorithms learn, in short."""
    found = hashlib.sha256()
    for name in ("PPO", "SAC", "TD3", "DQN"):
        base = make_base(name)
        learned, met = base.learn(base.initial_params(), make_env(base), 60, seed=3)
        found.update(b"".join(value.numpy().tobytes() for value in learned.values()))
        found.update(repr(met).encode())
    return found.hexdigest()


@one_torch_thread()  # the orthogonal initial weights of two threads are others
def test_learning_is_the_algorithms_own():
    """What SB3 does by itself, with the same seed, gives the same policy."""
    base = make_base("PPO")
    learned, _ = base.learn(base.initial_params(), make_env(base), 60, seed=3)
    env = gymnasium.wrappers.TimeLimit(make_env(base), 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PPO("MlpPolicy", env, seed=0, device="cpu", **KWARGS["PPO"])
    assert_equal(params_of(model), base.initial_params())
    model.set_random_seed(3)
    model.learn(60)
    assert_equal(params_of(model), learned)


@pytest.mark.parametrize("name", ["PPO", "A2C", "TRPO", "RecurrentPPO"])
@pytest.mark.parametrize(("total", "updates", "taken"), [(60, 3, 60), (60, 1, 60), (50, 7, 49)])
def test_on_policy_updates_share_the_steps(monkeypatch, name, total, updates, taken):
    base = make_base(name) if name == "A2C" else make_base(name, n_steps=1000)
    trained, own = [], vars(base.algorithm)["train"]

    def counted(model):
        trained.append(model.rollout_buffer.buffer_size)
        own(model)

    monkeypatch.setattr(base.algorithm, "train", counted)
    _, met = base.learn(base.initial_params(), make_env(base), total, seed=0, updates=updates)
    assert met.num_timesteps == taken
    assert trained == [total // updates] * updates
    with pytest.raises(ValueError, match="7 steps are too few for 4 updates"):
        base.learn(base.initial_params(), make_env(base), 7, seed=0, updates=4)


def test_the_replay_buffer_holds_what_is_learned_from():
    sizes = []

    class Counting(SAC):
        def learn(self, *args, **kwargs):
            buffer: Any = self.replay_buffer
            sizes.append(buffer.buffer_size)
            return super().learn(*args, **kwargs)

    for kwargs in ({}, {"buffer_size": 33}):
        base = BaseLearner(Counting, "MlpPolicy", Line(), OFF_POLICY | kwargs, seed=0)
        base.learn(base.initial_params(), make_env(base), 40, seed=0)
        assert base.template.replay_buffer.buffer_size in (1, 33)
    assert sizes == [40, 33]


def test_episodes_end_at_the_horizon_even_if_the_environment_goes_on():
    base = make_base("A2C")
    env = make_env(base)
    env.horizon = 10**9
    _, met = base.learn(base.initial_params(), env, 70, seed=0)
    assert len(met.episode_returns) == 10


@pytest.mark.parametrize(("value", "message"), [(np.nan, "the reward"), (np.inf, "the reward")])
def test_rewards_that_are_not_finite_are_told(value, message):
    base = make_base("SAC")
    env = make_env(base)
    env.step = lambda action: (np.zeros(2, np.float32), value, False, False, {})
    with pytest.raises(ValueError, match=f"{message} of .* at step 0 is .*, not finite"):
        base.learn(base.initial_params(), env, 20, seed=0)


def test_learning_that_diverges_says_so():
    base = make_base("PPO", learning_rate=1e30, max_grad_norm=1e30)
    with pytest.raises(ValueError, match=r"PPO diverged while it learned, lower its learning_rate"):
        base.learn(base.initial_params(), make_env(base), 200, seed=0)


# Actors -----------------------------------------------------------------------------------------


class Cubes(BaseFeaturesExtractor):
    """A features extractor with parameters of its own."""

    def __init__(self, observation_space):
        super().__init__(observation_space, features_dim=5)
        self.layer = torch.nn.Linear(observation_space.shape[0], 5)

    def forward(self, inputs):
        return self.layer(inputs) ** 3


@pytest.mark.parametrize("name", KWARGS)
@pytest.mark.parametrize(
    "policy_kwargs", [{}, {"features_extractor_class": Cubes}], ids=["plain", "own"]
)
def test_an_actor_does_what_its_model_predicts(name, policy_kwargs):
    if name == "ARS" and policy_kwargs:
        pytest.skip("ARS takes no features extractor")
    given = KWARGS[name].get("policy_kwargs", {}) | policy_kwargs
    base = make_base(name, policy_kwargs=given)
    params = moved(base.initial_params())
    model = base.make_model(params, base.family.make_env())
    seen = observations(base, 50)
    expected, _ = model.predict(seen, deterministic=True)
    for actor in (base.make_actor(params), pickle.loads(pickle.dumps(base.make_actor(params)))):
        inner = actor.actor if isinstance(actor, NoisyActor | EpsilonGreedyActor) else actor
        in_numpy = name in IN_NUMPY and not policy_kwargs
        assert isinstance(inner, PredictingActor) != in_numpy
        actor.begin()
        together = actor.act(seen, None)
        alone = []
        for one in seen:
            actor.begin()
            alone.append(actor.act(one, None))
        for actions in (together, np.array(alone)):
            if isinstance(base.family.action_space, spaces.Box):
                actions = np.clip(
                    actions, base.family.action_space.low, base.family.action_space.high
                )
            assert actions.shape == expected.shape
            np.testing.assert_allclose(actions, expected, atol=1e-5)


def test_layers_of_every_shape_act_alike():
    shapes: Any = (
        {"net_arch": []},
        {"net_arch": [8, 8], "activation_fn": torch.nn.Tanh},
        {"net_arch": [8, 8], "activation_fn": torch.nn.ReLU},
        {"net_arch": [8], "activation_fn": torch.nn.ELU},
    )
    for name in sorted(IN_NUMPY):
        for policy_kwargs in shapes:
            base = make_base(name, policy_kwargs=policy_kwargs)
            params = moved(base.initial_params())
            model = base.make_model(params, base.family.make_env())
            seen = observations(base, 20)
            expected, _ = model.predict(seen, deterministic=True)
            actions = base.make_actor(params).act(seen, None)
            if isinstance(base.family.action_space, spaces.Box):
                space = base.family.action_space
                actions = np.clip(actions, space.low, space.high)
            np.testing.assert_allclose(actions, expected, atol=1e-5, err_msg=f"{name}")


def draws(actor, observation, size, seed=0):
    noise = actor.draw_noise(np.random.default_rng(seed), (size, 1))
    return actor.act(np.repeat(observation[None], size, axis=0), noise[:, 0])


@pytest.mark.parametrize("name", ["PPO", "SAC", "TQC"])
def test_draws_have_the_mean_and_spread_of_the_models(name):
    base = make_base(name)
    params = moved(base.initial_params())
    model = base.make_model(params, base.family.make_env())
    observation, size = observations(base, 1)[0], 20_000
    torch.manual_seed(0)
    expected, _ = model.predict(np.repeat(observation[None], size, axis=0), deterministic=False)
    space = base.family.action_space
    found = np.clip(draws(base.make_actor(params), observation, size), space.low, space.high)
    scale = space.high - space.low
    np.testing.assert_allclose(found.mean(0) / scale, expected.mean(0) / scale, atol=0.01)
    np.testing.assert_allclose(found.std(0) / scale, expected.std(0) / scale, atol=0.01)


@pytest.mark.parametrize("name", ["TD3", "DDPG", "SAC"])
@pytest.mark.parametrize("noise", [0.2, NormalActionNoise(np.full(2, 0.1), np.full(2, 0.2))])
def test_action_noise_is_on_top(name, noise):
    base = (
        make_base(name, action_noise=noise, ent_coef=0.1)
        if name == "SAC"
        else make_base(name, action_noise=noise)
    )
    quiet = make_base(name, action_noise=None)
    params = quiet.initial_params() | base.initial_params()  # near 0, where nothing is clipped
    observation, space = observations(base, 1)[0], base.family.action_space
    half = (space.high - space.low) / 2
    mean = 0.0 if isinstance(noise, float) else 0.1
    found = draws(base.make_actor(params), observation, 20_000) / half
    without = draws(quiet.make_actor(params), observation, 20_000) / half
    if name == "SAC":  # its own draws reach the bounds, where the noise is cut off
        assert found.std(0).min() > without.std(0).min()
        assert np.abs(found - without).max() > 0.1
    else:
        np.testing.assert_allclose(found.mean(0) - without.mean(0), mean, atol=0.01)
        np.testing.assert_allclose(found.std(0), 0.2, atol=0.01)
    assert (np.abs(found * half - (space.high + space.low) / 2) <= half + 1e-5).all()


def test_noise_that_remembers_begins_anew_with_each_episode():
    noise = OrnsteinUhlenbeckActionNoise(np.zeros(2), np.ones(2), theta=0.0, dt=1.0)
    actor = make_base("TD3", action_noise=noise).make_actor(make_base("TD3").initial_params())
    state: Any = np.random.get_state()
    drawn = actor.draw_noise(np.random.default_rng(0), (2000, 4))
    after: Any = np.random.get_state()
    assert (after[1] == state[1]).all()  # the user's generator is left alone
    # Without a pull to the mean it is a random walk: the variance is the number of steps.
    np.testing.assert_allclose(
        drawn.var(axis=0), np.array([[1, 1], [2, 2], [3, 3], [4, 4]]), rtol=0.15
    )
    assert np.array_equal(drawn, actor.draw_noise(np.random.default_rng(0), (2000, 4)))


@pytest.mark.parametrize("name", ["DQN", "QRDQN"])
def test_any_choice_has_its_share_of_epsilon(name):
    base = make_base(name, exploration_final_eps=0.3)
    params = moved(base.initial_params())
    observation = observations(base, 1)[0]
    actor = base.make_actor(params)
    best = int(actor.act(observation, None))
    size = 20_000 if name == "DQN" else 3000
    counts = np.bincount(draws(actor, observation, size), minlength=3) / size
    expected = np.full(3, 0.1)
    expected[best] += 0.7
    np.testing.assert_allclose(counts, expected, atol=0.03)


class Echo(gymnasium.Env):
    """Shows noise; what a policy with a memory does depends on all of it."""

    def __init__(self):
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)

    def set_task(self, task):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._see(), {}

    def step(self, action):
        return self._see(), 0.0, False, False, {}

    def _see(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


def test_a_recurrent_policy_remembers_within_an_episode_and_not_beyond():
    base = make_base("RecurrentPPO")
    params = {name: 3 * value for name, value in moved(base.initial_params()).items()}
    model = base.make_model(params, base.family.make_env())
    sampler = LocalSampler(base.family, env=Echo())
    job = RolloutJob("TASK", base.make_actor(params), 3, seed=1, deterministic=True)
    batch = sampler.collect([job])[0]
    for episode in range(3):
        state = None
        for t, (seen, done) in enumerate(
            zip(batch.observations[episode], batch.actions[episode], strict=True)
        ):
            action, state = model.predict(seen, state, np.array([t == 0]), deterministic=True)
            np.testing.assert_allclose(done, action, atol=1e-5)
    forgetful, _ = model.predict(batch.observations[0, 3], None, np.array([True]), True)
    assert np.abs(forgetful - batch.actions[0, 3]).max() > 1e-3


@pytest.mark.parametrize("name", ["RecurrentPPO", "CrossQ", "ARS"])
def test_policies_in_torch_give_the_same_draws_again(name):
    base = make_base(name)
    params = moved(base.initial_params())
    task = base.family.sample(1, seed=0)[0]
    jobs = [RolloutJob(task, base.make_actor(params), 2, seed=5) for _ in range(2)]
    sampler = LocalSampler(base.family)
    first = sampler.collect(jobs[:1])[0]
    torch.manual_seed(1)
    again = sampler.collect([pickle.loads(pickle.dumps(jobs[1]))])[0]
    assert np.array_equal(first.actions, again.actions)


@pytest.mark.parametrize("name", ["PPO", "SAC", "TQC"])
def test_state_dependent_exploration_is_one_matrix_an_episode(name):
    base = make_base(name, use_sde=True)
    actor = base.make_actor(base.initial_params())
    seen = observations(base, 1)[0]
    noise = actor.draw_noise(np.random.default_rng(0), (2, 3))
    found = []
    for episode in range(2):
        actor.begin()
        found.append([actor.act(seen, noise[episode, t]) for t in range(3)])
    assert np.array_equal(found[0][0], found[0][2])
    assert not np.array_equal(found[0][0], found[1][0])
    model = base.make_model(base.initial_params(), base.family.make_env())
    expected, _ = model.predict(seen, deterministic=True)
    actor.begin()
    np.testing.assert_allclose(actor.act(seen, None), expected, atol=1e-6)


# What is refused --------------------------------------------------------------------------------


def test_names_are_those_of_sb3_and_sb3_contrib():
    assert set(KWARGS) | {"MaskablePPO"} == set(ALGORITHMS)
    assert resolve_algorithm("TRPO") is TRPO
    for wrong in ("PPOO", int, PPO("MlpPolicy", "CartPole-v1", device="cpu")):
        with pytest.raises(ValueError, match=r"unknown algorithm 'PPOO'; .*TQC|expected the class"):
            resolve_algorithm(wrong)


@pytest.mark.parametrize(
    ("algorithm", "kwargs", "message"),
    [
        (DQN, {}, "cannot make DQN.*action spaces"),
        (SAC, {"gamma": 2.0}, "gamma must be between 0 and 1, got 2.0"),
        (SAC, {"tau": -0.1}, "tau must be between 0 and 1, got -0.1"),
        (TD3, {"action_noise": -0.1}, "action_noise must be at least 0, got -0.1"),
        (TD3, {"learning_start": 1}, "cannot make TD3.*unexpected keyword argument"),
        (A2C, {"seed": 1}, r"base_kwargs may not hold \['seed'\]"),
    ],
)
def test_mistakes_are_told_at_once(algorithm, kwargs, message):
    with pytest.raises(ValueError, match=message):
        BaseLearner(algorithm, "MlpPolicy", Line(), kwargs)


def test_an_environment_of_the_package_will_do():
    family = envs.make("PointNavigation-v0", horizon=10)
    base = BaseLearner(SAC, "MlpPolicy", family, OFF_POLICY, seed=0)
    tasks = family.sample(2, seed=0)
    env = family.make_env()
    learned = []
    for task in tasks:
        env.set_task(task)
        learned.append(base.learn(base.initial_params(), env, 40, seed=0))
        assert env.task == task
    assert learned[0][1].episode_returns != learned[1][1].episode_returns


@pytest.mark.parametrize("name", ["observation_space", "action_space"])
def test_a_family_that_does_not_know_its_own_spaces_is_refused(name):
    family = Line()
    setattr(family, name, spaces.Box(-1.0, 1.0, (7,), np.float32))
    with pytest.raises(ValueError, match=rf"{name}.*\(7,\)"):
        BaseLearner(A2C, "MlpPolicy", family)
