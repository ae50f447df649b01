"""`metamotor zoo`: list the checkpoints that come with the package, with their measured scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from metamotor.meta import zoo
from metamotor.scripts.options import parse
from metamotor.scripts.wording import new_console, next_step


@dataclass(frozen=True, kw_only=True)
class Zoo:
    """List the checkpoints that come with the package, with the returns that were measured of them."""


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    parse(Zoo, argv, "zoo")
    console = new_console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    headings = ("zoo:", "before", "after 1", "after 2", "other", "oracle", "time")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "zoo:" else "right", no_wrap=True)
    family = ""
    for name, entry in zoo.entries().items():
        if family and family != entry.family:
            table.add_section()
        family = entry.family
        returns = [f"{value:.1f}" for value in entry.returns[:3]]
        returns += [""] * (3 - len(returns))
        others = [f"{value:.1f}" for value in (entry.best_other, entry.oracle)]
        table.add_row(name, *returns, *others, f"{entry.robot_seconds:,.0f} s")
    console.print(table)
    console.print(
        "Returns of stochastic policies on held-out tasks, interquartile means: before adaptation, after 1 and 2 "
        "updates, each from the robot time given; other: the best of what needs no meta-training, after 1 update; "
        "oracle: a policy that is told its task. docs/evaluation.md says how they are measured."
    )
    if zoo.entries():
        name, first = next(iter(zoo.entries().items()))
        # On as much experience as its scores are of.
        words = ("--from", f"{zoo.PREFIX}{name}", "--episodes", str(first.support_episodes))
        print(next_step("adapt one of them to a new task", "adapt", *words))
