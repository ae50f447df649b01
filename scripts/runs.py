"""Run folders: each run in one of its own, with what made it and what it cost."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import metamotor
from metamotor.meta import zoo
from metamotor.meta.checkpoints import SUFFIX
from metamotor.meta.untrusted import check_own, parse_json, read_bytes
from metamotor.scripts.outputs import write_file

CONFIG, SUMMARY, PROGRESS = "config.json", "summary.json", "progress.csv"


def write_json(path: Path, values: Mapping[str, Any]) -> Path:
    """Write a mapping as JSON, whole or not at all, with null for what is not finite; return where."""
    text = json.dumps(finite(values), indent=1, allow_nan=False)
    return write_file(path, f"{text}\n".encode())


def finite(value: Any) -> Any:
    """Return JSON values with None in place of infinity and NaN, which JSON does not have."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file, or an empty one if there is no such file."""
    if not path.is_file():
        return {}
    try:
        document = parse_json(read_bytes(path))
        if not isinstance(document, dict):
            raise ValueError("it is not a JSON object")
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}): put a copy of it in its place, or make it anew in another folder"
        ) from error
    return document


def checkpoint_in(path: Path) -> Path:
    """Return the checkpoint at a path; a run folder stands for its best one, `zoo:…` for one of the package's own.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the file is of another kind.
    """
    if zoo.is_named(path):
        return zoo.path_of(path)
    if path.is_dir():
        best = path / "checkpoints" / f"best{SUFFIX}"
        if not best.is_file():
            last = best.with_name(f"last{SUFFIX}")
            hint = (
                f"; name {last} for what was reached so far, or train on by `metamotor train --resume {path}`"
                if last.is_file()
                else ""
            )
            raise FileNotFoundError(f"{path} is a folder without checkpoints/best{SUFFIX}{hint}")
        check_own(best, path)
        return best
    if not path.exists() and path.with_name(path.name + SUFFIX).is_file():
        return path.with_name(path.name + SUFFIX)
    if not path.exists():
        raise FileNotFoundError(
            f"there is no checkpoint at {path}; `metamotor train` writes checkpoints/best{SUFFIX} "
            "into its run folder"
        )
    if path.suffix != SUFFIX:
        raise ValueError(f"expected a checkpoint of metamotor (*{SUFFIX}), got {path}")
    return path


def read_progress(folder: Path) -> list[dict[str, float]]:
    """Return the logged lines of a run, each with the numbers that it has."""
    path = folder / PROGRESS
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [_numbers(line) for line in csv.DictReader(file)]


def _numbers(line: Mapping[str | None, Any]) -> dict[str, float]:
    # A line that is being written while it is read may end early, or in the middle of a number.
    numbers = {}
    for name, text in line.items():
        try:
            numbers[str(name)] = float(text)
        except (TypeError, ValueError):
            continue
    return numbers


class CpuClock:
    """Processor and wall time of this process and its children since it was made.

    Args:
        before: what `read` returned in earlier parts of the same work, which is counted too.
    """

    def __init__(self, before: Mapping[str, float] | None = None) -> None:
        before = before or {}
        self._cpu = _cpu_seconds() - before.get("cpu_seconds", 0.0)
        self._wall = time.perf_counter() - before.get("wall_seconds", 0.0)

    def read(self) -> dict[str, float]:
        """Return `cpu_seconds` and `wall_seconds`."""
        return {
            "cpu_seconds": round(_cpu_seconds() - self._cpu, 2),
            "wall_seconds": round(time.perf_counter() - self._wall, 2),
        }


def _cpu_seconds() -> float:
    # To look for those at work collects those that have ended, which are counted as such from then on, and only then.
    working = sum(_seconds_of(child.pid) for child in multiprocessing.active_children())
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return working + sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _seconds_of(pid: int | None) -> float:
    """Return what a process that has not ended has used so far; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    ticks = int(fields[11]) + int(fields[12])  # utime and stime of proc(5), which counts from 1
    return ticks / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    """Return what a measured number depends on: processor, cores and versions."""
    from importlib.metadata import version

    from metamotor.meta.learner import versions

    packages = ("numpy", "pybullet", "gymnasium", "onnxruntime")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "versions": versions() | {name: version(name) for name in packages},
        "sources": sources(),
    }


@cache
def sources() -> str:
    """Return a digest of the code that a result depends on: robots, families and learners."""
    root, digest = Path(metamotor.__file__).parent, hashlib.sha256()
    for folder in ("robots", "envs", "meta"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
