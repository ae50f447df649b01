"""Checkpoints and run folders from strangers."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save, save_file

from metamotor.meta.checkpoints import _digest, decode, read_checkpoint, write_checkpoint
from metamotor.meta.records import find_base_kwargs
from metamotor.meta.untrusted import (
    MAX_DEPTH,
    check_layers,
    parse_json,
    read_bytes,
    screen_tensors,
)
from metamotor.scripts.runs import checkpoint_in, read_json
from metamotor.scripts.store import newest, sweep
from tests.deploy.strangers import mutate
from tests.meta.test_checkpoints import DOCUMENT, TENSORS

ROOT = Path(__file__).parents[2]
Header = dict[str, Any]


def packed(header: Header | str, data: bytes = b"", size: int | None = None) -> bytes:
    """A safetensors file by hand."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> Header:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_what_safetensors_writes_passes() -> None:
    tensors = {"a": torch.ones(2, 3), "b": torch.arange(3), "c": torch.zeros(0, 4).half()}
    assert screen_tensors(save(tensors, metadata={"x": "1"})) == {"x": "1"}
    assert screen_tensors(packed({"a": entry()}, b"1234")) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "breaks off"),
        (b"1234567", "breaks off"),
        (packed({}, size=1 << 60), "breaks off in its header"),
        (packed("[]"), "not a JSON object"),
        (packed('{"a": 1'), "delimiter"),
        (packed('{"a": ' + "[" * 5000 + "]" * 5000 + "}"), f"more than {MAX_DEPTH} levels deep"),
        (packed('{"__metadata__": {"a": "1", "a": "2"}}'), "'a' twice"),
        (packed({"__metadata__": {"a": 1}}), "texts are not texts"),
        (packed({"__metadata__": []}), "texts are not texts"),
        (packed({"a": []}), "not described as one"),
        (packed({"a": {**entry(), "path": "/etc/passwd"}}, b"1234"), "not described as one"),
        (packed({"a": entry("STR")}, b"1234"), "of the type 'STR'"),
        (packed({"a": entry(["F32"])}, b"1234"), "of the type"),
        (packed({"a": entry(shape=(-1, -1))}, b"1234"), "no shape or no place"),
        (packed({"a": entry(shape=(True,))}, b"1234"), "no shape or no place"),
        (packed({"a": entry(shape=(1.0,))}, b"1234"), "no shape or no place"),
        (packed({"a": entry(shape=(0, 1 << 62), offsets=(0, 0))}), "has the shape"),
        (packed({"a": entry(shape=[1] * 9)}, b"1234"), "has the shape"),
        (packed({"a": entry(offsets=(0, 8))}, b"12345678"), "bytes for the shape"),
        (packed({"a": entry(offsets=(4, 0))}, b"1234"), "bytes for the shape"),
        (packed({"a": entry(offsets=(4, 8))}, b"12345678"), "begins at 4"),
        (packed({"a": entry(), "b": entry()}, b"1234"), "begins at 0"),
        (packed({"a": entry()}, b"123"), "3 follow the header"),
        (packed({"a": entry()}, b"12345"), "5 follow the header"),
        (packed({"../a": entry()}, b"1234"), r"called '\.\./a'"),
        (packed({"a/../../b": entry()}, b"1234"), "called 'a/"),
        (packed({"/etc/passwd": entry()}, b"1234"), "called '/etc/passwd'"),
        (packed({"a\\..\\b": entry()}, b"1234"), "is called"),
        (packed({"a\x00b": entry()}, b"1234"), "is called"),
        (packed({"": entry()}, b"1234"), "is called ''"),
        (packed({"a" * 513: entry()}, b"1234"), "is called 'aaa"),
        (packed({str(i): entry() for i in range(10_001)}), "10,001 tensors"),
    ],
)
def test_headers_that_lie_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        screen_tensors(content)
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="is not a whole metamotor checkpoint"):
        read_checkpoint(tmp_path / "a")


def test_the_document_is_bounded_too(tmp_path: Path) -> None:
    for text, message in (
        ("[" * 100_000, "levels deep"),
        ('{"a": 1, "a": 2}', "'a' twice"),
        (json.dumps({"format": 2, **DOCUMENT, "seed": None}), "seed is None"),
    ):
        header = {"metamotor": text, "sha256": _digest(TENSORS, text)}
        save_file(TENSORS, tmp_path / "a.safetensors", metadata=header)
        with pytest.raises(ValueError, match=message):
            read_checkpoint(tmp_path / "a")
    assert parse_json('{"a": "[[[[", "b": "\\"["}') == {"a": "[[[[", "b": '"['}
    with pytest.raises(ValueError, match="1,000 characters of JSON, over 999"):
        parse_json("[" * 1000, 999)


