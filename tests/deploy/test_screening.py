"""Files from strangers are refused by name before onnxruntime sees them, and whatever is in them nothing happens."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from metamotor.deploy.runtime import open_session
from metamotor.deploy.runtime.rules import RULES
from metamotor.deploy.runtime.screening import read_model, screen
from metamotor.deploy.runtime.shapes import MAX_ELEMENTS, Tensor
from metamotor.deploy.runtime.sizes import sizes_of
from tests.deploy.strangers import field, made_up, mutate, varint

Change = Callable[[onnx.ModelProto], object]
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
ROOT = Path(__file__).parents[2]


def model_of(
    nodes: list[onnx.NodeProto],
    constants: dict[str, Any] | None = None,
    shape: tuple[Any, ...] = ("N", 4),
) -> onnx.ModelProto:
    """A model from the input x to the last node's first output."""
    held = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [onnx.ValueInfoProto(name=nodes[-1].output[0])],
        held,
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def node(operator: str, given: str, made: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, given.split(), made.split(), **attributes)


def small() -> onnx.ModelProto:
    """x · w, with an initializer and a constant."""
    value = numpy_helper.from_array(np.ones(3, np.float32), "c")
    nodes = [node("Constant", "", "b", value=value), node("Gemm", "x w b", "y")]
    return model_of(nodes, {"w": np.ones((4, 3), np.float32)})


def screened(model: onnx.ModelProto | bytes) -> None:
    screen(model if isinstance(model, bytes) else model.SerializeToString(), "policy.onnx")


def test_a_policy_passes() -> None:
    screened(small())


def location(tensor: Any, path: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=path)


def body() -> onnx.GraphProto:
    return helper.make_graph([], "body", [], [])


