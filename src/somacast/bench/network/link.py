"""`somacast bench link`: how well rate controls hold a link whose capacity steps; results as JSON and a figure.

    for each loss and controller: run_link -> log -> per step: utilisation, delays against the idle link, settling

All on a simulated clock: the same config gives the same figures on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from somacast.bench.network.config import LinkBenchConfig
from somacast.bench.network.link_run import GROUPS, UDP_BYTES, LinkLog, LinkSetting, Walker, run_link
from somacast.bench.results import Result, describe_run, write_result
from somacast.errors import SomacastError
from somacast.extras import require
from somacast.files import check_output_path, write_atomically
from somacast.network.channels.packet.trace import BandwidthTrace
from somacast.network.congestion.plain_rate import AimdController, FixedRate
from somacast.network.congestion.rate_control import Controller, RateConfig, RateController

CONTROLLERS: dict[str, Callable[[], Controller]] = {
    "ours": RateController,
    "aimd": AimdController,
    "fixed_50k": lambda: FixedRate(50_000),
    "fixed_200k": lambda: FixedRate(200_000),
}
MAX_IDLE = 1.5  # one-way delay against the idle link's that counts as no queue
MIN_USED = 0.9
SAMPLE_S = 0.05  # between looks at the queue
SETTLE_SPAN_S, SETTLE_STEP_S, SETTLE_SHARE = 2.0, 0.25, 0.95
ALLOWED_S = 2.0  # for settling, beside what must drain
SERIES_S = 0.5


def check_config(config: LinkBenchConfig) -> None:
    """SomacastError for a setting that cannot work, before any work is done."""
    require("matplotlib", "drawing the time series")
    if not set(config.controllers) <= set(CONTROLLERS) or not config.controllers:
        raise SomacastError(f"controllers: expected some of {', '.join(CONTROLLERS)}, got {list(config.controllers)}")
    for path in (config.json_path, config.figure_path):
        check_output_path(path)


class Judge:
    """One log against the idle link. At any time the newest datagram that was sent by then, and arrived, counts."""

    def __init__(self, log: LinkLog, setting: LinkSetting) -> None:
        self.setting, self.trace = setting, BandwidthTrace(setting.times_s, setting.rates_bps)
        self.sent = np.array([row[0] for row in log.sent])
        self.size = np.array([row[1] for row in log.sent])
        self.delay = np.full(len(log.sent), np.nan)
        for number, time_s in log.arrived.items():
            self.delay[number] = time_s - self.sent[number]
        self.ratio = self.delay / [self.idle_s(t, n) for t, n in zip(self.sent, self.size, strict=True)]
        wire = np.array(log.wire)
        self.dropped_s = wire[np.isnan(wire[:, 1]), 0]
        passed = wire[~np.isnan(wire[:, 1])]
        starts = np.maximum(passed[:, 0], np.concatenate([[0.0], passed[:-1, 1]]))
        served = np.concatenate([[0], np.cumsum(passed[:, 2])])
        self._wire_s = np.stack([starts, passed[:, 1]], 1).ravel()  # each on the wire from its start to its end
        self._wire_bytes = np.stack([served[:-1], served[1:]], 1).ravel()
        self.times = np.arange(0, setting.end_s, SAMPLE_S)
        place = np.searchsorted(passed[:, 0], self.times, side="right")
        self.wait = np.where(place > 0, passed[np.maximum(place - 1, 0), 1] - self.times, 0.0).clip(0)
        known = np.flatnonzero(~np.isnan(self.ratio))
        newest = np.searchsorted(self.sent[known], self.times, side="right") - 1
        self.time_ratio = np.where(newest < 0, 1.0, self.ratio[known][np.maximum(newest, 0)])

    def idle_s(self, time_s: float, wire_bytes: int) -> float:
        """One-way delay of a datagram that has the link to itself: its own serialisation and propagation."""
        return self.trace.finish_s(float(time_s), 8.0 * wire_bytes) - time_s + self.setting.delay_s

    def used(self, start_s: float, end_s: float) -> float:
        """Share of the capacity that was on the wire."""
        first, last = np.interp([start_s, end_s], self._wire_s, self._wire_bytes)
        return float(8 * (last - first) / self.trace.bits_between(start_s, end_s))

    def row(self, start_s: float, end_s: float) -> dict[str, Any]:
        """Figures of a stretch of time; datagrams belong where they were sent."""
        mine = (self.sent >= start_s) & (self.sent < end_s) & ~np.isnan(self.delay)
        when = (self.times >= start_s) & (self.times < end_s)
        delay, ratio = self.delay[mine], self.ratio[mine]

        def points(values: np.ndarray) -> dict[str, float]:
            if not len(values):
                return {"p50": math.nan, "p95": math.nan, "max": math.nan}
            p50, p95 = np.percentile(values, [50, 95])
            return {"p50": p50, "p95": p95, "max": values.max()}

        return {
            "utilisation": self.used(start_s, end_s),
            "delay_s": points(delay),
            "delay_to_idle": points(ratio),
            "time_share_without_queue": float((self.time_ratio[when] <= MAX_IDLE).mean()),
            "datagram_share_without_queue": float((ratio <= MAX_IDLE).mean()) if len(ratio) else math.nan,
            "dropped_by_queue": int(((self.dropped_s >= start_s) & (self.dropped_s < end_s)).sum()),
        }

    def settle_s(self, start_s: float, end_s: float) -> float:
        """Time from the step on after which the next SETTLE_SPAN_S are held; nan if that does not happen."""
        for after in np.arange(0, end_s - start_s - SETTLE_SPAN_S + 1e-9, SETTLE_STEP_S):
            begin = start_s + after
            when = (self.times >= begin) & (self.times < begin + SETTLE_SPAN_S)
            held = (self.time_ratio[when] <= MAX_IDLE).mean() >= SETTLE_SHARE
            if held and self.used(begin, begin + SETTLE_SPAN_S) >= MIN_USED:
                return float(after)
        return math.nan


def must_drain_s(before_bps: float, now_bps: float, config: LinkBenchConfig) -> float:
    """Least time after a fall that any sender which fills the link leaves a queue: what it sends in the round trip
    before it can know, or as much of it as the queue takes, at the new capacity."""
    if now_bps >= before_bps:
        return 0.0
    bits = min((before_bps - now_bps) * 2 * config.delay_s, 8 * config.queue_bytes)
    return bits / now_bps


def judge_run(judge: Judge, log: LinkLog, config: LinkBenchConfig) -> dict[str, Any]:
    """Rows per step, whole and after the allowed settling time, and in total."""
    setting, steps = judge.setting, []
    for number, rate in enumerate(config.steps_bps):
        start, end = number * config.step_s, (number + 1) * config.step_s
        drain = must_drain_s(config.steps_bps[number - 1], rate, config) if number else 0.0
        allowed = min(drain + ALLOWED_S, config.step_s - SETTLE_SPAN_S)
        steps.append({
            "capacity_bps": rate, "start_s": start, "must_drain_s": drain, "settle_s": judge.settle_s(start, end),
            "allowed_s": allowed, "whole": judge.row(start, end), "settled": judge.row(start + allowed, end),
        })  # fmt: skip
    total = judge.row(0.0, setting.end_s)
    for part in ("whole", "settled"):
        used = [step[part]["utilisation"] for step in steps]
        free = [step[part]["time_share_without_queue"] for step in steps]
        total[part] = {"mean_utilisation": float(np.mean(used)), "min_utilisation": min(used),
                       "mean_time_share_without_queue": float(np.mean(free)),
                       "min_time_share_without_queue": min(free)}  # fmt: skip
    labels = [n for n, row in enumerate(log.sent) if row[2]]
    total["labels_arrived"] = sum(n in log.arrived for n in labels) / max(len(labels), 1)
    total["labels_late_s"] = float(np.nanpercentile(judge.delay[labels], 95))
    total["reports_bps"] = 8 * log.report_bytes / setting.end_s
    total["reports_per_s"] = log.reports / setting.end_s
    return {"total": total, "steps": steps}


def _means(edges: np.ndarray, times: np.ndarray, values: np.ndarray) -> list[float]:
    """Mean of the values in each bin, nan in an empty one."""
    place = np.searchsorted(times, edges)
    return [float(values[a:b].mean()) if b > a else math.nan for a, b in pairwise(place)]


def link_series(judge: Judge) -> dict[str, Any]:
    """What the figure draws of the link, in bins of SERIES_S."""
    edges = np.arange(0, judge.setting.end_s + 1e-9, SERIES_S)
    wire = [judge.used(a, b) * judge.trace.bits_between(a, b) / SERIES_S for a, b in pairwise(edges)]
    bins = [values.reshape(len(edges) - 1, -1).max(1).tolist() for values in (judge.wait, judge.time_ratio)]
    return {"bin_s": SERIES_S, "wire_bps": wire, "queue_wait_max_s": bins[0], "delay_to_idle_max": bins[1]}


def label_series(log: LinkLog, end_s: float) -> dict[str, Any]:
    """What the figure draws of the labels, in bins of SERIES_S; nan where nothing happened."""
    edges = np.arange(0, end_s + 1e-9, SERIES_S)
    states = np.array([(row[0], row[1], row[2], row[3], *row[4]) for row in log.states])
    rates = np.array(log.rates) if log.rates else np.zeros((0, 2))
    means = partial(_means, edges, states[:, 0])
    return {
        "bin_s": SERIES_S, "rate_bps": _means(edges, rates[:, 0], rates[:, 1]), "f": means(states[:, 1] / 255),
        "f_used": means(states[:, 2] / 255), "bytes_per_frame": means(states[:, 3]),
        "rho": {group: means(states[:, 4 + k]) for k, group in enumerate(GROUPS)},
    }  # fmt: skip


def run_link_bench(config: LinkBenchConfig) -> Result:
    """Measure, write JSON and figure, print the table; returns what the file says.

    SomacastError for settings, outputs or missing packages, before any work is done.
    """
    from somacast.bench.network.link_figure import draw_link, print_link

    check_config(config)
    times = tuple(k * config.step_s for k in range(len(config.steps_bps)))
    runs: dict[str, dict[str, Any]] = {}
    for loss in config.losses:
        for name in config.controllers:
            setting = LinkSetting(
                times,
                config.steps_bps,
                len(times) * config.step_s,
                config.queue_bytes,
                config.delay_s,
                loss,
                config.seed,
            )
            log = run_link(setting, CONTROLLERS[name], partial(Walker, config.seed))
            judge = Judge(log, setting)
            run = runs.setdefault(f"{loss:g}", {})[name] = judge_run(judge, log, config)
            if loss in (config.losses[0], config.losses[-1]):  # these are drawn
                run["series"] = link_series(judge)
                if name == config.controllers[0]:
                    run["labels"] = label_series(log, setting.end_s)
    results = {"rules": _rules(), "runs": runs}
    result = write_result(config.json_path, Result("link", describe_run("link", config), results))
    write_atomically(config.figure_path, draw_link(result))
    print_link(result)
    return result


def _rules() -> dict[str, Any]:
    """What counts as used, as free of a queue, as settled."""
    return {
        "max_idle": MAX_IDLE, "min_used": MIN_USED, "settle_span_s": SETTLE_SPAN_S, "settle_share": SETTLE_SHARE,
        "allowed_beside_drain_s": ALLOWED_S, "sample_s": SAMPLE_S, "header_bytes": UDP_BYTES,
        "reverse": "same delay and loss, no limit", "rate_control": asdict(RateConfig()),
    }  # fmt: skip
