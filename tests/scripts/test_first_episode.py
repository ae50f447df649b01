"""What MPO does within its first episode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metamotor.scripts import bench


def test_a_policy_that_is_written_anew_at_each_step_finds_its_goal(tmp_path: Path) -> None:
    words = ["--checkpoints", "PointNavigation/mpo", "--num-tasks", "6", "--trials", "2"]
    bench.main(["first-episode", *words, "--out", str(tmp_path)])
    found = json.loads((tmp_path / "first-episode.json").read_text())["returns"]
    returns = found["PointNavigation/mpo"]
    assert returns["anew"] > returns["once"] + 15.0
    assert "| PointNavigation/mpo | −" in (tmp_path / "first-episode.md").read_text()


def test_other_learners_are_refused(tmp_path: Path) -> None:
    words = ["first-episode", "--checkpoints", "CartPole/maml", "--out", str(tmp_path / "new")]
    with pytest.raises(ValueError, match="zoo:CartPole/maml is of MAML; it must be one of MPO"):
        bench.main(words)