REFUSED: dict[str, tuple[Change, str]] = {
    "custom domain": (
        lambda m: setattr(m.graph.node[1], "domain", "com.evil"),
        "the operator 'Gemm' of the domain 'com.evil'",
    ),
    "onnxruntime's own domain": (
        lambda m: m.graph.node.add(op_type="EPContext", domain="com.microsoft"),
        "the operator 'EPContext' of the domain 'com.microsoft'",
    ),
    "imported domain": (
        lambda m: m.opset_import.add(domain="com.evil", version=1),
        "operators of the domain 'com.evil'",
    ),
    "two operator sets": (lambda m: m.opset_import.add(version=17), "more than one operator set"),
    "unknown operator": (
        lambda m: m.graph.node.add(op_type="TfIdfVectorizer"),
        "uses the operator 'TfIdfVectorizer'",
    ),
    "loop": (
        lambda m: m.graph.node.append(helper.make_node("Loop", [], ["z"], body=body())),
        "attribute has g",
    ),
    "loop without body": (lambda m: m.graph.node.add(op_type="Loop"), "uses the operator 'Loop'"),
    "graph in an attribute": (
        lambda m: m.graph.node[1].attribute.append(helper.make_attribute("a", body())),
        "attribute has g",
    ),
    "overload": (lambda m: setattr(m.graph.node[1], "overload", "mine"), "overloads"),
    "function": (lambda m: m.functions.add(name="f", domain="local"), "has functions"),
    "training": (lambda m: m.training_info.add(), "has training_info"),
    "absolute path": (
        lambda m: location(m.graph.initializer[0], "/etc/passwd"),
        "the data of 'w' lie outside the file: /etc/passwd",
    ),
    "path upwards": (
        lambda m: location(m.graph.initializer[0], "../../.ssh/id_rsa"),
        r"outside the file: \.\./\.\./\.ssh/id_rsa",
    ),
    "path beside": (lambda m: location(m.graph.initializer[0], "w.bin"), "outside the file"),
    "memory address": (
        lambda m: location(m.graph.initializer[0], "*/_ORT_MEM_ADDR_/*"),
        "outside the file",
    ),
    "external without a path": (
        lambda m: setattr(m.graph.initializer[0], "data_location", TensorProto.EXTERNAL),
        "outside the file",
    ),
    "path without a location": (
        lambda m: m.graph.initializer[0].external_data.add(key="location", value="w.bin"),
        "outside the file",
    ),
    "path in a constant": (
        lambda m: location(m.graph.node[0].attribute[0].t, "/dev/zero"),
        "the data of 'c' lie outside the file: /dev/zero",
    ),
    "path in another operator's attribute": (
        lambda m: location(m.graph.node[1].attribute.add(name="t", type=4).t, "/dev/zero"),
        "outside the file: /dev/zero",
    ),
    "text": (
        lambda m: m.graph.initializer.append(
            TensorProto(name="s", data_type=8, dims=[1], string_data=[b"text"])
        ),
        "string_data",
    ),
    "cast to text": (
        lambda m: m.graph.node.append(helper.make_node("Cast", ["y"], ["z"], to=8)),
        "casts to the element type 8",
    ),
    "sparse": (lambda m: m.graph.sparse_initializer.add(), "has sparse_initializer"),
    "sequence input": (
        lambda m: m.graph.input.append(helper.make_tensor_sequence_value_info("q", FLOAT, [1])),
        "has sequence_type",
    ),
    "input of text": (
        lambda m: m.graph.input.append(helper.make_tensor_value_info("q", 8, [1])),
        "'q' has the element type 8",
    ),
    "input without shape": (
        lambda m: m.graph.input.append(helper.make_tensor_value_info("q", FLOAT, None)),
        "'q' has no shape",
    ),
    "absurd input": (
        lambda m: m.graph.input.append(helper.make_tensor_value_info("q", FLOAT, [1 << 40])),
        "'q' has the shape",
    ),
    "settings of onnxruntime": (
        lambda m: m.metadata_props.add(key="ort_config", value="{}"),
        "configures onnxruntime",
    ),
    "deep metadata": (
        lambda m: m.metadata_props.add(key="metamotor", value="[" * 100_000),
        "more than 64 levels deep",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_policy_needs_is_refused_by_name(name: str) -> None:
    change, message = REFUSED[name]
    model = small()
    change(model)
    with pytest.raises(ValueError, match=rf"policy\.onnx is refused: .*{message}") as refusal:
        screened(model)
    assert type(refusal.value) is ValueError
    with pytest.raises(ValueError, match="is refused"):
        open_session(model.SerializeToString(), threads=1, source="policy.onnx")


DAMAGED: dict[str, tuple[Change, str]] = {
    "short data": (
        lambda m: setattr(m.graph.initializer[0], "raw_data", b"1234"),
        "4 bytes in raw",
    ),
    "no data": (lambda m: m.graph.initializer[0].ClearField("raw_data"), "the data of 'w'"),
    "two kinds of data": (
        lambda m: m.graph.initializer[0].float_data.append(1.0),
        "the data of 'w'",
    ),
    "negative side": (lambda m: m.graph.initializer[0].dims.append(-1), "has the shape"),
    "twice an initializer": (
        lambda m: m.graph.initializer.append(m.graph.initializer[0]),
        "two initializers",
    ),
    "nothing made": (lambda m: m.graph.output.add(name="z"), "nothing makes the output 'z'"),
    "made twice": (lambda m: m.graph.node.append(m.graph.node[1]), "'y' is made twice"),
    "twice in the metadata": (
        lambda m: [m.metadata_props.add(key="a", value="1") for _ in range(2)],
        "has a key twice",
    ),
    "no operator set": (lambda m: m.ClearField("opset_import"), "no operator set"),
    "no graph": (lambda m: m.ClearField("graph"), "no graph"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_makes_no_sense_is_called_damaged(name: str) -> None:
    change, message = DAMAGED[name]
    model = small()
    change(model)
    with pytest.raises(ValueError, match=rf"is damaged, is not an ONNX file.*{message}"):
        screened(model)


def test_a_circle_is_damaged() -> None:
    model = model_of([node("Add", "x z", "y"), node("Neg", "y", "z")])
    with pytest.raises(ValueError, match="'z' is used before it is there"):
        screened(model)


# What two readers may understand in two ways ------------------------------------------------------


def test_onnxruntimes_own_format_is_refused_even_if_it_is_onnx_too() -> None:
    # A producer's name that puts onnxruntime's mark where it looks for it: valid as ONNX.
    content = field(2, b"xxORTM") + small().SerializeToString()
    assert content[4:8] == b"ORTM"
    assert onnx.load_from_string(content).graph == small().graph
    with pytest.raises(ValueError, match="in onnxruntime's own format"):
        screened(content)


def test_an_enumeration_that_others_cut_off_is_refused() -> None:
    tensor = field(1, 1) + field(2, 1) + field(8, b"w") + field(9, b"1234")
    where = field(13, field(1, b"location") + field(2, b"/etc/passwd"))
    for hidden in (field(14, (1 << 32) + 1), where):
        content = field(1, 10) + field(7, field(5, tensor + hidden)) + field(8, field(2, 18))
        with pytest.raises(ValueError, match="outside the file"):
            screened(content)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (field(7, b""), "the model has graph twice"),
        (field(1, 10), "the model has ir_version twice"),
        (field(99, b"x"), "an unknown field 99"),
        (field(8, 5), "opset_import has wire type 0"),
        (varint(7 << 3 | 3), "wire type 3"),
        (varint(0 << 3 | 2) + b"\0", "the number 0"),
        (varint(6 << 3 | 2) + b"\x05abc", "breaks off in field 6"),
        (b"\xff" * 11, "more than 64 bits"),
        (b"\x80", "breaks off in a number"),
        (field(6, b"\xff"), "doc_string is not UTF-8"),
    ],
)
def test_the_wire_format_is_read_strictly(extra: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        screened(small().SerializeToString() + extra)


# Sizes --------------------------------------------------------------------------------------------

SIDES = np.array([1 << 14, 1 << 16], np.int64)
BOMBS: dict[str, onnx.ModelProto] = {
    "doubled again and again": model_of(
        [node("Concat", f"y{i} y{i}" if i else "x x", f"y{i + 1}", axis=1) for i in range(40)]
    ),
    "a shape in the file": model_of([node("ConstantOfShape", "s", "y")], {"s": SIDES}),
    "a shape that is computed": model_of(
        [node("Mul", "s s", "t"), node("Expand", "x t", "y")],
        {"s": np.array([30_000, 4], np.int64)},
        (1, 4),
    ),
    "an outer product": model_of(
        [node("Transpose", "w", "t", perm=[1, 0]), node("MatMul", "t w", "y")],
        {"w": np.ones((1, 20_000), np.float32)},
    ),
    "repeated": model_of([node("Tile", "x s", "y")], {"s": SIDES}),
    "padded": model_of([node("Pad", "x p", "y")], {"p": np.array([0, 0, 0, 1 << 30], np.int64)}),
    "counted": model_of([node("Range", "a b c", "y")], {"a": 0, "b": 1 << 40, "c": 1}),
    "much alive at once": model_of(
        [
            *(node("ConstantOfShape", "s", f"y{i}") for i in range(6)),
            node("Concat", " ".join(f"y{i}" for i in range(6)), "z", axis=0),
        ],
        {"s": np.array([1 << 13, 1 << 13], np.int64)},
    ),
    "much work": model_of(
        [
            node("ConstantOfShape", "s", "w"),
            *(node("MatMul", f"y{i} w" if i else "w w", f"y{i + 1}") for i in range(20)),
        ],
        {"s": np.array([1 << 11, 1 << 11], np.int64)},
    ),
    "nothing, of a huge side": model_of(
        [node("ConstantOfShape", "s", "y")], {"s": np.array([0, 1 << 50], np.int64)}
    ),
    "a huge window": model_of(
        [node("Conv", "x w", "y", pads=[1 << 20, 0, 0, 0])],
        {"w": np.ones((512, 1, 1, 1), np.float32)},
        ("N", 1, 8, 8),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_graphs_that_grow_are_refused(name: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match=r"is refused: .*(numbers|multiplications|shape)"):
        screened(BOMBS[name])
    assert time.process_time() - start < 1.0


def test_sizes_that_only_running_would_tell_are_refused() -> None:
    model = model_of(
        [node("Cast", "x", "s", to=INT64), node("ConstantOfShape", "s", "y")], shape=(2,)
    )
    with pytest.raises(ValueError, match="takes a size that only running it would tell"):
        screened(model)


def test_many_fields_are_refused_in_a_bounded_time() -> None:
    content = small().SerializeToString() + field(8, b"") * 1_000_000
    start = time.process_time()
    with pytest.raises(ValueError, match="more fields than any policy needs"):
        screened(content)
    assert time.process_time() - start < 5.0


W, B = np.ones((4, 3), np.float32), np.ones(3, np.float32)
INDICES = np.array([[0, 1], [3, 2]], np.int64)
GRAPHS: dict[str, onnx.ModelProto] = {
    "gemm": model_of([node("Gemm", "x w b", "y")], {"w": W, "b": B}),
    "gemm, transposed": model_of([node("Gemm", "x w", "y", transB=1)], {"w": W.T.copy()}),
    "matmul of a row": model_of(
        [node("MatMul", "v w", "y")], {"v": np.ones(4, np.float32), "w": W}
    ),
    "matmul of batches": model_of(
        [node("MatMul", "v w", "y")], {"v": np.ones((5, 1, 2, 4), np.float32), "w": W}
    ),
    "broadcast": model_of([node("Add", "x v", "y")], {"v": np.ones((5, 1, 4), np.float32)}),
    "concat": model_of([node("Concat", "x x", "y", axis=-1)]),
    "split": model_of([node("Split", "x s", "z y", axis=1)], {"s": np.array([1, 3], np.int64)}),
    "slice": model_of(
        [node("Slice", "x a b c d", "y")],
        {"a": np.array([3]), "b": np.array([-(1 << 63)]), "c": np.array([1]), "d": np.array([-2])},
    ),
    "gather": model_of([node("Gather", "x i", "y", axis=1)], {"i": INDICES}),
    "gather nd": model_of(
        [node("GatherND", "v i", "y")], {"v": np.ones((4, 3, 2)), "i": INDICES[:1]}
    ),
    "reshape": model_of([node("Reshape", "x s", "y")], {"s": np.array([0, -1, 2], np.int64)}),
    "reshape by its own shape": model_of(
        [
            node("Shape", "x", "a", end=1),
            node("Concat", "a s", "b", axis=0),
            node("Reshape", "x b", "y"),
        ],
        {"s": np.array([2, 2], np.int64)},
    ),
    "flatten": model_of([node("Flatten", "x", "y", axis=0)]),
    "squeeze": model_of(
        [node("Unsqueeze", "x s", "z"), node("Squeeze", "z s", "y")], {"s": np.array([1, 3])}
    ),
    "expand": model_of([node("Expand", "x s", "y")], {"s": np.array([2, 1, 1], np.int64)}),
    "transpose": model_of([node("Transpose", "x", "y")]),
    "tile": model_of([node("Tile", "x s", "y")], {"s": np.array([3, 2], np.int64)}),
    "pad": model_of([node("Pad", "x s", "y")], {"s": np.array([1, 0, 0, 2], np.int64)}),
    "range": model_of([node("Range", "a b c", "y")], {"a": 7, "b": -4, "c": -3}),
    "one hot": model_of(
        [node("OneHot", "i d v", "y")],
        {"i": INDICES, "d": np.array([5]), "v": np.array([0, 1], np.float32)},
    ),
    "top k": model_of([node("TopK", "x k", "y z")], {"k": np.array([2])}),
    "arg max": model_of([node("ArgMax", "x", "y", axis=1, keepdims=0)]),
    "sum": model_of([node("ReduceSum", "x s", "y", keepdims=0)], {"s": np.array([-1])}),
    "mean of all": model_of([node("ReduceMean", "x", "y", keepdims=0)]),
    "einsum": model_of([node("Einsum", "x w", "y", equation="ni,ij->jn")], {"w": W}),
    "convolution": model_of(
        [
            node("Conv", "x w", "z", strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 2]),
            node("MaxPool", "z", "y", kernel_shape=[2, 2], ceil_mode=1, strides=[2, 2]),
        ],
        {"w": np.ones((5, 3, 3, 2), np.float32)},
        ("N", 3, 11, 9),
    ),
    "same": model_of(
        [node("AveragePool", "x", "y", kernel_shape=[3], strides=[2], auto_pad="SAME_UPPER")],
        shape=("N", 3, 7),
    ),
    "pool of all": model_of([node("GlobalAveragePool", "x", "y")], shape=("N", 3, 7, 5)),
    **{
        operator: model_of(
            [node(operator, "x w r", "y h", hidden_size=2)],
            {
                "w": np.ones((1, gates * 2, 4), np.float32),
                "r": np.ones((1, gates * 2, 2), np.float32),
            },
            (6, "N", 4),
        )
        for operator, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))
    },
    "normalisation": model_of(
        [node("LayerNormalization", "x b", "y")], {"b": np.ones(4, np.float32)}
    ),
    "quantised": model_of([node("DynamicQuantizeLinear", "x", "y s z")]),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("batch", [1, 100])
def test_sizes_are_what_onnxruntime_makes(name: str, batch: int) -> None:
    model = GRAPHS[name]
    content = model.SerializeToString()
    session = open_session(content, threads=1, source=name)
    shape = [side if isinstance(side, int) else batch for side in session.get_inputs()[0].shape]
    made = session.run(None, {"x": np.zeros(shape, np.float32)})[0]
    assert bound_of(content, batch) == made.shape


def bound_of(content: bytes, batch: int) -> tuple[int, ...]:
    from metamotor.deploy.runtime.screening import _MODEL, _declared, _initializers, constant
    from metamotor.deploy.runtime.wire import Budget, parse

    graph = parse(memoryview(content), _MODEL, "model", Budget(10_000))["graph"]
    alive = _initializers(graph)
    for value in graph["input"]:
        sides = _declared(value)
        assert sides is not None
        alive[value["name"]] = Tensor(tuple(batch if side is None else side for side in sides))
    outputs = [value["name"] for value in graph["output"]]
    return sizes_of(graph["node"], alive, outputs, batch, constant)[0].shape


# Files --------------------------------------------------------------------------------------------


def test_what_is_no_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="is not a regular file"):
            read_model(path)
    monkeypatch.setattr("metamotor.deploy.runtime.screening.MAX_BYTES", 1 << 20)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="has more than 1,048,576 bytes"):
        read_model(tmp_path / "large")
    (tmp_path / "small").write_bytes(b"abc")
    assert read_model(tmp_path / "small") == b"abc"


# Fuzzing ------------------------------------------------------------------------------------------

ORIGINALS = [small().SerializeToString(), *(own.SerializeToString() for own in GRAPHS.values())]
FUZZ = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


def never_anything_but_value_errors(content: bytes) -> bool:
    """Tell whether a file passes; whatever else than a `ValueError` is raised fails the test."""
    try:
        screen(content, "policy.onnx")
    except ValueError:
        return False
    return True


@FUZZ
@given(st.sampled_from(ORIGINALS), st.integers(0, 1 << 32))
def test_mutations_are_screened_or_refused(content: bytes, seed: int) -> None:
    never_anything_but_value_errors(mutate(content, random.Random(seed)))


@FUZZ
@given(st.integers(0, 1 << 32))
def test_made_up_models_are_screened_or_refused(seed: int) -> None:
    never_anything_but_value_errors(made_up(random.Random(seed)))


@FUZZ
@given(st.binary(max_size=200))
def test_noise_is_refused(content: bytes) -> None:
    assert not never_anything_but_value_errors(content)


@pytest.mark.slow
def test_nothing_happens_whatever_is_opened(tmp_path: Path) -> None:
    """Open hundreds of strangers' files where writing, starting a program or opening a socket would be noticed."""
    for index, content in enumerate(ORIGINALS[:6]):
        (tmp_path / f"{index}.onnx").write_bytes(content)
    canary = tmp_path / "canary"
    canary.write_text("untouched")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    files = [str(path) for path in sorted(tmp_path.glob("*.onnx"))]
    command = [sys.executable, "-m", "tests.deploy.strangers", "7", "250", *files]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    opened, refused = map(int, done.stdout.split())
    assert opened > 5
    assert refused > 100
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.iterdir()} == before


def test_the_watch_notices(tmp_path: Path) -> None:
    for line in (
        f"open({str(tmp_path / 'written')!r}, 'w')",
        "import subprocess; subprocess.run(['true'])",
        "import socket; socket.socket()",
        "import os; os.system('true')",
    ):
        program = f"from tests.deploy.strangers import watch; watch(); {line}"
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=60)
        assert done.returncode == 3, line


def test_every_rule_is_of_an_operator_that_onnxruntime_has() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    assert set(RULES) <= known
    assert MAX_ELEMENTS < 1 << 31
    assert onnxruntime.__version__
