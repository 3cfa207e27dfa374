"""Packet channel models say in one line what they expected and what came."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from somacast.errors import SomacastError
from somacast.network.channels.packet.bottleneck import Bottleneck
from somacast.network.channels.packet.delay import Delay
from somacast.network.channels.packet.duplication import Duplication
from somacast.network.channels.packet.erasure import Erasure
from somacast.network.channels.packet.gilbert_elliott import GilbertElliott
from somacast.network.channels.packet.jitter import Jitter
from somacast.network.channels.packet.link import Link
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.channels.packet.statistics import DelayRecord
from somacast.network.channels.packet.trace import BandwidthTrace


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


class Backwards:
    """A stage that breaks its promise."""

    removes_as = "lost"

    def pass_on(self, time_s: float, wire_bytes: int) -> tuple[float, ...]:
        return (time_s - 1,)


def used(link: Link) -> Link:
    link.receive(5.0)
    return link


def late_queue() -> None:
    queue = Bottleneck(1000, 10)
    queue.pass_on(2.0, 1)
    queue.pass_on(1.0, 1)


WRONG: dict[str, Callable[[], object]] = {
    "loss: expected a finite number from 0 to 1, got 1.5": lambda: Erasure(1.5, generator()),
    "loss: .* got nan": lambda: Erasure(math.nan, generator()),
    "loss: .* got '0.1'": lambda: Erasure("0.1", generator()),  # type: ignore[arg-type]
    "loss: .* got True": lambda: Erasure(True, generator()),
    "rng: expected a numpy.random.Generator, got 3": lambda: Erasure(0.5, 3),  # type: ignore[arg-type]
    "rng: .* got None": lambda: LinkProfile().build(None),  # type: ignore[arg-type]
    "loss: .* got -0.1": lambda: LinkProfile(loss=-0.1).build(generator()),
    "delay_s: .* got -1": lambda: LinkProfile(delay_s=-1).build(generator()),
    "jitter_s: .* got -1": lambda: LinkProfile(jitter_s=-1).build(generator()),
    "duplication: .* got -1": lambda: LinkProfile(duplication=-1).build(generator()),
    "good_to_bad: .* got 2": lambda: GilbertElliott(2, 0.5, generator()),
    "bad_to_good: .* got -1": lambda: GilbertElliott(0.2, -1, generator()),
    "loss_in_good: .* got 7": lambda: GilbertElliott(0.2, 0.1, generator(), loss_in_good=7),
    "loss_in_bad: .* got 7": lambda: GilbertElliott(0.2, 0.1, generator(), loss_in_bad=7),
    "expected at least one above 0, got 0 and 0": lambda: GilbertElliott(0, 0, generator()),
    "mean_burst: expected at least 9 for a mean loss of 0.9": lambda: GilbertElliott.from_loss(0.9, 2, generator()),
    "mean_burst: expected a finite number from 1, got 0.5": lambda: GilbertElliott.from_loss(0.1, 0.5, generator()),
    "delay_s: .* got inf": lambda: Delay(math.inf),
    "mean_s: .* got -1": lambda: Jitter(-1, generator()),
    "law: expected one of exponential, uniform, got 'normal'": lambda: Jitter(1, generator(), law="normal"),  # type: ignore[arg-type]
    "probability: .* got 3": lambda: Duplication(3, generator()),
    "lag_s: .* got -2": lambda: Duplication(0.1, generator(), lag_s=-2),
    "rate_bps: expected a finite number above 0, got 0": lambda: Bottleneck(0, 100),
    "queue_bytes: expected a whole number from 0, got 1.5": lambda: Bottleneck(100, 1.5),  # type: ignore[arg-type]
    "queue_datagrams: .* got -1": lambda: Bottleneck(100, 1, queue_datagrams=-1),
    "time_s: expected at least 2, the time reached, got 1.0": late_queue,
    "trace: expected as many times as rates, got 2 and 1": lambda: BandwidthTrace([0, 1], [5]),
    "trace: .* got 0 and 0": lambda: BandwidthTrace([], []),
    "times_s: expected ascending times from 0, got \\[1": lambda: BandwidthTrace([1], [5]),
    "times_s: expected ascending": lambda: BandwidthTrace([0, 2, 2], [5, 6, 7]),
    "times_s: expected a list of numbers": lambda: BandwidthTrace("ab", [5]),  # type: ignore[arg-type]
    "rates_bps: expected rates from 0, got -5": lambda: BandwidthTrace([0], [-5]),
    "rates_bps: expected a list of finite": lambda: BandwidthTrace([0], [math.nan]),
    "rates_bps: .* an outage without end": lambda: BandwidthTrace([0, 1], [5, 0]),
    "an outage without end": lambda: BandwidthTrace([0, 1], [0, 0], period_s=2),
    "period_s: expected a finite number above 1": lambda: BandwidthTrace([0, 1], [5, 0], period_s=1),
    "start_s: .* got -1": lambda: BandwidthTrace.constant(9).finish_s(-1, 5),
    "bits: .* got -5": lambda: BandwidthTrace.constant(9).finish_s(1, -5),
    "end_s: expected a finite number from 2, got 1": lambda: BandwidthTrace.constant(9).bits_between(2, 1),
    "stages: expected packet channel models, got 5": lambda: Link([5]),  # type: ignore[list-item]
    "header_bytes: .* got -1": lambda: Link(header_bytes=-1),
    "max_in_flight_bytes: .* got 0": lambda: Link(max_in_flight_bytes=0),
    "time_s: expected a finite number from 5, got 4": lambda: used(Link()).send(4, b""),
    "until_s: expected a finite number from 5, got 4": lambda: used(Link()).receive(4),
    "until_s: .* got inf": lambda: Link().receive(math.inf),
    "payload: expected bytes, got 'text'": lambda: Link().send(0, "text"),  # type: ignore[arg-type]
    "payload and header: .* to 65535, got 65536": lambda: Link(header_bytes=36).send(0, bytes(65_500)),
    "expected exits from 2 s, got \\(1.0,\\)": lambda: Link([Backwards()]).carry([(2.0, b"")]),  # type: ignore[list-item]
    "part: .* got 2": lambda: DelayRecord().quantile_s(2),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_give_one_clear_line(message: str) -> None:
    with pytest.raises(SomacastError, match=message) as caught:
        WRONG[message]()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 160
