"""Datagrams say what they say or are refused; what is lost, late or doubled is counted."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from metamotor.deploy.runtime import UdpRobot, udp

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
VALUES = nps.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32))
COMMANDS = st.builds(udp.Command, st.sampled_from([1, 2, 3]), U32, U32, U64, VALUES)
OBSERVATIONS = st.builds(
    udp.Observation,
    flags=st.integers(0, 7),
    episode=U32,
    sequence=U32,
    time_ns=U64,
    step=U32,
    command=U32,
    echo_ns=U64,
    hold_ns=st.integers(-(2**63), 2**63 - 1),
    return_=st.floats(),
    period_us=U32,
    observation=VALUES,
)


@settings(deadline=None)
@given(COMMANDS, OBSERVATIONS)
def test_datagrams_come_back_as_they_were(
    command: udp.Command, observation: udp.Observation
) -> None:
    packed: Any
    for given_, packed, unpack in (
        (command, udp.pack_command(command), udp.unpack_command),
        (observation, udp.pack_observation(observation), udp.unpack_observation),
    ):
        np.testing.assert_equal(tuple(unpack(packed)), tuple(given_))


@settings(deadline=None)
@given(OBSERVATIONS, st.data())
def test_a_damaged_datagram_is_refused(observation: udp.Observation, data: st.DataObject) -> None:
    packed = bytearray(udp.pack_observation(observation))
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((udp.ForeignError, udp.MalformedError)):
        udp.unpack_observation(bytes(packed))
    length = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises((udp.ForeignError, udp.MalformedError)):
        udp.unpack_observation(udp.pack_observation(observation)[:length])


@settings(deadline=None)
@given(st.binary(max_size=120), st.booleans())
def test_noise_is_refused(noise: bytes, disguised: bool) -> None:
    for unpack in (udp.unpack_command, udp.unpack_observation):
        with pytest.raises(udp.MalformedError if disguised else udp.ForeignError):
            unpack(udp.MAGIC + noise if disguised else b"X" + noise)


def test_a_command_is_no_observation() -> None:
    command = udp.pack_command(udp.Command(udp.STEP, 1, 1, 1, np.zeros(8, np.float32)))
    with pytest.raises(udp.MalformedError):
        udp.unpack_observation(command)


def test_the_layout_is_the_documented_one() -> None:
    packed = udp.pack_command(udp.Command(2, 7, 9, 11, np.array([1.5], np.float32)))
    assert packed[:24] == (
        b"MMR1\x02\x00\x01\x00" + b"\x07\0\0\0" + b"\x09\0\0\0" + b"\x0b\0\0\0\0\0\0\0"
    )
    assert packed[24:28] == np.float32(1.5).tobytes()
    assert len(packed) == 32
    empty = udp.Observation(1, 2, 3, 4, 5, 6, 7, -8, 9.0, 10, np.zeros(0, np.float32))
    packed = udp.pack_observation(empty)
    assert len(packed) == 24 + 36 + 4
    assert packed[40:48] == (-8).to_bytes(8, "little", signed=True)
    assert packed[56:60] == b"\x0a\0\0\0"


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=120))
def test_the_sequence_tells_what_is_missing(numbers: list[int]) -> None:
    sequence, arrived, newest = udp.Sequence(), set[int](), 0
    for number in numbers:
        expected = "new" if number > newest else "twice" if number in arrived else "late"
        assert sequence.arrive(number) == expected
        arrived.add(number)
        newest = max(newest, number)
        assert sequence.lost == newest - len(arrived)
        assert sequence.newest == newest


def test_far_behind_is_late() -> None:
    sequence = udp.Sequence()
    sequence.arrive(1)
    assert sequence.arrive(2**31) == "new"
    assert sequence.arrive(1) == "late"
    assert sequence.arrive(2**31 - 63) == "late"
    assert sequence.arrive(2**31 - 63) == "twice"


class Peer:
    """A robot's socket, by hand."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(5)
        self.client: Any = None
        self.sequence = 0

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.socket.getsockname()
        return str(host), int(port)

    def receive(self) -> udp.Command:
        datagram, self.client = self.socket.recvfrom(2000)
        return udp.unpack_command(datagram)

    def answer(self, command: udp.Command, **changes: Any) -> None:
        self.sequence = changes.get("sequence", self.sequence + 1)
        found = udp.Observation(
            flags=0,
            episode=command.episode,
            sequence=self.sequence,
            time_ns=5,
            step=self.sequence,
            command=command.sequence,
            echo_ns=command.time_ns,
            hold_ns=0,
            return_=0.0,
            period_us=20_000,
            observation=np.zeros(2, np.float32),
        )
        self.send(udp.pack_observation(found._replace(**changes)))

    def send(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.client)


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.socket.close()


