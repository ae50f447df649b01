"""What every benchmark writes: one JSON file with all numbers and one page with a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich import box
from rich.console import Console
from rich.table import Table

from metamotor.scripts.outputs import results_folder, write_file
from metamotor.scripts.runs import machine, write_json


class Placed(Protocol):
    """Options that say where results go."""

    @property
    def out(self) -> Path | None:
        """The folder, or None for a new one."""
        ...

    @property
    def overwrite(self) -> bool:
        """Whether results in it are replaced."""
        ...


def place(options: Placed, name: str, suffixes: Sequence[str] = (".md", ".json")) -> Path:
    """Return the folder for the results of this name, tried before anything is measured.

    Raises:
        ValueError: if nothing can be written there.
        FileExistsError: if the results are there, and are not to be overwritten.
    """
    files = [f"{name}{suffix}" for suffix in suffixes]
    return results_folder(options.out, f"bench-{name}", files, overwrite=options.overwrite)


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
    link: Callable[[str], str] = str,
    figure: str | None = None,
) -> None:
    """Print a benchmark's table, and write it and its numbers to `out`.

    Args:
        out: the folder; files of the same name in it are replaced.
        name: of the files.
        command: that was run.
        about: what was measured, in a sentence or two.
        header: of the table.
        rows: of the table.
        numbers: all that was measured.
        console: to print to.
        link: what the page makes of a row's first cell.
        figure: name of a picture that is in `out`, for the page to show.
    """
    table = Table(
        title=about,
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for index, title in enumerate(header):
        table.add_column(
            title, justify="right" if index else "left", no_wrap=not index, overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)
    where = machine()
    write_json(out / f"{name}.json", {"command": command, **numbers, "machine": where})
    lines = [
        f"# {name.replace('-', ' ').capitalize()}",
        "",
        f"```console\n$ {command}\n```",
        "",
        about,
        "",
        *([f"![{name}]({figure})", ""] if figure else []),
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join([link(row[0]), *row[1:]])} |" for row in rows),
        "",
        described(where),
        "",
    ]
    write_file(out / f"{name}.md", "\n".join(lines).encode())
    console.print(f"Written to {out / name}.md", soft_wrap=True)


def described(where: Mapping[str, Any]) -> str:
    """Return on what it was measured, in a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return f"Measured on {where['cores']} cores of {where['processor']}; {versions}."
