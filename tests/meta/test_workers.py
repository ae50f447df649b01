"""Samplers: the same bits wherever a job runs and whatever happens to its worker."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.meta.actors import MLP, CategoricalActor, GaussianActor
from metamotor.meta.rollouts import RolloutJob, derive_seed
from metamotor.meta.workers import LocalSampler, ProcessSampler, WorkerError, make_sampler
from tests.meta.toys import Bandit, Faulty

FAMILY = envs.make("HalfCheetahDirection-v0", horizon=20)


def make_jobs(family: Any, count: int = 6, episodes: int = 2) -> list[RolloutJob]:
    rng = np.random.default_rng(0)
    sizes = [family.observation_space.shape[0], 8, family.action_space.shape[0]]
    layers = tuple(
        (rng.normal(size=pair).astype(np.float32), np.zeros(pair[1], dtype=np.float32))
        for pair in itertools.pairwise(sizes)
    )
    actor = GaussianActor(MLP(layers, "Tanh"), np.full(sizes[-1], 0.5, dtype=np.float32))
    tasks = family.sample(count, seed=1)
    return [RolloutJob(task, actor, episodes, derive_seed(2, i)) for i, task in enumerate(tasks)]


def assert_same(left: Any, right: Any) -> None:
    for one, other in zip(left, right, strict=True):
        for field in one._fields:
            assert np.array_equal(getattr(one, field), getattr(other, field)), field


@pytest.fixture(scope="module")
def expected() -> Any:
    sampler = LocalSampler(FAMILY)
    batches = sampler.collect(make_jobs(FAMILY))
    sampler.close()
    return batches


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_the_same_bits_with_any_number_of_workers(expected: Any, num_workers: int) -> None:
    sampler = make_sampler(FAMILY, num_workers)
    jobs = make_jobs(FAMILY)
    sampler.collect(jobs[::-1])  # what went before must not matter
    batches = sampler.collect(jobs)
    sampler.close()
    assert_same(batches, expected)


def test_a_killed_worker_is_replaced_and_its_job_repeated(expected: Any) -> None:
    with ProcessSampler(FAMILY, 2) as sampler:
        jobs = make_jobs(FAMILY)
        sampler.collect(jobs[:2])
        victim = sampler._worker(0).process.pid
        os.kill(victim, signal.SIGKILL)
        assert_same(sampler.collect(jobs), expected)
        assert sampler._worker(0).process.pid != victim


def test_an_interrupted_call_leaves_nothing_for_the_next(
    expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProcessSampler(FAMILY, 2) as sampler:
        jobs = make_jobs(FAMILY)
        with monkeypatch.context() as patch:
            patch.setattr("metamotor.meta.workers.wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                sampler.collect(jobs[::-1])
        assert_same(sampler.collect(jobs), expected)


def interrupt(_: Any) -> None:
    raise KeyboardInterrupt


def test_a_job_that_kills_its_workers_is_blamed() -> None:
    with (
        ProcessSampler(Faulty("exit"), 1) as sampler,
        pytest.raises(WorkerError, match="3 worker processes died"),
    ):
        sampler.collect([job_for(Faulty("exit"))])


def job_for(family: Any) -> RolloutJob:
    actor = CategoricalActor(lambda_free_logits, 3)
    return RolloutJob(family.sample(1, seed=0)[0], actor, 2, seed=0)


def lambda_free_logits(observations: Any) -> Any:
    return np.zeros((*observations.shape[:-1], 3), dtype=np.float32)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("fault", ["observation", "reward"])
def test_what_is_not_finite_is_an_error_that_says_where(num_workers: int, fault: str) -> None:
    sampler = make_sampler(Faulty(fault), num_workers)
    with pytest.raises(ValueError, match=rf"the {fault} of BestArm\(arm=\d\) at step \d is"):
        sampler.collect([job_for(Faulty(fault))])
    # The sampler goes on serving: the failed job's neighbours do not answer for it.
    with pytest.raises(ValueError, match=fault):
        sampler.collect([job_for(Faulty(fault))])
    sampler.close()


def test_categorical_draws_follow_the_softmax() -> None:
    logits = np.log(np.array([[0.5, 0.3, 0.2]], dtype=np.float32))
    actor = CategoricalActor(lambda o: np.repeat(logits, len(o), axis=0), 3)
    noise = actor.draw_noise(np.random.default_rng(0), (20_000,))
    counts = np.bincount(actor.act(np.zeros((20_000, 2)), noise), minlength=3) / 20_000
    np.testing.assert_allclose(counts, [0.5, 0.3, 0.2], atol=0.015)


def test_episodes_that_end_early_are_masked() -> None:
    family = envs.make("PointNavigation-v0", horizon=30)
    task = envs.point_navigation.PointTask(goal_x=0.205, goal_y=0.0)
    zero = np.zeros((2, 2), dtype=np.float32)
    forward = MLP(((zero, np.array([1.0, 0.0], dtype=np.float32)),), "Identity")
    actor = GaussianActor(forward, np.full(2, 1e-3, dtype=np.float32))
    sampler = LocalSampler(family)
    batch = sampler.collect([RolloutJob(task, actor, 3, 0, deterministic=True)])[0]
    # 0.1 and 0.2: the second step is within 0.01 of the goal.
    np.testing.assert_array_equal(batch.mask.sum(axis=1), [2, 2, 2])
    assert batch.terminated.all()
    np.testing.assert_allclose(batch.episode_returns, -0.105 - 0.005)
    assert not batch.rewards[:, 2:].any()


def test_together_and_one_by_one_agree() -> None:
    family = envs.make("PointNavigation-v0")
    together = LocalSampler(family)
    alone = LocalSampler(family, env=family.make_env())
    job = make_jobs(family, count=1, episodes=4)[0]
    one, other = together.collect([job])[0], alone.collect([job])[0]
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_allclose(one.rewards, other.rewards, atol=1e-5)


def test_a_family_that_cannot_be_sent_is_refused() -> None:
    class Local(Bandit):
        pass

    with pytest.raises(ValueError, match="top level of a module"):
        ProcessSampler(Local(), 1)
    with pytest.raises(ValueError, match="num_workers"):
        ProcessSampler(Bandit(), 0)


def test_seeds_of_different_purposes_differ() -> None:
    seeds = {derive_seed(i, j) for i in range(50) for j in range(50)}
    assert len(seeds) == 2500
    assert derive_seed(1, 2) == derive_seed(1, 2)
    zeros = {derive_seed(7, 7919, *[0] * count) for count in range(5)}
    assert len(zeros) == 5, "zeros behind a path make another one"


SCRIPT = """
from metamotor.meta.workers import ProcessSampler, WorkerError
from tests.meta.test_workers import job_for
from tests.meta.toys import Bandit
{before}
print("imported")
ProcessSampler(Bandit(), 2).collect([job_for(Bandit())] * 4)
"""


def run_script(tmp_path: Path, before: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(before=before))
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, path],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )


def test_a_script_without_a_guard_is_told_so_once(tmp_path: Path) -> None:
    done = run_script(tmp_path, "")
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert (
        'put what the script does behind a guard,\n\n    if __name__ == "__main__":' in done.stderr
    )
    assert done.stdout.count("imported") <= 3, "each worker was started once at most"


def test_a_worker_that_cannot_start_is_not_tried_again(tmp_path: Path) -> None:
    done = run_script(tmp_path, "if __name__ != '__main__': raise SystemExit(5)")
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert "ended with exit code 5 while it started" in done.stderr
