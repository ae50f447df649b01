"""What is learned in what time: methods on families over several training seeds, by the whole protocol.

A study is a folder of runs. Runs that are trained and policies that are evaluated in it are not done again, so that a
study that was stopped goes on where it was, and grows by families, methods and seeds.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from metamotor import envs
from metamotor.meta.evaluation import Curve, Evaluation, Evaluator, Protocol
from metamotor.meta.zoo import Entry
from metamotor.scripts.benchmarks import zoo
from metamotor.scripts.benchmarks.comparison import (
    Comparison,
    Training,
    draw,
    family_page,
    overview_page,
    overview_table,
    terminal_table,
)
from metamotor.scripts.cells import Cell, train_cells
from metamotor.scripts.checkpoints import load, load_baseline
from metamotor.scripts.methods import METHODS, STUDIED, Method
from metamotor.scripts.options import FamilyIds
from metamotor.scripts.outputs import results_folder, write_file
from metamotor.scripts.presets import preset
from metamotor.scripts.report import summarise
from metamotor.scripts.runs import CONFIG, SUMMARY, CpuClock, machine, read_json, write_json
from metamotor.scripts.train import build, parse_train

BASELINES = ("robust", "oracle")


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Train methods, the robust policy and the oracle from each seed, and evaluate them on held-out tasks.

    What is trained or evaluated in the folder of runs is not done again: what was stopped goes on where it was.
    Writes a page, a figure and a JSON file for each family, and learning.md over all of them.
    """

    families: FamilyIds = STUDIED
    """The task families; their presets are used."""
    methods: tuple[str, ...] = tuple(METHODS)
    """What is compared: MAML, ProMP, FOMAML, Reptile, ES, MPO, RL2."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    num_tasks: int = 40
    """Test tasks."""
    num_updates: int = 2
    """Updates of adaptation; the presets say how many episodes before each."""
    query_episodes: int = 10
    """Episodes that measure a policy on a task, stochastic and deterministic each."""
    validation_tasks: int = 20
    """Tasks on which step sizes are chosen."""
    seed: int = 1
    """Of the evaluation's tasks, episodes and actions."""
    total_timesteps: int | None = None
    """Environment steps of each run; without it, the presets'."""
    horizon: int | None = None
    """Steps of an episode; without it, the families' own."""
    jobs: int = 2
    """Runs trained at once, and processes that sample for the evaluation."""
    runs: Path = Path("runs/bench")
    """Folder of the runs."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""
    zoo: Path | None = None
    """Write the checkpoints there too, small and with an index, as `metamotor zoo` lists them."""
    train_options: str = ""
    """Further options for every run, as `metamotor train` takes them: --train-options='--validation-interval 2'."""

    def protocol(self, support_episodes: int) -> Protocol:
        """Return how much is measured."""
        return Protocol(
            num_tasks=self.num_tasks,
            num_updates=self.num_updates,
            support_episodes=support_episodes,
            query_episodes=self.query_episodes,
            validation_tasks=self.validation_tasks,
            seed=self.seed,
        )


def run(options: Learning, command: str, console: Console) -> None:
    """Run the study and write its results, family by family.

    Raises:
        ValueError: if a seed, a family or a method is missing, doubled or unknown.
    """
    _check(options)
    studies = [Study(options, name) for name in options.families]
    names = [*(study.family.name for study in studies), "learning"]
    files = [f"{name}{suffix}" for name in names for suffix in (".md", ".json", ".png")]
    folder = results_folder(options.out, "bench-learning", files, overwrite=options.overwrite)
    results_folder(options.runs, "bench", (), overwrite=False)
    comparisons: list[Comparison] = []
    entries: list[Entry] = []
    for study in studies:
        console.print(f"{study.family.name}", style="bold")
        comparison = study.run(console)
        comparisons.append(comparison)
        _write_family(comparison, command, folder, console)
        if options.zoo is not None:
            for name in (name for name in comparison.reports if name not in zoo.LEFT_OUT):
                entry = zoo.write_checkpoint(comparison, name, study.cells(name), options.zoo)
                if entry is None:
                    told = f"{name} is left out of the zoo: more than {zoo.LARGEST:,} bytes"
                    console.print(told, soft_wrap=True)
                else:
                    entries.append(entry)
            zoo.write_index(entries, options.zoo)
    where = machine()
    contents = {"command": command, "machine": where, "families": options.families}
    gaps = {comparison.family: comparison.gaps_as_json() for comparison in comparisons}
    write_json(folder / "learning.json", {**contents, "gap_closed": gaps})
    text = overview_page(comparisons, command, where)
    write_file(folder / "learning.md", text.encode())
    draw(comparisons, folder / "learning.png")
    console.print(overview_table(comparisons))
    console.print(f"Written to {folder}/learning.md", soft_wrap=True)


def _check(options: Learning) -> None:
    for name in ("seeds", "families", "methods"):
        values = getattr(options, name)
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} must be at least one, no two alike, got {values}")
    if unknown := sorted(set(options.methods) - set(METHODS)):
        raise ValueError(f"there is no method {', '.join(unknown)}; there are {', '.join(METHODS)}")
    for family in options.families:
        envs.make(family)
    options.protocol(1)
    if options.num_updates < 1:
        raise ValueError(f"num_updates must be at least 1, got {options.num_updates}")


def _write_family(comparison: Comparison, command: str, folder: Path, console: Console) -> None:
    name, where = comparison.family, machine()
    contents = {"command": command, **comparison.as_json(), "machine": where}
    write_json(folder / f"{name}.json", contents)
    write_file(folder / f"{name}.md", family_page(comparison, command, where).encode())
    draw([comparison], folder / f"{name}.png")
    console.print(terminal_table(comparison))
    console.print(f"Written to {folder}/{name}.md", soft_wrap=True)


class Study:
    """All runs on one family.

    Args:
        options: of the whole study.
        family: the family's id.
    """

    def __init__(self, options: Learning, family: str) -> None:
        self.options = options
        changes = {} if options.horizon is None else {"horizon": options.horizon}
        self.family = envs.make(family, **changes)
        horizon = "" if options.horizon is None else f"-{options.horizon}"
        self.folder = options.runs / f"{self.family.name}{horizon}"
        self.methods = {name: METHODS[name] for name in options.methods}

    def run(self, console: Console) -> Comparison:
        """Train and evaluate what is not done yet, and return everything."""
        cells = {name: self.cells(name) for name in (*BASELINES, *self.methods)}
        waiting = [cell for own in cells.values() for cell in own]
        train_cells(waiting, jobs=self.options.jobs, console=console)
        curves: dict[str, list[Mapping[str, Curve]]] = {}
        costs: dict[str, float] = {}
        for name in ("baselines", *self.methods):
            with console.status(f"evaluating {name}"):
                done = [
                    self._evaluated(name, cells, index) for index in range(len(cells["robust"]))
                ]
            curves[name] = [own for own, _ in done]
            costs[name] = sum(cost for _, cost in done)
        reports = {name: summarise(self._evaluations(curves, name), name) for name in self.methods}
        training = {name: _training(own) for name, own in cells.items()}
        return Comparison(
            family=self.family.name,
            baseline_episodes=preset(self.family.name).support_episodes,
            reports=reports,
            training=training,
            evaluation_cpu_seconds=costs,
        )

    def cells(self, name: str) -> list[Cell]:
        """Return the training runs of a method or a baseline, one for each seed."""
        return [self.cell(name, seed) for seed in self.options.seeds]

    def cell(self, name: str, seed: int) -> Cell:
        """Return the training run of a method or a baseline."""
        words = ["--arm", name] if name in BASELINES else list(self.methods[name].words)
        extra = shlex.split(self.options.train_options)
        for option in ("total_timesteps", "horizon"):
            if (value := getattr(self.options, option)) is not None:
                extra += [f"--{option.replace('_', '-')}", str(value)]
        return Cell(
            self.folder / f"{name}-{seed}",
            # What makes the method and the seed comes last: no further option takes its place.
            (self.family.name, *extra, *words, "--seed", str(seed)),
        )

    def support_episodes(self, name: str) -> int:
        """Return the episodes before each update of a method."""
        method = self.methods.get(name, Method("MAML"))
        return method.preset(self.family.name).support_episodes

    def _evaluations(
        self, curves: Mapping[str, Sequence[Mapping[str, Curve]]], name: str
    ) -> list[Evaluation]:
        episodes = self.support_episodes(name)
        seconds = float(episodes * self.family.horizon * self.family.dt)
        return [
            Evaluation(
                self.family.name, self.options.protocol(episodes), seed, {**others, **own}, seconds
            )
            for seed, others, own in zip(
                self.options.seeds, curves["baselines"], curves[name], strict=True
            )
        ]

    def _evaluated(
        self, name: str, cells: Mapping[str, Sequence[Cell]], index: int
    ) -> tuple[Mapping[str, Curve], float]:
        """Return the curves of a method or of all baselines for one seed, and their CPU seconds."""
        needed = BASELINES if name == "baselines" else (name,)
        seed, protocol = (
            self.options.seeds[index],
            self.options.protocol(self.support_episodes(name)),
        )
        path = self.folder / f"{name}-{seed}.evaluation.json"
        cost = path.with_name(f"{name}-{seed}.evaluation-cost.json")
        ended = max((cells[own][index].folder / SUMMARY).stat().st_mtime for own in needed)
        if cost.is_file() and path.is_file() and path.stat().st_mtime > ended:
            done = Evaluation.load(path)
            if done.protocol == protocol:
                return done.curves, float(read_json(cost)["cpu_seconds"])
        clock, jobs = CpuClock(), self.options.jobs
        evaluator = Evaluator(self.family, protocol, num_workers=0 if jobs == 1 else jobs)
        curves = self._curves(evaluator, name, cells, index)
        seconds = evaluator.robot_seconds
        spent = clock.read()
        write_json(cost, spent)  # first: an evaluation that is there has the cost that is its own
        Evaluation(self.family.name, protocol, seed, curves, seconds).save(path)
        return curves, spent["cpu_seconds"]

    def _curves(
        self, evaluator: Evaluator, name: str, cells: Mapping[str, Sequence[Cell]], index: int
    ) -> Mapping[str, Curve]:
        if name != "baselines":
            return self._curves_of(evaluator, name, cells[name][index])
        robust, oracle = (load_baseline(cells[own][index].checkpoint) for own in BASELINES)
        return evaluator.baselines(robust, oracle)

    def _curves_of(self, evaluator: Evaluator, name: str, cell: Cell) -> Mapping[str, Curve]:
        curves = {"adapted": evaluator.adapted(load(cell.checkpoint))}
        if self.methods[name].learner != "MAML":
            # Scratch is an untrained policy of MAML's base learner: others have to beat themselves untrained too.
            untrained = build(parse_train(cell.argv))
            curves["untrained"] = evaluator.adapted(untrained)
        return curves


def _training(cells: Sequence[Cell]) -> Training:
    """Return what a method cost and reached, a list with an entry per seed."""
    summaries = [read_json(cell.folder / SUMMARY) for cell in cells]
    settings: dict[str, Any] = read_json(cells[0].folder / CONFIG)
    keys = ("cpu_seconds", "num_timesteps", "iterations", "best_num_timesteps")
    made_by = [read_json(cell.folder / CONFIG).get("machine", {}) for cell in cells]
    return Training(
        sources=tuple(machine.get("sources", "unknown") for machine in made_by),
        settings={
            key: settings[key]
            for key in ("learner", "algorithm", "config", "base_kwargs", "total_timesteps")
        },
        **{key: tuple(summary[key] for summary in summaries) for key in keys},
    )
