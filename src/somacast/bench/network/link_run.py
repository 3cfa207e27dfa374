"""One sender, one receiver and a link whose capacity steps, on a simulated clock: the log of what happened.

    walking person -> labels within the budget (eq. 17) --\
    camera picture (as much as there is room for) --------> pace -> queue, wire, loss, delay -> receiver
                           rate control <- loss, delay <- reports <-------------------------------/
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from somacast.network.channels.packet.bottleneck import Bottleneck
from somacast.network.channels.packet.delay import Delay
from somacast.network.channels.packet.erasure import Erasure
from somacast.network.channels.packet.link import Link
from somacast.network.channels.packet.trace import BandwidthTrace
from somacast.network.congestion.budget import frame_budget_bytes
from somacast.network.congestion.feedback import FeedbackRecorder, parse_report
from somacast.network.congestion.rate_control import Controller

FPS, BATCH = 30, 3  # frames a second, frames in a datagram
TICKS = 4  # of the motion coder, a frame
UDP_BYTES, PACKET_BYTES = 28, 14  # around every datagram; around its payload
MIN_WIRE_BYTES, MAX_WIRE_BYTES = 60, 1228  # of a part of the picture
PART_S = 0.015  # time on the wire that a part should take
LABEL_SHARE = 0.95  # of the rate that labels may take
GROUPS = ("root", "pose", "hands")


@dataclass(frozen=True)
class LinkSetting:
    """times_s, rates_bps: the capacity; queue_bytes: drop-tail; delay_s: each way; loss: share of datagrams lost on
    the way there and of reports on the way back; end_s."""

    times_s: tuple[float, ...]
    rates_bps: tuple[float, ...]
    end_s: float
    queue_bytes: int = 12_500
    delay_s: float = 0.05
    loss: float = 0.0
    seed: int = 0


@dataclass
class LinkLog:
    """sent: (time, wire bytes, labels?) of every datagram; arrived: number to time; wire: (time in, time off the wire,
    nan if the queue dropped it, wire bytes); states: (time, f, state used, payload bytes of a frame, rho by group);
    rates: (time, rate)."""

    sent: list[tuple[float, int, bool]] = field(default_factory=list)
    arrived: dict[int, float] = field(default_factory=dict)
    wire: list[tuple[float, float, int]] = field(default_factory=list)
    states: list[tuple[float, int, int, float, tuple[float, ...]]] = field(default_factory=list)
    rates: list[tuple[float, float]] = field(default_factory=list)
    reports: int = 0
    report_bytes: int = 0
    dropped: int = 0
    lost: int = 0


class _Wire(Bottleneck):
    """A bottleneck that notes what becomes of each datagram."""

    def __init__(self, setting: LinkSetting, log: LinkLog) -> None:
        super().__init__(BandwidthTrace(setting.times_s, setting.rates_bps), setting.queue_bytes)
        self.log = log

    def pass_on(self, time_s: float, wire_bytes: int) -> tuple[float, ...]:
        """As every bottleneck."""
        exits = super().pass_on(time_s, wire_bytes)
        self.log.wire.append((time_s, exits[0] if exits else math.nan, wire_bytes))
        return exits


class Walker:
    """Real labels of a person who walks: a clip played to and fro, coded for a budget."""

    def __init__(self, seed: int) -> None:
        from somacast.synthetic.motion.builtin import builtin_clip
        from somacast.synthetic.scenes import draw_view
        from somacast.systems import registry

        rng = np.random.default_rng(seed)
        rotations, path = builtin_clip(rng, "walking", 8.0, float(FPS), "test")
        self.coder = registry.get(registry.DEFAULT).live.coder()
        self._values, _ = self.coder.rehearse(draw_view(rng, "test") @ rotations, path - [0, 0, 3.5])
        self._encoder = self.coder.encoder()
        self._number = 0

    def batch(self, lowest_state: int, budget_bytes: int) -> tuple[int, int, tuple[float, ...]]:
        """Payload bytes of the next BATCH frames, state of eq. 17 used, and mean rho of the labels of each group."""
        first, turn = self._number, len(self._values) - 1
        self._number += BATCH
        places = [turn - abs(k % (2 * turn) - turn) for k in range(first, first + BATCH)]
        frames = self._values[places]
        reference = None if first % (10 * BATCH) == 0 else TICKS * (first - 1)
        coded = self._encoder.encode(
            [TICKS * (first + k) for k in range(BATCH)], frames, lowest_state=lowest_state,
            budget_bytes=budget_bytes, reference=reference,
        )  # fmt: skip
        rho = self.coder.compression(frames[0], coded.state)
        return len(coded.payload), coded.state, tuple(rho.get(group, 0.0) for group in GROUPS)


class _Session:
    """The loop of events."""

    def __init__(self, setting: LinkSetting, controller: Controller, walker: Walker | None) -> None:
        streams = np.random.default_rng(setting.seed).spawn(2)
        self.setting, self.controller, self.walker, self.log = setting, controller, walker, LinkLog()
        there = [_Wire(setting, self.log), Erasure(setting.loss, streams[0]), Delay(setting.delay_s)]
        self.there = Link(there, header_bytes=UDP_BYTES)
        self.back = Link([Erasure(setting.loss, streams[1]), Delay(setting.delay_s)], header_bytes=UDP_BYTES)
        self.recorder = FeedbackRecorder()
        self.labels: deque[int] = deque(maxlen=2)  # wire bytes of datagrams that wait; older ones give way
        self.next_batch_s, self.next_send_s = 0.0, 0.0
        self.numbers = 0

    def run(self) -> LinkLog:
        """All of it."""
        now = 0.0
        while True:
            times = [self.next_batch_s, self.next_send_s, max(self.recorder.next_s, now)]
            times += [t for t in (self.there.next_s, self.back.next_s) if t is not None]
            now = min(times)
            if now > self.setting.end_s:
                break
            self._deliver(now)
            if now >= self.next_batch_s:
                self._make_labels(now)
            if now >= self.next_send_s:
                self._send(now)
        self.log.dropped, self.log.lost = self.there.statistics.dropped, self.there.statistics.lost
        return self.log

    def _deliver(self, now: float) -> None:
        for delivery in self.there.receive(now):
            number = int.from_bytes(delivery.payload[:4], "little")
            self.log.arrived[number] = delivery.time_s
            self.recorder.arrived(number % 65536, delivery.time_s, len(delivery.payload) + UDP_BYTES)
        if self.recorder.due(now):
            data = self.recorder.report(now)
            self.log.reports += 1
            self.log.report_bytes += len(data) + UDP_BYTES
            self.back.send(now, data)
        for delivery in self.back.receive(now):
            self.controller.reported(now, parse_report(delivery.payload))
            self.log.rates.append((now, self.controller.rate_bps(now)))
            self.next_send_s = now  # what it may do has changed

    def _make_labels(self, now: float) -> None:
        self.next_batch_s += BATCH / FPS
        f = self.controller.network_state(now)
        if self.walker is None:
            payload, state, rho = 60, f, (0.0,) * len(GROUPS)
        else:
            budget = frame_budget_bytes(
                self.controller.rate_bps(now), FPS, UDP_BYTES + PACKET_BYTES, frames_per_datagram=BATCH,
                share=LABEL_SHARE,
            )  # fmt: skip
            payload, state, rho = self.walker.batch(min(f, 254), max(BATCH * budget, 8))
        self.log.states.append((now, f, state, payload / BATCH, rho))
        self.labels.append(payload + UDP_BYTES + PACKET_BYTES)

    def _send(self, now: float) -> None:
        while True:
            rate = self.controller.rate_bps(now)
            part = int(min(max(rate * PART_S / 8, MIN_WIRE_BYTES), MAX_WIRE_BYTES))
            size = self.labels[0] if self.labels else part
            wait = self.controller.wait_s(now, size)
            if wait > 0:
                self.next_send_s = now + max(wait, 1e-6)
                return
            is_label = bool(self.labels)
            if is_label:
                self.labels.popleft()
            self.log.sent.append((now, size, is_label))
            self.there.send(now, self.numbers.to_bytes(4, "little") + bytes(size - UDP_BYTES - 4))
            self.controller.sent(now, self.numbers % 65536, size)
            self.numbers += 1


def run_link(setting: LinkSetting, make: Callable[[], Any], walker: Callable[[], Walker] | None) -> LinkLog:
    """What happens on the link with the controller that `make` gives. walker None: labels of a stated size, 60 bytes
    a batch (tests)."""
    return _Session(setting, make(), walker() if walker else None).run()
