"""What is recorded is what is read, on a robot that has numpy and mcap alone."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamotor import deploy
from metamotor.deploy.log import schema
from metamotor.deploy.runtime import Policy
from metamotor.scripts.cli import main
from tests.deploy.logs import NAMES, NS, PERIOD, record


def test_what_is_read_is_what_was_recorded_to_the_bit(tmp_path: Path) -> None:
    told = record(tmp_path / "run.mcap", episodes=4, steps=7)
    log = deploy.read_log(tmp_path / "run.mcap")
    assert len(log) == 4
    assert log.remark == ""
    for episode, expected in zip(log.episodes, told, strict=True):
        assert episode.task == {"mass": 0.0}
        for name, values in expected.items():
            own = values[:-1] if name == "observation" else values
            np.testing.assert_array_equal(episode.steps[name], own)
            assert episode.steps[name].dtype.newbyteorder("=") == own.dtype
        np.testing.assert_array_equal(episode.last_observation, expected["observation"][-1])
        assert np.diff(episode.steps["observed_ns"]).tolist() == [NS] * 6
        assert episode.steps["truncated"].tolist() == [False] * 6 + [True]
        assert episode.seconds == pytest.approx(7 * PERIOD)
    assert log.sha256 == hashlib.sha256((tmp_path / "run.mcap").read_bytes()).hexdigest()
    assert log.robot_seconds == pytest.approx(4 * 7 * PERIOD)
    assert log.faults == ()


def test_other_readers_of_mcap_read_it(tmp_path: Path) -> None:
    from mcap.reader import make_reader

    told = record(tmp_path / "run.mcap")
    with (tmp_path / "run.mcap").open("rb") as file:
        found = list(make_reader(file, validate_crcs=True).iter_messages(topics=[schema.STEP]))
    assert len(found) == 15
    definition, channel, message = found[6]
    assert definition is not None
    assert (definition.encoding, channel.message_encoding) == ("ros1msg", "ros1")
    assert message.data[-16:-8] == told[1]["action"][1].tobytes()
    assert [item.log_time for _, _, item in found] == sorted(item.log_time for _, _, item in found)


def test_a_policy_file_says_names_units_period_and_hashes(tmp_path: Path, policy: Policy) -> None:
    with deploy.Recorder(tmp_path / "run.mcap", policy=policy, control_period=PERIOD) as log:
        log.begin()
        log.step(np.zeros(7), np.zeros(3), 0.0, observed_ns=1, acted_ns=1, truncated=True)
        log.use_policy({"weights_sha256": "abc"})
        log.begin()
        log.step(np.zeros(7), np.zeros(3), 0.0, observed_ns=2, acted_ns=2, truncated=True)
    read = deploy.read_log(tmp_path / "run.mcap")
    assert read.description["observations"] == policy.metadata["observations"]
    assert read.description["actions"] == policy.metadata["actions"]
    first, second = read.policies
    assert first["sha256"] == hashlib.sha256(policy.path.read_bytes()).hexdigest()
    assert first["weights_sha256"] == policy.metadata["weights_sha256"]
    assert second["weights_sha256"] == "abc"
    assert [episode.steps["policy"].tolist() for episode in read.episodes] == [[0], [1]]
    assert [stage.batch.mask.shape for stage in read.stages()] == [(1, 1), (1, 1)]


def test_a_choice_is_one_whole_number(tmp_path: Path) -> None:
    space = {"type": "Discrete", "shape": [], "n": 5, "start": 0}
    names: dict[str, Any] = {"observations": list("abcdefg"), "actions": ["gear"]}
    with deploy.Recorder(tmp_path / "run.mcap", **names, action_space=space) as log:
        log.begin()
        for t in range(3):
            log.step(np.zeros(7), t, 0.0, observed_ns=t + 1, acted_ns=t + 1, truncated=t == 2)
        with pytest.raises(ValueError, match=r"action of shape \(\), got \(1,\)"):
            log.step(np.zeros(7), [1], 0.0, observed_ns=9, acted_ns=9)
    (stage,) = deploy.read_log(tmp_path / "run.mcap").stages()
    assert stage.batch.actions.tolist() == [[0, 1, 2]]
    assert stage.batch.actions.dtype == np.int64


def test_a_choice_that_is_no_whole_number_is_refused_and_not_cut_off(tmp_path: Path) -> None:
    for kind, action in (
        ("Discrete", 1.7),
        ("Discrete", float("nan")),
        ("MultiDiscrete", [1, 0.5]),
        ("MultiBinary", [True, 0.5]),
    ):
        names = ["a"] if kind == "Discrete" else ["a", "b"]
        path = tmp_path / f"{kind}-{action}.mcap"
        with deploy.Recorder(
            path, observations=["x"], actions=names, action_space={"type": kind}
        ) as log:
            log.begin()
            whole: Any = 1.0 if kind == "Discrete" else [1.0, 0.0]
            log.step([0.0], whole, 0.0, observed_ns=1, acted_ns=2)
            with pytest.raises(ValueError, match="a choice is a whole number, got"):
                log.step([0.0], action, 0.0, observed_ns=3, acted_ns=4)
            with pytest.raises(ValueError, match="a choice is a whole number, got"):
                log.step([0.0], whole, 0.0, observed_ns=3, acted_ns=4, applied=action)
        assert len(deploy.read_log(path).episodes[0].steps) == 1


def test_episodes_without_an_end_are_ended_by_what_follows(tmp_path: Path) -> None:
    with deploy.Recorder(tmp_path / "run.mcap", **NAMES) as log:
        for _ in range(2):
            log.begin()
            log.step(np.zeros(3), np.zeros(2), 1.0, observed_ns=1, acted_ns=1)
    read = deploy.read_log(tmp_path / "run.mcap")
    assert [episode.is_ended for episode in read.episodes] == [True, True]
    assert [episode.last_observation for episode in read.episodes] == [None, None]


def test_mistakes_are_told_before_a_file_is_there(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    for message, options in {
        "needs the names of its observations": {"actions": ["a"]},
        "must have a name of its own": {**NAMES, "actions": ["a", "a"]},
        "control_period must be a time": {**NAMES, "control_period": 0},
        "observation_type must be": {**NAMES, "observation_type": "float16"},
        "action_space must have a type": {**NAMES, "action_space": {"type": "Dict"}},
        "a discrete action is one number": {**NAMES, "action_space": {"type": "Discrete"}},
        "finite numbers only": {**NAMES, "notes": {"x": float("nan")}},
    }.items():
        with pytest.raises(ValueError, match=message):
            deploy.Recorder(path, **options)
        assert not path.exists()
    with pytest.raises(ValueError, match=r"must be called \*\.mcap"):
        deploy.Recorder(tmp_path / "run.bag", **NAMES)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        deploy.Recorder(tmp_path / "none" / "run.mcap", **NAMES)


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    record(tmp_path / "run.mcap")
    before = (tmp_path / "run.mcap").read_bytes()
    with pytest.raises(FileExistsError, match="never overwritten"):
        deploy.Recorder(tmp_path / "run.mcap", **NAMES)
    assert (tmp_path / "run.mcap").read_bytes() == before


def test_steps_need_an_episode_and_their_shapes(tmp_path: Path) -> None:
    with deploy.Recorder(tmp_path / "run.mcap", **NAMES) as log:
        with pytest.raises(ValueError, match="no episode has begun"):
            log.step(np.zeros(3), np.zeros(2), 0.0, observed_ns=1, acted_ns=1)
        with pytest.raises(ValueError, match="no episode is running"):
            log.end()
        with pytest.raises(ValueError, match="task must have to_json"):
            log.begin(3)
        log.begin()
        with pytest.raises(ValueError, match=r"observation of shape \(3,\), got \(2,\)"):
            log.step(np.zeros(2), np.zeros(2), 0.0, observed_ns=1, acted_ns=1)
    with pytest.raises(ValueError, match="is closed"):
        log.begin()


def test_a_full_disk_does_not_stop_the_loop_and_is_told_at_the_episodes_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(t: int) -> None:
        log.step(np.zeros(3), np.zeros(2), 0.0, observed_ns=t * NS + 1, acted_ns=t * NS + 2)

    log = deploy.Recorder(tmp_path / "run.mcap", **NAMES, chunk_seconds=10 * PERIOD)
    log.begin()
    for t in range(25):
        step(t)
    kept = log.num_flushed
    assert 0 < kept < 25

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log._writer, "flush", full)
    for t in range(25, 60):
        step(t)
    with pytest.raises(OSError, match=f"ends after {kept} steps"):
        log.end()
    with pytest.raises(OSError, match="No space left"):
        log.close()
    with pytest.warns(UserWarning, match="did not close it"):
        read = deploy.read_log(tmp_path / "run.mcap")
    assert read.num_steps == kept


def test_a_chunk_is_written_each_second_and_after_many_steps(tmp_path: Path) -> None:
    with deploy.Recorder(tmp_path / "run.mcap", **NAMES) as log:
        log.begin()
        held = []
        for t in range(300):
            log.step(np.zeros(3), np.zeros(2), 0.0, observed_ns=1 + t * NS, acted_ns=1 + t * NS)
            held.append(log.num_steps - log.num_flushed)
        assert max(held) == round(1 / PERIOD)
        for t in range(600):
            log.step(np.zeros(3), np.zeros(2), 0.0, observed_ns=10**10 + t, acted_ns=10**10 + t)
            held.append(log.num_steps - log.num_flushed)
        assert max(held) < 260


def test_a_robot_needs_numpy_and_mcap_alone(tmp_path: Path) -> None:
    code = f"""
        import sys
        for name in ("torch", "gymnasium", "stable_baselines3", "onnx", "pybullet", "safetensors"):
            sys.modules[name] = None
        import numpy as np
        from metamotor import deploy
        with deploy.Recorder({str(tmp_path / "run.mcap")!r}, observations=["a"], actions=["b"]) as log:
            log.begin()
            log.step([1.0], [2.0], 3.0, observed_ns=1, acted_ns=2, terminated=True)
        log = deploy.read_log({str(tmp_path / "run.mcap")!r})
        assert log.episodes[0].total_reward == 3.0 and not log.faults
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=True, env=dict(os.environ), timeout=60
    )


def test_times_can_be_told_by_the_calendar(tmp_path: Path) -> None:
    record(tmp_path / "run.mcap")
    clock = deploy.read_log(tmp_path / "run.mcap").description["clock"]
    assert abs(clock["unix_ns"] - time.time_ns()) < 60e9
    assert abs(clock["monotonic_ns"] - time.monotonic_ns()) < 60e9


def test_the_benchmark_tells_times_and_bytes(tmp_path: Path) -> None:
    words = ("bench", "recorder", "--steps", "1000", "--rounds", "1", "--out", str(tmp_path / "a"))
    assert main(words) == 0
    found = json.loads((tmp_path / "a" / "recorder.json").read_text())["robots"]["quadruped"]
    assert 0 < found["p50"] < found["chunk_p50"]
    assert 8 * 6 + 4 * (48 + 2 * 12) < found["bytes"] < 500
