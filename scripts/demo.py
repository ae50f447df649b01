"""`metamotor demo`: a robot arm that meets goals it was never told, from training to the policy file, in one go."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from metamotor import envs
from metamotor.deploy.runtime import Policy
from metamotor.meta.evaluation import Evaluator, Protocol
from metamotor.meta.learner import MetaLearner
from metamotor.scripts.adapt import Adaptation, adapted_model
from metamotor.scripts.cells import Cell, train_cells
from metamotor.scripts.checkpoints import load_arms
from metamotor.scripts.episodes import beside, watch, write_contact_sheet, write_gif
from metamotor.scripts.evaluate import present
from metamotor.scripts.export import export_model
from metamotor.scripts.options import parse
from metamotor.scripts.runs import new_folder, write_json

FAMILY = "PandaReach-v0"
QUICK_STEPS = 1500
"""Environment steps of each arm at most, when only the workings are shown."""
NUM_FILMED = 3
"""Test tasks that are filmed."""
LARGEST_DIFFERENCE = 1e-5
"""Between the actions of file and model on one observation, of which the space holds ±1."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Meta-train a Panda to reach hidden goals, and show what that is worth; takes minutes.

    Trains the adapted, the robust and the oracle arm at once, evaluates them on 40 goals that training never drew,
    films the arm before and after adaptation, exports the adapted policy to ONNX and runs the file.
    """

    seed: int = 0
    """Of everything random."""
    total_timesteps: int = 300_000
    """Environment steps of each arm; all other settings are the preset's."""
    jobs: int = 2
    """Processes at work at once."""
    out: Path | None = None
    """Folder of the results, which must not exist; without it, a new one in runs/."""
    quick: bool = False
    """Train for seconds only: shows that everything works, not that anything is learned."""


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    options: Demo = parse(Demo, argv, "demo")
    demonstrate(options, Console())


def demonstrate(options: Demo, console: Console) -> Path:
    """Run all of it; return the folder of the results."""
    start = time.perf_counter()
    folder = new_folder(options.out, "demo")
    console.rule(f"1. Meta-training on {FAMILY}: the goal is hidden from the arm")
    cells = _cells(options, folder)
    train_cells(cells, jobs=options.jobs, console=console)
    console.rule("2. Evaluation on goals that training never drew")
    arms = load_arms(*([cell.checkpoint] for cell in cells))[0]
    protocol = _protocol(options)
    with console.status("adapting to each goal, and measuring everything that must be beaten"):
        evaluator = Evaluator(arms[0].family, protocol, num_workers=options.jobs)
        evaluation = evaluator.evaluate(*arms)
    evaluation.save(folder / "evaluation.json")
    report = present([evaluation], type(arms[0]).__name__, folder, console)
    write_json(folder / "report.json", report.as_json())
    console.rule("3. Before and after adaptation")
    _film(arms[0], evaluator.tasks[:NUM_FILMED], folder, console)
    console.rule("4. The policy as one file")
    _export_and_run(arms[0], cells[0].checkpoint, evaluator.tasks[0], folder, console)
    _list_results(folder, console)
    console.print(f"Done in {time.perf_counter() - start:.0f} s.")
    return folder


def _cells(options: Demo, folder: Path) -> list[Cell]:
    """Return the three arms. The last one starts when a core is free, and then soon has both to itself."""
    steps = min(options.total_timesteps, QUICK_STEPS) if options.quick else options.total_timesteps
    budget = ["--seed", str(options.seed), "--total-timesteps", str(steps)]
    if options.quick:
        budget += ["--meta-batch-size", "2", "--episodes-per-task", "3"]
        budget += ["--validation-tasks", "1", "--validation-episodes", "1"]
    workers = {"oracle": str(options.jobs if options.jobs > 1 else 0)}
    return [
        Cell(
            folder / arm,
            (FAMILY, "--arm", arm, *budget, "--num-workers", workers.get(arm, "0")),
        )
        for arm in ("adapted", "robust", "oracle")
    ]


def _protocol(options: Demo) -> Protocol:
    if options.quick:
        return Protocol(
            num_tasks=2, num_updates=2, support_episodes=2, query_episodes=1, validation_tasks=1
        )
    return Protocol(num_tasks=40, num_updates=3, query_episodes=4, validation_tasks=4)


def _film(learner: MetaLearner, tasks: Sequence[Any], folder: Path, console: Console) -> None:
    """Film the arm on some goals, before adaptation on the left and after it on the right."""
    env = learner.family.make_env(render_mode="rgb_array")
    frames = []
    for index, task in enumerate(tasks):
        films, titles = [], []
        for name, updates in (("before", 0), ("after 10 episodes", 1)):
            model = adapted_model(learner, task, Adaptation(updates=updates))
            seen = watch(env, _act(model), task=task, seeds=[0], frames=True)
            films.append(seen.frames)
            titles.append(f"goal {index + 1}, {name}: return {seen.returns[0]:.1f}")
        console.print(f"  {titles[0]}; {titles[1].split(', ')[1]}")
        frames += beside(films, titles)
    env.close()
    write_gif(folder / "before_and_after.gif", frames)
    # The last frame of each film shows where the hand came to.
    length = len(frames) // len(tasks)
    ends = [frames[(index + 1) * length - 1] for index in range(len(tasks))]
    write_contact_sheet(folder / "before_and_after.png", ends, count=len(ends))


def _act(model: Any) -> Any:
    return lambda observation: model.predict(observation, deterministic=True)[0]


def _export_and_run(
    learner: MetaLearner, checkpoint: Path, task: Any, folder: Path, console: Console
) -> None:
    """Write the policy for one goal, and run file and model on the same episodes."""
    adaptation = Adaptation()
    model = adapted_model(learner, task, adaptation)
    path = export_model(learner, model, checkpoint, adaptation, folder / "panda_reach.onnx")
    policy = Policy(path)
    stored = envs.make(policy.metadata["family"]).task_type.from_json(
        json.dumps(policy.metadata["task"])
    )
    env, seeds = learner.family.make_env(), range(100, 105)
    differences: list[float] = []

    def act(observation: Any) -> Any:
        action = policy(observation)
        differences.append(float(np.abs(action - _act(model)(observation)).max()))
        return action

    by_model = watch(env, _act(model), task=task, seeds=seeds)
    by_file = watch(env, policy, task=stored, seeds=seeds)
    watch(env, act, task=stored, seeds=seeds)
    env.close()
    p50, p99 = np.percentile(by_file.microseconds, [50, 99])
    console.print(f"  returns of the model:     {_listed(by_model.returns)}")
    console.print(f"  returns of the ONNX file: {_listed(by_file.returns)}")
    console.print(
        f"  on the same observations their actions differ by {max(differences):.0e} at most"
    )
    console.print(f"  inference: p50 {p50:.0f} µs, p99 {p99:.0f} µs")
    # Returns differ more: contact and friction let rounding grow within an episode.
    if max(differences) > LARGEST_DIFFERENCE:
        raise RuntimeError(f"the file's actions differ from the model's by {max(differences)}")


def _listed(returns: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in returns)


def _list_results(folder: Path, console: Console) -> None:
    console.rule("Results")
    results = {
        "report.md": "the tables",
        "returns.png": "returns over the robot's time, and the gap closed",
        "before_and_after.gif": "the arm before and after adaptation; .png: where the hand came to",
        "panda_reach.onnx": "the adapted policy; run it with `metamotor run`",
        "adapted": "the training run: settings, curves, checkpoints (robust, oracle beside it)",
    }
    for name, what in results.items():
        console.print(f"  {folder / name}  {what}", soft_wrap=True)
