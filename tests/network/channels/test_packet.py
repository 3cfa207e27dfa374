"""Packet channel models against closed forms: loss, bursts, queues, traces, order, and that no datagram is forgotten.

Bounds are four and a half standard errors of the estimate: a right model with another seed fails once in 100,000 tests.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.network.channels.packet.bottleneck import Bottleneck
from somacast.network.channels.packet.delay import Delay
from somacast.network.channels.packet.duplication import Duplication
from somacast.network.channels.packet.erasure import Erasure
from somacast.network.channels.packet.gilbert_elliott import GilbertElliott
from somacast.network.channels.packet.jitter import Jitter
from somacast.network.channels.packet.link import Delivery, Link
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.channels.packet.stage import Stage
from somacast.network.channels.packet.statistics import DelayRecord
from somacast.network.channels.packet.trace import BandwidthTrace

SIGMAS = 4.5


def generator(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


def losses(stage: Stage, count: int) -> np.ndarray:
    """Which of `count` datagrams a loss model removes: [count] bool."""
    return np.array([not stage.pass_on(0.0, 100) for _ in range(count)])


def runs(lost: np.ndarray) -> np.ndarray:
    """Lengths of the runs of losses that end before the last datagram."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(int)))
    lengths = edges[1::2] - edges[::2]
    return lengths[:-1] if lost[-1] else lengths


def numbered(count: int, gap_s: float) -> list[tuple[float, bytes]]:
    return [(i * gap_s, i.to_bytes(4, "big")) for i in range(count)]


def order(deliveries: list[Delivery]) -> list[int]:
    return [int.from_bytes(payload, "big") for _, payload in deliveries]


# loss ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.01, 0.3, 0.9])
def test_erasure_loses_independently(loss: float) -> None:
    lost = losses(Erasure(loss, generator()), 20_000)
    assert abs(lost.mean() - loss) < SIGMAS * math.sqrt(loss * (1 - loss) / len(lost))
    lengths = runs(lost)  # geometric: mean 1 / (1 - p), variance p / (1 - p)^2
    assert abs(lengths.mean() - 1 / (1 - loss)) < SIGMAS * math.sqrt(loss / len(lengths)) / (1 - loss)


def test_erasure_at_its_ends() -> None:
    assert not losses(Erasure(0.0, generator()), 1000).any()
    assert losses(Erasure(1.0, generator()), 1000).all()


@pytest.mark.parametrize(("loss", "burst"), [(0.1, 5.0), (0.3, 1.5), (0.02, 20.0), (0.5, 2.0)])
def test_gilbert_stationary_loss_and_burst_length(loss: float, burst: float) -> None:
    chain = GilbertElliott.from_loss(loss, burst, generator())
    p, r = chain.good_to_bad, chain.bad_to_good
    assert p / (p + r) == pytest.approx(loss) and 1 / r == pytest.approx(burst)
    assert chain.mean_loss == pytest.approx(loss) and chain.mean_burst == pytest.approx(burst)
    lost = losses(chain, 40_000)
    memory = 1 - p - r  # the chain's second eigenvalue: what one datagram tells about the next
    error = math.sqrt(loss * (1 - loss) / len(lost) * (1 + memory) / (1 - memory))
    assert abs(lost.mean() - loss) < SIGMAS * error
    lengths = runs(lost)
    assert abs(lengths.mean() - burst) < SIGMAS * math.sqrt((1 - r) / len(lengths)) / r + 1e-9


