"""ES as its users meet it: it learns, adapts, counts its steps, saves, goes on, and refuses what cannot work."""

import dataclasses
import pickle
import subprocess
import sys
import textwrap
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from metamotor import envs
from metamotor.meta.es import ES, Adapted
from metamotor.meta.experience import prepare, surrogate_loss
from metamotor.meta.functional.evolution import centred_ranks
from metamotor.meta.functional.inner_step import inner_step
from metamotor.meta.rollouts import RolloutJob, Workplace, derive_seed
from metamotor.meta.search import AdaptJob, Trials
from metamotor.meta.workers import LocalSampler
from tests.meta.toys import Bandit, Faulty

POINT = envs.make("PointNavigation-v0", horizon=10)
LINEAR = {"policy_kwargs": {"net_arch": [], "log_std_init": -0.7}}
DEEP = {"policy_kwargs": {"net_arch": [8], "log_std_init": -0.7}}
CLIMB = {"adaptation": "hill_climbing", "episodes_per_task": 3}


def make_learner(family=POINT, algorithm=PPO, base_kwargs=LINEAR, **changes):
    settings = {"population": 6, "meta_batch_size": 3, "episodes_per_task": 4, **changes}
    return ES(algorithm, "MlpPolicy", family, base_kwargs=base_kwargs, **settings)


def weights(model):
    return {name: value.detach().clone() for name, value in model.policy.state_dict().items()}


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def jobs_of(learner):
    """Return the jobs of the next meta-iteration and what they give."""
    found: dict[str, Any] = {}
    collect = learner.sampler.collect

    def keep(jobs):
        found["jobs"], found["results"] = jobs, collect(jobs)
        return found["results"]

    learner.sampler.collect = keep
    learner._meta_iteration()
    learner.sampler.collect = collect
    return found["jobs"], found["results"]


# Learning -------------------------------------------------------------------------------------------


def lines_of(learner, steps):
    lines: list[dict[str, float]] = []
    learner._log = lambda scalars, _: lines.append(dict(scalars))
    learner.learn(steps)
    return lines


@pytest.mark.slow
def test_it_learns_to_adapt_to_hidden_goals():
    family = envs.make("PointNavigation-v0", horizon=30)
    learner = make_learner(
        family,
        inner_lr=0.5,
        sigma=0.1,
        outer_lr=0.05,
        population=40,
        meta_batch_size=20,
        episodes_per_task=10,
    )
    lines = lines_of(learner, 900_000)
    before = np.mean([line["rollout/pre"] for line in lines[-10:]])
    after = np.mean([line["rollout/post_1"] for line in lines[-10:]])
    assert before > -16  # standing still: -11.5
    assert after > -8


@pytest.mark.slow
def test_it_learns_to_climb_to_the_arm_that_pays():
    learner = make_learner(
        Bandit(),
        **CLIMB | {"episodes_per_task": 12},
        climb_sigma=0.5,
        sigma=0.1,
        outer_lr=0.05,
        population=40,
        meta_batch_size=20,
    )
    lines = lines_of(learner, 160_000)
    assert np.mean([line["rollout/pre"] for line in lines[-10:]]) < 2.5  # of 5; 3 arms
    assert np.mean([line["rollout/post_1"] for line in lines[-10:]]) > 4


# The contract of every learner ----------------------------------------------------------------------

