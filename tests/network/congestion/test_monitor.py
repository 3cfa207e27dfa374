"""Eq. 15, 16 and 18: what is measured, against the printed formulas worked out by hand, and the laws it must keep."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from somacast.errors import SomacastError
from somacast.network.congestion.monitor import STATES, MonitorConfig, NetworkMonitor

STILL = MonitorConfig(phi=0.75, window_s=1.0, a=0.25, memory_s=2.0, relax_s=None)


def test_bandwidth_is_the_printed_average():
    monitor = NetworkMonitor(STILL)
    assert math.isnan(monitor.bandwidth_bps) and monitor.network_state(0) == 0
    for start, sizes in ((0.0, (100, 300)), (1.0, (50,)), (2.0, (800, 200))):
        for k, size in enumerate(sizes):
            monitor.transfer(start + 0.1 * k, size, 0.05)
    monitor.pressure(3.0)  # the third window has passed
    b = 8 * 400 / 0.1
    for size, seconds in ((50, 0.05), (1000, 0.1)):
        b = 0.75 * b + 0.25 * 8 * size / seconds
    assert monitor.bandwidth_bps == pytest.approx(b)


def test_delay_is_the_printed_mean_with_weights_that_fall_with_age():
    monitor = NetworkMonitor(STILL)
    trips = [(0.0, 0.05), (1.0, 0.2), (1.5, 0.1)]
    for time_s, seconds in trips:
        monitor.round_trip(time_s, seconds)
    weights = [math.exp(-(1.5 - t) / 2.0) for t, _ in trips]
    expected = sum(w * s for w, (_, s) in zip(weights, trips, strict=True)) / sum(weights)
    assert monitor.delay_s == pytest.approx(expected)


def test_pressure_is_the_printed_sum_between_the_extremes_met():
    monitor = NetworkMonitor(STILL)
    for second, size in enumerate((1000, 1000, 100, 100)):
        monitor.transfer(second, size, 0.1)
        monitor.round_trip(second, (0.05, 0.05, 0.4, 0.2)[second])
    f = monitor.pressure(4.0)
    b = [80_000.0]
    for rate in (80_000, 8_000, 8_000):
        b.append(0.75 * b[-1] + 0.25 * rate)
    d = []
    for n in range(1, 5):
        w, s = [math.exp(-(n - 1 - t) / 2.0) for t in range(n)], (0.05, 0.05, 0.4, 0.2)[:n]
        d.append(sum(x * y for x, y in zip(w, s, strict=True)) / sum(w))
    expected = 0.25 * (max(b) - b[-1]) / (max(b) - min(b)) + 0.75 * (d[-1] - min(d)) / (max(d) - min(d))
    assert f == pytest.approx(expected)
    assert monitor.network_state(4.0) == round(STATES * f)


def test_a_steady_link_presses_nobody():
    monitor = NetworkMonitor()
    for k in range(100):
        monitor.transfer(0.1 * k, 500 + k % 7, (500 + k % 7) * 8 / 50_000)
        monitor.round_trip(0.1 * k, 0.1 + 0.001 * (k % 3))
    assert monitor.network_state(10.0) <= 4


def test_a_link_that_worsens_presses_and_becomes_the_new_normal():
    monitor, states = NetworkMonitor(MonitorConfig(relax_s=20.0)), []
    for k in range(1200):
        rate, trip = (1e6, 0.05) if k < 100 else (1e4, 0.4)
        monitor.transfer(0.1 * k, 100, 800 / rate)
        monitor.round_trip(0.1 * k, trip)
        states.append(monitor.network_state(0.1 * k))
    assert max(states[:100]) < 10
    assert states[160] > 230  # six seconds later it is fully felt
    assert states[-1] < states[160]
    better = NetworkMonitor()
    for k in range(100):
        better.transfer(0.1 * k, 100, 800 / (1e4 if k < 50 else 1e6))
    assert better.network_state(10.0) < 10  # what has become better than ever is no pressure


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5000), st.floats(1e-4, 2)), min_size=1, max_size=40))
def test_pressure_stays_in_range_whatever_is_measured(events):
    monitor, now = NetworkMonitor(), 0.0
    for gap, size, seconds in events:
        now += gap
        monitor.transfer(now, size, seconds)
        monitor.round_trip(now, seconds)
        assert 0 <= monitor.pressure(now) <= 1
        assert 0 <= monitor.network_state(now) <= STATES


@pytest.mark.parametrize("changes", [{"phi": 1.0}, {"phi": -0.1}, {"a": 1.5}, {"window_s": 0.0}, {"relax_s": 0.0}])
def test_wrong_constants_are_refused(changes):
    with pytest.raises(SomacastError, match=next(iter(changes))):
        MonitorConfig(**changes)


def test_wrong_measurements_are_refused():
    monitor = NetworkMonitor()
    monitor.transfer(1.0, 100, 0.1)
    for call, match in (
        (lambda: monitor.transfer(0.5, 100, 0.1), "time_s"),
        (lambda: monitor.transfer(2.0, 0, 0.1), "size_bytes"),
        (lambda: monitor.transfer(2.0, 10, 0.0), "seconds"),
        (lambda: monitor.round_trip(2.0, math.nan), "seconds"),
    ):
        with pytest.raises(SomacastError, match=match):
            call()
