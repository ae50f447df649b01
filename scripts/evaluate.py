"""`metamotor evaluate`: the evaluation protocol on checkpoints, as a table, a figure, Markdown and JSON."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from metamotor.meta.evaluation import Evaluation, Evaluator, Protocol
from metamotor.scripts.checkpoints import load_arms
from metamotor.scripts.options import PhysicsName, parse
from metamotor.scripts.outputs import new_folder, write_file
from metamotor.scripts.report import MODES, Report, caption, draw, markdown, summarise, table
from metamotor.scripts.runs import CpuClock, machine, write_json
from metamotor.scripts.wording import legend, named, new_console, next_step


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure returns on held-out tasks before and after adaptation, against everything that it must beat.

    One checkpoint of every arm for each training seed, in the same order. The folder gets one evaluation-*.json per
    seed with every number, report.json, report.md and returns.png.
    """

    adapted: tuple[Path, ...]
    """Meta-trained checkpoints or run folders."""
    robust: tuple[Path, ...]
    """Those of `train --arm robust`."""
    oracle: tuple[Path, ...]
    """Those of `train --arm oracle`."""
    protocol: Protocol = field(default_factory=Protocol)
    physics: PhysicsName | None = None
    """The physics engine that all are adapted and measured in; without it, that of training."""
    num_workers: int = 0
    """Processes that sample; 0 samples in this one. Results do not depend on it."""
    out: Path | None = None
    """Folder of the results, which must not exist; without it, a new one in runs/."""


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    options: Evaluate = parse(Evaluate, argv, "evaluate")
    if options.num_workers < 0:
        raise ValueError(f"num_workers must not be negative, got {options.num_workers}")
    clock, console = CpuClock(), new_console()
    seeds = load_arms(options.adapted, options.robust, options.oracle, physics=options.physics)
    family = seeds[0][0].family
    folder = new_folder(options.out, f"evaluation-{family.name}")
    evaluator = Evaluator(family, options.protocol, num_workers=options.num_workers)
    evaluations = []
    with console.status("") as status:
        for index, arms in enumerate(seeds):
            status.update(f"evaluating training seed {index + 1} of {len(seeds)}")
            evaluation = evaluator.evaluate(*arms)
            evaluation.save(folder / f"evaluation-{index}.json")
            evaluations.append(evaluation)
    report = present(evaluations, type(seeds[0][0]).__name__, folder, console)
    command = shlex.join(["metamotor", "evaluate", *argv])
    contents = {"command": command, **report.as_json(), **clock.read(), "machine": machine()}
    write_json(folder / "report.json", contents)
    console.print(f"Written to {folder}", soft_wrap=True)
    print(
        next_step("write a policy for one task as one file", "export", "--from", options.adapted[0])
    )


def present(
    evaluations: Sequence[Evaluation], learner: str, folder: Path, console: Console
) -> Report:
    """Print the tables of some evaluations, write report.md and returns.png, and return the report."""
    report = summarise(evaluations, learner)
    console.print(f"{caption(report)}.")
    for mode in MODES:
        console.print(table(report, mode))
    console.print(legend(report.family), highlight=False)
    draw(report, folder / "returns.png")
    text = f"# {named(report.family, report.physics)}\n\n{markdown(report, 'returns.png')}"
    write_file(folder / "report.md", text.encode())
    return report
