"""The protocol and its statistics, on numbers that can be worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO

from metamotor import envs, meta
from metamotor.meta import statistics
from metamotor.meta.evaluation import Evaluation, Evaluator, Protocol, idle_actor
from tests.meta.toys import Bandit

FAMILY = envs.make("PointNavigation-v0", horizon=10)
SMALL = Protocol(
    num_tasks=5, num_updates=2, support_episodes=2, query_episodes=3, validation_tasks=3
)


def make_learner(family: Any = FAMILY, **changes: Any) -> Any:
    return meta.MAML(PPO, "MlpPolicy", family, **changes)


@pytest.fixture(scope="module")
def evaluation() -> Any:
    oracle = make_learner(FAMILY.replace(reveal_task=True), inner_steps=0)
    return Evaluator(FAMILY, SMALL).evaluate(make_learner(), make_learner(inner_steps=0), oracle)


def test_all_methods_are_measured_on_the_same_tasks(evaluation: Any) -> None:
    assert set(evaluation.curves) == {"adapted", *statistics.OTHERS, "oracle"}
    for curve in evaluation.curves.values():
        assert curve.stochastic.shape == curve.deterministic.shape == (5, 3)
        assert len(curve.scales) == 2
    # Before adaptation the meta-learner and the untrained policy have the same weights here.
    curves = evaluation.curves
    np.testing.assert_array_equal(
        curves["adapted"].stochastic[:, 0], curves["robust"].stochastic[:, 0]
    )
    np.testing.assert_array_equal(curves["scratch"].stochastic, curves["fine_tuned"].stochastic)
    assert curves["adapted"].scales[0] == 1.0
    assert evaluation.robot_seconds == 2 * 10 * 1.0


def test_other_learners_are_measured_before_training_too() -> None:
    """What has learned nothing yet is what it was before training, with its settings and its seed."""
    settings: dict[str, Any] = {"meta_batch_size": 2, "population": 4, "episodes_per_task": 2}
    learner = meta.ES(PPO, "MlpPolicy", FAMILY, seed=5, **settings)
    evaluator = Evaluator(FAMILY, SMALL)
    start = evaluator.curves_of(learner)
    np.testing.assert_array_equal(start["untrained"].stochastic, start["adapted"].stochastic)
    trained = evaluator.curves_of(learner.learn(200))
    np.testing.assert_array_equal(trained["untrained"].stochastic, start["untrained"].stochastic)
    assert (trained["adapted"].stochastic != start["adapted"].stochastic).any()


def test_idle_returns_are_the_distance_to_the_goal(evaluation: Any) -> None:
    tasks = Evaluator(FAMILY, SMALL).tasks
    expected = [-10 * np.hypot(task.goal_x, task.goal_y) for task in tasks]
    for returns in evaluation.curves["idle"].stochastic.T:
        np.testing.assert_allclose(returns, expected)


def test_methods_that_do_not_adapt_stay_where_they_are(evaluation: Any) -> None:
    for name in ("idle", "robust", "oracle"):
        curve = evaluation.curves[name].deterministic
        assert (curve == curve[:, :1]).all()
    assert (
        evaluation.curves["fine_tuned"].stochastic[:, 0]
        == evaluation.curves["robust"].stochastic[:, 0]
    ).all()


def test_evaluating_again_gives_the_same_bits_with_workers(evaluation: Any) -> None:
    oracle = make_learner(FAMILY.replace(reveal_task=True), inner_steps=0)
    again = Evaluator(FAMILY, SMALL, num_workers=2).evaluate(
        make_learner(), make_learner(inner_steps=0), oracle
    )
    for name, curve in evaluation.curves.items():
        np.testing.assert_array_equal(again.curves[name].stochastic, curve.stochastic)
        np.testing.assert_array_equal(again.curves[name].deterministic, curve.deterministic)


def test_round_trip(evaluation: Any, tmp_path: Path) -> None:
    loaded = Evaluation.load(evaluation.save(tmp_path / "evaluation.json"))
    assert loaded.protocol == evaluation.protocol
    for name, curve in evaluation.curves.items():
        np.testing.assert_array_equal(loaded.curves[name].stochastic, curve.stochastic)
        assert loaded.curves[name].scales == curve.scales


def test_validation_tasks_are_not_test_tasks() -> None:
    evaluator = Evaluator(FAMILY, Protocol(num_tasks=40, validation_tasks=40))
    assert not set(evaluator.tasks) & set(evaluator.validation)
    trained = {task for seed in range(200) for task in FAMILY.sample(5, seed=seed)}
    assert not trained & (set(evaluator.tasks) | set(evaluator.validation))


def test_bad_step_sizes_are_not_chosen() -> None:
    """A factor that throws the policy far away loses against doing nothing."""
    learner = make_learner(inner_steps=0)
    evaluator = Evaluator(FAMILY, SMALL)
    scales = evaluator.choose_scales(
        learner.initial_state(), learner, learner.sampler, [], (1e4, 0.0)
    )
    assert scales == (0.0, 0.0)


def test_where_there_is_nothing_to_choose_nothing_is_run() -> None:
    learner, evaluator = make_learner(inner_steps=1), Evaluator(FAMILY, SMALL)
    spy = Spy(learner.sampler)
    assert evaluator.choose_scales(learner.initial_state(), learner, spy, [1.0], (0.5,)) == (1, 0.5)
    assert evaluator.choose_scales(learner.initial_state(), learner, spy, [1.0] * 5, (0.5,)) == (
        1,
        1,
    )
    assert not spy.jobs


class Spy:
    """A sampler that writes down what was asked of it."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler
        self.jobs: list[Any] = []

    def collect(self, jobs: Any) -> Any:
        self.jobs += jobs
        return self.sampler.collect(jobs)

    def close(self) -> None:
        self.sampler.close()


