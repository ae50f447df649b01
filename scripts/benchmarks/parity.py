"""Whether policy files do what their models do, over all that Stable-Baselines3 lets one combine.

Each model acts in its own wrapped environment, whose episodes end and begin again; the file, opened as on a robot, is
given what the innermost environment says, and told when an episode begins.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from rich.console import Console
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from metamotor import deploy
from metamotor.deploy.graph import PolicyGraph
from metamotor.deploy.observations import pipeline_of
from metamotor.deploy.parity import run_torch
from metamotor.deploy.sequences import random_sequences
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.wording import counted

LIMIT = 1e-5
"""Largest relative difference that passes."""
EPISODE = 70
"""Steps of an episode."""
FRAMES = 3
GSDE_LOG_STD = -2.0
"""What users of gSDE set: with 0, its noise leaves the space of the actions far behind."""
IMAGE = 36
"""The smallest that the default network for images takes."""
LOGIT_SCALE = 2.0
"""Root mean square that the logits of an untrained policy are given, so that it does not always choose the same."""
ON_POLICY = ("PPO", "A2C", "TRPO", "RecurrentPPO")
CONTINUOUS = ("SAC", "TD3", "DDPG", "TQC")
WITH_GSDE = (*ON_POLICY, "SAC", "TQC")
DETERMINISTIC = ("TD3", "DDPG")
POLICIES = ("MlpPolicy", "CnnPolicy", "MultiInputPolicy")
ACTIONS: dict[str, spaces.Space[Any]] = {
    "Box": spaces.Box(np.array([-0.1, 0.5, -3], np.float32), np.array([2, 0.75, -1], np.float32)),
    "Discrete": spaces.Discrete(5),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2, 4]),
    "MultiBinary": spaces.MultiBinary(3),
}
NORMALIZERS = ("none", "normalize", "stack, normalize")


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Difference of policy files to their models, over all algorithms, policies, actions and normalisers."""

    steps: int = 200
    """Steps of each model, over several episodes."""
    algorithms: tuple[str, ...] = (*ON_POLICY, *CONTINUOUS, "DQN")
    """Algorithms to try."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""


@dataclass(frozen=True)
class Combination:
    """One model."""

    algorithm: str
    policy: str
    action: str
    normalizer: str
    gsde: bool = False
    stochastic: bool = False
    """Export it with noise as an input; it then acts deterministically, and its samples are compared at export."""

    def __str__(self) -> str:
        """Return it in one line."""
        words = [self.algorithm, self.policy, self.action, self.normalizer]
        words += [name for name in ("gsde", "stochastic") if getattr(self, name)]
        return " / ".join(words)


@dataclass(frozen=True)
class Difference:
    """How far a file is from its model."""

    at_export: float
    """As the file's metadata says: as a share of half the action's range; of choices, the share that differs."""
    allowed: float
    """What float32 allowed there."""
    in_episodes: float
    """In the model's own environment, likewise."""
    log_prob: float
    """Of the log-probability at export, relative; 0 if it is deterministic."""
    steps: int
    episodes: int
    seconds: float
    """That the export took."""

    @property
    def largest(self) -> float:
        """The largest of all."""
        return float(np.max([self.at_export, self.in_episodes, self.log_prob]))


def combinations(algorithms: tuple[str, ...]) -> Iterator[Combination]:
    """Return all that there are of these algorithms."""
    for algorithm, policy, normalizer in itertools.product(algorithms, POLICIES, NORMALIZERS):
        actions = ["Box"] if algorithm in CONTINUOUS else list(ACTIONS)
        if algorithm == "DQN":
            actions = ["Discrete"]
        for action in actions:
            for gsde in (False, True) if algorithm in WITH_GSDE and action == "Box" else (False,):
                yield Combination(algorithm, policy, action, normalizer, gsde)
                if normalizer == "normalize" and algorithm not in DETERMINISTIC:
                    yield Combination(algorithm, policy, action, normalizer, gsde, stochastic=True)


