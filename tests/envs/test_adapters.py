"""Other people's environments as families: Gymnasium's own pendulum, and toys with spaces and resets of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO

from metamotor import envs, meta


@dataclass(frozen=True)
class Gravity(envs.Task):
    g: float


def make_pendulum(render_mode: str | None = None) -> Any:
    return gymnasium.make("Pendulum-v1", render_mode=render_mode)


def sample_gravity(rng: np.random.Generator, split: envs.Split) -> Gravity:
    low, high = (15.0, 20.0) if split == "out_of_range" else (5.0, 15.0)
    return Gravity(rng.uniform(low, high))


def apply_gravity(env: Any, task: Gravity) -> None:
    env.unwrapped.g = task.g


def pendulum(**changes: Any) -> envs.GymnasiumFamily:
    settings: dict[str, Any] = {"name": "PendulumGravity-v0", "dt": 0.05, **changes}
    return envs.from_gymnasium(make_pendulum, sample_gravity, apply_gravity, **settings)


def test_a_task_decides_the_physics_and_not_the_observation() -> None:
    family = pendulum()
    assert (family.horizon, family.dt) == (200, 0.05)
    env = family.make_env()
    after = []
    for g in (5.0, 15.0, 5.0):
        start, _ = env.reset(seed=3, options={"task": Gravity(g)})
        after.append(env.step(np.zeros(1, dtype=np.float32))[0])
        assert start.shape == (3,)
    # θ̈ = 3 g / (2 l) sin θ, which is what differs.
    assert not np.allclose(after[0], after[1])
    np.testing.assert_array_equal(after[0], after[2])


@pytest.mark.parametrize("reveal_task", [False, True])
@pytest.mark.filterwarnings("ignore:.*WARN")  # that it is wrapped, and has bounds of its own
def test_it_passes_gymnasiums_own_check(reveal_task: bool) -> None:
    check_env(pendulum().replace(reveal_task=reveal_task).make_env(), skip_render_check=True)


def test_an_episode_ends_at_the_horizon() -> None:
    env = pendulum(horizon=5).make_env()
    for _ in range(2):
        env.reset(seed=0)
        ends = [env.step(np.zeros(1, dtype=np.float32))[3] for _ in range(5)]
        assert ends == [False] * 4 + [True]
        with pytest.raises(RuntimeError, match="after the end of an episode"):
            env.step(np.zeros(1, dtype=np.float32))


def test_splits_have_streams_of_their_own() -> None:
    family = pendulum()
    for split in envs.SPLITS:
        tasks = family.sample(50, split=split, seed=1)
        assert tasks == family.sample(50, split=split, seed=1)
        assert all((task.g > 15.0) == (split == "out_of_range") for task in tasks)
    assert family.sample(5, split="test", seed=1) != family.sample(5, split="train", seed=1)


def test_the_oracle_is_told_the_task_about_one_in_size() -> None:
    env = pendulum().replace(reveal_task=True).make_env()
    for g, told in ((5.0, -1.0), (10.0, 0.0), (15.0, 1.0)):
        observation, _ = env.reset(seed=0, options={"task": Gravity(g)})
        assert observation.shape == (4,)
        assert observation[-1] == pytest.approx(told, abs=0.02)
        assert env.step(np.zeros(1, dtype=np.float32))[0][-1] == observation[-1]
    own = pendulum(reveal=lambda task: [task.g / 10, 1.0]).replace(reveal_task=True)
    observation, _ = own.make_env().reset(seed=0, options={"task": Gravity(5.0)})
    np.testing.assert_allclose(observation[-2:], [0.5, 1.0])


class Reacher(gymnasium.Env[Any, Any]):
    """Draws a goal of its own in each reset, and has a dictionary of observations and a `set_task`."""

    observation_space = spaces.Dict(
        {"at": spaces.Box(-9, 9, (2,), np.float32), "speed": spaces.Box(-9, 9, (1,), np.float32)}
    )
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def set_task(self, task: Any) -> None:
        self.goal = np.array(task)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.goal, self.at = self.np_random.normal(size=2), np.zeros(2)
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self.at = self.at + action
        return self._observe(), -float(np.abs(self.at - self.goal).sum()), False, False, {}

    def _observe(self) -> Any:
        return {"at": self.at.astype(np.float32), "speed": np.ones(1, dtype=np.float32)}


def sample_goal(rng: np.random.Generator, split: envs.Split) -> tuple[float, float]:
    return (rng.uniform(-1, 1), rng.uniform(-1, 1))


def test_a_goal_that_reset_draws_anew_is_put_back() -> None:
    settings: dict[str, Any] = {"name": "Reacher-v0", "horizon": 5, "dt": 0.1}
    family = envs.from_gymnasium(Reacher, sample_goal, **settings, after_reset=True)
    env = family.make_env()
    observation, _ = env.reset(seed=0, options={"task": (0.25, -0.5)})
    assert observation.shape == family.observation_space.shape == (3,)
    assert env.step(np.zeros(2))[1] == -0.75
    before = envs.from_gymnasium(Reacher, sample_goal, **settings).make_env()
    before.reset(seed=0, options={"task": (0.25, -0.5)})
    assert before.step(np.zeros(2))[1] != -0.75
    with pytest.raises(ValueError, match=r"cannot tell the oracle its task.*or pass reveal="):
        family.replace(reveal_task=True)


def test_learners_train_on_it_in_processes_of_their_own() -> None:
    settings: dict[str, Any] = {"meta_batch_size": 2, "episodes_per_task": 1, "seed": 0}
    found = []
    for workers in (0, 2):
        family = pendulum(horizon=10)
        learner = meta.MAML(PPO, "MlpPolicy", family, num_workers=workers, **settings).learn(40)
        learner.close()
        found.append(learner.params["action_net.weight"].detach().numpy())
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"horizon": 0},
            ValueError,
            r"horizon= must be a whole number of steps .*got 0",
        ),
        ({"horizon": 201}, ValueError, r"registered with \(200\), got 201"),
        ({"name": "CartPole-v0"}, ValueError, "CartPole-v0 is a family of metamotor's own"),
        (
            {"dt": -1.0},
            ValueError,
            "dt=, the control period in seconds, must be a finite number above 0",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        pendulum(**changes)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(TypeError, match=r"has no set_task.*pass apply_task"):
        envs.from_gymnasium(make_pendulum, sample_gravity, name="A-v0", dt=0.1)
    with pytest.raises(TypeError, match=r"takes functions .* got 'Pendulum-v1'"):
        envs.from_gymnasium("Pendulum-v1", sample_gravity, name="A-v0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got None, and the environment does not tell it"):
        envs.from_gymnasium(Reacher, sample_goal, name="A-v0", horizon=5)
    with pytest.raises(ValueError, match=r"registered with \(None\), got None"):
        envs.from_gymnasium(Reacher, sample_goal, name="A-v0", dt=0.1)
    with pytest.raises(ValueError, match=r"that is hashable.*got \[1\]"):
        envs.from_gymnasium(
            make_pendulum, lambda rng, split: [1], apply_gravity, name="A-v0", dt=0.1
        )
    for functions, words in (
        (
            (make_pendulum, lambda rng: Gravity(9.8)),
            r"called as sample_task\(rng, split\).*\(rng\)",
        ),
        ((make_pendulum, sample_gravity, lambda env: None), r"called as apply_task\(env, task\)"),
        ((lambda a: make_pendulum(), sample_gravity), r"called as make_env\(\).*'a'"),
    ):
        with pytest.raises(TypeError, match=words):
            envs.from_gymnasium(*functions, name="A-v0", dt=0.1)
    with pytest.raises(TypeError, match=r"called as reveal\(task\)"):
        pendulum(reveal=lambda: [0.0])
    with pytest.raises(ValueError, match="split must be one of train"):
        pendulum().sample(1, split="exam", seed=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot render: its make_env takes no render_mode"):
        envs.from_gymnasium(Reacher, sample_goal, name="A-v0", dt=0.1, horizon=3).make_env(
            render_mode="rgb_array"
        )
