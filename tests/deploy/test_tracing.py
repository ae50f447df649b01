"""Nothing is exported wrongly in silence: axes are checked, and a process that is broken is left."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from metamotor import deploy
from metamotor.deploy import tracing
from metamotor.deploy.graph import PolicyGraph
from metamotor.deploy.observations import pipeline_of
from metamotor.deploy.runtime import Policy
from tests.deploy.conftest import make_model


@pytest.fixture(scope="module")
def graph() -> PolicyGraph:
    model = make_model("PPO", "Box", normalize=True)
    return PolicyGraph(model, pipeline_of(model, None))


def frozen(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3


def merged(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "batch"


def unnamed(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "s0"


def lost(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


@pytest.mark.parametrize("damage", [frozen, merged, unnamed, lost])
def test_axes_that_are_not_right_are_found(
    graph: PolicyGraph, policy: Policy, damage: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx.load(policy.path)
    tracing.check_axes(model, graph)
    damage(model)
    with pytest.raises(ValueError, match="an axis is frozen, merged or missing"):
        tracing.check_axes(model, graph)


def test_no_file_is_written_with_a_frozen_axis(
    tmp_path: Path, policy: Policy, ppo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(policy.path)
    frozen(model)
    monkeypatch.setattr(tracing, "trace", lambda graph: model)
    monkeypatch.setattr(tracing, "_works", lambda: True)
    with pytest.raises(ValueError, match="an axis is frozen"):
        deploy.export(ppo, tmp_path / "policy.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_process_is_left_for_a_new_one(
    graph: PolicyGraph, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise ValueError("functorch's stack is not empty")

    model, asked = onnx.load(policy.path), []

    def anew(graph: PolicyGraph) -> onnx.ModelProto:
        asked.append(graph)
        return model

    monkeypatch.setattr(tracing, "_exported", broken)
    monkeypatch.setattr(tracing, "in_new_process", anew)
    assert tracing.to_onnx(graph) is model
    assert asked == [graph]


@pytest.mark.slow
def test_a_new_process_makes_the_same_file(graph: PolicyGraph) -> None:
    found = tracing.in_new_process(graph)
    tracing.check_axes(found, graph)
    assert found == tracing.trace(graph)
