"""What is freed at the end of a `with` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """Has a `close`, which the end of a `with` block calls."""

    @abstractmethod
    def close(self) -> None:
        """Free what is held; closing twice does nothing."""

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
