"""The runs of one family in a study: trained, evaluated and recorded where they are not yet."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from metamotor import envs
from metamotor.meta.evaluation import Curve, Evaluation, Evaluator, Protocol
from metamotor.scripts.benchmarks.comparison import BASELINES, EACH_SEED, Comparison, Training
from metamotor.scripts.benchmarks.records import Record, RunRecord, find_record, run_record
from metamotor.scripts.cells import Cell, is_finished, settings_of, train_cells
from metamotor.scripts.checkpoints import load, load_baseline
from metamotor.scripts.methods import METHODS, Method
from metamotor.scripts.presets import preset
from metamotor.scripts.report import Report, summarise
from metamotor.scripts.runs import CpuClock, sources

if TYPE_CHECKING:
    from metamotor.scripts.benchmarks.learning import Learning

BASELINE_ROW = "baselines"
"""What robust and oracle are recorded as: they are evaluated together."""


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
        """Train and evaluate what is not recorded yet, and return everything.

        Raises:
            ValueError: if something was recorded, or a run begun, with other settings or another protocol.
        """
        places = [
            (name, seed) for name in (BASELINE_ROW, *self.methods) for seed in self.options.seeds
        ]
        missing = [place for place in places if self.record(*place) is None]
        waiting = [cell for place in missing for cell in self.needed(*place).values()]
        for cell in waiting:
            _settings(
                cell
            )  # an option that one method does not know is told before another is trained
        train_cells(waiting, jobs=self.options.jobs, console=console)
        for name, seed in missing:
            with console.status(f"evaluating {name}, seed {seed}"):
                self._evaluate(name, seed).save(self.record_path(name, seed))
        return self._compared(
            {name: self.records(name) for name in (BASELINE_ROW, *self.methods)},
        )

    def _compared(self, found: Mapping[str, Sequence[Record]]) -> Comparison:
        baselines = found[BASELINE_ROW]
        runs = {name: [record.runs[name] for record in baselines] for name in BASELINES}
        runs |= {name: [own.runs[name] for own in found[name]] for name in self.methods}
        return Comparison(
            family=self.family.name,
            baseline_episodes=self.protocol(BASELINE_ROW).support_episodes,
            reports={name: _report(name, baselines, found[name]) for name in self.methods},
            training={name: _training(own) for name, own in runs.items()},
            evaluation_cpu_seconds={
                name: sum(record.evaluation_cpu_seconds for record in records)
                for name, records in found.items()
            },
            evaluation_sources={
                name: tuple(record.evaluation_sources for record in records)
                for name, records in found.items()
            },
        )

    def cell(self, name: str, seed: int) -> Cell:
        """Return the training run of a method or a baseline."""
        own = self.methods.get(name)
        words = own.words(self.family.name) if own else ("--arm", name)
        extra = shlex.split(self.options.train_options)
        given = {name: getattr(self.options, name) for name in ("total_timesteps", "horizon")}
        if own is None and given["total_timesteps"] is None:
            given["total_timesteps"] = preset(self.family.name).baseline_timesteps
        for option, value in given.items():
            if value is not None:
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

    def protocol(self, name: str) -> Protocol:
        """Return how a method, or the baselines together, are measured."""
        method = self.methods.get(name, Method("MAML"))
        return self.options.protocol(method.preset(self.family.name).support_episodes)

    def best(self, name: str) -> tuple[int, Path] | None:
        """Return which seed of a method was best on its validation tasks, by index, and that checkpoint if it is there.

        Test tasks have no say.
        """
        returns = [record.runs[name].best_validation_return for record in self.records(name)]
        index = max(range(len(returns)), key=returns.__getitem__)
        cell = self.cell(name, self.options.seeds[index])
        return (index, cell.checkpoint) if is_finished(cell) else None

    # Records --------------------------------------------------------------------------------------

    def record_path(self, name: str, seed: int) -> Path:
        """Return where a method, or the baselines together, are recorded."""
        return (self.options.records or self.options.runs) / self.name / f"{name}-{seed}.json"

    def record(self, name: str, seed: int) -> Record | None:
        """Return what is recorded, if anything is.

        Raises:
            ValueError: if it is of other settings or another protocol.
        """
        path = self.record_path(name, seed)
        if not path.is_file():
            return None
        cells = self.needed(name, seed)
        settings = {own: _settings(cell) for own, cell in cells.items()}
        return find_record(path, self.protocol(name), settings)

    def records(self, name: str) -> list[Record]:
        """Return the records of all seeds, which must be there."""
        found = [self.record(name, seed) for seed in self.options.seeds]
        return [record for record in found if record is not None]

    def _evaluate(self, name: str, seed: int) -> Record:
        """Evaluate the trained policies of a method, or of all baselines."""
        cells, protocol = self.needed(name, seed), self.protocol(name)
        clock, jobs = CpuClock(), self.options.jobs
        evaluator = Evaluator(self.family, protocol, num_workers=0 if jobs == 1 else jobs)
        if name == BASELINE_ROW:
            robust, oracle = (load_baseline(cells[own].checkpoint) for own in BASELINES)
            curves: Mapping[str, Curve] = evaluator.baselines(robust, oracle)
        else:
            curves = evaluator.curves_of(load(cells[name].checkpoint))
        seconds = evaluator.robot_seconds
        runs = {own: run_record(cell.folder, _settings(cell)) for own, cell in cells.items()}
        evaluation = Evaluation(self.family.name, protocol, seed, curves, seconds)
        return Record(runs, evaluation, clock.read()["cpu_seconds"], sources())


@cache
def _settings(cell: Cell) -> dict[str, Any]:
    # It takes a learner to know them, which takes a simulator.
    return settings_of(cell)


def _report(name: str, baselines: Sequence[Record], own: Sequence[Record]) -> Report:
    """Return the report of a method over its seeds."""
    evaluations = [
        dataclasses.replace(
            record.evaluation, curves={**shared.evaluation.curves, **record.evaluation.curves}
        )
        for shared, record in zip(baselines, own, strict=True)
    ]
    return summarise(evaluations, name)


def _training(runs: Sequence[RunRecord]) -> Training:
    """Return what a method cost and reached, a list with an entry per seed."""
    settings = ("learner", "algorithm", "config", "base_kwargs", "total_timesteps")
    return Training(
        {name: runs[0].settings[name] for name in settings},
        **{name: tuple(getattr(run, name) for run in runs) for name in EACH_SEED},
    )
