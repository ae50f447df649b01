"""`metamotor log`: see what a robot recorded, and convert it to Minari and back."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, subcommand

from metamotor import deploy
from metamotor.deploy.log.reader import Episode, Log
from metamotor.scripts.options import parse
from metamotor.scripts.wording import counted, new_console, next_step

Faulty = Literal["refuse", "drop", "bridge"]


@dataclass(frozen=True, kw_only=True)
class Show:
    """Show a log's episodes, their returns, and what is wrong with them."""

    log: Positional[Path]
    """The log (*.mcap)."""
    recover: bool = False
    """Of a damaged file, show what stands before the damage."""


@dataclass(frozen=True, kw_only=True)
class ToMinari:
    """Convert a log to a Minari dataset."""

    log: Positional[Path]
    """The log (*.mcap)."""
    dataset: str
    """Id of the new dataset, such as robots/panda-v0; MINARI_DATASETS_PATH says where datasets are kept."""
    faulty: Faulty = "refuse"
    """What becomes of episodes with faults: "refuse" converts nothing, "drop" leaves them out, "bridge" too, but for
    those in which only frames were dropped."""


@dataclass(frozen=True, kw_only=True)
class FromMinari:
    """Convert a Minari dataset to a log."""

    dataset: Positional[str]
    """Id of the dataset."""
    out: Path
    """The log to be written (*.mcap); one that is there already is never overwritten."""
    control_period: float | None = None
    """Time between two observations [s], of a dataset that did not come from a log."""


Choice = (
    Annotated[Show, subcommand("show")]
    | Annotated[ToMinari, subcommand("to-minari")]
    | Annotated[FromMinari, subcommand("from-minari")]
)


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    options: Choice = parse(Choice, argv, "log")
    console = new_console()
    match options:
        case Show():
            show(opened(options.log, console, recover=options.recover), console)
        case ToMinari():
            from metamotor.deploy.log.minari import to_minari

            log = checked(opened(options.log, console), options.faulty, console)
            to_minari(log, options.dataset)
            told = f"{counted(len(log), 'episode')}, {counted(log.num_steps, 'step')}"
            console.print(f"Wrote {options.dataset}: {told}", soft_wrap=True)
        case FromMinari():
            from metamotor.deploy.log.minari import from_minari

            path = from_minari(options.dataset, options.out, control_period=options.control_period)
            console.print(f"Wrote {path}", soft_wrap=True)
            print(next_step("look at it", "log", "show", path))


def opened(path: Path, console: Console, *, recover: bool = False) -> Log:
    """Return a log; what was lost of it is told on the screen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is told here, without the line of code
        log: Log = deploy.read_log(path, recover=recover)
    if log.remark:
        console.print(f"Note: {log.remark}", soft_wrap=True)
    return log


def checked(log: Log, faulty: Faulty, console: Console) -> Log:
    """Return a log as it is, or without the episodes that have faults; which these are is told on the screen."""
    if faulty == "refuse" or not log.faults:
        return log
    sound = log.sound(bridge=faulty == "bridge")
    kept = {episode.number for episode in sound.episodes}
    reasons = [str(one) for one in log.findings if one.is_fault and one.episode not in kept]
    if reasons:
        left_out = counted(len(log) - len(sound), "episode")
        console.print(f"Left out {left_out}: {'; '.join(reasons)}", soft_wrap=True)
    if bridged := sum(one.is_fault for one in sound.findings):
        console.print(f"Kept with dropped frames: {bridged} findings of them", soft_wrap=True)
    return sound


def show(log: Log, console: Console) -> None:
    """Print a log: what was run, a row for each episode, and all findings."""
    said = log.description
    period = said["control_period"]
    policies = [_hashes(policy) for policy in log.policies]
    tasks = {str(episode.task) for episode in log.episodes if episode.task is not None}
    for name, value in (
        ("log", f"{log.path}, sha256 {log.sha256[:12]}…"),
        ("family", said["family"] or "not known"),
        ("task", " and ".join(sorted(tasks)[:3]) or "not known"),
        ("period", "not known" if period is None else f"{period * 1e3:g} ms"),
        ("observations", _units(said["observations"])),
        ("actions", _units(said["actions"])),
        ("policy", " → ".join(policies) or "not known"),
        ("recorded by", ", ".join(f"{k} {v}" for k, v in said.get("versions", {}).items())),
    ):
        console.print(f"{name + ':':<14}{value}", soft_wrap=True)
    table = Table("episode", "steps", "seconds", "return", "gaps", "ended by", "faults")
    for episode in log.episodes:
        found = [one for one in log.findings if one.episode == episode.number]
        gaps = sum(one.count for one in found if one.kind == "gap")
        faults = sorted({one.kind for one in found if one.is_fault})
        table.add_row(
            str(episode.number),
            str(episode.num_steps),
            f"{episode.seconds:.2f}",
            f"{episode.total_reward:.2f}",
            str(gaps),
            _ending(episode),
            ", ".join(faults),
        )
    console.print(table)
    total = f"{counted(len(log), 'episode')}, {counted(log.num_steps, 'step')}"
    console.print(f"{total}, {log.robot_seconds:.2f} s of the robot's time")
    for finding in log.findings:
        console.print(f"{'fault' if finding.is_fault else 'note'}: {finding}", soft_wrap=True)


def _ending(episode: Episode) -> str:
    if not episode.num_steps:
        return "no step"
    for name in ("terminated", "truncated"):
        if episode.steps[name].any():
            return name
    return "end()" if episode.is_ended else "not ended"


def _hashes(policy: dict[str, Any]) -> str:
    parts = [str(policy.get("file") or "weights")]
    for key, name in (("sha256", "file"), ("weights_sha256", "weights")):
        if policy.get(key):
            parts.append(f"{name} {str(policy[key])[:12]}…")
    return " ".join(parts)


def _units(signals: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{one['name']} [{one.get('unit') or '?'}]" for one in signals)
