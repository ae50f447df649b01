"""`metamotor bench`: measure speed, and what is learned for it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import subcommand

from metamotor.scripts.benchmarks import (
    adaptation,
    families,
    first_episode,
    latency,
    learning,
    meta_gradient,
    parity,
    physics,
    recorder,
    resume,
    robot,
    sampling,
)
from metamotor.scripts.benchmarks.adaptation import Adaptation
from metamotor.scripts.benchmarks.families import Families
from metamotor.scripts.benchmarks.first_episode import FirstEpisode
from metamotor.scripts.benchmarks.latency import Latency
from metamotor.scripts.benchmarks.learning import Learning
from metamotor.scripts.benchmarks.meta_gradient import MetaGradient
from metamotor.scripts.benchmarks.parity import Parity
from metamotor.scripts.benchmarks.physics import Physics
from metamotor.scripts.benchmarks.recorder import Recording
from metamotor.scripts.benchmarks.resume import Resume
from metamotor.scripts.benchmarks.robot import RealTime
from metamotor.scripts.benchmarks.sampling import Sampling
from metamotor.scripts.methods import STUDIED
from metamotor.scripts.options import parse
from metamotor.scripts.outputs import results_folder
from metamotor.scripts.wording import new_console


@dataclass(frozen=True, kw_only=True)
class All:
    """Measure sampling, latency, the recorder, the meta-gradient and resuming (which may take half an hour)."""

    learning: bool = False
    """Compare all methods on all families too; hours."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""


Benchmark = (
    Annotated[All, subcommand("all")]
    | Annotated[Sampling, subcommand("sampling")]
    | Annotated[Latency, subcommand("latency")]
    | Annotated[Recording, subcommand("recorder")]
    | Annotated[MetaGradient, subcommand("meta-gradient")]
    | Annotated[Resume, subcommand("resume")]
    | Annotated[Learning, subcommand("learning")]
    | Annotated[Families, subcommand("families")]
    | Annotated[FirstEpisode, subcommand("first-episode")]
    | Annotated[Physics, subcommand("physics")]
    | Annotated[Parity, subcommand("parity")]
    | Annotated[Adaptation, subcommand("adaptation")]
    | Annotated[RealTime, subcommand("robot")]
)
Single = (
    Sampling
    | Latency
    | Recording
    | MetaGradient
    | Resume
    | Learning
    | Families
    | FirstEpisode
    | Physics
    | Parity
    | Adaptation
    | RealTime
)


def main(argv: Sequence[str]) -> None:
    """Run the subcommand; without one, all but what is learned."""
    words = list(argv)
    options: Benchmark = parse(Benchmark, words, "bench", All())
    console = new_console()
    for single in _singles(options):
        _run(single, shlex.join(["metamotor", "bench", *words]), console)


def _singles(options: Benchmark) -> list[Single]:
    if not isinstance(options, All):
        return [options]
    studied = [*STUDIED, "learning"] if options.learning else []
    names = ["sampling", "latency", "recorder", "meta-gradient", "resume", *studied]
    files = [f"{name}{suffix}" for name in names for suffix in (".md", ".json")]
    files += [f"{name}.png" for name in studied]
    # All of them now: the last one must not be refused after hours of measuring.
    overwrite = options.overwrite
    out = results_folder(options.out, "bench", files, overwrite=overwrite)
    return [
        Sampling(out=out, overwrite=overwrite),
        Latency(out=out, overwrite=overwrite),
        Recording(out=out, overwrite=overwrite),
        MetaGradient(out=out, overwrite=overwrite),
        Resume(out=out, overwrite=overwrite),
        *([Learning(out=out, overwrite=overwrite)] if options.learning else []),
    ]


def _run(options: Single, command: str, console: Console) -> None:
    match options:
        case Sampling():
            sampling.run(options, command, console)
        case Latency():
            latency.run(options, command, console)
        case Recording():
            recorder.run(options, command, console)
        case MetaGradient():
            meta_gradient.run(options, command, console)
        case Resume():
            resume.run(options, command, console)
        case Learning():
            learning.run(options, command, console)
        case Families():
            families.run(options, command, console)
        case FirstEpisode():
            first_episode.run(options, command, console)
        case Physics():
            physics.run(options, command, console)
        case Parity():
            parity.run(options, command, console)
        case Adaptation():
            adaptation.run(options, command, console)
        case RealTime():
            robot.run(options, command, console)
