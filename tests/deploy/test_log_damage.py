"""Logs that were cut off, turned over or never ours: a clear error or what is whole, never a wrong number."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.writer import Writer

from metamotor import deploy
from metamotor.deploy.log.reader import Log
from tests.deploy.logs import NAMES, NS, record


def steps_of(log: Log) -> bytes:
    return b"".join(episode.steps.tobytes() for episode in log.episodes)


def read_quietly(path: Path, **options: Any) -> Log:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return deploy.read_log(path, **options)


class Files:
    """A finished log, one that was not closed, what is in them, and where to put damaged ones."""

    def __init__(self, folder: Path) -> None:
        record(folder / "finished.mcap", episodes=3, steps=6)
        self.finished = (folder / "finished.mcap").read_bytes()
        log = deploy.Recorder(folder / "running.mcap", **NAMES, chunk_seconds=3e-9 * NS)
        log.begin({"mass": 1.0})
        for t in range(20):
            log.step(np.full(3, t), np.full(2, -t), t, observed_ns=1 + t * NS, acted_ns=2 + t * NS)
        self.running = (folder / "running.mcap").read_bytes()
        log.close()
        self.whole = {
            "finished": steps_of(deploy.read_log(folder / "finished.mcap")),
            "running": steps_of(deploy.read_log(folder / "running.mcap")),
        }
        self.path = folder / "damaged.mcap"

    def read(self, content: bytes, **options: Any) -> Log:
        self.path.write_bytes(content)
        return read_quietly(self.path, **options)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("logs"))


def check(files: Files, kind: str, content: bytes) -> None:
    """Damaged content is refused with a clear error, or read as what was recorded first."""
    for recover in (False, True):
        try:
            log = files.read(content, recover=recover)
        except ValueError as error:
            assert str(files.path) in str(error)  # noqa: PT017
            continue
        assert files.whole[kind].startswith(steps_of(log))
        complete = steps_of(log) == files.whole[kind]
        assert complete or log.remark
        assert log.description["observations"] == [
            {"name": name, "unit": None} for name in NAMES["observations"]
        ]
        assert all(episode.task in ({"mass": 0.0}, {"mass": 1.0}) for episode in log.episodes)


@pytest.mark.parametrize("kind", ["finished", "running"])
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_turned_bit_is_found(files: Files, kind: str, data: st.DataObject) -> None:
    content = bytearray(getattr(files, kind))
    for _ in range(data.draw(st.integers(1, 3))):
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
    check(files, kind, bytes(content))


@pytest.mark.parametrize("kind", ["finished", "running"])
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_parts_that_are_missing_doubled_or_filled_are_found(
    files: Files, kind: str, data: st.DataObject
) -> None:
    content = getattr(files, kind)
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(start, min(len(content), start + 600)))
    filled = data.draw(st.sampled_from([b"", bytes(end - start), content[start:end] * 2]))
    check(files, kind, content[:start] + filled + content[end:])


def test_every_cut_leaves_a_prefix(files: Files) -> None:
    for kind in ("finished", "running"):
        content = getattr(files, kind)
        for size in range(0, len(content), 97):
            check(files, kind, content[:size])


def test_a_cut_log_says_what_was_lost(files: Files) -> None:
    files.path.write_bytes(files.running[:-100])
    with pytest.warns(UserWarning, match="did not close it") as told:
        log = deploy.read_log(files.path)
    message = str(told[0].message)
    assert re.search(r"did not close it.*last \d+ bytes.*\d+ steps in 1 episodes were rec", message)
    assert 0 < log.num_steps < 20
    assert any("its end was not recorded" in fault for fault in log.faults)


def test_a_turned_bit_names_its_place_and_the_way_out(files: Files) -> None:
    content = bytearray(files.finished)
    content[len(content) // 2] ^= 1
    with pytest.raises(
        ValueError, match=r"damaged at byte \d+.*recover=True\) returns the \d+"
    ) as told:
        files.read(bytes(content))
    count = int(re.search(r"returns the (\d+)", str(told.value))[1])  # type: ignore[index]
    assert files.read(bytes(content), recover=True).num_steps == count


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an MCAP file"),
        (b"\x89MCAP0\r\n", "holds nothing"),
        (b"\x89MCAP0\r\n" * 20, "damaged at byte 8"),
    ],
)
def test_foreign_files_are_refused(files: Files, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        files.read(content)


def write_foreign(path: Path, profile: str, messages: list[tuple[str, bytes, bytes]]) -> None:
    with path.open("wb") as file:
        from mcap.writer import CompressionType

        writer = Writer(file, compression=CompressionType.NONE, enable_data_crcs=True)
        writer.start(profile)
        channels: dict[str, int] = {}
        for number, (topic, definition, data) in enumerate(messages):
            if topic not in channels:
                schema = writer.register_schema(topic, "ros1msg", definition)
                channels[topic] = writer.register_channel(topic, "ros1", schema)
            writer.add_message(channels[topic], 0, data, 0, number)
        writer.finish()  # type: ignore[no-untyped-call]


RUN: dict[str, Any] = {
    "format": 1,
    "control_period": None,
    "observations": [{"name": "a"}],
    "actions": [{"name": "b"}],
    "action_space": {"type": "Box"},
}


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([("/x", b"", b"")], "does not begin with a description"),
        ([("/run", b"", b"[]")], "has no format"),
        ([("/run", b"", b"{")], "is not a log"),
        ([("/run", b"", json.dumps({**RUN, "action_space": []}).encode())], "is not a log"),
        ([("/run", b"", json.dumps({**RUN, "format": 9}).encode())], "upgrade metamotor"),
        ([("/run", b"", json.dumps(RUN).encode())], "lacks"),
        (
            [
                ("/run", b"", json.dumps(RUN).encode()),
                ("/step", b"float32[1000000000] observation\n", b""),
            ],
            "array of 1000000000",
        ),
        (
            [("/run", b"", json.dumps(RUN).encode()), ("/step", b"__import__ x\n", b"")],
            "not understood",
        ),
        ([("/run", b"", b"[" * 100_000)], "is not a log"),
    ],
)
def test_files_that_only_look_like_logs_are_refused(
    tmp_path: Path, messages: list[tuple[str, bytes, bytes]], message: str
) -> None:
    write_foreign(tmp_path / "run.mcap", "metamotor", messages)
    with pytest.raises(ValueError, match=message):
        read_quietly(tmp_path / "run.mcap")


def test_another_profile_is_refused(tmp_path: Path) -> None:
    write_foreign(tmp_path / "run.mcap", "ros2", [("/x", b"", b"")])
    with pytest.raises(ValueError, match="of the profile 'ros2', not a log"):
        deploy.read_log(tmp_path / "run.mcap")


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no log"):
        deploy.read_log(tmp_path / "none.mcap")
    with pytest.raises(ValueError, match="is a folder"):
        deploy.read_log(tmp_path)


CHILD = """
    import mmap, os, struct, sys
    from metamotor import deploy

    deploy.Recorder  # imported once, before the process is split
    with open(sys.argv[1], "r+b") as file:
        board = mmap.mmap(file.fileno(), 16)

    def record(path):
        log = deploy.Recorder(path, observations=["a", "b"], actions=["c"])
        count = 0
        while True:
            log.begin()
            for t in range(1000):
                now = 1 + count * 20_000_000  # at 50 Hz by the time stamps: a chunk every 50 steps
                log.step([count, -count], [2 * count], count, observed_ns=now, acted_ns=now)
                count += 1
                struct.pack_into("<QQ", board, 0, log.num_flushed, log.num_steps)
            log.end([0, 0], observed_ns=now)

    for line in sys.stdin:
        board[:] = bytes(16)
        child = os.fork()
        if not child:
            record(line.strip())
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.slow
def test_a_killed_recorder_loses_at_most_its_last_chunk(tmp_path: Path) -> None:
    board = tmp_path / "board"
    board.write_bytes(bytes(16))
    rng = np.random.default_rng()
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(board)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for kill in range(50):
            path = tmp_path / f"{kill}.mcap"
            print(path, file=process.stdin, flush=True)
            child = int(process.stdout.readline())
            time.sleep(rng.uniform(0.0, 0.06))
            os.kill(child, signal.SIGKILL)
            assert os.WTERMSIG(int(process.stdout.readline())) == signal.SIGKILL
            flushed, taken = np.frombuffer(board.read_bytes(), "<u8").tolist()
            _check_killed(path, flushed, taken)
        process.stdin.close()


def _check_killed(path: Path, flushed: int, taken: int) -> None:
    if not path.exists() or not path.stat().st_size:
        assert taken == 0
        return
    try:
        log = read_quietly(path)
    except ValueError as error:
        assert "holds nothing" in str(error), error  # noqa: PT017
        assert flushed == 0
        return
    assert flushed <= log.num_steps <= taken + 1
    assert taken - log.num_steps <= 51  # a chunk is one second, 50 steps and the one that ends it
    rewards = np.concatenate([[], *(episode.steps["reward"] for episode in log.episodes)])
    np.testing.assert_array_equal(rewards, np.arange(len(rewards)))
    for episode in log.episodes:
        np.testing.assert_array_equal(episode.steps["observation"][:, 1], -episode.steps["reward"])
