"""Adaptation on the robot against adaptation at the desk: the same updates, the same returns, and what an update takes.

The robot's side runs in a process of its own, in an environment with numpy and onnxruntime only (`on_robot.py`), and
talks over a pipe to the simulator here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rich.console import Console

from metamotor import deploy, meta
from metamotor.deploy.adaptation.parity import distance, synthetic, to_batch
from metamotor.deploy.runtime import AdaptivePolicy, Episode
from metamotor.deploy.runtime.acting import SwappablePolicy
from metamotor.meta import zoo
from metamotor.meta.learner import MetaLearner
from metamotor.meta.rollouts import RolloutJob, Workplace, derive_seed
from metamotor.meta.statistics import interquartile_mean
from metamotor.meta.threads import one_torch_thread
from metamotor.meta.workers import LocalSampler
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.wording import counted

Array = NDArray[Any]

EPISODES, STEPS = 10, 100
"""Of the update whose time is measured."""
REPEATS = 30
PROGRAM = Path(__file__).with_name("on_robot.py")


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """Adaptation by onnxruntime alone against the learner's own: updates, their time, returns on held-out tasks."""

    checkpoints: tuple[str, ...] = (
        "PointNavigation/es",
        "CartPoleSwingUp/promp",
        "PandaReach/maml",
        "PandaReach/mpo",
        "A1Locomotion/maml",
    )
    """Of the zoo."""
    tasks: int = 8
    """Held-out tasks of each."""
    query_episodes: int = 3
    """Episodes that measure a policy on a task."""
    robot_python: Path | None = None
    """An interpreter with numpy, onnxruntime and metamotor only; without it, this one, in a process of its own."""
    seed: int = 0
    """Of tasks, episodes and actions."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""


def run(options: Adaptation, command: str, console: Console) -> None:
    """Measure and write the results."""
    for name in ("tasks", "query_episodes"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(options, name)}")
    entries = {name: zoo.entries().get(name) for name in options.checkpoints}
    if unknown := [name for name, entry in entries.items() if entry is None]:
        known = ", ".join(zoo.entries())
        raise ValueError(f"the zoo has no {', '.join(unknown)}; there are: {known}")
    out = place(options, "adaptation")
    numbers: dict[str, Any] = {}
    for name in options.checkpoints:
        console.print(f"{name} …")
        numbers[name] = measure(name, options)
    rows = [
        [
            name,
            f"{found['update_error']:.1e}",
            f"{found['robot_ms']:.2f}",
            f"{found['desk_ms']:.2f}",
            f"{found['act_us']:.0f}",
            *(_interval(found[key]) for key in ("before", "desk", "robot")),
            f"{found['largest_difference']:.1e}",
        ]
        for name, found in numbers.items()
    ]
    write_results(
        out,
        "adaptation",
        command=command,
        about=_about(options, numbers),
        header=[
            "checkpoint",
            "update's distance",
            "update on the robot [ms]",
            "at the desk [ms]",
            "action [µs]",
            "before",
            "adapted at the desk",
            "adapted on the robot",
            "largest difference of a return",
        ],
        rows=rows,
        numbers={"checkpoints": numbers},
        console=console,
    )


def _about(options: Adaptation, numbers: Mapping[str, Any]) -> str:
    first = next(iter(numbers.values()))
    where = (
        "an environment with numpy and onnxruntime only" if options.robot_python else "a process"
    )
    return (
        f"Adaptation on the robot, in {where} that talks to the simulator over a pipe (imported besides: "
        f"{', '.join(first['foreign']) or 'nothing'}), against the learner's own, on one thread. Updates on the "
        f"experience of {counted(options.tasks, 'held-out task')}: largest distance, as a share of the update's "
        f"length. Processor time of an update on {EPISODES} recorded episodes of {STEPS} steps, and of an action that "
        f"explores. Interquartile means of the returns without noise, {counted(options.query_episodes, 'episode')} a "
        "task, with 95 % intervals over tasks, and the largest difference of a task's return. "
        + _swapping(first["swap_us"])
    )


def _swapping(swap: Mapping[str, float]) -> str:
    listed = "; ".join(f"{name} {value:.0f}" for name, value in swap.items())
    return f"New weights in the policy of the first checkpoint, microseconds of processor time: {listed}."


def _interval(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"


@one_torch_thread()
def measure(name: str, options: Adaptation) -> dict[str, Any]:
    """Return all that is measured of one checkpoint."""
    entry = zoo.entries()[name]
    kind = {"ES": meta.ES, "MPO": meta.MPO, "Reptile": meta.Reptile}.get(entry.method, meta.MAML)
    learner: MetaLearner = kind.load(f"zoo:{name}")
    tasks = learner.family.sample(options.tasks, split="test", seed=derive_seed(options.seed, 0))
    with tempfile.TemporaryDirectory() as folder:
        path = deploy.export_adaptation(learner, Path(folder) / "adapt.onnx")
        policy = AdaptivePolicy(path)
        found: dict[str, Any] = {
            "bytes": path.stat().st_size,
            "parity": policy.metadata["parity"],
            "update_error": update_error(learner, policy, tasks, options.seed),
            **times(learner, policy),
            "swap_us": swapping(policy, Path(folder)),
        }
        updates = max(1, learner.trained_updates)
        found |= returns(learner, path, tasks, updates, options)
    return found


def update_error(learner: Any, policy: AdaptivePolicy, tasks: list[Any], seed: int) -> float:
    """Return the largest distance of an update on real experience, as a share of its length."""
    state = learner.initial_state()
    sampler = LocalSampler(learner.family)
    seeds = [derive_seed(seed, 1, index) for index in range(len(tasks))]
    batches = learner.collect(
        [state] * len(tasks), tasks, episodes=policy.episodes, seeds=seeds, sampler=sampler
    )
    sampler.close()
    worst = 0.0
    for batch in batches:
        episodes = [
            Episode(*(part[row][: int(batch.mask[row].sum())] for part in batch[:3]))
            for row in range(len(batch.mask))
        ]
        policy.forget()
        before = policy.weights
        policy.adapt_from(episodes)
        wanted = robot_weights(learner, learner.update(state, batch, 0))
        worst = max(worst, distance(before, wanted, policy.weights)[0])
    policy.forget()
    return worst


def robot_weights(learner: Any, state: Any) -> dict[str, Array]:
    """Return the weights of a learner's state by the names that the robot has for them."""
    if isinstance(learner, meta.MAML):
        return {name: state.params[name].numpy() for name in learner.adapter.actor_names}
    if isinstance(learner, meta.ES):
        return learner.layout.split(state.vector)
    params = learner.make_model(state, learner.family.make_env()).policy.state_dict()
    return {
        name: value.numpy()
        for name, value in params.items()
        if name.startswith(("mlp_extractor.policy_net", "action_net"))
    }


