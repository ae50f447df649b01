"""What is learned in what time: methods on families over several training seeds, by the whole protocol.

A study is a folder of runs, and one of records. What is recorded is not done again, and a run that was stopped goes on
where it was, so that a study grows by families, methods and seeds, and on another machine too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from metamotor import envs
from metamotor.meta.evaluation import Protocol
from metamotor.meta.zoo import Entry
from metamotor.scripts.benchmarks import zoo
from metamotor.scripts.benchmarks.comparison import (
    Comparison,
    draw,
    family_page,
    terminal_table,
)
from metamotor.scripts.benchmarks.overview import by_seeds, overview_page, overview_table
from metamotor.scripts.benchmarks.study import Study
from metamotor.scripts.methods import METHODS, STUDIED
from metamotor.scripts.options import FamilyIds
from metamotor.scripts.outputs import results_folder, write_file
from metamotor.scripts.runs import machine, read_json, write_json

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
    comparisons_in(folder)  # what cannot be read is told now, not after training
    results_folder(options.runs, "bench", (), overwrite=False)
    comparisons: list[Comparison] = []
    entries: list[Entry] = []
    for study in studies:
        console.print(f"{study.family.name}", style="bold")
        comparison = study.run(console)
        comparisons.append(comparison)
        _write_family(comparison, command, folder, console)
        if options.zoo is not None:
            entries += _checkpoints(study, comparison, options.zoo, console)
            zoo.write_index(entries, options.zoo)
    every = comparisons_in(folder)
    gaps = {comparison.family: comparison.gaps_as_json() for comparison in every}
    write_json(folder / "learning.json", {"gap_closed": gaps})
    write_file(folder / "learning.md", overview_page(every).encode())
    draw(by_seeds(every)[0] or every, folder / "learning.png")
    console.print(overview_table(comparisons))
    console.print(f"Written to {folder}/learning.md", soft_wrap=True)


def comparisons_in(folder: Path) -> list[Comparison]:
    """Return what was measured of all families in a folder of results, by this command or an earlier one.

    Raises:
        ValueError: if a file has the name of a family's results, and is none.
    """
    found = []
    for file in (folder / f"{name}.json" for name in envs.FAMILIES):
        try:
            if file.is_file():
                found.append(Comparison.from_json(read_json(file)))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} was not written by `metamotor bench learning`") from error
    return found


def _checkpoints(
    study: Study, comparison: Comparison, folder: Path, console: Console
) -> list[Entry]:
    """Write the checkpoints of a study into the folder of a zoo; return what is listed of them."""
    entries = []
    for name in (name for name in comparison.reports if name not in zoo.LEFT_OUT):
        if (best := study.best(name)) is None:
            told = f"{name} stays in the zoo as it is: its run is not in {study.folder}"
        elif entry := zoo.write_checkpoint(comparison, name, *best, folder):
            entries.append(entry)
            continue
        else:
            told = f"{name} is left out of the zoo: more than {zoo.LARGEST:,} bytes"
        console.print(told, soft_wrap=True)
    return entries


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
    if options.total_timesteps is not None and options.total_timesteps < 1:
        raise ValueError(f"total_timesteps must be at least 1, got {options.total_timesteps}")
    if options.num_updates < 1:
        raise ValueError(f"num_updates must be at least 1, got {options.num_updates}")


def _write_family(comparison: Comparison, command: str, folder: Path, console: Console) -> None:
    name, where = comparison.family, machine()
    contents = {"command": command, **comparison.as_json(), "machine": where}
    write_json(folder / f"{name}.json", contents)
    # As it can be read: JSON has no infinity, and pages that are made again should be the same.
    comparison = Comparison.from_json(read_json(folder / f"{name}.json"))
    write_file(folder / f"{name}.md", family_page(comparison, command, where).encode())
    draw([comparison], folder / f"{name}.png")
    console.print(terminal_table(comparison))
    console.print(f"Written to {folder}/{name}.md", soft_wrap=True)
