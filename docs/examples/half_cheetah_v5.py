"""Meta-train on Gymnasium's HalfCheetah-v5 with a hidden direction, and measure adaptation on test tasks.

    python half_cheetah_v5.py --total-timesteps 600000 --out half_cheetah_v5

writes the checkpoint, the log and a table. What `docs/your-environment.md` says of it was measured so.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.logger import configure

from metamotor import deploy, envs, meta
from metamotor.meta.evaluation import Evaluator, Protocol


@dataclass(frozen=True)
class Direction(envs.Task):
    """Where to run: 1 is forwards, -1 backwards."""

    direction: float


class DirectedCheetah(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Rewards the velocity in the task's direction [m/s], less the environment's own cost of control."""

    def set_task(self, task: Direction) -> None:
        """Take the direction from now on."""
        self.direction = task.direction

    def step(self, action: Any) -> Any:
        """See `gymnasium.Env.step`."""
        observation, _, terminated, truncated, info = self.env.step(action)
        reward = self.direction * info["x_velocity"] + info["reward_ctrl"]
        return observation, reward, terminated, truncated, info


def make_env(render_mode: str | None = None) -> Any:
    """Return a new environment."""
    return DirectedCheetah(gymnasium.make("HalfCheetah-v5", render_mode=render_mode))


def sample_task(rng: np.random.Generator, split: str) -> Direction:
    """Draw a direction, in every split alike."""
    return Direction(float(rng.choice([-1.0, 1.0])))


def main() -> None:
    """Train, adapt, measure, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total-timesteps", type=int, default=600_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("half_cheetah_v5"))
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    family = envs.from_gymnasium(
        make_env, sample_task, name="HalfCheetahV5Direction-v0", horizon=100
    )
    envs.check_family(family)
    learner = meta.MAML(
        PPO,
        "MlpPolicy",
        family,
        # As the preset of HalfCheetahDirection-v0: a context alone is adapted.
        base_kwargs={
            "gamma": 0.97,
            "gae_lambda": 0.9,
            "policy_kwargs": {"net_arch": [96, 96], "log_std_init": -0.7},
        },
        adapted="context",
        context_size=8,
        inner_normalize=True,
        inner_gamma=0.8,
        inner_gae_lambda=0.9,
        inner_lr=2.0,
        meta_batch_size=4,
        episodes_per_task=12,
        support_episodes=5,
        outer_lr=1e-3,
        n_epochs=20,
        clip_range=0.2,
        num_workers=options.num_workers,
        seed=options.seed,
    )
    learner.set_logger(configure(str(options.out), ["csv"]))
    start = time.perf_counter()
    learner.learn(options.total_timesteps)
    minutes = (time.perf_counter() - start) / 60
    learner.save(options.out / "maml")
    protocol = Protocol(num_tasks=8, num_updates=2, support_episodes=5, query_episodes=5)
    evaluator = Evaluator(family, protocol)
    curve = evaluator.adapted(learner)
    print(f"{options.total_timesteps} steps in {minutes:.1f} min, seed {options.seed}")
    for direction in (1.0, -1.0):
        own = [task.direction == direction for task in evaluator.tasks]
        returns = curve.stochastic[own].mean(axis=0)
        print(direction, sum(own), *(f"{value:.1f}" for value in returns))
    learner.close()
    deploy.export(learner.adapt(Direction(-1.0), episodes=5), options.out / "backwards.onnx")


if __name__ == "__main__":
    main()
