"""Files as a stranger could write them, and a program that opens many of them under watch.

`python -m tests.deploy.strangers SEED COUNT FILE...` opens mutations of the files and made-up models, and ends with the
counts of what was opened and refused; anything but a `ValueError`, and any file written, program started or socket
opened, ends it otherwise.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = (
    *("subprocess.", "os.exec", "os.system", "os.posix_spawn", "os.fork", "os.putenv", "pty."),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"),
    *("os.chmod", "os.chown", "os.utime", "shutil.", "tempfile.", "socket.", "urllib.", "ftplib."),
    *("ctypes.dlopen", "pickle.find_class", "marshal.load", "compile", "exec"),
)


def varint(number: int) -> bytes:
    """Return a number as the wire has it."""
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def field(number: int, content: bytes | int) -> bytes:
    """Return one field: a number, or bytes with their length."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Return a file with one to three places damaged or replaced."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at, kind = rng.randrange(len(data) + 1), rng.randrange(6)
        if kind == 0:
            del data[at:]
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            start = rng.randrange(len(data) + 1)
            data[at:at] = data[start : start + rng.choice([1, 4, 30, 300])]
        elif kind == 3:
            del data[at : at + rng.choice([1, 2, 8, 100])]
        elif kind == 4:
            values: list[Any] = [b"", b"/etc/passwd", 0, 1, -1, 1 << 40, rng.randbytes(9)]
            data[at:at] = field(rng.randint(1, 30), rng.choice(values))
        else:
            data[at : at + 1] = varint(
                rng.choice([0, 1, 127, 128, 1 << 31, 1 << 32, (1 << 64) - 1])
            )
    return bytes(data)


def made_up(rng: random.Random) -> bytes:
    """Return a model of a few operators that may fit each other, or not."""
    import onnx
    from onnx import TensorProto, helper

    from metamotor.deploy.runtime.rules import RULES

    names = ["x", "w", "k", "s"]
    big = [0, 1, 2, 3, 4, 7, -1, 1000, 1 << 20, 1 << 40]
    nodes = []
    for index in range(rng.randint(1, 6)):
        operator = rng.choice([*RULES, "Reshape", "Expand", "MatMul", "Loop", "If", "NonZero"])
        keys = ("axis", "axes", "perm", "keepdims", "allowzero", "kernel_shape", "pads", "strides")
        attributes: dict[str, Any] = {
            key: [rng.choice(big) for _ in range(rng.randint(1, 3))]
            if key in ("axes", "perm", "kernel_shape", "pads", "strides")
            else rng.choice(big)
            for key in rng.sample(keys, rng.randint(0, 2))
        }
        given = [rng.choice([*names, ""]) for _ in range(rng.randint(0, 4))]
        made = [f"y{index}.{i}" for i in range(rng.randint(1, 2))]
        node = helper.make_node(operator, given, made, **attributes)
        if operator in ("Constant", "ConstantOfShape") and rng.random() < 0.8:
            values = [rng.choice(big) for _ in range(rng.randint(1, 3))]
            tensor = helper.make_tensor("", TensorProto.INT64, [len(values)], values)
            node.attribute.append(helper.make_attribute("value", tensor))
        nodes.append(node)
        names += made
    sides = [rng.choice(big[:6]) for _ in range(rng.randint(0, 3))]
    count = 1
    for side in sides:
        count *= side
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *sides])],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, None)],
        [
            helper.make_tensor("w", TensorProto.FLOAT, sides, [0.5] * count),
            helper.make_tensor("k", TensorProto.INT64, [2], [rng.choice(big), rng.choice(big)]),
            helper.make_tensor("s", TensorProto.INT64, [], [rng.choice(big)]),
        ],
    )
    opset = [helper.make_opsetid("", rng.choice([13, 18, 20]))]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def watch() -> None:
    """End this process when Python code opens a file for writing, starts a program or opens a socket."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if writes or event.startswith(FORBIDDEN):
            sys.stderr.write(f"{event} {arguments!r}\n")
            sys.stderr.flush()
            os._exit(3)

    sys.addaudithook(hook)


def main(seed: int, count: int, files: list[Path]) -> None:
    """Open many files; see the module."""
    import numpy as np
    import onnxruntime

    from metamotor.deploy.runtime.session import open_session

    rng = random.Random(seed)
    originals = [file.read_bytes() for file in files]
    models = [made_up(rng) for _ in range(count)]
    opened = refused = 0
    # What both import when they are first used, they have imported then.
    open_session(originals[0], threads=1, source="warm-up")
    _ = np.zeros(1), onnxruntime.__version__
    watch()
    for index in range(2 * count):
        content = models[index // 2] if index % 2 else mutate(rng.choice(originals), rng)
        try:
            open_session(content, threads=1, source="a stranger's file")
            opened += 1
        except ValueError as error:
            if type(error) is not ValueError:
                raise
            refused += 1
    print(opened, refused)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