def test_elliott_with_loss_in_both_states() -> None:
    chain = GilbertElliott(0.05, 0.2, generator(), loss_in_good=0.02, loss_in_bad=0.6)
    loss = (0.2 * 0.02 + 0.05 * 0.6) / 0.25
    assert chain.mean_loss == pytest.approx(loss)
    lost = losses(chain, 40_000)
    # autocovariance at lag k: (h_b - h_g)^2 P(bad) P(good) memory^k
    std = loss * (1 - loss) + 2 * 0.58**2 * 0.2 * 0.8 * 0.75 / 0.25
    assert abs(lost.mean() - loss) < SIGMAS * math.sqrt(std / len(lost))
    lengths = runs(lost)
    assert abs(lengths.mean() - chain.mean_burst) < SIGMAS * lengths.std() / math.sqrt(len(lengths))
    assert chain.mean_burst > 1 / (1 - loss) * 1.5  # and longer than those of independent losses


def test_gilbert_elliott_with_equal_states_is_an_erasure() -> None:
    chain = GilbertElliott(0.3, 0.4, generator(), loss_in_good=0.25, loss_in_bad=0.25)
    assert chain.mean_loss == pytest.approx(0.25)
    assert chain.mean_burst == pytest.approx(1 / 0.75)


def test_gilbert_elliott_begins_in_its_stationary_law() -> None:
    first = [losses(GilbertElliott.from_loss(0.3, 50, generator(seed)), 1)[0] for seed in range(500)]
    assert abs(np.mean(first) - 0.3) < SIGMAS * math.sqrt(0.21 / 500)


def test_gilbert_elliott_at_its_ends() -> None:
    assert GilbertElliott.from_loss(0.0, 3, generator()).mean_burst == 0
    assert GilbertElliott(1.0, 0.0, generator()).mean_burst == math.inf


# delay, jitter, duplication ------------------------------------------------------------------------------------------


def test_delay_is_exact() -> None:
    link = Link([Delay(0.05), Delay(0.2)])
    assert link.carry([(1.0, b"a"), (1.0, b"b"), (2.0, b"c")]) == [(1.25, b"a"), (1.25, b"b"), (2.25, b"c")]
    delays = link.statistics.delays
    assert delays.min_s == pytest.approx(0.25) == delays.max_s


@pytest.mark.parametrize(("law", "deviation"), [("exponential", 1.0), ("uniform", 1 / math.sqrt(3))])
def test_jitter_has_its_mean_and_deviation(law, deviation: float) -> None:
    jitter = Jitter(0.02, generator(), law=law)
    waits = np.array([jitter.pass_on(5.0, 1)[0] - 5.0 for _ in range(10_000)])
    assert waits.min() >= 0
    assert abs(waits.mean() / 0.02 - 1) < SIGMAS * deviation / 100
    assert waits.std() / 0.02 == pytest.approx(deviation, rel=0.05)


def test_exponential_jitter_swaps_pairs_as_often_as_it_should() -> None:
    gap, mean, count = 0.01, 0.02, 4000
    link = Link([Jitter(mean, generator())])
    sends = [(i + late * gap, bytes([late])) for i in range(count) for late in (0, 1)]  # pairs a second apart
    arrivals = link.carry(sends)
    swapped = sum(payload == b"\1" for _, payload in arrivals[::2]) / count
    want = math.exp(-gap / mean) / 2
    assert abs(swapped - want) < SIGMAS * math.sqrt(want * (1 - want) / count)
    assert link.statistics.reordered == round(swapped * count)


def test_only_jitter_and_late_copies_reorder() -> None:
    def arrivals(*extra: Stage) -> Link:
        rng = generator()
        trace = BandwidthTrace([0, 1, 2], [1e5, 2e4, 3e5], period_s=3)
        chain: list[Stage] = [GilbertElliott.from_loss(0.2, 3, rng), Duplication(0.2, rng), Bottleneck(trace, 3000)]
        link = Link([*chain, Erasure(0.1, rng), Delay(0.03), *extra], header_bytes=40)
        got = link.carry(numbered(1000, 0.005))
        assert [d.time_s for d in got] == sorted(d.time_s for d in got)
        assert (order(got) != sorted(order(got))) == (link.statistics.reordered > 0)
        return link

    assert arrivals().statistics.reordered == 0
    assert arrivals(Jitter(0.05, generator(), in_order=True)).statistics.reordered == 0
    assert arrivals(Jitter(0.05, generator())).statistics.reordered > 50
    assert arrivals(Duplication(0.5, generator(), lag_s=0.1)).statistics.reordered > 50


