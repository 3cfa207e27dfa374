"""What the network bears, told to `somacast encode`."""

from __future__ import annotations

from pathlib import Path

import pytest

from somacast.cli.encode import Arguments, state_of
from somacast.errors import SomacastError
from somacast.network.congestion.monitor import pressure_of


def arguments(**said) -> Arguments:
    return Arguments(Path("a.png"), Path("a.soma"), **said)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({}, 0),
        ({"network_state": 0.5}, 128),
        ({"network_state": 1.0}, 255),
        ({"link": "10 Mbit/s, 5 ms"}, 0),
        ({"link": "9kbit/s,2s"}, 255),
        ({"link": "505kbit/s,20ms"}, 64),
        ({"link": "1000000bit/s,0.51s"}, 64),
    ],
)
def test_states_as_they_are_told(said, state):
    assert state_of(arguments(**said)) == state


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"link": "fast"}, "as 50kbit/s,200ms"),
        ({"link": "0kbit/s,1s"}, "as 50kbit/s,200ms"),
        ({"link": "50kbit/s"}, "as 50kbit/s,200ms"),
        ({"link": "50kbyte/s,1s"}, "as 50kbit/s,200ms"),
        ({"network_state": 1.1}, "from 0 to 1"),
        ({"network_state": float("nan")}, "finite"),
        ({"network_state": -0.1}, "from 0 to 1"),
        ({"link": "50kbit/s,1s", "network_state": 0.1}, "one of them"),
    ],
)
def test_what_is_no_state_is_refused(said, why):
    with pytest.raises(SomacastError, match=why):
        arguments(**said)


def test_a_link_is_under_pressure_as_far_as_it_is_slow_or_late():
    """eq. 18 with a = b = 1/2."""
    assert pressure_of(505e3, 0.51) == pytest.approx(0.5)
    assert pressure_of(505e3, 0.51, a=1.0) == pytest.approx(0.5)
    assert pressure_of(10e3, 0.02) == pressure_of(1e6, 1.0) == 0.5
    with pytest.raises(SomacastError, match="delay"):
        pressure_of(1e6, -1.0)
