"""`somacast emulate`: a narrow, late and lossy link in front of a real UDP service."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from somacast.cli.common import show_notes
from somacast.cli.live.common import stopping
from somacast.errors import SomacastError
from somacast.options import check_positive

if TYPE_CHECKING:
    from rich.console import Console

    from somacast.network.channels.packet.profile import LinkProfile
    from somacast.network.channels.packet.statistics import LinkStatistics
    from somacast.network.channels.packet.trace import BandwidthTrace
    from somacast.network.emulation.emulator import UdpLinkEmulator

QUEUE_S = 0.5  # a queue that nobody has sized holds what passes in this time,
MIN_QUEUE_BYTES = 3_000  # and two full datagrams
MAX_STEPS = 10_000
REFRESH_S = 0.25


@dataclass(frozen=True)
class Arguments:
    """Stand between a sender and a receiver that talk UDP (QUIC too) and act as a bad network, the same both ways.

    The sender is pointed at --listen, everything goes on to --to and back. Ctrl-C ends it with a summary.

    Example: somacast emulate --listen 127.0.0.1:7500 --to 127.0.0.1:7447 --rate-kbps 50 --rtt-ms 100 --loss 0.1
    """

    to: str
    """HOST:PORT of the real service"""
    listen: str = "127.0.0.1:7500"
    """HOST:PORT to listen on; port 0 takes a free one"""
    rate_kbps: float | None = None
    """capacity in kbit/s each way, headers of UDP and IP counted; no limit if not given"""
    steps: str | None = None
    """capacity that changes, as SECONDS:KBPS with commas between; 0:1000,20:10,40:1000 falls to 10 kbit/s for 20 s"""
    rtt_ms: float = 0.0
    """round trip of an idle link; half of it each way"""
    loss: float = 0.0
    """share of datagrams lost each way, 0 to 1"""
    mean_burst: float | None = None
    """mean run of losses in datagrams (Gilbert-Elliott); independent losses if not given"""
    jitter_ms: float = 0.0
    """mean of an exponential extra delay each way; datagrams may overtake each other"""
    duplicate: float = 0.0
    """share of datagrams that arrive twice, 0 to 1"""
    queue_bytes: int | None = None
    """room of the queue each way; what passes in half a second at the highest rate if not given, at least 3000"""
    seed: int = 0
    """the same seed gives the same losses"""
    seconds: float | None = None
    """end by itself after this time"""


def run(arguments: Arguments) -> int:
    """Forward until Ctrl-C, SIGTERM or --seconds, say what became of the datagrams."""
    check_positive(rate_kbps=arguments.rate_kbps, seconds=arguments.seconds)
    from rich.console import Console

    from somacast.network.emulation.emulator import UdpLinkEmulator, parse_address

    parse_address("--to", arguments.to, 1)
    profile = profile_of(arguments, ":" in parse_address("--listen", arguments.listen)[0])
    with UdpLinkEmulator(arguments.listen, arguments.to, profile, profile, arguments.seed) as emulator:
        host, port = emulator.address
        if not host.startswith("127.") and host != "::1":
            show_notes([f"others can reach {host}; whoever does is forwarded to {arguments.to}"])
        console = Console()
        shown_host = f"[{host}]" if ":" in host else host
        line = f"listening on {shown_host}:{port}, forwarding to {arguments.to}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
        with stopping() as stop:
            _watch(emulator, console, arguments.seconds, stop)
        console.print(summary(emulator), highlight=False, markup=False, soft_wrap=True)
    return stop.exit_code


def profile_of(arguments: Arguments, ipv6: bool) -> LinkProfile:
    """What is asked for, each way. Raises SomacastError naming the option that is out of range."""
    from somacast.checks import check_count, check_number, check_probability
    from somacast.network.channels.packet.gilbert_elliott import GilbertElliott
    from somacast.network.channels.packet.profile import LinkProfile
    from somacast.network.channels.packet.trace import BandwidthTrace

    for name in ("rtt_ms", "jitter_ms"):
        check_number(_option(name), getattr(arguments, name), 0.0, 60_000.0)
    for name in ("loss", "duplicate"):
        check_probability(_option(name), getattr(arguments, name))
    check_count("--seed", arguments.seed)
    if arguments.mean_burst is not None:
        import numpy as np

        check_number("--mean-burst", arguments.mean_burst, 1.0)
        GilbertElliott.from_loss(arguments.loss, arguments.mean_burst, np.random.default_rng(0))
    if arguments.rate_kbps is not None and arguments.steps is not None:
        raise SomacastError("--rate-kbps, --steps: expected one of them, got both")
    capacity = None
    if arguments.steps is not None:
        capacity = parse_steps(arguments.steps)
    elif arguments.rate_kbps is not None:
        capacity = BandwidthTrace.constant(1000 * check_number("--rate-kbps", arguments.rate_kbps, above=True))
    queue_bytes = arguments.queue_bytes
    if queue_bytes is None:
        highest_bps = max(capacity.rates_bps) if capacity else 0.0
        queue_bytes = max(round(QUEUE_S * highest_bps / 8), MIN_QUEUE_BYTES)
    return LinkProfile(
        capacity=capacity,
        queue_bytes=check_count("--queue-bytes", queue_bytes),
        delay_s=arguments.rtt_ms / 2000,
        jitter_s=arguments.jitter_ms / 1000,
        loss=arguments.loss,
        mean_burst=arguments.mean_burst,
        duplication=arguments.duplicate,
        header_bytes=48 if ipv6 else 28,
    )


def parse_steps(text: str) -> BandwidthTrace:
    """ "SECONDS:KBPS,..." to a trace that holds its last rate. Raises SomacastError on anything else."""
    from somacast.network.channels.packet.trace import BandwidthTrace

    try:
        pairs = [[float(part) for part in step.split(":")] for step in text.split(",")]
        times_s, kbps = zip(*((time_s, rate) for time_s, rate in pairs), strict=True)
    except ValueError:
        raise SomacastError(f"--steps: expected SECONDS:KBPS,SECONDS:KBPS,..., got {text[:60]!r}") from None
    if len(times_s) > MAX_STEPS:
        raise SomacastError(f"--steps: expected at most {MAX_STEPS} steps, got {len(times_s)}")
    try:
        return BandwidthTrace(times_s, [1000 * rate for rate in kbps])
    except SomacastError as fault:
        raise SomacastError(f"--steps: {fault}") from None


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


class _Meter:
    """Arrivals of one way since the last look, in kbit/s."""

    def __init__(self, counts: LinkStatistics) -> None:
        self.counts = counts
        self._bytes, self._time_s, self._kbps = 0, time.monotonic(), 0.0

    def line(self) -> str:
        now_s, counts = time.monotonic(), self.counts
        if now_s - self._time_s >= 1.0:
            self._kbps = 8e-3 * (counts.delivered_bytes - self._bytes) / (now_s - self._time_s)
            self._bytes, self._time_s = counts.delivered_bytes, now_s
        return f"{self._kbps:,.1f} kbit/s, {counts.lost:,} lost, {counts.dropped:,} dropped of {counts.sent:,}"


def _watch(emulator: UdpLinkEmulator, console: Console, seconds: float | None, stop: threading.Event) -> None:
    """Wait for the end with a status line where there is a terminal."""
    from rich.live import Live
    from rich.text import Text

    end_s = None if seconds is None else time.monotonic() + seconds
    meters = (_Meter(emulator.up), _Meter(emulator.down))
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while not stop.is_set() and (end_s is None or time.monotonic() < end_s):
            emulator.check()
            if console.is_terminal:
                up, down = (meter.line() for meter in meters)
                text = f"up   {up}\ndown {down}\n{emulator.counts.clients} clients"
                live.update(Text(text), refresh=True)
            left_s = REFRESH_S if end_s is None else min(REFRESH_S, end_s - time.monotonic())
            stop.wait(max(left_s, 0.0))


def summary(emulator: UdpLinkEmulator) -> str:
    """What became of the datagrams, a line for each way and one for the emulator's own accuracy."""
    lines = []
    for name, counts in (("up", emulator.up), ("down", emulator.down)):
        line = f"{name}: {counts.sent:,} sent, {counts.delivered:,} delivered, {counts.lost:,} lost, "
        line += f"{counts.dropped:,} dropped, {counts.duplicated:,} copied, {counts.reordered:,} reordered"
        if counts.delivered:
            median, late = (1000 * counts.delays.quantile_s(part) for part in (0.5, 0.95))
            line += f"; delay {median:,.1f} ms, 95 % within {late:,.1f} ms"
        lines.append(line)
    if emulator.lateness.count:
        lines.append(f"handed on {1000 * emulator.lateness.quantile_s(0.5):.2f} ms after their time (median)")
    counts = emulator.counts
    for number, what in (
        (counts.refused, "refused: too many clients"),
        (counts.oversized, "refused: too large"),
        (counts.unsent, "not taken by the system"),
        (counts.orphaned, "for clients that had gone"),
    ):
        if number:
            lines.append(f"{number:,} datagrams {what}")
    return "\n".join(lines)