def test_layers_that_the_file_does_not_hold_are_not_made(tmp_path: Path) -> None:
    huge = {"policy_kwargs": {"net_arch": {"pi": [100_000, 100_000], "vf": [64]}}}
    path = write_checkpoint(tmp_path / "a", TENSORS, DOCUMENT | {"base_kwargs": huge})
    with pytest.raises(ValueError, match=r"layers of \[100000, 100000\].* have 7 numbers"):
        read_checkpoint(path)
    check_layers([64, 64], 0)  # small ones do no harm
    check_layers([4096, 4096], 20_000_000)
    for layers in ([4096, 4096], [{"pi": [1 << 40]}], [64, {"vf": [1 << 30]}]):
        with pytest.raises(ValueError, match="it names layers of"):
            check_layers(layers, 1_000_000)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        # Called with arguments from the file, these would write where it says, or start processes.
        ("stable_baselines3.common.monitor:Monitor", "no layer, optimiser or buffer"),
        ("stable_baselines3.common.logger:CSVOutputFormat", "no layer, optimiser or buffer"),
        ("stable_baselines3.common.vec_env.subproc_vec_env:SubprocVecEnv", "no layer"),
        ("stable_baselines3.common.callbacks:CheckpointCallback", "no layer"),
        # To import these runs programs, opens sockets or writes.
        ("torch.utils.cpp_extension:BuildExtension", "of torch.utils.cpp_extension, which is not"),
        ("torch.distributed.run:x", "of torch.distributed.run, which is not loaded"),
        ("torch.nn.__main__:x", "is not loaded"),
        ("torch.nn.._C:x", "is not loaded"),
        ("torch.nn_evil:Module", "is not loaded"),
    ],
)
def test_only_layers_optimisers_and_buffers_are_looked_up(name: str, message: str) -> None:
    before = set(sys.modules)
    with pytest.raises(ValueError, match=message):
        decode({"__class__": name})
    assert not {module for module in set(sys.modules) - before if module.startswith("torch")}


def test_a_folder_to_write_to_must_be_said_again() -> None:
    with pytest.raises(ValueError, match="names a folder to write to, tensorboard_log"):
        find_base_kwargs({"base_kwargs": {"tensorboard_log": "/home/me"}}, "a")
    assert find_base_kwargs({"base_kwargs": {"tensorboard_log": None}}, "a")


# Files and folders --------------------------------------------------------------------------------


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="is not a regular file"):
            read_bytes(path)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="has more than 1,048,576 bytes"):
        read_bytes(tmp_path / "large", 1 << 20)


def test_links_out_of_a_run_folder_are_refused(tmp_path: Path) -> None:
    mine, run = tmp_path / "mine", tmp_path / "run"
    own = write_checkpoint(mine / "best", TENSORS, DOCUMENT | {"notes": {}})
    (mine / ".draft.tmp").write_text("precious")
    run.mkdir()
    (run / "checkpoints").symlink_to(mine)
    with pytest.raises(ValueError, match=r"is a link out of .*name .*best\.safetensors itself"):
        checkpoint_in(run)
    with pytest.raises(ValueError, match="is a link out of"):
        newest(run)
    sweep(run)
    assert (mine / ".draft.tmp").read_text() == "precious"
    (run / "checkpoints").unlink()
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "best.safetensors").symlink_to(own)
    with pytest.raises(ValueError, match="is a link out of"):
        checkpoint_in(run)
    with pytest.raises(ValueError, match="holds no checkpoint that can be read"):
        newest(run)
    # A link that stays inside is the owner's own.
    other = write_checkpoint(run / "checkpoints" / "last", TENSORS, DOCUMENT | {"notes": {}})
    (run / "checkpoints" / "best.safetensors").unlink()
    (run / "checkpoints" / "best.safetensors").symlink_to(other)
    assert checkpoint_in(run).resolve() == other
    assert newest(run)[1]["num_timesteps"] == 400


def test_json_of_a_run_folder_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for text, message in (("[" * 100_000, "levels deep"), ("[]", "is not a JSON object")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_json(path)
    assert read_json(tmp_path / "absent.json") == {}


# Fuzzing ------------------------------------------------------------------------------------------

TEXT = json.dumps({"format": 2, **DOCUMENT})
ORIGINAL = save(TENSORS, metadata={"metamotor": TEXT, "sha256": _digest(TENSORS, TEXT)})
JSON: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 1, 1.0, 1 << 70, "F32", [], [[1]], {}, {"a": []}]
)
PLACES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "F64", "C64"]) | JSON,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(-1, 16), max_size=3) | JSON,
    }
)


def agrees_with_safetensors(content: bytes) -> None:
    """What passes, safetensors can read; what does not, raises a `ValueError` and nothing else."""
    try:
        screen_tensors(content)
    except ValueError:
        return
    load(content)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 32))
def test_mutations_are_screened_or_refused(seed: int) -> None:
    agrees_with_safetensors(mutate(ORIGINAL, random.Random(seed)))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abc") | st.text(max_size=3), PLACES | JSON, max_size=3),
    st.binary(max_size=16),
)
def test_made_up_headers_are_screened_or_refused(header: Header, data: bytes) -> None:
    agrees_with_safetensors(packed(header, data))


WATCHED = """
import random, sys
from metamotor.meta import checkpoints
from tests.deploy.strangers import mutate, watch
content = open("a.safetensors", "rb").read()
files = [mutate(content, random.Random(seed)) for seed in range(300)]
for index, file in enumerate(files):
    open(f"{index}.safetensors", "wb").write(file)
checkpoints.read_checkpoint("a")
watch()
refused = 0
for index in range(300):
    try:
        checkpoints.read_checkpoint(f"{index}.safetensors")
    except ValueError:
        refused += 1
print(refused)
"""


@pytest.mark.slow
def test_nothing_happens_whatever_is_read(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", TENSORS, DOCUMENT)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 298  # a mutation may leave the file as it was
