"""Reports of the receiver: what went in comes out, whatever the network does to datagrams, and no bytes do harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.errors import BitstreamError, SomacastError
from somacast.network.congestion.feedback import (
    MAX_INTERVAL_S,
    MAX_REPORT_BYTES,
    MIN_INTERVAL_S,
    SEQUENCES,
    TICKS_PER_S,
    WINDOW,
    FeedbackRecorder,
    FeedbackReport,
    parse_report,
)
from somacast.network.congestion.flight import Flight

TICK = 1.01 / TICKS_PER_S


def recorded(*arrivals: tuple[int, float]) -> FeedbackRecorder:
    recorder = FeedbackRecorder()
    for sequence, time_s in arrivals:
        recorder.arrived(sequence, time_s, 100)
    return recorder


def test_what_arrived_and_when_comes_through():
    times = {65534: 10.0, 65535: 10.01, 1: 10.1, 0: 10.2, 4: 10.25}  # 0 overtaken by 1, 2 and 3 missing, wrap between
    report = parse_report(recorded(*times.items()).report(10.5))
    assert report.arrived == (4, 1, 0, 65535, 65534) and report.newest == 4
    assert report.clock_s == pytest.approx(10.5, abs=TICK)
    expected = [10.5 - times[sequence] for sequence in report.arrived]
    assert list(report.ages_s) == pytest.approx(expected, abs=TICK)


def test_nothing_yet_is_a_report_too():
    report = parse_report(FeedbackRecorder().report(3.0))
    assert report.newest is None and report.arrived == () and report.ages_s == ()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-80, 80), st.floats(0, 20)), min_size=1, max_size=300), st.integers(0, SEQUENCES - 1)
)
def test_every_report_is_small_and_parses_to_what_it_was_told(steps, sequence):
    recorder, now, seen = FeedbackRecorder(), 5.0, set()
    for step, gap in steps:
        now += gap
        sequence = (sequence + step) % SEQUENCES
        if recorder.arrived(sequence, now, 500):
            seen.add(sequence)
    data = recorder.report(now + 0.01)
    report = parse_report(data)
    assert len(data) <= MAX_REPORT_BYTES
    assert set(report.arrived) <= seen and len(report.arrived) <= WINDOW
    assert report.ages_s == tuple(age for age in report.ages_s if 0 <= age < 128)


def test_copies_and_replays_change_nothing():
    first, second = recorded((7, 1.0), (8, 1.1)), recorded((7, 1.0), (8, 1.1))
    assert not second.arrived(7, 1.2, 100) and not second.arrived(8, 1.3, 100)
    assert not second.arrived((8 - 200) % SEQUENCES, 1.3, 100)  # from long ago
    assert second.arrivals == 2
    assert first.report(2.0) == second.report(2.0)


def test_a_sender_that_begins_anew_is_followed():
    recorder = recorded(*((5000 + k, 1.0 + k / 100) for k in range(100)))
    received = [recorder.arrived(k, 3.0 + k / 100, 100) for k in range(6)]
    assert received == [False, False, True, True, True, True]
    assert parse_report(recorder.report(4.0)).arrived == (5, 4, 3, 2)


def test_reports_take_a_twentieth_of_what_arrives():
    for wire_bytes, gap_s, wait_s in ((1228, 0.001, MIN_INTERVAL_S), (300, 0.01, 0.04), (60, 0.05, MAX_INTERVAL_S)):
        recorder, last = FeedbackRecorder(), 0.0
        for k in range(600):
            recorder.arrived(k, k * gap_s, wire_bytes)
            if recorder.due(k * gap_s):
                recorder.report(k * gap_s)
                last = k * gap_s
        assert recorder.next_s - last == pytest.approx(wait_s, rel=0.3)
    waits = []
    for _ in range(12):
        recorder.report(recorder.next_s)
        waits.append(recorder.next_s)
    assert all(np.diff(waits) >= MIN_INTERVAL_S) and np.diff(waits)[-1] == pytest.approx(0.4)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=100))
def test_noise_is_refused(data):
    with pytest.raises(BitstreamError):
        parse_report(data)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 3), st.booleans())
def test_mutations_are_refused_or_harmless(seed, flips, repaired):
    """With a checksum that fits, numbers stay in their bounds; without one nothing passes."""
    from somacast.network.congestion.feedback import _check

    rng = np.random.default_rng(seed)
    recorder, flight = FeedbackRecorder(), Flight()
    for k in range(40):
        flight.sent(0.9 + k / 100, k, 100)
        if rng.random() < 0.7:
            recorder.arrived(k, 1 + k / 100 + rng.random() / 50, 100)
    whole = recorder.report(2.0)
    data = bytearray(whole)
    for _ in range(flips):
        data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
    if rng.random() < 0.3:
        data = data[: rng.integers(len(data))]
    mutated = bytes(data)
    if repaired and len(mutated) > 2:
        mutated = mutated[:-2] + _check(mutated[:-2])
    try:
        report = parse_report(mutated)
    except BitstreamError:
        return
    assert repaired or mutated == whole
    assert len(report.arrived) <= WINDOW and all(0 <= s < SEQUENCES for s in report.arrived)
    assert len(report.ages_s) <= len(report.arrived) and all(0 <= age < 128 for age in report.ages_s)
    flight.take(2.1, report)  # whatever it says
    assert 0 <= flight.loss <= 1 and flight.in_flight_bytes >= 0


def test_wrong_arrivals_are_refused():
    recorder = FeedbackRecorder()
    for arguments in ((-1, 0.0, 1), (SEQUENCES, 0.0, 1), (0, -1.0, 1), (0, float("nan"), 1), (0, 0.0, -1)):
        with pytest.raises(SomacastError):
            recorder.arrived(*arguments)


def exchange(offset_s: float, lost: set[int], count: int = 200, start: int = 65_500) -> tuple[Flight, list]:
    """`count` datagrams, 10 ms apart, 50 ms on the way, a report after every fourth; the news."""
    flight, recorder, news = Flight(), FeedbackRecorder(), []
    for k in range(count):
        flight.sent(1 + k / 100, (start + k) % SEQUENCES, 100)
        if k not in lost:
            recorder.arrived((start + k) % SEQUENCES, offset_s + 1.05 + k / 100, 100)
        if k % 4 == 3:
            news.append(flight.take(1.12 + k / 100, parse_report(recorder.report(offset_s + 1.07 + k / 100))))
    return flight, [one for one in news if one]


def test_the_flight_counts_what_is_lost_and_times_what_arrives():
    flight, news = exchange(0.0, set(range(10, 190, 10)))
    assert flight.loss == pytest.approx(18 / 196, abs=0.01)
    timed = [datagram for one in news for datagram in one.timed]
    assert len(timed) == len({d.number for d in timed}) == 200 - 18
    assert all(d.arrival_s - d.time_s == pytest.approx(0.05, abs=2 * TICK) for d in timed)
    trips = [one.round_trip_s for one in news if one.round_trip_s is not None]
    assert trips == pytest.approx([0.1] * len(trips), abs=2 * TICK)  # 20 ms at the receiver are taken off
    assert flight.in_flight_bytes == 0


def test_the_receivers_clock_may_stand_anywhere():
    _, plain = exchange(0.0, {3, 50})
    for offset_s in (1000.0, 65_535.5, 1e6):  # the second wraps the clock on the way
        _, other = exchange(offset_s, {3, 50})
        assert len(other) == len(plain)
        for a, b in zip(plain, other, strict=True):
            assert [d.number for d in a.timed] == [d.number for d in b.timed]
            assert a.round_trip_s == pytest.approx(b.round_trip_s, abs=3 * TICK)
            gaps = [[y.arrival_s - x.arrival_s for x, y in one.pairs] for one in (a, b)]
            assert gaps[0] == pytest.approx(gaps[1], abs=3 * TICK)


def test_old_foreign_and_repeated_reports_change_nothing():
    flight, _ = exchange(0.0, set())
    recorder = recorded((65_500, 1.05))
    old = parse_report(recorder.report(1.06))
    assert flight.take(5.0, old) is None
    assert flight.take(5.0, FeedbackReport(9.0, (40_000,), (0.01,))) is None  # never sent
    assert flight.take(5.0, FeedbackReport(9.0, (), ())) is None
    good = FeedbackReport(9.0, ((65_500 + 199) % SEQUENCES,), (0.01,))
    assert flight.take(5.0, good) is not None and flight.take(5.0, good) is None