def test_duplication_makes_its_share_of_copies() -> None:
    link = Link([Duplication(0.3, generator(), lag_s=0.5)])
    arrived = order(link.carry(numbered(3000, 1.0)))
    copies = len(arrived) - 3000
    assert copies == link.statistics.duplicated
    assert abs(copies / 3000 - 0.3) < SIGMAS * math.sqrt(0.21 / 3000)
    assert set(arrived) == set(range(3000)) and max(arrived.count(i) for i in range(50)) == 2


# trace and queue -----------------------------------------------------------------------------------------------------


def test_serialisation_time_is_exact() -> None:
    trace = BandwidthTrace([0, 2, 3], [8000, 0, 16000])
    assert trace.finish_s(0, 8000) == 1
    assert trace.finish_s(0, 16000) == 2  # just before the outage
    assert trace.finish_s(1.5, 4000 + 8000) == 3.5  # through the outage
    assert trace.finish_s(2.25, 16000) == 4
    assert trace.finish_s(9, 1600) == 9.1
    assert [trace.rate_bps(t) for t in (0, 1.99, 2, 3, 50)] == [8000, 8000, 0, 16000, 16000]
    assert BandwidthTrace.constant(50_000).finish_s(3.0, 8 * 500) == 3.08


def test_trace_repeats() -> None:
    trace = BandwidthTrace([0, 1], [1000, 0], period_s=4)
    assert trace.finish_s(0, 1000) == 1
    assert trace.finish_s(0, 1500) == 4.5
    assert trace.finish_s(2, 3000) == 13
    assert trace.finish_s(0, 1_000_000) == 4 * 999 + 1  # many periods at once
    assert trace.rate_bps(8.5) == 1000 and trace.rate_bps(9.5) == 0
    assert trace.bits_between(0.5, 8.25) == 500 + 1000 + 250


@st.composite
def traces(draw: st.DrawFn) -> BandwidthTrace:
    steps = draw(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 50)), min_size=1, max_size=6))
    times = np.concatenate([[0], np.cumsum([s for s, _ in steps])]) / 8
    rates = [r * 100.0 for _, r in steps]
    if draw(st.booleans()) and max(rates) > 0:
        return BandwidthTrace(times[:-1].tolist(), rates, period_s=float(times[-1]))
    return BandwidthTrace(times.tolist(), [*rates, float(draw(st.integers(1, 50)))])


@settings(max_examples=100, deadline=None)
@given(traces(), st.floats(0, 40), st.floats(0.5, 20_000))
def test_finish_is_when_the_bits_have_fitted(trace: BandwidthTrace, start_s: float, bits: float) -> None:
    end_s = trace.finish_s(start_s, bits)
    assert end_s > start_s
    assert trace.bits_between(start_s, end_s) == pytest.approx(bits, rel=1e-6, abs=1e-6)
    middle_s = start_s + 0.6 * (end_s - start_s)
    assert trace.finish_s(middle_s, 10) >= trace.finish_s(start_s, 10)  # who starts later never finishes earlier


def test_queue_drops_what_does_not_fit() -> None:
    link = Link([Bottleneck(8000, 2000)])  # one byte a millisecond
    got = link.carry([(0.0, bytes(1000)), (0.0, bytes(1000)), (0.0, bytes(999)), (0.0, bytes(2)), (0.0, b"x")])
    # the first is on the wire at once; 1999 bytes wait, two more do not fit, one does
    assert [(d.time_s, len(d.payload)) for d in got] == [(1.0, 1000), (2.0, 1000), (2.999, 999), (3.0, 1)]
    assert link.statistics.dropped == 1 and link.statistics.lost == 0
    assert [stage.peak_bytes for stage in link.stages if isinstance(stage, Bottleneck)] == [2000]


