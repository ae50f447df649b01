"""What is learned in what time: methods on families over several training seeds, by the whole protocol.

A study is a folder of runs, and one of records. What is recorded is not done again, and a run that was stopped goes on
where it was, so that a study grows by families, methods and seeds, and on another machine too.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from metamotor import envs
from metamotor.meta.evaluation import Curve, Evaluation, Evaluator, Protocol
from metamotor.meta.zoo import Entry
from metamotor.scripts.benchmarks import zoo
from metamotor.scripts.benchmarks.comparison import (
    BASELINES,
    EACH_SEED,
    Comparison,
    Training,
    draw,
    family_page,
    terminal_table,
)
from metamotor.scripts.benchmarks.overview import overview_page, overview_table
from metamotor.scripts.benchmarks.records import Record, RunRecord, find_record, run_record
from metamotor.scripts.cells import Cell, settings_of, train_cells
from metamotor.scripts.checkpoints import load, load_baseline
from metamotor.scripts.methods import METHODS, STUDIED, Method
from metamotor.scripts.options import FamilyIds
from metamotor.scripts.outputs import results_folder, write_file
from metamotor.scripts.report import summarise
from metamotor.scripts.runs import CpuClock, machine, read_json, write_json

BASELINE_ROW = "baselines"
"""What these are recorded as: they are evaluated together."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Train methods, the robust policy and the oracle from each seed, and evaluate them on held-out tasks.

    What is recorded with the same settings is not done again, and runs that were stopped go on where they were.
    Writes a page, a figure and a JSON file for each family, and learning.md over all that are in the folder.
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
    records: Path | None = None
    """Folder of what was measured, a JSON file for each method and seed; without it, that of the runs."""
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
                records = [study.record(name, seed) for seed in options.seeds]
                index = zoo.chosen([record.runs[name] for record in records if record])
                checkpoint = study.cell(name, options.seeds[index]).checkpoint
                if not checkpoint.is_file():
                    told = f"{name} stays in the zoo as it is: {checkpoint} is not there"
                    console.print(told, soft_wrap=True)
                    continue
                entry = zoo.write_checkpoint(comparison, name, index, checkpoint, options.zoo)
                if entry is None:
                    told = f"{name} is left out of the zoo: more than {zoo.LARGEST:,} bytes"
                    console.print(told, soft_wrap=True)
                else:
                    entries.append(entry)
            zoo.write_index(entries, options.zoo)
    every = comparisons_in(folder)
    gaps = {comparison.family: comparison.gaps_as_json() for comparison in every}
    write_json(folder / "learning.json", {"gap_closed": gaps})
    write_file(folder / "learning.md", overview_page(every).encode())
    draw(every, folder / "learning.png")
    console.print(overview_table(comparisons))
    console.print(f"Written to {folder}/learning.md", soft_wrap=True)


