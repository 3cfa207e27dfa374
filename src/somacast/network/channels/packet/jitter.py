"""Jitter: every datagram waits a random time of its own, so that a later one may overtake it.

    exponential   P(wait > t) = exp(-t / m)         mean m, standard deviation m
    uniform       wait in [0, 2 m)                  mean m, standard deviation m / sqrt(3)

Two datagrams sent d seconds apart swap with probability exp(-d / m) / 2 under exponential jitter.
`in_order` holds a datagram back until those before it have left, as a path with one queue does.
Source: the delay variation of RFC 3393, as a lag behind the fastest datagram.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np

from somacast.checks import check_generator, check_number, shown
from somacast.errors import SomacastError
from somacast.network.channels.packet.stage import Removal

LAWS = ("exponential", "uniform")


class Jitter:
    """Random extra delay with mean `mean_s` >= 0 seconds. Raises SomacastError on other values or an unknown law."""

    removes_as: ClassVar[Removal] = "lost"

    def __init__(
        self,
        mean_s: float,
        rng: np.random.Generator,
        *,
        law: Literal["exponential", "uniform"] = "exponential",
        in_order: bool = False,
    ) -> None:
        self.mean_s = check_number("mean_s", mean_s)
        self._rng = check_generator("rng", rng)
        if law not in LAWS:
            raise SomacastError(f"law: expected one of {', '.join(LAWS)}, got {shown(law)}")
        self.law = law
        self.in_order = in_order
        self._last_exit_s = -math.inf

    def pass_on(self, time_s: float, wire_bytes: int) -> tuple[float, ...]:
        """The entry time plus a wait."""
        wait = self._rng.standard_exponential() if self.law == "exponential" else 2 * self._rng.random()
        exit_s = time_s + self.mean_s * float(wait)
        if self.in_order:
            exit_s = self._last_exit_s = max(exit_s, self._last_exit_s)
        return (exit_s,)
