"""Checkpoints in another physics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metamotor.scripts import bench

pytest.importorskip("metamotor.robots.mujoco", exc_type=ImportError)
SMALL = ["--num-tasks", "3", "--query-episodes", "1"]


def test_they_adapt_in_each(tmp_path: Path) -> None:
    words = ["physics", "--checkpoints", "PandaReach/maml", *SMALL, "--out", str(tmp_path)]
    bench.main(words)
    found = json.loads((tmp_path / "physics.json").read_text())["returns"]["PandaReach/maml"]
    assert list(found) == ["pybullet", "mujoco"]
    for returns in found.values():
        for before, after in returns.values():
            assert after > 0.5 * before, "a return is a cost here"
    assert found["pybullet"] != found["mujoco"]
    page = (tmp_path / "physics.md").read_text()
    assert "| PandaReach/maml | stochastic | pybullet |" in page


def test_a_family_of_one_physics_is_refused(tmp_path: Path) -> None:
    words = ["physics", "--checkpoints", "CartPole/maml", *SMALL, "--out", str(tmp_path)]
    with pytest.raises(ValueError, match="CartPole-v0 has one physics only, pybullet"):
        bench.main(words)