def times(learner: Any, policy: AdaptivePolicy) -> dict[str, float]:
    """Return the median time of an update here and there [ms], and of an action [µs]."""
    episodes = [synthetic(learner.family, 1, STEPS, seed)[0] for seed in range(EPISODES)]
    batch, state = to_batch(episodes), learner.initial_state()
    observation = episodes[0].observations[0]

    def on_robot() -> None:
        policy.forget()
        policy.adapt_from(episodes)

    robot = median_of(on_robot)
    desk = median_of(lambda: learner.update(state, batch, 0))
    policy.forget()
    taken = []
    for index in range(policy.horizon):
        start = time.thread_time_ns()
        policy.act(observation)
        over = policy.observe(0.0)
        if index and not over:
            taken.append((time.thread_time_ns() - start) / 1e3)
        if over:
            break
    policy.forget()
    return {"robot_ms": robot / 1e3, "desk_ms": desk / 1e3, "act_us": float(np.median(taken))}


def swapping(policy: AdaptivePolicy, folder: Path) -> dict[str, float]:
    """Return how long it takes to run a policy with other weights, by each route that onnxruntime has [µs]."""
    payload, weights = policy.policy_file, policy.weights
    session = deploy.runtime.open_session(payload, threads=1, source="the policy")
    bound = SwappablePolicy(session, weights)
    taken = {item.name for item in session.get_overridable_initializers()}
    own = {name: value for name, value in weights.items() if name in taken}
    observation = np.zeros(session.get_inputs()[0].shape[1], np.float32)
    feed = {"observation": observation[np.newaxis], **own}
    place_of = folder / "weights.onnx_adapter"
    kept: list[Any] = []

    def in_new_session() -> None:
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = 1
        session_options.log_severity_level = 4
        values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in own.items()
        }
        for name, value in values.items():
            session_options.add_initializer(name, value)
        kept[:] = [values, onnxruntime.InferenceSession(payload, session_options)]

    def by_adapter() -> None:
        written = onnxruntime.AdapterFormat()
        written.set_adapter_version(1)
        written.set_model_version(1)
        written.set_parameters(
            {name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in own.items()}
        )
        written.export_adapter(str(place_of))
        adapter = onnxruntime.LoraAdapter()
        adapter.Load(str(place_of))
        kept[:] = [adapter, onnxruntime.RunOptions()]
        kept[1].add_active_adapter(adapter)

    by_adapter()
    run_options = kept[1]
    adapter = kept[0]
    result = {
        "overwritten in place": median_of(lambda: bound.load(weights)),
        "a new session": median_of(in_new_session),
        "an adapter file": median_of(by_adapter),
        "then a step with bound weights": median_of(lambda: bound(observation), 1000),
        "with weights fed": median_of(lambda: session.run(["action"], feed), 1000),
        "with an adapter": median_of(
            lambda: session.run(["action"], {"observation": feed["observation"]}, run_options), 1000
        ),
    }
    del adapter
    return result


