"""Reads logs: the episodes that a `Recorder` wrote, and what is wrong with them. With numpy and mcap alone.

Shapes: T steps of an episode, O numbers of an observation, A of an action; E episodes, H steps of the longest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metamotor.deploy.log import schema
from metamotor.deploy.log.container import Contents, DamageError, read_contents
from metamotor.deploy.log.findings import GAPS, Finding, find

if TYPE_CHECKING:
    from metamotor.meta.recordings import Stage

Array = NDArray[Any]


@dataclass(frozen=True)
class Episode:
    """One recorded episode."""

    number: int
    """As recorded; numbers may be missing where episodes were left out."""
    task: dict[str, Any] | None
    """The task's parameters by name, where they were known."""
    steps: Array
    """(T,), with the fields of `metamotor.deploy.log.schema.STEP_FIELDS`."""
    is_ended: bool
    """Whether its end was recorded."""
    last_observation: Array | None
    """(O,), behind the last step, where it was recorded."""
    last_observed_ns: int | None
    """When the end was recorded, or the last observation complete."""

    @property
    def num_steps(self) -> int:
        """Steps, T."""
        return len(self.steps)

    @property
    def total_reward(self) -> float:
        """The undiscounted return."""
        return float(self.steps["reward"].sum())

    @property
    def seconds(self) -> float:
        """From the first observation to the last one [s]."""
        if not len(self.steps):
            return 0.0
        last = int(self.steps["observed_ns"][-1])
        if self.last_observation is not None and self.last_observed_ns is not None:
            last = max(last, self.last_observed_ns)
        return (last - int(self.steps["observed_ns"][0])) / 1e9


