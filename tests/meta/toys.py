"""Small families for tests, outside the package as a user's would be."""

import dataclasses
import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


@dataclasses.dataclass(frozen=True)
class BestArm:
    """Which of three arms pays."""

    arm: int


class BanditEnv(gymnasium.Env):
    """One observation of noise, three arms, a reward of 1 for the hidden one."""

    def __init__(self, horizon: int) -> None:
        self.observation_space = spaces.Box(-3, 3, (2,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.horizon, self.task = horizon, BestArm(0)
        self.fault: str | None = None

    def set_task(self, task: Any) -> None:
        self.task = task

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.task = (options or {}).get("task", self.task)
        self.elapsed = 0
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self.elapsed += 1
        reward = float(action == self.task.arm)
        return self._observe(), reward, False, self.elapsed >= self.horizon, {}

    def _observe(self) -> Any:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


class Bandit:
    """A user's own family: a class with the members that are needed, registered nowhere."""

    name = "Bandit"
    dt = 1.0

    def __init__(self, horizon: int = 5) -> None:
        self.horizon = horizon
        env = self.make_env()
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def sample(self, n: int, *, split: str = "train", seed: Any) -> Any:
        return [BestArm(int(arm)) for arm in np.random.default_rng(seed).integers(3, size=n)]

    def make_env(self) -> Any:
        return BanditEnv(self.horizon)


class FaultyEnv(BanditEnv):
    """Goes wrong at the third step."""

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        if self.elapsed == 3:
            if self.fault == "exit":
                os._exit(1)
            if self.fault == "reward":
                reward = float("nan")
            if self.fault == "observation":
                observation[0] = np.inf
        return observation, reward, *rest


class Faulty(Bandit):
    """A family whose environment gives what it must not, or takes its process down."""

    name = "Faulty"

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__()

    def make_env(self) -> Any:
        env = FaultyEnv(self.horizon)
        env.fault = self.fault
        return env


@dataclasses.dataclass(frozen=True)
class Target:
    """Where on a line the best action lies."""

    place: float


class LineEnv(gymnasium.Env):
    """One observation of noise, and a reward that falls with the distance of the action to the hidden target.

    Actions have two numbers in boxes of different sizes off 0; the target is at the same part of both.
    """

    def __init__(self, horizon):
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.low, self.high = np.array([-1, 0], np.float32), np.array([3, 1], np.float32)
        self.action_space = spaces.Box(self.low, self.high)
        self.horizon, self.task = horizon, Target(0.0)

    def set_task(self, task):
        self.task = task

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.elapsed = 0
        return self._observe(), {}

    def step(self, action):
        self.elapsed += 1
        low, high = self.low, self.high
        scaled = 2 * (np.clip(action, low, high) - low) / (high - low) - 1
        reward = -float(np.abs(scaled - self.task.place).mean())
        return self._observe(), reward, False, self.elapsed >= self.horizon, {}

    def _observe(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


class Line:
    """A family with continuous actions: the target is at -0.6 or 0.6 of the way."""

    name = "Line"
    dt = 1.0

    def __init__(self, horizon=5):
        self.horizon = horizon
        env = self.make_env()
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def sample(self, n, *, split="train", seed):
        return [Target(float(p)) for p in np.random.default_rng(seed).choice([-0.6, 0.6], size=n)]

    def make_env(self):
        return LineEnv(self.horizon)


def objective_of(learner: Any, params: Any, step_sizes: Any, data: Any) -> Any:
    """MAML's objective of one task, at these parameters and step sizes."""
    return learner.objective.of_task(params, step_sizes, data.support, data.query, data.score)


def other_threads() -> str:
    """Return a number of threads that torch does not have here, for a process that must give the same bits."""
    import torch  # workers import this file, and do without

    return "1" if torch.get_num_threads() > 1 else "2"