def test_queue_is_limited_in_datagrams_and_may_be_none() -> None:
    link = Link([Bottleneck(8000, 10**9, queue_datagrams=3)])
    assert len(link.carry([(0.0, b"x")] * 10)) == 4
    link = Link([Bottleneck(8000, 0)])
    assert len(link.carry([(0.0, bytes(100)), (0.05, b"busy"), (0.1, b"free"), (0.2, b"idle")])) == 3


def test_header_bytes_take_time_on_the_wire() -> None:
    link = Link([Bottleneck(8000, 1000)], header_bytes=60)
    link.send(0.0, bytes(40))
    link.send(1.0, bytes(40), header_bytes=10)
    assert [d.time_s for d in link.drain()] == [0.1, 1.05]
    assert link.statistics.sent_bytes == link.statistics.delivered_bytes == 150


def test_queue_delay_equals_lindley() -> None:
    rng = generator()
    count = 5000
    entries_s = np.cumsum(rng.exponential(0.01, count))
    sizes = rng.integers(1, 200, count)
    queue = Bottleneck(80_000, 10**9, queue_datagrams=10**6)
    exits_s = np.array([queue.pass_on(t, int(n))[0] for t, n in zip(entries_s, sizes, strict=True)])
    work_s = np.cumsum(sizes / 10_000)  # exit = work + the latest moment at which the wire was idle, in work's time
    want = work_s + np.maximum.accumulate(entries_s - work_s + sizes / 10_000)
    np.testing.assert_allclose(exits_s, want, rtol=0, atol=1e-9)


@pytest.mark.parametrize("rho", [0.3, 0.6])
def test_mean_wait_is_that_of_m_d_1(rho: float) -> None:
    count, service_s = 30_000, 0.01
    entries_s = np.cumsum(generator().exponential(service_s / rho, count))
    queue = Bottleneck(80_000, 10**9, queue_datagrams=10**6)
    exits_s = np.array([queue.pass_on(t, 100)[0] for t in entries_s])
    waits_s = exits_s - entries_s - service_s
    want_s = rho * service_s / (2 * (1 - rho))
    means = waits_s.reshape(30, -1).mean(1)  # waits resemble their neighbours; means of a thousand hardly do
    assert abs(waits_s.mean() - want_s) < SIGMAS * means.std(ddof=1) / math.sqrt(30)
    assert waits_s.mean() == pytest.approx(want_s, rel=0.08)
    assert np.mean(waits_s < 1e-9) == pytest.approx(1 - rho, abs=0.02)  # an idle wire is found with 1 - rho


def test_overload_delivers_the_capacity() -> None:
    trace = BandwidthTrace([0, 5], [40_000, 10_000])
    link = Link([Bottleneck(trace, 5000), Delay(0.1)], header_bytes=28)
    for time_s, payload in numbered(5000, 0.002):
        link.send(time_s, payload + bytes(68))
    got = link.receive(10.1)
    assert 8 * 100 * len(got) == pytest.approx(trace.bits_between(0, 10), abs=800)
    assert link.statistics.delays.max_s <= 0.1 + 8 * 5100 / 10_000 + 1e-9  # a full queue at the lower rate
    assert link.statistics.dropped > 0.6 * 5000


# the link as a whole -------------------------------------------------------------------------------------------------