VARIANTS = [
    {},
    {"updates": 2, "learn_step_sizes": False, "weight_decay": 0.01},
    {"search_log_std": True, "base_kwargs": DEEP, "algorithm": A2C},
    CLIMB,
    CLIMB | {"climb_mode": "average", "climb_repeats": 2, "episodes_per_task": 5},
    CLIMB | {"normalize_observations": True},
    {"normalize_observations": True, "adaptation": "none"},
    CLIMB | {"outer": "cmaes", "normalize_observations": True},
    CLIMB | {"outer": "sepcmaes", "learn_step_sizes": False, "base_kwargs": DEEP},
    {"outer": "cmaes"},
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_every_variant_trains_and_resumes_to_the_same_bits(tmp_path, changes):
    through = make_learner(**changes)
    start = through.centre.detach().clone()
    iteration_steps = make_learner(**changes).learn(1).num_timesteps
    through.learn(iteration_steps * 4)
    assert through.iteration >= 3
    assert (through.centre.detach() - start).abs().max() > 0
    half = make_learner(**changes).learn(iteration_steps * 2)
    assert half.iteration < through.iteration
    loaded = ES.load(half.save(tmp_path / "half")).learn(iteration_steps * 4)
    assert loaded.iteration == through.iteration
    assert_equal(loaded._state(), through._state())


@pytest.mark.parametrize(
    "changes", [{}, CLIMB | {"outer": "cmaes", "normalize_observations": True}], ids=str
)
def test_workers_do_not_change_the_result(changes):
    alone = make_learner(**changes).learn(1500)
    together = ES(PPO, "MlpPolicy", POINT, alone.config, base_kwargs=LINEAR, num_workers=2)
    together.learn(1500)
    together.close()
    assert_equal(alone._state(), together._state())


def test_a_worker_does_it_without_torch():
    jobs, _ = jobs_of(make_learner(normalize_observations=True))
    code = """
        import pickle, sys
        from metamotor import envs
        from metamotor.meta.rollouts import Workplace
        job = pickle.load(sys.stdin.buffer)
        job.run(Workplace(envs.make("PointNavigation-v0", horizon=10)))
        print({"torch", "cmaes"} & set(sys.modules))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=pickle.dumps(jobs[0]),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().strip() == "set()"


def test_seeds_change_the_result():
    one, other = make_learner(seed=0).learn(500), make_learner(seed=1).learn(500)
    assert not torch.equal(one.centre, other.centre)


@pytest.mark.parametrize("changes", [{}, CLIMB])
def test_tasks_do_not_leak_into_each_other(changes):
    learner = make_learner(**changes).learn(700)
    before = learner.snapshot()
    first, second = POINT.sample(2, split="test", seed=0)
    alone = weights(learner.adapt(second, episodes=3))
    learner.adapt(first, episodes=3)
    assert_equal(weights(learner.adapt(second, episodes=3)), alone)
    assert_equal(learner.snapshot(), before)


@pytest.mark.parametrize("changes", [{}, CLIMB])
def test_permuting_the_jobs_permutes_their_results(changes):
    jobs, results = jobs_of(make_learner(normalize_observations=True, **changes))
    again = LocalSampler(POINT).collect(jobs[::-1])[::-1]
    for one, other in zip(results, again, strict=True):
        np.testing.assert_array_equal(one.returns, other.returns)
        assert one.num_steps == other.num_steps
        np.testing.assert_array_equal(one.moments.variance, other.moments.variance)
    assert not np.array_equal(results[0].returns, results[1].returns)


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_adapted_model_is_a_plain_sb3_model(tmp_path, changes):
    learner = make_learner(**changes).learn(1)
    task = POINT.sample(1, split="test", seed=0)[0]
    state = learner.adapt_state(task, episodes=5, updates=2)
    model = learner.model_of(state, task)
    assert type(model) is learner.algorithm
    assert model.get_env().get_attr("task") == [task]
    observations = np.random.default_rng(0).uniform(-1, 1, (6, 2)).astype(np.float32)
    actions, _ = model.predict(observations, deterministic=True)
    expected = np.clip(learner.make_actor(state).act(observations, None), -1, 1)
    np.testing.assert_allclose(actions, expected, rtol=1e-4, atol=1e-6)
    model.save(tmp_path / "model.zip")
    assert_equal(weights(learner.algorithm.load(tmp_path / "model.zip")), weights(model))
    model.learn(50)
    assert model.num_timesteps >= 50


def test_a_users_own_discrete_family_works():
    family = Bandit()
    for changes in ({}, CLIMB):
        learner = make_learner(family, **changes).learn(500)
        model = learner.adapt(family.sample(1, seed=0)[0], episodes=3)
        assert model.predict(np.zeros(2, dtype=np.float32))[0] in range(3)


# Fitness --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, CLIMB, {"adaptation": "none"}])
def test_a_pair_shares_its_task_and_its_random_numbers(changes):
    learner = make_learner(envs.make("CartPole-v0", horizon=60), **changes)
    jobs, results = jobs_of(learner)
    assert len(jobs) == 3
    assert [result.returns.shape[0] for result in results] == [2, 2, 2]
    assert len({job.noise_seed for job in jobs}) == len({job.seed for job in jobs}) == 3
    # Without a difference between the members, chance makes none: neither in adaptation nor in what is measured.
    workplace, met = Workplace(learner.family), set()
    for seed in range(5):
        still = dataclasses.replace(jobs[0], noise=0.0, seed=seed).run(workplace)
        np.testing.assert_array_equal(still.returns[0], still.returns[1])
        met.add(tuple(still.returns[0]))
    assert len(met) > 1


def test_the_members_of_a_pair_are_mirror_images_and_only_seeds_are_sent():
    learner = make_learner()
    jobs, _ = jobs_of(learner)
    plus, minus = jobs[0]._members()
    np.testing.assert_allclose((plus + minus) / 2, jobs[0].centre, atol=1e-12)
    assert np.std(plus - minus) == pytest.approx(2 * learner.config.sigma, rel=0.5)
    fixed = make_learner(learn_step_sizes=False)
    jobs, _ = jobs_of(fixed)
    plus, _ = jobs[0]._members()
    np.testing.assert_array_equal(plus[-2:], jobs[0].centre[-2:])


@pytest.mark.parametrize("changes", [{}, CLIMB, {"adaptation": "none"}])
def test_the_outer_step_climbs_by_what_its_own_pairs_measured(changes):
    learner = make_learner(population=12, **changes)
    jobs, results = jobs_of(learner)
    after = np.array(
        [result.returns[:, -1] for result in results]
    )  # adaptation, not what it starts from
    tasks = [job.task for job in jobs]
    peers = [[i for i, other in enumerate(tasks) if other == task] for task in tasks]
    assert {len(own) for own in peers} == {2}
    fitness = centred_ranks(after - np.array([after[own].mean() for own in peers])[:, None])
    # As long as the members are θ ± s, s is σ times the direction that the pair has tried.
    steps = [(plus - minus) / 2 for plus, minus in (job._members() for job in jobs)]
    weights = (fitness[:, 0] - fitness[:, 1])[:, None]
    expected = (weights * np.array(steps)).mean(axis=0) / (2 * learner.config.sigma**2)
    gradients = [learner.centre.grad, learner.log_step_sizes.grad]
    found = -torch.cat([own for own in gradients if own is not None]).numpy()  # Adam descends
    assert len(found) == len(learner._searched)
    np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-4, atol=1e-6)
    assert np.abs(found).max() > 1e-3


def test_candidates_of_cma_share_their_tasks_and_seeds():
    jobs, results = jobs_of(make_learner(outer="cmaes", **CLIMB))
    assert len(jobs) == 6 * 3
    for first, second in zip(jobs[:3], jobs[3:6], strict=True):
        assert (first.task, first.seed) == (second.task, second.seed)
        assert not np.array_equal(first.centre, second.centre)
    assert len({job.seed for job in jobs}) == 3
    assert all(result.returns.shape == (1, 2) for result in results)


@pytest.mark.parametrize(
    ("changes", "episodes"),
    [
        ({"updates": 2}, 2 * (2 * 4 + 2)),
        (CLIMB, 2 * (3 + 2)),
        ({"adaptation": "none", "episodes_per_evaluation": 5}, 2 * 5),
        (CLIMB | {"climb_mode": "average", "climb_repeats": 2}, None),
    ],
)
def test_every_step_is_counted(changes, episodes):
    if episodes is None:
        with pytest.raises(ValueError, match="episodes_per_task of at least 4, got 3"):
            make_learner(**changes)
        return
    family = Bandit(horizon=7)  # its episodes never end early
    learner = make_learner(family, **changes)
    learner.learn(1)
    assert learner.num_timesteps == 3 * episodes * 7


def test_scalars():
    lines = lines_of(make_learner(updates=2), 1)
    expected = {"rollout/pre", "rollout/post_1", "rollout/post_2", "rollout/gain"}
    assert expected | {"time/sampling_seconds", "train/step_size"} <= set(lines[0])
    gain = lines[0]["rollout/post_2"] - lines[0]["rollout/pre"]
    assert lines[0]["rollout/gain"] == pytest.approx(gain)
    assert {
        name for name in lines_of(make_learner(adaptation="none"), 1)[0] if "rollout" in name
    } == {"rollout/pre"}


# Adaptation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [POINT, Bandit()], ids=lambda f: f.name)
@pytest.mark.parametrize("base_kwargs", [LINEAR, DEEP])
@pytest.mark.parametrize("search_log_std", [False, True])
def test_the_gradient_step_is_mamls(family, base_kwargs, search_log_std):
    if search_log_std and family.name == "Bandit":
        pytest.skip("a softmax has no log_std")
    learner = make_learner(
        family,
        base_kwargs=base_kwargs | {"gae_lambda": 0.9},
        search_log_std=search_log_std,
        inner_lr=0.7,
    )
    learner.centre.data += 0.3 * torch.randn(len(learner.centre), generator=torch.manual_seed(0))
    state = learner.initial_state()
    task = family.sample(1, seed=0)[0]
    (batch,) = learner.collect([state], [task], episodes=3, seeds=[1], sampler=LocalSampler(family))
    adapter, params = learner.adapter, learner._params(state)
    experience = prepare(batch, adapter, params, normalize=True)
    sizes = {name: torch.tensor(0.7) for name in learner.layout.names}
    expected = inner_step(
        lambda p: surrogate_loss("likelihood_ratio", adapter, p, experience), params, sizes
    )
    adapted = learner._params(learner.update(state, batch, 0))
    for name in learner.layout.names:
        assert not torch.equal(adapted[name], params[name])
        torch.testing.assert_close(adapted[name], expected[name], rtol=1e-4, atol=1e-5)


def test_adapting_by_gradient_is_collecting_and_updating():
    learner = make_learner()
    task = POINT.sample(1, split="test", seed=0)[0]
    model = learner.adapt(task, episodes=3, seed=5)
    job = RolloutJob(task, learner.make_actor(learner.initial_state()), 3, derive_seed(5, 0))
    batch = LocalSampler(POINT).collect([job])[0]
    assert_equal(weights(learner.adapt_from([batch])), weights(model))


def test_normalised_gradient_steps_are_those_of_normalised_observations():
    """The gradient is taken where observations are normalised, and the result folded back."""
    learner = make_learner(normalize_observations=True, base_kwargs=DEEP).learn(1)
    state = learner.initial_state()
    assert state.normalizer is not None
    task = POINT.sample(1, seed=0)[0]
    (batch,) = learner.collect([state], [task], episodes=3, seeds=[1], sampler=LocalSampler(POINT))
    mean, std = state.normalizer
    scaled = batch._replace(observations=((batch.observations - mean) / std).astype(np.float32))
    plain = Adapted(state.vector)
    # The baseline sees observations as they are: without one, there is nothing else that differs.
    step = learner.adaptation
    step_sizes = learner.step_sizes(0)
    object.__setattr__(step, "_advantages", lambda _: batch.rewards)
    one = step.step(state.vector, step_sizes, learner.layout, state.normalizer, batch)
    other = step.step(plain.vector, step_sizes, learner.layout, None, scaled)
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(one, state.vector)


@pytest.mark.parametrize("mode", ["average", "batch"])
def test_climbing_never_makes_it_worse_without_noise(mode):
    # A point moves without chance: what was measured is what will be.
    learner = make_learner(
        **CLIMB | {"climb_mode": mode, "climb_repeats": 2, "episodes_per_task": 8}, climb_sigma=0.3
    )
    sampler, gained = LocalSampler(POINT), 0
    for index, task in enumerate(POINT.sample(10, seed=3)):
        job = AdaptJob(
            task,
            learner.layout,
            learner.adaptation,
            learner.initial_state().vector,
            learner.step_sizes(0),
            None,
            8,
            index,
        )
        update = job.run(Workplace(POINT))
        (query,) = learner.collect(
            [Adapted(update.vector)],
            [task],
            episodes=2,
            seeds=[0],
            sampler=sampler,
            deterministic=True,
        )
        assert query.episode_returns.mean() >= update.start_return - 1e-12
        gained += query.episode_returns.mean() > update.start_return
    assert gained > 5


def test_climbing_uses_the_episodes_it_is_given():
    learner = make_learner(Bandit(), **CLIMB)
    task = Bandit().sample(1, seed=0)[0]
    trials = Trials(task, learner.layout, None, Workplace(Bandit()))
    vector = learner.initial_state().vector
    learner.adaptation.run(vector, learner.step_sizes(0), trials, 9, seed=0)
    assert trials.num_steps == 9 * 5


def test_step_sizes_decay_behind_the_trained_updates_and_scale():
    learner = make_learner(updates=2, inner_lr=0.4)
    sizes = [learner.step_sizes(step, scale=3.0)[0] for step in range(4)]
    np.testing.assert_allclose(sizes, [1.2, 1.2, 0.6, 0.3], rtol=1e-6)


def test_without_adaptation_the_policy_stays_as_it_is():
    task = POINT.sample(1, seed=0)[0]
    learner = make_learner(adaptation="none")
    state = learner.adapt_state(task, updates=2)
    np.testing.assert_array_equal(state.vector, learner.initial_state().vector)
    (batch,) = learner.collect([state], [task], episodes=2, seeds=[1], sampler=LocalSampler(POINT))
    assert_equal(weights(learner.adapt_from([batch])), weights(learner.model_of(state, task)))
    with pytest.raises(TypeError, match="cannot learn from recorded episodes"):
        make_learner(**CLIMB).adapt_from([batch])


@pytest.mark.parametrize("changes", [{}, CLIMB])
def test_adapting_on_an_environment_keeps_its_task(changes):
    learner = make_learner(**changes)
    env = POINT.make_env()
    task = POINT.sample(1, split="test", seed=0)[0]
    env.set_task(task)
    model = learner.adapt(env, episodes=3)
    assert env.task == task
    assert model.get_env().envs[0].unwrapped is env


# Observation statistics -----------------------------------------------------------------------------


def test_observation_statistics_are_those_of_all_episodes():
    learner = make_learner(normalize_observations=True, adaptation="none")
    seen: list[np.ndarray] = []
    run = RolloutJob.run

    def record(job, workplace):
        batch = run(job, workplace)
        seen.append(batch.observations[batch.mask > 0].astype(np.float64))
        return batch

    RolloutJob.run = record  # type: ignore[method-assign]
    try:
        learner.learn(1)
        first = learner.iteration
        learner.learn(learner.num_timesteps + 1)
    finally:
        RolloutJob.run = run  # type: ignore[method-assign]
    assert learner.iteration == first + 1
    observations = np.concatenate(seen)
    assert learner.moments.count == len(observations) == learner.num_timesteps
    np.testing.assert_allclose(learner.moments.mean, observations.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(learner.normalizer.std, observations.std(axis=0), rtol=1e-9)


def test_the_folded_policy_is_the_policy_of_normalised_observations():
    learner = make_learner(normalize_observations=True, base_kwargs=DEEP).learn(1)
    state = learner.initial_state()
    mean, std = state.normalizer
    observations = np.random.default_rng(0).uniform(-1, 1, (6, 2)).astype(np.float32)
    scaled = ((observations - mean) / std).astype(np.float32)
    plain = learner.make_actor(Adapted(state.vector)).act(scaled, None)
    np.testing.assert_allclose(
        learner.make_actor(state).act(observations, None), plain, rtol=1e-4, atol=1e-6
    )
    folded, params = learner._params(state), learner._params(Adapted(state.vector))
    values = learner.adapter.values
    torch.testing.assert_close(
        values(folded, torch.tensor(observations)),
        values(params, torch.tensor(scaled)),
        rtol=1e-4,
        atol=1e-5,
    )


# Policies -------------------------------------------------------------------------------------------


class Squares(BaseFeaturesExtractor):
    """A user's own features."""

    def __init__(self, space):
        super().__init__(space, 2 * space.shape[0])
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, observations):
        return torch.cat([observations, self.scale * observations**2], dim=1)