def median_of(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median processor time of a call [µs], after one that is not measured."""
    work()
    taken = []
    for _ in range(repeats):
        start = time.thread_time_ns()
        work()
        taken.append(time.thread_time_ns() - start)
    return float(np.median(taken)) / 1e3


# Whole adaptation -----------------------------------------------------------------------------------


def returns(
    learner: Any, path: Path, tasks: list[Any], updates: int, options: Adaptation
) -> dict[str, Any]:
    """Return the returns before adaptation, after it at the desk, and after it on the robot."""
    seeds = [derive_seed(options.seed, 2, index) for index in range(len(tasks))]
    query = derive_seed(options.seed, 3)
    episodes = learner.trained_episodes
    workplace = Workplace(learner.family)

    def shown(state: Any, task: Any) -> float:
        actor = learner.make_actor(state)
        job = RolloutJob(task, actor, options.query_episodes, query, deterministic=True)
        return float(job.run(workplace).episode_returns.mean())

    before = [shown(learner.initial_state(), task) for task in tasks]
    desk = [
        shown(learner.adapt_state(task, episodes, updates=updates, seed=seed), task)
        for task, seed in zip(tasks, seeds, strict=True)
    ]
    workplace.close()
    query_seeds = np.random.default_rng(query).integers(2**31, size=options.query_episodes)
    orders = {"seeds": seeds, "updates": updates, "query_seeds": query_seeds.tolist()}
    told = on_robot(learner.family, path, tasks, orders, options.robot_python)
    robot = told["returns"]
    return {
        **{
            name: interquartile_mean(np.array([values]))._asdict()
            for name, values in (("before", before), ("desk", desk), ("robot", robot))
        },
        "largest_difference": float(np.abs(np.subtract(desk, robot)).max()),
        "returns": {"before": before, "desk": desk, "robot": robot},
        "robot_update_ms": float(np.median(told["milliseconds"])),
        "robot_opened_s": told["opened"],
        "foreign": told["foreign"],
        "updates": updates,
        "episodes": episodes,
    }


def on_robot(
    family: Any, path: Path, tasks: list[Any], orders: dict[str, Any], python: Path | None
) -> dict[str, Any]:
    """Return what the robot's process says after it has adapted to all tasks, which are simulated here."""
    command = [str(python), "-I"] if python else [sys.executable]
    env = family.make_env()
    with subprocess.Popen(
        [*command, str(PROGRAM), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told: dict[str, Any] | None = None
        for line in process.stdout:
            asked = json.loads(line)
            if "returns" in asked:
                told, answer = asked, {}
            else:
                answer = orders if "ready" in asked else _simulated(env, tasks, asked)
            process.stdin.write(json.dumps(answer) + "\n")
            process.stdin.flush()
    env.close()
    if told is not None:
        return told
    raise ValueError(
        f"the robot's process ended with code {process.returncode}; its interpreter needs numpy, onnxruntime and "
        "metamotor (pip install --no-deps)"
    )


def _simulated(env: Any, tasks: list[Any], asked: dict[str, Any]) -> dict[str, Any]:
    if "reset" in asked:
        task = tasks[asked["task"]]
        observation, _ = env.reset(seed=asked["reset"], options={"task": task})
        return {"observation": observation.tolist()}
    action = np.asarray(asked["action"])
    if action.dtype.kind == "f":
        action = action.astype(np.float32)
    observation, reward, terminated, truncated, _ = env.step(action)
    return {
        "observation": observation.tolist(),
        "reward": float(reward),
        "terminated": bool(terminated),
        "truncated": bool(truncated),
    }
