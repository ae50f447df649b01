"""Logs as Minari datasets, for offline learners, and back: https://minari.farama.org.

Minari knows no times. They, and what else a log has, go into `infos`, one entry for each observation, so that nothing
is lost on the way there and back. Needs the extra `metamotor[minari]`.
"""

from __future__ import annotations

import itertools
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metamotor.deploy.log.reader import Episode, Log
from metamotor.deploy.log.recorder import Recorder

Array = NDArray[Any]
KEY = "metamotor"
"""Of what a dataset's metadata holds for us, as JSON."""


def to_minari(log: Log, dataset: str) -> Any:
    """Return a new Minari dataset with the episodes of a log.

    Args:
        log: without faults; `Log.sound` leaves out the episodes that have them.
        dataset: its id, such as "robots/panda-v0"; it goes to where Minari keeps datasets (`MINARI_DATASETS_PATH`).

    Raises:
        ImportError: if Minari is not installed.
        ValueError: if the id is none, the log has faults, a last observation is missing, or the dataset is there
            already.
    """
    minari = _minari()
    _check_id(dataset)
    if log.faults:
        raise ValueError(
            f"{log.path} has episodes with faults ({'; '.join(log.faults[:3])}): leave them out by log.sound(), or "
            "--faulty drop at the command line"
        )
    if not log.episodes:
        raise ValueError(f"{log.path} has no episodes")
    if missing := [one.number for one in log.episodes if one.last_observation is None]:
        raise ValueError(
            f"{log.path}: of the episodes {', '.join(map(str, missing[:8]))} the observation behind the last step was "
            "not recorded, which Minari needs: give it to Recorder.end(observation)"
        )
    if dataset in minari.list_local_datasets():
        raise ValueError(f"Minari has a dataset {dataset} already; give another id")
    kinds = log.episodes[0].steps
    observed = kinds["observation"].dtype.newbyteorder("=")
    with warnings.catch_warnings():
        # Minari asks for its authors, and for an environment to make the episodes in again; a robot is none.
        warnings.filterwarnings("ignore", message=".* is (set to )?None", category=UserWarning)
        made = minari.create_dataset_from_buffers(
            dataset,
            buffer=[_buffer(log, number, episode) for number, episode in enumerate(log.episodes)],
            observation_space=_box(log.description["observations"], observed),
            action_space=_action_space(log, kinds["action"].dtype.newbyteorder("=")),
            description=f"recorded by metamotor, {log.description['family'] or 'no family'}",
        )
    stated = {"description": log.description, "policies": log.policies, "sha256": log.sha256}
    made.storage.update_metadata({KEY: json.dumps(stated)})
    return made


def from_minari(
    dataset: str,
    path: str | os.PathLike[str],
    *,
    control_period: float | None = None,
    observations: Sequence[str] | None = None,
    actions: Sequence[str] | None = None,
) -> Path:
    """Write a Minari dataset as a log and return where.

    Args:
        dataset: its id.
        path: of the log, *.mcap.
        control_period: time between two observations [s], of a dataset that did not come from a log.
        observations: names, of one that did not come from a log; None numbers them.
        actions: likewise.

    Raises:
        ImportError: if Minari is not installed.
        FileNotFoundError: if there is no such dataset.
        ValueError: if its spaces are not flat, or it says no control period.
    """
    minari = _minari()
    if dataset not in minari.list_local_datasets():
        raise FileNotFoundError(f"Minari has no dataset {dataset} on this machine")
    found = minari.load_dataset(dataset)
    stated = json.loads(found.storage.metadata.get(KEY, "{}"))
    described: Mapping[str, Any] = stated.get("description", {})
    period = (
        control_period if described.get("control_period") is None else described["control_period"]
    )
    if not described and period is None:
        raise ValueError(f"{dataset} does not say its control period; give it, in seconds")
    observed, acted = found.observation_space, found.action_space
    _check_space(dataset, observed, (spaces.Box,))
    _check_space(
        dataset, acted, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    )
    kept = {key: described[key] for key in ("clock", "versions", "notes") if key in described}
    recorder = Recorder(
        path,
        policy=None,
        observations=described.get("observations") or observations or _names("obs", observed),
        actions=described.get("actions") or actions or _names("action", acted),
        control_period=period,
        family=described.get("family"),
        horizon=described.get("horizon"),
        action_space=described.get("action_space") or _described(acted),
        observation_type=np.dtype(observed.dtype).name,
        action_type="float32" if acted.dtype.kind != "f" else np.dtype(acted.dtype).name,
        notes={"dataset": dataset, "recorded": kept},
    )
    with recorder as log:
        policies = iter(stated.get("policies", []))
        used = -1
        start = 0
        options = found.storage.get_episode_metadata(range(found.total_episodes))
        for episode, entry in zip(found.iterate_episodes(), options, strict=True):
            task = entry.get("options", {}).get("task")
            log.begin(None if task is None else {name: _plain(one) for name, one in task.items()})
            columns = _columns(episode, start, period)
            for t in range(len(episode.rewards)):
                for entry_of in itertools.islice(
                    policies, max(0, int(columns["policy"][t]) - used)
                ):
                    log.use_policy(entry_of)
                    used += 1
                log.step(
                    episode.observations[t],
                    episode.actions[t],
                    episode.rewards[t],
                    observed_ns=int(columns["observed_ns"][t]),
                    acted_ns=int(columns["acted_ns"][t]),
                    applied=columns["applied"][t],
                    log_prob=columns["log_prob"][t],
                    terminated=episode.terminations[t],
                    truncated=episode.truncations[t],
                )
            start = int(columns["observed_ns"][-1])
            log.end(episode.observations[len(episode.rewards)], observed_ns=start)
    return recorder.path


