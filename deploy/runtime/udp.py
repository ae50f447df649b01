"""A robot behind UDP: the datagrams, and the robot as the control loop sees it. numpy and the standard library only.

robot = deploy.runtime.UdpRobot(("192.168.1.7", 47111), observation_size=48, action_size=12)

Everything is little-endian. A datagram is a header, a body, float32 numbers and a checksum:

| offset | type | header |
|---|---|---|
| 0 | 4 bytes | `MMR1` |
| 4 | uint8 | kind: 1 reset, 2 step, 3 stop (to the robot); 16 observation (from it) |
| 5 | uint8 | flags of an observation: 1 terminated, 2 truncated, 4 unknown: the robot knows of no such episode |
| 6 | uint16 | number of float32 numbers |
| 8 | uint32 | episode: any number but 0 that the episode before did not have; chosen by the client |
| 12 | uint32 | sequence: counts the sender's datagrams of this episode, from 1 |
| 16 | uint64 | time by the sender's monotonic clock [ns]: of sending, for an observation of observing |

A command has no body; its numbers are the action of a step, none for the other kinds. The body of an observation, at
offset 24:

| offset | type | body |
|---|---|---|
| 24 | uint32 | step: control periods of the robot since the episode began |
| 28 | uint32 | command: sequence of the newest command that it received; 0, none |
| 32 | uint64 | echo: time in that command's header [ns] |
| 40 | int64 | hold: from the receipt of that command to the observation, by the robot's clock [ns] |
| 48 | float64 | return: sum of the rewards since the episode began |
| 56 | uint32 | the robot's control period [µs] |

At the end stands the CRC-32 of everything before it, as `zlib.crc32` computes it (uint32).

How old an observation is needs no common clock: it was made `hold` after a command arrived that left here at `echo`,
hence not before `echo + hold`, give or take what clocks drift apart during `hold`. That is the time of the reading, so
an age is rather over- than underestimated, by the way of one datagram to the robot.
The return is a sum, and a step counted, so that what is lost with a datagram comes with the next one.

The robot answers a reset with observations of that episode. A reset is repeated until one arrives, so a robot begins a
given episode once. A step of an episode that it does not know, as after a restart, it answers with the flag for that,
without numbers. In each of its periods it takes the newest command, sends what it observes to who commanded it, and
goes on sending the last observation of an episode that is over. Without commands for a while it must come to rest by
itself.

The checksum finds damage, not deceit: nothing is signed, so the network must be one's own.
"""

from __future__ import annotations

import math
import secrets
import socket
import struct
import time
import zlib
from numbers import Integral, Real
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metamotor.deploy.runtime.loop import Reading

Array = NDArray[Any]
MAGIC: Final = b"MMR1"
RESET, STEP, STOP, OBSERVATION = 1, 2, 3, 16
TERMINATED, TRUNCATED, UNKNOWN = 1, 2, 4
HEADER: Final = struct.Struct("<4sBBHIIQ")
BODY: Final = struct.Struct("<IIQqdI")
CHECKSUM: Final = struct.Struct("<I")
MAX_SIZE: Final = 65_507
"""Bytes in the largest UDP datagram."""
MAX_NUMBERS: Final = (MAX_SIZE - HEADER.size - BODY.size - CHECKSUM.size) // 4
MAX_DRAIN: Final = 256
"""Datagrams taken in one reading, so that a flood of them does not hold up the control loop."""
WINDOW: Final = 64
"""How many sequence numbers back a datagram is told to be the second of its kind."""


class ForeignError(ValueError):
    """A datagram of somebody else's."""


class MalformedError(ValueError):
    """A datagram that was meant for us, and is damaged."""


class Command(NamedTuple):
    """A datagram to the robot; the fields are those of the layout."""

    kind: int
    episode: int
    sequence: int
    time_ns: int
    action: Array


class Observation(NamedTuple):
    """A datagram from the robot; the fields are those of the layout."""

    flags: int
    episode: int
    sequence: int
    time_ns: int
    step: int
    command: int
    echo_ns: int
    hold_ns: int
    return_: float
    period_us: int
    observation: Array


