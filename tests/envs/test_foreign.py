"""Worlds of others as families: Gymnasium's MuJoCo robots, gymnasium-robotics, and classes with a `set_task`."""

from __future__ import annotations

import dataclasses
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FilterObservation
from stable_baselines3 import PPO

from metamotor import deploy, envs, meta

mujoco = pytest.importorskip("mujoco")
# What MuJoCo 4 deprecates in models that others made.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:mujoco")


# A direction that the reward hides ----------------------------------------------------------------


@dataclass(frozen=True)
class Direction(envs.Task):
    direction: float


class DirectedCheetah(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Rewards running in a direction that `set_task` says."""

    def set_task(self, task: Direction) -> None:
        self.direction = task.direction

    def step(self, action: Any) -> Any:
        observation, _, terminated, truncated, info = self.env.step(action)
        reward = self.direction * info["x_velocity"] + info["reward_ctrl"]
        return observation, reward, terminated, truncated, info


def make_cheetah(render_mode: str | None = None) -> Any:
    return DirectedCheetah(gymnasium.make("HalfCheetah-v5", render_mode=render_mode))


def sample_direction(rng: np.random.Generator, split: envs.Split) -> Direction:
    return Direction(float(rng.choice([-1.0, 1.0])))


def cheetah() -> envs.GymnasiumFamily:
    return envs.from_gymnasium(make_cheetah, sample_direction, name="CheetahWay-v0", horizon=12)


# Masses that nothing tells ------------------------------------------------------------------------


@dataclass(frozen=True)
class Masses(envs.Task):
    torso: float
    leg: float


class HeavyHopper(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A hopper whose masses `set_task` scales from what the model file says."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        model = env.unwrapped.model
        self.nominal = model.body_mass.copy(), model.body_inertia.copy()

    def set_task(self, task: Masses) -> None:
        own: Any = self.unwrapped
        scale = np.array([1.0, task.torso, *3 * (task.leg,)])
        own.model.body_mass[:] = self.nominal[0] * scale
        own.model.body_inertia[:] = self.nominal[1] * scale[:, None]
        mujoco.mj_setConst(own.model, own.data)


def make_hopper(render_mode: str | None = None) -> Any:
    return HeavyHopper(gymnasium.make("Hopper-v5", render_mode=render_mode))


def sample_masses(rng: np.random.Generator, split: envs.Split) -> Masses:
    return Masses(*rng.uniform(0.5, 2.0, size=2))


def hopper() -> envs.GymnasiumFamily:
    return envs.from_gymnasium(make_hopper, sample_masses, name="HopperMasses-v0", horizon=12)


# A goal that is taken out of a dictionary ---------------------------------------------------------


@dataclass(frozen=True)
class Goal(envs.Task):
    x: float
    y: float
    z: float


def make_fetch(render_mode: str | None = None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gymnasium_robotics
        from gymnasium_robotics.utils import mujoco_utils

        gymnasium.register_envs(gymnasium_robotics)
        # gymnasium-robotics 1.4.2 looks for a joint's type in a way that MuJoCo 4 no longer answers.
        for name in ("qpos", "qvel"):
            setattr(mujoco_utils, f"set_joint_{name}", _setter(name))
            setattr(mujoco_utils, f"get_joint_{name}", _getter(name))
        env = gymnasium.make("FetchReach-v4", reward_type="dense", render_mode=render_mode)
    return FilterObservation(env, ["observation", "achieved_goal"])


def _setter(name: str) -> Callable[..., None]:
    def set_joint(model: Any, data: Any, joint: str, value: Any) -> None:
        getattr(data.joint(joint), name)[:] = value

    return set_joint


def _getter(name: str) -> Callable[..., Any]:
    def get_joint(model: Any, data: Any, joint: str) -> Any:
        return getattr(data.joint(joint), name).copy()

    return get_joint


def sample_goal(rng: np.random.Generator, split: envs.Split) -> Goal:
    x, y, z = rng.uniform(-0.15, 0.15, size=3)
    return Goal(1.34 + x, 0.75 + y, 0.53 + z)


def apply_goal(env: Any, task: Goal) -> None:
    env.unwrapped.goal = np.array(dataclasses.astuple(task))


def fetch() -> envs.GymnasiumFamily:
    return envs.from_gymnasium(
        make_fetch, sample_goal, apply_goal, name="FetchGoal-v0", horizon=12, after_reset=True
    )


# A class as meta-learning benchmarks have it ------------------------------------------------------


class BenchmarkTask(NamedTuple):
    """As Meta-World's: which environment, and what its goal is, in bytes."""

    env_name: str
    data: bytes


class BenchmarkEnv(gymnasium.Env[Any, Any]):
    """As Meta-World's: takes a task by `set_task`, refuses to start without, and ends by an error if not stopped."""

    observation_space = spaces.Box(-10, 10, (3,), np.float64)
    action_space = spaces.Box(-1, 1, (2,), np.float32)
    dt = 0.0125
    max_path_length = 15

    def set_task(self, task: BenchmarkTask) -> None:
        assert task.env_name == "reach"
        self.goal = np.frombuffer(task.data)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if not hasattr(self, "goal"):
            raise RuntimeError("set_task comes first")
        self.at, self.steps = self.np_random.normal(0.0, 0.01, size=3), 0
        return self.at.copy(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps > self.max_path_length:
            raise ValueError("the episode is over")
        self.at[:2] += 0.1 * action
        return self.at.copy(), -float(np.abs(self.at[:2] - self.goal).sum()), False, False, {}


def sample_benchmark(rng: np.random.Generator, split: envs.Split) -> BenchmarkTask:
    return BenchmarkTask("reach", rng.uniform(-1.0, 1.0, size=2).tobytes())


def benchmark() -> envs.GymnasiumFamily:
    return envs.from_gymnasium(BenchmarkEnv, sample_benchmark, name="BenchmarkReach-v0", horizon=15)


# What all of them keep to -------------------------------------------------------------------------

FAMILIES: list[Any] = [cheetah, hopper, benchmark, pytest.param(fetch, marks=pytest.mark.slow)]


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> envs.GymnasiumFamily:
    made: envs.GymnasiumFamily = request.param()
    return made


def test_it_is_a_family_that_learns_adapts_and_is_exported(
    family: envs.GymnasiumFamily, tmp_path: Path
) -> None:
    envs.check_family(family, num_steps=10)
    settings: dict[str, Any] = {"meta_batch_size": 2, "episodes_per_task": 1, "seed": 0}
    learner = meta.MAML(PPO, "MlpPolicy", family, **settings)
    learner.learn(4 * family.horizon)
    (task,) = family.sample(1, split="test", seed=7)
    model = learner.adapt(task, episodes=1)
    policy = deploy.runtime.Policy(deploy.export(model, tmp_path / "policy.onnx"))
    told = dataclasses.asdict(task) if isinstance(task, envs.Task) else None
    assert policy.metadata["task"] == told, "bytes are left out"
    assert policy.metadata["family"] == family.name
    assert policy.control_period == family.dt
    assert policy.observation_names == tuple(signal.name for signal in family.signals)
    observation, _ = family.make_env().reset(seed=0, options={"task": task})
    expected, _ = model.predict(observation, deterministic=True)
    np.testing.assert_allclose(policy(observation), expected, atol=1e-5)
    learner.save(tmp_path / "learner")
    again = meta.MAML.load(tmp_path / "learner", family=family)
    assert again.adapt(task, episodes=1).get_parameters().keys() == model.get_parameters().keys()


def test_it_can_be_sent_to_other_processes(family: envs.GymnasiumFamily) -> None:
    again = pickle.loads(pickle.dumps(family))
    assert again.sample(3, seed=1) == family.sample(3, seed=1)
    assert (again.horizon, again.dt, again.signals) == (family.horizon, family.dt, family.signals)


def test_numbers_are_named_by_the_keys_of_a_dictionary() -> None:
    made = envs.from_gymnasium(Dictionary, sample_direction, name="D-v0", horizon=3, dt=0.1)
    names = [signal.name for signal in made.signals]
    assert names == ["arm.at.0", "arm.at.1", "mode.0", "mode.1", "mode.2"]
    told = made.replace(reveal_task=True)
    assert [signal.name for signal in told.signals] == [*names, "task.direction"]
    assert told.observation_space.shape == (len(told.signals),)
    own = made.replace(reveal=lambda task: [task.direction, 1.0], reveal_task=True)
    assert [signal.name for signal in own.signals][-2:] == ["task.0", "task.1"]


def test_the_hidden_mass_is_what_decides() -> None:
    env: Any = hopper().make_env()
    heavy = env.unwrapped
    for scale in (2.0, 0.5, 1.0):
        env.reset(seed=0, options={"task": Masses(scale, 1.0)})
        assert heavy.model.body_mass[1] == pytest.approx(scale * env.env.nominal[0][1])
        assert heavy.model.body_subtreemass[1] == pytest.approx(heavy.model.body_mass[1:].sum())


# What is refused ----------------------------------------------------------------------------------


class Dictionary(gymnasium.Env[Any, Any]):
    """Observes a dictionary in a dictionary; `wrong` says what is wrong with it."""

    observation_space = spaces.Dict(
        {
            "arm": spaces.Dict({"at": spaces.Box(-9, 9, (2,), np.float64)}),
            "mode": spaces.Discrete(3),
        }
    )
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, wrong: str = "") -> None:
        self.wrong, self.gain, self.resets = wrong, 1.0, 0

    def set_task(self, task: Direction) -> None:
        self.direction = task.direction
        if self.wrong == "multiplies":
            self.gain *= 1.0 + task.direction / 2
        if self.wrong == "sticks" and task.direction > 0:
            self.gain = 2.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at, self.resets = np.zeros(2), self.resets + 1
        if self.wrong == "remembers":
            self.at += self.resets
        if self.wrong == "tells":
            self.at += self.direction
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        direction = 1.0 if self.wrong == "ignores" else self.direction
        self.at = self.at + self.gain * direction * action
        reward = float("nan") if self.wrong == "pays nothing" else float(self.at.sum())
        return self._observe(), reward, False, False, {}

    def _observe(self) -> Any:
        at = self.at * np.nan if self.wrong == "sees nothing" else self.at
        return {"arm": {"at": at}, "mode": 1}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("multiplies", r"came out differently the second time: .* set numbers, not multiply"),
        ("remembers", r"came out differently the second time: .* reset\(\) must restore"),
        ("sticks", "came out differently in another environment, after other tasks"),
        ("ignores", "2 tasks make no difference in 30 steps"),
        ("tells", "first observation differs from task to task"),
    ],
)
def test_what_is_easily_wrong_is_found(wrong: str, words: str) -> None:
    made = envs.from_gymnasium(
        lambda: Dictionary(wrong), sample_direction, name="D-v0", horizon=50, dt=0.1
    )
    with pytest.raises(ValueError, match=f"^D-v0: .*{words}"):
        envs.check_family(made)
    if wrong == "tells":
        envs.check_family(made, hidden=False)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("pays nothing", r"^D-v0 blew up in step 1 of Direction\(.*\): .*, rewarded with nan"),
        ("sees nothing", r"^D-v0 starts Direction\(.*\) with what is not finite: .*nan"),
    ],
)
def test_numbers_that_are_not_finite_do_not_get_into_a_batch(wrong: str, words: str) -> None:
    made = envs.from_gymnasium(
        lambda: Dictionary(wrong), sample_direction, name="D-v0", horizon=50, dt=0.1
    )
    with pytest.raises(FloatingPointError, match=words):
        envs.check_family(made)
    env = made.make_env()
    with pytest.raises(FloatingPointError, match=words):  # noqa: PT012 (which of the two depends)
        env.reset(options={"task": Direction(1.0)})
        env.step(env.action_space.sample())
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(env.action_space.sample())


