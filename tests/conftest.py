"""What all tests share: what torch's exporter works out anew in each export, worked out once."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def operators_listed_once() -> Iterator[None]:
    """Keep the exporter's lists of torch's operators, which are half the time of an export and the same in all.

    An export adds nothing to them: operators of one's own would be passed to it as `custom_translation_table`.
    """
    if "torch" not in sys.modules:
        yield
        return
    from torch._export import utils
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        listed = staticmethod(functools.cache(ONNXRegistry.from_torchlib))
        patch.setattr(ONNXRegistry, "from_torchlib", listed)
        name = "_materialize_cpp_cia_ops"
        patch.setattr(utils, name, functools.cache(getattr(utils, name)))
        yield