def test_step_sizes_are_chosen_without_a_look_at_the_test_tasks() -> None:
    learner, evaluator = make_learner(inner_steps=0), Evaluator(FAMILY, SMALL)
    spy = Spy(learner.sampler)
    evaluator.choose_scales(learner.initial_state(), learner, spy, [], (1.0, 0.0))
    assert {job.task for job in spy.jobs} == set(evaluator.validation)


def test_each_column_is_measured_with_its_own_kind_of_policy() -> None:
    learner, evaluator = make_learner(), Evaluator(FAMILY, SMALL)
    spy = Spy(learner.sampler)
    curve = evaluator.curve(learner.initial_state(), learner, spy, (1.0,))
    queries = [job for job in spy.jobs if job.num_episodes == SMALL.query_episodes]
    for k in (0, 1):
        for deterministic, returns in ((False, curve.stochastic), (True, curve.deterministic)):
            kind = [job for job in queries if job.deterministic == deterministic]
            part = kind[5 * k : 5 * (k + 1)]
            expected = [batch.episode_returns.mean() for batch in learner.sampler.collect(part)]
            np.testing.assert_array_equal(returns[:, k], expected)
    assert (curve.stochastic != curve.deterministic).all()


def test_scratch_starts_untrained_and_fine_tuning_from_the_robust_policy() -> None:
    robust = make_learner(inner_steps=0)
    for name in robust.adapter.actor_names:
        robust.params[name].data += 0.1
    oracle = make_learner(FAMILY.replace(reveal_task=True), inner_steps=0)
    curves = Evaluator(FAMILY, SMALL).evaluate(make_learner(), robust, oracle).curves
    untrained = curves["adapted"].deterministic[:, 0]  # of a learner that has not learned yet
    np.testing.assert_array_equal(curves["scratch"].deterministic[:, 0], untrained)
    np.testing.assert_array_equal(
        curves["fine_tuned"].deterministic[:, 0], curves["robust"].deterministic[:, 0]
    )
    assert (curves["robust"].deterministic[:, 0] != untrained).all()


def test_idle_is_the_zero_action_inside_the_space() -> None:
    np.testing.assert_array_equal(idle_actor(FAMILY).action, [0.0, 0.0])
    assert idle_actor(Bandit()).act(np.zeros((2, 2)), None).tolist() == [0, 0]


@pytest.mark.parametrize("name", ["num_tasks", "support_episodes", "query_episodes"])
def test_an_evaluation_of_nothing_is_refused(name: str) -> None:
    arguments: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Protocol(**arguments)


def test_the_interquartile_mean_ignores_the_outer_quarters() -> None:
    scores = np.array([[-1000.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1000.0]])
    estimate = statistics.interquartile_mean(scores)
    assert estimate.value == pytest.approx(3.5)
    assert estimate.low < 3.5 < estimate.high


def test_gap_closed_by_hand() -> None:
    ones = np.ones((3, 8))
    others = {"idle": 0 * ones, "robust": 2 * ones, "fine_tuned": 1 * ones, "scratch": -5 * ones}
    gap = statistics.gap_closed(8 * ones, others, 10 * ones)
    assert gap.best_other == "robust"
    assert gap.estimate == pytest.approx((0.75, 0.75, 0.75))
    assert gap.size == pytest.approx((8.0, 8.0, 8.0))
    assert statistics.gap_closed(2 * ones, others, 10 * ones).estimate.value == 0
    assert statistics.gap_closed(10 * ones, others, 10 * ones).estimate.value == 1


def test_what_holds_in_every_cell_is_certain() -> None:
    """Methods are compared on the same seeds and tasks: noise that they share does not widen the interval."""
    base = np.random.default_rng(0).normal(size=(3, 20)) + 10 * np.arange(3)[:, None]
    others = dict.fromkeys(statistics.OTHERS, base)
    gap = statistics.gap_closed(base + 0.5, others, base + 1)
    assert gap.estimate == pytest.approx((0.5, 0.5, 0.5))


def test_seeds_that_differ_widen_the_interval() -> None:
    scores = np.repeat(np.array([[0.0], [1.0], [2.0]]), 40, axis=1)
    estimate = statistics.interquartile_mean(scores)
    assert estimate.value == pytest.approx(1.0)
    assert estimate.low < 0.3
    assert estimate.high > 1.7


def test_intervals_cover_the_truth_and_leave_the_global_generator_alone() -> None:
    rng = np.random.default_rng(0)
    np.random.seed(3)
    expected = np.random.RandomState(3).rand(5)
    covered = 0
    for _ in range(40):
        estimate = statistics.interquartile_mean(rng.normal(size=(1, 40)), resamples=300)
        covered += estimate.low <= 0 <= estimate.high
    assert covered >= 34
    np.testing.assert_array_equal(np.random.rand(5), expected)