@pytest.mark.parametrize("action", [[0.0, np.nan], [np.inf, 0.0], [0.0], [[0.0, 0.0]], 0.0])
def test_actions_that_cannot_be_are_not_passed_on(action: Any) -> None:
    made = envs.from_gymnasium(Dictionary, sample_direction, name="D-v0", horizon=50, dt=0.1)
    env = made.make_env()
    env.reset(options={"task": Direction(1.0)})
    with pytest.raises(ValueError, match=r"D-v0 expects finite actions of shape \(2,\), got"):
        env.step(np.array(action, np.float32))
    assert env.step(np.zeros(2, np.float32))[1] == 0.0


def test_tasks_that_are_wrong_are_found() -> None:
    drawn = np.random.default_rng()
    for sample, words in (
        (
            lambda rng, split: Direction(1.0),
            r"32 training tasks are all Direction\(direction=1.0\)",
        ),
        (lambda rng, split: Direction(drawn.normal()), "other tasks for the same seed"),
    ):
        made = envs.from_gymnasium(Dictionary, sample, name="D-v0", horizon=5, dt=0.1)
        with pytest.raises(ValueError, match=words):
            envs.check_family(made)
    with pytest.raises(ValueError, match=r"a family has name, .* lacks name, horizon"):
        envs.check_family(object())


@pytest.mark.parametrize("name", ["CartPole-v0", "PointNavigation-v0"])
def test_families_of_the_package_pass(name: str) -> None:
    envs.check_family(envs.make(name))
