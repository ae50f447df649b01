from __future__ import annotations

import pytest

from metamotor.robots.delay import Delay


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_things_arrive_after_so_many_steps(steps: int) -> None:
    line = Delay(0)
    line.steps = steps
    assert [line.send(item) for item in range(1, 8)] == [
        max(0, item - steps) for item in range(1, 8)
    ]


def test_what_arrived_last_stays_while_a_line_grows() -> None:
    line = Delay(0)
    line.steps = 1
    assert [line.send(item) for item in (1, 2, 3)] == [0, 1, 2]
    line.steps = 3
    assert line.arrived == 2
    assert [line.send(item) for item in (4, 5, 6, 7)] == [2, 2, 3, 4]


def test_what_is_older_is_lost_when_a_line_shrinks() -> None:
    line = Delay(0)
    line.steps = 3
    assert [line.send(item) for item in (1, 2, 3, 4)] == [0, 0, 0, 1]
    line.steps = 1
    assert [line.send(item) for item in (5, 6)] == [4, 5]
    line.steps = 0
    assert line.send(7) == 7
    line.steps = 2
    assert [line.send(item) for item in (8, 9, 10)] == [7, 7, 8], "nothing from before comes back"


def test_a_new_start_forgets_what_is_under_way() -> None:
    line = Delay(0)
    line.steps = 2
    line.send(1)
    line.restart(9)
    assert (line.steps, line.arrived) == (2, 9)
    assert [line.send(item) for item in (5, 6, 7)] == [9, 9, 5]
