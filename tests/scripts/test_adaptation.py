"""The commands that export and measure adaptation on the robot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metamotor.deploy.runtime import AdaptivePolicy
from metamotor.scripts import bench, export


@pytest.mark.slow
def test_export_writes_what_adapts_to_any_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "adapt.onnx"
    export.main(["--from", "zoo:PointNavigation/es", "--adaptive", "--out", str(path)])
    assert "any task: 20 episodes an update" in capsys.readouterr().out
    assert AdaptivePolicy(path).metadata["family"] == "PointNavigation-v0"


@pytest.mark.slow
def test_a_robot_in_another_process_earns_what_the_desk_does(tmp_path: Path) -> None:
    few = ["--tasks", "2", "--query-episodes", "1", "--checkpoints", "PointNavigation/mpo"]
    bench.main(["adaptation", *few, "--out", str(tmp_path)])
    found = json.loads((tmp_path / "adaptation.json").read_text())
    (measured,) = found["checkpoints"].values()
    assert measured["foreign"] == []
    assert measured["update_error"] < 1e-5
    assert measured["largest_difference"] < 1e-2
    assert measured["returns"]["robot"] != measured["returns"]["before"]
    with pytest.raises(ValueError, match="the zoo has no nothing"):
        bench.main(["adaptation", "--checkpoints", "nothing", "--out", str(tmp_path / "b")])
