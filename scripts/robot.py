"""`metamotor robot`: a pretend robot, an environment that a second process steps in real time behind UDP."""

from __future__ import annotations

import heapq
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces

from metamotor.deploy.runtime import udp
from metamotor.envs import TaskFamily
from metamotor.scripts.options import FamilyId, PhysicsName, TaskChoice, make_family, parse
from metamotor.scripts.wording import placed

Address = tuple[str, int]

WATCHDOG = 0.5
"""Without a command for so long the robot takes the middle of its actions [s]."""
FAREWELL = 2.0
"""For so long after the last command an episode's last observation is repeated [s]."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong on the way."""

    drop: float = 0.0
    """Share of the datagrams that are lost, in both directions."""
    delay: float = 0.0
    """Observations leave up to so much later than they should [s], each by a draw of its own: some overtake others."""
    garbage: float = 0.0
    """Share of the observations that are followed by noise: random bytes, a part, a copy with a flipped bit, or the
    same again."""

    def __post_init__(self) -> None:
        """Refuse shares and times that are none."""
        for name in ("drop", "garbage"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1, got {getattr(self, name)}")
        if not 0 <= self.delay < 60:
            raise ValueError(f"delay must be a time in seconds from 0 to 60, got {self.delay}")


@dataclass(frozen=True, kw_only=True)
class Robot:
    """Pretend to be a robot: step a family's environment in real time behind UDP, for `metamotor run --udp`.

    It begins an episode when it is told to, and its clock at the first command, half a period before the first step. In
    each period it takes the newest command and sends what it observes; without commands it rests. Its task is not told
    to who drives it. The datagrams are described in metamotor.deploy.runtime.udp.
    """

    family: FamilyId
    """Id of the task family."""
    task: TaskChoice = field(default_factory=TaskChoice)
    horizon: int | None = None
    """Steps of an episode; without it, the family's."""
    physics: PhysicsName | None = None
    """The physics engine; without it, the family's."""
    host: str = "127.0.0.1"
    """Address to listen at."""
    port: int = 47_111
    """Port to listen at; 0 takes one that is free and says which."""
    rate: float | None = None
    """Control periods a second [Hz]; without it, the family's, at which the robot is as fast as in training."""
    faults: Faults = field(default_factory=Faults)
    seed: int = 0
    """Of the first episode's start, and of the faults; the next episodes count on from it."""


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    options: Robot = parse(Robot, argv, "robot")
    if not 0 <= options.port < 2**16:
        raise ValueError(f"port must be from 0 to {2**16 - 1}, got {options.port}")
    family = make_family(options.family, horizon=options.horizon, physics=options.physics)
    rate = 1 / family.dt if options.rate is None else options.rate
    task = options.task.of(family)
    with PretendRobot(
        family,
        task,
        rate=rate,
        address=(options.host, options.port),
        faults=options.faults,
        seed=options.seed,
    ) as robot:
        print(f"{placed(family)}, {task}")
        host, port = robot.address
        print(f"listening at {host}:{port}, {rate:g} periods a second; Ctrl-C ends it", flush=True)
        robot.serve()


class PretendRobot:
    """An environment behind a socket; see `Robot`.

    Raises:
        OSError: if the address is taken or is not this machine's.
        ValueError: if the rate is none.
    """

    def __init__(
        self,
        family: TaskFamily,
        task: Any,
        *,
        rate: float,
        address: Address,
        faults: Faults | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 < rate <= 10_000:
            raise ValueError(f"rate must be above 0 and at most 10000 a second, got {rate}")
        space = family.action_space
        if not isinstance(space, spaces.Box):
            raise ValueError(
                f"a robot behind UDP takes numbers as actions (Box), {family.name} has {space}"
            )
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(address)
        except OSError as error:
            self._socket.close()
            raise OSError(
                f"cannot listen at {address[0]}:{address[1]} ({error.strerror})"
            ) from error
        self._env: Any = family.make_env()
        self._task = task
        self._period_ns = round(1e9 / rate)
        self._rest = np.clip(np.zeros(space.shape, np.float32), space.low, space.high)
        self._line = _Line(self._socket, faults or Faults(), np.random.default_rng(seed))
        self._seed = seed
        self._episode = 0
        self._command = udp.Command(0, 0, 0, 0, self._rest)
        self._received = 0
        self._peer: Address | None = None
        self._due: int | None = None

    @property
    def address(self) -> Address:
        """Where it listens."""
        host, port = self._socket.getsockname()
        return str(host), int(port)

    def serve(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Be a robot until told to stop."""
        while not stop():
            now = time.monotonic_ns()
            if self._due is not None and now >= self._due:
                self._tick()
            self._line.flush()
            due = [now + 50_000_000, self._due, self._line.due]
            wait = min(moment for moment in due if moment is not None) - time.monotonic_ns()
            received = self._line.receive(max(wait, 0) / 1e9)
            if received is not None:
                self._take(*received)

    def close(self) -> None:
        """Close the socket and the environment."""
        self._socket.close()
        self._env.close()

    def __enter__(self) -> PretendRobot:
        """Return the robot."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _take(self, datagram: bytes, sender: Address) -> None:
        try:
            command = udp.unpack_command(datagram)
        except ValueError:
            return
        now = time.monotonic_ns()
        if command.kind == udp.RESET and command.episode != self._episode:
            self._begin(command.episode)
            now = time.monotonic_ns()
        if command.episode != self._episode:
            if command.kind == udp.STEP:
                self._line.send(_unknown(command), sender)
            return
        if command.sequence <= self._command.sequence:
            return
        self._command, self._received, self._peer = command, now, sender
        if command.kind == udp.STOP:
            self._episode, self._due = 0, None
        elif command.kind == udp.RESET:
            self._send()
        elif command.action.shape == self._rest.shape and np.isfinite(command.action).all():
            self._action, self._acted = command.action, now
            if self._due is None:
                # Half a period: what it observes then arrives in the middle of who commands it in the same period, and
                # does not race against the next command.
                self._due = now + self._period_ns // 2

    def _begin(self, episode: int) -> None:
        self._episode, self._due = episode, None
        self._command = udp.Command(0, episode, 0, 0, self._rest)
        self._action, self._acted = self._rest, 0
        self._flags = self._step = self._sequence = 0
        self._return = 0.0
        self._observation, _ = self._env.reset(seed=self._seed, options={"task": self._task})
        self._seed += 1
        self._observed = time.monotonic_ns()

    def _tick(self) -> None:
        assert self._due is not None
        now = time.monotonic_ns()
        if not self._flags:
            fresh = now - self._acted < WATCHDOG * 1e9
            action = self._action if fresh else self._rest
            observation, reward, terminated, truncated, _ = self._env.step(action)
            self._observation, self._observed = observation, time.monotonic_ns()
            self._return += float(reward)
            self._step += 1
            self._flags = udp.TERMINATED * terminated | udp.TRUNCATED * truncated
        self._send()
        if self._flags and now - self._received > FAREWELL * 1e9:
            self._due = None
            return
        self._due += self._period_ns
        late = time.monotonic_ns() - self._due
        if late > 0:  # a robot's time passes whether it can be computed or not
            self._due += -(-late // self._period_ns) * self._period_ns

    def _send(self) -> None:
        self._sequence += 1
        answer = udp.Observation(
            self._flags,
            self._episode,
            self._sequence,
            self._observed,
            self._step,
            self._command.sequence,
            self._command.time_ns,
            self._observed - self._received,
            self._return,
            self._period_ns // 1000,
            self._observation,
        )
        assert self._peer is not None
        self._line.send(udp.pack_observation(answer), self._peer)


def _unknown(command: udp.Command) -> bytes:
    nothing = np.zeros(0, np.float32)
    answer = udp.Observation(
        udp.UNKNOWN, command.episode, 1, time.monotonic_ns(), 0, 0, 0, 0, 0.0, 0, nothing
    )
    return udp.pack_observation(answer)


class _Line:
    """A socket on which things go wrong."""

    def __init__(self, port: socket.socket, faults: Faults, rng: np.random.Generator) -> None:
        self._socket = port
        self._faults = faults
        self._rng = rng
        self._waiting: list[tuple[int, int, bytes, Address]] = []
        self._count = 0

    @property
    def due(self) -> int | None:
        """When the next datagram is to leave [ns]."""
        return self._waiting[0][0] if self._waiting else None

    def receive(self, seconds: float) -> tuple[bytes, Address] | None:
        """Return the next datagram and its sender, if one comes in time and is not lost."""
        try:
            # 0 would not wait at all, and say so by another exception.
            self._socket.settimeout(max(seconds, 1e-6))
            datagram, sender = self._socket.recvfrom(udp.MAX_SIZE)
        except OSError:  # nothing came, or who was answered has gone
            return None
        return None if self._rng.random() < self._faults.drop else (datagram, sender)

    def send(self, datagram: bytes, to: Address) -> None:
        """Send a datagram, if it is not lost, now or later."""
        if self._rng.random() >= self._faults.drop:
            self._later(datagram, to)
        if self._rng.random() < self._faults.garbage:
            self._later(self._spoiled(datagram), to)
        self.flush()

    def flush(self) -> None:
        """Send what is due."""
        while self._waiting and self._waiting[0][0] <= time.monotonic_ns():
            *_, datagram, to = heapq.heappop(self._waiting)
            try:
                self._socket.sendto(datagram, to)
            except OSError:  # who asked has gone
                continue

    def _later(self, datagram: bytes, to: Address) -> None:
        delay = self._rng.uniform(0, self._faults.delay)
        self._count += 1  # keeps the order of those that are due together
        due = time.monotonic_ns() + round(delay * 1e9)
        heapq.heappush(self._waiting, (due, self._count, datagram, to))

    def _spoiled(self, datagram: bytes) -> bytes:
        kind = self._rng.integers(4)
        if kind == 0:
            return self._rng.bytes(int(self._rng.integers(1, 200)))
        if kind == 1:
            return datagram[: self._rng.integers(len(datagram))]
        if kind == 2:
            copy = bytearray(datagram)
            copy[self._rng.integers(len(copy))] ^= 1 << int(self._rng.integers(8))
            return bytes(copy)
        return datagram
