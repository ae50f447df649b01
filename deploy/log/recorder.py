"""Records what a robot sees and does, while it does it: numpy and mcap are all it needs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from mcap.writer import CompressionType, Writer
from numpy.typing import ArrayLike, NDArray

import metamotor
from metamotor.deploy.log import schema

ACTION_SPACES = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")
MAX_CHUNK_STEPS = 256
"""Steps after which a chunk is written, however little time they took."""
_HEAD = struct.Struct("<qqIIH??dd")
_END = struct.Struct("<II?q")


class Recorder:
    """Appends steps to a log, an MCAP file that `deploy.read_log` reads.

    Steps are kept for up to `chunk_seconds` and then written as one chunk with a checksum; a process that is killed
    loses at most the chunk in the making. At an episode's end, while a robot is brought back to its start, they are
    also forced onto the disk, so that a power cut takes none of it. Full disks do not stop a control loop: an error
    of writing ends the recording, and is raised by the next `begin`, `end` or `close`.

    One thread at a time may use it.

    Args:
        path: the file, *.mcap; it must not be there yet.
        policy: a `deploy.runtime.Policy` or its like. Names, units, family, control period and hashes are taken from
            it; what is given besides goes before.
        observations: for each number of an observation its name, or a mapping with "name" and "unit".
        actions: likewise for each number of an action.
        control_period: time between two observations [s].
        family: name of the task family.
        horizon: steps after which an episode is cut off.
        action_space: what kind of actions they are, as policy files say it: {"type": "Box"} by default, {"type":
            "Discrete"} for one choice, a whole number.
        observation_type: "float32" or "float64"; None: as the policy takes them, float32 without one.
        action_type: likewise of actions that are no choices, which are "int64".
        notes: anything else, as JSON has it.
        chunk_seconds: how long steps are kept back [s].

    Raises:
        FileExistsError: if the file is there already.
        FileNotFoundError: if its folder is missing.
        ValueError: if names are missing or twice, or a number is none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        policy: Any = None,
        observations: Sequence[str | Mapping[str, Any]] | None = None,
        actions: Sequence[str | Mapping[str, Any]] | None = None,
        control_period: float | None = None,
        family: str | None = None,
        horizon: int | None = None,
        action_space: Mapping[str, Any] | None = None,
        observation_type: str | None = None,
        action_type: str = "float32",
        notes: Mapping[str, Any] | None = None,
        chunk_seconds: float = 1.0,
    ) -> None:
        stated: Mapping[str, Any] = {} if policy is None else policy.metadata
        if observation_type is None:
            inputs = stated.get("inputs") or [{}]
            is_exact = any(own.get("dtype") == "float64" for own in inputs)
            observation_type = "float64" if is_exact else "float32"
        for name, kind in (("observation_type", observation_type), ("action_type", action_type)):
            if kind not in ("float32", "float64"):
                raise ValueError(f"{name} must be float32 or float64, got {kind!r}")
        _check_positive("chunk_seconds", chunk_seconds)
        period = stated.get("control_period") if control_period is None else control_period
        if period is not None:
            _check_positive("control_period", period)
        space = dict(action_space or stated.get("action_space") or {"type": "Box"})
        if space.get("type") not in ACTION_SPACES:
            raise ValueError(
                f"action_space must have a type of {', '.join(ACTION_SPACES)}, got {space!r}"
            )
        self._description: dict[str, Any] = {
            "format": schema.FORMAT,
            "family": stated.get("family") if family is None else family,
            "horizon": stated.get("horizon") if horizon is None else horizon,
            "control_period": period,
            "observations": _signals("observations", observations, stated),
            "actions": _signals("actions", actions, stated),
            "action_space": space,
            "clock": {"monotonic_ns": time.monotonic_ns(), "unix_ns": time.time_ns()},
            "versions": {"metamotor": metamotor.__version__, "numpy": np.__version__},
            "notes": dict(notes or {}),
        }
        is_choice = space["type"] != "Box"
        self._observation_type: np.dtype[Any] = np.dtype(observation_type).newbyteorder("<")
        self._action_type: np.dtype[Any] = np.dtype(
            "int64" if is_choice else action_type
        ).newbyteorder("<")
        self._observation_shape = (len(self._description["observations"]),)
        self._is_choice = is_choice
        self._num_actions = len(self._description["actions"])
        self._action_shape = () if space["type"] == "Discrete" else (self._num_actions,)
        if space["type"] == "Discrete" and self._num_actions != 1:
            raise ValueError(
                f"a discrete action is one number, got {self._num_actions} names of actions"
            )
        self._chunk_ns = int(chunk_seconds * 1e9)
        self.path = _new_path(path)
        self.num_steps = 0
        """Steps recorded."""
        self.num_flushed = 0
        """Steps that a killed process would not lose."""
        self._failure: OSError | None = None
        self._episode = self._step = -1
        self._running = False
        self._policies = 0
        self._count = 0
        self._chunk_start: int | None = None
        self._closed = False
        try:
            self._file = self.path.open("xb")
        except FileExistsError:
            raise FileExistsError(
                f"{self.path} is there already, and a log is never overwritten; give another name"
            ) from None
        try:
            self._start(policy)
        except BaseException:
            self._file.close()
            self.path.unlink()
            raise

    def _start(self, policy: Any) -> None:
        # Chunks are ended by `flush` alone. Uncompressed: noise in float32 does not shrink, and time is dear.
        self._writer = Writer(
            self._file,
            chunk_size=2**62,
            compression=CompressionType.NONE,
            enable_data_crcs=True,
        )
        self._writer.start(profile=schema.PROFILE)
        anything = self._writer.register_schema(
            "metamotor/Json", "jsonschema", b'{"type":"object"}'
        )
        kinds = (self._observation_type.name, self._action_type.name)
        observation = f"{kinds[0]}[{self._observation_shape[0]}]"
        definitions = {
            schema.STEP: schema.step_definition(observation, f"{kinds[1]}[{self._num_actions}]"),
            schema.END: schema.end_definition(observation),
        }
        self._channels = {
            topic: self._writer.register_channel(topic, "json", anything)
            for topic in schema.JSON_TOPICS
        }
        for topic, text in definitions.items():
            name = f"metamotor/{topic[1:].title()}"
            number = self._writer.register_schema(name, "ros1msg", text.encode())
            self._channels[topic] = self._writer.register_channel(topic, "ros1", number)
        self._step_channel = self._channels[schema.STEP]
        self._write_json(schema.RUN, self._description)
        if policy is not None:
            self.use_policy(policy)
        self._flush()
        self._raise_failure()

    # What is recorded -----------------------------------------------------------------------------

    def use_policy(self, policy: Any) -> None:
        """Note that the next steps are those of this policy.

        Args:
            policy: a `deploy.runtime.Policy` or its like, whose file is hashed; or a mapping with "sha256" and
                "weights_sha256", for weights that have no file.

        Raises:
            ValueError: if a mapping names neither.
        """
        if isinstance(policy, Mapping):
            named = dict(policy)
            if not {"sha256", "weights_sha256"} & set(named):
                raise ValueError(
                    f'a policy must be named by "sha256" or "weights_sha256", got {named!r}'
                )
        else:
            named = {
                "file": Path(policy.path).name,
                "sha256": hashlib.sha256(Path(policy.path).read_bytes()).hexdigest(),
                "weights_sha256": policy.metadata.get("weights_sha256"),
            }
        self._write_json(schema.POLICY, {"policy": self._policies, **named})
        self._policies += 1

    def begin(self, task: Any = None) -> None:
        """Begin an episode; one that is running is ended without its last observation.

        Args:
            task: a `Task`, a mapping of numbers by name, or None where it is not known.

        Raises:
            OSError: if steps before could not be written.
            ValueError: if the task is neither, or the log is closed.
        """
        self._require_open()
        if self._running:
            self.end()
        self._episode, self._step, self._running = self._episode + 1, 0, True
        self._write_json(schema.EPISODE, {"episode": self._episode, "task": _task(task)})

    def step(
        self,
        observation: ArrayLike,
        action: ArrayLike,
        reward: float,
        *,
        observed_ns: int,
        acted_ns: int,
        applied: ArrayLike | None = None,
        log_prob: float | None = None,
        terminated: bool = False,
        truncated: bool = False,
    ) -> None:
        """Record one step, as soon as its reward is known.

        Args:
            observation: what the policy saw. Shape: (O,).
            action: what it chose, before anything clipped it. Shape: (A,), or () for a choice.
            reward: of the step.
            observed_ns: `time.monotonic_ns()` when the observation was complete.
            acted_ns: likewise when the action was handed over.
            applied: what the robot got; None: the action as it is.
            log_prob: log π(a|s) of the action; None where it is not known, as for one without noise.
            terminated: the episode ended by itself.
            truncated: the episode was cut off.

        Raises:
            ValueError: if a shape is wrong, a choice is no whole number, or no episode has begun.
        """
        if not self._running:
            raise ValueError("no episode has begun: call begin() before step(), and after end()")
        seen = np.asarray(observation, self._observation_type)
        chosen = self._as_action(action)
        done = chosen if applied is None else self._as_action(applied)
        if (
            seen.shape != self._observation_shape
            or chosen.shape != self._action_shape
            or done.shape != self._action_shape
        ):
            raise ValueError(self._wrong_shapes(seen, chosen, done))
        head = _HEAD.pack(
            observed_ns,
            acted_ns,
            self._episode,
            self._step,
            max(self._policies - 1, 0),
            terminated,
            truncated,
            reward,
            math.nan if log_prob is None else log_prob,
        )
        if self._failure is not None:
            return
        self._writer.add_message(
            self._step_channel,
            observed_ns,
            head + seen.tobytes() + chosen.tobytes() + done.tobytes(),
            observed_ns,
            self._count,
        )
        self._count += 1
        self._step += 1
        self.num_steps += 1
        if self._chunk_start is None:
            self._chunk_start = observed_ns
        elif (
            not 0 <= observed_ns - self._chunk_start < self._chunk_ns
            or self.num_steps - self.num_flushed >= MAX_CHUNK_STEPS
        ):
            self._flush()

    def end(self, observation: ArrayLike | None = None, *, observed_ns: int | None = None) -> None:
        """End the episode, and force what was recorded onto the disk.

        Args:
            observation: what is seen behind the last step; converters and off-policy learners need it.
            observed_ns: when it was complete; None: now.

        Raises:
            OSError: if something could not be written; the log ends before it.
            ValueError: if no episode is running, or the shape is wrong.
        """
        if not self._running:
            raise ValueError("no episode is running: there is nothing to end")
        seen = np.zeros(self._observation_shape, self._observation_type)
        if observation is not None:
            seen = np.asarray(observation, self._observation_type)
            if seen.shape != self._observation_shape:
                raise ValueError(
                    f"expected an observation of shape {self._observation_shape}, got {seen.shape}"
                )
        now = time.monotonic_ns() if observed_ns is None else observed_ns
        head = _END.pack(self._episode, self._step, observation is not None, now)
        self._running = False
        self._write(schema.END, now, head + seen.tobytes())
        self._flush()
        self._attempt(self._force)
        self._raise_failure()

    def flush(self) -> None:
        """Write what is kept back, as a chunk of its own; call it where the loop has time to spare."""
        self._flush()

    def close(self) -> None:
        """End a running episode and finish the file; nothing happens if it is closed already.

        Raises:
            OSError: if something could not be written; the log ends before it.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._running:
                self.end()
            self._attempt(self._writer.finish, self._force)
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
        self._raise_failure()

    def __enter__(self) -> Self:
        """Return the recorder."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the log, whatever happened."""
        self.close()

    def _as_action(self, given: ArrayLike) -> NDArray[Any]:
        values = np.asarray(given)
        # numpy would cut 1.7 to 1.
        if self._is_choice and values.dtype.kind not in "iub" and (values % 1 != 0).any():
            raise ValueError(f"a choice is a whole number, got {given!r}")
        return np.asarray(values, self._action_type)

    # How it is written ----------------------------------------------------------------------------

    def _write_json(self, topic: str, content: Mapping[str, Any]) -> None:
        self._require_open()
        try:
            text = json.dumps(content, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a log holds what JSON can, finite numbers only: {error}") from error
        self._write(topic, time.monotonic_ns(), text.encode())

    def _write(self, topic: str, time_ns: int, data: bytes) -> None:
        if self._failure is None:
            # The running number tells a reader that nothing is missing in between.
            self._writer.add_message(self._channels[topic], time_ns, data, time_ns, self._count)
            self._count += 1

    def _flush(self) -> None:
        self._attempt(self._writer.flush)
        self._chunk_start = None
        if self._failure is None:
            self.num_flushed = self.num_steps

    def _attempt(self, *actions: Callable[[], object]) -> None:
        """Do what writes to the disk; keep an error, after which nothing is written any more."""
        if self._failure is not None:
            return
        try:
            for action in actions:
                action()
        except OSError as error:
            self._failure = error

    def _force(self) -> None:
        """Have the disk hold what was written."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise OSError(
                self._failure.errno,
                f"could not write to the log, which ends after {self.num_flushed} steps "
                f"({self._failure.strerror})",
                str(self.path),
            ) from self._failure

    def _wrong_shapes(self, *given: NDArray[Any]) -> str:
        names = ("observation", "action", "applied action")
        shapes = (self._observation_shape, self._action_shape, self._action_shape)
        wrong = [
            f"{name} of shape {expected}, got {values.shape}"
            for name, expected, values in zip(names, shapes, given, strict=True)
            if values.shape != expected
        ]
        return f"expected an {' and an '.join(wrong)}"


def _new_path(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.suffix != ".mcap":
        raise ValueError(f"a log must be called *.mcap, got {target}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} to")
    return target


def _check_positive(name: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a time in seconds above 0, got {value!r}")


def _signals(
    what: str, given: Sequence[str | Mapping[str, Any]] | None, stated: Mapping[str, Any]
) -> list[dict[str, Any]]:
    listed = stated.get(what) if given is None else given
    if not listed or isinstance(listed, str):
        raise ValueError(
            f"a log needs the names of its {what}: give policy=..., or {what}=[...] with one name a number"
        )
    signals = [{"name": one, "unit": None} if isinstance(one, str) else dict(one) for one in listed]
    names = [signal.get("name") for signal in signals]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"each of the {what} must have a name of its own, got {names}")
    return signals


def _task(task: Any) -> dict[str, Any] | None:
    if task is None:
        return None
    if hasattr(task, "to_json"):
        task = json.loads(task.to_json())
    if not isinstance(task, Mapping):
        raise ValueError(
            f"task must have to_json() or be a mapping of numbers by name, got {task!r}"
        )
    return dict(task)
