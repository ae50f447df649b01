"""What a study keeps of each method and seed: returns, settings and costs, in one JSON file.

With these files a study goes on where its runs and their checkpoints are not, as on another machine: what is recorded
of the same settings and the same protocol is neither trained nor evaluated again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metamotor.meta.evaluation import Curve, Evaluation, Protocol
from metamotor.scripts.runs import CONFIG, SUMMARY, read_json, write_json

NOT_SETTINGS = ("execution", "wandb_run", "command", "machine")
"""Entries of a run's config.json on which its result does not depend."""
DIGITS = 4
"""Behind the point of a return: episodes differ by more."""


@dataclass(frozen=True)
class RunRecord:
    """One training run."""

    settings: Mapping[str, Any]
    """All that its result depends on, as in its config.json."""
    cpu_seconds: float
    """User and system time [s]."""
    num_timesteps: int
    """Environment steps taken."""
    iterations: int
    """Meta-iterations."""
    best_num_timesteps: int
    """Environment steps at the checkpoint that was best on validation tasks, and is evaluated."""
    best_validation_return: float
    """Its mean return there."""
    sources: str
    """Digest of the code that made it."""


@dataclass(frozen=True)
class Record:
    """A method, or all baselines, with one training seed."""

    runs: Mapping[str, RunRecord]
    """By name: that of the method, or "robust" and "oracle"."""
    evaluation: Evaluation
    evaluation_cpu_seconds: float
    """Of the evaluation [s]."""

    def save(self, path: Path) -> Path:
        """Write it as JSON; return where."""
        evaluation = self.evaluation
        document = {
            "runs": {name: dataclasses.asdict(run) for name, run in self.runs.items()},
            "evaluation_cpu_seconds": self.evaluation_cpu_seconds,
            "family": evaluation.family,
            "seed": evaluation.seed,
            "protocol": dataclasses.asdict(evaluation.protocol),
            "robot_seconds": evaluation.robot_seconds,
            "curves": {name: _curve_entry(curve) for name, curve in evaluation.curves.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_json(path, document)

    @classmethod
    def load(cls, path: Path) -> Record:
        """Return what `save` wrote."""
        document = read_json(path)
        evaluation = Evaluation(
            document["family"],
            Protocol(**document["protocol"]),
            document["seed"],
            {name: _curve(entry) for name, entry in document["curves"].items()},
            document["robot_seconds"],
        )
        runs = {name: RunRecord(**run) for name, run in document["runs"].items()}
        return cls(runs, evaluation, document["evaluation_cpu_seconds"])


def run_record(folder: Path) -> RunRecord:
    """Return the record of a finished run."""
    config, summary = read_json(folder / CONFIG), read_json(folder / SUMMARY)
    names = [field.name for field in dataclasses.fields(RunRecord)]
    return RunRecord(
        settings={name: value for name, value in config.items() if name not in NOT_SETTINGS},
        sources=config["machine"].get("sources", "unknown"),
        **{name: summary[name] for name in names if name in summary},
    )


def find_record(
    path: Path, protocol: Protocol, settings: Mapping[str, Mapping[str, Any]]
) -> Record | None:
    """Return what is recorded at a path, or None if it is nothing, or of other settings or another protocol.

    Args:
        path: of the file.
        protocol: how much is to be measured.
        settings: of each run, by name.
    """
    if not path.is_file():
        return None
    found = Record.load(path)
    recorded = {name: run.settings for name, run in found.runs.items()}
    if found.evaluation.protocol != protocol or recorded != settings:
        return None
    return found


def _curve_entry(curve: Curve) -> dict[str, Any]:
    return {
        "stochastic": np.round(curve.stochastic, DIGITS).tolist(),
        "deterministic": np.round(curve.deterministic, DIGITS).tolist(),
        "scales": list(curve.scales),
    }


def _curve(entry: Mapping[str, Any]) -> Curve:
    return Curve(
        np.array(entry["stochastic"]), np.array(entry["deterministic"]), tuple(entry["scales"])
    )
