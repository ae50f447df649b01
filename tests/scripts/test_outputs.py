"""Where results go: tried before the work, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from metamotor.scripts.outputs import (
    new_folder,
    no_empty_folders,
    results_folder,
    writable,
    write_file,
)


def test_a_folder_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = {new_folder(None, "run") for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.is_dir() for folder in folders)
    with pytest.raises(FileExistsError, match="never overwritten"):
        new_folder(folders.pop(), "run")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(FileExistsError, match=r"file is a file; --out expects a folder"):
        new_folder(file, "run")
    with pytest.raises(ValueError, match=r"cannot make the folder .*expected a folder's name"):
        new_folder(file / "run", "run")
    with pytest.raises(ValueError, match="cannot make the folder /proc/run"):
        new_folder(Path("/proc/run"), "run")
    with pytest.raises(FileExistsError, match="file is a file"):
        results_folder(file, "bench", (), overwrite=True)
    assert file.read_text() == "mine"


def test_a_folder_is_there_with_all_of_it_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "run"

    def broken(folder: Path) -> None:
        (folder / "half").write_text("")
        assert not out.exists()
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        new_folder(out, "run", broken)
    assert list(tmp_path.iterdir()) == []
    assert new_folder(out, "run", lambda folder: (folder / "all").write_text("")) == out
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "all"]
    with pytest.raises(FileExistsError, match="never overwritten"):
        new_folder(out, "run", broken)
    with pytest.raises(ValueError, match="cannot make the folder /proc/run"):
        new_folder(Path("/proc/run"), "run", broken)


def test_work_that_fails_leaves_no_empty_folder(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()

    def work(*, fills: bool) -> None:
        with no_empty_folders():
            results_folder(mine, "bench", (), overwrite=False)
            results_folder(tmp_path / "runs" / "bench", "bench", (), overwrite=False)
            if fills:
                (tmp_path / "runs" / "bench" / "results").write_text("")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        work(fills=False)
    assert list(tmp_path.rglob("*")) == [mine], "one that was there stays, empty or not"
    with pytest.raises(RuntimeError, match="stop"):
        work(fills=True)
    assert (tmp_path / "runs" / "bench" / "results").is_file()


def test_a_file_is_tried_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    assert writable(path, ".zip", overwrite=False) == path
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"cannot write a\.zip to /proc"):
        writable(Path("/proc/a.zip"), ".zip", overwrite=False)
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.zip is there already; .* --overwrite"):
        writable(path, ".zip", overwrite=False)
    assert writable(path, ".zip", overwrite=True) == path
    assert path.read_text() == "mine", "trying changes nothing"


def test_results_stay_unless_they_are_to_be_replaced(tmp_path: Path) -> None:
    out = tmp_path / "results"
    assert results_folder(out, "bench", ["a.md"], overwrite=False) == out
    (out / "b.md").write_text("another's")
    assert results_folder(out, "bench", ["a.md"], overwrite=False) == out
    (out / "a.md").write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.md is there already"):
        results_folder(out, "bench", ["a.md"], overwrite=False)
    assert results_folder(out, "bench", ["a.md"], overwrite=True) == out
    with pytest.raises(ValueError, match="cannot write results to /proc"):
        results_folder(Path("/proc"), "bench", ["a.md"], overwrite=False)


def test_what_fails_half_way_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", b"before")

    def broken(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_file(path, broken)
    assert path.read_bytes() == b"before"
    write_file(path, lambda file: file.write(b"after"))
    assert path.read_bytes() == b"after"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
