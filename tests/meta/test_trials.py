"""Trials in numpy: what is remembered from step to step and episode to episode, and that torch computes the same."""

import dataclasses
import itertools
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from metamotor import envs, meta
from metamotor.envs import point_navigation
from metamotor.meta.hypernetwork import ContextNetwork
from metamotor.meta.rollouts import RolloutJob, Workplace, run_job
from metamotor.meta.trials import ActionEncoder, ContextPolicy, TrialActor, TrialJob
from tests.meta.toys import Bandit, BanditEnv, BestArm, Faulty

HEADS = ["hypernetwork", "film", "recurrent_state", "rl2"]
POINT = envs.make("PointNavigation-v0", horizon=6)
UNITS, CONTEXT = 7, 5


def make_network(kind, encoder, observations=2, seed=0):
    """A network whose context matters: what starts at zero is drawn at random."""
    torch.manual_seed(seed)
    outputs = encoder.size

    def layers(last):
        first = UNITS if kind == "rl2" else observations
        sizes = [first, 6, 4, last]
        return [(torch.randn(b, a) / 2, torch.randn(b) / 2) for a, b in itertools.pairwise(sizes)]

    network = ContextNetwork(
        kind,
        input_size=observations + encoder.size + 2,
        hidden_size=UNITS,
        context_size=CONTEXT,
        policy=layers(outputs),
        critic=layers(1),
        activation="Tanh",
        log_std=None if encoder.num_choices else torch.full((outputs,), -0.5),
    )
    for net in (network.policy, network.critic):
        torch.nn.init.normal_(net.modulation)
    return network


def make_policy(network, encoder, observations=2):
    names = ("input_weight", "input_bias", "hidden_weight", "hidden_bias")
    return ContextPolicy(
        **dict(zip(names, network.gru_to_numpy(), strict=True)),
        embedding=network.embedding_to_numpy(),
        policy=network.policy.to_numpy(),
        critic=network.critic.to_numpy(),
        std=None if network.log_std is None else network.log_std.detach().exp().numpy(),
        encoder=encoder,
        observation_mean=np.linspace(-0.1, 0.2, observations, dtype=np.float32),
        observation_scale=np.linspace(1.5, 2.0, observations, dtype=np.float32),
        reward_scale=0.7,
        start_observation=np.linspace(0.1, 0.3, observations, dtype=np.float32),
    )


def point_policy(kind="hypernetwork"):
    encoder = ActionEncoder.of(POINT.action_space)
    return make_policy(make_network(kind, encoder), encoder)


def run(policy, family=POINT, *, rewrites=(True, True), trials=1, seed=3, task=None, **changes):
    task = task or family.sample(1, seed=0)[0]
    job = TrialJob(task, policy, policy.start(), trials, rewrites, seed)
    return dataclasses.replace(job, **changes).run(Workplace(family))


def expected_inputs(batch, policy):
    """The encoder's inputs, written out step by step."""
    rows, previous = [], (np.zeros(policy.encoder.size), 0.0, 0.0)
    for episode in range(len(batch.mask)):
        for t in range(int(batch.mask[episode].sum())):
            observation = batch.observations[episode, t]
            scaled = (observation - policy.observation_mean) * policy.observation_scale
            action, reward, done = previous
            rows.append([*scaled, *action, reward * policy.reward_scale, done])
            clipped = np.clip(batch.actions[episode, t], -1, 1)
            previous = (clipped, batch.rewards[episode, t], 0.0)
        previous = (*previous[:2], 1.0)
    return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize("kind", HEADS)
