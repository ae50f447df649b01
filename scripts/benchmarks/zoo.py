"""The zoo from a study: of each family and method the checkpoint of one seed, without what training goes on from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from metamotor.meta import zoo
from metamotor.meta.statistics import OTHERS
from metamotor.scripts.benchmarks.comparison import Comparison
from metamotor.scripts.checkpoints import load
from metamotor.scripts.outputs import write_file

LARGEST = 200_000
"""Bytes that a checkpoint of the zoo may have."""
LEFT_OUT = ("RL2",)
"""Methods that have no policy of their own to hand out."""


def write_checkpoint(
    comparison: Comparison, method: str, index: int, checkpoint: Path, folder: Path
) -> zoo.Entry | None:
    """Write a method's checkpoint on a family into the folder of a zoo, and return what is listed of it.

    One that is too large is not written, and gives nothing to be listed.

    Args:
        comparison: of the family.
        method: its name.
        index: of the training seed, among those of the comparison.
        checkpoint: of its run.
        folder: of the zoo.
    """
    report, training = comparison.reports[method], comparison.training[method]
    own = {name: points[index] for name, points in report.per_seed["stochastic"].items()}
    entry = zoo.Entry(
        family=comparison.family,
        method=method,
        seed=report.seeds[index],
        support_episodes=report.protocol.support_episodes,
        robot_seconds=round(report.robot_seconds, 2),
        returns=tuple(round(value, 2) for value in own["adapted"]),
        best_other=round(max(own[name][1] for name in (*OTHERS, "untrained") if name in own), 2),
        oracle=round(own["oracle"][0], 2),
        num_timesteps=training.num_timesteps[index],
        cpu_seconds=training.cpu_seconds[index],
    )
    path = load(checkpoint).save(folder / entry.name, with_optimizer=False)
    if path.stat().st_size > LARGEST:
        path.unlink()
        return None
    return entry


def write_index(entries: Sequence[zoo.Entry], folder: Path) -> Path:
    """Write what a zoo holds, besides what it held before of other families and methods; return where."""
    every = zoo.read_index(folder) | {entry.name: entry for entry in entries}
    families = list(dict.fromkeys(entry.family for entry in every.values()))
    together = sorted(every.values(), key=lambda entry: families.index(entry.family))
    listed = [dataclasses.asdict(entry) for entry in together]
    return write_file(folder / zoo.INDEX, f"{json.dumps(listed, indent=1)}\n".encode())
