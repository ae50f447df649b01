"""How large the tensors of a graph become, and how long it takes, found out without running it.

An operator without a rule (`rules`) cannot be bounded, and is therefore refused. A dynamic side (a batch, a number of
steps) is the caller's to choose; it is taken as 1 and as 100.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from metamotor.deploy.runtime.rules import RULES, work_of
from metamotor.deploy.runtime.shapes import MAX_ELEMENTS, Call, Tensor, check_shape
from metamotor.deploy.runtime.wire import DamagedError, RefusedError

MAX_WORK = {1: 1 << 33, 100: 1 << 39}
"""Multiplications by the size of the dynamic sides. The first takes some seconds; Nature's network for images
(Mnih et al. 2015) takes 10⁷."""
MAX_NODES = 20_000


def check_sizes(
    nodes: Sequence[Mapping[str, Any]],
    constants: Mapping[str, Tensor],
    inputs: Mapping[str, tuple[int | None, ...] | None],
    outputs: Sequence[str],
    constant: Callable[[Any], Tensor],
) -> None:
    """Refuse a graph whose tensors or whose work are absurd.

    Args:
        nodes: the operators, as `screening` reads them.
        constants: the tensors in the file, by name.
        inputs: the shapes that inputs are declared with, None in them for a dynamic side.
        outputs: names of what the graph gives.
        constant: makes a `Tensor` of a tensor that an attribute holds.

    Raises:
        DamagedError: if the graph makes no sense.
        RefusedError: if it is too large, or its size cannot be told.
    """
    if len(nodes) > MAX_NODES:
        raise RefusedError(f"it has {len(nodes)} operators")
    for dynamic in MAX_WORK:
        alive: dict[str, Tensor] = dict(constants)
        for name, shape in inputs.items():
            if shape is None:
                raise RefusedError(f"the input {name!r} has no shape")
            alive[name] = Tensor(tuple(dynamic if side is None else side for side in shape))
        sizes_of(nodes, alive, outputs, dynamic, constant)


def sizes_of(
    nodes: Sequence[Mapping[str, Any]],
    alive: dict[str, Tensor],
    outputs: Sequence[str],
    dynamic: int,
    constant: Callable[[Any], Tensor],
) -> list[Tensor]:
    """Return upper bounds of the outputs' sizes.

    Args:
        nodes: the operators in their order.
        alive: what is there at first, by name; changed.
        outputs: names of what is wanted.
        dynamic: the size of dynamic sides, which sets how much work is allowed.
        constant: makes a `Tensor` of a tensor that an attribute holds.

    Raises:
        DamagedError: if the graph makes no sense.
        RefusedError: if it is too large, or its size cannot be told.
    """
    uses = Counter(name for node in nodes for name in node["input"])
    uses.update(outputs)
    seen, work = set(alive), 0
    elements = sum(tensor.elements for tensor in alive.values())
    for node in nodes:
        for name in node["input"]:
            if name and name not in alive:
                raise DamagedError(f"{name!r} is used before it is there")
        given = [alive[name] if name else None for name in node["input"]]
        attributes = {attribute.get("name", ""): attribute for attribute in node["attribute"]}
        call = Call(node["op_type"], given, attributes, len(node["output"]), constant)
        made = RULES[call.operator](call)
        if len(made) < call.outputs:
            raise DamagedError(f"the operator {call.operator!r} gives {call.outputs} outputs")
        work += work_of(call, made)
        for name, tensor in zip(node["output"], made, strict=False):
            if name in seen:
                raise DamagedError(f"{name!r} is made twice")
            check_shape(tensor.shape, name)
            if name:
                seen.add(name)
                alive[name] = tensor
                elements += tensor.elements
        if elements > MAX_ELEMENTS or work > MAX_WORK[dynamic]:
            raise RefusedError(
                f"with dynamic sides of {dynamic} its operator {call.operator!r} brings it to {elements} numbers "
                f"and {work} multiplications, over {MAX_ELEMENTS} and {MAX_WORK[dynamic]}"
            )
        for name in filter(None, (*node["input"], *node["output"])):
            uses[name] -= name in node["input"]
            if uses[name] <= 0 and name in alive and name not in outputs:
                elements -= alive.pop(name).elements
    if missing := [name for name in outputs if name not in alive]:
        raise DamagedError(f"nothing makes the output {missing[0]!r}")
    return [alive[name] for name in outputs]
