"""What is wrong with a recorded episode is found and named, and nothing is found in one that is sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamotor import deploy
from metamotor.deploy.log.reader import Log
from tests.deploy.logs import NS, PERIOD

STEPS = 10
Spoil = Callable[[int, dict[str, Any]], None]
ACTIONS = [{"name": name, "low": -1.0, "high": 1.0} for name in ("left", "right")]


def recorded(path: Path, spoil: Spoil, *, end: bool = True) -> Log:
    """One sound episode and one that is spoilt."""
    with deploy.Recorder(
        path, observations=["a"], actions=ACTIONS, control_period=PERIOD, chunk_seconds=1000.0
    ) as log:
        now = 10**9
        for episode in range(2):
            log.begin()
            for t in range(STEPS):
                jitter = (-1) ** t * NS // 10
                step: dict[str, Any] = {
                    "observation": [0.5],
                    "action": [0.25, 3.0],
                    "reward": 1.0,
                    "observed_ns": now + t * NS + jitter,
                    "acted_ns": now + t * NS + jitter + NS // 3,
                    "applied": [0.25, 1.0],
                    "log_prob": -1.0,
                    "truncated": t == STEPS - 1,
                }
                if episode:
                    spoil(t, step)
                log.step(**step)
            now += 2 * STEPS * NS
            if not episode or end:
                log.end([0.0], observed_ns=now)
            else:
                log._running = False  # as if the process had been killed here
    return deploy.read_log(path)


def change(at: int, **values: Any) -> Spoil:
    def spoil(t: int, step: dict[str, Any]) -> None:
        if t == at:
            step.update(values)

    return spoil


def shift(at: int, by: int) -> Spoil:
    def spoil(t: int, step: dict[str, Any]) -> None:
        if t >= at:
            step["observed_ns"] += by
            step["acted_ns"] += by

    return spoil


def stretch(t: int, step: dict[str, Any]) -> None:
    step["observed_ns"] += t * NS // 5
    step["acted_ns"] += t * NS // 5


def nothing(t: int, step: dict[str, Any]) -> None:
    pass


def endless(t: int, step: dict[str, Any]) -> None:
    step["truncated"] = False


def test_an_episode_with_jitter_and_clipped_actions_is_sound(tmp_path: Path) -> None:
    log = recorded(tmp_path / "run.mcap", nothing)
    assert log.findings == ()
    assert len(log.sound()) == 2


@pytest.mark.parametrize(
    ("spoil", "kind", "detail"),
    [
        (shift(4, 3 * NS), "gap", r"3 dropped frames in 1 gaps, the first of 8\d.* before step 4"),
        (shift(4, -2 * NS), "clock", "the clock does not go on at step 4"),
        (change(3, acted_ns=5), "clock", "the action of step 3 is older"),
        (stretch, "period", r"its period is 23\.56 ms, 20 ms were stated"),
        (change(2, observation=[np.nan]), "not finite", "the observation is not finite at step 2"),
        (change(2, action=[np.inf, 0.0]), "not finite", "the action is not finite at step 2"),
        (change(2, reward=np.nan), "not finite", "the reward is not finite at step 2"),
        (change(2, log_prob=np.inf), "not finite", "the log-probability is infinite at step 2"),
        (change(6, terminated=True), "after the end", "3 steps follow step 6"),
    ],
)
def test_a_fault_is_found_and_its_episode_left_out(
    tmp_path: Path, spoil: Spoil, kind: str, detail: str
) -> None:
    log = recorded(tmp_path / "run.mcap", spoil)
    faults = [finding for finding in log.findings if finding.is_fault]
    assert {finding.kind for finding in faults} == {kind}
    assert {finding.episode for finding in faults} == {1}
    with pytest.raises(AssertionError, match=detail):
        raise AssertionError(str(faults[0]))
    assert [episode.number for episode in log.sound().episodes] == [0]
    assert log.sound().faults == ()


def test_an_episode_that_was_cut_off_is_found(tmp_path: Path) -> None:
    log = recorded(tmp_path / "run.mcap", endless, end=False)
    assert [finding.kind for finding in log.findings] == ["cut off"]
    assert recorded(tmp_path / "ended.mcap", endless).findings == ()


@pytest.mark.parametrize(
    ("spoil", "kind", "detail"),
    [
        (
            change(4, applied=[0.0, 0.0]),
            "applied",
            "episode 1: 1 actions were applied otherwise than computed, beyond clipping, the first at step 4",
        ),
        (
            change(4, acted_ns=10**9 + 26 * NS),
            "late",
            "episode 1: 1 actions came more than a period after their observation",
        ),
    ],
)
def test_what_is_no_fault_is_noted(tmp_path: Path, spoil: Spoil, kind: str, detail: str) -> None:
    log = recorded(tmp_path / "run.mcap", spoil)
    assert [(one.kind, one.is_fault, str(one)) for one in log.findings] == [(kind, False, detail)]
    assert len(log.sound()) == 2


def test_a_missing_step_is_found(tmp_path: Path) -> None:
    from metamotor.deploy.log.findings import find

    log = recorded(tmp_path / "run.mcap", nothing)
    steps = np.delete(log.episodes[0].steps, 4)
    found = list(find(0, steps, period=None, is_ended=True, bounds=None, is_drawn=True))
    assert found[0].kind == "missing"
    assert "step 4 is missing" in str(found[0])


def test_a_log_without_a_sound_episode_says_why(tmp_path: Path) -> None:
    with deploy.Recorder(tmp_path / "run.mcap", observations=["a"], actions=["b"]) as log:
        log.begin()
        log.step([np.nan], [0.0], 0.0, observed_ns=1, acted_ns=1, truncated=True)
    with pytest.raises(ValueError, match="no episode without a fault: episode 0: the observation"):
        deploy.read_log(tmp_path / "run.mcap").sound()
