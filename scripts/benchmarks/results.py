"""What every benchmark writes: one JSON file with all numbers and one page with a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from metamotor.meta.checkpoints import write_atomically
from metamotor.scripts.runs import machine, write_json


def write_results(
    out: Path,
    name: str,
    *,
    command: str,
    about: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Mapping[str, Any],
    console: Console,
) -> None:
    """Print a benchmark's table, and write it and its numbers to `out`.

    Args:
        out: the folder; made if missing, and files of the same name in it are replaced.
        name: of the files.
        command: that was run.
        about: what was measured, in a sentence or two.
        header: of the table.
        rows: of the table.
        numbers: all that was measured.
        console: to print to.
    """
    table = Table(title=about, title_justify="left", title_style="", box=box.SIMPLE_HEAD)
    for index, title in enumerate(header):
        table.add_column(title, justify="right" if index else "left", no_wrap=not index)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    out.mkdir(parents=True, exist_ok=True)
    where = machine()
    write_json(out / f"{name}.json", {"command": command, **numbers, "machine": where})
    lines = [
        f"# {name.replace('-', ' ').capitalize()}",
        "",
        f"```console\n$ {command}\n```",
        "",
        about,
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        described(where),
        "",
    ]
    write_atomically(out / f"{name}.md", "\n".join(lines).encode())
    console.print(f"Written to {out / name}.md", soft_wrap=True)


def described(where: Mapping[str, Any]) -> str:
    """Return on what it was measured, in a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return f"Measured on {where['cores']} cores of {where['processor']}; {versions}."
