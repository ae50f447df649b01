"""What is learned in what time: all arms over several training seeds, evaluated by the whole protocol."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console

from metamotor import envs
from metamotor.meta.evaluation import Evaluation, Evaluator, Protocol
from metamotor.scripts.benchmarks.results import described, place
from metamotor.scripts.cells import Cell, train_cells
from metamotor.scripts.checkpoints import load_arms
from metamotor.scripts.evaluate import present
from metamotor.scripts.options import FamilyId
from metamotor.scripts.outputs import results_folder, write_file
from metamotor.scripts.report import Report, markdown
from metamotor.scripts.runs import CONFIG, SUMMARY, CpuClock, machine, read_json, write_json

ARMS = ("adapted", "robust", "oracle")


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Train the adapted, the robust and the oracle arm from each seed, and evaluate them.

    Arms that are trained and seeds that are evaluated in the folder of runs are not done again: what was stopped goes
    on where it was.
    """

    family: FamilyId = "PandaReach-v0"
    """The task family; its preset is used."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    total_timesteps: int | None = None
    """Environment steps of each arm; without it, the preset's."""
    horizon: int | None = None
    """Steps of an episode; without it, the family's own."""
    jobs: int = 2
    """Arms trained at once, and processes that sample for the evaluation."""
    runs: Path = Path("runs/bench")
    """Folder of the training runs."""
    out: Path | None = None
    """Folder of the results, <family>.md, .json and .png; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""
    train_options: str = ""
    """Further options for every arm, as `metamotor train` takes them: --train-options='--outer-lr 1e-3'."""
    protocol: Protocol = field(default_factory=Protocol)


def run(options: Learning, command: str, console: Console) -> None:
    """Run the study and write its results.

    Raises:
        ValueError: if there is no seed, or the family is unknown.
    """
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        raise ValueError(f"seeds must be at least one, no two alike, got {options.seeds}")
    family = envs.make(options.family)
    folder = place(options, family.name, (".md", ".json", ".png"))
    results_folder(options.runs, "bench", (), overwrite=False)
    cells = cells_of(options)
    train_cells([cell for arms in cells for cell in arms], jobs=options.jobs, console=console)
    evaluations, costs = [], []
    for seed, arms in zip(options.seeds, cells, strict=True):
        with console.status(f"evaluating training seed {seed}"):
            evaluation, cost = evaluate(options, arms, seed)
        evaluations.append(evaluation)
        costs.append(cost)
    report = present(evaluations, "MAML", folder_of(options) / "report", console)
    (folder_of(options) / "report" / "returns.png").replace(folder / f"{family.name}.png")
    training = {arm: _training(cells, index) for index, arm in enumerate(ARMS)}
    settings = read_json(cells[0][0].folder / CONFIG)
    contents = {
        "command": command,
        **report.as_json(),
        "training": training,
        "evaluation_cpu_seconds": costs,
        "settings": {key: settings[key] for key in ("config", "base_kwargs", "total_timesteps")},
        "machine": machine(),
    }
    write_json(folder / f"{family.name}.json", contents)
    text = document(report, command, training, contents["machine"], options)
    write_file(folder / f"{family.name}.md", text.encode())
    console.print(f"Written to {folder}/{family.name}.md", soft_wrap=True)


def folder_of(options: Learning) -> Path:
    """Return the folder of a study's runs."""
    horizon = "" if options.horizon is None else f"-{options.horizon}"
    return options.runs / f"{options.family}{horizon}"


def cells_of(options: Learning) -> list[list[Cell]]:
    """Return the training runs: for each seed, one for every arm."""
    extra: list[str] = shlex.split(options.train_options)
    if options.total_timesteps is not None:
        extra += ["--total-timesteps", str(options.total_timesteps)]
    if options.horizon is not None:
        extra += ["--horizon", str(options.horizon)]
    return [
        [
            Cell(
                folder_of(options) / f"{arm}-{seed}",
                (options.family, "--arm", arm, "--seed", str(seed), *extra),
            )
            for arm in ARMS
        ]
        for seed in options.seeds
    ]


def evaluate(options: Learning, arms: Sequence[Cell], seed: int) -> tuple[Evaluation, float]:
    """Return a seed's evaluation and its CPU seconds, from its file if it was done before."""
    path = folder_of(options) / f"evaluation-{seed}.json"
    cost = path.with_name(f"evaluation-{seed}.cost.json")
    if path.is_file() and path.stat().st_mtime > max(_ended(cell) for cell in arms):
        done = Evaluation.load(path)
        if done.protocol == options.protocol:
            return done, float(read_json(cost).get("cpu_seconds", 0.0))
    clock = CpuClock()
    learners = load_arms(*([cell.checkpoint] for cell in arms))[0]
    evaluator = Evaluator(
        learners[0].family, options.protocol, num_workers=0 if options.jobs == 1 else options.jobs
    )
    evaluation = evaluator.evaluate(*learners)
    evaluation.save(path)
    spent = clock.read()
    write_json(cost, spent)
    return evaluation, spent["cpu_seconds"]


def _ended(cell: Cell) -> float:
    return (cell.folder / SUMMARY).stat().st_mtime


def _training(cells: Sequence[Sequence[Cell]], arm: int) -> dict[str, list[Any]]:
    """Return what an arm cost and reached, a list with an entry per seed."""
    summaries = [read_json(arms[arm].folder / SUMMARY) for arms in cells]
    keys = ("cpu_seconds", "wall_seconds", "num_timesteps", "iterations", "best_num_timesteps")
    return {key: [summary[key] for summary in summaries] for key in keys}


def document(
    report: Report,
    command: str,
    training: dict[str, dict[str, list[Any]]],
    where: dict[str, Any],
    options: Learning,
) -> str:
    """Return the results as a page."""
    lines = [
        f"# {report.family}",
        "",
        f"```console\n$ {command}\n```",
        "",
        markdown(report, f"{report.family}.png"),
        "| training | CPU seconds per seed | environment steps | meta-iterations | best at step |",
        "|---|---|---|---|---|",
    ]
    for arm, cost in training.items():
        seconds = ", ".join(f"{value:.0f}" for value in cost["cpu_seconds"])
        best = ", ".join(f"{value:,}" for value in cost["best_num_timesteps"])
        steps, iterations = mean(cost["num_timesteps"]), mean(cost["iterations"])
        lines.append(f"| {arm} | {seconds} | {steps:,.0f} | {iterations:,.0f} | {best} |")
    scales = dataclasses.asdict(options.protocol)
    lines += [
        "",
        "CPU seconds are user and system time of the training process and its workers, from the making of the learner "
        "to the last checkpoint, validation included; Python's start and the imports before it are not.",
        f"Training seeds {', '.join(map(str, report.seeds))}; protocol "
        f"{', '.join(f'{key} {value}' for key, value in scales.items())}.",
        described(where),
        "",
    ]
    return "\n".join(lines)