def comparisons_in(folder: Path) -> list[Comparison]:
    """Return what was measured of all families in a folder of results, by this command or an earlier one."""
    files = [folder / f"{name}.json" for name in envs.FAMILIES]
    return [Comparison.from_json(read_json(file)) for file in files if file.is_file()]


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
        self.name = f"{self.family.name}{horizon}"
        self.folder = options.runs / self.name
        self.methods = {name: METHODS[name] for name in options.methods}

    def run(self, console: Console) -> Comparison:
        """Train and evaluate what is not recorded yet, and return everything."""
        rows = (BASELINE_ROW, *self.methods)
        places = [(name, seed) for name in rows for seed in self.options.seeds]
        missing = [place for place in places if self.record(*place) is None]
        waiting = [cell for place in missing for cell in self.needed(*place).values()]
        train_cells(waiting, jobs=self.options.jobs, console=console)
        for name, seed in missing:
            with console.status(f"evaluating {name}, seed {seed}"):
                self._evaluate(name, seed).save(self.record_path(name, seed))
        found = {
            name: [record for seed in self.options.seeds if (record := self.record(name, seed))]
            for name in rows
        }
        baselines = found.pop(BASELINE_ROW)
        reports = {
            name: summarise(
                [
                    dataclasses.replace(
                        own.evaluation,
                        curves={**shared.evaluation.curves, **own.evaluation.curves},
                    )
                    for shared, own in zip(baselines, records, strict=True)
                ],
                name,
            )
            for name, records in found.items()
        }
        runs = {name: [record.runs[name] for record in baselines] for name in BASELINES}
        runs |= {name: [own.runs[name] for own in records] for name, records in found.items()}
        costs = {BASELINE_ROW: baselines, **found}
        return Comparison(
            family=self.family.name,
            baseline_episodes=self.support_episodes(BASELINE_ROW),
            reports=reports,
            training={name: _training(own) for name, own in runs.items()},
            evaluation_cpu_seconds={
                name: sum(record.evaluation_cpu_seconds for record in records)
                for name, records in costs.items()
            },
        )

    def cell(self, name: str, seed: int) -> Cell:
        """Return the training run of a method or a baseline."""
        own = self.methods.get(name)
        words = own.words(self.family.name) if own else ("--arm", name)
        extra = shlex.split(self.options.train_options)
        for option in ("total_timesteps", "horizon"):
            if (value := getattr(self.options, option)) is not None:
                extra += [f"--{option.replace('_', '-')}", str(value)]
        return Cell(
            self.folder / f"{name}-{seed}",
            # What makes the method and the seed comes last: no further option takes its place.
            (self.family.name, *extra, *words, "--seed", str(seed)),
        )

    def needed(self, name: str, seed: int) -> dict[str, Cell]:
        """Return the training runs that a method, or the baselines together, are evaluated by."""
        names = BASELINES if name == BASELINE_ROW else (name,)
        return {own: self.cell(own, seed) for own in names}

    def support_episodes(self, name: str) -> int:
        """Return the episodes before each update of a method."""
        method = self.methods.get(name, Method("MAML"))
        return method.preset(self.family.name).support_episodes

    # Records --------------------------------------------------------------------------------------

    def record_path(self, name: str, seed: int) -> Path:
        """Return where a method, or the baselines together, are recorded."""
        return (self.options.records or self.options.runs) / self.name / f"{name}-{seed}.json"

    def record(self, name: str, seed: int) -> Record | None:
        """Return what is recorded of the same settings and the same protocol, if it is."""
        settings = {own: settings_of(cell) for own, cell in self.needed(name, seed).items()}
        protocol = self.options.protocol(self.support_episodes(name))
        return find_record(self.record_path(name, seed), protocol, settings)

    def _evaluate(self, name: str, seed: int) -> Record:
        """Evaluate the trained policies of a method, or of all baselines."""
        cells, protocol = (
            self.needed(name, seed),
            self.options.protocol(self.support_episodes(name)),
        )
        clock, jobs = CpuClock(), self.options.jobs
        evaluator = Evaluator(self.family, protocol, num_workers=0 if jobs == 1 else jobs)
        if name == BASELINE_ROW:
            robust, oracle = (load_baseline(cells[own].checkpoint) for own in BASELINES)
            curves: Mapping[str, Curve] = evaluator.baselines(robust, oracle)
        else:
            curves = evaluator.curves_of(load(cells[name].checkpoint))
        seconds = evaluator.robot_seconds
        runs = {own: run_record(cell.folder) for own, cell in cells.items()}
        evaluation = Evaluation(self.family.name, protocol, seed, curves, seconds)
        return Record(runs, evaluation, clock.read()["cpu_seconds"])


def _training(runs: Sequence[RunRecord]) -> Training:
    """Return what a method cost and reached, a list with an entry per seed."""
    settings = ("learner", "algorithm", "config", "base_kwargs", "total_timesteps")
    return Training(
        {name: runs[0].settings[name] for name in settings},
        **{name: tuple(getattr(run, name) for run in runs) for name in EACH_SEED},
    )
