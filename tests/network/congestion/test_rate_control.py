"""Rate control on simulated links: it holds what there is without a queue, and only the capacity moves it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest

from somacast.bench.network.link import Judge, must_drain_s
from somacast.bench.network.link_run import LinkLog, LinkSetting, _Session
from somacast.errors import SomacastError
from somacast.network.channels.packet.delay import Delay
from somacast.network.channels.packet.erasure import Erasure
from somacast.network.channels.packet.jitter import Jitter
from somacast.network.channels.packet.link import Link
from somacast.network.congestion.budget import frame_budget_bytes
from somacast.network.congestion.feedback import FeedbackRecorder, parse_report
from somacast.network.congestion.measure import SlidingMinimum
from somacast.network.congestion.plain_rate import AimdController, FixedRate
from somacast.network.congestion.rate_control import Controller, RateConfig, RateController

STEPS = LinkSetting((0.0, 8.0, 16.0, 24.0), (300e3, 20e3, 200e3, 50e3), 32.0)


def steady(rate_bps: float, seconds: float = 8.0, loss: float = 0.0) -> LinkSetting:
    return LinkSetting((0.0,), (rate_bps,), seconds, loss=loss)


class Shifted(FeedbackRecorder):
    """A receiver whose clock says something else."""

    def __init__(self, clock: Callable[[float], float]) -> None:
        super().__init__()
        self._clock, self._due_s = clock, 0.0

    def arrived(self, sequence: int, time_s: float, wire_bytes: int) -> bool:
        return super().arrived(sequence, self._clock(time_s), wire_bytes)

    @property
    def next_s(self) -> float:
        return self._due_s

    def report(self, time_s: float) -> bytes:
        data = super().report(self._clock(time_s))
        self._due_s = time_s + self._wait_s
        return data


def session(
    setting: LinkSetting, controller: Controller, jitter_s: float = 0.0, reports_lost: float | None = None
) -> _Session:
    one = _Session(setting, controller, None)
    rng = np.random.default_rng(3)
    if jitter_s:
        one.there = Link([*one.there.stages, Jitter(jitter_s, rng)], header_bytes=28)
    if reports_lost is not None:
        one.back = Link([Erasure(reports_lost, rng), Delay(setting.delay_s)], header_bytes=28)
    return one


def late_rate(log: LinkLog, setting: LinkSetting) -> float:
    """Bits a second on the wire in the second half."""
    half = setting.end_s / 2
    return 8 * sum(size for _, off, size in log.wire if half < off <= setting.end_s) / half


@lru_cache(maxsize=8)
def stepped(loss: float = 0.0) -> Judge:
    setting = replace(STEPS, loss=loss)
    return Judge(_Session(setting, RateController(), None).run(), setting)


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_link_that_steps_is_held_without_a_queue(loss):
    judge = stepped(loss)
    for number, (start, rate) in enumerate(zip(STEPS.times_s, STEPS.rates_bps, strict=True)):
        assert judge.used(start, start + 8) >= 0.85, rate
        before = STEPS.rates_bps[max(number - 1, 0)]
        drain = max(before - rate, 0) * 2 * STEPS.delay_s / rate
        row = judge.row(start + drain + 2, start + 8)
        assert 0.93 <= row["utilisation"] <= 1.03, rate
        assert row["time_share_without_queue"] >= 0.93, rate
        assert row["delay_to_idle"]["p50"] <= 1.3


@pytest.mark.parametrize("rate_bps", [8e3, 10e3, 40e3, 150e3, 1e6])
def test_it_finds_any_capacity(rate_bps):
    controller = RateController()
    late = late_rate(_Session(steady(rate_bps), controller, None).run(), steady(rate_bps))
    assert 0.93 * rate_bps <= late <= 1.03 * rate_bps
    assert controller.monitor.bandwidth_bps == pytest.approx(rate_bps, rel=0.02)


def test_more_capacity_never_lowers_the_rate():
    rates = [9e3, 12e3, 30e3, 31e3, 80e3, 200e3, 500e3]
    settled = [late_rate(_Session(steady(r, 6.0), RateController(), None).run(), steady(r, 6.0)) for r in rates]
    assert all(b >= a for a, b in pairwise(settled))


def test_random_loss_costs_nothing_but_halves_aimd():
    ours, aimd = {}, {}
    for loss in (0.0, 0.1, 0.3):
        setting = steady(300e3, 10.0, loss)
        ours[loss] = late_rate(_Session(setting, RateController(), None).run(), setting)
        aimd[loss] = late_rate(_Session(setting, AimdController(), None).run(), setting)
    assert min(ours.values()) >= 0.9 * ours[0.0] >= 0.8 * 300e3
    assert aimd[0.1] < 0.6 * aimd[0.0]


def test_clocks_may_be_off_and_run_apart():
    plain = late_rate(session(STEPS, RateController()).run(), STEPS)
    for offset_s, drift in ((4321.0, 0.0), (65_530.0, 5e-5), (10.0, -5e-5), (10.0, 2e-4)):
        one = session(STEPS, RateController())
        one.recorder = Shifted(lambda t, offset_s=offset_s, drift=drift: offset_s + (1 + drift) * t)
        assert late_rate(one.run(), STEPS) == pytest.approx(plain, rel=0.03 if abs(drift) < 1e-4 else 0.08)


def test_a_receivers_clock_that_is_set_does_no_lasting_harm():
    setting = steady(100e3, 14.0)
    for change_s in (50.0, -50.0):
        one = session(setting, RateController())
        one.recorder = Shifted(lambda t, change_s=change_s: t + (100.0 + change_s if t > 3 else 100.0))
        assert late_rate(one.run(), setting) >= 0.9 * 100e3


def test_lost_reports_change_little():
    late = late_rate(session(STEPS, RateController(), reports_lost=0.3).run(), STEPS)
    assert late >= 0.95 * late_rate(session(STEPS, RateController()).run(), STEPS)


@pytest.mark.parametrize("jitter_s", [0.002, 0.005])
def test_jitter_does_not_wear_the_rate_down(jitter_s):
    setting = steady(300e3, 10.0)
    assert late_rate(session(setting, RateController(), jitter_s).run(), setting) >= 0.85 * 300e3


def test_without_feedback_it_falls_to_the_floor_and_goes_on():
    controller, now, sent = RateController(), 0.0, []
    for k in range(400):
        wait = controller.wait_s(now, 100)
        now += wait + 1e-6
        if controller.wait_s(now, 100) == 0:
            controller.sent(now, k, 100)
            sent.append(now)
    floor = controller.config.floor_bps
    assert controller.rate_bps(now) == floor
    assert controller.rate_bps(0.5) == floor  # a time that goes back is taken for now
    late = [t for t in sent if t > 10]
    assert 800 * len(late) / (late[-1] - late[0]) == pytest.approx(floor, rel=0.1)


def test_feedback_that_stops_and_comes_back():
    setting = steady(200e3, 14.0)
    one = session(setting, RateController())

    class Cut(Delay):
        def pass_on(self, time_s: float, wire_bytes: int) -> tuple[float, ...]:
            return () if 3 < time_s < 8 else super().pass_on(time_s, wire_bytes)

    one.back = Link([Cut(setting.delay_s)], header_bytes=28)
    judge = Judge(one.run(), setting)
    assert judge.used(6.5, 8) < 0.1  # the floor
    assert judge.used(6.5, 8) > 0.005  # no silence
    assert judge.used(9.5, 14) > 0.9


def test_what_follows_a_fall_is_silence_until_the_queue_is_gone():
    setting = LinkSetting((0.0, 6.0), (500e3, 20e3), 14.0)
    judge = Judge(_Session(setting, RateController(), None).run(), setting)
    sent = judge.size[(judge.sent > 6.25) & (judge.sent < 7.5)].sum()
    assert 8 * sent / 1.25 < 0.25 * 20e3  # a trickle at most
    assert judge.wait[judge.times > 6].max() < 1.5 * (500e3 * 0.1 + 8 * 1228) / 20e3
    assert judge.row(10.0, 14.0)["time_share_without_queue"] > 0.93


def test_measured_state_follows_the_link():
    controller = RateController()
    one = _Session(LinkSetting((0.0, 6.0), (500e3, 20e3), 12.0), controller, None)
    log = one.run()
    early, late = (np.mean([f for t, f, *_ in log.states if a < t < a + 2]) for a in (4.0, 10.0))
    assert early < 60 and late > 110
    assert controller.round_trip_s == pytest.approx(0.1 + 8 * 100 / 20e3, abs=0.05)


@pytest.mark.parametrize("make", [RateController, AimdController, lambda: FixedRate(50e3)])
def test_every_controller_bears_odd_reports(make):
    controller, recorder, rng = make(), FeedbackRecorder(), np.random.default_rng(0)
    reports = []
    for k in range(300):
        now = 0.01 * k
        controller.sent(now, k % 65536, int(rng.integers(40, 1200)))
        if rng.random() < 0.8:
            recorder.arrived(int(k + rng.integers(-5, 6)) % 65536, max(now + rng.normal(0, 0.3), 0), 100)
        reports.append(recorder.report(now + float(rng.normal(0, 0.1)) ** 2))
        controller.reported(now, parse_report(reports[rng.integers(len(reports))]))
        assert 0 < controller.rate_bps(now) < 1e9 and 0 <= controller.wait_s(now, 100) < 60
        assert 0 <= controller.network_state(now) <= 255 and 0 <= controller.loss <= 1


def test_the_fixed_rate_is_fixed():
    setting = steady(300e3)
    log = _Session(setting, FixedRate(50e3), None).run()
    assert late_rate(log, setting) == pytest.approx(50e3, rel=0.05)


def test_a_sliding_minimum_is_the_least_of_the_last_seconds():
    rng, minimum, rows = np.random.default_rng(1), SlidingMinimum(2.0), []
    assert math.isinf(minimum.value)
    for time_s in np.cumsum(rng.exponential(0.2, 300)):
        rows.append((time_s, rng.normal()))
        minimum.take(*rows[-1])
        assert minimum.value == min(v for t, v in rows if t >= time_s - 2.0)


def test_budgets_leave_room_for_headers():
    assert frame_budget_bytes(24_000, 30, 40) == 60
    assert frame_budget_bytes(24_000, 30, 40, frames_per_datagram=4) == 90
    assert frame_budget_bytes(24_000, 30, 40, datagrams_per_frame=2) == 20
    assert frame_budget_bytes(24_000, 30, 40, share=0.5) == 10
    assert frame_budget_bytes(1_000, 30, 40) == 0
    budgets = [frame_budget_bytes(r, 30, 42, frames_per_datagram=3) for r in range(1000, 200_000, 500)]
    assert budgets == sorted(budgets)
    for together in (1, 3, 10):  # all frames with their headers fit the rate
        budget = frame_budget_bytes(50_000, 30, 42, frames_per_datagram=together)
        assert 8 * 30 * (budget + 42 / together) <= 50_000
    with pytest.raises(SomacastError):
        frame_budget_bytes(0, 30, 40)


@pytest.mark.parametrize("changes", [{"margin": 0.0}, {"floor_bps": 1e9}, {"max_bps": math.inf}, {"train_s": 0}])
def test_wrong_constants_are_refused(changes):
    with pytest.raises(SomacastError):
        RateConfig(**changes)


def test_what_must_drain_is_what_was_sent_before_anybody_could_know():
    from pathlib import Path

    from somacast.bench.network.link import LinkBenchConfig

    config = LinkBenchConfig(Path("link.json"), delay_s=0.05, queue_bytes=12_500)
    assert must_drain_s(1e5, 1e4, config) == pytest.approx(0.9)
    assert must_drain_s(1e7, 1e4, config) == pytest.approx(10.0)  # no more than the queue takes
    assert must_drain_s(1e4, 1e5, config) == 0
