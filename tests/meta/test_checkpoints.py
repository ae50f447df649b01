"""Checkpoints: whole or not there, and nothing in them is executed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stable_baselines3.common.torch_layers import FlattenExtractor

from metamotor.meta.checkpoints import (
    _digest,
    decode,
    encode,
    read_checkpoint,
    write_atomically,
    write_checkpoint,
)

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1.5)}
DOCUMENT = {
    "learner": "MAML",
    "config": {"inner_lr": 0.1},
    "algorithm": "PPO",
    "policy": "MlpPolicy",
    "base_kwargs": {},
    "family": {"name": "Bandit", "config": {}},
    "seed": 0,
    "iteration": 3,
    "num_timesteps": 400,
    "versions": {},
}


def test_round_trip(tmp_path: Path) -> None:
    kwargs = {"x": 0.1, "list": [1, None, True], "class": torch.nn.ReLU, "e": FlattenExtractor}
    document = DOCUMENT | {"base_kwargs": kwargs}
    path = write_checkpoint(tmp_path / "runs" / "best", TENSORS, document)
    assert path.name == "best.safetensors"
    tensors, read = read_checkpoint(tmp_path / "runs" / "best")
    assert read == document | {"format": 2}
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert [file.name for file in path.parent.iterdir()] == ["best.safetensors"]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = write_checkpoint(tmp_path / "a", TENSORS, DOCUMENT)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match="not a whole metamotor checkpoint"):
        read_checkpoint(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "nothing")
    save_file(TENSORS, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="not a whole metamotor checkpoint"):
        read_checkpoint(tmp_path / "foreign")


def test_what_has_no_json_form_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"document\.policy_kwargs\.schedule"):
        encode({"policy_kwargs": {"schedule": object()}}, "document")


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "subprocess:Popen",
        "torch.nn:Module.train",
        "torch.hub:Path",  # the module is trusted, the class in it is pathlib's
        "torch.nowhere:ReLU",
        "torch..nn:ReLU",
        "torch:",
    ],
)
def test_only_classes_of_trusted_modules_are_looked_up(name: str) -> None:
    with pytest.raises(ValueError, match=r"not loaded|not a class"):
        decode(json.loads(json.dumps({"__class__": name})))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a", TENSORS, DOCUMENT)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="document"):
        write_checkpoint(tmp_path / "a", TENSORS, {"x": object()})
    with pytest.raises(ValueError, match=r"not written.*see b"):
        write_checkpoint(tmp_path / "a", TENSORS | {"b": torch.tensor(torch.nan)}, DOCUMENT)
    assert path.read_bytes() == before


def test_a_write_that_breaks_off_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(tmp_path / "a", b"content")
    assert not list(tmp_path.iterdir())


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a", TENSORS, DOCUMENT)
    content = path.read_bytes()
    for index in range(0, 8 * len(content), 13):  # each byte or the next one, in changing places
        damaged = bytearray(content)
        damaged[index // 8] ^= 1 << index % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a whole metamotor checkpoint"):
            read_checkpoint(path)


def save_by_hand(path: Any, tensors: Any, text: Any, **header: Any) -> None:
    digest = _digest(tensors, text)
    save_file(tensors, path, metadata={"metamotor": text, "sha256": digest} | header)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "2"}, "format is '2'"),
        ({"seed": None}, "seed is None"),
        ({"policy": 3}, "policy is 3"),
        ({"family": {"name": "Bandit"}}, "family is {'name': 'Bandit'}"),
        ({"format": 3}, "has format 3, and this metamotor reads format 2"),
        ({"format": 1}, "has format 1, and this metamotor reads format 2"),
    ],
    ids=str,
)
def test_documents_with_wrong_entries_are_refused(
    tmp_path: Path, changes: Any, message: str
) -> None:
    path = tmp_path / "a.safetensors"
    save_by_hand(path, TENSORS, json.dumps({"format": 2, **DOCUMENT, **changes}))
    with pytest.raises(ValueError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["format", *DOCUMENT])
def test_documents_without_an_entry_are_refused(tmp_path: Path, name: str) -> None:
    document = {"format": 2, **DOCUMENT}
    del document[name]
    save_by_hand(tmp_path / "a.safetensors", TENSORS, json.dumps(document))
    with pytest.raises(ValueError, match=f"not a whole metamotor checkpoint.*has no {name}"):
        read_checkpoint(tmp_path / "a")


def test_other_contents_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    text = json.dumps({"format": 2, **DOCUMENT})
    save_by_hand(path, TENSORS, "[1, 2]")
    with pytest.raises(ValueError, match="not a JSON object"):
        read_checkpoint(path)
    save_by_hand(path, TENSORS | {"b": torch.tensor(torch.inf)}, text)
    with pytest.raises(ValueError, match="a tensor is not finite: see b"):
        read_checkpoint(path)
    save_by_hand(path, TENSORS, text, sha256="0")
    with pytest.raises(ValueError, match="checksum"):
        read_checkpoint(path)


def test_files_without_a_checksum_are_refused(tmp_path: Path) -> None:
    for number in (1, 2):
        text = json.dumps({"format": number, **DOCUMENT})
        save_file(TENSORS, tmp_path / "a.safetensors", metadata={"metamotor": text})
        with pytest.raises(ValueError, match="checksum"):
            read_checkpoint(tmp_path / "a")


def test_models_of_stable_baselines3_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ppo\.zip is not a checkpoint of .*such as PPO\.load"):
        read_checkpoint(tmp_path / "ppo.zip")
    (tmp_path / "ppo").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"ppo is not a checkpoint of a metamotor learner"):
        read_checkpoint(tmp_path / "ppo")


def test_what_is_tried_out_and_fails_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    seen = []

    def refuse(written: Any) -> None:
        seen.append(written.read_bytes())
        raise ValueError("it does not open")

    with pytest.raises(ValueError, match="does not open"):
        write_atomically(path, b"new", refuse)
    assert seen == [b"new"]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    # The order in which safetensors writes the metadata is drawn anew for each file.
    paths = [write_checkpoint(tmp_path / str(index), TENSORS, DOCUMENT) for index in range(8)]
    assert len({path.read_bytes() for path in paths}) == 1
    content = paths[0].read_bytes()
    assert int.from_bytes(content[:8], "little") % 8 == 0
    found = load_file(paths[0])
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    with safe_open(paths[0], "pt") as file:
        assert sorted(file.metadata()) == ["metamotor", "sha256"]
