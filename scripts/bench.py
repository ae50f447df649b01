"""`metamotor bench`: measure speed, and what is learned for it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated

from rich.console import Console
from tyro.conf import subcommand

from metamotor.scripts.benchmarks import learning
from metamotor.scripts.benchmarks.learning import Learning
from metamotor.scripts.options import parse

Benchmark = Annotated[Learning, subcommand("learning")]


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    options: Learning = parse(Learning, argv[1:], "bench learning")
    command = shlex.join(["metamotor", "bench", *argv])
    learning.run(options, command, Console())