def pack_command(command: Command) -> bytes:
    """Return the datagram of a command."""
    values = np.ascontiguousarray(command.action, "<f4")
    head = HEADER.pack(
        MAGIC, command.kind, 0, values.size, command.episode, command.sequence, command.time_ns
    )
    return _sealed(head + values.tobytes())


def pack_observation(observation: Observation) -> bytes:
    """Return the datagram of an observation."""
    values = np.ascontiguousarray(observation.observation, "<f4")
    head = HEADER.pack(
        MAGIC,
        OBSERVATION,
        observation.flags,
        values.size,
        observation.episode,
        observation.sequence,
        observation.time_ns,
    )
    return _sealed(head + BODY.pack(*observation[4:10]) + values.tobytes())


def unpack_command(datagram: bytes) -> Command:
    """Return the command in a datagram.

    Raises:
        ForeignError: if it is none of this protocol.
        MalformedError: if it is damaged, or is no command.
    """
    kind, _, episode, sequence, time_ns, values = _opened(datagram, 0)
    if kind not in (RESET, STEP, STOP):
        raise MalformedError(f"expected a command, got a datagram of kind {kind}")
    return Command(kind, episode, sequence, time_ns, values)


def unpack_observation(datagram: bytes) -> Observation:
    """Return the observation in a datagram.

    Raises:
        ForeignError: if it is none of this protocol.
        MalformedError: if it is damaged, or is no observation.
    """
    kind, flags, episode, sequence, time_ns, values = _opened(datagram, BODY.size)
    if kind != OBSERVATION:
        raise MalformedError(f"expected an observation, got a datagram of kind {kind}")
    body = BODY.unpack_from(datagram, HEADER.size)
    step, command, echo_ns, hold_ns, return_, period_us = body
    return Observation(
        flags,
        episode,
        sequence,
        time_ns,
        step,
        command,
        echo_ns,
        hold_ns,
        return_,
        period_us,
        values,
    )


def _sealed(content: bytes) -> bytes:
    return content + CHECKSUM.pack(zlib.crc32(content))


def _opened(datagram: bytes, body: int) -> tuple[int, int, int, int, int, Array]:
    """Return kind, flags, episode, sequence, time and numbers of a datagram with a body of so many bytes."""
    if datagram[:4] != MAGIC:
        raise ForeignError(
            f"expected a datagram that begins with {MAGIC!r}, got {bytes(datagram[:4])!r}"
        )
    if len(datagram) < HEADER.size + CHECKSUM.size:
        raise MalformedError(f"a datagram of {len(datagram)} bytes holds no header")
    _, kind, flags, count, episode, sequence, time_ns = HEADER.unpack_from(datagram)
    start = HEADER.size + body
    if len(datagram) != start + 4 * count + CHECKSUM.size:
        raise MalformedError(f"{count} numbers do not make a datagram of {len(datagram)} bytes")
    (checksum,) = CHECKSUM.unpack_from(datagram, start + 4 * count)
    if zlib.crc32(datagram[: start + 4 * count]) != checksum:
        raise MalformedError("the checksum does not hold")
    values = np.frombuffer(datagram, "<f4", count, start).astype(np.float32)
    return kind, flags, episode, sequence, time_ns, values


class Sequence:
    """Tells from the numbers that arrive what was lost, arrived too late, or arrived twice."""

    def __init__(self) -> None:
        self.newest = 0
        self.lost = 0
        self._seen = 0  # bit i: newest − i has arrived

    def arrive(self, number: int) -> str:
        """Return what a number is: "new", "late" (a newer one was here before), or "twice".

        One that is late was counted as lost before, and is not any longer. Too old ones are late.
        """
        ahead = number - self.newest
        if ahead > 0:
            self.lost += ahead - 1
            self._seen = ((self._seen << min(ahead, WINDOW)) | 1) & ((1 << WINDOW) - 1)
            self.newest = number
            return "new"
        if -ahead >= WINDOW:
            return "late"
        if self._seen >> -ahead & 1:
            return "twice"
        self._seen |= 1 << -ahead
        self.lost -= 1
        return "late"


