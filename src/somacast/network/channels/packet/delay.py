"""Constant delay: exit = entry + d. Propagation, which depends neither on size nor on load.

Light in fibre needs about 5 us a kilometre; half of a round-trip time is the usual choice.
"""

from __future__ import annotations

from typing import ClassVar

from somacast.checks import check_number
from somacast.network.channels.packet.stage import Removal


class Delay:
    """Every datagram leaves `delay_s` >= 0 seconds after it came. Raises SomacastError on other values."""

    removes_as: ClassVar[Removal] = "lost"

    def __init__(self, delay_s: float) -> None:
        self.delay_s = check_number("delay_s", delay_s)

    def pass_on(self, time_s: float, wire_bytes: int) -> tuple[float, ...]:
        """The entry time plus the delay."""
        return (time_s + self.delay_s,)
