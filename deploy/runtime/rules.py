"""A rule for each operator that a file may use: from the shapes of what it takes to those of what it gives.

Shapes are upper bounds: a rule may say more than comes out, never less. Whole numbers that serve as shapes are followed
through the arithmetic that exporters write for them.

Source: the operators' own pages, onnx.ai/onnx/operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from metamotor.deploy.runtime.shapes import MAX_VALUES, Call, Shape, Tensor
from metamotor.deploy.runtime.wire import DamagedError, RefusedError

Rule = Callable[[Call], list[Tensor]]


def work_of(call: Call, made: Sequence[Tensor]) -> int:
    """Return about how many multiplications an operator takes, for what it makes."""
    out = made[0].elements if made else 0
    operator = call.operator
    if operator in ("MatMul", "MatMulInteger"):
        return out * (call.tensor(0).shape or (1,))[-1]
    if operator == "Gemm":
        return out * max(call.tensor(0).shape)
    if operator == "Conv":
        return out * math.prod(call.tensor(1).shape[1:])
    if operator in ("MaxPool", "AveragePool"):
        return out * math.prod(call.integers("kernel_shape"))
    if operator in _GATES:
        steps, batch, _ = call.tensor(0).shape
        return steps * batch * (call.tensor(1).elements + call.tensor(2).elements)
    if operator == "Einsum":
        return math.prod(_letters(call)[0].values())
    return max([out, *(tensor.elements for tensor in call.given if tensor)])


def _broadcast(*shapes: Shape) -> Shape:
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(0 if 0 in sides else max(sides) for sides in zip(*padded, strict=True))


def _elementwise(call: Call) -> list[Tensor]:
    call.tensor(0)
    given = [tensor for tensor in call.given if tensor is not None]
    return [Tensor(_broadcast(*(tensor.shape for tensor in given)), _arithmetic(call, given))]


def _arithmetic(call: Call, given: Sequence[Tensor]) -> Shape | None:
    """Return the sums or products of known values, which grow with what they are made of; None for all else."""
    if call.operator not in _COMBINE or len(given) != 2:
        return None
    first, second = (tensor.values for tensor in given)
    if first is None or second is None or min((*first, *second), default=0) < 0:
        return None
    size = max(len(first), len(second))
    if min(len(first), len(second)) not in (1, size) or size == 0:
        return None
    pairs = zip(first * (size // len(first)), second * (size // len(second)), strict=False)
    return tuple(_bounded(int(_COMBINE[call.operator](pair))) for pair in pairs)


def _bounded(value: int) -> int:
    if value > 1 << 62:
        raise RefusedError(f"it computes with sizes of {value}")
    return value


def _same(call: Call) -> list[Tensor]:
    return [Tensor(call.tensor(0).shape)] * max(1, call.outputs)


def _batch_normalization(call: Call) -> list[Tensor]:
    statistics = Tensor(call.tensor(3).shape)
    return [Tensor(call.tensor(0).shape), *[statistics] * 4]


def _unchanged(call: Call) -> list[Tensor]:
    return [call.tensor(0)]


def _shape(call: Call) -> list[Tensor]:
    shape = call.tensor(0).shape
    found = shape[slice(call.integer("start", 0), call.integer("end", len(shape)))]
    return [Tensor((len(found),), found)]


def _size(call: Call) -> list[Tensor]:
    return [Tensor((), (call.tensor(0).elements,))]


def _reshape(call: Call) -> list[Tensor]:
    data, target = call.tensor(0), list(call.values(1))
    if not call.integer("allowzero", 0):
        target = [
            data.shape[i] if side == 0 and i < len(data.shape) else side
            for i, side in enumerate(target)
        ]
    rest = math.prod(side for side in target if side != -1)
    if target.count(-1) > 1 or any(side < -1 for side in target):
        raise DamagedError(f"the operator 'Reshape' is told {target}")
    return [_reshaped(data, [-(-data.elements // max(rest, 1)) if s == -1 else s for s in target])]


def _reshaped(data: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the tensor in another shape; its values stay known if it is no more than a list."""
    return Tensor(tuple(shape), data.values if len(shape) <= 1 else None)