def test_numpy_and_torch_agree(kind):
    encoder = ActionEncoder.of(POINT.action_space)
    network = make_network(kind, encoder)
    policy = make_policy(network, encoder)
    (batch,) = run(policy, rewrites=(True, True, True), deterministic=True)
    inputs = torch.as_tensor(expected_inputs(batch, policy))[None]
    steps = inputs.shape[1]
    taken = torch.ones(1, steps, dtype=torch.bool)
    sources = torch.arange(steps)[None]
    outputs, values, hidden = network(inputs, inputs[..., :2], sources, taken)
    np.testing.assert_allclose(
        batch.actions[batch.mask > 0], outputs.detach().numpy(), rtol=0, atol=1e-5
    )
    memory = policy.encode(policy.start(), batch)
    np.testing.assert_allclose(memory.hidden, hidden[-1].detach().numpy(), rtol=0, atol=1e-5)
    contexts = policy.context(hidden.detach().numpy())
    given = contexts if kind == "rl2" else inputs[0, :, :2].numpy()
    critic = policy.critic.apply(policy.critic.write(contexts), given)
    np.testing.assert_allclose(critic[:, 0], values.detach().numpy(), rtol=0, atol=1e-5)


def test_the_flag_of_an_end_and_the_rewards_are_read_one_step_late():
    policy = point_policy()
    (batch,) = run(policy)
    rows = expected_inputs(batch, policy)
    assert rows[:, -1].tolist() == [0.0] * 6 + [1.0] + [0.0] * 5
    assert not rows[0, 2:].any()
    memory = policy.start()
    for step, (row, observation) in enumerate(
        zip(rows, batch.observations.reshape(-1, 2), strict=True)
    ):
        np.testing.assert_allclose(memory.done, row[-1])
        np.testing.assert_allclose(memory.reward * policy.reward_scale, row[-2], rtol=1e-6)
        hidden = policy.read(memory, policy.normalize(observation))
        action = np.clip(batch.actions.reshape(-1, 2)[step], -1, 1)
        reward = np.float32(batch.rewards.reshape(-1)[step])
        end = np.float32(step == 5)
        memory = dataclasses.replace(memory, hidden=hidden, action=action, reward=reward, done=end)
    np.testing.assert_allclose(policy.encode(policy.start(), batch).hidden, hidden, atol=1e-6)


def test_memory_lasts_through_a_trial_and_no_longer():
    policy = point_policy()
    together = run(policy, trials=2, deterministic=True)
    first, second = together
    # The points start at the same place: what differs in the second episode is what is remembered of the first.
    assert np.abs(first.actions[0] - first.actions[1]).max() > 1e-3
    np.testing.assert_array_equal(first.actions, second.actions)
    (alone,) = run(policy, rewrites=(True,), deterministic=True)
    np.testing.assert_allclose(alone.actions[0], first.actions[0], rtol=0, atol=1e-6)
    memory = policy.encode(policy.start(), alone)
    (continued,) = run(policy, rewrites=(True,), deterministic=True, memory=memory)
    np.testing.assert_allclose(continued.actions[0], first.actions[1], rtol=0, atol=1e-5)


class OneByOne:
    """A family without a batch environment."""

    horizon, name = POINT.horizon, POINT.name
    make_env, sample = staticmethod(POINT.make_env), staticmethod(POINT.sample)


