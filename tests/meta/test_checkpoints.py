"""Checkpoints: whole or not there, and nothing in them is executed."""

import json

import pytest
import torch
from safetensors.torch import save_file
from stable_baselines3.common.torch_layers import FlattenExtractor

from metamotor.meta.checkpoints import decode, encode, read_checkpoint, write_checkpoint

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1.5)}


def test_round_trip(tmp_path):
    document = {"x": 0.1, "list": [1, None, True], "class": torch.nn.ReLU, "e": FlattenExtractor}
    path = write_checkpoint(tmp_path / "runs" / "best", TENSORS, document)
    assert path.name == "best.safetensors"
    tensors, read = read_checkpoint(tmp_path / "runs" / "best")
    assert read == document
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert [file.name for file in path.parent.iterdir()] == ["best.safetensors"]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = write_checkpoint(tmp_path / "a", TENSORS, {"x": 1})
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match="not a whole metamotor checkpoint"):
        read_checkpoint(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "nothing")
    save_file(TENSORS, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="not a whole metamotor checkpoint"):
        read_checkpoint(tmp_path / "foreign")


def test_what_has_no_json_form_is_refused_by_name():
    with pytest.raises(ValueError, match=r"document\.policy_kwargs\.schedule"):
        encode({"policy_kwargs": {"schedule": lambda progress: progress}}, "document")


@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "torch.nn:Module.train"])
def test_only_classes_of_trusted_modules_are_looked_up(name):
    with pytest.raises(ValueError, match=r"not loaded|not a class"):
        decode(json.loads(json.dumps({"__class__": name})))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_checkpoint(tmp_path / "a", TENSORS, {"x": 1})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="document"):
        write_checkpoint(tmp_path / "a", TENSORS, {"x": object()})
    assert path.read_bytes() == before
