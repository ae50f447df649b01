"""Shapes of tensors and what an operator is called with, for finding out sizes without running anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from metamotor.deploy.runtime.wire import DamagedError, RefusedError

MAX_ELEMENTS = 1 << 28
"""Numbers alive at once: 1 GiB of float32."""
MAX_RANK = 8
MAX_VALUES = 64
"""Whole numbers of one tensor that are followed."""

Shape = tuple[int, ...]


class Tensor(NamedTuple):
    """A tensor's shape, and its values if they are few whole numbers that are known."""

    shape: Shape
    values: Shape | None = None

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


class Call(NamedTuple):
    """An operator in the graph, with what it takes."""

    operator: str
    given: list[Tensor | None]
    attributes: Mapping[str, Mapping[str, Any]]
    outputs: int
    constant: Callable[[Any], Tensor]

    def tensor(self, index: int) -> Tensor:
        """Return an input that must be there."""
        if index >= len(self.given) or (found := self.given[index]) is None:
            raise DamagedError(f"the operator {self.operator!r} lacks its input {index}")
        return found

    def has(self, index: int) -> bool:
        """Tell whether an optional input is given."""
        return index < len(self.given) and self.given[index] is not None

    def values(self, index: int) -> Shape:
        """Return the values of an input that decides on a size."""
        found = self.tensor(index).values
        if found is None:
            raise RefusedError(
                f"the operator {self.operator!r} takes a size that only running it would tell"
            )
        return found

    def integer(self, name: str, default: int) -> int:
        """Return an attribute."""
        return int(self.attributes.get(name, {}).get("i", default))

    def integers(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """Return an attribute that is a list."""
        return list(self.attributes.get(name, {}).get("ints", []) or default)

    def axis(self, number: int, rank: int) -> int:
        """Return an axis counted from the front."""
        if not -rank <= number < rank:
            raise DamagedError(f"the operator {self.operator!r} has no axis {number} of {rank}")
        return number % rank

    def axes(self, index: int, rank: int) -> list[int] | None:
        """Return the axes in an input, or in the attribute of older operator sets; None if neither is given."""
        numbers = self.values(index) if self.has(index) else tuple(self.integers("axes"))
        return sorted({self.axis(number, rank) for number in numbers}) if numbers else None


def check_shape(shape: Sequence[int], name: str) -> int:
    """Return how many numbers a shape has.

    Raises:
        DamagedError: if a side is negative.
        RefusedError: if it is absurd: each side as well, as nothing times a huge number is nothing.
    """
    if min(shape, default=0) < 0:
        raise DamagedError(f"{name!r} has the shape {list(shape)}")
    if len(shape) > MAX_RANK:
        raise RefusedError(f"{name!r} has {len(shape)} dimensions, over {MAX_RANK}")
    count = math.prod(shape)
    if max(count, *shape, 0) > MAX_ELEMENTS:
        raise RefusedError(f"{name!r} has the shape {list(shape)}, over {MAX_ELEMENTS} numbers")
    return count
