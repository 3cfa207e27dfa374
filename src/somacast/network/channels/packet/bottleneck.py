"""Bottleneck: a finite drop-tail queue in front of a wire with the capacity of a bandwidth trace.

A datagram of n bytes is sent whole, first come first served:

    start  = max(entry, finish of the one before)
    finish = the time when 8 n bits have fitted after `start`          serialisation delay = finish - start

The queue holds what waits to start; the datagram on the wire has left it. A datagram that finds the wire busy and the
queue without room for it is dropped; an idle wire takes any. With Poisson entries and equal sizes the mean wait before
the start is rho D / (2 (1 - rho)), D = 8 n / rate, rho = D * entries per second (M/D/1, Pollaczek-Khinchine).
"""

from __future__ import annotations

import math
from collections import deque
from typing import ClassVar

from somacast.checks import check_count, shown
from somacast.errors import SomacastError
from somacast.network.channels.packet.stage import Removal
from somacast.network.channels.packet.trace import BandwidthTrace


class Bottleneck:
    """capacity: a trace, or bit/s above 0; queue_bytes >= 0 and queue_datagrams >= 0 (1000: Linux' default).

    Raises SomacastError on other values, and when datagrams do not come in order of time.
    """

    removes_as: ClassVar[Removal] = "dropped"

    def __init__(self, capacity: BandwidthTrace | float, queue_bytes: int, *, queue_datagrams: int = 1000) -> None:
        self.trace = capacity if isinstance(capacity, BandwidthTrace) else BandwidthTrace.constant(capacity)
        self.queue_bytes = check_count("queue_bytes", queue_bytes)
        self.queue_datagrams = check_count("queue_datagrams", queue_datagrams)
        self.peak_bytes = 0  # the fullest the queue has been
        self._waiting: deque[tuple[float, int]] = deque()  # start in seconds and bytes of what has not started
        self._waiting_bytes = 0
        self._free_s = 0.0  # when the wire is free again
        self._now_s = -math.inf

    def pass_on(self, time_s: float, wire_bytes: int) -> tuple[float, ...]:
        """When the last bit has left the wire, or nothing if the queue was full. time_s >= 0, never falling."""
        waiting_bytes = self.backlog_bytes(time_s)
        start_s = max(time_s, self._free_s)
        if start_s > time_s:  # the wire is busy
            if waiting_bytes + wire_bytes > self.queue_bytes or len(self._waiting) >= self.queue_datagrams:
                return ()
            self._waiting.append((start_s, wire_bytes))
            self._waiting_bytes += wire_bytes
            self.peak_bytes = max(self.peak_bytes, self._waiting_bytes)
        self._free_s = self.trace.finish_s(start_s, 8 * wire_bytes)
        return (self._free_s,)

    def backlog_bytes(self, time_s: float) -> int:
        """Bytes that wait to start at `time_s`, which moves the model's clock: no earlier time may follow."""
        if not time_s >= self._now_s:
            raise SomacastError(f"time_s: expected at least {self._now_s:g}, the time reached, got {shown(time_s)}")
        self._now_s = time_s
        while self._waiting and self._waiting[0][0] <= time_s:
            self._waiting_bytes -= self._waiting.popleft()[1]
        return self._waiting_bytes