@dataclass(frozen=True)
class Log:
    """What a file holds; `deploy.read_log` returns it, and `learner.adapt_from` takes it."""

    path: Path
    sha256: str
    """Of the file, as it was read."""
    description: dict[str, Any]
    """What was run: names and units, family, control period, versions; docs/logs.md lists it."""
    policies: tuple[dict[str, Any], ...]
    """Hashes of the policies, in the order in which they were used."""
    episodes: tuple[Episode, ...]
    remark: str
    """What was lost, or what is wrong with the file; "" if nothing is."""
    bridged: bool = False
    """Whether dropped frames are no fault."""

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.episodes)

    @property
    def source(self) -> str:
        """What it is called in error messages."""
        return str(self.path)

    @property
    def num_steps(self) -> int:
        """Steps of all episodes."""
        return sum(episode.num_steps for episode in self.episodes)

    @property
    def robot_seconds(self) -> float:
        """Time that the robot spent in its episodes [s]; a step behind the last observation counts one period."""
        period = self.description["control_period"] or 0.0
        return sum(
            episode.seconds + (period if episode.last_observation is None else 0.0)
            for episode in self.episodes
            if episode.num_steps
        )

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the episodes, in their order."""
        is_drawn = any(not np.isnan(own.steps["log_prob"]).all() for own in self.episodes)
        return tuple(
            finding
            for episode in self.episodes
            for finding in find(
                episode.number,
                episode.steps,
                period=self.description["control_period"],
                is_ended=episode.is_ended,
                bounds=self._bounds,
                is_drawn=is_drawn,
            )
        )

    @property
    def faults(self) -> tuple[str, ...]:
        """Those of the findings for which nothing should be learned from an episode."""
        return tuple(str(finding) for finding in self.findings if self._counts(finding))

    def sound(self, *, bridge: bool = False) -> Log:
        """Return it without the episodes that have faults.

        Args:
            bridge: keep episodes whose only fault is that frames were dropped. Each of their actions was still drawn on
                the observation that is recorded with it, and if the robot reports returns as sums, as
                `deploy.runtime.UdpRobot` takes them, no reward is missing: what is learned is for a robot behind such a
                line.

        Raises:
            ValueError: if there is none without.
        """
        judged = dataclasses.replace(self, bridged=self.bridged or bridge)
        faulty = {finding.episode for finding in self.findings if judged._counts(finding)}
        kept = tuple(episode for episode in self.episodes if episode.number not in faulty)
        if not kept:
            raise ValueError(
                f"{self.path} has no episode without a fault: {'; '.join(judged.faults[:3]) or 'it has none at all'}"
            )
        return dataclasses.replace(judged, episodes=kept)

    def _counts(self, finding: Finding) -> bool:
        return finding.is_fault and not (self.bridged and finding.kind == GAPS)

    def stages(self) -> list[Stage]:
        """Return the episodes as learners take them, those of one policy together; needs `metamotor.meta`."""
        from metamotor.meta.recordings import Stage
        from metamotor.meta.rollouts import EpisodeBatch

        stages = []
        for episodes in self._by_policy():
            shape = (len(episodes), max(episode.num_steps for episode in episodes))
            first = episodes[0].steps
            observed, acted = first["observation"].shape[1:], first["action"].shape[1:]
            is_choice = first["action"].dtype.kind == "i"
            if self.description["action_space"]["type"] == "Discrete":
                acted = ()
            batch = EpisodeBatch(
                observations=np.zeros((*shape, *observed), np.float32),
                actions=np.zeros((*shape, *acted), np.int64 if is_choice else np.float32),
                rewards=np.zeros(shape),
                mask=np.zeros(shape),
                terminated=np.zeros(len(episodes), dtype=bool),
            )
            log_probs = np.full(shape, np.nan)
            for row, episode in enumerate(episodes):
                steps, count = episode.steps, episode.num_steps
                batch.observations[row, :count] = steps["observation"]
                batch.actions[row, :count] = steps["action"].reshape(count, *acted)
                batch.rewards[row, :count] = steps["reward"]
                batch.mask[row, :count] = 1.0
                batch.terminated[row] = steps["terminated"].any()
                log_probs[row, :count] = steps["log_prob"]
            stages.append(Stage(batch, log_probs))
        return stages

    def _by_policy(self) -> list[list[Episode]]:
        """Return runs of episodes under the same policy.

        Raises:
            ValueError: if there is none, or the policy changed within an episode.
        """
        grouped: list[tuple[int, list[Episode]]] = []
        for episode in self.episodes:
            used = np.unique(episode.steps["policy"])
            if len(used) == 0:
                continue
            if len(used) > 1:
                raise ValueError(
                    f"{self.path}: the policy changed within episode {episode.number}; learners take whole "
                    "episodes of one policy"
                )
            if not grouped or grouped[-1][0] != used[0]:
                grouped.append((int(used[0]), []))
            grouped[-1][1].append(episode)
        if not grouped:
            raise ValueError(f"{self.path} has no steps to learn from")
        return [episodes for _, episodes in grouped]

    @property
    def _bounds(self) -> Array | None:
        """Least and greatest actions that are applied as they are. Shape: (2, A)."""
        if self.description["action_space"]["type"] != "Box":
            return None
        ends = [
            [signal.get(key) for signal in self.description["actions"]] for key in ("low", "high")
        ]
        if all(value is None for row in ends for value in row):
            return None
        none = (-np.inf, np.inf)
        return np.array(
            [
                [missing if value is None else value for value in row]
                for row, missing in zip(ends, none, strict=True)
            ]
        )


def read_log(path: str | os.PathLike[str], *, recover: bool = False) -> Log:
    """Return what a log holds; of one that was not finished, all but the last chunk, with a warning that says so.

    Args:
        path: of the file.
        recover: of a damaged file, return with a warning what stands before the damage.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, is not a log, or was recorded by a newer metamotor.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a log (*.mcap)")
    if not path.is_file():
        raise FileNotFoundError(f"there is no log {path}; deploy.Recorder writes one")
    content = path.read_bytes()
    try:
        contents = read_contents(content)
    except DamageError as error:
        steps = sum(message.topic == schema.STEP for message in error.contents.messages)
        if not recover:
            raise ValueError(
                f"{path}: {error}. Copy it again; else read_log(path, recover=True) returns the {steps} steps before "
                "that"
            ) from None
        contents = error.contents
    except ValueError as error:
        raise ValueError(f"{path}: {error}; expected a log that deploy.Recorder wrote") from None
    try:
        log = _as_log(path, hashlib.sha256(content).hexdigest(), contents)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a log of metamotor's Recorder: {error}") from None
    if log.remark:
        warnings.warn(f"{path}: {log.remark}", stacklevel=2)
    return log


