"""Where results go: every place is tried before the work, and nothing is overwritten that was there before.

A folder of a run is always a new one. A file is replaced only if that is asked for.
"""

from __future__ import annotations

import errno
import io
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

_made: list[Path] = []
"""Folders that this process made, parents first."""


@contextmanager
def no_empty_folders() -> Iterator[None]:
    """Leave no folder behind that was made inside and that nothing was put into, as by work that fails at once."""
    before = len(_made)
    try:
        yield
    finally:
        while len(_made) > before:
            # Only an empty one can be removed so.
            with suppress(OSError):
                _made.pop().rmdir()


def new_folder(out: Path | None, name: str, fill: Callable[[Path], object] | None = None) -> Path:
    """Return a folder that was not there before.

    Args:
        out: the folder; None makes one in `runs/` out of the name and the time.
        name: of the run.
        fill: called with the folder before that gets its name: it is there with all of it, or not at all, whenever
            the process is killed.

    Raises:
        FileExistsError: if `out` is there already.
        ValueError: if it cannot be made.
    """
    if out is not None:
        if not _make(out, fill):
            raise FileExistsError(
                f"{out} is there already, and a run is never overwritten; give another --out"
                if out.is_dir()
                else f"{out} is a file; --out expects a folder that is not there yet"
            )
        return out
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    for suffix in ("", *(f"-{count}" for count in range(2, 1000))):
        folder = Path("runs") / f"{stem}{suffix}"
        if _make(folder, fill):
            return folder
    raise FileExistsError(f"runs/{stem} and a thousand like it are there already; give --out")


def _make(folder: Path, fill: Callable[[Path], object] | None = None) -> bool:
    """Make a folder; say whether it is new."""
    missing = [path for path in (*reversed(folder.parents), folder) if not path.exists()]
    try:
        if fill is None:
            folder.mkdir(parents=True)
        else:
            _make_whole(folder, fill)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise ValueError(
            f"cannot make the folder {folder} ({error.strerror}); expected a folder's name in a "
            "place that you may write to"
        ) from error
    _made.extend(missing)
    return True


def _make_whole(folder: Path, fill: Callable[[Path], object]) -> None:
    """Make a folder with what is in it; it gets its name last."""
    if folder.exists():
        raise FileExistsError(errno.EEXIST, "it is there already", str(folder))
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def results_folder(out: Path | None, name: str, files: Iterable[str], *, overwrite: bool) -> Path:
    """Return a folder for files of these names: a new one in `runs/`, or `out`, which may hold others.

    Raises:
        FileExistsError: if one of them is there, and is not to be overwritten.
        ValueError: if the folder cannot be made, or cannot be written to.
    """
    if out is None:
        return new_folder(None, name)
    if not _make(out) and not out.is_dir():
        raise FileExistsError(f"{out} is a file; expected a folder")
    for file in files:
        _refuse_existing(out / file, overwrite)
    _try_writing(out, "results")
    return out


def writable(path: Path, suffix: str, *, overwrite: bool) -> Path:
    """Return the path if a file of this kind can be written there.

    Raises:
        ValueError: if it has another suffix, or is a folder, or nothing can be written there.
        FileNotFoundError: if its folder is missing.
        FileExistsError: if it is there, and is not to be overwritten.
    """
    if path.suffix != suffix or path.is_dir():
        raise ValueError(f"expected a file name that ends in {suffix}, got {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    _refuse_existing(path, overwrite)
    _try_writing(path.parent, path.name)
    return path


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} is there already; give another name, or --overwrite to replace it"
        )


def _try_writing(folder: Path, what: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot write {what} to {folder} ({error.strerror}); expected a folder that you may write to"
        ) from error


def write_file(path: Path, content: bytes | Callable[[io.BytesIO], Any]) -> Path:
    """Write bytes, or what a function writes into a file, whole or not at all; return where."""
    from metamotor.meta.checkpoints import write_atomically  # with torch, which `run` does without

    if not isinstance(content, bytes):
        file = io.BytesIO()
        content(file)
        content = file.getvalue()
    write_atomically(path, content)
    return path