HARD = LinkProfile(
    BandwidthTrace([0, 1, 2], [60_000, 0, 30_000], period_s=3),
    queue_bytes=2000, delay_s=0.05, jitter_s=0.02, loss=0.2, mean_burst=4, duplication=0.1, header_bytes=60,
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.floats(0, 0.2), st.integers(0, 300)), max_size=120))
def test_every_datagram_is_accounted_for(seed: int, sends: list[tuple[float, int]]) -> None:
    link = HARD.build(generator(seed))
    counts = link.statistics
    time_s, arrived = 0.0, 0
    for gap_s, size in sends:
        time_s += gap_s
        arrived += len(link.receive(time_s))
        link.send(time_s, bytes(size))
        assert counts.sent + counts.duplicated == counts.delivered + counts.lost + counts.dropped + link.in_flight
    arrived += len(link.drain())
    assert link.in_flight == 0 and link.next_s is None
    assert counts.sent == len(sends) and counts.delivered == arrived == counts.delays.count
    assert counts.sent + counts.duplicated == counts.delivered + counts.lost + counts.dropped


def test_without_copies_sent_is_delivered_lost_or_dropped() -> None:
    rng = generator()
    link = Link([Erasure(0.2, rng), Bottleneck(20_000, 1000), Erasure(0.1, rng)])
    got = link.carry([(t, bytes(50)) for t, _ in numbered(4000, 0.01)])
    counts = link.statistics
    assert counts.sent == 4000 == len(got) + counts.lost + counts.dropped
    assert min(len(got), counts.lost, counts.dropped) > 200
    assert counts.sent_bytes == 4000 * 50 and counts.delivered_bytes == 50 * len(got)


def test_same_seed_same_deliveries() -> None:
    sends = [(t, p * 10) for t, p in numbered(800, 0.01)]
    first, again, other = (HARD.build(generator(seed)).carry(sends) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) > 200


def test_small_steps_of_the_clock_change_nothing() -> None:
    sends = numbered(300, 0.01)
    whole = HARD.build(generator()).carry(sends)
    link = HARD.build(generator())
    for time_s, payload in sends:
        link.send(time_s, payload)
    stepped: list[Delivery] = []
    while link.next_s is not None:
        stepped += link.receive(link.next_s)
    assert stepped == whole


def test_nothing_arrives_before_its_time() -> None:
    link = Link([Delay(0.5)])
    link.send(1.0, b"a")
    assert link.receive(1.4999) == [] and link.next_s == 1.5 and link.in_flight == 1
    assert link.receive(1.5) == [(1.5, b"a")]
    assert Link().carry([(0.0, b"")]) == [(0.0, b"")]  # a link without stages is perfect


def test_memory_is_bounded() -> None:
    link = Link([Delay(1.0)], max_in_flight_bytes=10 * (1000 + 256))
    for _ in range(50):
        link.send(0.0, bytes(1000))
    assert link.in_flight == 10 and link.statistics.dropped == 40
    assert len(link.drain()) == 10
    link.send(link.now_s, bytes(1000))
    assert link.in_flight == 1  # what has arrived makes room


def test_profile_leaves_out_what_is_not_asked_for() -> None:
    assert LinkProfile().build(generator()).stages == ()
    kinds = [type(stage) for stage in HARD.build(generator()).stages]
    assert kinds == [Bottleneck, GilbertElliott, Delay, Jitter, Duplication]
    assert [type(stage) for stage in LinkProfile(loss=0.1).build(generator()).stages] == [Erasure]


def test_delay_record_against_numpy() -> None:
    delays = np.concatenate([generator().lognormal(-3, 1.5, 5000), [0.0, 5e-7]])
    record = DelayRecord()
    for delay in delays:
        record.add(float(delay))
    assert (record.min_s, record.max_s, record.count) == (0.0, delays.max(), 5002)
    assert record.mean_s == pytest.approx(delays.mean())
    for part in (0.01, 0.5, 0.95, 0.999, 1.0):
        assert record.quantile_s(part) == pytest.approx(np.quantile(delays, part, method="inverted_cdf"), rel=0.011)
    assert record.quantile_s(0) == 0
    assert math.isnan(DelayRecord().mean_s) and math.isnan(DelayRecord().quantile_s(0.5))


def test_endless_delays_stay_in_the_record() -> None:
    record = DelayRecord()
    record.add(1e9)
    assert record.quantile_s(0.5) == 1e9
