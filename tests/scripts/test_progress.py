"""Progress where there is no terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from metamotor.meta.progress import Progress
from metamotor.scripts import figures
from metamotor.scripts.progress import Every, Lines, returns_told

LINE: dict[str, Any] = {"rollout/pre": -40.04, "rollout/post_1": -3.0, "time/fps": 5196.4}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_something_is_due_at_once_and_then_at_intervals(clock: list[float]) -> None:
    due = Every(20.0)
    times = (1000.0, 1019.9, 1020.0, 1039.9, 1041.0)
    found = []
    for clock[0] in times:
        found.append(due())
    assert found == [True, False, True, False, True]


def test_a_line_has_all_its_digits(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    lines = Lines(1_234_567, seconds=20.0)
    lines.write({"eval/pre": -1.0}, {}, 0)
    assert capsys.readouterr().err == "", "a validation is no progress"
    lines.write(LINE, {}, 100_000)
    lines.write(LINE, {}, 200_000)
    told = capsys.readouterr().err
    assert told.startswith("100,000 of 1,234,567 steps · 5,196 steps/s · return -40.0 → -3.0")
    assert told.count("\n") == 1
    clock[0] += 21.0
    lines.write(LINE, {}, 300_000)
    assert capsys.readouterr().err.startswith("300,000 of 1,234,567 steps")


def test_a_narrow_bar_shows_the_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with Progress(1_000_000, shown=True) as progress:
        progress.update(20_000, LINE | {"rollout/post_2": -2.0, "rollout/post_3": -1.0})
    told = capsys.readouterr().out
    assert "20000/1000000 steps · 5,196 steps/s" in told
    assert "…" not in told


def test_a_curve_is_called_by_what_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(figures, "save", lambda figure, _: drawn.append(figure))
    (tmp_path / "progress.csv").write_text("time/total_timesteps,rollout/pre\n10,1.0\n")
    config = {"family": {"name": "CartPole-v0"}, "learner": "MAML", "arm": "robust"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    figures.draw_learning_curve(tmp_path)
    assert drawn[0].axes[0].get_title() == "CartPole-v0, MAML, robust"


def test_a_policy_that_does_not_adapt_has_one_return() -> None:
    assert returns_told({"rollout/pre": 1.0}).endswith("return 1.0")


def test_lines_say_what_is_so(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    lines = Lines(100, seconds=20.0)
    lines.write({"rollout/pre": 1.0}, {}, 50)
    clock[0] += 21.0
    lines.write(LINE, {}, 10_000)
    plain, adapted = capsys.readouterr().err.splitlines()
    assert plain.endswith("return 1.0"), "a robust policy has nothing before and after"
    assert adapted.startswith("10,000 steps, 100 asked for · ")
    assert adapted.endswith("(before → after adaptation)")
