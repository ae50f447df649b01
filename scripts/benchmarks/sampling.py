"""How fast training samples, against how fast the engine alone steps the same robot."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from stable_baselines3 import PPO

from metamotor import envs
from metamotor.meta.on_policy import OnPolicyAdapter
from metamotor.meta.rollouts import RolloutJob
from metamotor.meta.workers import Sampler, make_sampler
from metamotor.robots.robot import raw_periods_per_second
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.options import FamilyIds
from metamotor.scripts.wording import counted

WARM_UP_STEPS = 20
"""Steps at random before the engine alone is measured, so that it does not only hold a robot at rest."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Environment steps a second of training rollouts, over the rate of the engine alone on the same robot.

    The engine alone: no observation, no policy, and a new command for the motors in every tenth period only, so
    that the robot goes on moving. Rollouts: a 2×64 policy in numpy, in this process and in 1
    and 2 worker processes. All are measured in turn, several rounds; the table shows medians.
    """

    families: FamilyIds = (
        "CartPole-v0",
        "HalfCheetahDirection-v0",
        "PandaReach-v0",
        "A1Locomotion-v0",
    )
    """Families of simulated robots."""
    rounds: int = 7
    """How often each is measured."""
    seconds: float = 1.0
    """How long each is measured in a round [s], about."""
    workers: tuple[int, ...] = (1, 2)
    """Numbers of worker processes."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""


def run(options: Sampling, command: str, console: Console) -> None:
    """Measure and write the results."""
    if options.rounds < 1 or not options.seconds > 0:
        raise ValueError(
            f"rounds must be at least 1 and seconds above 0, got {options.rounds}, {options.seconds}"
        )
    out = place(options, "sampling")
    numbers = {name: measure(name, options, console) for name in options.families}
    header = ["family", "engine [steps/s]", "rollouts [steps/s]", "ratio"]
    header += [f"{counted(count, 'worker')} [steps/s]" for count in options.workers]
    ratio = len(options.workers) > 1
    if ratio:
        header.append(f"{options.workers[-1]} : {options.workers[0]}")
    rows = []
    for name, rates in numbers.items():
        row = [name, _rate(rates["engine"]), _rate(rates["local"])]
        row.append(f"{ratio_of_rounds(rates['local'], rates['engine']):.2f}")
        row += [_rate(rates[_key(count)]) for count in options.workers]
        if ratio:
            first, last = (rates[_key(options.workers[index])] for index in (0, -1))
            row.append(f"{ratio_of_rounds(last, first):.2f}")
        rows.append(row)
    write_results(
        out,
        "sampling",
        command=command,
        about=f"Control steps per second, medians of {counted(options.rounds, 'round')}: the physics engine alone, "
        "rollouts of a 2×64 policy in the same process, their ratio, and rollouts in worker processes.",
        header=header,
        rows=rows,
        numbers={"steps_per_second": numbers},
        console=console,
    )


def measure(name: str, options: Sampling, console: Console) -> dict[str, list[float]]:
    """Return the rates of one family, a list with an entry per round."""
    family = envs.make(name)
    adapter = OnPolicyAdapter(PPO, "MlpPolicy", family, seed=0)
    actor = adapter.make_actor(adapter.initial_params())
    tasks = family.sample(1000, seed=0)
    rates: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack, console.status(name):
        samplers = {"local": make_sampler(family, 0)}
        samplers |= {_key(count): make_sampler(family, count) for count in options.workers}
        for sampler in samplers.values():
            stack.callback(sampler.close)
        engine = _engine_of(family)
        sources: dict[str, Callable[[], float]] = {
            "engine": lambda: raw_periods_per_second(engine, options.seconds)
        }
        for key, sampler in samplers.items():
            jobs = [RolloutJob(task, actor, 2, seed) for seed, task in enumerate(tasks)]
            sources[key] = _rollouts(sampler, jobs, options.seconds)
        for _ in range(options.rounds):
            for key, source in sources.items():
                rates.setdefault(key, []).append(source())
    return rates


def _engine_of(family: Any) -> Any:
    """Return a robot of the family that is moving."""
    env = family.make_env()
    robot = getattr(env, "robot", None)
    if robot is None:
        raise ValueError(f"{family.name} has no simulated robot to be compared with")
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(WARM_UP_STEPS):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
    return robot


def _rollouts(sampler: Sampler, jobs: Sequence[RolloutJob], seconds: float) -> Callable[[], float]:
    """Return a function that measures a sampler's steps per second, on about as many jobs as fill the time."""
    sampler.collect(jobs[:4])  # starts the workers
    start = time.perf_counter()
    sampler.collect(jobs[:8])
    count = min(len(jobs), max(8, round(8 * seconds / (time.perf_counter() - start))))

    def measured() -> float:
        start = time.perf_counter()
        batches = sampler.collect(jobs[:count])
        return sum(batch.num_steps for batch in batches) / (time.perf_counter() - start)

    return measured


def ratio_of_rounds(rates: Sequence[float], others: Sequence[float]) -> float:
    """Return the median over rounds of the ratio of two rates measured in the same round."""
    return median(rate / other for rate, other in zip(rates, others, strict=True))


def _key(workers: int) -> str:
    return f"workers_{workers}"


def _rate(rates: Sequence[float]) -> str:
    return f"{median(rates):,.0f}"