def _flatten(call: Call) -> list[Tensor]:
    shape, axis = call.tensor(0).shape, call.integer("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise DamagedError(f"the operator 'Flatten' has the axis {axis}")
    axis += len(shape) if axis < 0 else 0
    return [Tensor((math.prod(shape[:axis]), math.prod(shape[axis:])))]


def _squeeze(call: Call) -> list[Tensor]:
    data = call.tensor(0)
    axes = call.axes(1, len(data.shape))
    if axes is None:
        axes = [i for i, side in enumerate(data.shape) if side == 1]
    return [_reshaped(data, [side for i, side in enumerate(data.shape) if i not in axes])]


def _unsqueeze(call: Call) -> list[Tensor]:
    data = call.tensor(0)
    numbers = call.values(1) if call.has(1) else call.integers("axes")
    rank = len(data.shape) + len(numbers)
    places, sides = {call.axis(number, rank) for number in numbers}, iter(data.shape)
    if len(places) < len(numbers):
        raise DamagedError(f"the operator 'Unsqueeze' has the axes {list(numbers)}")
    return [_reshaped(data, [1 if i in places else next(sides) for i in range(rank)])]


def _transpose(call: Call) -> list[Tensor]:
    shape = call.tensor(0).shape
    order = call.integers("perm", range(len(shape))[::-1])
    if sorted(order) != list(range(len(shape))):
        raise DamagedError(f"the operator 'Transpose' has the order {order}")
    return [Tensor(tuple(shape[i] for i in order))]


def _concat(call: Call) -> list[Tensor]:
    parts = [call.tensor(i) for i in range(len(call.given))]
    rank = len(call.tensor(0).shape)
    if any(len(part.shape) != rank for part in parts):
        raise DamagedError("the operator 'Concat' takes parts of several ranks")
    axis = call.axis(call.integer("axis", 0), rank)
    shape = [max(sides) for sides in zip(*(part.shape for part in parts), strict=True)]
    shape[axis] = sum(part.shape[axis] for part in parts)
    known = [part.values for part in parts]
    values = None
    if rank == 1 and shape[0] <= MAX_VALUES and all(part is not None for part in known):
        values = tuple(value for part in known for value in part or ())
    return [Tensor(tuple(shape), values)]


def _split(call: Call) -> list[Tensor]:
    data = call.tensor(0)
    axis = call.axis(call.integer("axis", 0), len(data.shape))
    sizes = list(call.values(1)) if call.has(1) else call.integers("split")
    sizes = sizes or [-(-data.shape[axis] // max(1, call.outputs))] * call.outputs
    if min(sizes, default=0) < 0:
        raise DamagedError(f"the operator 'Split' is told {sizes}")
    parts, start = [], 0
    for size in sizes:
        values = data.values[start : start + size] if data.values and axis == 0 else None
        parts.append(Tensor((*data.shape[:axis], size, *data.shape[axis + 1 :]), values))
        start += size
    return parts


def _slice(call: Call) -> list[Tensor]:
    data = call.tensor(0)
    known = [call.given[i] for i in range(1, len(call.given)) if call.has(i)]
    if any(tensor is None or tensor.values is None for tensor in known):
        return [Tensor(data.shape)]
    starts, ends = call.values(1), call.values(2)
    axes = call.values(3) if call.has(3) else tuple(range(len(starts)))
    steps = call.values(4) if call.has(4) else (1,) * len(starts)
    shape, values = list(data.shape), data.values
    if 0 in steps or not len(starts) == len(ends) == len(axes) == len(steps):
        raise DamagedError("the operator 'Slice' is told parts that do not fit")
    for start, end, number, step in zip(starts, ends, axes, steps, strict=True):
        axis = call.axis(number, len(shape))
        taken = range(*slice(start, end, step).indices(shape[axis]))
        shape[axis] = len(taken)
        values = tuple(values[i] for i in taken) if values and len(data.shape) == 1 else None
    return [Tensor(tuple(shape), values)]


def _gather(call: Call) -> list[Tensor]:
    data, indices = call.tensor(0), call.tensor(1)
    axis = call.axis(call.integer("axis", 0), len(data.shape))
    shape = (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])
    if data.values is None or indices.values is None or len(data.shape) != 1:
        return [Tensor(shape)]
    places = [call.axis(index, len(data.values)) for index in indices.values]
    return [Tensor(shape, tuple(data.values[place] for place in places))]


def _gather_elements(call: Call) -> list[Tensor]:
    return [Tensor(call.tensor(1).shape)]


def _gather_nd(call: Call) -> list[Tensor]:
    data, indices = call.tensor(0).shape, call.tensor(1).shape
    if not indices:
        raise DamagedError("the operator 'GatherND' takes no indices")
    return [Tensor((*indices[:-1], *data[call.integer("batch_dims", 0) + indices[-1] :]))]


def _expand(call: Call) -> list[Tensor]:
    return [Tensor(_broadcast(call.tensor(0).shape, _sides(call, 1)))]


def _sides(call: Call, index: int) -> Shape:
    sides = call.values(index)
    if min(sides, default=0) < 0:
        raise DamagedError(f"the operator {call.operator!r} is told the shape {list(sides)}")
    return sides


def _constant_of_shape(call: Call) -> list[Tensor]:
    shape = _sides(call, 0)
    value = call.constant(call.attributes["value"]["t"]) if "value" in call.attributes else None
    values = None
    if value is not None and value.values and len(shape) <= 1 and math.prod(shape) <= MAX_VALUES:
        values = value.values * math.prod(shape)
    return [Tensor(shape, values)]


def _constant(call: Call) -> list[Tensor]:
    names = list(call.attributes)
    if len(names) != 1:
        raise DamagedError(f"the operator 'Constant' has the attributes {names}")
    attribute = call.attributes[names[0]]
    if names[0] == "value" and "t" in attribute:
        return [call.constant(attribute["t"])]
    if names[0] == "value_int" and "i" in attribute:
        return [Tensor((), (attribute["i"],))]
    if names[0] == "value_ints":
        numbers = tuple(attribute["ints"])
        return [Tensor((len(numbers),), numbers if len(numbers) <= MAX_VALUES else None)]
    if names[0] in ("value_float", "value_floats"):
        return [Tensor((len(attribute["floats"]),) if names[0] == "value_floats" else ())]
    raise RefusedError(f"the operator 'Constant' holds {names[0]}")


def _range(call: Call) -> list[Tensor]:
    numbers = [call.values(i) for i in range(3)]
    if any(len(number) != 1 for number in numbers) or numbers[2][0] == 0:
        raise DamagedError(f"the operator 'Range' is told {numbers}")
    start, limit, step = (number[0] for number in numbers)
    return [Tensor((max(0, -((start - limit) // step)),))]


def _tile(call: Call) -> list[Tensor]:
    data, repeats = call.tensor(0), _sides(call, 1)
    if len(repeats) != len(data.shape):
        raise DamagedError(f"the operator 'Tile' is told {list(repeats)}")
    return [Tensor(tuple(a * b for a, b in zip(data.shape, repeats, strict=True)))]


def _pad(call: Call) -> list[Tensor]:
    shape, pads = list(call.tensor(0).shape), call.values(1)
    numbers = call.values(3) if call.has(3) else tuple(range(len(shape)))
    if len(pads) != 2 * len(numbers):
        raise DamagedError(f"the operator 'Pad' is told {list(pads)}")
    for place, number in enumerate(numbers):
        before, after = pads[place], pads[place + len(numbers)]
        shape[call.axis(number, len(shape))] += max(0, before) + max(0, after)
    return [Tensor(tuple(shape))]


def _one_hot(call: Call) -> list[Tensor]:
    shape, depth = call.tensor(0).shape, call.values(1)
    if len(depth) != 1 or depth[0] < 0:
        raise DamagedError(f"the operator 'OneHot' is told {list(depth)}")
    axis = call.axis(call.integer("axis", -1), len(shape) + 1)
    return [Tensor((*shape[:axis], depth[0], *shape[axis:]))]


def _top_k(call: Call) -> list[Tensor]:
    shape = list(call.tensor(0).shape)
    axis = call.axis(call.integer("axis", -1), len(shape))
    shape[axis] = min(shape[axis], max(call.values(1), default=0))
    return [Tensor(tuple(shape))] * 2


def _reduce(call: Call) -> list[Tensor]:
    data = call.tensor(0)
    rank = len(data.shape)
    if call.operator in ("ArgMax", "ArgMin"):
        axes: list[int] | None = [call.axis(call.integer("axis", 0), rank)]
    else:
        axes = call.axes(1, rank)
    if axes is None:
        if call.integer("noop_with_empty_axes", 0):
            return [Tensor(data.shape)]
        axes = list(range(rank))
    values = None
    if data.values and min(data.values) >= 0 and call.operator in _TOTALS and rank == 1:
        values = (_bounded(_TOTALS[call.operator](data.values)),)
    if call.integer("keepdims", 1):
        return [Tensor(tuple(1 if i in axes else s for i, s in enumerate(data.shape)), values)]
    return [Tensor(tuple(s for i, s in enumerate(data.shape) if i not in axes), values)]


def _matmul(call: Call) -> list[Tensor]:
    first, second = call.tensor(0).shape, call.tensor(1).shape
    if not first or not second:
        raise DamagedError(f"the operator {call.operator!r} takes a single number")
    batch = _broadcast(first[:-2], second[:-2])
    rows = first[-2:-1] if len(first) > 1 else ()
    columns = second[-1:] if len(second) > 1 else ()
    return [Tensor((*batch, *rows, *columns))]


def _gemm(call: Call) -> list[Tensor]:
    first, second = call.tensor(0).shape, call.tensor(1).shape
    if len(first) != 2 or len(second) != 2:
        raise DamagedError("the operator 'Gemm' takes what is no matrix")
    rows, columns = call.integer("transA", 0), 0 if call.integer("transB", 0) else 1
    return [Tensor((first[1 if rows else 0], second[columns]))]


def _letters(call: Call) -> tuple[dict[str, int], str]:
    equation = bytes(call.attributes.get("equation", {}).get("s", b"")).decode("ascii", "replace")
    terms, arrow, result = equation.replace(" ", "").partition("->")
    names = terms.split(",")
    if not arrow or len(names) != len(call.given) or not (terms.replace(",", "") + "a").isalpha():
        raise RefusedError(f"the operator 'Einsum' has the equation {equation[:40]!r}")
    sides: dict[str, int] = {}
    for index, letters in enumerate(names):
        shape = call.tensor(index).shape
        if len(letters) != len(shape):
            raise DamagedError(
                f"the operator 'Einsum' takes {len(shape)} sides as {letters[:40]!r}"
            )
        for letter, side in zip(letters, shape, strict=True):
            sides[letter] = max(side, sides.get(letter, 0))
    if not set(result) <= set(sides):
        raise DamagedError(f"the operator 'Einsum' has the equation {equation[:40]!r}")
    return sides, result


def _einsum(call: Call) -> list[Tensor]:
    sides, result = _letters(call)
    return [Tensor(tuple(sides[letter] for letter in result))]


def _windows(call: Call, kernel: Sequence[int], channels: int) -> Tensor:
    """Return what a window of this size gives that slides over an image."""
    batch, _, *image = call.tensor(0).shape
    count = len(image)
    strides = call.integers("strides", [1] * count)
    gaps = call.integers("dilations", [1] * count)
    pads = call.integers("pads", [0] * 2 * count)
    if not len(kernel) == len(strides) == len(gaps) == count or len(pads) != 2 * count:
        raise DamagedError(f"the operator {call.operator!r} has windows of several ranks")
    if min((*strides, *gaps, *kernel), default=1) < 1 or min(pads, default=0) < 0:
        raise DamagedError(f"the operator {call.operator!r} has windows that do not slide")
    same = bytes(call.attributes.get("auto_pad", {}).get("s", b"")).startswith(b"SAME")
    sides = []
    for i, side in enumerate(image):
        room = side + pads[i] + pads[i + count] - gaps[i] * (kernel[i] - 1) - 1
        up = strides[i] - 1 if call.integer("ceil_mode", 0) else 0
        slid = (max(0, room) + up) // strides[i] + 1
        sides.append(-(-side // strides[i]) if same else slid)
    return Tensor((batch, channels, *sides))


def _conv(call: Call) -> list[Tensor]:
    image, weights = call.tensor(0).shape, call.tensor(1).shape
    if len(image) < 3 or len(weights) != len(image):
        raise DamagedError(f"the operator {call.operator!r} takes no image")
    return [_windows(call, weights[2:], weights[0])]


def _pool(call: Call) -> list[Tensor]:
    if len(call.tensor(0).shape) < 3:
        raise DamagedError(f"the operator {call.operator!r} takes no image")
    pooled = _windows(call, call.integers("kernel_shape"), call.tensor(0).shape[1])
    return [pooled] * max(1, call.outputs)


def _pool_all(call: Call) -> list[Tensor]:
    shape = call.tensor(0).shape
    return [Tensor((*shape[:2], *(1 for _ in shape[2:])))]


def _recurrent(call: Call) -> list[Tensor]:
    data, weights, memory = (call.tensor(i).shape for i in range(3))
    if any(len(shape) != 3 for shape in (data, weights, memory)) or call.integer("layout", 0):
        raise DamagedError(f"the operator {call.operator!r} takes sequences of another layout")
    steps, batch, _ = data
    directions, gates, size = memory
    if gates != _GATES[call.operator] * size or call.integer("hidden_size", size) != size:
        raise DamagedError(f"the operator {call.operator!r} has weights of the shape {memory}")
    last = Tensor((directions, batch, size))
    return [Tensor((steps, directions, batch, size)), last, last]


def _quantized(call: Call) -> list[Tensor]:
    return [Tensor(call.tensor(0).shape), Tensor(()), Tensor(())]


_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_COMBINE: dict[str, Callable[[Shape], int]] = {
    "Add": sum,
    "Mul": math.prod,
    "Max": max,
    "Min": min,
}
_TOTALS: dict[str, Callable[[Shape], int]] = {
    "ReduceProd": math.prod,
    "ReduceSum": sum,
    "ReduceMax": max,
    "ReduceMin": min,
}
_BY_RULE: dict[Rule, str] = {
    _elementwise: "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift Ceil Celu Cos Cosh Div Elu Equal Erf Exp "
    "Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min "
    "Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub "
    "Sum Swish Tan Tanh ThresholdedRelu Where Xor",
    _batch_normalization: "BatchNormalization",
    _same: "Clip CumSum DequantizeLinear Dropout EyeLike GroupNormalization Hardmax "
    "InstanceNormalization LayerNormalization LogSoftmax LpNormalization QuantizeLinear RMSNormalization "
    "ScatterElements ScatterND Softmax Trilu",
    _unchanged: "Cast Identity",
    _reduce: "ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare",
    _matmul: "MatMul MatMulInteger",
    _pool: "AveragePool MaxPool",
    _pool_all: "GlobalAveragePool GlobalMaxPool",
    _recurrent: "GRU LSTM RNN",
    _concat: "Concat",
    _constant: "Constant",
    _constant_of_shape: "ConstantOfShape",
    _conv: "Conv",
    _einsum: "Einsum",
    _expand: "Expand",
    _flatten: "Flatten",
    _gather: "Gather",
    _gather_elements: "GatherElements",
    _gather_nd: "GatherND",
    _gemm: "Gemm",
    _one_hot: "OneHot",
    _pad: "Pad",
    _quantized: "DynamicQuantizeLinear",
    _range: "Range",
    _reshape: "Reshape",
    _shape: "Shape",
    _size: "Size",
    _slice: "Slice",
    _split: "Split",
    _squeeze: "Squeeze",
    _tile: "Tile",
    _top_k: "TopK",
    _transpose: "Transpose",
    _unsqueeze: "Unsqueeze",
}
RULES: dict[str, Rule] = {
    operator: rule for rule, operators in _BY_RULE.items() for operator in operators.split()
}
"""The operators of the standard domain that a file may use, each with the rule for its sizes."""
