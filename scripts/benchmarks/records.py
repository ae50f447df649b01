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
    """User and system time of the evaluation [s]."""
    evaluation_sources: str
    """Digest of the code that evaluated."""

    def save(self, path: Path) -> Path:
        """Write it as JSON; return where."""
        evaluation = self.evaluation
        document = {
            "runs": {name: dataclasses.asdict(run) for name, run in self.runs.items()},
            "evaluation_cpu_seconds": self.evaluation_cpu_seconds,
            "evaluation_sources": self.evaluation_sources,
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
        names = ("evaluation_cpu_seconds", "evaluation_sources")
        return cls(runs, evaluation, *(document[name] for name in names))


def run_record(folder: Path, settings: Mapping[str, Any]) -> RunRecord:
    """Return the record of a finished run with these settings."""
    config, summary = read_json(folder / CONFIG), read_json(folder / SUMMARY)
    names = [field.name for field in dataclasses.fields(RunRecord)]
    return RunRecord(
        settings=settings,
        sources=config["machine"].get("sources", "unknown"),
        **{name: summary[name] for name in names if name in summary},
    )


def find_record(
    path: Path, protocol: Protocol, settings: Mapping[str, Mapping[str, Any]]
) -> Record:
    """Return what is recorded at a path.

    Args:
        path: of the file.
        protocol: how much is to be measured.
        settings: of each run, by name.

    Raises:
        ValueError: if it is no record, or one of other settings or another protocol.
    """
    try:
        found = Record.load(path)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a record of `metamotor bench learning`") from error
    recorded = {name: run.settings for name, run in found.runs.items()}
    changed = [
        f"{name}'s {key}"
        for name, own in settings.items()
        for key in sorted({*own, *recorded.get(name, {})})
        if own.get(key) != recorded.get(name, {}).get(key)
    ]
    asked, measured = (dataclasses.asdict(one) for one in (protocol, found.evaluation.protocol))
    changed += [key for key in asked if asked[key] != measured[key]]
    if changed:
        raise ValueError(
            f"{path} was recorded with another {', '.join(changed)} than is asked for now; move it away or choose "
            "another folder with --records"
        )
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