@pytest.fixture
def robot(peer: Peer) -> Iterator[UdpRobot]:
    robot = UdpRobot(peer.address, observation_size=2, action_size=1, timeout=0.2, repeat=0.05)
    yield robot
    robot.close()


def counted(robot: UdpRobot) -> dict[str, int]:
    return {name: count for name, count in robot.counts.items() if count}


def begin(robot: UdpRobot, peer: Peer) -> udp.Command:
    """Begin an episode and return the command to answer to."""
    with pytest.raises(TimeoutError, match=r"no robot at 127\.0\.0\.1:\d+ began an episode within"):
        robot.reset()
    command = peer.receive()
    while command.sequence < 4:
        command = peer.receive()
    robot.counts["sent"] = 0
    return command


def test_a_reset_is_asked_for_again_and_again(robot: UdpRobot, peer: Peer) -> None:
    assert begin(robot, peer).kind == udp.RESET
    first = begin(robot, peer)
    assert first.episode == begin(robot, peer).episode - 1


def test_the_newest_observation_is_read_with_all_that_was_earned(
    robot: UdpRobot, peer: Peer
) -> None:
    command = begin(robot, peer)
    assert robot.read().observation is None
    peer.answer(command, return_=1.0)
    peer.answer(command, sequence=5, return_=4.0, observation=np.array([3, 4], np.float32))
    peer.answer(command, sequence=4, return_=3.0)
    peer.answer(command, sequence=5, return_=4.0)
    peer.answer(command, sequence=6, episode=command.episode - 1)
    reading = robot.read()
    np.testing.assert_array_equal(reading.observation, [3, 4])
    assert reading.reward == 4.0
    assert robot.read().reward == 0.0
    assert counted(robot) == {
        "received": 2,
        "lost": 2,
        "late": 1,
        "twice": 1,
        "of_another_episode": 1,
    }
    assert robot.period == 0.02


def test_an_observation_is_as_old_as_the_echo_says(robot: UdpRobot, peer: Peer) -> None:
    command = begin(robot, peer)
    peer.answer(command, hold_ns=7_000_000, time_ns=2**60)  # the robot's own clock says nothing
    assert robot.read().observed_ns == command.time_ns + 7_000_000
    assert command.time_ns <= time.monotonic_ns()


def test_noise_and_numbers_of_another_robot_are_counted(robot: UdpRobot, peer: Peer) -> None:
    command = begin(robot, peer)
    peer.send(b"")
    peer.send(b"hello")
    peer.send(udp.MAGIC)
    peer.answer(command, observation=np.zeros(3, np.float32))
    peer.answer(command, return_=float("nan"))
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.sendto(b"let me in", peer.client)  # another sender: the kernel drops it
    stranger.close()
    assert robot.read().observation is None
    assert counted(robot) == {"foreign": 2, "malformed": 3}


def test_a_flood_does_not_hold_up_a_reading(robot: UdpRobot, peer: Peer) -> None:
    begin(robot, peer)
    for _ in range(3 * udp.MAX_DRAIN):
        peer.send(b"flood")
    robot.read()
    assert 0 < robot.counts["foreign"] <= udp.MAX_DRAIN