def _as_log(path: Path, sha256: str, contents: Contents) -> Log:
    by_topic: dict[str, list[bytes]] = {}
    for message in contents.messages:
        by_topic.setdefault(message.topic, []).append(message.data)
    if not by_topic:
        raise ValueError(f"it holds nothing: {contents.remark or 'no message was recorded'}")
    if contents.messages[0].topic != schema.RUN:
        raise ValueError("it does not begin with a description")
    description = _checked_description(json.loads(by_topic[schema.RUN][0]))
    policies = tuple(_objects(by_topic, schema.POLICY))
    steps = _rows(contents, by_topic, schema.STEP, schema.STEP_FIELDS)
    ends = _rows(contents, by_topic, schema.END, schema.END_FIELDS)
    _check_sizes(description, steps.dtype, ends.dtype)
    begun = list(_objects(by_topic, schema.EPISODE))
    episodes = tuple(_episodes(begun, steps, ends))
    if len(policies) and len(steps) and int(steps["policy"].max()) >= len(policies):
        raise ValueError(f"a step is of policy {int(steps['policy'].max())}, of {len(policies)}")
    remark = contents.remark
    if not contents.is_finished:
        kept = f"{len(steps)} steps in {len(episodes)} episodes were recovered"
        remark = f"{remark}; {kept}"
    return Log(path, sha256, description, policies, episodes, remark)


def _objects(by_topic: Mapping[str, list[bytes]], topic: str) -> Iterator[dict[str, Any]]:
    for data in by_topic.get(topic, []):
        found = json.loads(data)
        if not isinstance(found, dict):
            raise ValueError(f"a message of {topic} is no JSON object")
        yield found


def _rows(
    contents: Contents,
    by_topic: Mapping[str, list[bytes]],
    topic: str,
    fields: Mapping[str, str | None],
) -> Array:
    layout = schema.read_definition(contents.definitions.get(topic, ""), fields)
    messages = by_topic.get(topic, [])
    for data in messages:
        if len(data) != layout.itemsize:
            raise ValueError(
                f"a message of {topic} has {len(data)} bytes, its schema says {layout.itemsize}"
            )
    return np.frombuffer(b"".join(messages), layout)


def _checked_description(description: Any) -> dict[str, Any]:
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise ValueError("its description has no format")
    if description["format"] > schema.FORMAT:
        raise ValueError(
            f"it has format {description['format']}, this metamotor reads up to {schema.FORMAT}: upgrade metamotor"
        )
    for key in ("observations", "actions"):
        if not all(isinstance(signal["name"], str) for signal in description[key]):
            raise ValueError(f"its description names its {key} by something else than texts")
    period = description["control_period"]
    if period is not None and not (isinstance(period, int | float) and 0 < period < 1e9):
        raise ValueError(f"its control period is {period!r}")
    if not isinstance(description["action_space"].get("type"), str):
        raise ValueError("its description has no kind of action space")
    for key in ("family", "horizon"):
        description.setdefault(key, None)
    return description


def _check_sizes(description: Mapping[str, Any], *layouts: np.dtype[Any]) -> None:
    for layout in layouts:
        for field, key in (
            ("observation", "observations"),
            ("action", "actions"),
            ("applied", "actions"),
        ):
            if field not in (layout.names or ()):
                continue
            (length,) = layout[field].shape
            if length != len(description[key]):
                raise ValueError(
                    f"it names {len(description[key])} {key}, but holds {length} numbers of each"
                )


def _episodes(begun: list[dict[str, Any]], steps: Array, ends: Array) -> Iterator[Episode]:
    numbers = [item["episode"] for item in begun]
    if numbers != list(range(len(begun))):
        raise ValueError(f"its episodes are numbered {numbers[:8]}")
    owners = steps["episode"].astype(np.int64)
    if (np.diff(owners) < 0).any() or (len(owners) and owners[-1] >= len(begun)):
        raise ValueError("a step belongs to an episode that has not begun, or is over")
    places = np.searchsorted(owners, np.arange(len(begun) + 1))
    ended = {int(row["episode"]): row for row in ends}
    for number, item in enumerate(begun):
        task = item.get("task")
        if task is not None and not isinstance(task, dict):
            raise ValueError(f"the task of episode {number} is {task!r}")
        own, end = steps[places[number] : places[number + 1]], ended.get(number)
        if end is not None and int(end["steps"]) != len(own):
            raise ValueError(
                f"episode {number} has {len(own)} steps, {int(end['steps'])} were taken"
            )
        yield Episode(
            number,
            task,
            own,
            end is not None,
            end["observation"] if end is not None and end["observed"] else None,
            None if end is None else int(end["observed_ns"]),
        )