@pytest.mark.parametrize("rewrites", [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("kind", HEADS)
def test_trials_abreast_are_trials_one_by_one(kind, rewrites, monkeypatch):
    monkeypatch.setattr(point_navigation, "GOAL_TOLERANCE", 0.1)
    policy = point_policy(kind)
    task = dataclasses.replace(POINT.sample(1, seed=0)[0], goal_x=0.15, goal_y=0.0)
    abreast = run(policy, rewrites=rewrites, trials=40, task=task)
    alone = run(policy, OneByOne(), rewrites=rewrites, trials=40, task=task)
    for left, right in zip(abreast, alone, strict=True):
        for name in left._fields:
            np.testing.assert_allclose(
                getattr(left, name), getattr(right, name), rtol=0, atol=1e-5, err_msg=name
            )
    # Some episodes have to end early for this to say anything.
    assert len({int(steps) for trial in abreast for steps in trial.mask.sum(axis=1)}) > 1


@pytest.mark.parametrize("kind", ["hypernetwork", "film", "recurrent_state"])
def test_a_frozen_episode_is_one_of_the_written_policy(kind):
    policy = point_policy(kind)
    policy = dataclasses.replace(policy, start_observation=np.zeros(2, np.float32))
    (batch,) = run(policy, rewrites=(True, False), deterministic=True)
    first = type(batch)(*(part[:1] for part in batch))
    memory = policy.encode(policy.start(), first)
    actor = policy.frozen(policy.written(memory)[0])
    np.testing.assert_allclose(
        actor.act(batch.observations[1], None), batch.actions[1], rtol=0, atol=1e-5
    )
    other = policy.frozen(policy.written(policy.start())[0])
    assert np.abs(other.act(batch.observations[1], None) - batch.actions[1]).max() > 1e-3


def test_an_actor_that_remembers_sees_rewards_and_starts_each_episode_from_the_same_memory():
    policy = point_policy("rl2")
    (batch,) = run(policy, rewrites=(True,))
    actor: Any = TrialActor(policy, policy.encode(policy.start(), batch))
    task, far = POINT.sample(2, seed=0)
    result = RolloutJob(task, actor, 3, seed=1, deterministic=True).run(Workplace(POINT))
    np.testing.assert_array_equal(result.actions[0], result.actions[1])
    elsewhere = RolloutJob(far, actor, 3, seed=1, deterministic=True).run(Workplace(POINT))
    np.testing.assert_array_equal(result.actions[:, 0], elsewhere.actions[:, 0])
    assert np.abs(result.actions[:, 1] - elsewhere.actions[:, 1]).max() > 1e-4


def test_actions_are_remembered_as_the_robot_did_them():
    box = ActionEncoder.of(spaces.Box(np.array([-2, 0], np.float32), np.array([2, 4], np.float32)))
    np.testing.assert_allclose(box(np.array([[1.0, 1.0], [9.0, -9.0]])), [[0.5, -0.5], [1.0, -1.0]])
    choice = ActionEncoder.of(spaces.Discrete(3))
    np.testing.assert_array_equal(choice(np.array([2, 0])), [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize("fault", ["reward", "observation"])
def test_what_is_not_finite_is_told_with_its_step(fault):
    family = Faulty(fault)
    encoder = ActionEncoder.of(BanditEnv(5).action_space)
    policy = make_policy(make_network("hypernetwork", encoder), encoder)
    with pytest.raises(ValueError, match=rf"the {fault} of BestArm\(arm=1\) at step \d is"):
        run(policy, family, task=BestArm(1))


def test_a_worker_needs_no_torch_for_a_trial():
    code = (
        "import pickle, sys; job, family = pickle.load(sys.stdin.buffer);"
        "from metamotor.meta.rollouts import Workplace;"
        "print(job.run(Workplace(family))[0].rewards.sum(), 'torch' in sys.modules)"
    )
    policy = point_policy()
    job = TrialJob(POINT.sample(1, seed=0)[0], policy, policy.start(), 1, (True, False), 0)
    answer = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps((job, POINT)),
        capture_output=True,
        check=True,
    ).stdout.split()
    assert float(answer[0]) == job.run(Workplace(POINT))[0].rewards.sum()
    assert answer[1] == b"False"


class Odd(BanditEnv):
    """Observes one number more than it says."""

    def step(self, action):
        observation, *rest = super().step(action)
        return np.append(observation, np.float32(0.0)), *rest


def test_an_environment_that_breaks_its_word_is_told():
    class OddBandit(Bandit):
        def make_env(self):
            return Odd(self.horizon)

    family = OddBandit()
    learner = meta.MPO("PPO", "MlpPolicy", family, hidden_size=8, meta_batch_size=2)
    with pytest.raises(ValueError, match=r"observation of shape \(3,\), its observation_space"):
        learner.learn(10)


def test_an_actor_that_runs_itself_is_not_run_by_others():
    learner = meta.MPO("PPO", "MlpPolicy", Bandit(), hidden_size=8, head="rl2")
    job = RolloutJob(BestArm(0), learner.make_actor(learner.initial_state()), 2, 0)
    assert job.run(Workplace(Bandit())).num_steps == 10
    with pytest.raises(TypeError, match="TrialActor runs its episodes itself"):
        run_job(job, BanditEnv(5), None, horizon=5)
