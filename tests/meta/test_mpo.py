"""Meta-policy optimisation as its users meet it: it remembers, learns, saves, goes on, and refuses what cannot work."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.evaluation import evaluate_policy

from metamotor import envs, meta
from metamotor.meta.rollouts import EpisodeBatch, RolloutJob, derive_seed
from metamotor.meta.trials import TrialJob
from metamotor.meta.workers import LocalSampler
from tests.meta.toys import Bandit

POINT = envs.make("PointNavigation-v0", horizon=10)
CART = envs.make("CartPole-v0", horizon=30)
KWARGS = {"policy_kwargs": {"log_std_init": -0.7, "net_arch": [8, 8]}}
HEADS = ["hypernetwork", "film", "recurrent_state", "rl2"]


def make_learner(family=POINT, algorithm=PPO, base_kwargs=KWARGS, policy="MlpPolicy", **changes):
    sizes = {"meta_batch_size": 6, "hidden_size": 16, "context_size": 4, "episodes_per_trial": 3}
    settings = {**sizes, **changes}
    return meta.MPO(algorithm, policy, family, base_kwargs=base_kwargs, **settings)


def trained(**changes):
    """A learner whose policy has come to depend on the context."""
    return make_learner(outer_lr=1e-2, **changes).learn(400)


def weights(model):
    return {name: value.detach().clone() for name, value in model.policy.state_dict().items()}


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_it_finds_out_which_arm_pays_and_remembers_it(head):
    family = Bandit(horizon=4)
    learner: Any = meta.MPO(
        PPO,
        "MlpPolicy",
        family,
        base_kwargs={"policy_kwargs": {"net_arch": [16]}},
        head=head,
        hidden_size=32,
        context_size=8,
        episodes_per_trial=2,
        meta_batch_size=60,
        n_epochs=6,
        n_minibatches=1,
        outer_lr=5e-3,
    )
    lines = []
    learner._log = lambda scalars, _: lines.append(dict(scalars))
    learner.learn(50_000)
    last = [np.mean([line[f"rollout/{name}"] for line in lines[-5:]]) for name in ("pre", "post_1")]
    assert (
        last[0] < 3.2
    )  # three arms tried one after the other: 4, 3 or 2 of 4 pulls pay, 3 on average
    assert last[1] > 3.6  # a policy for all tasks: 4/3
    task = family.sample(1, seed=1)[0]
    if head != "rl2":
        model = learner.adapt(task, episodes=1)
        returns, _ = evaluate_policy(model, model.get_env(), 10, return_episode_rewards=True)
        assert np.mean(returns) > 3.6


# The start: Bias-HyperInit ------------------------------------------------------------------------


def test_every_context_first_gives_the_base_learners_own_policy():
    learner = make_learner()
    template = learner.adapter.make_actor(learner.adapter.initial_params())
    observations = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    rng = np.random.default_rng(1)
    batch = EpisodeBatch(
        rng.normal(size=(2, 10, 2)).astype(np.float32),
        rng.normal(size=(2, 10, 2)).astype(np.float32),
        rng.normal(size=(2, 10)),
        np.ones((2, 10)),
        np.zeros(2, dtype=bool),
    )
    for state in (learner.initial_state(), learner.update(learner.initial_state(), batch, 0)):
        actor = learner.make_actor(state)
        np.testing.assert_array_equal(
            actor.act(observations, None), template.act(observations, None)
        )
    own = weights(learner.make_model(learner.initial_state(), POINT.make_env()))
    params = learner.adapter.initial_params()
    assert_equal(own, weights(learner.adapter.make_model(params, POINT.make_env())))


def test_after_training_contexts_give_different_policies():
    learner = trained()
    task, other = POINT.sample(2, seed=5)
    observations = np.zeros((1, 2), np.float32)
    actions = [
        learner.make_actor(learner.adapt_state(own, episodes=2)).act(observations, None)
        for own in (task, other)
    ]
    assert np.abs(actions[0] - actions[1]).max() > 1e-4


# Training -----------------------------------------------------------------------------------------


def collect(learner, tasks):
    policy = learner.context_policy()
    batches = learner._sample(tasks, policy)
    return batches, learner.prepare(batches, tasks, policy)


def test_training_sees_the_steps_of_a_trial_one_behind_the_other():
    learner = make_learner(CART, meta_batch_size=3, episodes_per_trial=3, frozen_episodes=1)
    batches, trials = collect(learner, CART.sample(3, seed=0))
    lengths = [batch.mask.sum(axis=1).astype(int) for batch in batches]
    assert len({int(own.sum()) for own in lengths}) > 1  # some are padded
    for row, (batch, own) in enumerate(zip(batches, lengths, strict=True)):
        steps, starts = own.sum(), np.cumsum([0, *own[:-1]])
        assert trials.taken[row].sum() == steps
        np.testing.assert_allclose(trials.rewards[row, :steps], batch.rewards[batch.mask > 0])
        done = trials.inputs[row, :, -1].numpy()
        assert np.flatnonzero(done).tolist() == starts[1:].tolist()
        online = starts[2]
        sources = trials.sources[row, :steps].numpy()
        np.testing.assert_array_equal(sources[:online], np.arange(online))
        assert (sources[online:] == online).all()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", [POINT, CART, Bandit()], ids=lambda family: family.name)
def test_training_computes_the_policy_that_acted(family, head):
    learner = trained(family=family, head=head)
    tasks = family.sample(6, seed=3)
    policy = learner.context_policy()
    job = TrialJob(tasks[0], policy, policy.start(), 6, learner._rewrites, 0, deterministic=True)
    batches = LocalSampler(family).collect([job])[0]
    trials = learner.prepare(batches, tasks, policy)
    outputs, _, _ = learner.network(
        trials.inputs, trials.observations, trials.sources, trials.taken
    )
    if outputs.shape[-1] > 2 and not trials.actions.is_floating_point():
        outputs = outputs.argmax(-1)
    np.testing.assert_allclose(
        trials.actions[trials.taken], outputs.detach().numpy(), rtol=0, atol=1e-5
    )


def test_advantages_look_over_the_ends_of_episodes_and_not_of_trials():
    learner = make_learner(trial_gamma=0.9, trial_gae_lambda=0.8, episodes_per_trial=2)
    tasks = POINT.sample(2, seed=0)
    _, trials = collect(learner, tasks)
    values = np.random.default_rng(0).normal(size=trials.rewards.shape)
    found = learner.advantages(trials, values)
    length = trials.rewards.shape[1]
    assert length == 20
    for row in range(2):
        following = np.append(values[row, 1:], 0.0)
        errors = trials.rewards[row] + 0.9 * following - values[row]
        expected = [
            sum((0.9 * 0.8) ** (k - t) * errors[k] for k in range(t, length)) for t in range(length)
        ]
        np.testing.assert_allclose(found[row], expected)
    changed = trials.rewards.copy()
    changed[0, 12] += 1.0
    moved = learner.advantages(dataclasses.replace(trials, rewards=changed), values) - found
    np.testing.assert_allclose(moved[0, :13], 0.72 ** np.arange(12, -1, -1))
    assert not moved[1].any()


@pytest.mark.parametrize("head", HEADS)
def test_the_gradient_reaches_the_encoder_through_a_frozen_policy(head):
    learner = trained(head=head, episodes_per_trial=2)
    _, trials = collect(learner, POINT.sample(2, seed=0))
    inputs = trials.inputs.clone().requires_grad_()
    outputs, _, _ = learner.network(inputs, trials.observations, trials.sources, trials.taken)
    outputs[19].sum().backward()  # the last step of the first trial
    reached = inputs.grad.abs().sum(-1)
    assert (reached[0, :11] > 0).all()
    assert not reached[1].any()
    assert not reached[0, 11:].any() or head == "rl2"
    assert all(parameter.grad.abs().max() > 0 for parameter in learner.network.gru.parameters())


def test_permuting_the_trials_permutes_their_results():
    learner = trained()
    _, trials = collect(learner, POINT.sample(5, seed=0))
    order = torch.tensor([3, 0, 4, 2, 1])

    def run(rows):
        given = (rows.inputs, rows.observations, rows.sources, rows.taken)
        outputs, values, _ = learner.network(*given)
        return outputs.reshape(5, -1).detach(), values.reshape(5, -1).detach()

    for straight, permuted in zip(run(trials), run(trials.rows(order)), strict=True):
        torch.testing.assert_close(straight[order], permuted, rtol=0, atol=1e-6)
    assert not torch.allclose(run(trials)[1][0], run(trials)[1][1])


@pytest.mark.parametrize(
    "changes",
    [
        *({"head": head} for head in HEADS),
        {"task_loss_coef": 0.5},
        {"frozen_episodes": 3, "trials_per_task": 2},
        {"family": CART, "episodes_per_trial": 1, "frozen_episodes": 0},
        {"family": Bandit(), "n_minibatches": 100},
    ],
)
def test_every_variant_trains_and_resumes_to_the_same_bits(tmp_path, changes):
    through = make_learner(**changes).learn(1000)
    assert through.num_timesteps >= 1000
    before = make_learner(**changes)._state()
    names = [name for name in before if name.startswith("network.") and before[name].numel()]
    assert all(not torch.equal(before[name], through._state()[name]) for name in names)
    half = make_learner(**changes).learn(500)
    path = half.save(tmp_path / "half")
    loaded = meta.MPO.load(path, family=changes.get("family")).learn(1000)
    assert 0 < half.iteration < loaded.iteration == through.iteration
    assert_equal(loaded._state(), through._state())


def test_workers_do_not_change_the_result():
    alone = make_learner(CART).learn(1500)
    together = meta.MPO(PPO, "MlpPolicy", CART, alone.config, base_kwargs=KWARGS, num_workers=2)
    together.learn(1500)
    together.close()
    assert_equal(alone._state(), together._state())


def test_the_log_tells_what_each_episode_of_a_trial_brings():
    learner = make_learner(episodes_per_trial=3)
    lines = []
    learner._log = lambda scalars, _: lines.append(dict(scalars))
    learner.learn(1)
    (line,) = lines
    assert line["rollout/gain"] == line["rollout/post_2"] - line["rollout/pre"]
    assert line["time/sampling_seconds"] > 0
    assert learner.trained_updates == 2
    batches, _ = collect(make_learner(episodes_per_trial=3), _tasks_of(learner))
    for name, episode in (("pre", 0), ("post_1", 1), ("post_2", 2)):
        returns = [batch.episode_returns[episode] for batch in batches]
        np.testing.assert_allclose(line[f"rollout/{name}"], np.mean(returns))


def _tasks_of(learner):
    count, seed = learner.config.meta_batch_size, derive_seed(learner.seed, 0, 0)
    return learner.family.sample(count, split="train", seed=seed)


# Adaptation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["hypernetwork", "film", "recurrent_state"])
@pytest.mark.parametrize("family", [POINT, Bandit()], ids=lambda family: family.name)
def test_what_is_measured_is_the_model_that_adapt_returns(tmp_path, family, head):
    learner = trained(family=family, head=head)
    task = family.sample(1, split="test", seed=0)[0]
    state = learner.adapt_state(task, episodes=2, updates=2)
    job = RolloutJob(task, learner.make_actor(state), 3, 0, deterministic=True)
    batch = LocalSampler(family).collect([job])[0]
    model = learner.adapt(task, episodes=2, updates=2)
    assert type(model) is PPO
    seen, done = batch.observations[batch.mask > 0], batch.actions[batch.mask > 0]
    predicted, _ = model.predict(seen, deterministic=True)
    low, high = getattr(family.action_space, "low", 0), getattr(family.action_space, "high", 9)
    np.testing.assert_allclose(predicted, np.clip(done, low, high), rtol=0, atol=1e-5)
    if head == "hypernetwork" and family is POINT:
        assert torch.equal(model.policy.log_std, learner.network.log_std)
    model.save(tmp_path / "model.zip")
    assert_equal(weights(PPO.load(tmp_path / "model.zip", device="cpu")), weights(model))
    model.learn(50)
    assert model.num_timesteps >= 50


def test_recorded_episodes_are_remembered_like_ones_own():
    learner = trained()
    task = POINT.sample(1, split="test", seed=0)[0]
    model = learner.adapt(task, episodes=3, seed=5)
    policy = learner.context_policy()
    job = TrialJob(task, policy, policy.start(), 1, (True,) * 3, derive_seed(5, 0))
    ((batch,),) = LocalSampler(POINT).collect([job])
    assert_equal(weights(learner.adapt_from([batch])), weights(model))
    halves = [EpisodeBatch(*(part[rows] for part in batch)) for rows in (slice(1), slice(1, 3))]
    state = learner.initial_state()
    for step, half in enumerate(halves):
        state = learner.update(state, half, step)
    whole = learner.update(learner.initial_state(), batch, 0)
    np.testing.assert_array_equal(state.memory.hidden, whole.memory.hidden)


def test_tasks_do_not_leak_into_each_other():
    learner = trained()
    before = learner.snapshot()
    first, second = POINT.sample(2, split="test", seed=0)
    alone = weights(learner.adapt(second, episodes=2))
    learner.adapt(first, episodes=2)
    assert_equal(weights(learner.adapt(second, episodes=2)), alone)
    assert_equal(learner.snapshot(), before)
    states = [learner.initial_state()] * 2
    sampler = LocalSampler(POINT)
    straight = learner.adapt_states(
        states, [first, second], step=0, episodes=2, seeds=[1, 2], sampler=sampler
    )
    turned = learner.adapt_states(
        states, [second, first], step=0, episodes=2, seeds=[2, 1], sampler=sampler
    )
    for left, right in zip(straight, reversed(turned), strict=True):
        np.testing.assert_array_equal(left.memory.hidden, right.memory.hidden)


def test_without_memory_rl2_is_no_policy():
    learner = trained(head="rl2")
    task = POINT.sample(1, split="test", seed=0)[0]
    state = learner.adapt_state(task, episodes=2)
    (batch,) = learner.collect([state], [task], episodes=3, seeds=[0], sampler=LocalSampler(POINT))
    assert batch.mask.shape == (3, 10)
    with pytest.raises(ValueError, match="'rl2' needs its memory at every step"):
        learner.adapt(task)


def test_adapting_on_an_environment_keeps_its_task():
    learner = make_learner()
    env = POINT.make_env()
    task = POINT.sample(1, split="test", seed=0)[0]
    env.set_task(task)
    model = learner.adapt(env, episodes=2)
    assert env.task == task
    assert model.get_env().envs[0].unwrapped is env


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_learner(algorithm=A2C), "MPO takes PPO .*not A2C"),
        (lambda: make_learner(head="lstm"), "head must be one of hypernetwork, film.*got 'lstm'"),
        (
            lambda: make_learner(episodes_per_trial=0),
            "episodes_per_trial must be at least 1, got 0",
        ),
        (lambda: make_learner(frozen_episodes=4), "at most episodes_per_trial=3, got 4"),
        (lambda: make_learner(frozen_episodes=-1), "frozen_episodes must be at least 0, got -1"),
        (lambda: make_learner(trial_gamma=1.5), "trial_gamma must be between 0 and 1, got 1.5"),
        (lambda: make_learner(outer_lr=0.0), "outer_lr must be above 0, got 0.0"),
        (lambda: make_learner(hidden_size=2.5), "hidden_size must be a whole number, got 2.5"),
        (lambda: make_learner(task_loss_coef=-1.0), "task_loss_coef must be at least 0, got -1.0"),
        (lambda: make_learner(Bandit(), task_loss_coef=1.0), "reveal.*which Bandit lacks"),
        (
            lambda: make_learner(base_kwargs={"policy_kwargs": {"activation_fn": torch.nn.ELU}}),
            "multilayer perceptrons with Tanh or ReLU",
        ),
        (lambda: make_learner().adapt_from([]), "at least one batch"),
        (lambda: make_learner().adapt(Bandit().make_env()), "observation_space|action_space"),
    ],
)
def test_mistakes_are_told_at_once(call, message):
    with pytest.raises(ValueError, match=message):
        call()