def test_a_robot_that_forgot_the_episode_ends_it(robot: UdpRobot, peer: Peer) -> None:
    command = begin(robot, peer)
    peer.answer(command)
    assert not robot.read().truncated
    nothing = np.zeros(0, np.float32)
    peer.answer(command, flags=udp.UNKNOWN, sequence=1, observation=nothing)
    assert robot.read().truncated
    assert robot.counts["episodes_lost"] == 1
    assert robot.step([0.0]).truncated


def test_an_action_that_is_lost_is_sent_again(robot: UdpRobot, peer: Peer) -> None:
    peer.answer(begin(robot, peer))
    robot.read()
    robot.timeout = 5.0
    sent: list[udp.Command] = []

    def answer_the_third() -> None:
        sent.extend(peer.receive() for _ in range(3))
        # What it observed before it knew of the action is no answer.
        peer.answer(sent[0]._replace(sequence=sent[0].sequence - 1), step=3)
        peer.answer(sent[-1], step=4, return_=7.0)

    thread = Thread(target=answer_the_third)
    thread.start()
    reading = robot.step([0.25])
    thread.join()
    assert reading.reward == 7.0
    assert [command.kind for command in sent] == [udp.STEP] * 3
    assert [command.action.tolist() for command in sent] == [[0.25]] * 3
    assert [command.sequence for command in sent] == [5, 6, 7]


def test_an_action_is_looked_at_however_short_the_time(robot: UdpRobot, peer: Peer) -> None:
    peer.answer(begin(robot, peer))
    robot.read()
    robot.timeout = 1e-9
    with pytest.raises(ValueError, match="finite action"):
        robot.step([np.nan])
    with pytest.raises(TimeoutError, match="did not answer"):
        robot.step([0.5])
    assert robot.counts["sent"] == 1


def test_a_step_wants_an_episode(robot: UdpRobot, peer: Peer) -> None:
    with pytest.raises(RuntimeError, match=r"call reset\(\) before step\(\)"):
        robot.step([0.0])
    begin(robot, peer)
    with pytest.raises(RuntimeError, match=r"call reset\(\) before step\(\)"):
        robot.step([0.0])


def test_a_name_of_two_kinds_is_reached_by_ipv4(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = socket.getaddrinfo(*peer.address, type=socket.SOCK_DGRAM)
    other = (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", peer.address[1], 0, 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [other, found])
    robot = UdpRobot(("robot.local", peer.address[1]), observation_size=2, action_size=1)
    robot.write([0.5])
    assert peer.receive().action.tolist() == [0.5]
    robot.close()


def test_nobody_there_is_survived_and_counted(robot: UdpRobot, peer: Peer) -> None:
    peer.answer(begin(robot, peer))
    robot.read()
    peer.socket.close()
    for _ in range(5):
        robot.write([0.5])
        assert robot.read().observation is not None
    assert robot.counts["socket_errors"] >= 2
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"did not answer within 0\.2 s"):
        robot.step([0.5])
    assert time.monotonic() - start < 2
    robot.stop()


@pytest.mark.parametrize("action", [[1.0, 2.0], [float("nan")], []])
def test_only_actions_are_sent(robot: UdpRobot, action: Any) -> None:
    with pytest.raises(ValueError, match="expected a finite action of 1 numbers"):
        robot.write(action)


def test_wrong_arguments_are_refused() -> None:
    address = ("127.0.0.1", 9)
    for size in (0, "3", 3.5, True):
        with pytest.raises(ValueError, match="observation_size must be a whole number from 1 to"):
            UdpRobot(address, observation_size=size, action_size=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout must be a time in seconds above 0, got '1'"):
        UdpRobot(address, observation_size=1, action_size=1, timeout="1")  # type: ignore[arg-type]
    with pytest.raises(OSError, match=r"no host 'robot\.invalid' is known"):
        UdpRobot(("robot.invalid", 9), observation_size=1, action_size=1)
    for wrong in ("127.0.0.1:47111", ("127.0.0.1", "9"), ("127.0.0.1", 0), 9):
        with pytest.raises(ValueError, match=r"address must be a pair of host and port.* got "):
            UdpRobot(wrong, observation_size=1, action_size=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout must be a time"):
        UdpRobot(address, observation_size=1, action_size=1, timeout=0.0)