def _minari() -> Any:
    try:
        import h5py  # noqa: F401  # Minari asks for it only when it writes
        import minari
    except ModuleNotFoundError as error:
        raise ImportError(
            f"converting needs {error.name}: pip install metamotor[minari]"
        ) from error
    return minari


def _check_id(dataset: str) -> None:
    """Refuse what is no id to Minari, before it makes a folder of that name, at which all it does later would fail."""
    from minari.dataset.minari_dataset import DATASET_ID_RE

    found = DATASET_ID_RE.fullmatch(dataset)
    if found is None or found["version"] is None:
        raise ValueError(
            f"the id of a Minari dataset is a name of letters, digits, - and _ with a version, such as panda-v0 or, "
            f"with a namespace of at least two characters, robots/panda-v0; got {dataset!r}"
        )


def _buffer(log: Log, number: int, episode: Episode) -> Any:
    from minari.data_collector import EpisodeBuffer

    steps = episode.steps

    def native(values: Array) -> Array:
        values = values.astype(values.dtype.newbyteorder("="))
        is_single = log.description["action_space"]["type"] == "Discrete" and values.ndim == 2
        return values[:, 0] if is_single else values

    last = np.asarray(episode.last_observation)[None]
    infos: dict[str, Array] = {}
    for name, behind in (
        ("observed_ns", episode.last_observed_ns),
        ("acted_ns", 0),
        ("policy", 0),
        ("log_prob", np.nan),
    ):
        infos[name] = np.append(steps[name], np.array(behind, steps[name].dtype))
    applied = native(steps["applied"])
    infos["applied"] = np.concatenate([applied, np.zeros_like(applied[:1])])
    observed = np.concatenate([steps["observation"], last])
    return EpisodeBuffer(
        id=number,
        options=None if episode.task is None else {"task": dict(episode.task)},
        observations=observed.astype(observed.dtype.newbyteorder("=")),
        actions=native(steps["action"]),
        rewards=steps["reward"].astype(np.float64),
        terminations=steps["terminated"],
        truncations=steps["truncated"],
        infos=infos,
    )


def _columns(episode: Any, start: int, period: float | None) -> dict[str, Array]:
    """Return what `infos` hold of a log; times in even steps, and nothing of the policy, where they hold none."""
    infos, count = episode.infos or {}, len(episode.rewards)
    if {"observed_ns", "acted_ns", "policy", "log_prob", "applied"} <= set(infos):
        return dict(infos)
    assert period is not None
    times = start + np.rint(np.arange(1, count + 2) * period * 1e9).astype(np.int64)
    return {
        "observed_ns": times,
        "acted_ns": times,
        "policy": np.full(count, -1),
        "log_prob": np.full(count, np.nan),
        "applied": np.asarray(episode.actions),
    }


def _box(signals: Sequence[Mapping[str, Any]], kind: Any) -> spaces.Box:
    low = [-np.inf if signal.get("low") is None else signal["low"] for signal in signals]
    high = [np.inf if signal.get("high") is None else signal["high"] for signal in signals]
    return spaces.Box(np.array(low, kind), np.array(high, kind), dtype=kind)


def _action_space(log: Log, kind: Any) -> spaces.Space[Any]:
    space = log.description["action_space"]
    if space["type"] == "Box":
        return _box(log.description["actions"], kind)
    taken = np.concatenate([episode.steps["action"] for episode in log.episodes])
    highest = taken.max(axis=0) + 1  # of a log that does not say how many choices there were
    if space["type"] == "Discrete":
        start = int(space.get("start", 0))
        return spaces.Discrete(int(space.get("n", highest[0] - start)), start=start)
    if space["type"] == "MultiBinary":
        return spaces.MultiBinary(taken.shape[1])
    return spaces.MultiDiscrete(np.asarray(space.get("nvec", highest)))


def _check_space(dataset: str, space: Any, kinds: tuple[type[Any], ...]) -> None:
    is_float = space.dtype is not None and (
        not isinstance(space, spaces.Box) or space.dtype in (np.float32, np.float64)
    )
    if not isinstance(space, kinds) or not is_float or len(space.shape or ()) > 1:
        raise ValueError(f"a log holds flat numbers in float32 or float64; {dataset} has {space}")


def _names(stem: str, space: Any) -> list[str]:
    return [f"{stem}.{index}" for index in range(int(np.prod(space.shape)) if space.shape else 1)]


def _described(space: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"type": type(space).__name__}
    if isinstance(space, spaces.Discrete):
        said |= {"n": int(space.n), "start": int(space.start)}
    elif isinstance(space, spaces.MultiDiscrete):
        said["nvec"] = [int(size) for size in space.nvec]
    return said


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
