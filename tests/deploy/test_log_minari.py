"""Logs become Minari datasets and logs again, to the bit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from metamotor import deploy
from tests.deploy.logs import NAMES, PERIOD, record

minari = pytest.importorskip("minari")


@pytest.fixture
def converters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    from metamotor.deploy.log import minari as module

    return module


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_there_and_back_is_the_same_to_the_bit(tmp_path: Path, converters: Any, kind: str) -> None:
    space = spaces.Box(-1, 1, (2,), np.float32)
    actions = [{"name": name, "unit": "N·m", "low": -1.0, "high": 1.0} for name in ("l", "r")]
    record(
        tmp_path / "run.mcap",
        actions=actions,
        observation_type=kind,
        family="Robot-v0",
        horizon=5,
        notes={"battery": "new"},
    )
    log = deploy.read_log(tmp_path / "run.mcap")
    made = converters.to_minari(log, "robots/two-v0")
    assert made.action_space == space
    assert made.total_steps == log.num_steps
    first = next(iter(made.iterate_episodes()))
    np.testing.assert_array_equal(first.rewards, log.episodes[0].steps["reward"])
    assert first.observations.shape == (6, 3)
    converters.from_minari("robots/two-v0", tmp_path / "again.mcap")
    again = deploy.read_log(tmp_path / "again.mcap")
    assert again.num_steps == 15
    for own, other in zip(again.episodes, log.episodes, strict=True):
        assert own.steps.dtype == other.steps.dtype
        assert own.steps.tobytes() == other.steps.tobytes()
        assert own.task == other.task
        assert own.last_observed_ns == other.last_observed_ns
        np.testing.assert_array_equal(own.last_observation, other.last_observation)
    for key in ("family", "horizon", "control_period", "observations", "actions", "action_space"):
        assert again.description[key] == log.description[key]
    assert again.description["notes"]["recorded"]["notes"] == {"battery": "new"}


def test_policies_and_choices_come_back(tmp_path: Path, converters: Any) -> None:
    space = {"type": "Discrete", "shape": [], "n": 4, "start": 0}
    with deploy.Recorder(
        tmp_path / "run.mcap", observations=["a"], actions=["gear"], action_space=space
    ) as log:
        for episode in range(3):
            log.begin()
            if episode != 1:
                log.use_policy({"weights_sha256": str(episode)})
            for t in range(4):
                log.step([t], 3 - t, 1.0, observed_ns=t + 1, acted_ns=t + 2, terminated=t == 3)
            log.end([4.0])
    before = deploy.read_log(tmp_path / "run.mcap")
    made = converters.to_minari(before, "gears-v0")
    assert made.action_space == spaces.Discrete(4)
    converters.from_minari("gears-v0", tmp_path / "again.mcap")
    again = deploy.read_log(tmp_path / "again.mcap")
    assert again.policies == before.policies
    for own, other in zip(again.episodes, before.episodes, strict=True):
        assert own.steps.tobytes() == other.steps.tobytes()


def test_a_dataset_of_others_becomes_a_log(tmp_path: Path, converters: Any) -> None:
    rng = np.random.default_rng(0)
    buffers = [
        minari.data_collector.EpisodeBuffer(
            observations=rng.standard_normal((5, 3)),
            actions=rng.standard_normal((4, 2)),
            rewards=rng.standard_normal(4),
            terminations=np.array([False] * 3 + [True]),
            truncations=np.zeros(4, bool),
        )
        for _ in range(2)
    ]
    warnings.simplefilter("ignore")  # it asks for its authors; pytest restores the filters
    minari.create_dataset_from_buffers(
        "others-v0",
        buffer=buffers,
        observation_space=spaces.Box(-9, 9, (3,), np.float64),
        action_space=spaces.Box(-9, 9, (2,), np.float64),
    )
    with pytest.raises(ValueError, match="does not say its control period"):
        converters.from_minari("others-v0", tmp_path / "run.mcap")
    converters.from_minari("others-v0", tmp_path / "run.mcap", control_period=PERIOD)
    log = deploy.read_log(tmp_path / "run.mcap")
    assert log.findings == ()
    for episode, buffer in zip(log.episodes, buffers, strict=True):
        np.testing.assert_array_equal(episode.steps["observation"], buffer.observations[:-1])
        np.testing.assert_array_equal(episode.steps["action"], buffer.actions)
        np.testing.assert_array_equal(episode.steps["reward"], buffer.rewards)
        assert np.isnan(episode.steps["log_prob"]).all()
        assert episode.seconds == pytest.approx(4 * PERIOD)


def test_what_cannot_be_converted_is_refused(tmp_path: Path, converters: Any) -> None:
    with deploy.Recorder(tmp_path / "run.mcap", **NAMES) as log:
        log.begin()
        log.step(np.zeros(3), np.zeros(2), 0.0, observed_ns=1, acted_ns=1, truncated=True)
    with pytest.raises(ValueError, match="episodes 0 the observation behind the last step"):
        converters.to_minari(deploy.read_log(tmp_path / "run.mcap"), "short-v0")
    record(tmp_path / "whole.mcap")
    whole = deploy.read_log(tmp_path / "whole.mcap")
    before = sorted(tmp_path.rglob("*"))
    for name in ("bad name!", "bad name!-v0", "point", "../point-v0", "/point-v0", "point-v0\n"):
        with pytest.raises(ValueError, match="the id of a Minari dataset is"):
            converters.to_minari(whole, name)
    assert sorted(tmp_path.rglob("*")) == before, "nothing that Minari would stumble over"
    converters.to_minari(whole, "twice-v0")
    with pytest.raises(ValueError, match="has a dataset twice-v0 already"):
        converters.to_minari(whole, "twice-v0")
    with pytest.raises(FileNotFoundError, match="no dataset none-v0"):
        converters.from_minari("none-v0", tmp_path / "none.mcap")
