"""Erasure channel: every datagram is lost with the same probability, whatever became of the others.

P(lost) = p. Runs of losses are geometric with mean 1 / (1 - p) datagrams.
Source: P. Elias, "Coding for two noisy channels", 1955 (the erasure channel, here with datagrams for symbols).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from somacast.checks import check_generator, check_probability
from somacast.network.channels.packet.stage import Removal


class Erasure:
    """Independent loss. loss: probability in [0, 1]. Raises SomacastError on anything else."""

    removes_as: ClassVar[Removal] = "lost"

    def __init__(self, loss: float, rng: np.random.Generator) -> None:
        self.loss = check_probability("loss", loss)
        self._rng = check_generator("rng", rng)

    def pass_on(self, time_s: float, wire_bytes: int) -> tuple[float, ...]:
        """The entry time, or nothing."""
        return () if self._rng.random() < self.loss else (time_s,)