OWN = {"policy_kwargs": {"features_extractor_class": Squares, "net_arch": [4]}}


def test_a_policy_that_is_no_plain_network_climbs():
    learner = make_learner(base_kwargs=OWN, **CLIMB)
    assert "features_extractor.scale" in learner.layout.names
    jobs, _ = jobs_of(learner)
    workplace = Workplace(POINT)
    found = jobs[0].run(workplace)
    observations = np.random.default_rng(0).uniform(-1, 1, (6, 2)).astype(np.float32)
    state = learner.initial_state()
    own = learner.layout.make_actor(state.vector, None, workplace)
    assert len(workplace.kept) == 1  # made once
    np.testing.assert_array_equal(
        own.act(observations, None), learner.make_actor(state).act(observations, None)
    )
    assert np.isfinite(found.returns).all()
    model = learner.adapt(POINT.sample(1, seed=0)[0], episodes=3)
    assert type(model.policy.features_extractor) is Squares
    together = make_learner(base_kwargs=OWN, **CLIMB, num_workers=1).learn(1)
    together.close()
    assert_equal(learner._state(), together._state())


# Refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_learner(algorithm=SAC), "ES takes PPO, A2C or TRPO.*not SAC"),
        (lambda: make_learner(adaptation="maml"), "adaptation must be one of gradient, hill_"),
        (
            lambda: make_learner(outer="sgd"),
            "outer must be one of adam, cmaes, sepcmaes, got 'sgd'",
        ),
        (lambda: make_learner(climb_mode="best"), "climb_mode must be one of average, batch"),
        (lambda: make_learner(population=7), "population must be even.*got 7"),
        (lambda: make_learner(population=1), "population must be at least 2, got 1"),
        (lambda: make_learner(meta_batch_size=4), "must not exceed the 3 pairs.*got 4"),
        (lambda: make_learner(sigma=0.0), "sigma must be above 0, got 0.0"),
        (lambda: make_learner(outer_lr=np.inf), "outer_lr must be finite"),
        (lambda: make_learner(weight_decay=-1.0), "weight_decay must be at least 0"),
        (lambda: make_learner(later_step_decay=2.0), "later_step_decay must be between 0 and 1"),
        (lambda: make_learner(updates=0), "updates must be at least 1, got 0"),
        (lambda: make_learner(episodes_per_evaluation=1.5), "must be a whole number, got 1.5"),
        (
            lambda: make_learner(deterministic="yes"),
            "deterministic must be one of True, False, None, got 'yes'",
        ),
        (lambda: make_learner(deterministic=1), "deterministic must be one of.*, got 1"),
        (lambda: make_learner(search_log_std=1), "search_log_std must be True or False, got 1"),
        (lambda: make_learner(sgima=1), "does not know sgima"),
        (lambda: make_learner(base_kwargs=OWN), "adaptation='gradient' fits plain.*Squares"),
        (
            lambda: make_learner(base_kwargs=OWN, normalize_observations=True, **CLIMB),
            "normalize_observations=True fits plain",
        ),
        (
            lambda: make_learner(base_kwargs={}, outer="cmaes"),
            "up to 400 parameters, but there are 4488.*sepcmaes",
        ),
        (lambda: make_learner(**CLIMB).adapt(POINT.sample(1, seed=0)[0], episodes=1), "at least 2"),
        (lambda: make_learner(Faulty("reward")).learn(10), "reward of BestArm"),
    ],
)
def test_mistakes_are_told_at_once(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_robot_with_other_spaces_does_not_move():
    class Robot(gymnasium.Env):
        observation_space = POINT.observation_space
        action_space = spaces.Box(-1, 1, (3,))

        def reset(self, **_):
            raise AssertionError("it moved")

    with pytest.raises(ValueError, match="the environment's action_space is"):
        make_learner(**CLIMB).adapt(Robot(), episodes=2)


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path):
    learner = make_learner().learn(1)
    tensors = learner.snapshot()
    for name, message in (("centre", "no tensor centre"), ("optimizer.centre.exp_avg", "exp_avg")):
        with pytest.raises(ValueError, match=message):
            learner._load_state({key: value for key, value in tensors.items() if key != name})
    with pytest.raises(ValueError, match=r"no place for cma\.mean"):
        learner._load_state(tensors | {"cma.mean": torch.zeros(1)})
    assert_equal(learner._state(), tensors)


def test_training_that_diverges_stops_and_says_so():
    learner = make_learner()
    iterate = learner._meta_iteration

    def break_down():
        scalars = iterate()
        with torch.no_grad():
            learner.centre[0] = float("nan")
        return scalars

    learner._meta_iteration = break_down
    with pytest.raises(ValueError, match=r"diverged at iteration 1, lower outer_lr.*centre"):
        learner.learn(10)
