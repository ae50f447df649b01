"""What takes its time to arrive."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Delay(Generic[Item]):
    """A line in which what is sent arrives some steps later.

    It may become longer or shorter while things are under way: then what arrived last stays for longer, or what was
    sent before the newest that has arrived by now is lost.

    Args:
        first: what has arrived before anything is sent.
    """

    def __init__(self, first: Item) -> None:
        self.arrived = first
        """What arrived last."""
        self._under_way: deque[Item] = deque()

    @property
    def steps(self) -> int:
        """How many steps later things arrive."""
        return len(self._under_way)

    @steps.setter
    def steps(self, steps: int) -> None:
        while len(self._under_way) > steps:
            self._under_way.popleft()
        while len(self._under_way) < steps:
            self._under_way.appendleft(self.arrived)

    def restart(self, item: Item) -> None:
        """Forget what is under way, as if this had been sent for ever."""
        self.arrived = item
        self._under_way = deque([item] * len(self._under_way))

    def send(self, item: Item) -> Item:
        """Send something in one step; return what arrives in it."""
        self._under_way.append(item)
        self.arrived = self._under_way.popleft()
        return self.arrived
