"""A link by its usual numbers: what the command line and the benchmarks name, without choosing models by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.checks import check_generator, check_number, check_probability
from somacast.network.channels.packet.bottleneck import Bottleneck
from somacast.network.channels.packet.delay import Delay
from somacast.network.channels.packet.duplication import Duplication
from somacast.network.channels.packet.erasure import Erasure
from somacast.network.channels.packet.gilbert_elliott import GilbertElliott
from somacast.network.channels.packet.jitter import Jitter
from somacast.network.channels.packet.link import Link
from somacast.network.channels.packet.stage import Stage
from somacast.network.channels.packet.trace import BandwidthTrace


@dataclass(frozen=True)
class LinkProfile:
    """Queue and wire first, then loss (what is lost has used capacity), delay, jitter, duplication.

    Every value at its default leaves its model out. Values are checked when the link is built.
    """

    capacity: BandwidthTrace | float | None = None  # bit/s; None: no limit and no queue
    queue_bytes: int = 64_000
    delay_s: float = 0.0  # one way
    jitter_s: float = 0.0  # mean of exponential extra delay
    loss: float = 0.0  # mean, 0 to 1
    mean_burst: float | None = None  # mean run of losses in datagrams; None: independent losses
    duplication: float = 0.0  # probability, 0 to 1
    header_bytes: int = 28  # UDP on IPv4

    def build(self, rng: np.random.Generator) -> Link:
        """A fresh link with random streams spawned from `rng`. Raises SomacastError on values out of range."""
        streams = check_generator("rng", rng).spawn(3)
        check_probability("loss", self.loss)
        check_number("delay_s", self.delay_s)
        check_number("jitter_s", self.jitter_s)
        check_probability("duplication", self.duplication)
        stages: list[Stage] = []
        if self.capacity is not None:
            stages.append(Bottleneck(self.capacity, self.queue_bytes))
        if self.loss > 0 and self.mean_burst is None:
            stages.append(Erasure(self.loss, streams[0]))
        elif self.mean_burst is not None:
            stages.append(GilbertElliott.from_loss(self.loss, self.mean_burst, streams[0]))
        if self.delay_s > 0:
            stages.append(Delay(self.delay_s))
        if self.jitter_s > 0:
            stages.append(Jitter(self.jitter_s, streams[1]))
        if self.duplication > 0:
            stages.append(Duplication(self.duplication, streams[2]))
        return Link(stages, header_bytes=self.header_bytes)