class Noise(gymnasium.Env[Any, Any]):
    """Random observations; it keeps what it said last, and whether an episode began with that."""

    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], seed: int = 0
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.observation_space.seed(seed)
        self.elapsed = 0
        self.said: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.elapsed = 0
        return self._say(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Say something else."""
        self.elapsed += 1
        return self._say(), 0.0, False, self.elapsed == EPISODE, {}

    def _say(self) -> Any:
        self.said = self.observation_space.sample()
        return self.said


def run(options: Parity, command: str, console: Console) -> None:
    """Measure and write the results."""
    if options.steps < 1:
        raise ValueError(f"steps must be at least 1, got {options.steps}")
    known = (*ON_POLICY, *CONTINUOUS, "DQN")
    if unknown := sorted(set(options.algorithms) - set(known)):
        raise ValueError(f"algorithms must be of {', '.join(known)}, got {', '.join(unknown)}")
    out = place(options, "parity")
    found = {}
    for combination in combinations(options.algorithms):
        found[combination] = difference = measure(combination, options.steps)
        console.print(f"{combination}: {difference.largest:.1e}", highlight=False)
    failed = [str(combination) for combination, one in found.items() if not one.largest <= LIMIT]
    if failed:
        console.print(
            f"{counted(len(failed), 'combination')} beyond {LIMIT:g}: {'; '.join(failed)}"
        )
    episodes = min(one.episodes for one in found.values())
    steps = counted(sum(one.steps for one in found.values()), "step")
    write_results(
        out,
        "parity",
        command=command,
        about=f"Largest difference of a policy file from its model, over {counted(len(found), 'combination')} and "
        f"{steps} (each model {counted(options.steps, 'step')}, at least {episodes} episodes): of continuous actions "
        "as a share of half their range, of choices as the share that differs, of log-probabilities relative. "
        f"{counted(len(failed), 'combination')} beyond {LIMIT:g}.",
        header=["algorithm, policy", *ACTIONS, "gSDE", "stochastic", "log-probability"],
        rows=_rows(found),
        numbers={
            "limit": LIMIT,
            "largest": float(np.max([one.largest for one in found.values()])),
            "combinations": [
                {**asdict(combination), **asdict(one)} for combination, one in found.items()
            ],
        },
        console=console,
    )


def _rows(found: dict[Combination, Difference]) -> list[list[str]]:
    """Return a row for each algorithm and policy: the largest over its normalisers."""
    rows = []
    for algorithm, policy in dict.fromkeys((one.algorithm, one.policy) for one in found):
        own = {
            combination: one
            for combination, one in found.items()
            if (combination.algorithm, combination.policy) == (algorithm, policy)
        }

        def largest(**wanted: Any) -> str:
            values = [
                max(one.at_export, one.in_episodes)
                for combination, one in own.items()  # noqa: B023
                if all(getattr(combination, name) == value for name, value in wanted.items())
            ]
            return f"{max(values):.1e}" if values else "–"

        likely = [one.log_prob for combination, one in own.items() if combination.stochastic]
        rows.append(
            [
                f"{algorithm}, {policy}",
                *(largest(action=action, gsde=False, stochastic=False) for action in ACTIONS),
                largest(gsde=True, stochastic=False),
                largest(stochastic=True),
                f"{max(likely):.1e}" if likely else "–",
            ]
        )
    return rows


def measure(combination: Combination, steps: int) -> Difference:
    """Export one model and compare it in its own environment."""
    env, model = make(combination)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = deploy.export(model, Path(folder) / "policy.onnx", stochastic=combination.stochastic)
        seconds = time.perf_counter() - start
        policy = deploy.runtime.open_policy(path)
    measured = policy.metadata["parity"]
    worst, episodes = _play(env, model, policy, steps)
    return Difference(
        at_export=measured["max_error"],
        allowed=measured["tolerance"],
        in_episodes=worst,
        log_prob=measured["log_prob_error"],
        steps=steps,
        episodes=episodes,
        seconds=seconds,
    )


def _play(env: Noise, model: Any, policy: Any, steps: int) -> tuple[float, int]:
    """Return the largest difference of an action in the model's own environment, and the episodes."""
    venv = model.get_env()
    observation = venv.reset()
    memory, starts = None, np.ones(1, dtype=bool)
    worst, episodes = 0.0, 0
    space = env.action_space
    for _ in range(steps):
        if starts[0]:
            policy.reset()
            episodes += 1
        expected, memory = model.predict(observation, memory, starts, deterministic=True)
        keywords = {"deterministic": True} if policy.stochastic else {}
        action = policy(as_said(env.said, policy), **keywords)
        error = np.abs(action.flatten() - expected[0].flatten().astype(np.float64))
        if isinstance(space, spaces.Box):
            error = error / ((space.high - space.low).flatten() / 2)
        else:
            error = (error > 0).astype(np.float64)
        # Not max(): it drops a NaN that does not come first.
        worst = float(np.maximum(worst, error.max()))
        observation, _, starts, _ = venv.step(expected)
    return worst, episodes


def as_said(observation: Any, policy: Any) -> Any:
    """Return an environment's observation in the shape that a policy file takes: vectors are flat."""
    if isinstance(observation, dict):
        return {
            name: np.asarray(observation[name]).reshape(shape)
            for name, shape in policy.observation_shapes.items()
        }
    (shape,) = policy.observation_shapes.values()
    return np.asarray(observation).reshape(shape)


def make(combination: Combination) -> tuple[Noise, Any]:
    """Return a model with tiny networks, and the innermost of its environments."""
    normalizes = "normalize" in combination.normalizer
    image = combination.policy == "CnnPolicy"
    space = observation_space(combination.policy, channels_first=normalizes and image)
    env = Noise(space, ACTIONS[combination.action])
    venv: Any = DummyVecEnv([lambda: env])
    if "stack" in combination.normalizer:
        venv = VecFrameStack(venv, FRAMES)
    if normalizes:
        keys = ["vector", "matrix"] if isinstance(space, spaces.Dict) else None
        venv = VecNormalize(venv, training=False, clip_obs=3.0, norm_obs_keys=keys)
        _set_statistics(venv)
    policy_kwargs: dict[str, Any] = {"net_arch": [16, 16]}
    if image:
        policy_kwargs["features_extractor_kwargs"] = {"features_dim": 16}
        if normalizes:  # what is normalised is no image to Stable-Baselines3 any more
            policy_kwargs["normalize_images"] = False
            policy_kwargs["features_extractor_kwargs"]["normalized_image"] = True
    kwargs: dict[str, Any] = {"seed": 0, "device": "cpu", "policy_kwargs": policy_kwargs}
    if combination.gsde:
        kwargs["use_sde"] = True
        policy_kwargs["log_std_init"] = GSDE_LOG_STD
    name = combination.policy
    if combination.algorithm == "RecurrentPPO":
        name = name.replace("Policy", "LstmPolicy")
        policy_kwargs["lstm_hidden_size"] = 16
    if combination.algorithm in (*CONTINUOUS, "DQN"):
        kwargs |= {"buffer_size": 10, "learning_starts": 0}
    module = stable_baselines3 if hasattr(stable_baselines3, combination.algorithm) else sb3_contrib
    model = getattr(module, combination.algorithm)(name, venv, **kwargs)
    if isinstance(model.policy, ActorCriticPolicy):
        _fill(model)
    return env, model


@torch.no_grad()
def _fill(model: Any) -> None:
    """Scale the last layer of an untrained policy so that its means are as large as their space, as training does.

    Means that lie far outside are another matter: float32 loses digits there, in torch as in a file.
    """
    pipeline = pipeline_of(model, None)
    graph = PolicyGraph(model, pipeline)
    outputs = run_torch(graph, random_sequences(graph, pipeline)[0], None)["logits"]
    outputs = outputs.reshape(-1, outputs.shape[-1])
    middle, half = np.zeros(outputs.shape[1]), np.full(outputs.shape[1], LOGIT_SCALE)
    space = model.action_space
    if isinstance(space, spaces.Box):
        middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
    scale = half / np.sqrt((outputs.astype(np.float64) ** 2).mean(axis=0))
    last = cast(Any, model.policy.action_net)
    last.weight.mul_(torch.from_numpy(scale).float()[:, None])
    last.bias.copy_(torch.from_numpy(middle))


def observation_space(policy: str, *, channels_first: bool = False) -> spaces.Space[Any]:
    """Return what is observed with a kind of policy."""
    vector = spaces.Box(-np.inf, np.inf, (5,))
    shape = (3, IMAGE, IMAGE) if channels_first else (IMAGE, IMAGE, 3)
    image = spaces.Box(0, 255, shape, np.uint8)
    if policy == "MlpPolicy":
        return vector
    if policy == "CnnPolicy":
        return image
    matrix = spaces.Box(-1, 1, (2, 3))
    return spaces.Dict({"vector": vector, "matrix": matrix, "camera": image})


def _set_statistics(venv: VecNormalize) -> None:
    """Give a normaliser statistics that differ from one number to the next."""
    rng = np.random.default_rng(1)
    several = cast(Any, venv.obs_rms)
    for statistics in several.values() if isinstance(several, dict) else [several]:
        shape: tuple[int, ...] = statistics.mean.shape
        # Of a number of variance 1, or of an image's, uniform from 0 to 255.
        middle, scale = (127.5, 74.0) if len(shape) == 3 else (0.0, 1.0)
        means: NDArray[np.float64] = middle + scale * rng.normal(0.0, 0.5, size=shape)
        statistics.mean, statistics.var = means, scale**2 * rng.uniform(0.1, 2.0, size=shape)
