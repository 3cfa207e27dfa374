"""Duplication: with probability p a datagram leaves twice, the copy `lag_s` after the first.

The mean number of exits is 1 + p. With a lag the copy may arrive behind later datagrams.
Source: the packet duplication metric of RFC 5560.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from somacast.checks import check_generator, check_number, check_probability
from somacast.network.channels.packet.stage import Removal


class Duplication:
    """probability in [0, 1]; lag_s >= 0 seconds. Raises SomacastError on other values."""

    removes_as: ClassVar[Removal] = "lost"

    def __init__(self, probability: float, rng: np.random.Generator, *, lag_s: float = 0.0) -> None:
        self.probability = check_probability("probability", probability)
        self.lag_s = check_number("lag_s", lag_s)
        self._rng = check_generator("rng", rng)

    def pass_on(self, time_s: float, wire_bytes: int) -> tuple[float, ...]:
        """The entry time, once or twice."""
        return (time_s, time_s + self.lag_s) if self._rng.random() < self.probability else (time_s,)
