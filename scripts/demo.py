"""`metamotor demo`: a robot arm that meets goals it was never told, from training to the policy file, in one go."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import dist
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from metamotor import envs
from metamotor.deploy.runtime import Policy
from metamotor.meta.checks import check_whole
from metamotor.meta.evaluation import Curve, Evaluator, Protocol
from metamotor.meta.learner import MetaLearner
from metamotor.scripts.adapt import Adaptation, adapted_model
from metamotor.scripts.cells import Cell, train_cells
from metamotor.scripts.checkpoints import load_arms
from metamotor.scripts.episodes import beside, watch, write_contact_sheet, write_gif
from metamotor.scripts.evaluate import present
from metamotor.scripts.export import export_model
from metamotor.scripts.options import parse
from metamotor.scripts.outputs import new_folder
from metamotor.scripts.runs import write_json
from metamotor.scripts.wording import counted, new_console, next_step

FAMILY = "PandaReach-v0"
QUICK_STEPS = 1500
"""Environment steps of each arm at most, when only the workings are shown."""
FILMED = {"lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75}
"""Which goals are filmed: those at these places in the order of the returns after one update."""
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
    demonstrate(options, new_console())


def demonstrate(options: Demo, console: Console) -> Path:
    """Run all of it; return the folder of the results."""
    start = time.perf_counter()
    check_whole("jobs", options.jobs, 1)
    check_whole("total_timesteps", options.total_timesteps, 1)
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
    goals = typical(evaluator.tasks, evaluation.curves["adapted"])
    _film(arms[0], goals, protocol, folder, console)
    console.rule("4. The policy as one file")
    goal, adaptation = goals[len(goals) // 2], _adaptation(protocol, updates=1)
    console.print(f"  For goal {goal.index + 1}, adapted as in the film.")
    _export_and_run(arms[0], cells[0].checkpoint, goal.task, adaptation, folder, console)
    _list_results(folder, console)
    print(next_step("see it move in a window", "run", folder / "panda_reach.onnx", "--gui"))
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


@dataclass(frozen=True)
class Filmed:
    """A goal that is filmed, and why it."""

    task: Any
    index: int
    """Among the test tasks."""
    place: str
    """In the order of the returns after one update."""
    before: float
    after: float
    """Returns of the deterministic policy in the evaluation: before adaptation, and after one update."""


def typical(tasks: Sequence[Any], curve: Curve) -> list[Filmed]:
    """Return the goals at the quartiles of the deterministic policies' returns after one update, each once."""
    returns = curve.deterministic
    order = np.argsort(returns[:, 1], kind="stable")
    chosen: dict[int, str] = {}
    for place, share in FILMED.items():
        chosen.setdefault(int(order[round(share * (len(order) - 1))]), place)
    return [
        Filmed(tasks[index], index, place, float(returns[index, 0]), float(returns[index, 1]))
        for index, place in chosen.items()
    ]


def _film(
    learner: MetaLearner,
    goals: Sequence[Filmed],
    protocol: Protocol,
    folder: Path,
    console: Console,
) -> None:
    """Film the arm on some goals, before adaptation on the left and after it on the right."""
    console.print(
        f"Filmed: of the {protocol.num_tasks} test goals of seed {protocol.seed}, those at the quartiles of the "
        "deterministic policies' returns after 1 update in the evaluation. Policies act deterministically here "
        "too, and are adapted to as much experience, but other episodes."
    )
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("goal", "", "before", "after 1 update"):
        grid.add_column(name, justify="left" if name in ("goal", "") else "right")
    env = learner.family.make_env(render_mode="rgb_array")
    frames, ends = [], []
    for goal in goals:
        films, titles, returns, distances = [], [], [], []
        for name, updates in (("before", 0), ("after 1 update", 1)):
            model = adapted_model(learner, goal.task, _adaptation(protocol, updates))
            seen = watch(env, _act(model), task=goal.task, seeds=[0], frames=True)
            distance = 100 * _distance_to_goal(env)
            films.append(seen.frames)
            titles.append(
                f"goal {goal.index + 1}, {name}: return {seen.returns[0]:.1f}, {distance:.0f} cm off"
            )
            returns.append(f"{seen.returns[0]:.1f}")
            distances.append(f"{distance:.1f} cm")
        number = f"{goal.index + 1} of {protocol.num_tasks}, {goal.place}"
        grid.add_row(number, "hand to goal at the end", *distances)
        grid.add_row("", "return of this episode", *returns)
        grid.add_row("", "return in the evaluation", f"{goal.before:.1f}", f"{goal.after:.1f}")
        frames += beside(films, titles)
        ends.append(frames[-1])  # where the hand came to
    env.close()
    console.print(grid)
    write_gif(folder / "before_and_after.gif", frames)
    write_contact_sheet(folder / "before_and_after.png", ends, count=len(ends))


def _adaptation(protocol: Protocol, updates: int) -> Adaptation:
    """Return an adaptation to as much experience as in the evaluation."""
    return Adaptation(episodes=protocol.support_episodes, updates=updates)


def _distance_to_goal(env: Any) -> float:
    """Return the distance of the hand to the goal [m]."""
    task = env.task
    return dist(env.robot.hand_position, (task.goal_x, task.goal_y, task.goal_z))


def _act(model: Any) -> Any:
    return lambda observation: model.predict(observation, deterministic=True)[0]


def _export_and_run(
    learner: MetaLearner,
    checkpoint: Path,
    task: Any,
    adaptation: Adaptation,
    folder: Path,
    console: Console,
) -> None:
    """Write the policy for one goal, and run file and model on the same episodes."""
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
    episodes = counted(len(seeds), "episode")
    console.print(f"  {episodes} from other starts; policies act deterministically:")
    console.print(f"  returns of the model:     {_listed(by_model.returns)}")
    console.print(f"  returns of the ONNX file: {_listed(by_file.returns)}")
    console.print(
        f"  on the same observations their actions differ by {max(differences):.0e} at most"
    )
    console.print(f"  time of the policy: median {p50:.0f} µs, p99 {p99:.0f} µs")
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