def _check_address(address: Any) -> None:
    match address:
        case (str(), int(port)) if not isinstance(port, bool) and 1 <= port <= 65_535:
            return
    raise ValueError(
        f'address must be a pair of host and port, such as ("127.0.0.1", 47111), got {address!r}'
    )


class UdpRobot:
    """A robot behind UDP, for `ControlLoop` (`read` and `write`) or for one's own steps (`reset` and `step`).

    Datagrams that are lost, late, doubled, damaged or somebody else's, and a robot that is not there, are survived
    and counted. One thread at a time may use it.

    Args:
        address: host and port of the robot.
        observation_size: O.
        action_size: A.
        timeout: how long `reset` and `step` wait for an answer [s].
        repeat: how often `reset` and `step` send again what is not answered [s]: sooner than the robot comes to rest
            for lack of commands.

    Raises:
        OSError: if the host is not known.
        ValueError: if the address is no pair of host and port, or a size or a time is none.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        observation_size: int,
        action_size: int,
        timeout: float = 5.0,
        repeat: float = 0.1,
    ) -> None:
        _check_address(address)
        for name, size in (("observation_size", observation_size), ("action_size", action_size)):
            if (
                isinstance(size, bool)
                or not isinstance(size, Integral)
                or not 1 <= size <= MAX_NUMBERS
            ):
                raise ValueError(
                    f"{name} must be a whole number from 1 to {MAX_NUMBERS}, got {size!r}"
                )
        for name, seconds in (("timeout", timeout), ("repeat", repeat)):
            if not isinstance(seconds, Real) or not 0 < seconds < math.inf:
                raise ValueError(f"{name} must be a time in seconds above 0, got {seconds!r}")
        self.address = address
        self.timeout = timeout
        self._repeat = repeat
        self._sizes = (observation_size, action_size)
        self.counts = dict.fromkeys(
            (
                *("sent", "received", "lost", "late", "twice", "of_another_episode"),
                *("foreign", "malformed", "socket_errors", "episodes_lost"),
            ),
            0,
        )
        """Datagrams by what became of them. "lost" observations are missing in their sequence, "late" ones came behind
        newer ones and were dropped, "of_another_episode" are leftovers. "episodes_lost": the robot knew nothing of
        the episode any longer, as after a restart."""
        self.period: float | None = None
        """The robot's control period [s], once it has said it."""
        try:
            found = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise OSError(f"no host {address[0]!r} is known: {error.strerror}") from error
        # "localhost" is often IPv6 first, and drivers mostly listen to IPv4.
        kind, *_, place = min(found, key=lambda one: one[0] != socket.AF_INET)
        self._socket = socket.socket(kind, socket.SOCK_DGRAM)
        # Connected: the kernel drops what others send, and tells when nobody listens.
        self._socket.connect(place)
        self._episode = secrets.randbelow(2**31) + 1
        self._sequence = 0
        self._arrived = Sequence()
        self._newest: Observation | None = None
        self._paid = 0.0
        self._unknown = False

    def reset(self) -> Reading:
        """Begin an episode, and return the first reading of it.

        Raises:
            TimeoutError: if no observation of it arrives in time.
        """
        self._episode = self._episode % (2**32 - 1) + 1
        self._begin()
        until = time.monotonic() + self.timeout
        while (left := until - time.monotonic()) > 0:
            self._send(RESET)
            if self._wait(min(left, self._repeat), lambda _: True):
                return self.read()
        raise TimeoutError(
            f"no robot at {self.address[0]}:{self.address[1]} began an episode within {self.timeout} s; "
            f"datagrams: {self._said()}"
        )

    def read(self) -> Reading:
        """Return the newest reading, at once: an old one again if nothing newer arrived."""
        self._drain()
        newest = self._newest
        if newest is None:
            return Reading(None, 0)
        reward, self._paid = newest.return_ - self._paid, newest.return_
        return Reading(
            newest.observation,
            newest.echo_ns + newest.hold_ns,
            reward,
            bool(newest.flags & TERMINATED),
            bool(newest.flags & TRUNCATED) or self._unknown,
        )

    def write(self, action: ArrayLike) -> None:
        """Send an action (A,).

        Raises:
            ValueError: if its shape is wrong or it is not finite.
        """
        values = np.asarray(action, np.float32).reshape(-1)
        if values.size != self._sizes[1] or not np.isfinite(values).all():
            raise ValueError(
                f"expected a finite action of {self._sizes[1]} numbers, got {action!r}"
            )
        self._send(STEP, values)

    def step(self, action: ArrayLike) -> Reading:
        """Send an action and return the first reading that the robot made with it: the robot sets the pace.

        An action that is not answered is sent again, as it or its answer may be lost: a robot takes the newest command
        in each of its periods, so that the same twice is the same.

        Raises:
            RuntimeError: if no episode was begun.
            TimeoutError: if none arrives in time.
            ValueError: as `write`.
        """
        self._drain()
        if self._newest is None:
            raise RuntimeError("no episode was begun: call reset() before step()")
        before = self._newest.step
        first = self._sequence + 1
        ended = TERMINATED | TRUNCATED

        def answered(newest: Observation) -> bool:
            made_with_it = newest.command >= first and newest.step > before
            return self._unknown or bool(newest.flags & ended) or made_with_it

        until = time.monotonic() + self.timeout
        while True:
            self.write(action)
            if self._wait(min(until - time.monotonic(), self._repeat), answered):
                return self.read()
            if time.monotonic() >= until:
                break
        raise TimeoutError(
            f"the robot at {self.address[0]}:{self.address[1]} did not answer within {self.timeout} s; "
            f"datagrams: {self._said()}"
        )

    def stop(self) -> None:
        """Tell the robot to come to rest: twice, as one may be lost and nobody answers."""
        self._send(STOP)
        self._send(STOP)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    @property
    def steps(self) -> int:
        """Control periods of the robot in this episode, as far as is known."""
        return 0 if self._newest is None else self._newest.step

    def _begin(self) -> None:
        self._sequence = 0
        self._arrived = Sequence()
        self._newest = None
        self._paid = 0.0
        self._unknown = False

    def _send(self, kind: int, action: ArrayLike = ()) -> None:
        self._sequence += 1
        values = np.asarray(action, np.float32)
        command = Command(kind, self._episode, self._sequence, time.monotonic_ns(), values)
        try:
            self._socket.setblocking(False)
            self._socket.send(pack_command(command))
            self.counts["sent"] += 1
        except OSError:  # nobody listens, or the network is down: the robot may come back
            self.counts["socket_errors"] += 1

    def _wait(self, seconds: float, enough: Any) -> bool:
        """Wait until the newest observation is enough; say whether it is."""
        until = time.monotonic() + seconds
        while True:
            self._drain()
            if self._newest is not None and enough(self._newest):
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            try:
                self._socket.settimeout(left)
                self._take(self._socket.recv(MAX_SIZE))
            except TimeoutError:
                pass
            except OSError:
                self.counts["socket_errors"] += 1
                # Told at once that nobody listens, which would be asked again without pause.
                time.sleep(min(left, 0.01))

    def _drain(self) -> None:
        self._socket.setblocking(False)
        for _ in range(MAX_DRAIN):
            try:
                self._take(self._socket.recv(MAX_SIZE))
            except BlockingIOError:
                return
            except OSError:
                self.counts["socket_errors"] += 1

    def _take(self, datagram: bytes) -> None:
        try:
            found = unpack_observation(datagram)
        except ForeignError:
            self.counts["foreign"] += 1
            return
        except MalformedError:
            self.counts["malformed"] += 1
            return
        if found.episode != self._episode:
            self.counts["of_another_episode"] += 1
        elif found.flags & UNKNOWN:  # it counts anew, so its sequence says nothing
            self.counts["episodes_lost"] += not self._unknown
            self._unknown = True
        elif found.observation.size != self._sizes[0] or not math.isfinite(found.return_):
            self.counts["malformed"] += 1
        else:
            lost = self._arrived.lost
            kind = self._arrived.arrive(found.sequence)
            self.counts["lost"] += self._arrived.lost - lost
            if kind == "new":
                self.counts["received"] += 1
                self.period = found.period_us / 1e6 or None
                self._newest = found
            else:
                self.counts[kind] += 1

    def _said(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)
